"""Connections by Airflow's own convention, so that one name means the same to the DAGs and to the command line.

Inside Airflow a connection comes from its secrets backends; outside, from ``AIRFLOW_CONN_<ID>`` in the
environment, in either of the two forms that Airflow takes (a URI, or JSON).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from anomaly.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class Connection:
    """What Airflow keeps of a connection. `password` never appears in the representation."""

    id: str
    type: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def postgres_arguments(self) -> dict[str, str]:
        """Keyword arguments for ``psycopg2.connect``.

        Raises:
            ConfigurationError: the connection is of another type.
        """
        if self.type not in {"postgres", "postgresql"}:
            raise ConfigurationError(
                f"connection {self.id!r} is of type {self.type!r}; expected 'postgres' (a PostgreSQL database)"
            )
        given = {"host": self.host, "port": self.port, "user": self.login, "password": self.password}
        known = {"host", "sslmode", "sslrootcert", "sslcert", "sslkey", "options", "application_name"}
        extra = {k: v for k, v in self.extra.items() if k in known}
        arguments = {**given, "dbname": self.schema, **extra}
        return {k: str(v) for k, v in arguments.items() if v not in (None, "")}


ConnectionLookup = Callable[[str], Connection]


def environment_connection(connection_id: str) -> Connection:
    """The connection in ``AIRFLOW_CONN_<ID>``.

    Raises:
        ConfigurationError: not set, or in neither of Airflow's two forms.
    """
    name = f"AIRFLOW_CONN_{connection_id.upper()}"
    written = os.environ.get(name)
    if not written:
        raise ConfigurationError(
            f"connection {connection_id!r} is not defined; set {name}, for example "
            f"{name}='postgres://user:password@host:5432/database'"
        )
    return parse_connection(connection_id, written)


def parse_connection(connection_id: str, written: str) -> Connection:
    """A connection from Airflow's URI form or JSON form.

    Raises:
        ConfigurationError: it is neither.
    """
    if written.lstrip().startswith("{"):
        try:
            given = json.loads(written)
        except json.JSONDecodeError as bad:
            raise ConfigurationError(f"connection {connection_id!r} is not valid JSON: {bad}") from None
        extra = given.get("extra") or {}
        return Connection(
            id=connection_id,
            type=given.get("conn_type", ""),
            host=given.get("host"),
            port=int(given["port"]) if given.get("port") else None,
            login=given.get("login"),
            password=given.get("password"),
            schema=given.get("schema"),
            extra=json.loads(extra) if isinstance(extra, str) else extra,
        )
    parts = urlsplit(written)
    if not parts.scheme:
        raise ConfigurationError(
            f"connection {connection_id!r} has no type; expected a URI such as postgres://user@host/database, or JSON"
        )
    extra = dict(parse_qsl(parts.query))
    if "__extra__" in extra:
        extra |= json.loads(extra.pop("__extra__"))
    return Connection(
        id=connection_id,
        type=parts.scheme.replace("-", "_"),
        host=unquote(parts.hostname) if parts.hostname else None,
        port=parts.port,
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        schema=unquote(parts.path.removeprefix("/")) or None,
        extra=extra,
    )
