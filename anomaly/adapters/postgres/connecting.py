"""Opening PostgreSQL connections so that every failure comes out as one of our exceptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from anomaly.exceptions import ConfigurationError, StoreUnavailableError, TransientError

CONNECT_TIMEOUT_SECONDS = 10


def where(arguments: Mapping[str, str]) -> str:
    """The address for messages, without the password."""
    host, port = arguments.get("host", "localhost"), arguments.get("port", "5432")
    return f"database {arguments.get('dbname', '?')!r} at {host}:{port} as {arguments.get('user', '?')!r}"


@contextmanager
def connected(
    arguments: Mapping[str, str], *, unavailable: type[TransientError], what: str
) -> Iterator[psycopg2.extensions.connection]:
    """A connection for the length of the block, one transaction: committed at its end, rolled back on exceptions.

    Args:
        arguments: libpq keyword arguments.
        unavailable: raised when the server cannot be reached or goes away.
        what: the thing's name in messages, such as 'the metadata database'.
    """
    try:
        link: psycopg2.extensions.connection = psycopg2.connect(
            **{"connect_timeout": str(CONNECT_TIMEOUT_SECONDS), "application_name": "anomaly", **arguments}
        )
    except psycopg2.OperationalError as refused:
        raise unavailable(
            f"{what} could not be reached: {where(arguments)}: {str(refused).strip()}. "
            "Check that it runs, and the connection's host, port, user and password."
        ) from refused
    try:
        with link:
            yield link
    except (psycopg2.InterfaceError, psycopg2.OperationalError) as lost:
        if isinstance(lost, psycopg2.errors.QueryCanceled):
            raise
        raise unavailable(f"{what} went away: {where(arguments)}: {str(lost).strip()}") from lost
    finally:
        link.close()


@contextmanager
def metadata_cursor(arguments: Mapping[str, str]) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor on the metadata database for the length of the block, one transaction, in UTC.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.

    Raises:
        StoreUnavailableError: not reachable, went away, or changed meanwhile.
        ConfigurationError: a table is missing, or the role may not use it.
    """
    with connected(
        {**arguments, "options": f"{arguments.get('options', '')} -c timezone=UTC".strip()},
        unavailable=StoreUnavailableError,
        what="the metadata database",
    ) as link:
        try:
            with link.cursor() as cursor:
                yield cursor
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as missing:
            raise ConfigurationError(
                f"the metadata database lacks a table or column ({str(missing).splitlines()[0]}); "
                "run: anomaly db upgrade"
            ) from missing
        except psycopg2.errors.InsufficientPrivilege as refused:
            raise ConfigurationError(
                f"the metadata database refuses its role ({str(refused).splitlines()[0]}); the role of connection "
                "anomaly_db must own the tables, or be granted all on them"
            ) from refused
        except (psycopg2.IntegrityError, psycopg2.InternalError) as changed:
            raise StoreUnavailableError(
                f"the metadata database changed meanwhile ({str(changed).splitlines()[0]}); try again"
            ) from changed
