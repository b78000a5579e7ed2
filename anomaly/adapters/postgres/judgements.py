"""Under what each interval was judged: `anomaly.ports.judgements.Judgements` in the metadata database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import psycopg2.extras

from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.adapters.postgres.incidents import read_incidents
from anomaly.groups import Group, TimeRange
from anomaly.ports import Incident
from anomaly.ports.judgements import Circumstances, Content, Judgement, digest

_PARTS = tuple(field.name for field in fields(Circumstances))


class PostgresJudgements:
    """Port `Judgements`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    def note(self, group: Group, judgements: Sequence[Judgement]) -> None:
        """See `Judgements.note`."""
        digests: dict[int, tuple[str, ...]] = {}  # thousands of intervals share a few objects
        contents: dict[str, Content] = {}
        for judgement in judgements:
            under = judgement.circumstances
            if id(under) not in digests:
                parts = [getattr(under, name) for name in _PARTS]
                digests[id(under)] = tuple(map(digest, parts))
                contents |= zip(digests[id(under)], parts, strict=True)
        with metadata_cursor(self._arguments) as cursor:
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO circumstances (digest, content) VALUES %s ON CONFLICT DO NOTHING",
                [(key, psycopg2.extras.Json(content)) for key, content in sorted(contents.items())],
            )
            psycopg2.extras.execute_values(
                cursor,
                f"INSERT INTO judgements (group_name, interval_start, judged_at, fit_id, age, {', '.join(_PARTS)}) "
                "VALUES %s ON CONFLICT (group_name, interval_start) DO UPDATE SET judged_at = excluded.judged_at, "
                "fit_id = excluded.fit_id, age = excluded.age, "
                + ", ".join(f"{name} = excluded.{name}" for name in _PARTS),
                [
                    (group.name, j.start, j.judged_at, j.fit_id, j.age, *digests[id(j.circumstances)])
                    for j in judgements
                ],
                page_size=1000,
            )

    def judgements(self, group: Group, within: TimeRange) -> tuple[Judgement, ...]:
        """See `Judgements.judgements`."""
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                f"SELECT interval_start, judged_at, fit_id, age, {', '.join(_PARTS)} FROM judgements "
                "WHERE group_name = %s AND interval_start >= %s AND interval_start < %s ORDER BY interval_start",
                (group.name, within.start, within.end),
            )
            rows = cursor.fetchall()
            cursor.execute(
                "SELECT digest, content FROM circumstances WHERE digest = ANY(%s)",
                (sorted({key for row in rows for key in row[4:]}),),
            )
            contents = dict(cursor.fetchall())
        shared = {keys: Circumstances(*(contents[key] for key in keys)) for keys in {row[4:] for row in rows}}
        return tuple(
            Judgement(start, judged_at, fit_id, age, shared[tuple(keys)])
            for start, judged_at, fit_id, age, *keys in rows
        )

    def incident(self, number: int) -> Incident | None:
        """See `Judgements.incident`."""
        with metadata_cursor(self._arguments) as cursor:
            return next(iter(read_incidents(cursor, "i.id = %s", [number])), None)

    def incident_at(self, channel: str, ts: str) -> Incident | None:
        """See `Judgements.incident_at`."""
        with metadata_cursor(self._arguments) as cursor:
            return next(iter(read_incidents(cursor, "i.channel = %s AND i.slack_ts = %s", [channel, ts])), None)
