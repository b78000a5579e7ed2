"""What the review pages cost for a group of 5,000 variables with eight weeks of hourly predictions.

A real PostgreSQL is filled with what the pages read: predictions and counts, a fit with its residuals, incidents (one
of all variables), messages, and a million runs of stages. Each page is asked in this process, as Airflow's API server
would make it, and compared with the least that any page could cost: one trivial query over a connection of its own.
Figures are such ratios, medians over several rounds; there is no goal.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from fastapi import FastAPI
from fastapi.testclient import TestClient

from anomaly.adapters.connections import Connection
from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.adapters.postgres.migrate import migrate
from anomaly.adapters.settings import Settings
from anomaly.adapters.world import World
from anomaly.groups import Group
from anomaly.ports.review import Action, Person
from anomaly.review import create_app
from tests.benchmarks.measuring import Figure
from tests.benchmarks.update_bench import _server

VARIABLES, WEEKS, ROUNDS = 5000, 8, 5
RUNS = 1_000_000
INCIDENTS = 400
END = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = WEEKS * 168
START = END - timedelta(hours=HOURS)

_FILL = """
SET session_replication_role = replica;  -- rows that are made here keep no foreign key waiting
SET synchronous_commit = off;
ALTER TABLE predictions SET UNLOGGED;
ALTER TABLE counts SET UNLOGGED;
INSERT INTO variables (group_name, name, type, first_interval)
    SELECT 'bench', 'team_' || n / 100 || '.value_' || n, 'numeric', %(start)s FROM generate_series(1, %(variables)s) n;
INSERT INTO updated_ranges (group_name, range_start, range_end, step_seconds)
    VALUES ('bench', %(start)s, %(end)s, 3600);
INSERT INTO counts
    SELECT v, %(start)s + h * interval '1 hour', 40 + (v * 31 + h * 17) %% 23
    FROM generate_series(1, %(variables)s) v, generate_series(0, %(hours)s - 1) h;
INSERT INTO fits (id, group_name, history_start, history_end, step_seconds, configuration, shards, state,
        model_version, serves_from)
    SELECT f, 'bench', %(start)s - interval '30 days', %(start)s, 3600, %(group)s, 8, 'promoted', 1, %(start)s
    FROM unnest(ARRAY['fit-1', 'fit-0']) f;
INSERT INTO servings (group_name, fit_id, serves_from) VALUES ('bench', 'fit-1', %(start)s);
INSERT INTO predictions (variable_id, interval_start, fit_id, observed, predicted, lower, upper, residual,
        tail_probability, kind, test, felt, outlook)
    SELECT v, %(start)s + h * interval '1 hour', 'fit-1', 50, 51, 20, 90, -0.1, 10 ^ -(3 + (v + h) %% 8),
        CASE WHEN (v * 7919 + h * 104729) %% 400 = 0 THEN 'drop' ELSE '' END, 'single', 50, 51
    FROM generate_series(1, %(variables)s) v, generate_series(0, %(hours)s - 1) h;
INSERT INTO fitted_variables (fit_id, variable_id, status, status_reason, candidate, slot, position, seed,
        scaler_minimum, scaler_maximum, mae, choice, distribution, parameters, distribution_reason, tail_probability,
        lower, upper, residuals, tests)
    SELECT 'fit-1', v, 'fitted', 'enough', 'dense-16-mae', v %% 8 || '/dense-16-mae', v / 8, v, 0, 20,
        jsonb_build_object('chosen', 1 + v %% 10 * 0.1, 'champion', 1.4, 'seasonal-naive', 2.0), 'smallest error',
        't', '{5, 0, 1}', 'passes', 1e-6, -4, 4, ARRAY(SELECT (n %% 41 - 20) / 10.0 FROM generate_series(1, 2000) n),
        %(tests)s
    FROM generate_series(1, %(variables)s) v;
INSERT INTO incidents (group_name, kind, starts, ends, resolved, tail_probability, return_period_hours, severity)
    SELECT 'bench', 'drop', %(start)s + n * interval '3 hours', %(start)s + (n * 3 + 5) * interval '1 hour',
        n < %(incidents)s - 5, 1e-9, 1e6, 'high' FROM generate_series(1, %(incidents)s) n;
INSERT INTO incident_variables (incident_id, rank, variable, kind, starts, ends, anomalies, observed, expected,
        tail_probability)
    SELECT i.id, v.id, v.name, 'drop', i.starts, i.ends, 3, 3, 50, 1e-9 FROM incidents i JOIN variables v
        ON i.id = 1 OR v.id %% 500 = i.id %% 500;
