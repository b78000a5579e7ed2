"""Which loopback port each server of the embedded stack listens on.

Each has a default and a variable that names another port; 0 takes any free one. Ports are checked before
anything starts, and all busy ones are reported at once, with the way out.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields

from anomaly.exceptions import ConfigurationError

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Addresses:
    """A port for each server."""

    airflow: int = 8080
    mlflow: int = 5000
    slack: int = 8081
    postgres: int = 25432

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Addresses:
        """The ports to use: all of them free at this moment.

        Raises:
            ConfigurationError: a variable is no port number, or ports are in use; all of them in one message.
        """
        given = os.environ if environment is None else environment
        problems: list[str] = []
        ports: dict[str, int] = {}
        for part in fields(cls):
            variable = f"ANOMALY_PORT_{part.name.upper()}"
            written = given.get(variable) or str(part.default)
            if not (written.isascii() and written.isdigit() and int(written) < 65536):
                problems.append(f"{variable} is {written!r}; expected a port from 1 to 65535, or 0 for any free one")
                continue
            wanted = int(written)
            twice = next((name for name, port in ports.items() if port == wanted != 0), None)
            if twice is not None:
                problems.append(f"{variable} is {wanted}, which is {_NAMES[twice]}'s port too; choose another")
            elif (free := _free(wanted)) is None:
                problems.append(
                    f"port {wanted} ({_NAMES[part.name]}) is in use; stop what listens there, or choose another, "
                    f"for example: {variable}={_free(0)}"
                )
            else:
                ports[part.name] = free
        if problems:
            raise ConfigurationError("\n".join(problems))
        return cls(**ports)

    def url(self, server: str) -> str:
        """``http://…`` of a server, without a slash at the end."""
        return f"http://{HOST}:{getattr(self, server)}"

    @property
    def data_docs(self) -> str:
        """The Data Docs, which the Slack preview's server shows too."""
        return f"{self.url('slack')}/data-docs/"


_NAMES = {
    "airflow": "Airflow",
    "mlflow": "MLflow",
    "slack": "the Slack preview and the Data Docs",
    "postgres": "PostgreSQL",
}


def _free(port: int) -> int | None:
    """`port` if nothing listens there, any free one for 0, None when it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do, for ports just left
        try:
            probe.bind((HOST, port))
        except OSError as refused:
            if refused.errno in {errno.EADDRINUSE, errno.EACCES}:
                return None
            raise
        return int(probe.getsockname()[1])
