"""Child processes that are started, watched and stopped together.

Every child leads a session of its own (so that Ctrl-C reaches only us, and we stop things in order), writes to
``log/<name>.log``, and is ready when its probe says so. Whatever a child starts stays in its session, also when
it loses its parent or leads a process group, as Airflow's tasks do: `stop` ends sessions, so nothing outlives
this object.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from anomaly.exceptions import AnomalyError

_POLL_SECONDS = 0.1
SERVER_GRACE_SECONDS = 4.0
"""Then it is killed. Servers keep nothing that is not in the database, and stages can be run again."""
FOUNDATION_GRACE_SECONDS = 60.0
"""A database writes everything to disk before it ends."""


class ChildFailedError(AnomalyError):
    """A program of the embedded stack ended, or was not ready in time. The message has the end of its log."""


@dataclass(slots=True)
class Child:
    """One running program."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals
    foundation: bool

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return tail(self.log, lines)


class Processes:
    """All children of one stack. Use it as a context manager."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # An impatient second Ctrl-C must not leave half of them behind: it waits until all have ended.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self.stop()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        uid: int | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        foundation: bool = False,
    ) -> Child:
        """Starts a program (full path first), with its output in ``<name>.log``.

        Call it from the main thread: Linux ends the program with the thread that started it.

        Args:
            name: of the child and its log.
            command: the program by full path, and its arguments.
            environment: the whole environment of the program.
            folder: its working folder.
            uid: another user to run as; only root can.
            stop_signal: the program's own signal for a quick and clean end.
            foundation: whether the others need it, also while they end.
        """
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                child_command(command, uid=uid),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        child = Child(name, popen, log, stop_signal, foundation)
        self._children.append(child)
        return child

    def wait_ready(self, child: Child, ready: Callable[[], bool], *, seconds: float) -> None:
        """Polls until `ready`.

        Raises:
            ChildFailedError: some child ended, or it took too long.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ChildFailedError(f"{child.name} is not ready after {seconds:.0f} s; {_told(child)}")
            time.sleep(_POLL_SECONDS)

    def wait_done(self, child: Child, *, seconds: float) -> None:
        """Waits for a program that ends by itself.

        Raises:
            ChildFailedError: it failed, or took too long.
        """
        try:
            code = child.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ChildFailedError(f"{child.name} is not done after {seconds:.0f} s; {_told(child)}") from None
        if code != 0:
            raise ChildFailedError(f"{child.name} ended with exit status {code}; {_told(child)}")
        self._children.remove(child)

    def check(self) -> None:
        """That all are still running.

        Raises:
            ChildFailedError: one is not.
        """
        for child in self._children:
            if (code := child.popen.poll()) is not None:
                raise ChildFailedError(f"{child.name} ended with exit status {code}; {_told(child)}")

    def stop(self) -> None:
        """Ends all, with everything that they started. Safe to call twice."""
        sessions = {child.popen.pid for child in self._children}
        for several, grace_seconds in _layers(self._children):
            deadline = time.monotonic() + grace_seconds
            for child in several:
                if child.popen.poll() is None:
                    child.popen.send_signal(child.stop_signal)
            for child in several:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.popen.wait(max(0.1, deadline - time.monotonic()))
        while left := _members(sessions):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        for child in self._children:
            child.popen.wait()  # so that none stays as a zombie
        self._children.clear()


def answers(url: str) -> bool:
    """Whether a GET of a loopback address succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - an http address of our own
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError):
        return False


def child_command(command: Sequence[str], *, uid: int | None = None) -> list[str]:
    """The command with which this process starts a child that cannot outlive it, as another user if asked to."""
    become = ["--unprivileged", str(uid)] if uid is not None else []
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py")), str(os.getpid()), *become, *command]


def tail(path: Path, lines: int = 25) -> str:
    """The last lines of a text file, or a note that there are none."""
    if not path.exists():
        return "(no log)"
    written = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(written[-lines:]) or "(the log is empty)"


def _told(child: Child) -> str:
    return f"the end of {child.log}:\n{child.tail()}"


def _layers(children: Sequence[Child]) -> list[tuple[list[Child], float]]:
    """In which order to stop, and how long each part may take: all at once, but what they stand on last."""
    return [
        ([child for child in children if not child.foundation], SERVER_GRACE_SECONDS),
        ([child for child in children if child.foundation], FOUNDATION_GRACE_SECONDS),
    ]


def _members(sessions: set[int]) -> list[int]:
    """Process ids of what still runs in these sessions."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # "pid (name) state parent group session …", and the name may hold anything, brackets too.
                state, _, _, session = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                if int(session) in sessions and state != "Z":
                    members.append(int(entry.name))
    return members
