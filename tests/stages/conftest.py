"""What the stages' tests share: a source and a store on a real PostgreSQL, and events to put into the source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import psycopg2.extras
import pytest
from numpy.typing import NDArray

from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.postgres.source import PostgresSource
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.groups import Group
from tests.conftest import REPOSITORY, Arguments

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Event = tuple[str | None, str | None, str | None, str | None, datetime | None]


class SourceTable:
    """A production-like table that a test fills."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self._run(
            "CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamptz);"
            "CREATE INDEX ON events (timestamp)"
        )

    def _run(self, statement: str) -> None:
        with psycopg2.connect(**self.arguments) as link, link.cursor() as cursor:
            cursor.execute(statement)
        link.close()

    def add(self, rows: Iterable[Event]) -> None:
        link = psycopg2.connect(**self.arguments)
        with link, link.cursor() as cursor:
            psycopg2.extras.execute_values(cursor, "INSERT INTO events VALUES %s", list(rows))
        link.close()

    def write(self, variable: str, hour: int, times: int = 1, *, kind: str = "numeric") -> None:
        """So many events of a variable, spread over one hour after START."""
        at = START + hour * HOUR
        self.add((f"e{n}", variable, kind, "1", at + n * HOUR / (times + 1)) for n in range(times))

    def write_all(self, variable: str, counts: Sequence[int]) -> None:
        """One count per hour from START on."""
        self.add(
            (f"e{n}", variable, "numeric", "1", START + hour * HOUR + n * HOUR / (times + 1))
            for hour, times in enumerate(counts)
            for n in range(times)
        )


@pytest.fixture
def source_table(database: Arguments) -> SourceTable:
    return SourceTable(database)


@pytest.fixture
def make_source(source_table: SourceTable) -> Callable[[Group], PostgresSource]:
    return lambda group: PostgresSource(group, source_table.arguments, suites=REPOSITORY / "expectations")


@pytest.fixture
def store(metadata_database: Arguments) -> PostgresStore:
    return PostgresStore(metadata_database)


@pytest.fixture
def checks(tmp_path: Path) -> GreatExpectationsChecks:
    return GreatExpectationsChecks(suites=REPOSITORY / "expectations", results=tmp_path / "validations")


def rows_in(arguments: Arguments, query: str) -> list[tuple[object, ...]]:
    link = psycopg2.connect(**arguments)
    with link, link.cursor() as cursor:
        cursor.execute(query)
        found: list[tuple[object, ...]] = cursor.fetchall()
    link.close()
    return found


@pytest.fixture
def make_watched(
    make_group: Callable[..., Group], store: PostgresStore, checks: GreatExpectationsChecks
) -> Callable[..., Any]:
    def make(counts: NDArray[np.float64], names: Sequence[str] = ("a", "b"), **changes: object) -> Any:
        group = make_group(**changes)
        variables = store.enrol(group, dict.fromkeys(names, "numeric"), first_interval=START)
        from tests.stages.watched import Watched

        watched = Watched(group, store, checks, variables)
        watched.rewrite(counts)
        return watched

    return make


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def make_workplace(
    make_group: Callable[..., Group],
    store: PostgresStore,
    checks: GreatExpectationsChecks,
    mlflow_database: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Callable[..., Any]:
    from anomaly.adapters.artifacts import Artifacts
    from anomaly.adapters.mlflow_registry import MlflowRegistry
    from tests.stages.workplace import Workplace

    def make(**changes: Any) -> Any:
        name = "g" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
        group = make_group(name=name, **{"candidates": ["dense-16-mae", "seasonal-naive"]} | changes)
        root = str(tmp_path / "artifacts")
        return Workplace(group, store, checks, MlflowRegistry(mlflow_database, root), Artifacts(root))

    return make
