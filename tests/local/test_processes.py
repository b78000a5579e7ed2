"""Children of the embedded stack: none outlives it, and one that ends early is told with its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from anomaly.local.processes import Child, ChildFailedError, Processes

# Starts a process that leads a group of its own, as Airflow's tasks do, tells both ids, and waits.
FAMILY = """
import os, subprocess, sys, time
young = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
open(sys.argv[1] + ".new", "w").write(f"{os.getpid()} {young.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


def _until(true: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def _started(told: Path) -> list[int]:
    assert _until(told.exists)
    return [int(pid) for pid in told.read_text().split()]


def _start(processes: Processes, tmp_path: Path, name: str, code: str, *arguments: str) -> Child:
    command = [sys.executable, "-c", code, *arguments]
    return processes.start(name, command, environment=os.environ, folder=tmp_path)


def test_stopping_ends_children_of_children_too(processes: Processes, tmp_path: Path) -> None:
    _start(processes, tmp_path, "family", FAMILY, str(tmp_path / "pids"))
    pids = _started(tmp_path / "pids")
    processes.stop()
    assert [_gone(pid) for pid in pids] == [True, True]


def test_stopping_ends_what_a_dead_child_left_behind(processes: Processes, tmp_path: Path) -> None:
    _start(processes, tmp_path, "family", FAMILY, str(tmp_path / "pids"))
    old, young = _started(tmp_path / "pids")
    os.kill(old, signal.SIGKILL)
    assert _until(lambda: _gone(old))
    assert not _gone(young)
    processes.stop()
    assert _gone(young)


def test_children_that_ignore_the_signal_are_killed(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly.local.processes.SERVER_GRACE_SECONDS", 0.2)
    stubborn = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "os.mkdir(sys.argv[1]); time.sleep(600)"
    )
    _start(processes, tmp_path, "stubborn", stubborn, str(tmp_path / "deaf"))
    assert _until((tmp_path / "deaf").exists)
    processes.stop()
    assert not list(_processes_in(tmp_path))


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = f"""
import os, time
from pathlib import Path
from anomaly.local.processes import Processes
import sys
with Processes(Path({str(tmp_path)!r})) as processes:
    processes.start("child", [sys.executable, "-c", "import time; time.sleep(600)"], environment=os.environ,
                    folder=Path({str(tmp_path)!r}))
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent], cwd=Path(__file__).parents[2]) as running:
        assert _until(lambda: len(list(_processes_in(tmp_path))) == 1)
        running.kill()
    assert _until(lambda: not list(_processes_in(tmp_path)))


def test_a_child_that_ends_early_is_reported_with_the_end_of_its_log(processes: Processes, tmp_path: Path) -> None:
    child = _start(processes, tmp_path, "clumsy", "raise SystemExit('no database at port 1')")
    with pytest.raises(ChildFailedError, match=r"(?s)clumsy ended with exit status 1.*no database at port 1"):
        processes.wait_ready(child, lambda: False, seconds=60)


def test_a_child_that_is_never_ready_is_reported(processes: Processes, tmp_path: Path) -> None:
    child = _start(processes, tmp_path, "slow", "import time; time.sleep(600)")
    with pytest.raises(ChildFailedError, match=r"slow is not ready after 0 s"):
        processes.wait_ready(child, lambda: False, seconds=0.3)


def _processes_in(folder: Path) -> list[int]:
    """Ids of processes whose working folder is this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink() == folder and not _gone(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
