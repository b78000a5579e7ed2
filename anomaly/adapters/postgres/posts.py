"""Digests and weekly posts in the metadata database: behind `anomaly.ports.posts.Posts`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from anomaly.adapters.postgres import locks
from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.adapters.postgres.incidents import read_incidents
from anomaly.detection.incidents import Incident
from anomaly.groups import Group
from anomaly.ports.posts import Post

_BEGIN = (
    "INSERT INTO posts (group_name, kind, slot) SELECT %(group)s, %(kind)s, %(slot)s {condition} "
    "ON CONFLICT (group_name, kind, slot) DO NOTHING RETURNING id"
)
_FOR_DIGEST = (
    "group_name = %(group)s AND place = 'digest' AND digest_id IS NULL AND NOT withdrawn AND placed_at <= %(slot)s"
)


class PostgresPosts:
    """Implements `anomaly.ports.posts.Posts`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    def begin_digest(self, group: Group, slot: datetime) -> bool:
        with metadata_cursor(self._arguments) as cursor:
            values = {"group": group.name, "kind": "digest", "slot": slot}
            cursor.execute(_BEGIN.format(condition=f"WHERE EXISTS (SELECT FROM incidents WHERE {_FOR_DIGEST})"), values)
            begun = cursor.fetchone()
            if begun is None:
                return False
            cursor.execute(f"UPDATE incidents SET digest_id = %(id)s WHERE {_FOR_DIGEST}", {**values, "id": begun[0]})
            return True

    def begin_weekly(self, group: Group, slot: datetime) -> bool:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(_BEGIN.format(condition=""), {"group": group.name, "kind": "weekly", "slot": slot})
            return cursor.fetchone() is not None

    @contextmanager
    def due(self, group: Group, *, at: datetime) -> Iterator[Sequence[Post]]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (locks.POSTS, group.name))
            cursor.execute(
                "SELECT id, group_name, kind, slot, attempts FROM posts WHERE group_name = %s "
                "AND delivered_at IS NULL AND due_at <= %s ORDER BY id",
                (group.name, at),
            )
            yield [Post(*row) for row in cursor.fetchall()]

    def listed(self, post: Post) -> tuple[Incident, ...]:
        with metadata_cursor(self._arguments) as cursor:
            return read_incidents(cursor, "i.digest_id = %s AND NOT i.withdrawn", [post.id])

    def delivered(self, post: Post, *, channel: str, ts: str, permalink: str | None, at: datetime) -> None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                "UPDATE posts SET delivered_at = %s, attempts = attempts + 1, last_error = NULL, channel = %s, "
                "ts = %s, permalink = %s WHERE id = %s",
                (at, channel, ts, permalink, post.id),
            )

    def postponed(self, post: Post, *, error: str, until: datetime) -> None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                "UPDATE posts SET attempts = attempts + 1, last_error = %s, due_at = %s WHERE id = %s",
                (error, until, post.id),
            )
