"""The embedded PostgreSQL: it runs in awkward places, asks for a password, and has the sample behind a reader."""

from __future__ import annotations

import psycopg2
import pytest

from anomaly.local.postgres import DATABASES, READER, Server
from anomaly.local.sample import load_sample


def test_it_runs_in_a_deep_folder_that_other_users_cannot_enter(embedded_postgres: Server) -> None:
    for database in DATABASES:
        psycopg2.connect(**embedded_postgres.arguments(database)).close()


def test_nobody_gets_in_without_the_password(embedded_postgres: Server) -> None:
    wrong = {**embedded_postgres.arguments("anomaly"), "password": "postgres"}
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(**wrong)


def test_the_sample_is_loaded_once_and_its_role_may_only_read(embedded_postgres: Server) -> None:
    rows = load_sample(embedded_postgres)
    assert rows == 1_195_449
    connection = psycopg2.connect(**embedded_postgres.arguments("flights", user=READER))
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                'SELECT count(*), min("timestamp"), max("timestamp"), min(ctid), max(xmin::text) FROM events'
            )
            count, first, last, _, loaded_by = cursor.fetchone()
            assert count == rows
            assert (first.isoformat(), last.isoformat()) == ("2013-01-01T06:00:00+00:00", "2014-01-01T09:01:00+00:00")
            assert load_sample(embedded_postgres) == rows
            cursor.execute("SELECT max(xmin::text) FROM events")
            assert cursor.fetchone() == (loaded_by,)  # the same rows, not loaded again
            connection.rollback()
            cursor.execute("SET TRANSACTION READ WRITE")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("DELETE FROM events")
    finally:
        connection.close()
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(**embedded_postgres.arguments("anomaly", user=READER))


def test_time_and_not_the_table_decides_what_a_range_costs(embedded_postgres: Server) -> None:
    load_sample(embedded_postgres)
    connection = psycopg2.connect(**embedded_postgres.arguments("flights", user=READER))
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "EXPLAIN SELECT * FROM events WHERE \"timestamp\" >= '2013-02-08' AND \"timestamp\" < '2013-02-09'"
            )
            assert "events_timestamp" in "\n".join(line for (line,) in cursor.fetchall())
    finally:
        connection.close()
