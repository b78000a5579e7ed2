"""The metadata store: PostgreSQL behind `anomaly.ports.Store`.

Every public method is one transaction. Large writes go through COPY into a temporary table and an upsert from
there, so that a year of counts costs seconds and running it again changes nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np
import psycopg2.extensions
import psycopg2.extras
from numpy.typing import NDArray

from anomaly.adapters.postgres import locks
from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.adapters.postgres.incidents import INCIDENT_COLUMNS, PART_COLUMNS, read_incidents
from anomaly.adapters.postgres.outbox import PostgresOutbox
from anomaly.detection.completeness import Filling, punctual
from anomaly.detection.evidence import as_json, from_json
from anomaly.detection.grid import CountGrid
from anomaly.detection.incidents import Anomaly, Incident
from anomaly.exceptions import ConfigurationError
from anomaly.groups import Group, TimeRange
from anomaly.groups.durations import format_duration
from anomaly.groups.model import TOTAL
from anomaly.ports import (
    Fit,
    FittedVariable,
    NetworkFile,
    Predictions,
    RareIntervals,
    RejectedRow,
    Remembered,
    RunRecord,
    StandIn,
    Variable,
)

log = logging.getLogger(__name__)

_CELLS_AT_ONCE = 300_000
"""Counts that are written or read by one COPY; 10 MB in its binary format."""
_BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_BINARY_END = b"\xff\xff"
_WORD = 16
"""Characters that the name of a kind or of a test has at most; all of them ASCII."""
_PREDICTION_COLUMNS = (
    "variable_id, interval_start, fit_id, observed, predicted, lower, upper, residual, tail_probability, felt, "
    "outlook, kind, test"
)


_ANOMALY_COLUMNS = (
    "v.name, p.interval_start, p.kind, p.observed, p.predicted, p.residual, p.tail_probability, "
    "coalesce(f.tail_probability * coalesce((SELECT a.factor FROM adjustments a WHERE a.group_name = v.group_name "
    "AND a.variable = v.name AND a.serves_from <= p.interval_start ORDER BY a.serves_from DESC LIMIT 1), 1), 1), p.test"
)


FIT_COLUMNS = (
    "f.id, f.group_name, f.history_start, f.history_end, f.step_seconds, f.configuration, f.shards, f.state, "
    "f.mlflow_run_id, f.model_version, f.metrics, f.reason"
)
"""Of table ``fits f``; with `serves_from` behind them, what `read_fit` reads."""


def read_fit(row: tuple[Any, ...]) -> Fit:
    """A fit from `FIT_COLUMNS` and the moment it serves from."""
    return Fit(
        id=row[0],
        group=row[1],
        history=TimeRange(row[2], row[3], timedelta(seconds=row[4])),
        configuration=row[5],
        shards=row[6],
        state=row[7],
        mlflow_run_id=row[8],
        model_version=row[9],
        metrics=row[10],
        reason=row[11],
        serves_from=row[12],
    )


class PostgresStore(PostgresOutbox):
    """Implements `anomaly.ports.Store`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        with metadata_cursor(self._arguments) as cursor:
            yield cursor

    # --- variables and counts -----------------------------------------------------------------------------------

    def enrol(
        self, group: Group, found: Mapping[str, str | None], *, first_interval: datetime | Mapping[str, datetime]
    ) -> tuple[Variable, ...]:
        first = first_interval if isinstance(first_interval, Mapping) else dict.fromkeys(found, first_interval)
        with self._cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO variables (group_name, name, type, first_interval) VALUES %s "
                "ON CONFLICT (group_name, name) DO UPDATE SET "
                "type = coalesce(excluded.type, variables.type), "
                "first_interval = least(variables.first_interval, excluded.first_interval) "
                "WHERE variables.type IS NULL AND excluded.type IS NOT NULL "
                "OR excluded.first_interval < variables.first_interval",
                [(group.name, name, kind, first[name]) for name, kind in found.items()],
            ) if found else None
        return self.variables(group)

    def variables(self, group: Group, *, left_out: bool = False) -> tuple[Variable, ...]:
        with self._cursor() as cursor:
            cursor.execute(
                'SELECT id, name, type, first_interval FROM variables WHERE group_name = %s ORDER BY name COLLATE "C"',
                (group.name,),
            )
            met = tuple(Variable(*row) for row in cursor.fetchall())
        return met if left_out else tuple(v for v in met if group.watches(v.name))

    def write_counts(self, group: Group, variables: Sequence[Variable], grid: CountGrid) -> int:  # noqa: ARG002
        ids = np.array([v.id for v in variables], dtype=np.int64)
        starts = _since_2000(grid.starts)
        with self._cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE incoming (variable_id bigint, interval_start timestamptz, events bigint) "
                "ON COMMIT DROP"
            )
            for rows, columns in _pieces(*grid.counts.shape):
                counts = grid.counts[rows, columns]
                row, column = np.nonzero(np.isfinite(counts))
                _copy_in(cursor, "incoming", [ids[rows][row], starts[columns][column], counts[row, column]])
            cursor.execute(
                "INSERT INTO counts SELECT * FROM incoming ON CONFLICT (variable_id, interval_start) "
                "DO UPDATE SET events = excluded.events WHERE counts.events <> excluded.events"
            )
            return int(cursor.rowcount)

    def read_counts(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> CountGrid:
        counts = np.full((len(variables), len(within)), np.nan)
        ids = np.array([v.id for v in variables], dtype=np.int64)
        start, step = int(within.start.timestamp()), int(within.step.total_seconds())
        with self._cursor() as cursor:
            _refuse_another_step(cursor, group, within.step)
            for rows, columns in _pieces(*counts.shape):
                cells = _copy_out(
                    cursor,
                    "SELECT variable_id::bigint, ((extract(epoch FROM interval_start) - %s) / %s)::bigint, events "
                    "FROM counts WHERE variable_id = ANY(%s) AND interval_start >= %s AND interval_start < %s",
                    (
                        start,
                        step,
                        ids[rows].tolist(),
                        within.start + columns.start * within.step,
                        within.start + columns.stop * within.step,
                    ),
                    columns=3,
                )
                counts[_positions(ids, cells[:, 0]), cells[:, 1]] = cells[:, 2]
        return CountGrid(tuple(v.name for v in variables), within.starts(), counts)

    def write_count_ages(
        self, group: Group, variables: Sequence[Variable], grid: CountGrid, ages: Sequence[int], *, keep_from: datetime
    ) -> None:
        ids = np.array([v.id for v in variables], dtype=np.int64)
        rows = []
        for start, age, counts in zip(_moments(grid.starts), ages, grid.counts.T, strict=True):
            known = np.isfinite(counts)
            rows.append((group.name, int(age), str(start), ids[known].tolist(), counts[known].astype(int).tolist()))
        with self._cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO count_ages (group_name, age, interval_start, variable_ids, events) VALUES %s "
                "ON CONFLICT (group_name, age, interval_start) "
                "DO UPDATE SET variable_ids = excluded.variable_ids, events = excluded.events",
                rows,
                template="(%s, %s, %s, %s::integer[], %s::bigint[])",
            )
            cursor.execute(
                "DELETE FROM count_ages WHERE group_name = %s AND interval_start < %s", (group.name, keep_from)
            )

    def read_count_ages(
        self, group: Group, variables: Sequence[Variable], within: TimeRange, age: int
    ) -> NDArray[np.float64]:
        counts = np.full((len(variables), len(within)), np.nan)
        ids = np.array([v.id for v in variables], dtype=np.int64)
        start, step = int(within.start.timestamp()), int(within.step.total_seconds())
        with self._cursor() as cursor:
            for piece in within.chunks(max(1, _CELLS_AT_ONCE // max(1, len(variables)))):
                cells = _copy_out(
                    cursor,
                    "SELECT unnest(variable_ids)::bigint, ((extract(epoch FROM interval_start) - %s) / %s)::bigint, "
                    "unnest(events) FROM count_ages WHERE group_name = %s AND age = %s AND interval_start >= %s "
                    "AND interval_start < %s",
                    (start, step, group.name, age, piece.start, piece.end),
                    columns=3,
                )
                wanted = cells[np.isin(cells[:, 0], ids)]
                counts[_positions(ids, wanted[:, 0]), wanted[:, 1]] = wanted[:, 2]
        return counts

    def counted_ages(self, group: Group, within: TimeRange) -> NDArray[np.int64]:
        ages = np.full(len(within), -1, dtype=np.int64)
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT interval_start, max(age) FROM count_ages WHERE group_name = %s AND interval_start >= %s "
                "AND interval_start < %s GROUP BY interval_start",
                (group.name, within.start, within.end),
            )
            for start, age in cursor.fetchall():
                ages[(start - within.start) // within.step] = age
        return ages

    def save_filling(self, variables: Sequence[Variable], filling: Filling, *, at: datetime) -> None:
        learned = (filling.filled.tolist(), filling.scatter.tolist(), filling.intervals.tolist())
        rows = [
            (variable.id, age, share, deviation, intervals, at)
            for variable, filled, scatter, intervals in zip(variables, *learned, strict=True)
            for age, (share, deviation) in enumerate(zip(filled, scatter, strict=True))
        ]
        with self._cursor() as cursor:
            cursor.execute("DELETE FROM fillings WHERE variable_id = ANY(%s)", ([v.id for v in variables],))
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO fillings (variable_id, age, filled, scatter, intervals, learned_at) VALUES %s",
                rows,
                page_size=1000,
            )

    def filling(self, variables: Sequence[Variable], ages: int) -> Filling:
        filling = punctual(len(variables), ages)
        row = {v.id: at for at, v in enumerate(variables)}
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT variable_id, age, filled, scatter, intervals FROM fillings "
                "WHERE variable_id = ANY(%s) AND age < %s",
                (list(row), ages - 1),
            )
            for number, age, filled, scatter, intervals in cursor.fetchall():
                at = row[number]
                filling.filled[at, age], filling.scatter[at, age], filling.intervals[at] = filled, scatter, intervals
        return filling

    def filling_learned(self, group: Group) -> datetime | None:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT max(learned_at) FROM fillings JOIN variables ON variables.id = variable_id "
                "WHERE group_name = %s",
                (group.name,),
            )
            (at,) = cast("tuple[datetime | None]", cursor.fetchone())
            return at

    def quarantine(self, group: Group, rows: Sequence[RejectedRow], *, at: datetime) -> int:
        if not rows:
            return 0
        found = Counter(json.dumps({"reason": r.reason, "row": dict(r.row)}, sort_keys=True) for r in rows)
        values = []
        for text, copies in found.items():
            kept = json.loads(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            row = psycopg2.extras.Json(_without_nul(kept["row"]))
            values.append((group.name, digest, copies, kept["reason"], row, at))
        with self._cursor() as cursor:
            new = psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO quarantine (group_name, digest, copies, reason, row, found_at) VALUES %s "
                "ON CONFLICT (group_name, digest) DO NOTHING RETURNING copies",
                values,
                fetch=True,
            )
            return sum(copies for (copies,) in new)

    def mark_updated(self, group: Group, within: TimeRange, *, rows_read: int, events: int, at: datetime) -> None:  # noqa: ARG002
        with self._cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"updated {group.name}",))
            _refuse_another_step(cursor, group, within.step)
            cursor.execute(
                "DELETE FROM updated_ranges WHERE group_name = %s AND range_start <= %s AND range_end >= %s "
                "RETURNING range_start, range_end",
                (group.name, within.end, within.start),
            )
            touching = cursor.fetchall()
            start = min([within.start, *(s for s, _ in touching)])
            end = max([within.end, *(e for _, e in touching)])
            cursor.execute(
                "INSERT INTO updated_ranges (group_name, range_start, range_end, step_seconds) VALUES (%s, %s, %s, %s)",
                (group.name, start, end, int(within.step.total_seconds())),
            )

    def first_gap(self, group: Group, within: TimeRange) -> TimeRange | None:
        with self._cursor() as cursor:
            _refuse_another_step(cursor, group, within.step)
            cursor.execute(
                "SELECT range_start, range_end FROM updated_ranges WHERE group_name = %s AND range_end > %s "
                "AND range_start < %s ORDER BY range_start",
                (group.name, within.start, within.end),
            )
            at = within.start
            for start, end in cursor.fetchall():
                if start > at:
                    return TimeRange(at, start, within.step)
                at = max(at, end)
        return TimeRange(at, within.end, within.step) if at < within.end else None

    def first_uncounted(self, group: Group, before: datetime) -> datetime | None:
        with self._cursor() as cursor:
            _refuse_another_step(cursor, group, group.interval)
            cursor.execute(
                "SELECT range_end FROM updated_ranges WHERE group_name = %s AND range_start < %s "
                "ORDER BY range_start DESC LIMIT 1",
                (group.name, before),
            )
            latest = cast("tuple[datetime] | None", cursor.fetchone())
            return latest[0] if latest is not None and latest[0] < before else None

    @contextmanager
    def exclusively(self, group: Group, stage: str) -> Iterator[None]:
        # Packets that keep the connection alive where something between here and the server forgets quiet ones.
        with metadata_cursor({"keepalives_idle": "30", **self._arguments}) as cursor:
            key = (locks.STAGE, f"{stage} {group.name}")
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SET idle_session_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", key)
            if cursor.fetchone() == (False,):
                log.info("another %s of group %s is running; waiting for its end", stage, group.name)
                cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", key)
            # The session keeps the lock. A transaction left open for the length of a stage would hold back vacuum.
            cursor.connection.commit()
            yield
            cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)  # raises where the session is gone

    def updated_until(self, group: Group) -> datetime | None:
        with self._cursor() as cursor:
            cursor.execute("SELECT max(range_end) FROM updated_ranges WHERE group_name = %s", (group.name,))
            (until,) = cast("tuple[datetime | None]", cursor.fetchone())
            return until

    # --- fits -----------------------------------------------------------------------------------------------------

    def begin_fit(self, fit: Fit) -> Fit:
        self._insert_fit(fit, "ON CONFLICT (id) DO NOTHING")
        return self.fit(fit.id) or fit

    def save_fit(self, fit: Fit) -> None:
        self._insert_fit(
            fit,
            "ON CONFLICT (id) DO UPDATE SET state = excluded.state, mlflow_run_id = excluded.mlflow_run_id, "
            "model_version = excluded.model_version, serves_from = excluded.serves_from, "
            "metrics = excluded.metrics, shards = excluded.shards",
        )

    def _insert_fit(self, fit: Fit, conflict: str) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "INSERT INTO fits (id, group_name, history_start, history_end, step_seconds, configuration, shards, "
                "state, mlflow_run_id, model_version, serves_from, metrics, reason) "
                f"VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) {conflict}",
                (
                    fit.id,
                    fit.group,
                    fit.history.start,
                    fit.history.end,
                    int(fit.history.step.total_seconds()),
                    psycopg2.extras.Json(fit.configuration),
                    fit.shards,
                    fit.state,
                    fit.mlflow_run_id,
                    fit.model_version,
                    fit.serves_from,
                    psycopg2.extras.Json(dict(fit.metrics)),
                    fit.reason,
                ),
            )
            if fit.state == "promoted" and fit.serves_from is not None:
                cursor.execute(
                    "INSERT INTO servings (group_name, fit_id, serves_from) SELECT %(group)s, %(fit)s, %(from)s "
                    "WHERE NOT EXISTS (SELECT FROM servings WHERE fit_id = %(fit)s AND serves_from = %(from)s)",
                    {"group": fit.group, "fit": fit.id, "from": fit.serves_from},
                )

    def fit(self, fit_id: str) -> Fit | None:
        with self._cursor() as cursor:
            cursor.execute(f"SELECT {FIT_COLUMNS}, f.serves_from FROM fits f WHERE f.id = %s", (fit_id,))
            return next((read_fit(row) for row in cursor.fetchall()), None)

    def champions(self, group: Group, within: TimeRange) -> Sequence[Fit]:
        return self._serving(
            "AND s.serves_from < %s AND s.serves_from >= coalesce((SELECT max(serves_from) FROM servings "
            "WHERE group_name = %s AND serves_from <= %s), %s)",
            (group.name, within.end, group.name, within.start, within.start),
        )

    def champion(self, group: Group) -> Fit | None:
        found = self._serving("", (group.name,))
        return found[-1] if found else None

    def _serving(self, condition: str, values: tuple[Any, ...]) -> tuple[Fit, ...]:
        """Who serves from when; a fit that serves again after a rollback is there twice."""
        with self._cursor() as cursor:
            cursor.execute(
                f"SELECT {FIT_COLUMNS}, s.serves_from FROM servings s JOIN fits f ON f.id = s.fit_id "
                f"WHERE s.group_name = %s {condition} ORDER BY s.serves_from, s.id",
                values,
            )
            return tuple(read_fit(row) for row in cursor.fetchall())

    def save_fitted(self, fit_id: str, fitted: Sequence[FittedVariable], files: Sequence[NetworkFile]) -> None:
        with self._cursor() as cursor:
            cursor.execute("SELECT FROM fits WHERE id = %s FOR UPDATE", (fit_id,))  # two attempts at once take turns
            cursor.execute(
                "DELETE FROM fitted_variables WHERE fit_id = %s AND variable_id = ANY(%s)",
                (fit_id, [f.variable.id for f in fitted]),
            )
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO fitted_variables (fit_id, variable_id, status, status_reason, candidate, slot, position, "
                "seed, scaler_minimum, scaler_maximum, mae, choice, distribution, parameters, distribution_reason, "
                "tail_probability, lower, upper, residuals, tests, month_days) VALUES %s",
                [
                    (
                        fit_id,
                        f.variable.id,
                        f.status,
                        f.status_reason,
                        f.candidate,
                        f.slot,
                        f.position,
                        f.seed,
                        float(f.scaler_minimum),
                        float(f.scaler_maximum),
                        psycopg2.extras.Json({k: float(v) for k, v in f.mae.items()}),
                        f.choice,
                        f.distribution,
                        [float(p) for p in f.parameters],
                        f.distribution_reason,
                        float(f.tail_probability),
                        float(f.lower),
                        float(f.upper),
                        [float(r) for r in f.residuals],
                        psycopg2.extras.Json(as_json(f.tests)),
                        psycopg2.extras.Json(
                            {str(day): [float(end) for end in ends] for day, ends in f.month_days.items()}
                        ),
                    )
                    for f in fitted
                ],
            )
            cursor.executemany(
                "INSERT INTO network_files VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (fit_id, slot) "
                "DO UPDATE SET candidate = excluded.candidate, variables = excluded.variables, "
                "training_uri = excluded.training_uri, training_sha256 = excluded.training_sha256, "
                "serving_uri = excluded.serving_uri, serving_sha256 = excluded.serving_sha256",
                [
                    (
                        fit_id,
                        f.slot,
                        f.candidate,
                        f.variables,
                        f.training_uri,
                        f.training_sha256,
                        f.serving_uri,
                        f.serving_sha256,
                    )
                    for f in files
                ],
            )

    def fitted(
        self, fit_id: str, *, residuals: bool = False, names: Sequence[str] | None = None
    ) -> tuple[FittedVariable, ...]:
        with self._cursor() as cursor:
            # As text: one string per variable is read some ten times faster than a Python float per residual.
            cursor.execute(
                "SELECT v.id, v.name, v.type, v.first_interval, f.status, f.status_reason, f.candidate, f.slot, "
                "f.position, f.seed, f.scaler_minimum, f.scaler_maximum, f.mae, f.choice, f.distribution, "
                "f.parameters, f.distribution_reason, f.tail_probability, f.lower, f.upper, "
                "CASE WHEN %s THEN array_to_string(f.residuals, ' ') ELSE '' END, f.tests, f.month_days "
                "FROM fitted_variables f JOIN variables v ON v.id = f.variable_id WHERE f.fit_id = %s "
                'AND (%s::text[] IS NULL OR v.name = ANY(%s::text[])) ORDER BY v.name COLLATE "C"',
                (residuals, fit_id, *(2 * [None if names is None else list(names)])),
            )
            return tuple(
                FittedVariable(
                    variable=Variable(*row[:4]),
                    status=row[4],
                    status_reason=row[5],
                    candidate=row[6],
                    slot=row[7],
                    position=row[8],
                    seed=row[9],
                    scaler_minimum=row[10],
                    scaler_maximum=row[11],
                    mae=row[12],
                    choice=row[13],
                    distribution=row[14],
                    parameters=tuple(row[15]),
                    distribution_reason=row[16],
                    tail_probability=row[17],
                    lower=row[18],
                    upper=row[19],
                    residuals=np.array(row[20].split(), dtype=np.float32),
                    tests=from_json(row[21]),
                    month_days=_month_days(row[22]),
                )
                for row in cursor.fetchall()
            )

    def network_files(self, fit_id: str) -> tuple[NetworkFile, ...]:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT slot, candidate, variables, training_uri, training_sha256, serving_uri, serving_sha256 "
                "FROM network_files WHERE fit_id = %s ORDER BY slot",
                (fit_id,),
            )
            return tuple(NetworkFile(*row) for row in cursor.fetchall())

    # --- predictions and anomalies --------------------------------------------------------------------------------

    def write_predictions(self, group: Group, predictions: Predictions) -> int:
        p = predictions
        rows, columns = np.nonzero(np.isfinite(p.predicted))
        ids = np.array([v.id for v in p.variables], dtype=np.int64)
        kinds = p.kinds[rows, columns]
        starts = _moments(p.starts)
        table = _columns_text(
            [
                ids[rows],
                starts[columns],
                np.full(rows.shape, p.fit_id),
                *(
                    values[rows, columns]
                    for values in (
                        *(p.observed, p.predicted, p.lower, p.upper),
                        *(p.residuals, p.tail_probabilities, p.felt, p.outlook),
                    )
                ),
                kinds,
                p.tests[rows, columns],
            ]
        )
        with self._cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE incoming (LIKE predictions INCLUDING DEFAULTS) ON COMMIT DROP")
            cursor.copy_expert(f"COPY incoming ({_PREDICTION_COLUMNS}) FROM STDIN", table)
            if p.starts.size:
                cursor.execute(
                    "DELETE FROM predictions p USING variables v WHERE v.id = p.variable_id AND v.group_name = %s "
                    "AND interval_start >= %s AND interval_start <= %s AND NOT EXISTS (SELECT FROM incoming i "
                    "WHERE i.variable_id = p.variable_id AND i.interval_start = p.interval_start)",
                    (group.name, starts[0], starts[-1]),
                )
            cursor.execute(
                f"INSERT INTO predictions ({_PREDICTION_COLUMNS}) SELECT {_PREDICTION_COLUMNS} FROM incoming "
                "ON CONFLICT (variable_id, interval_start) DO UPDATE SET fit_id = excluded.fit_id, "
                "observed = excluded.observed, predicted = excluded.predicted, lower = excluded.lower, "
                "upper = excluded.upper, residual = excluded.residual, "
                "tail_probability = excluded.tail_probability, felt = excluded.felt, "
                "outlook = excluded.outlook, kind = excluded.kind, "
                "test = excluded.test "
                "WHERE (predictions.fit_id, predictions.observed, predictions.predicted, predictions.lower, "
                "predictions.upper, predictions.tail_probability, predictions.felt, predictions.outlook, "
                "predictions.kind, predictions.test) IS DISTINCT FROM (excluded.fit_id, excluded.observed, "
                "excluded.predicted, excluded.lower, excluded.upper, excluded.tail_probability, excluded.felt, "
                "excluded.outlook, excluded.kind, excluded.test)"
            )
        return int(np.count_nonzero(kinds != ""))

    def read_predictions(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> Predictions | None:  # noqa: ARG002
        shape = (len(variables), len(within))
        numbers = {
            name: np.full(shape, np.nan)
            for name in (
                "observed",
                "predicted",
                "lower",
                "upper",
                "residuals",
                "tail_probabilities",
                "felt",
                "outlook",
            )
        }
        kinds, tests = (np.full(shape, "", dtype=f"<U{_WORD}") for _ in range(2))
        ids = np.array([v.id for v in variables], dtype=np.int64)
        start, step = int(within.start.timestamp()), int(within.step.total_seconds())
        latest: list[tuple[datetime, str]] = []
        with self._cursor() as cursor:
            for block, part in _pieces(*shape):
                where = "FROM predictions WHERE variable_id = ANY(%s) AND interval_start >= %s AND interval_start < %s"
                asked = (
                    ids[block].tolist(),
                    within.start + part.start * within.step,
                    within.start + part.stop * within.step,
                )
                cursor.execute(f"SELECT interval_start, fit_id {where} ORDER BY 1 DESC, 2 DESC LIMIT 1", asked)
                latest += cursor.fetchall()
                found = _rows_out(
                    cursor,
                    "SELECT variable_id::bigint, ((extract(epoch FROM interval_start) - %s) / %s)::bigint, "
                    "observed, predicted, lower, upper, residual, tail_probability, coalesce(felt, 'NaN'), "
                    f"coalesce(outlook, 'NaN'), rpad(kind, {_WORD}), rpad(test, {_WORD}) {where}",
                    (start, step, *asked),
                    types=(">i8", ">i8", *(8 * (">f8",)), *(2 * (f"S{_WORD}",))),
                )
                rows, columns = _positions(ids, found["value 0"].astype(np.int64)), found["value 1"].astype(np.int64)
                for at, name in enumerate(numbers, start=2):
                    numbers[name][rows, columns] = found[f"value {at}"]
                for at, words in enumerate((kinds, tests), start=10):
                    words[rows, columns] = np.char.rstrip(found[f"value {at}"].astype(f"U{_WORD}"))
        if not latest:
            return None
        return Predictions(
            fit_id=max(latest)[1],
            variables=tuple(variables),
            starts=within.starts(),
            kinds=kinds,
            tests=tests,
            **numbers,
        )

    def remembered(
        self,
        group: Group,  # noqa: ARG002
        variables: Sequence[Variable],
        within: TimeRange,
        *,
        whole_from: datetime,
    ) -> Remembered:
        made = Remembered.nothing((len(variables), len(within)))
        ids = np.array([v.id for v in variables], dtype=np.int64)
        start, step = int(within.start.timestamp()), int(within.step.total_seconds())
        with self._cursor() as cursor:
            for block, part in _pieces(len(variables), len(within)):
                found = _rows_out(
                    cursor,
                    "SELECT variable_id::bigint, ((extract(epoch FROM interval_start) - %s) / %s)::bigint, "
                    "observed, coalesce(felt, 'NaN'), predicted, (kind <> '')::integer::bigint FROM predictions "
                    "WHERE variable_id = ANY(%s) AND interval_start >= %s AND interval_start < %s "
                    "AND (interval_start >= %s OR felt IS DISTINCT FROM observed OR kind <> '')",
                    (
                        start,
                        step,
                        ids[block].tolist(),
                        within.start + part.start * within.step,
                        within.start + part.stop * within.step,
                        whole_from,
                    ),
                    types=(">i8", ">i8", *(3 * (">f8",)), ">i8"),
                )
                at = _positions(ids, found["value 0"].astype(np.int64)), found["value 1"].astype(np.int64)
                for place, kept in enumerate((made.observed, made.felt, made.predicted, made.anomalous), start=2):
                    kept[at] = found[f"value {place}"]
        return made

    def stand_ins(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> Sequence[StandIn]:  # noqa: ARG002
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT p.variable_id, p.interval_start, f.month_days FROM fitted_variables f "
                "JOIN predictions p USING (variable_id, fit_id) WHERE variable_id = ANY(%s) "
                "AND f.month_days <> '{}' AND p.interval_start >= %s AND p.interval_start < %s "
                "AND p.felt IS DISTINCT FROM p.observed ORDER BY 1, 2",
                ([v.id for v in variables], within.start, within.end),
            )
            return tuple(StandIn(row[0], row[1], _month_days(row[2])) for row in cursor.fetchall())

    def anomalies(self, group: Group, within: TimeRange) -> Sequence[Anomaly]:
        with self._cursor() as cursor:
            cursor.execute(
                f"SELECT {_ANOMALY_COLUMNS} FROM predictions p JOIN variables v ON v.id = p.variable_id "
                "LEFT JOIN fitted_variables f ON f.fit_id = p.fit_id AND f.variable_id = p.variable_id "
                "WHERE p.kind <> '' AND v.group_name = %s AND p.interval_start >= %s AND p.interval_start < %s "
                'ORDER BY p.interval_start, v.name COLLATE "C"',
                (group.name, within.start, within.end),
            )
            return [Anomaly(*row) for row in cursor.fetchall()]

    def rare(self, group: Group, starts: Sequence[datetime], *, at_most: float) -> RareIntervals:
        # Variables first, then their predictions by primary key: the cost follows variables x intervals.
        judged = (
            "FROM variables v CROSS JOIN unnest(%s::timestamptz[]) AS s (start) "
            "JOIN predictions p ON p.variable_id = v.id AND p.interval_start = s.start "
        )
        values = (list(starts), group.name)
        with self._cursor() as cursor:
            cursor.execute(
                f'SELECT DISTINCT v.name COLLATE "C" AS name, v.type {judged} WHERE v.group_name = %s ORDER BY name',
                values,
            )
            variables = dict(cursor.fetchall())
            cursor.execute(
                f"SELECT {_ANOMALY_COLUMNS} {judged} "
                "LEFT JOIN fitted_variables f ON f.fit_id = p.fit_id AND f.variable_id = p.variable_id "
                "WHERE v.group_name = %s AND p.tail_probability <= %s "
                'ORDER BY p.interval_start, v.name COLLATE "C"',
                (*values, at_most),
            )
            return RareIntervals(variables, tuple(Anomaly(*row) for row in cursor.fetchall()))

    def predicted_until(self, group: Group) -> datetime | None:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT max(p.interval_start) FROM variables v CROSS JOIN LATERAL (SELECT interval_start "
                "FROM predictions WHERE variable_id = v.id ORDER BY interval_start DESC LIMIT 1) p "
                "WHERE v.group_name = %s",
                (group.name,),
            )
            (until,) = cast("tuple[datetime | None]", cursor.fetchone())
            return until

    # --- incidents and the outbox ---------------------------------------------------------------------------------

    def incidents(self, group: Group, within: TimeRange | None = None) -> tuple[Incident, ...]:
        condition, values = "i.group_name = %s AND NOT i.withdrawn", [group.name]
        if within is not None:
            condition += " AND i.starts < %s AND i.ends > %s"
            values += [within.end, within.start]  # type: ignore[list-item]
        with self._cursor() as cursor:
            return read_incidents(cursor, condition, values)

    def incident(self, incident_id: int) -> Incident | None:
        with self._cursor() as cursor:
            return next(iter(read_incidents(cursor, "i.id = %s", [incident_id])), None)

    def save_incidents(
        self, group: Group, incidents: Sequence[Incident], *, withdrawn: Iterable[int] = ()
    ) -> tuple[Incident, ...]:
        columns = (*INCIDENT_COLUMNS, "shared")
        assigned = ", ".join(f"{column} = %s" for column in columns)
        saved = []
        with self._cursor() as cursor:
            for incident in incidents:
                values = (
                    incident.kind,
                    incident.start,
                    incident.end,
                    incident.resolved,
                    incident.tail_probability,
                    incident.return_period_hours,
                    incident.severity,
                    psycopg2.extras.Json([asdict(shared) for shared in incident.shared]),
                )
                if incident.id is None:
                    cursor.execute(
                        f"INSERT INTO incidents ({', '.join(columns)}, group_name) "
                        f"VALUES ({', '.join(['%s'] * (len(columns) + 1))}) RETURNING id",
                        (*values, group.name),
                    )
                    (number,) = cast("tuple[int]", cursor.fetchone())
                else:
                    number = incident.id
                    cursor.execute(
                        f"UPDATE incidents SET {assigned}, withdrawn = false WHERE id = %s", (*values, number)
                    )
                    cursor.execute("DELETE FROM incident_variables WHERE incident_id = %s", (number,))
                psycopg2.extras.execute_values(
                    cursor,
                    f"INSERT INTO incident_variables (incident_id, rank, {', '.join(PART_COLUMNS)}) VALUES %s",
                    [
                        (
                            number,
                            rank,
                            v.variable,
                            v.kind,
                            v.start,
                            v.end,
                            v.anomalies,
                            v.observed,
                            v.expected,
                            v.tail_probability,
                            v.allowed,
                            v.test,
                            v.stretch,
                            v.usual,
                        )
                        for rank, v in enumerate(incident.variables)
                    ],
                )
                saved.append(replace(incident, id=number))
            cursor.execute(
                "UPDATE incidents SET withdrawn = true, resolved = true WHERE id = ANY(%s)", (list(withdrawn),)
            )
        return tuple(saved)

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def record_run(
        self, group: Group, stage: str, within: TimeRange, *, seconds: float, report: Mapping[str, Any], at: datetime
    ) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "INSERT INTO stage_runs (group_name, stage, range_start, range_end, seconds, report, finished_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (group.name, stage, within.start, within.end, seconds, psycopg2.extras.Json(dict(report)), at),
            )

    def runs(self, group: Group, *, limit: int = 1000) -> tuple[RunRecord, ...]:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT stage, range_start, range_end, seconds, report, finished_at FROM stage_runs "
                "WHERE group_name = %s ORDER BY finished_at DESC, id DESC LIMIT %s",
                (group.name, limit),
            )
            return tuple(RunRecord(*row) for row in cursor.fetchall())

    def totals(self, group: Group) -> Mapping[str, int]:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT count(*) FROM variables WHERE group_name = %(g)s AND name <> %(total)s), "
                "(SELECT count(DISTINCT interval_start) FROM counts c JOIN variables v ON v.id = c.variable_id "
                " WHERE group_name = %(g)s), "
                "(SELECT coalesce(sum(events), 0)::bigint FROM counts c JOIN variables v ON v.id = c.variable_id "
                " WHERE group_name = %(g)s AND name <> %(total)s), "
                "(SELECT coalesce(sum(copies), 0)::bigint FROM quarantine WHERE group_name = %(g)s)",
                {"g": group.name, "total": TOTAL},
            )
            return dict(zip(("variables", "intervals", "events", "quarantined"), cursor.fetchone() or (), strict=True))


