"""Brings the metadata tables to this version's shape, with Alembic; run by ``anomaly db upgrade``.

Safe to run again and from several processes at once: an advisory lock lets one at a time through.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anomaly.adapters.postgres import locks
from anomaly.adapters.postgres.connecting import connected
from anomaly.exceptions import StoreUnavailableError


def migrate(arguments: Mapping[str, str]) -> str:
    """Runs what is missing; returns the revision that the database is at.

    Args:
        arguments: libpq keyword arguments of a role that may create tables.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import URL, create_engine, text
    from sqlalchemy.pool import NullPool

    with connected(arguments, unavailable=StoreUnavailableError, what="the metadata database"):
        pass
    engine = create_engine(URL.create("postgresql+psycopg2"), connect_args=dict(arguments), poolclass=NullPool)
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as link:
        link.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": locks.MIGRATION})
        configuration.attributes["connection"] = link
        command.upgrade(configuration, "head")
        revision = MigrationContext.configure(link, opts={"version_table": "anomaly_revision"}).get_current_revision()
    return revision or ""
