"""A look at a PostgreSQL table, at a bounded cost: what `anomaly init` guesses a group's file from.

In: libpq's arguments and a table's name. Out: `TableFacts` and `Seen`. One read-only transaction, each statement under
a timeout; a sample of some thousand rows by TABLESAMPLE where the table is large; the bounds of time by their index;
counts of the latest stretch only, as much of it as a budget of rows allows. Without an index on the time, a large
table's counts come from a sample too, and so do its bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from psycopg2 import errors

from anomaly.adapters.postgres.batch import identifier, literal, table_parts
from anomaly.adapters.postgres.connecting import connected, where
from anomaly.exceptions import ConfigurationError, SourceSchemaError, SourceUnavailableError
from anomaly.groups.guessing import BIN, ColumnFacts, Roles, Seen, TableFacts, relation_query

TIMEOUT = timedelta(seconds=20)
"""Per statement; there are about ten."""
SAMPLE_ROWS = 10_000
FEW_VALUES = 50
LONGEST_VALUE = 64
LARGE = 1_000_000
"""Rows from which a table without an index on its time is only sampled."""
ROWS_COUNTED = 3_000_000
"""At most about so many rows are counted to learn the rates."""
LONGEST_LOOK, SHORTEST_LOOK = timedelta(days=56), timedelta(days=1)
MOST_NAMES = 20_000

_TABLE = """
SELECT c.oid, c.relkind,
       CASE WHEN c.relkind <> 'p' THEN c.reltuples
            ELSE (SELECT sum(greatest(l.reltuples, 0)) FROM pg_partition_tree(c.oid) AS p
                  JOIN pg_class AS l ON l.oid = p.relid WHERE p.isleaf) END,
       CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""
