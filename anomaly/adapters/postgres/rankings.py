"""The rankings that serve, in PostgreSQL: `anomaly.ports.rankings.Rankings`."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg2.extras

from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.detection.ranking import Ranking
from anomaly.groups import Group
from anomaly.ports.rankings import KeptRanking


class PostgresRankings:
    """Implements `anomaly.ports.rankings.Rankings`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    def serving(self, group: Group) -> KeptRanking | None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("SELECT ranking, learned_at, version FROM rankings WHERE group_name = %s", (group.name,))
            found = cursor.fetchone()
        return None if found is None else KeptRanking(Ranking.from_json(found[0]), found[1], found[2])

    def serve(self, group: Group, kept: KeptRanking) -> None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(
                "INSERT INTO rankings (group_name, ranking, learned_at, version) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (group_name) DO UPDATE SET ranking = excluded.ranking, learned_at = excluded.learned_at, "
                "version = excluded.version",
                (group.name, psycopg2.extras.Json(kept.ranking.as_json()), kept.learned_at, kept.version),
            )
