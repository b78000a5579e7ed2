"""The events of a group, read from a PostgreSQL table or query: `EventSource` for PostgreSQL 14 and later.

In: the group and libpq's connection arguments. Out: counts per variable and interval, made by the source's own
engine, and the batch query that Great Expectations checks. Every transaction is read-only and under the group's
statement timeout; what a read costs follows the rows of the range, not those of the table (see `batch`).

Good rows are those that no rule of the suite ``source_rows`` rejects. Rows that are exact duplicates of others
are events like any other: a pipeline that writes twice is what this system is there to see. Counting and
checking are two transactions: a row that arrives between the two is counted by the next update, as long as that
still re-reads its interval.
"""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
from psycopg2 import errors
from sqlalchemy import URL

from anomaly.adapters.postgres import batch
from anomaly.adapters.postgres.source_errors import described, translated
from anomaly.exceptions import SourceSchemaError
from anomaly.groups import Group, TimeRange
from anomaly.ports import SourceCounts

log = logging.getLogger(__name__)

_AWARE = "timestamp with time zone"
_NAIVE = "timestamp without time zone"
_URL_PARTS = ("user", "password", "host", "port", "dbname")

_RELATIONS = """
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1 LIMIT 10000
"""
_LEADING_INDEX_COLUMNS = """
SELECT a.attname FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass(%s) AND i.indisvalid AND i.indpred IS NULL
"""