def _moments(starts: NDArray[np.datetime64]) -> NDArray[np.str_]:
    """Interval starts as PostgreSQL reads them: (N,) text with offset."""
    return np.char.add(np.datetime_as_string(starts, unit="s"), "+00")


def _month_days(stored: Mapping[str, Sequence[float]]) -> dict[int, tuple[float, float]]:
    return {int(day): (least, most) for day, (least, most) in stored.items()}


def _positions(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted id stands in `ids`."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]


def _columns_text(columns: Sequence[NDArray[Any]]) -> io.StringIO:
    """Columns as COPY's text format. Only numbers, moments and our own short words travel this way."""
    texts = [
        column.astype(str).tolist() if column.dtype.kind != "f" else map(repr, column.tolist()) for column in columns
    ]
    return io.StringIO("".join("\t".join(row) + "\n" for row in zip(*texts, strict=True)))


def _pieces(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """A grid in pieces of at most `_CELLS_AT_ONCE` cells, so that memory follows the piece and not the grid."""
    width = min(columns, _CELLS_AT_ONCE)
    height = _CELLS_AT_ONCE // max(width, 1)
    for row in range(0, rows, height):
        for column in range(0, columns, width):
            yield slice(row, min(row + height, rows)), slice(column, min(column + width, columns))


def _since_2000(starts: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Moments as PostgreSQL keeps a timestamptz: microseconds since 2000 began in UTC."""
    return (starts - np.datetime64("2000-01-01", "s")).astype("timedelta64[us]").astype(np.int64)


def _binary_row(types: Sequence[str]) -> np.dtype[np.void]:
    """A row of COPY's binary format whose columns have a fixed size each: their number, then each size and value."""
    fields = [part for at, kind in enumerate(types) for part in ((f"size {at}", ">i4"), (f"value {at}", kind))]
    return np.dtype([("columns", ">i2"), *fields])


def _copy_in(cursor: psycopg2.extensions.cursor, table: str, columns: Sequence[NDArray[Any]]) -> None:
    """Whole numbers and moments, (M,) each, by COPY's binary format: no number becomes a Python object."""
    rows = np.empty(len(columns[0]), dtype=_binary_row([">i8"] * len(columns)))
    rows["columns"] = len(columns)
    for at, column in enumerate(columns):
        rows[f"size {at}"] = 8
        rows[f"value {at}"] = column
    stream = io.BytesIO(_BINARY_HEADER + rows.tobytes() + _BINARY_END)
    cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT binary)", stream)


def _rows_out(
    cursor: psycopg2.extensions.cursor, query: str, values: tuple[Any, ...], *, types: Sequence[str]
) -> NDArray[np.void]:
    """(M,) rows of a query, fields ``value 0``, ``value 1``, …, by COPY's binary format. No column may be null, or of
    another size than its type."""
    stream = io.BytesIO()
    cursor.copy_expert(f"COPY ({cursor.mogrify(query, values).decode()}) TO STDOUT (FORMAT binary)", stream)
    return np.frombuffer(stream.getbuffer()[len(_BINARY_HEADER) : -len(_BINARY_END)], dtype=_binary_row(types))


def _copy_out(
    cursor: psycopg2.extensions.cursor, query: str, values: tuple[Any, ...], *, columns: int
) -> NDArray[np.int64]:
    """Rows of a query whose columns are all bigint and never null, (M, columns), by COPY's binary format."""
    rows = _rows_out(cursor, query, values, types=[">i8"] * columns)
    return np.column_stack([rows[f"value {at}"] for at in range(columns)]).astype(np.int64)


def _refuse_another_step(cursor: psycopg2.extensions.cursor, group: Group, step: timedelta) -> None:
    """Counts of intervals of different lengths must not mix.

    Raises:
        ConfigurationError: the group was counted in other intervals than `step`.
    """
    cursor.execute(
        "SELECT step_seconds FROM updated_ranges WHERE group_name = %s AND step_seconds <> %s LIMIT 1",
        (group.name, int(step.total_seconds())),
    )
    counted = cursor.fetchone()
    if counted is not None:
        before, now, name = format_duration(timedelta(seconds=counted[0])), format_duration(step), group.name
        raise ConfigurationError(
            f"group {name!r} was counted in {before} intervals, and {name}.yaml now says interval: {now}; set it back "
            f"to {before}, or rename the group (its file, and its name), or start again by deleting its counts and "
            "fits from the metadata database: "
            + "; ".join(
                f"DELETE FROM {table} WHERE group_name = '{name}'"
                for table in ("updated_ranges", "count_ages", "variables", "fits")
            )
        )


def _without_nul(row: Mapping[str, str | None]) -> dict[str, str | None]:
    """PostgreSQL's jsonb holds no NUL character; nothing else is changed."""
    return {k: v.replace("\0", "\N{SYMBOL FOR NULL}") if v else v for k, v in row.items()}
