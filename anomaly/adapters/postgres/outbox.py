"""The outbox: what is to be said of incidents, and what has been; part of `PostgresStore`.

An incident has two lanes. In one are its message and the edits of it: at most one of them waits, and it tells what the
incident is when it is delivered. In the other are replies to its thread: at most one waits, and what it says is fixed
when it is enqueued, because nobody knows after a crash whether it is out already. What is new by then is told by the
next.

Keys name the incident by its group and start, not by its number: a database that was made anew finds its old messages
by them, and never takes one of another incident for its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import cast

import psycopg2.extensions
import psycopg2.extras

from anomaly.adapters.postgres import locks
from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.adapters.postgres.incidents import read_incidents, said_as_json, said_from
from anomaly.detection.incidents import Incident, Place, Said
from anomaly.groups import Group
from anomaly.ports import OutboxAction, OutboxEntry

MESSAGE_GONE = "the message was deleted"
"""Noted with what was to be said of an incident whose message somebody deleted."""
_THREAD: tuple[OutboxAction, ...] = ("reply", "notice", "pointer")
_UNSETTLED = (
    "i.group_name = %s AND ("
    "(NOT i.withdrawn AND (NOT i.resolved OR i.place = 'waiting' OR (i.slack_ts IS NULL AND i.place = 'message'))) "
    "OR (i.slack_ts IS NOT NULL AND ((i.thread->>'resolved')::boolean <> i.resolved "
    "OR (i.thread->>'withdrawn')::boolean <> i.withdrawn)))"
)


class PostgresOutbox:
    """The part of `anomaly.ports.Store` that is about telling incidents.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        with metadata_cursor(self._arguments) as cursor:
            yield cursor

    def unsettled(self, group: Group) -> tuple[Incident, ...]:
        with self._cursor() as cursor:
            return read_incidents(cursor, _UNSETTLED, (group.name,))

    def place(self, incident_id: int, place: Place, *, reason: str, at: datetime) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE incidents SET placed_at = CASE WHEN place = %(place)s AND placed_at IS NOT NULL "
                "THEN placed_at ELSE %(at)s END, place = %(place)s, place_reason = %(reason)s WHERE id = %(id)s",
                {"id": incident_id, "place": place, "reason": reason, "at": at},
            )

    def enqueue(self, incident_id: int, action: OutboxAction, *, said: Said | None = None) -> bool:
        lane = _THREAD if action in _THREAD else ("post", "update")
        with self._cursor() as cursor:
            cursor.execute("SELECT group_name, starts FROM incidents WHERE id = %s FOR UPDATE", (incident_id,))
            found = cursor.fetchone()
            if found is None:
                return False
            group, starts = cast("tuple[str, datetime]", found)
            about = f"{group}-{starts:%Y%m%dT%H%M}Z-"
            cursor.execute(
                "INSERT INTO outbox (key, incident_id, action, said) "
                "SELECT concat(%(about)s, %(action)s, '-', count(*)), %(id)s, %(action)s, %(said)s FROM outbox "
                'WHERE key COLLATE "C" >= %(about)s AND key COLLATE "C" < %(beyond)s '
                "HAVING NOT EXISTS (SELECT FROM outbox WHERE incident_id = %(id)s "
                "AND delivered_at IS NULL AND (action = 'post' OR action = ANY(%(lane)s)))",
                {
                    "about": about,
                    "beyond": f"{about[:-1]}.",  # the full stop follows the hyphen: a range that an index knows
                    "action": action,
                    "id": incident_id,
                    "said": None if said is None else psycopg2.extras.Json(said_as_json(said)),
                    "lane": list(lane),
                },
            )
            return bool(cursor.rowcount == 1)

    @contextmanager
    def due(self, group: Group, *, at: datetime) -> Iterator[Sequence[OutboxEntry]]:
        with self._cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (locks.SENDERS, group.name))
            cursor.execute(
                "SELECT o.id, o.key, o.incident_id, o.action, o.attempts, o.said FROM outbox o "
                "JOIN incidents i ON i.id = o.incident_id WHERE i.group_name = %s AND o.delivered_at IS NULL "
                "AND o.due_at <= %s ORDER BY o.id",
                (group.name, at),
            )
            waiting = cursor.fetchall()
            found = read_incidents(cursor, "i.id = ANY(%s)", [[row[2] for row in waiting]])
            by_id = {incident.id: incident for incident in found}
            yield [
                OutboxEntry(number, key, by_id[incident], action, attempts, said_from(said))
                for number, key, incident, action, attempts, said in waiting
            ]

    def delivered(
        self,
        entry: OutboxEntry,
        *,
        channel: str,
        ts: str,
        permalink: str | None,
        chart: str | None,
        told: str | None,
        at: datetime,
        said: Said | None = None,
        words: str = "",
    ) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE outbox SET delivered_at = %s, attempts = attempts + 1, last_error = NULL, words = %s, "
                "permalink = %s WHERE id = %s",
                (at, words or None, permalink, entry.id),
            )
            if entry.action in _THREAD:
                _note_said(cursor, entry, entry.said)
                return
            cursor.execute(
                "UPDATE incidents SET channel = %s, slack_ts = %s, permalink = coalesce(%s, permalink), "
                "chart = coalesce(%s, chart), told = %s WHERE id = %s",
                (channel, ts, permalink, chart, told, entry.incident.id),
            )
            _note_said(cursor, entry, said)

    def dropped(self, entry: OutboxEntry, *, reason: str, at: datetime) -> None:
        with self._cursor() as cursor:
            cursor.execute("UPDATE outbox SET delivered_at = %s, last_error = %s WHERE id = %s", (at, reason, entry.id))

    def message_gone(self, entry: OutboxEntry, *, at: datetime) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE outbox SET delivered_at = %s, last_error = %s WHERE incident_id = %s AND delivered_at IS NULL",
                (at, MESSAGE_GONE, entry.incident.id),
            )
            cursor.execute(
                "UPDATE incidents SET slack_ts = NULL, permalink = NULL, told = NULL, thread = NULL, "
                "told_severity = NULL, told_variables = NULL, told_tail_probability = NULL WHERE id = %s",
                (entry.incident.id,),
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
                "SELECT (SELECT count(*) FROM outbox o JOIN incidents i ON i.id = o.incident_id "
                "WHERE i.group_name = %(g)s AND o.delivered_at IS NULL) "
                "+ (SELECT count(*) FROM posts WHERE group_name = %(g)s AND delivered_at IS NULL)",
                {"g": group.name},
            )
            (number,) = cast("tuple[int]", cursor.fetchone())
            return number


def _note_said(cursor: psycopg2.extensions.cursor, entry: OutboxEntry, said: Said | None) -> None:
    """What the thread has said now; and of what notifies the channel, how bad the incident was then.

    Without `said`, an edit, the thread keeps what it has; one that was told before this was noted begins here.
    """
    now = entry.incident
    if said is not None:
        cursor.execute(
            "UPDATE incidents SET thread = %s WHERE id = %s", (psycopg2.extras.Json(said_as_json(said)), now.id)
        )
    severity, rarest = (said.severity, said.tail_probability) if said else (now.severity, now.tail_probability)
    departed = len(now.departed) if said is None else len(said.variables)
    cursor.execute(
        "UPDATE incidents SET told_severity = %s, told_variables = %s, told_tail_probability = %s "
        "WHERE id = %s AND (told_severity IS NULL OR %s)",
        (severity, departed, rarest, now.id, entry.action in {"post", "notice"}),
    )
