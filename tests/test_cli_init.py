"""``anomaly init`` on real tables: what it guesses passes the check, and can be counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from typer.testing import CliRunner

from anomaly.adapters.postgres.source import PostgresSource
from anomaly.cli import PERMANENT, app
from anomaly.groups import Group, TimeRange, load_group
from tests.conftest import REPOSITORY, Arguments

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

TABLES = """
CREATE SCHEMA scoring;
CREATE TABLE scoring.events (customer_id bigint, variable text, type text, value text, written_at timestamptz NOT NULL,
                             loaded_at timestamptz);
INSERT INTO scoring.events
SELECT n, v, 'numeric', '1', at + n * interval '7 minutes', at + n * interval '7 minutes' + interval '50 minutes'
FROM generate_series(date_trunc('hour', now()) - interval '40 days', now() - interval '2 hours', '1 hour') AS at,
     unnest(ARRAY['balance', 'income', 'score']) AS v,
     generate_series(1, CASE WHEN extract(hour FROM at) BETWEEN 7 AND 18 THEN 8 ELSE 1 END) AS n;
CREATE INDEX ON scoring.events (written_at);

CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id uuid, amount numeric, status text, paid boolean, note text,
                     created_at timestamp NOT NULL);
INSERT INTO orders (customer_id, amount, status, paid, note, created_at)
SELECT gen_random_uuid(), 12.5, (ARRAY['new', 'sent'])[1 + n % 2], n % 3 = 0,
       CASE WHEN n % 6 = 0 THEN n || ' ' || at END,
       at + n * interval '4 minutes'
FROM generate_series(now()::timestamp - interval '30 days', now()::timestamp - interval '3 hours', '1 hour') AS at,
     generate_series(1, 12) AS n;

CREATE TABLE clicks (user_id int, event_name text, "at" timestamptz);
INSERT INTO clicks SELECT n, 'page ' || n % 4, now() - n * interval '3 hours' FROM generate_series(1, 80) AS n;
CREATE INDEX ON clicks ("at");
CREATE VIEW recent_clicks AS SELECT * FROM clicks;

CREATE TABLE notes (id int, body text);
CREATE TABLE empty (customer_id int, variable text, written_at timestamptz);
"""


@pytest.fixture(scope="module")
def source(postgres: Arguments, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arguments]:
    from tests.conftest import _database_like

    with _database_like(postgres, "template1") as arguments:
        link = psycopg2.connect(**arguments)
        with link, link.cursor() as cursor:
            cursor.execute(TABLES)
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute("ANALYZE")
        link.close()
        yield arguments


@pytest.fixture
def init(source: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    password = quote(source["password"], safe="")
    address = f"{source['user']}:{password}@{source['host']}:{source['port']}/{source['dbname']}"
    monkeypatch.setenv("AIRFLOW_CONN_PRODUCTION", f"postgres://{address}")
    monkeypatch.setenv("ANOMALY_GROUPS", str(tmp_path))
    return lambda *given: CliRunner().invoke(app, ["init", "production", *given], catch_exceptions=False)


def counted(group: Group, source: Arguments, days: int = 2) -> int:
    """Events that the group's own source counts in its last days."""
    reader = PostgresSource(group, source, suites=REPOSITORY / "expectations")
    reader.check()
    end = group.floor(NOW)
    begin = group.floor(end - timedelta(days=days))
    return int(reader.count(TimeRange(begin, end, group.interval), read_at=NOW).cells[:, 2].sum())


def test_a_table_of_events_is_read_as_it_is_with_a_reason_beside_each_key(
    init: Callable[..., Any], source: Arguments, tmp_path: Path
) -> None:
    result = init("scoring.events", "--timezone", "Europe/Berlin", "--owner", "risk", "--channel", "#risk")
    assert result.exit_code == 0, result.output
    group = load_group(tmp_path / "scoring_events.yaml")
    assert group.source.table == "scoring.events"
    assert (group.source.columns.entity_id, group.source.columns.timestamp) == ("customer_id", "written_at")
    assert (group.interval, group.lateness, group.total) == (HOUR / 4, HOUR, True)
    assert (group.owner, group.slack.channel, group.timezone) == ("risk", "#risk", "Europe/Berlin")
    assert counted(group, source) > 100
    text = (tmp_path / "scoring_events.yaml").read_text()
    assert "# holidays: DE" in text
    assert "ITS ROLE MAY WRITE" in text
    assert "(loaded_at)" in text
    begin = group.schedule.start.astimezone(group.zone).date()
    assert f"anomaly update scoring_events --start {begin} --end " in result.stderr
    assert "anomaly fit scoring_events --until " in result.stderr
    assert "NO INDEX" not in text
    keys = [line for line in text.splitlines() if ":" in line and not line.endswith(":") and line[0] != "#"]
    above = text.splitlines()
    for line in keys:
        assert "#" in line or above[above.index(line) - 1].lstrip().startswith("#"), line


