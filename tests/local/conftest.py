"""Folders and servers of the embedded stack, for tests: always in a folder and on ports of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from anomaly.local import postgres
from anomaly.local.addresses import Addresses
from anomaly.local.places import Places
from anomaly.local.postgres import Server, start_postgres
from anomaly.local.processes import Processes

FREE_PORTS = {f"ANOMALY_PORT_{part}": "0" for part in ("AIRFLOW", "MLFLOW", "SLACK", "POSTGRES")}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Children that end with the test; their logs are in the test's folder."""
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture(scope="session")
def embedded_postgres() -> Iterator[Server]:
    """The embedded PostgreSQL, in a place where it is hard to run: deep, and closed to other users.

    Its programs are there too, as they are in a checkout below ``/root``.
    """
    closed = Path(tempfile.mkdtemp(prefix="anomaly-closed-"))  # mode 700, as /root is
    places = Places(closed / ("far-away-" * 15) / "var")
    places.make()
    package = postgres._programs().parents[1]
    for part in (Path(package.name) / "pginstall18", Path(f"{package.name}.libs")):  # as they lie in the wheel
        shutil.copytree(package.parent / part, closed / part)
    programs = closed / package.name / "pginstall18" / "bin"
    try:
        with patch.object(postgres, "_programs", lambda: programs), Processes(places.logs) as children:
            port = Addresses.from_environment(FREE_PORTS).postgres
            yield start_postgres(children, places, port, os.environ)
    finally:
        shutil.rmtree(closed)