_COLUMNS = """
SELECT a.attname, CASE WHEN t.typtype = 'e' THEN 'enum' ELSE format_type(a.atttypid, NULL) END
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_LEADING = """
SELECT a.attname FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s AND i.indisvalid AND i.indpred IS NULL
"""
_NEAR = """
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1 LIMIT 200
"""
_WRITES = """
SELECT rolsuper OR has_table_privilege(%s, 'INSERT, UPDATE, DELETE, TRUNCATE')
FROM pg_roles WHERE rolname = current_user
"""


class TableLook:
    """Looks at one table; use it as ``with TableLook.open(arguments, table) as look``."""

    def __init__(self, cursor: Any, table: str) -> None:
        self._cursor = cursor
        self._oid, self._kind, rows, self.name = self._found(table)
        self._rows = None if rows is None or rows < 0 or self._kind in {"v", "f"} else int(rows)
        self._sql = ".".join(identifier(part) for part in table_parts(table))

    @classmethod
    @contextmanager
    def open(cls, arguments: Mapping[str, str], table: str, *, timeout: timedelta = TIMEOUT) -> Iterator[TableLook]:
        """A look for the length of the block.

        Args:
            arguments: libpq keyword arguments.
            table: ``table`` or ``schema.table``.
            timeout: per statement.

        Raises:
            SourceUnavailableError: not reachable, or a statement ran past the timeout.
            SourceSchemaError: no such table, or it may not be read.
        """
        given = {"client_encoding": "utf8", "application_name": "anomaly init", **arguments}
        try:
            with connected(given, unavailable=SourceUnavailableError, what="the source") as link:
                link.set_session(readonly=True)
                with link.cursor() as cursor:
                    cursor.execute(f"SET LOCAL statement_timeout = {int(timeout.total_seconds() * 1000)}")
                    cursor.execute("SET LOCAL TimeZone = 'UTC'")
                    yield cls(cursor, table)
        except errors.QueryCanceled as slow:
            raise SourceUnavailableError(
                f"{where(arguments)}: a look at {table} took longer than {timeout.total_seconds():g} s; an index that "
                "begins with the time makes it quick, or give it longer with --timeout"
            ) from slow
        except errors.InsufficientPrivilege as refused:
            raise SourceSchemaError(
                f"{where(arguments)}: {str(refused).splitlines()[0]}; GRANT SELECT ON {table} to its role"
            ) from refused

    def may_write(self) -> bool:
        """Whether the connection's role may do more than read the table."""
        self._cursor.execute(_WRITES, (self._oid,))
        (writes,) = self._cursor.fetchone()
        return bool(writes)

    def facts(self) -> TableFacts:
        """The columns, and what a sample says of each."""
        self._cursor.execute(_COLUMNS, (self._oid,))
        columns = self._cursor.fetchall()
        listed = ", ".join(f"left({identifier(name)}::text, {LONGEST_VALUE})" for name, _ in columns)
        self._cursor.execute(f"SELECT {listed} FROM {self._sampled(SAMPLE_ROWS)} LIMIT {SAMPLE_ROWS}")
        rows = self._cursor.fetchall()
        if not rows and self._rows:  # a small share of few pages
            self._cursor.execute(f"SELECT {listed} FROM {self._sql} LIMIT {SAMPLE_ROWS}")
            rows = self._cursor.fetchall()
        indexed = None
        if self._kind in {"r", "p", "m"}:
            self._cursor.execute(_LEADING, (self._oid,))
            indexed = frozenset(name for (name,) in self._cursor.fetchall())
        return TableFacts(
            table=self.name,
            columns=tuple(_column(name, kind, [row[at] for row in rows]) for at, (name, kind) in enumerate(columns)),
            sampled=len(rows),
            rows=self._rows or (len(rows) if len(rows) < SAMPLE_ROWS else None),
            indexed=indexed,
        )

    def seen(self, facts: TableFacts, roles: Roles, zone: str | None) -> Seen | None:
        """How often each variable is written; None when there are no rows.

        Args:
            zone: of the timestamps, where they are naive.
        """
        time = identifier(roles.timestamp.name)
        quick = facts.indexed is not None and roles.timestamp.name in facts.indexed
        sampled = not quick and (facts.rows is None or facts.rows > LARGE) and self._kind in {"r", "p", "m"}
        share = min(1.0, ROWS_COUNTED / 4 / facts.rows) if sampled and facts.rows else 1.0
        sample = _tablesample(share) if share < 1 else ""
        rows = self._sql + sample
        self._cursor.execute(f"SELECT min({time}), max({time}) FROM {rows} WHERE isfinite({time}) AND {time} <= now()")
        first, last = self._cursor.fetchone()
        if first is None:
            return None
        begin, end = self._stretch(facts, roles, first, last, share)
        relation = relation_query(facts, roles)
        if sample:
            relation = re.sub(r" AS t(?=\s|$)", f" AS t{sample}", relation, count=1)
        cells = self._counted(relation, begin, end)
        names = tuple(sorted({name for name, _, _ in cells}))
        row = {name: at for at, name in enumerate(names)}
        counts = np.zeros((len(names), (end - begin) // BIN))
        for name, at, events in cells:
            counts[row[name], int(at)] = events / share
        return Seen(
            names=names,
            counts=counts,
            first=_aware(first, zone),
            last=_aware(last, zone),
            looked_from=_aware(begin, zone),
            share=share,
            delays=self._delays(roles, begin, end, rows),
        )

    # --- parts ----------------------------------------------------------------------------------------------------

    def _found(self, table: str) -> tuple[int, str, float | None, str]:
        quoted = ".".join(identifier(part) for part in table_parts(table))
        self._cursor.execute(_TABLE, (quoted,))
        found = self._cursor.fetchone()
        if found is None:
            import difflib

            self._cursor.execute(_NEAR)
            there = [name for (name,) in self._cursor.fetchall()]
            near = difflib.get_close_matches(table, there, n=3, cutoff=0.5) or there[:10]
            raise SourceSchemaError(
                f"there is no table {table!r} in database {self._cursor.connection.info.dbname!r}; it has "
                f"{', '.join(near) or 'none that this role may see'}. Name it as schema.table outside the search path"
            )
        number, kind, rows, name = found
        return number, kind, None if rows is None else float(rows), name

    def _sampled(self, wanted: int) -> str:
        """The table, or a repeatable share of its pages where it is large."""
        if self._kind not in {"r", "p", "m"} or not self._rows or self._rows <= 5 * wanted:
            return self._sql
        return self._sql + _tablesample(2 * wanted / self._rows)

    @staticmethod
    def _stretch(
        facts: TableFacts, roles: Roles, first: datetime, last: datetime, share: float
    ) -> tuple[datetime, datetime]:
        """Whole days up to the latest event, as many as the budget allows."""
        length = max(last - first, SHORTEST_LOOK)
        per_row = len(roles.written) if roles.form == "wide" else 1
        events = (facts.rows or ROWS_COUNTED) * share * per_row
        allowed = min(LONGEST_LOOK, length * min(1.0, ROWS_COUNTED / max(events, 1)))
        days = max(1, round(allowed / timedelta(days=1)))
        end = last.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        return end - timedelta(days=days), end

    def _counted(self, relation: str, begin: datetime, end: datetime) -> list[tuple[str, int, int]]:
        """(name, number of the bin, events)."""
        size = int(BIN.total_seconds())
        self._cursor.execute(
            f'SELECT variable, floor(extract(epoch FROM "timestamp" - {_moment(begin)}) / {size})::integer, count(*) '
            f'FROM ({relation}) AS events WHERE "timestamp" >= {_moment(begin)} AND "timestamp" < {_moment(end)} '
            "AND variable IS NOT NULL GROUP BY 1, 2"
        )
        found: list[tuple[str, int, int]] = self._cursor.fetchall()
        names = {name for name, _, _ in found}
        if len(names) > MOST_NAMES:
            raise ConfigurationError(
                f"{self.name}: {len(names):,} different variables in the latest days, more than {MOST_NAMES:,}; the "
                "column that says which variable a row writes is probably another one: write the file by hand"
            )
        return found

    def _delays(self, roles: Roles, begin: datetime, end: datetime, rows: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        if roles.arrival is None or roles.arrival.type != roles.timestamp.type:
            return np.empty(0)
        time, arrival = identifier(roles.timestamp.name), identifier(roles.arrival.name)
        self._cursor.execute(
            f"SELECT extract(epoch FROM {arrival} - {time})::float8 FROM {rows} WHERE {time} >= {_moment(begin)} "
            f"AND {time} < {_moment(end)} AND {arrival} IS NOT NULL LIMIT {10 * SAMPLE_ROWS}"
        )
        return np.array([delay for (delay,) in self._cursor.fetchall()], dtype=np.float64)


def _column(name: str, kind: str, values: list[str | None]) -> ColumnFacts:
    known = [value for value in values if value is not None]
    different = frozenset(known)
    return ColumnFacts(
        name=name,
        type=kind,
        nulls=1 - len(known) / len(values) if values else 0.0,
        distinct=len(different),
        values=different if len(different) <= FEW_VALUES and len(known) > 2 * len(different) else frozenset(),
    )


def _tablesample(share: float) -> str:
    return f" TABLESAMPLE SYSTEM ({100 * share:.6g}) REPEATABLE (1)"


def _moment(at: datetime) -> str:
    kind = "timestamptz" if at.tzinfo else "timestamp"
    return f"{literal(at.isoformat(sep=' '))}::{kind}"


def _aware(at: datetime, zone: str | None) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone) if zone else UTC).astimezone(UTC)
