"""Updating one hour must follow the new rows, not the table.

Three tables of 200 variables: a million rows over a year; ten million with the same rows per hour, over ten years;
ten million over the same year, so ten times the rows in the hour. The whole stage is timed (source check, Great
Expectations in the source's engine, counting, upsert), with imports done, by the median of several hours.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2

from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.postgres.migrate import migrate
from anomaly.adapters.postgres.source import PostgresSource
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.groups import Group
from anomaly.local.addresses import Addresses
from anomaly.local.places import Places
from anomaly.local.postgres import start_postgres
from anomaly.local.processes import Processes
from anomaly.stages.update import update

REPOSITORY = Path(__file__).parent.parent.parent
END = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS_TIMED = 7


@dataclass(frozen=True)
class Table:
    name: str
    rows: int
    years: int


TABLES = (Table("million", 1_000_000, 1), Table("longer", 10_000_000, 10), Table("denser", 10_000_000, 1))


def measure() -> dict[str, float]:
    """Seconds per updated hour for each table, and the ratios of the ten-million ones to the one-million one."""
    with _server() as arguments, tempfile.TemporaryDirectory() as results:
        migrate(arguments)
        seconds = {table.name: _seconds_per_hour(table, arguments, Path(results)) for table in TABLES}
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "longer_ratio": seconds["longer"] / seconds["million"],
        "denser_ratio": seconds["denser"] / seconds["million"],
    }


@contextmanager
def _server() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="anomaly-bench-") as folder:
        places = Places(Path(folder) / "var")
        places.make()
        # Free ports for all: a stack may be running on the usual ones.
        ports = Addresses.from_environment({f"ANOMALY_PORT_{part.name.upper()}": "0" for part in fields(Addresses)})
        with Processes(places.logs) as children:
            yield start_postgres(children, places, ports.postgres, os.environ).arguments("postgres")


def _seconds_per_hour(table: Table, arguments: dict[str, str], results: Path) -> float:
    _fill(table, arguments)
    group = Group.model_validate(
        {
            "name": table.name,
            "owner": "bench",
            "source": {"connection": "source", "table": table.name},
            "interval": "1h",
            "lateness": "1h",
            "variables": "all",
            "schedule": {"start": END - timedelta(days=60)},
            "slack": {"channel": "#bench"},
        }
    )
    store = PostgresStore(arguments)
    checks = GreatExpectationsChecks(suites=REPOSITORY / "expectations", results=results)
    timed = []
    for hour in range(HOURS_TIMED + 1):
        start = END - (100 - hour) * HOUR
        source = PostgresSource(group, arguments, suites=REPOSITORY / "expectations")
        begun = time.perf_counter()
        report = update(group, start, start + HOUR, source=source, store=store, checks=checks, now=END)
        timed.append(time.perf_counter() - begun)
        if report.events == 0:
            raise AssertionError(f"no events in {start}: the benchmark measures nothing")
    return statistics.median(timed[1:])


def _fill(table: Table, arguments: dict[str, str]) -> None:
    link = psycopg2.connect(**arguments)
    link.autocommit = True
    with link.cursor() as cursor:
        cursor.execute(
            f"CREATE UNLOGGED TABLE {table.name} AS SELECT 'e' || (n %% 5000) AS entity_id, "
            "'variable ' || (n::bigint * 7919 %% 200) AS variable, 'numeric' AS type, '1' AS value, "
            "%(end)s::timestamptz - (%(rows)s - n) * (%(span)s / %(rows)s) * interval '1 second' AS timestamp "
            "FROM generate_series(1, %(rows)s) n",
            {"end": END, "rows": table.rows, "span": table.years * 365.25 * 86_400},
        )
        cursor.execute(f"CREATE INDEX ON {table.name} (timestamp)")
        cursor.execute(f"VACUUM ANALYZE {table.name}")
    link.close()


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:20s} {value:.3f}")