class PostgresSource:
    """Reads one group's source.

    Args:
        group: whose source it is.
        arguments: keyword arguments for ``psycopg2.connect``.
        suites: folder with ``source_rows.json``.
    """

    def __init__(self, group: Group, arguments: Mapping[str, str], suites: Path) -> None:
        self._group = group
        self._arguments = {
            "client_encoding": "utf8",
            "connect_timeout": "10",
            "application_name": f"anomaly {group.name}",
            **arguments,
        }
        self._suites = suites

    @property
    def url(self) -> str:
        """SQLAlchemy URL with the password in it.

        A host that is a folder (a unix socket) can only stand in the query part, as can whatever else libpq takes.
        """
        given = dict(self._arguments)
        socket = {"host": given.pop("host")} if given.get("host", "").startswith("/") else {}
        parts = {name: given.pop(name, None) for name in _URL_PARTS}
        return URL.create(
            "postgresql+psycopg2",
            username=parts["user"],
            password=parts["password"],
            host=parts["host"],
            port=int(parts["port"]) if parts["port"] and not socket else None,
            database=parts["dbname"],
            query={**given, **socket, **({"port": parts["port"]} if socket and parts["port"] else {})},
        ).render_as_string(hide_password=False)

    def check(self) -> None:
        """That the relation and its columns are there, may be read, and have usable types.

        A table without an index on its timestamps is only warned of: it works, slowly.

        Raises:
            SourceSchemaError: naming what is missing and what is there instead.
            SourceUnavailableError: no connection, or a time-out.
            ConfigurationError: the database refuses this connection for good.
        """
        with self._transaction() as cursor:
            self._check_columns(cursor)
            self._warn_without_index(cursor)

    def count(self, within: TimeRange, *, read_at: datetime) -> SourceCounts:
        """Good rows of the group's variables, per variable and interval.

        Args:
            within: the intervals to count.
            read_at: rows later than this are from the future, so not good; aware.

        Raises:
            SourceSchemaError, SourceUnavailableError, ConfigurationError: as `check`.
        """
        rules = batch.rejection_rules(self._suites)
        query = batch.counting_query(self._group, within, rules, read_at=read_at)
        with self._transaction() as cursor:
            self._check_columns(cursor)
            cursor.execute(query)
            return self._counted(cursor.fetchall(), within)

    def batch_query(self, within: TimeRange, *, read_at: datetime) -> str:
        """A SELECT of the rows that concern the range, under the canonical column names; see `batch`."""
        return batch.batch_query(self._group, within, read_at=read_at)

    # --- reading ------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A cursor in a read-only transaction in UTC, under the statement timeout."""
        milliseconds = int(self._group.source.statement_timeout.total_seconds() * 1000)
        try:
            connection = psycopg2.connect(**self._arguments)
            try:
                connection.set_session(readonly=True)
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
                    cursor.execute("SET LOCAL TimeZone = 'UTC'")
                    yield cursor
            finally:
                connection.close()
        except psycopg2.Error as error:
            raise translated(error, self._group) from error

    def _counted(
        self, rows: Sequence[tuple[str | None, str | None, int | None, int, int]], within: TimeRange
    ) -> SourceCounts:
        mine = [row for row in rows if not row[0] or row[0] in self._group.variables]
        cells: Counter[tuple[str, int]] = Counter()
        types: dict[str, Counter[str]] = {}
        origin, step = int(within.start.timestamp()), int(within.step.total_seconds())
        for name, kind, start, good, _ in mine:
            if name and start is not None:
                cells[name, (start - origin) // step] += good
                seen = types.setdefault(name, Counter())
                if kind is not None:
                    seen[kind] += good
        names = tuple(sorted(types))
        index = {name: i for i, name in enumerate(names)}
        return SourceCounts(
            variables=names,
            types=tuple(max(sorted(types[name]), key=types[name].__getitem__, default=None) for name in names),
            cells=np.array([(index[name], at, n) for (name, at), n in cells.items()], dtype=np.int64).reshape(-1, 3),
            rows_read=sum(row[4] for row in mine),
        )

    # --- the schema ---------------------------------------------------------------------------------------------

    def _check_columns(self, cursor: Any) -> None:
        source = self._group.source
        wanted = {name: getattr(source.columns, name) for name in batch.COLUMNS}
        listed = ", ".join(batch.identifier(column) for column in wanted.values())
        cursor.execute("SAVEPOINT columns")
        try:
            cursor.execute(f"SELECT {listed} FROM {batch.relation(source)} LIMIT 0")
        except errors.UndefinedColumn as error:
            cursor.execute("ROLLBACK TO SAVEPOINT columns")
            raise self._missing_columns(cursor, wanted) or translated(error, self._group) from error
        except (errors.UndefinedTable, errors.InvalidSchemaName) as error:
            cursor.execute("ROLLBACK TO SAVEPOINT columns")
            raise self._missing_table(cursor) or translated(error, self._group) from error
        self._check_timestamps(cursor, cursor.description[batch.COLUMNS.index("timestamp")].type_code)

    def _missing_columns(self, cursor: Any, wanted: Mapping[str, str]) -> SourceSchemaError | None:
        cursor.execute(f"SELECT * FROM {batch.relation(self._group.source)} LIMIT 0")
        there = [column.name for column in cursor.description]
        problems = []
        for name, column in wanted.items():
            if column not in there:
                near = difflib.get_close_matches(column, there, n=1)
                problems.append(
                    f"column {column!r} (source.columns.{name})" + (f", nearest {near[0]!r}" if near else "")
                )
        if not problems:
            return None  # the query itself names an unknown column
        return SourceSchemaError(
            f"{described(self._group)}: has no {'; no '.join(problems)}. It has {', '.join(there)}: "
            "name the right ones under source.columns"
        )

    def _missing_table(self, cursor: Any) -> SourceSchemaError | None:
        table = self._group.source.table
        if table is None:
            return None
        cursor.execute(_RELATIONS)
        there = [name for (name,) in cursor.fetchall()]
        near = difflib.get_close_matches(table, there, n=3, cutoff=0.5)
        hint = f"the nearest are {', '.join(near)}" if near else f"it has {', '.join(there[:10]) or 'no tables'}"
        return SourceSchemaError(
            f"{described(self._group)}: there is no such table in database "
            f"{cursor.connection.info.dbname!r}; {hint}. Correct source.table (as schema.table outside the search path)"
        )

    def _check_timestamps(self, cursor: Any, type_oid: int) -> None:
        cursor.execute("SELECT format_type(%s, NULL)", (type_oid,))
        (found,) = cursor.fetchone()
        column, zone = self._group.source.columns.timestamp, self._group.source.timezone
        where = f"{described(self._group)}: column {column!r}"
        if found == _NAIVE and zone is None:
            raise SourceSchemaError(
                f"{where} is {_NAIVE}, so its moments are ambiguous; set source.timezone to the zone that it is "
                "written in, for example UTC"
            )
        if found == _AWARE and zone is not None:
            raise SourceSchemaError(
                f"{where} is {_AWARE}, which needs no zone, but source.timezone is {zone!r}; remove source.timezone"
            )
        if found not in (_NAIVE, _AWARE):
            raise SourceSchemaError(
                f"{where} is {found}; expected {_AWARE} or {_NAIVE}. Name another column under "
                "source.columns.timestamp, or convert it in source.query"
            )

    def _warn_without_index(self, cursor: Any) -> None:
        source = self._group.source
        if source.table is None:
            return
        table = ".".join(batch.identifier(part) for part in batch.table_parts(source.table))
        cursor.execute("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", (table,))
        kind = cursor.fetchone()
        if kind is None or kind[0] not in ("r", "p", "m"):
            return
        cursor.execute(_LEADING_INDEX_COLUMNS, (table,))
        if source.columns.timestamp not in {name for (name,) in cursor.fetchall()}:
            log.warning(
                "%s: no index begins with column %r, so every update reads the whole table; create one",
                described(self._group),
                source.columns.timestamp,
            )