def test_a_wide_table_gets_a_query_that_counts_every_column_it_writes(
    init: Callable[..., Any], source: Arguments, tmp_path: Path
) -> None:
    assert init("orders", "--timezone", "UTC").exit_code == 0
    group = load_group(tmp_path / "orders.yaml")
    assert group.source.table is None
    assert group.source.timezone == "UTC"
    reader = PostgresSource(group, source, suites=REPOSITORY / "expectations")
    end = group.floor(NOW - timedelta(hours=6))
    found = reader.count(TimeRange(end - timedelta(days=1), end, group.interval), read_at=NOW)
    assert dict(zip(found.variables, found.types, strict=True)) == {
        "amount": "numeric",
        "note": "text",
        "paid": "boolean",
        "status": "enum",
    }
    text = (tmp_path / "orders.yaml").read_text()
    assert "NO INDEX on the time" in text
    assert "CREATE INDEX ON orders (created_at)" in text


def test_a_table_without_type_and_value_gets_a_query_that_still_uses_the_index(
    init: Callable[..., Any], source: Arguments, tmp_path: Path
) -> None:
    assert init("clicks").exit_code == 0
    group = load_group(tmp_path / "clicks.yaml")
    assert group.interval == timedelta(days=1)
    assert counted(group, source, days=5) > 20
    assert "SAY YOURS" in (tmp_path / "clicks.yaml").read_text()
    assert "and a fit needs 21" in (tmp_path / "clicks.yaml").read_text()
    link = psycopg2.connect(**source)
    with link, link.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f'EXPLAIN SELECT * FROM ({group.source.query}) AS q WHERE "timestamp" >= now()')
        plan = "\n".join(row[0] for row in cursor.fetchall())
    link.close()
    assert "Index Cond" in plan


def test_a_view_is_looked_at_too(init: Callable[..., Any], tmp_path: Path) -> None:
    assert init("recent_clicks").exit_code == 0
    assert "a view: see that its table has an index" in (tmp_path / "recent_clicks.yaml").read_text()


def test_a_large_table_without_an_index_is_sampled_and_the_rates_are_scaled_up(
    init: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly.adapters.postgres import looking

    monkeypatch.setattr(looking, "LARGE", 1_000)
    monkeypatch.setattr(looking, "ROWS_COUNTED", 16_000)
    assert init("orders", "--timezone", "UTC").exit_code == 0
    text = (tmp_path / "orders.yaml").read_text()
    assert "from a sample of" in text


def test_a_file_that_is_there_is_not_overwritten(init: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "clicks.yaml"
    file.write_text("mine")
    refused = init("clicks")
    assert refused.exit_code == PERMANENT
    assert "not overwritten" in refused.output
    assert file.read_text() == "mine"
    assert init("clicks", "--out", str(tmp_path / "other.yaml")).exit_code == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("orders",), "say in which it is written: --timezone"),
        (("notes",), "no column of a timestamp's type"),
        (("empty",), "no rows with a written_at in the past"),
        (("click",), "it has clicks"),
        (("clicks", "--timezone", "Berlin"), "expected an IANA time zone"),
        (("clicks", "--timestamp", "event_name"), "no column 'event_name' of a timestamp's type"),
        (("clicks", "--out", "My Group.yml"), "expected lower case letters"),
    ],
)
def test_what_cannot_be_guessed_is_said_with_what_to_do_and_writes_nothing(
    init: Callable[..., Any], tmp_path: Path, given: tuple[str, ...], said: str
) -> None:
    refused = init(*given)
    assert refused.exit_code == PERMANENT
    assert said in refused.output
    assert not list(tmp_path.iterdir())


def test_the_role_of_the_connection_changes_nothing(init: Callable[..., Any], source: Arguments) -> None:
    link = psycopg2.connect(**source)
    with link, link.cursor() as cursor:
        cursor.execute("ALTER DATABASE " + source["dbname"] + " SET default_transaction_read_only = on")
    link.close()
    try:
        assert init("scoring.events").exit_code == 0
    finally:
        link = psycopg2.connect(**source)
        link.set_session(readonly=False)
        with link, link.cursor() as cursor:
            cursor.execute("ALTER DATABASE " + source["dbname"] + " RESET default_transaction_read_only")
        link.close()
