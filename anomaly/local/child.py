"""Runs a program so that it cannot outlive the process that started it, and never as root where that matters.

Started as a script with ``python -I -S child.py PARENT [--unprivileged UID] program arguments…``: it prepares its
own process and then becomes the program. Linux sends SIGTERM to it when its parent dies, however that happens; a
parent (by its process id) that died before this could be arranged is noticed too.

PostgreSQL refuses to run as root. ``--unprivileged`` therefore changes to another user, but keeps the one
capability that lets it reach its files: a checkout below ``/root`` is closed to every other user, and opening
the folders above it would be a side effect that nobody asked for. Only the standard library is imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1
_SET_SECURE_BITS = 28
_NO_SETUID_FIXUP = 1 << 2
_AMBIENT = 47
_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_DAC_OVERRIDE = 1


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _must(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _become(uid: int, libc: ctypes.CDLL) -> None:
    # Without this bit, access(2) ignores the capabilities of everybody but root, and initdb asks it.
    secured = libc.prctl(_SET_SECURE_BITS, _NO_SETUID_FIXUP, 0, 0, 0) == 0
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if not secured:
        return  # a container that took capabilities away; then the folders must be open already
    mask = 1 << _DAC_OVERRIDE
    sets = (_Sets * 2)(_Sets(mask, mask, mask), _Sets(0, 0, 0))
    _must(libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), sets))
    _must(libc.prctl(_AMBIENT, _AMBIENT_RAISE, _DAC_OVERRIDE, 0, 0))


def main(arguments: list[str]) -> None:
    parent, *arguments = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if arguments[0] == "--unprivileged":
        _become(int(arguments[1]), libc)
        arguments = arguments[2:]
    if sys.platform == "linux":
        _must(libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0))
        if os.getppid() != int(parent):  # it died before the line above
            raise SystemExit(1)
    os.execv(arguments[0], arguments)  # noqa: S606 - becoming the program, without a shell, is the point


if __name__ == "__main__":
    main(sys.argv[1:])
