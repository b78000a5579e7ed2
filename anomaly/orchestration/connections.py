"""Airflow connections as the adapters know them, from whichever secrets backend holds them."""

from __future__ import annotations

import json

from anomaly.adapters.connections import Connection
from anomaly.adapters.settings import Settings
from anomaly.adapters.world import World
from anomaly.exceptions import ConfigurationError


def airflow_world() -> World:
    """The adapters, with settings from the environment and connections from Airflow. Call it inside a task."""
    return World(Settings.from_environment(), airflow_connection)


def airflow_connection(connection_id: str) -> Connection:
    """A connection from Airflow's secrets backends, its environment or its database, in Airflow's order.

    Raises:
        ConfigurationError: none of them has it, or its extra is not JSON.
    """
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = AirflowConnection.get(connection_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Airflow has no connection {connection_id!r}; add it under Admin > Connections, in the secrets backend, "
            f"or as AIRFLOW_CONN_{connection_id.upper()}"
        ) from None
    try:
        extra = json.loads(found.extra) if found.extra else {}
    except json.JSONDecodeError as bad:
        raise ConfigurationError(f"connection {connection_id!r}: found extra that is not JSON: {bad}") from None
    return Connection(
        id=connection_id,
        type=found.conn_type or "",
        host=found.host,
        port=found.port,
        login=found.login,
        password=found.password,
        schema=found.schema,
        extra=extra,
    )