INSERT INTO outbox (key, incident_id, action, delivered_at, words)
    SELECT 'bench-' || i.id || '-' || n, i.id, CASE n WHEN 0 THEN 'post' ELSE 'update' END,
        i.starts + n * interval '1 hour', 'High: bench: ten variables dropped'
    FROM incidents i, generate_series(0, 40) n;
INSERT INTO stage_runs (group_name, stage, range_start, range_end, seconds, report, finished_at)
    SELECT 'bench', (ARRAY['update', 'predict', 'alert', 'follow', 'fit.train'])[1 + n %% 5],
        %(start)s, %(end)s, 1, '{}', %(end)s - n * interval '1 minute' FROM generate_series(1, %(runs)s) n;
"""
_TESTS = (
    '[{"test": "single", "family": "t", "parameters": [5, 0, 1], "knee": 2.3, "slope": 1, "reason": "passes"},'
    ' {"test": "any", "family": "any", "parameters": [], "knee": 2.3, "slope": 1, "reason": ""}]'
)
_PAGES = {
    "installation": "/groups",
    "group": "/groups/bench",
    "group, by name": "/groups/bench?order=name&page=60",
    "group, a search": "/groups/bench?q=value_49&days=84",
    "incident": "/incidents/200",
    "incident of all variables": "/incidents/1",
    "variable": "/variables/bench/team_12.value_1234",
    "fit": "/fits/fit-1",
    "chart of a variable, 8 weeks": "/data/variable/bench/team_12.value_1234?days=84",
    "chart of an incident": "/data/incident/200?v=team_2.value_200",
    "charts of related variables": "/data/incident/1/others?v=team_12.value_1234",
}


class _Anybody:
    """Lets everybody in: what the checks cost is Airflow's."""

    @property
    def person(self) -> Callable[..., Person]:
        def who() -> Person:
            return Person("bench", "Bench")

        return who

    def permitted(self, person: Person, groups: Any, action: Action) -> frozenset[str]:
        return frozenset(groups)


def review_benchmark() -> list[Figure]:
    """A figure per page."""
    with _server() as arguments, tempfile.TemporaryDirectory() as folder:
        migrate(arguments)
        group = _group()
        _fill(arguments, group)
        trivial = _seconds(partial(_select_one, arguments), rounds=10 * ROUNDS)
        with TestClient(_app(arguments, group, Path(folder))) as pages:
            seconds = {name: _seconds(partial(_asked, pages, path)) for name, path in _PAGES.items()}
    return [
        Figure(
            f"review: {name}, {VARIABLES:,} variables",
            took / trivial,
            None,
            "at most",
            "trivial queries",
            {"milliseconds": round(1000 * took, 1), "trivial_milliseconds": round(1000 * trivial, 1)},
        )
        for name, took in seconds.items()
    ]


def _group() -> Group:
    return Group.model_validate(
        {
            "name": "bench",
            "owner": "bench",
            "source": {"connection": "source", "table": "events"},
            "interval": "1h",
            "variables": "all",
            "schedule": {"start": START},
            "slack": {"channel": "#bench"},
        }
    )


def _fill(arguments: Mapping[str, str], group: Group) -> None:
    with closing(psycopg2.connect(**arguments)) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            values = {
                "start": START, "end": END, "hours": HOURS, "variables": VARIABLES, "incidents": INCIDENTS,
                "runs": RUNS, "group": group.model_dump_json(), "tests": _TESTS,
            }  # fmt: skip
            for statement in _FILL.split(";\n"):
                if statement.strip():
                    cursor.execute(statement, values)
            cursor.execute("VACUUM ANALYZE")


def _app(arguments: Mapping[str, str], group: Group, folder: Path) -> FastAPI:
    settings = Settings(
        groups=folder, expectations=folder, validations=folder, artifacts=str(folder), mlflow_tracking_uri=None,
        s3_endpoint=None, link_airflow=None, link_mlflow=None, link_data_docs=None,
    )  # fmt: skip

    def connection(connection_id: str) -> Connection:
        named = (arguments[part] for part in ("host", "port", "user", "dbname"))
        host, port, user, database = named
        password = arguments.get("password")
        return Connection(connection_id, "postgres", host, int(port), user, password, database, {})

    world = World(settings, connection)
    return create_app(lambda: world, lambda: [group], _Anybody(), secret=b"bench", clock=lambda: END)


def _select_one(arguments: Mapping[str, str]) -> None:
    with metadata_cursor(arguments) as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def _asked(pages: TestClient, path: str) -> None:
    answer = pages.get(path)
    if answer.status_code != 200:
        raise AssertionError(f"{path} answered {answer.status_code}: {answer.text[:500]}")


def _seconds(work: Callable[[], None], *, rounds: int = ROUNDS) -> float:
    """Median over the rounds, after one that warms up."""
    work()
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)
