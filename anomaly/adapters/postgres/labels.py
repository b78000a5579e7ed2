"""What people say of incidents, in PostgreSQL: `anomaly.ports.labels.Labels`.

Every public method is one transaction. Nothing is ever deleted: a label that another replaces, and a snooze that is
ended early, keep their rows, so that one can see who said what when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import datetime
from typing import Any, cast

import psycopg2.extensions
import psycopg2.extras

from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.groups import Group, TimeRange
from anomaly.ports.labels import Adjustment, Label, Snooze

_LABEL = "id, group_name, starts, ends, variables, word, author, via, given_at, reason, incident_id, own"
_SNOOZE = "id, group_name, variable, starts, ends, author, via, given_at, reason"
_ADJUSTMENT = "group_name, variable, serves_from, factor, reason, label_id"


class PostgresLabels:
    """Implements `anomaly.ports.labels.Labels`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    def give(self, label: Label) -> Label:
        with metadata_cursor(self._arguments) as cursor:
            # Two at once for the same incident take turns: the second sees what the first has said.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"labels {label.group}",))
            place, values = _place(label)
            replayed = _labels(
                cursor,
                f"{place} AND given_at = %s AND word = %s AND reason = %s AND author = %s",
                (*values, label.given_at, *_said(label)),
                held="true",
            )
            if replayed:
                return replayed[0]
            before = next(iter(_labels(cursor, place, values)), None)
            if before is not None:
                if _said(before) == _said(label) or before.given_at > label.given_at:
                    return before
                cursor.execute("UPDATE labels SET replaced_at = %s WHERE id = %s", (label.given_at, before.id))
            cursor.execute(
                "INSERT INTO labels (group_name, starts, ends, variables, word, author, via, given_at, reason, "
                "incident_id, own) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
                (
                    *(label.group, label.start, label.end, list(label.variables), label.word, label.author),
                    *(label.via, label.given_at, label.reason, label.incident_id, list(label.own)),
                ),
            )
            (number,) = cast("tuple[int]", cursor.fetchone())
        return replace(label, id=number)

    def take_back(self, label: Label, *, at: datetime) -> None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("UPDATE labels SET replaced_at = %s WHERE id = %s AND replaced_at IS NULL", (at, label.id))

    def labels(self, group: Group, within: TimeRange | None = None) -> tuple[Label, ...]:
        condition, values = "group_name = %s", [group.name]
        if within is not None:
            condition += " AND starts < %s AND ends > %s"
            values += [within.end, within.start]  # type: ignore[list-item]
        with metadata_cursor(self._arguments) as cursor:
            return _labels(cursor, condition, values)

    def of_incidents(self, ids: Iterable[int]) -> Mapping[int, Label]:
        with metadata_cursor(self._arguments) as cursor:
            found = _labels(cursor, "incident_id = ANY(%s)", (list(ids),))
        return {label.incident_id: label for label in found if label.incident_id is not None}

    def snooze(self, snooze: Snooze) -> Snooze:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"snoozes {snooze.group}",))
            there = _snoozes(
                cursor,
                "group_name = %s AND variable IS NOT DISTINCT FROM %s AND starts <= %s AND ends = %s "
                "AND reason = %s AND author = %s",
                (snooze.group, snooze.variable, snooze.start, snooze.end, snooze.reason, snooze.author),
            )
            if there:
                return there[0]
            cursor.execute(
                "INSERT INTO snoozes (group_name, variable, starts, ends, author, via, given_at, reason) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
                astuple(snooze)[:-1],
            )
            (number,) = cast("tuple[int]", cursor.fetchone())
        return replace(snooze, id=number)

    def end_snooze(self, snooze: Snooze, *, at: datetime) -> None:
        with metadata_cursor(self._arguments) as cursor:
            # One that has not begun leaves no moment in which it held.
            cursor.execute("DELETE FROM snoozes WHERE id = %s AND starts >= %s", (snooze.id, at))
            cursor.execute("UPDATE snoozes SET ends = %s WHERE id = %s AND ends > %s", (at, snooze.id, at))

    def snoozes(self, group: Group, *, at: datetime) -> tuple[Snooze, ...]:
        with metadata_cursor(self._arguments) as cursor:
            return _snoozes(cursor, "group_name = %s AND starts <= %s AND ends > %s", (group.name, at, at))

    def adjust(self, adjustments: Sequence[Adjustment]) -> None:
        if not adjustments:
            return
        with metadata_cursor(self._arguments) as cursor:
            psycopg2.extras.execute_values(
                cursor,
                f"INSERT INTO adjustments ({_ADJUSTMENT}) VALUES %s ON CONFLICT (group_name, variable, serves_from) "
                "DO UPDATE SET factor = excluded.factor, reason = excluded.reason, label_id = excluded.label_id",
                [astuple(adjustment) for adjustment in adjustments],
            )

    def adjustments(self, group: Group) -> tuple[Adjustment, ...]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                f"SELECT {_ADJUSTMENT} FROM adjustments WHERE group_name = %s "
                'ORDER BY serves_from, variable COLLATE "C"',
                (group.name,),
            )
            return tuple(Adjustment(*row) for row in cursor.fetchall())


def _place(label: Label) -> tuple[str, tuple[Any, ...]]:
    """What the label is of, as a condition: no two that hold are of the same."""
    if label.incident_id is not None:
        return "incident_id = %s", (label.incident_id,)
    return (
        "incident_id IS NULL AND group_name = %s AND starts = %s AND ends = %s AND variables = %s",
        (label.group, label.start, label.end, list(label.variables)),
    )


def _said(label: Label) -> tuple[str, str, str]:
    return label.word, label.reason, label.author


def _labels(
    cursor: psycopg2.extensions.cursor, condition: str, values: Sequence[Any], *, held: str = "replaced_at IS NULL"
) -> tuple[Label, ...]:
    """Those that hold, by start."""
    cursor.execute(f"SELECT {_LABEL} FROM labels WHERE {condition} AND {held} ORDER BY starts, id", tuple(values))
    return tuple(
        Label(
            id=row[0],
            group=row[1],
            start=row[2],
            end=row[3],
            variables=tuple(row[4]),
            word=row[5],
            author=row[6],
            via=row[7],
            given_at=row[8],
            reason=row[9],
            incident_id=row[10],
            own=tuple(row[11]),
        )
        for row in cursor.fetchall()
    )


def _snoozes(cursor: psycopg2.extensions.cursor, condition: str, values: Sequence[Any]) -> tuple[Snooze, ...]:
    """By end."""
    cursor.execute(f"SELECT {_SNOOZE} FROM snoozes WHERE {condition} ORDER BY ends, id", tuple(values))
    return tuple(
        Snooze(
            id=row[0],
            group=row[1],
            variable=row[2],
            start=row[3],
            end=row[4],
            author=row[5],
            via=row[6],
            given_at=row[7],
            reason=row[8],
        )
        for row in cursor.fetchall()
    )
