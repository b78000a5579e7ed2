"""Fixtures that every room uses: a real PostgreSQL, a database of one's own, a group."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import settings

from anomaly.groups import Group
from anomaly.local.addresses import Addresses
from anomaly.local.places import Places
from anomaly.local.postgres import start_postgres
from anomaly.local.processes import Processes
from tests.browsing import browser, seen  # noqa: F401 - fixtures of every room

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

Arguments = dict[str, str]

settings.register_profile("anomaly", deadline=None)  # no test asserts a time
settings.load_profile("anomaly")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """In continuous integration a skipped test is a failed one: nothing may hide there."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which continuous integration does not allow: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _no_pretended_modules() -> Iterator[None]:
    """Loading a model, MLflow leaves an object in ``sys.modules`` that is no module, over which Hypothesis falls."""
    yield
    sys.modules.pop("dbutils", None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arguments]:
    """A PostgreSQL server for the session: libpq keyword arguments of its superuser."""
    places = Places(tmp_path_factory.mktemp("postgres") / "var")
    places.make()
    # Free ports for all: a stack may be running on the usual ones.
    ports = Addresses.from_environment({f"ANOMALY_PORT_{part.name.upper()}": "0" for part in fields(Addresses)})
    with Processes(places.logs) as children:
        yield start_postgres(children, places, ports.postgres, os.environ).arguments("postgres")


@contextmanager
def _database_like(postgres: Arguments, template: str) -> Iterator[Arguments]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = psycopg2.connect(**postgres)
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield {**postgres, "dbname": name}
    finally:
        with admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.close()


@pytest.fixture
def database(postgres: Arguments) -> Iterator[Arguments]:
    """An empty database of the test's own: libpq keyword arguments."""
    with _database_like(postgres, "template1") as arguments:
        yield arguments


@pytest.fixture(scope="session")
def _migrated(postgres: Arguments) -> str:
    """Name of a template database that holds the metadata tables, migrated once."""
    from anomaly.adapters.postgres.migrate import migrate

    name = "template_metadata"
    admin = psycopg2.connect(**postgres)
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    admin.close()
    migrate({**postgres, "dbname": name})
    return name


@pytest.fixture
def metadata_database(postgres: Arguments, _migrated: str) -> Iterator[Arguments]:
    """A database of the test's own with the metadata tables: libpq keyword arguments."""
    with _database_like(postgres, _migrated) as arguments:
        yield arguments


@pytest.fixture
def make_group() -> Callable[..., Group]:
    """A valid group; keyword arguments replace its top-level keys, as in YAML."""

    def make(**changes: Any) -> Group:
        written: dict[str, Any] = {
            "name": "orders",
            "owner": "data",
            "source": {"connection": "source", "table": "events"},
            "interval": "1h",
            "variables": "all",
            "schedule": {"start": datetime(2026, 1, 1, tzinfo=UTC)},
            "slack": {"channel": "#alerts"},
        }
        return Group.model_validate(written | changes)

    return make
