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
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal, cast

import numpy as np
import psycopg2.extensions
import psycopg2.extras
from numpy.typing import NDArray

from anomaly.adapters.postgres.connecting import connected
from anomaly.detection.grid import CountGrid
from anomaly.detection.incidents import Anomaly, Incident, IncidentVariable
from anomaly.exceptions import ConfigurationError, StoreUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.ports import (
    Fit,
    FittedVariable,
    NetworkFile,
    OutboxEntry,
    Predictions,
    RejectedRow,
    RunRecord,
    Variable,
)

log = logging.getLogger(__name__)

_SENDER_LOCK = 7_203_115_012
_STAGE_LOCK = 7_203_115_013
_PREDICTION_COLUMNS = (
    "variable_id, interval_start, fit_id, observed, predicted, lower, upper, residual, tail_probability, kind"
)


class PostgresStore:
    """Implements `anomaly.ports.Store`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        with connected(
            {"options": "-c timezone=UTC", **self._arguments},
            unavailable=StoreUnavailableError,
            what="the metadata database",
        ) as link:
            try:
                with link.cursor() as cursor:
                    yield cursor
            except psycopg2.errors.UndefinedTable as missing:
                raise ConfigurationError(
                    f"the metadata database lacks a table ({str(missing).splitlines()[0]}); run: anomaly db upgrade"
                ) from missing

    # --- variables and counts -----------------------------------------------------------------------------------

    def enrol(self, group: Group, found: Mapping[str, str | None], *, first_interval: datetime) -> tuple[Variable, ...]:
        with self._cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO variables (group_name, name, type, first_interval) VALUES %s "
                "ON CONFLICT (group_name, name) DO UPDATE SET "
                "type = coalesce(excluded.type, variables.type), "
                "first_interval = least(variables.first_interval, excluded.first_interval) "
                "WHERE variables.type IS NULL AND excluded.type IS NOT NULL "
                "OR excluded.first_interval < variables.first_interval",
                [(group.name, name, kind, first_interval) for name, kind in found.items()],
            ) if found else None
        return self.variables(group)

    def variables(self, group: Group) -> tuple[Variable, ...]:
        with self._cursor() as cursor:
            cursor.execute(
                'SELECT id, name, type, first_interval FROM variables WHERE group_name = %s ORDER BY name COLLATE "C"',
                (group.name,),
            )
            return tuple(Variable(*row) for row in cursor.fetchall())

    def write_counts(self, group: Group, variables: Sequence[Variable], grid: CountGrid) -> int:  # noqa: ARG002
        rows, columns = np.nonzero(np.isfinite(grid.counts))
        if rows.size == 0:
            return 0
        ids = np.array([v.id for v in variables])[rows]
        table = _columns_text([ids, _moments(grid.starts)[columns], grid.counts[rows, columns].astype(np.int64)])
        with self._cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE incoming (variable_id integer, interval_start timestamptz, events bigint) "
                "ON COMMIT DROP"
            )
            cursor.copy_expert("COPY incoming FROM STDIN", table)
            cursor.execute(
                "INSERT INTO counts SELECT * FROM incoming ON CONFLICT (variable_id, interval_start) "
                "DO UPDATE SET events = excluded.events WHERE counts.events <> excluded.events"
            )
            return int(cursor.rowcount)

    def read_counts(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> CountGrid:  # noqa: ARG002
        counts = np.full((len(variables), len(within)), np.nan)
        with self._cursor() as cursor:
            cells = _copy_out(
                cursor,
                "SELECT variable_id, ((extract(epoch FROM interval_start) - %s) / %s)::bigint, events FROM counts "
                "WHERE variable_id = ANY(%s) AND interval_start >= %s AND interval_start < %s",
                (
                    int(within.start.timestamp()),
                    int(within.step.total_seconds()),
                    [v.id for v in variables],
                    within.start,
                    within.end,
                ),
            )
        if cells.size:
            rows = _positions(np.array([v.id for v in variables]), cells[:, 0])
            counts[rows, cells[:, 1]] = cells[:, 2]
        return CountGrid(tuple(v.name for v in variables), within.starts(), counts)

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
            cursor.execute(
                "DELETE FROM updated_ranges WHERE group_name = %s AND range_start <= %s AND range_end >= %s "
                "RETURNING range_start, range_end",
                (group.name, within.end, within.start),
            )
            touching = cursor.fetchall()
            start = min([within.start, *(s for s, _ in touching)])
            end = max([within.end, *(e for _, e in touching)])
            cursor.execute("INSERT INTO updated_ranges VALUES (%s, %s, %s)", (group.name, start, end))

    def first_gap(self, group: Group, within: TimeRange) -> TimeRange | None:
        with self._cursor() as cursor:
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
            cursor.execute(
                "SELECT range_end FROM updated_ranges WHERE group_name = %s AND range_start < %s "
                "ORDER BY range_start DESC LIMIT 1",
                (group.name, before),
            )
            latest = cast("tuple[datetime] | None", cursor.fetchone())
            return latest[0] if latest is not None and latest[0] < before else None

    @contextmanager
    def exclusively(self, group: Group, stage: str) -> Iterator[None]:
        with self._cursor() as cursor:
            key = (_STAGE_LOCK % 2**31, f"{stage} {group.name}")
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", key)
            if cursor.fetchone() == (False,):
                log.info("another %s of group %s is running; waiting for its end", stage, group.name)
                cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", key)
            # The session keeps the lock. A transaction left open for the length of a stage would hold back vacuum.
            cursor.connection.commit()
            yield

    def updated_until(self, group: Group) -> datetime | None:
        with self._cursor() as cursor:
            cursor.execute("SELECT max(range_end) FROM updated_ranges WHERE group_name = %s", (group.name,))
            (until,) = cast("tuple[datetime | None]", cursor.fetchone())
            return until

    # --- fits -----------------------------------------------------------------------------------------------------

    def save_fit(self, fit: Fit) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "INSERT INTO fits (id, group_name, history_start, history_end, step_seconds, configuration, shards, "
                "state, mlflow_run_id, model_version, serves_from, metrics) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (id) DO UPDATE SET state = excluded.state, mlflow_run_id = excluded.mlflow_run_id, "
                "model_version = excluded.model_version, serves_from = excluded.serves_from, "
                "metrics = excluded.metrics, shards = excluded.shards",
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
                ),
            )

    def fit(self, fit_id: str) -> Fit | None:
        return next(iter(self._fits("id = %s", (fit_id,))), None)

    def champions(self, group: Group, within: TimeRange) -> Sequence[Fit]:
        return self._fits(
            "group_name = %s AND state = 'promoted' AND serves_from < %s AND serves_from >= coalesce((SELECT "
            "max(serves_from) FROM fits WHERE group_name = %s AND state = 'promoted' AND serves_from <= %s), %s)",
            (group.name, within.end, group.name, within.start, within.start),
        )

    def champion(self, group: Group) -> Fit | None:
        found = self._fits("group_name = %s AND state = 'promoted'", (group.name,))
        return found[-1] if found else None

    def _fits(self, condition: str, values: tuple[Any, ...]) -> tuple[Fit, ...]:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT id, group_name, history_start, history_end, step_seconds, configuration, shards, state, "
                f"mlflow_run_id, model_version, serves_from, metrics FROM fits WHERE {condition} "
                "ORDER BY serves_from, created_at",
                values,
            )
            return tuple(
                Fit(
                    id=row[0],
                    group=row[1],
                    history=TimeRange(row[2], row[3], timedelta(seconds=row[4])),
                    configuration=row[5],
                    shards=row[6],
                    state=row[7],
                    mlflow_run_id=row[8],
                    model_version=row[9],
                    serves_from=row[10],
                    metrics=row[11],
                )
                for row in cursor.fetchall()
            )

    def save_fitted(self, fit_id: str, fitted: Sequence[FittedVariable], files: Sequence[NetworkFile]) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "DELETE FROM fitted_variables WHERE fit_id = %s AND variable_id = ANY(%s)",
                (fit_id, [f.variable.id for f in fitted]),
            )
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO fitted_variables (fit_id, variable_id, status, status_reason, candidate, slot, position, "
                "seed, scaler_minimum, scaler_maximum, mae, choice, distribution, parameters, distribution_reason, "
                "tail_probability, lower, upper, residuals) VALUES %s",
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
                "CASE WHEN %s THEN array_to_string(f.residuals, ' ') ELSE '' END "
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

    def write_predictions(self, group: Group, predictions: Predictions) -> int:  # noqa: ARG002
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
                    for values in (p.observed, p.predicted, p.lower, p.upper, p.residuals, p.tail_probabilities)
                ),
                kinds,
            ]
        )
        with self._cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE incoming (LIKE predictions) ON COMMIT DROP")
            cursor.copy_expert(f"COPY incoming ({_PREDICTION_COLUMNS}) FROM STDIN", table)
            if p.starts.size:
                cursor.execute(
                    "DELETE FROM predictions p WHERE variable_id = ANY(%s) AND interval_start >= %s "
                    "AND interval_start <= %s AND NOT EXISTS (SELECT FROM incoming i "
                    "WHERE i.variable_id = p.variable_id AND i.interval_start = p.interval_start)",
                    (ids.tolist(), starts[0], starts[-1]),
                )
            cursor.execute(
                f"INSERT INTO predictions ({_PREDICTION_COLUMNS}) SELECT {_PREDICTION_COLUMNS} FROM incoming "
                "ON CONFLICT (variable_id, interval_start) DO UPDATE SET fit_id = excluded.fit_id, "
                "observed = excluded.observed, predicted = excluded.predicted, lower = excluded.lower, "
                "upper = excluded.upper, residual = excluded.residual, "
                "tail_probability = excluded.tail_probability, kind = excluded.kind "
                "WHERE (predictions.fit_id, predictions.observed, predictions.predicted, predictions.lower, "
                "predictions.upper, predictions.kind) IS DISTINCT FROM (excluded.fit_id, excluded.observed, "
                "excluded.predicted, excluded.lower, excluded.upper, excluded.kind)"
            )
        return int(np.count_nonzero(kinds != ""))

    def read_predictions(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> Predictions | None:  # noqa: ARG002
        with self._cursor() as cursor:
            cursor.execute(
                f"SELECT {_PREDICTION_COLUMNS} FROM predictions WHERE variable_id = ANY(%s) "
                "AND interval_start >= %s AND interval_start < %s ORDER BY interval_start",
                ([v.id for v in variables], within.start, within.end),
            )
            found = cursor.fetchall()
        if not found:
            return None
        shape = (len(variables), len(within))
        numbers = {
            name: np.full(shape, np.nan)
            for name in ("observed", "predicted", "lower", "upper", "residuals", "tail_probabilities")
        }
        kinds = np.full(shape, "", dtype="<U16")
        rows = _positions(np.array([v.id for v in variables]), np.array([row[0] for row in found]))
        columns = np.array([(row[1] - within.start) // within.step for row in found])
        for at, name in enumerate(numbers, start=3):
            numbers[name][rows, columns] = [row[at] for row in found]
        kinds[rows, columns] = [row[9] for row in found]
        return Predictions(
            fit_id=found[-1][2], variables=tuple(variables), starts=within.starts(), kinds=kinds, **numbers
        )

    def anomalies(self, group: Group, within: TimeRange) -> Sequence[Anomaly]:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT v.name, p.interval_start, p.kind, p.observed, p.predicted, p.residual, p.tail_probability "
                "FROM predictions p JOIN variables v ON v.id = p.variable_id WHERE p.kind <> '' "
                "AND v.group_name = %s AND p.interval_start >= %s AND p.interval_start < %s "
                'ORDER BY p.interval_start, v.name COLLATE "C"',
                (group.name, within.start, within.end),
            )
            return [Anomaly(*row) for row in cursor.fetchall()]

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
            return _read_incidents(cursor, condition, values)

    def save_incidents(
        self, group: Group, incidents: Sequence[Incident], *, withdrawn: Iterable[int] = ()
    ) -> tuple[Incident, ...]:
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
                )
                if incident.id is None:
                    cursor.execute(
                        "INSERT INTO incidents (kind, starts, ends, resolved, tail_probability, return_period_hours, "
                        "group_name) VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
                        (*values, group.name),
                    )
                    (number,) = cast("tuple[int]", cursor.fetchone())
                else:
                    number = incident.id
                    cursor.execute(
                        "UPDATE incidents SET kind = %s, starts = %s, ends = %s, resolved = %s, "
                        "tail_probability = %s, return_period_hours = %s, withdrawn = false WHERE id = %s",
                        (*values, number),
                    )
                    cursor.execute("DELETE FROM incident_variables WHERE incident_id = %s", (number,))
                cursor.executemany(
                    "INSERT INTO incident_variables VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
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
                        )
                        for rank, v in enumerate(incident.variables)
                    ],
                )
                saved.append(replace(incident, id=number))
            cursor.execute(
                "UPDATE incidents SET withdrawn = true, resolved = true WHERE id = ANY(%s)", (list(withdrawn),)
            )
        return tuple(saved)

    def enqueue(self, key: str, incident_id: int, action: Literal["post", "update"]) -> bool:
        with self._cursor() as cursor:
            cursor.execute(
                "INSERT INTO outbox (key, incident_id, action) VALUES (%s, %s, %s) ON CONFLICT (key) DO NOTHING",
                (key, incident_id, action),
            )
            return bool(cursor.rowcount == 1)

    @contextmanager
    def due(self, group: Group, *, at: datetime) -> Iterator[Sequence[OutboxEntry]]:
        with self._cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_SENDER_LOCK % 2**31, group.name))
            cursor.execute(
                "SELECT o.id, o.key, o.incident_id, o.action, o.attempts FROM outbox o "
                "JOIN incidents i ON i.id = o.incident_id WHERE i.group_name = %s AND o.delivered_at IS NULL "
                "AND o.due_at <= %s ORDER BY o.id",
                (group.name, at),
            )
            waiting = cursor.fetchall()
            found = _read_incidents(cursor, "i.id = ANY(%s)", [[row[2] for row in waiting]])
            by_id = {incident.id: incident for incident in found}
            yield [
                OutboxEntry(id=number, key=key, incident=by_id[incident], action=action, attempts=attempts)
                for number, key, incident, action, attempts in waiting
            ]

    def delivered(
        self,
        entry: OutboxEntry,
        *,
        channel: str,
        ts: str,
        permalink: str | None,
        chart: str | None,
        at: datetime,
    ) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE outbox SET delivered_at = %s, attempts = attempts + 1, last_error = NULL WHERE id = %s",
                (at, entry.id),
            )
            cursor.execute(
                "UPDATE incidents SET channel = %s, slack_ts = %s, permalink = coalesce(%s, permalink), "
                "chart = coalesce(%s, chart) WHERE id = %s",
                (channel, ts, permalink, chart, entry.incident.id),
            )

    def dropped(self, entry: OutboxEntry, *, at: datetime) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE outbox SET delivered_at = %s, last_error = 'withdrawn' WHERE id = %s", (at, entry.id)
            )

    def postponed(self, entry: OutboxEntry, *, error: str, until: datetime) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE outbox SET attempts = attempts + 1, last_error = %s, due_at = %s WHERE id = %s",
                (error, until, entry.id),
            )

    def waiting(self, group: Group) -> int:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM outbox o JOIN incidents i ON i.id = o.incident_id "
                "WHERE i.group_name = %s AND o.delivered_at IS NULL",
                (group.name,),
            )
            (number,) = cast("tuple[int]", cursor.fetchone())
            return number

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
                "SELECT (SELECT count(*) FROM variables WHERE group_name = %(g)s), "
                "(SELECT count(DISTINCT interval_start) FROM counts c JOIN variables v ON v.id = c.variable_id "
                " WHERE group_name = %(g)s), "
                "(SELECT coalesce(sum(events), 0)::bigint FROM counts c JOIN variables v ON v.id = c.variable_id "
                " WHERE group_name = %(g)s), "
                "(SELECT coalesce(sum(copies), 0)::bigint FROM quarantine WHERE group_name = %(g)s)",
                {"g": group.name},
            )
            return dict(zip(("variables", "intervals", "events", "quarantined"), cursor.fetchone() or (), strict=True))


def _read_incidents(cursor: psycopg2.extensions.cursor, condition: str, values: Sequence[Any]) -> tuple[Incident, ...]:
    cursor.execute(
        "SELECT i.id, i.group_name, i.kind, i.starts, i.ends, i.resolved, i.tail_probability, "
        "i.return_period_hours, i.channel, i.slack_ts, i.permalink, i.chart, i.withdrawn FROM incidents i "
        f"WHERE {condition} ORDER BY i.starts, i.id",
        values,
    )
    heads = cursor.fetchall()
    cursor.execute(
        "SELECT incident_id, variable, kind, starts, ends, anomalies, observed, expected, tail_probability "
        "FROM incident_variables WHERE incident_id = ANY(%s) ORDER BY incident_id, rank",
        ([head[0] for head in heads],),
    )
    parts: dict[int, list[IncidentVariable]] = {}
    for number, *rest in cursor.fetchall():
        parts.setdefault(number, []).append(IncidentVariable(*rest))
    return tuple(
        Incident(
            id=head[0],
            group=head[1],
            kind=head[2],
            start=head[3],
            end=head[4],
            resolved=head[5],
            tail_probability=head[6],
            return_period_hours=head[7],
            channel=head[8],
            slack_ts=head[9],
            permalink=head[10],
            chart=head[11],
            withdrawn=head[12],
            variables=tuple(parts.get(head[0], ())),
        )
        for head in heads
    )


def _moments(starts: NDArray[np.datetime64]) -> NDArray[np.str_]:
    """Interval starts as PostgreSQL reads them: (N,) text with offset."""
    return np.char.add(np.datetime_as_string(starts, unit="s"), "+00")


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


def _copy_out(cursor: psycopg2.extensions.cursor, query: str, values: tuple[Any, ...]) -> NDArray[np.int64]:
    """Rows of whole numbers by COPY: (M, columns)."""
    buffer = io.BytesIO()
    statement = cursor.mogrify(query, values).decode()
    cursor.copy_expert(f"COPY ({statement}) TO STDOUT", buffer)
    text = buffer.getvalue().decode()
    if not text:
        return np.empty((0, 3), dtype=np.int64)
    return np.array(text.split(), dtype=np.int64).reshape(text.count("\n"), -1)


def _without_nul(row: Mapping[str, str | None]) -> dict[str, str | None]:
    """PostgreSQL's jsonb holds no NUL character; nothing else is changed."""
    return {k: v.replace("\0", "\N{SYMBOL FOR NULL}") if v else v for k, v in row.items()}
