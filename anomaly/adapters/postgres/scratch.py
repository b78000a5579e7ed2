"""A scratch copy of the metadata: the same tables in a schema of their own, for runs that must leave no trace.

In: the metadata database and a group. Out: libpq arguments whose ``search_path`` is a new schema of the same
database, so that every adapter that is given them reads and writes there and nowhere else. What others have gathered
is there (counts as a view, variables under the same ids, counted ranges, what people said); what stages make (fits,
predictions, incidents, messages) is empty. The schema is dropped at the block's end, on exceptions and Ctrl-C too.
A process that was killed leaves its schema behind without the lock on it: the next one drops it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from anomaly.adapters.postgres import locks
from anomaly.adapters.postgres.connecting import connected
from anomaly.adapters.postgres.migrate import migrate
from anomaly.exceptions import ConfigurationError, StoreUnavailableError
from anomaly.groups import Group

log = logging.getLogger(__name__)

PREFIX = "anomaly_scratch_"
_SAID = ("labels", "snoozes", "adjustments")
_LEARNED = ("fits", "fitted_variables", "network_files", "servings")
"""Tables that hold what fits have learned, and who serves; in this order because of their references."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A schema that looks like the metadata database."""

    schema: str
    arguments: Mapping[str, str]
    """libpq keyword arguments that lead into it."""
    _real: Mapping[str, str]
    _home: str
    _group: str

    def know_what_was_said_by(self, moment: datetime) -> None:
        """Labels, snoozes and adjustments as they stood at a moment (aware); later ones are not there."""
        with _cursor(self.arguments) as cursor:
            for table in reversed(_SAID):
                cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table in _SAID:
                columns = _columns(cursor, self.schema, table)
                taken = [sql.SQL(_AS_IT_WAS.get((table, c), "{}")).format(sql.Identifier(c)) for c in columns]
                cursor.execute(
                    sql.SQL(
                        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} "
                        "WHERE group_name = %(group)s AND "
                    ).format(
                        sql.Identifier(table),
                        sql.SQL(", ").join(map(sql.Identifier, columns)),
                        sql.SQL(", ").join(taken),
                        sql.Identifier(self._home, table),
                    )
                    + sql.SQL(_KNOWN[table]),
                    {"group": self._group, "moment": moment},
                )

    def fits(self) -> tuple[str, ...]:
        """Ids of the fits that are here."""
        with _cursor(self.arguments) as cursor:
            cursor.execute("SELECT id FROM fits ORDER BY history_end, id")
            return tuple(number for (number,) in cursor.fetchall())

    def learn_from(self, other: Scratch) -> None:
        """The fits of another scratch schema, in place of those that are here, with all they have learned."""
        with _cursor(self.arguments) as cursor:
            cursor.execute("DELETE FROM fits")
            for table in _LEARNED:
                columns = _columns(cursor, self.schema, table)
                if columns:
                    names = sql.SQL(", ").join(map(sql.Identifier, columns))
                    cursor.execute(
                        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
                            sql.Identifier(table), names, names, sql.Identifier(other.schema, table)
                        )
                    )


_AS_IT_WAS = {
    ("labels", "incident_id"): "NULL",  # incidents are numbered anew
    ("labels", "replaced_at"): "CASE WHEN {} <= %(moment)s THEN replaced_at END",
    ("adjustments", "label_id"): "NULL",
}
_KNOWN = {
    "labels": "given_at <= %(moment)s",
    "snoozes": "given_at <= %(moment)s",
    "adjustments": "serves_from <= %(moment)s",
}


@contextmanager
def scratch(arguments: Mapping[str, str], group: Group) -> Iterator[Scratch]:
    """A scratch schema for the length of the block.

    Args:
        arguments: libpq keyword arguments of the metadata database, of a role that may create schemas.
        group: whose variables, counts and labels are there.

    Raises:
        StoreUnavailableError: the database cannot be reached, or went away.
        ConfigurationError: the role may not create schemas, or the database holds no metadata.
    """
    name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    with (
        connected(arguments, unavailable=StoreUnavailableError, what="the metadata database") as link,
        link.cursor() as cursor,
    ):
        _drop_leftovers(cursor)
        home = _home(cursor, arguments)
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (locks.SCRATCH, name))
        try:
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        except psycopg2.errors.InsufficientPrivilege as refused:
            raise ConfigurationError(
                f"the role {arguments.get('user', '?')!r} may not create a schema in database "
                f"{arguments.get('dbname', '?')!r}, which a backtest needs for its own tables; let its owner run: "
                f"GRANT CREATE ON DATABASE {arguments.get('dbname', '?')} TO {arguments.get('user', '?')}"
            ) from refused
        link.commit()  # its lock stays: it is the session's
        inside = {**arguments, "options": f"{arguments.get('options', '')} -c search_path={name}".strip()}
        try:
            migrate(inside)
            _fill(cursor, name, home, group)
            link.commit()
            yield Scratch(name, inside, dict(arguments), home, group.name)
        finally:
            if not link.closed:
                link.rollback()
                _drop(cursor, name)


def _fill(cursor: psycopg2.extensions.cursor, name: str, home: str, group: Group) -> None:
    """What update has gathered. Ids stay; counts stay where they are."""
    variables = _columns(cursor, name, "variables")
    columns = sql.SQL(", ").join(map(sql.Identifier, variables))
    cursor.execute(
        sql.SQL(
            "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {} WHERE group_name = %s"
        ).format(sql.Identifier(name, "variables"), sql.Identifier(home, "variables"), columns=columns),
        (group.name,),
    )
    cursor.execute(
        sql.SQL("INSERT INTO {} SELECT * FROM {} WHERE group_name = %s").format(
            sql.Identifier(name, "updated_ranges"), sql.Identifier(home, "updated_ranges")
        ),
        (group.name,),
    )
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name, "counts")))
    cursor.execute(
        sql.SQL("CREATE VIEW {} AS SELECT * FROM {}").format(
            sql.Identifier(name, "counts"), sql.Identifier(home, "counts")
        )
    )


def _columns(cursor: psycopg2.extensions.cursor, schema: str, table: str) -> list[str]:
    """A table's columns, generated ones left out; none where there is no such table."""
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
        "AND is_generated = 'NEVER' ORDER BY ordinal_position",
        (schema, table),
    )
    return [column for (column,) in cursor.fetchall()]


def _home(cursor: psycopg2.extensions.cursor, arguments: Mapping[str, str]) -> str:
    """The schema of the real tables."""
    cursor.execute("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('counts')")
    found = cursor.fetchone()
    if found is None:
        raise ConfigurationError(
            f"database {arguments.get('dbname', '?')!r} holds no metadata tables; run: anomaly db upgrade"
        )
    return str(found[0]).strip('"')


def _drop_leftovers(cursor: psycopg2.extensions.cursor) -> None:
    """Schemas whose process died: nobody holds their lock."""
    cursor.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (PREFIX,))
    for (name,) in cursor.fetchall():
        key = (locks.SCRATCH, name)
        cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", key)
        if cursor.fetchone() == (True,):
            log.info("dropping the scratch schema %s that a killed process has left", name)
            _drop(cursor, name)
            cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)


def _drop(cursor: psycopg2.extensions.cursor, name: str) -> None:
    cursor.execute("SET client_min_messages = warning")
    cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
    cursor.connection.commit()


@contextmanager
def _cursor(arguments: Mapping[str, str]) -> Iterator[psycopg2.extensions.cursor]:
    with (
        connected(arguments, unavailable=StoreUnavailableError, what="the metadata database") as link,
        link.cursor() as cursor,
    ):
        yield cursor
