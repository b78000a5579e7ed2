"""The detectability map in PostgreSQL: `anomaly.ports.detectability.Detectability`.

In: what the stage measured, all variables of a group at once. Out: one variable, a group, or its blind variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import psycopg2.extras

from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.groups import Group
from anomaly.ports.detectability import ChangeKind, Noticed, VariableDetectability

_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
_PAGE = 1000
"""Rows that travel in one statement."""


class PostgresDetectability:
    """Implements `anomaly.ports.detectability.Detectability`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    def save(self, group: Group, fit_id: str, rows: Sequence[VariableDetectability]) -> None:
        variables = [
            (group.name, r.variable, fit_id, r.measured_at, r.days, float(r.events_per_day), r.blind) for r in rows
        ]
        changes = [
            (
                group.name,
                r.variable,
                kind,
                [c.hour for c in own],
                [c.smallest if c.smallest is None else float(c.smallest) for c in own],
                [None if c.after is None else c.after.total_seconds() for c in own],
                [float(c.share) for c in own],
            )
            for r in rows
            for kind in _KINDS
            if (own := r.of(kind))
        ]
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("DELETE FROM detectability WHERE group_name = %s", (group.name,))
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO detectability (group_name, variable, fit_id, measured_at, days, events_per_day, blind) "
                "VALUES %s",
                variables,
                page_size=_PAGE,
            )
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO noticed_changes (group_name, variable, kind, hours, smallest, after_seconds, shares) "
                "VALUES %s",
                changes,
                template="(%s, %s, %s, %s::smallint[], %s::double precision[], %s::double precision[], %s::real[])",
                page_size=_PAGE,
            )

    def of_variable(self, group: Group, name: str) -> VariableDetectability | None:
        found = self._read("d.group_name = %s AND d.variable = %s", (group.name, name))
        return found[0] if found else None

    def of_group(self, group: Group) -> tuple[VariableDetectability, ...]:
        return self._read("d.group_name = %s", (group.name,))

    def blind(self, group: Group, *, limit: int) -> tuple[VariableDetectability, ...]:
        found = self._read(
            "(d.group_name, d.variable) IN (SELECT group_name, variable FROM detectability "
            "WHERE group_name = %s AND blind <> '' ORDER BY events_per_day DESC, variable LIMIT %s)",
            (group.name, limit),
        )
        return tuple(sorted(found, key=lambda r: (-r.events_per_day, r.variable)))

    def _read(self, condition: str, values: tuple[Any, ...]) -> tuple[VariableDetectability, ...]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                "SELECT d.variable, d.fit_id, d.measured_at, d.days, d.events_per_day, d.blind, n.kind, n.hours, "
                "n.smallest, n.after_seconds, n.shares FROM detectability d "
                f"LEFT JOIN noticed_changes n USING (group_name, variable) WHERE {condition} "
                'ORDER BY d.variable COLLATE "C"',
                values,
            )
            heads: dict[str, VariableDetectability] = {}
            changes: dict[str, dict[str, tuple[Noticed, ...]]] = {}
            for name, fit_id, measured_at, days, events, blind, kind, *arrays in cursor.fetchall():
                heads[name] = VariableDetectability(name, fit_id, measured_at, days, events, blind, ())
                own = changes.setdefault(name, {})
                if kind is not None:
                    own[kind] = _noticed(kind, *arrays)
        return tuple(
            replace(head, changes=tuple(c for kind in _KINDS for c in changes[name].get(kind, ())))
            for name, head in heads.items()
        )


def _noticed(
    kind: ChangeKind,
    hours: Sequence[int],
    smallest: Sequence[float | None],
    after: Sequence[float | None],
    shares: Sequence[float],
) -> tuple[Noticed, ...]:
    return tuple(
        Noticed(kind, hour, size, None if seconds is None else timedelta(seconds=seconds), share)
        for hour, size, seconds, share in zip(hours, smallest, after, shares, strict=True)
    )
