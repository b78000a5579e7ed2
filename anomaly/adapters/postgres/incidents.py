"""Incidents as rows: the columns of their two tables, and reading them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import psycopg2.extensions

from anomaly.detection.causes import Shared
from anomaly.detection.incidents import DELIVERY, Incident, IncidentVariable, Said

INCIDENT_COLUMNS = ("kind", "starts", "ends", "resolved", "tail_probability", "return_period_hours", "severity")
PART_COLUMNS = (
    *("variable", "kind", "starts", "ends", "anomalies", "observed", "expected", "tail_probability"),
    *("allowed", "test", "stretch", "usual"),
)
_FIELDS = ("kind", "start", "end", "resolved", "tail_probability", "return_period_hours", "severity")
_DELIVERY_COLUMNS = (*DELIVERY, "withdrawn")


def read_incidents(cursor: psycopg2.extensions.cursor, condition: str, values: Sequence[Any]) -> tuple[Incident, ...]:
    """By start and id.

    Args:
        condition: SQL on the alias ``i`` of the table ``incidents``.
        values: for its placeholders.
    """
    columns = (*INCIDENT_COLUMNS, *_DELIVERY_COLUMNS)
    cursor.execute(
        f"SELECT i.shared, i.group_name, {', '.join(f'i.{column}' for column in columns)} FROM incidents i "
        f"WHERE {condition} ORDER BY i.starts, i.id",
        values,
    )
    heads = [_head(row) for row in cursor.fetchall()]
    cursor.execute(
        f"SELECT incident_id, {', '.join(PART_COLUMNS)} "
        "FROM incident_variables WHERE incident_id = ANY(%s) ORDER BY incident_id, rank",
        ([head["id"] for head in heads],),
    )
    parts: dict[int, list[IncidentVariable]] = {}
    for number, *rest in cursor.fetchall():
        parts.setdefault(number, []).append(IncidentVariable(*rest))
    return tuple(Incident(**head, variables=tuple(parts.get(head["id"], ()))) for head in heads)


def _head(row: Sequence[Any]) -> dict[str, Any]:
    shared, group, *rest = row
    head = dict(zip((*_FIELDS, *_DELIVERY_COLUMNS), rest, strict=True))
    head["thread"] = said_from(head["thread"])
    return {"shared": tuple(Shared(**each) for each in shared), "group": group, **head}


def said_from(written: dict[str, Any] | None) -> Said | None:
    """What a thread has said, from its JSON."""
    if written is None:
        return None
    lists = {name: tuple(written.get(name) or ()) for name in ("variables", "channels")}
    return Said(**(written | lists))


def said_as_json(said: Said | None) -> dict[str, Any] | None:
    return None if said is None else asdict(said)
