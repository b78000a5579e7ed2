"""Starts the embedded stack (PostgreSQL, MLflow, Airflow, Slack preview, Data Docs), loads the sample, stops it.

What does not depend on each other starts at the same time: on two cores, Airflow's imports and the sample take
turns. Everything is a child of this process and ends with it.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from anomaly.exceptions import ConfigurationError
from anomaly.local.addresses import HOST, Addresses
from anomaly.local.airflow import COMPONENTS, PROGRAM, airflow_environment
from anomaly.local.places import CHECKOUT, Places, groups_folder
from anomaly.local.postgres import Server, start_postgres
from anomaly.local.processes import Child, Processes, answers
from anomaly.local.sample import load_sample

START_SECONDS = 180.0
"""How long a program may take to be ready. Generous: a cold disk on a busy machine."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The running stack."""

    places: Places
    addresses: Addresses
    server: Server
    processes: Processes
    environment: dict[str, str]
    """What programs that work with it need: connections, settings, addresses."""


@contextmanager
def running_stack(places: Places, addresses: Addresses, tell: Callable[[str], None]) -> Iterator[Stack]:
    """The whole stack with the sample loaded; everything ends when the block does.

    Args:
        places: where it writes.
        addresses: where it listens.
        tell: takes a line per step that is done.

    Raises:
        ConfigurationError: another run uses the folder.
        ChildFailedError: a program did not start.
    """
    places.make()
    with _alone_in(places), Processes(places.logs) as processes:
        clock = _Clock(tell)
        base = base_environment(places)
        server = start_postgres(processes, places, addresses.postgres, base)
        clock.told("PostgreSQL")
        environment = base | stack_environment(places, addresses)
        environment |= airflow_environment(places, addresses, server, places.secrets())
        stack = Stack(places, addresses, server, processes, environment)
        with ThreadPoolExecutor(max_workers=2) as background:
            sample = background.submit(load_sample, server)
            tables = background.submit(_migrate, server)
            waits = [*_start_servers(stack), *_start_airflow(stack)]
            for child, url in waits:
                processes.wait_ready(child, partial(answers, url), seconds=START_SECONDS)
                clock.told(child.name)
            tables.result()
            clock.told(f"sample: {sample.result():,} events")
        yield stack


def base_environment(places: Places) -> dict[str, str]:
    """Our own environment, without what would change the stack, and with every cache under `var/`."""
    strange = ("AIRFLOW", "ANOMALY_", "MLFLOW_", "PG", "AWS_", "GX_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return kept | {
        "HOME": str(places.home),
        "MPLCONFIGDIR": str(places.cache / "matplotlib"),
        "NO_PROXY": ",".join(filter(None, [kept.get("NO_PROXY"), HOST, "localhost"])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "TMPDIR": str(places.temporary),
        "XDG_CACHE_HOME": str(places.cache),
        "XDG_CONFIG_HOME": str(places.home / ".config"),
        "XDG_DATA_HOME": str(places.home / ".local" / "share"),
        # Nothing of a local trial is reported to anybody.
        "GX_ANALYTICS_ENABLED": "False",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        # Six processes for jobs that nobody starts.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NO_COLOR": "1",
    }


def stack_environment(places: Places, addresses: Addresses) -> dict[str, str]:
    """The settings of `anomaly.adapters.settings`."""
    return {
        "ANOMALY_GROUPS": str(groups_folder()),
        "ANOMALY_EXPECTATIONS": str(CHECKOUT / "expectations"),
        "ANOMALY_VALIDATIONS": str(places.validations),
        "ANOMALY_ARTIFACTS": str(places.artifacts),
        "ANOMALY_LINK_AIRFLOW": addresses.url("airflow"),
        "ANOMALY_LINK_MLFLOW": addresses.url("mlflow"),
        "ANOMALY_LINK_DATA_DOCS": addresses.data_docs,
        "MLFLOW_TRACKING_URI": addresses.url("mlflow"),
    }


@contextmanager
def _alone_in(places: Places) -> Iterator[None]:
    """Holds the folder's lock."""
    with places.lock.open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigurationError(
                f"{places.root} is in use by process {lock.read().strip() or '(unknown)'}, another `make run` or "
                "`make up`; end it, or set ANOMALY_VAR to another folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _migrate(server: Server) -> None:
    from anomaly.adapters.postgres.migrate import migrate

    migrate(server.arguments("anomaly"))


def _start_servers(stack: Stack) -> list[tuple[Child, str]]:
    """MLflow, and the Slack preview with the Data Docs; each with the address that tells when it is ready."""
    places, addresses = stack.places, stack.addresses

    def start(name: str, *arguments: str) -> Child:
        command = [sys.executable, "-m", *arguments]
        return stack.processes.start(name, command, environment=stack.environment, folder=places.root)

    mlflow = start(
        "mlflow",
        *("mlflow", "server", "--host", HOST, "--port", str(addresses.mlflow), "--workers", "1"),
        *("--backend-store-uri", stack.server.url("mlflow", scheme="postgresql+psycopg2")),
        *("--no-serve-artifacts", "--default-artifact-root", str(places.artifacts / "mlflow")),
    )
    slack = start(
        "slack-preview",
        *("anomaly.local.slack_preview", "--port", str(addresses.slack), "--folder", str(places.slack)),
        *("--data-docs", str(places.data_docs)),
    )
    return [
        (slack, f"{addresses.url('slack')}/healthz"),
        (mlflow, f"{addresses.url('mlflow')}/health"),
    ]


def start_listener(stack: Stack) -> None:
    """What takes the clicks on messages' buttons, over Socket Mode. It connects again when the preview is busy."""
    command = [sys.executable, "-m", "anomaly", "slack", "listen"]
    stack.processes.start("slack-listener", command, environment=stack.environment, folder=stack.places.root)


def _start_airflow(stack: Stack) -> list[tuple[Child, str]]:
    """Airflow's tables, then its components."""

    def start(name: str, command: list[str]) -> Child:
        return stack.processes.start(name, command, environment=stack.environment, folder=stack.places.root)

    tables = start("airflow-tables", [*PROGRAM, "db", "migrate"])
    stack.processes.wait_done(tables, seconds=START_SECONDS)
    children = [start(name, command) for name, command in COMPONENTS.items()]
    return [(children[0], f"{stack.addresses.url('airflow')}/api/v2/monitor/health")]


class _Clock:
    """Says how long after the start each step was done."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._began = time.monotonic()

    def told(self, what: str) -> None:
        self._tell(f"{what} ({time.monotonic() - self._began:.0f} s)")
