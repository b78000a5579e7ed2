"""What PostgreSQL said about the source, as this package's exceptions: whether trying again helps, and what to do."""

from __future__ import annotations

import re

import psycopg2
from psycopg2 import errors

from anomaly.exceptions import AnomalyError, ConfigurationError, SourceSchemaError, SourceUnavailableError
from anomaly.groups import Group
from anomaly.groups.durations import format_duration

_REFUSED_FOR_GOOD = re.compile(
    r"authentication failed|role .* does not exist|database .* does not exist|no pg_hba.conf entry|"
    r"no password supplied|permission denied for database"
)


def described(source: Group) -> str:
    """The source of a group, for messages."""
    what = f"table {source.source.table}" if source.source.table else "the query of source.query"
    return f"group {source.name}: {what} (connection {source.source.connection!r})"


def translated(error: psycopg2.Error, group: Group) -> AnomalyError:
    """The exception to raise instead of one of psycopg2's."""
    said = _first_line(error)
    where = described(group)
    match error:
        case errors.QueryCanceled():
            limit = format_duration(group.source.statement_timeout)
            return SourceUnavailableError(
                f"{where}: the database ended the statement ({said}; source.statement_timeout is {limit}). Is there "
                f"an index that begins with {group.source.columns.timestamp!r}? Else raise source.statement_timeout"
            )
        case errors.InsufficientPrivilege():
            return SourceSchemaError(
                f"{where}: may not be read: {said}. Grant SELECT on it (and USAGE on its schema) to the role of the "
                "connection"
            )
        case errors.UndefinedTable() | errors.InvalidSchemaName():
            return SourceSchemaError(f"{where}: does not exist: {said}. Correct source.table or source.query")
        case errors.UndefinedColumn():
            return SourceSchemaError(f"{where}: {said}. Correct source.columns")
        case errors.ReadOnlySqlTransaction():
            return SourceSchemaError(f"{where}: tries to write ({said}); the source is only ever read")
        case psycopg2.ProgrammingError() | psycopg2.DataError() | psycopg2.NotSupportedError():
            return SourceSchemaError(f"{where}: cannot be read as it is: {said}")
        case _ if error.pgcode is None and _REFUSED_FOR_GOOD.search(str(error)):
            return ConfigurationError(f"{where}: the database refuses the connection: {said}. Correct the connection")
        case _:
            return SourceUnavailableError(f"{where}: the database does not answer: {said}. It is tried again later")


def underlying(error: BaseException | None) -> psycopg2.Error | None:
    """The psycopg2 error that an exception of SQLAlchemy's or Great Expectations' was raised for, if any."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, psycopg2.Error):
            return error
        original = getattr(error, "orig", None)
        error = original if isinstance(original, psycopg2.Error) else error.__cause__ or error.__context__
    return None


def _first_line(error: psycopg2.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("ERROR:").strip() if lines else type(error).__name__
