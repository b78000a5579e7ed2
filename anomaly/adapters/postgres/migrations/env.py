"""Alembic's entry: runs the migrations on the connection that `anomaly.adapters.postgres.migrate` hands over."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    version_table="anomaly_revision",
)
context.run_migrations()
