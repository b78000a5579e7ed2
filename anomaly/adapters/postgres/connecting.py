"""Opening PostgreSQL connections so that every failure comes out as one of our exceptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg2
import psycopg2.extensions

from anomaly.exceptions import TransientError

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
