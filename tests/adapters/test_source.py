"""The PostgreSQL source: what is counted, what it costs, and what it says when it cannot be read."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import sqlalchemy

from anomaly.adapters.postgres.source import PostgresSource
from anomaly.exceptions import ConfigurationError, SourceSchemaError, SourceUnavailableError
from anomaly.groups import Group
from anomaly.ports import SourceCounts

SUITES = Path(__file__).parents[2] / "expectations"
START = datetime(2026, 3, 2, tzinfo=UTC)
READ_AT = datetime(2026, 6, 1, tzinfo=UTC)
STRANGE = ("it's", 'a "b"', "sp ace", "🙂.x", "100%", "%s", "new\nline", "back\\slash", "a:b", "{brace}", ":name", "$1")

Row = tuple[str | None, str | None, str | None, str | None, Any]
Arguments = dict[str, str]


def group_of(*, source: dict[str, Any] | None = None, **changes: Any) -> Group:
    written = {
        "name": "orders",
        "owner": "data",
        "source": {"connection": "source", "table": "events", **(source or {})},
        "interval": "1h",
        "variables": "all",
        "schedule": {"start": datetime(2026, 1, 1, tzinfo=UTC)},
        "slack": {"channel": "#alerts"},
    }
    if source and "query" in source:
        del written["source"]["table"]  # type: ignore[attr-defined]
    return Group.model_validate(written | changes)


@pytest.fixture
def execute(database: Arguments) -> Iterator[Callable[..., Any]]:
    """Runs a statement in the test's database as its owner, and returns its rows."""
    connection = psycopg2.connect(**database)
    connection.autocommit = True

    def run(statement: str, parameters: Sequence[Any] | None = None) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    yield run
    connection.close()


@pytest.fixture
def write(execute: Callable[..., Any]) -> Callable[..., None]:
    """Makes the table of events, and writes rows into it."""
    execute("CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamptz)")
    execute("CREATE INDEX ON events (timestamp)")

    def insert(*rows: Row) -> None:
        for row in rows:
            execute("INSERT INTO events VALUES (%s, %s, %s, %s, %s)", row)

    return insert


def event(variable: str | None = "balance", minutes: float = 0, kind: str | None = "numeric") -> Row:
    return ("e1", variable, kind, "1", START + timedelta(minutes=minutes))


def count(group: Group, database: Arguments, *, hours: int = 3, read_at: datetime = READ_AT) -> SourceCounts:
    within = group.range(START, START + timedelta(hours=hours))
    return PostgresSource(group, database, SUITES).count(within, read_at=read_at)


def as_dict(counted: SourceCounts) -> dict[tuple[str, int], int]:
    return {(counted.variables[v], int(at)): int(n) for v, at, n in counted.cells}


# --- what is counted --------------------------------------------------------------------------------------------


def test_events_are_counted_per_variable_and_interval(write: Callable[..., None], database: Arguments) -> None:
    write(event("a", 0), event("a", 59.9), event("a", 60), event("b", 179), event("b", 180), event("a", -0.1))
    counted = count(group_of(), database)
    assert as_dict(counted) == {("a", 0): 2, ("a", 1): 1, ("b", 2): 1}
    assert counted.rows_read == 4


def test_exact_duplicates_are_events_like_any_other(write: Callable[..., None], database: Arguments) -> None:
    write(*[event("a", 5)] * 3)
    assert as_dict(count(group_of(), database)) == {("a", 0): 3}


def test_no_events_at_all_is_an_empty_count(write: Callable[..., None], database: Arguments) -> None:
    counted = count(group_of(), database)
    assert counted.variables == ()
    assert counted.cells.shape == (0, 3)
    assert counted.rows_read == 0


def test_strange_names_survive(write: Callable[..., None], database: Arguments) -> None:
    write(*[event(name, 1) for name in STRANGE])
    for variables in ("all", list(STRANGE), {"pattern": r"[\s\S]+"}):
        counted = count(group_of(variables=variables), database)
        assert set(counted.variables) == set(STRANGE), variables


def test_only_the_groups_own_variables_are_counted_and_looked_at(
    write: Callable[..., None], database: Arguments
) -> None:
    write(event("mine.a", 1), event("mine.b", 2), event("theirs", 3), event(None, 4), event("", 5))
    for variables in (["mine.a", "mine.b", "never"], {"pattern": r"mine\..+"}, {"pattern": r"(?!theirs).*[ab]"}):
        counted = count(group_of(variables=variables), database)
        assert counted.variables == ("mine.a", "mine.b")
        assert counted.rows_read == 4, "two rows of its own, and two of no variable"


def test_a_pattern_means_what_it_means_in_python(write: Callable[..., None], database: Arguments) -> None:
    names = ["a1", "a٣", "a\n", "a1b", "ab", "A1", "a-", "a b"]
    write(*[event(name, 1) for name in names])
    for pattern in (r"a\d", r"a.", r"a\w", r"a\s?.?b?", r"^a[^1]$", r"(?i)a1", r"a(?:1|b)?", r"a{1}1", r"\x61b"):
        counted = count(group_of(variables={"pattern": pattern}), database)
        assert set(counted.variables) == {name for name in names if re.fullmatch(pattern, name)}, pattern


def test_the_most_frequent_type_is_the_variables_type(write: Callable[..., None], database: Arguments) -> None:
    write(event("a", 1, "text"), event("a", 61, "enum"), event("a", 62, "enum"), event("b", 1, None))
    counted = count(group_of(), database)
    assert dict(zip(counted.variables, counted.types, strict=True)) == {"a": "enum", "b": None}


def test_bad_rows_are_looked_at_and_not_counted(write: Callable[..., None], database: Arguments) -> None:
    write(event("a", 1), ("e", "a", "colour", "1", START), (None, "a", "numeric", "1", START))
    write(("e", "a", "numeric", "1", None), ("e", "a", "numeric", "1", "infinity"), ("e", "a", None, "1", "-infinity"))
    counted = count(group_of(), database)
    assert as_dict(counted) == {("a", 0): 1}
    assert counted.rows_read == 6


def test_columns_of_other_names_and_types_are_read(execute: Callable[..., Any], database: Arguments) -> None:
    execute("CREATE SCHEMA dwh")
    execute("CREATE TYPE dwh.kind AS ENUM ('numeric', 'text')")
    execute(
        'CREATE TABLE dwh."Feature.Log" ("Customer Id" bigint, feature varchar(40), kind dwh.kind, val float8, '
        '"wrote""n" timestamptz)'
    )
    execute('INSERT INTO dwh."Feature.Log" VALUES (7, %s, %s, 1.5, %s)', ("income", "numeric", START))
    columns = {
        "entity_id": "Customer Id",
        "variable": "feature",
        "type": "kind",
        "value": "val",
        "timestamp": 'wrote"n',
    }
    group = group_of(source={"table": 'dwh."Feature.Log"', "columns": columns})
    assert as_dict(count(group, database)) == {("income", 0): 1}


def test_a_query_is_a_source_with_its_percent_signs_colons_and_comments(
    write: Callable[..., None], database: Arguments
) -> None:
    write(event("100%", 1), event("a:b", 2), event("other", 3))
    query = (
        "SELECT *, value::numeric % 2 AS odd FROM events\n"
        "WHERE variable LIKE '%\\%' OR variable = 'a:b' OR variable = ':b {c}'; -- done :)"
    )
    group = group_of(source={"query": query.replace("; --", " --")})
    assert as_dict(count(group, database)) == {("100%", 0): 1, ("a:b", 0): 1}
    assert as_dict(count(group_of(source={"query": "SELECT * FROM events;  "}), database))["other", 0] == 1


# --- zones ------------------------------------------------------------------------------------------------------


def test_naive_timestamps_are_read_in_the_sources_zone(execute: Callable[..., Any], database: Arguments) -> None:
    execute("CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamp)")
    local = START.astimezone(ZoneInfo("Asia/Tokyo")).replace(tzinfo=None)
    execute("INSERT INTO events VALUES ('e', 'a', 'text', 'x', %s)", (local + timedelta(minutes=61),))
    assert as_dict(count(group_of(source={"timezone": "Asia/Tokyo"}), database)) == {("a", 1): 1}


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/New_York", datetime(2025, 11, 2, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2025, 10, 26, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
        ("Antarctica/Troll", datetime(2026, 3, 29, tzinfo=UTC)),
    ],
)
def test_no_naive_row_is_lost_or_counted_twice_when_the_clocks_change(
    execute: Callable[..., Any], database: Arguments, zone: str, day: datetime
) -> None:
    execute("CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamp)")
    execute(
        "INSERT INTO events SELECT 'e', 'a', 'text', 'x', at FROM generate_series(%s, %s, interval '10 minutes') AS at",
        (day.replace(tzinfo=None), day.replace(tzinfo=None) + timedelta(days=1)),
    )
    group = group_of(source={"timezone": zone}, interval="30min")
    source = PostgresSource(group, database, SUITES)
    whole = group.range(day - timedelta(hours=14), day + timedelta(hours=38))
    at_once = as_dict(source.count(whole, read_at=READ_AT))
    assert sum(at_once.values()) == 24 * 6 + 1
    one_by_one = {}
    for at, within in enumerate(whole.chunks(1)):
        for (name, _), n in as_dict(source.count(within, read_at=READ_AT)).items():
            one_by_one[name, at] = n
    assert one_by_one == at_once


def test_the_hour_that_the_clocks_repeat_is_read_as_standard_time(
    execute: Callable[..., Any], database: Arguments
) -> None:
    execute("CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamp)")
    execute("INSERT INTO events VALUES ('e', 'a', 'text', 'x', '2025-11-02 01:30')")
    group = group_of(source={"timezone": "America/New_York"})
    within = group.range(datetime(2025, 11, 2, 5, tzinfo=UTC), datetime(2025, 11, 2, 7, tzinfo=UTC))
    counted = PostgresSource(group, database, SUITES).count(within, read_at=READ_AT)
    assert as_dict(counted) == {("a", 1): 1}, "01:30 is 05:30 UTC in summer time, 06:30 UTC in standard time"


# --- cost -------------------------------------------------------------------------------------------------------


def test_a_million_rows_are_read_along_the_timestamp_index(execute: Callable[..., Any], database: Arguments) -> None:
    execute(
        "CREATE TABLE events AS SELECT 'e' AS entity_id, 'v.' || i % 20 AS variable, 'numeric' AS type, '1' AS value,"
        " timestamptz '2026-01-01 00:00Z' + i * interval '5 seconds' AS timestamp,"
        " timestamp '2026-01-01 00:00' + i * interval '5 seconds' AS wall FROM generate_series(1, 1000000) AS i"
    )
    execute("CREATE INDEX ON events (timestamp)")
    execute("CREATE INDEX ON events (wall)")
    execute("ANALYZE events")
    naive = {"timezone": "America/New_York", "columns": {"timestamp": "wall"}}
    for source in ({}, naive, {"query": "SELECT * FROM events WHERE value <> '%'"}):
        for variables in ("all", {"pattern": r"v\.\d+"}, ["v.1", "v.2"]):
            group = group_of(source=source, variables=variables)
            within = group.range(START, START + timedelta(hours=1))
            query = PostgresSource(group, database, SUITES).batch_query(within, read_at=READ_AT)
            ((plan,),) = execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query)
            scans = [node for node in _nodes(plan[0]["Plan"]) if "Scan" in node["Node Type"]]
            assert scans
            assert {node["Node Type"] for node in scans} <= {
                "Index Scan",
                "Index Only Scan",
                "Bitmap Heap Scan",
                "Bitmap Index Scan",
                "Subquery Scan",
            }, (source, variables)
            touched = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
            assert touched < 200, (source, variables)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def test_a_table_without_a_timestamp_index_is_warned_of(
    execute: Callable[..., Any], write: Callable[..., None], database: Arguments, caplog: pytest.LogCaptureFixture
) -> None:
    source = PostgresSource(group_of(), database, SUITES)
    with caplog.at_level(logging.WARNING):
        source.check()
        assert caplog.text == ""
        execute("DROP INDEX events_timestamp_idx")
        source.check()
    assert "no index begins with column 'timestamp'" in caplog.text


# --- what it says when it cannot be read ------------------------------------------------------------------------


def both_raise(group: Group, database: Arguments, error: type[Exception], *says: str) -> None:
    """`check` and `count` raise the same."""
    source = PostgresSource(group, database, SUITES)
    within = group.range(START, START + timedelta(hours=1))
    for read in (source.check, lambda: source.count(within, read_at=READ_AT)):
        with pytest.raises(error) as raised:
            read()
        for words in says:
            assert words in str(raised.value)


def test_a_missing_table_is_named_with_the_nearest(write: Callable[..., None], database: Arguments) -> None:
    both_raise(group_of(source={"table": "event"}), database, SourceSchemaError, "event", "nearest are events")
    both_raise(group_of(source={"table": "dwh.events"}), database, SourceSchemaError, "dwh.events", "source.table")


def test_all_missing_columns_are_named_with_the_nearest(write: Callable[..., None], database: Arguments) -> None:
    group = group_of(source={"columns": {"variable": "variabel", "timestamp": "ts"}})
    both_raise(
        group,
        database,
        SourceSchemaError,
        "'variabel' (source.columns.variable), nearest 'variable'",
        "'ts' (source.columns.timestamp)",
        "entity_id, variable, type, value, timestamp",
    )


def test_an_error_inside_the_users_query_is_the_users_to_mend(write: Callable[..., None], database: Arguments) -> None:
    both_raise(group_of(source={"query": "SELECT nothing FROM events"}), database, SourceSchemaError, "nothing")
    both_raise(group_of(source={"query": "SELEC * FROM events"}), database, SourceSchemaError, "syntax error")


def test_a_role_that_may_not_read_is_told_what_to_grant(
    execute: Callable[..., Any], write: Callable[..., None], database: Arguments
) -> None:
    role = f"reader_{database['dbname']}"
    execute(f"CREATE ROLE {role} LOGIN PASSWORD '{database['password']}'")
    try:
        both_raise(group_of(), {**database, "user": role}, SourceSchemaError, "permission denied", "Grant SELECT")
    finally:
        execute(f"DROP ROLE {role}")


def test_columns_alone_may_be_granted(
    execute: Callable[..., Any], write: Callable[..., None], database: Arguments
) -> None:
    write(event("a", 1))
    execute("ALTER TABLE events ADD COLUMN secret text")
    role = f"reader_{database['dbname']}"
    execute(f"CREATE ROLE {role} LOGIN PASSWORD '{database['password']}'")
    execute(f"GRANT SELECT (entity_id, variable, type, value, timestamp) ON events TO {role}")
    try:
        assert as_dict(count(group_of(), {**database, "user": role})) == {("a", 0): 1}
    finally:
        execute(f"DROP OWNED BY {role}")
        execute(f"DROP ROLE {role}")


def test_a_naive_column_needs_a_zone_and_an_aware_one_refuses_it(
    execute: Callable[..., Any], write: Callable[..., None], database: Arguments
) -> None:
    both_raise(group_of(source={"timezone": "UTC"}), database, SourceSchemaError, "needs no zone", "remove")
    execute("ALTER TABLE events ALTER COLUMN timestamp TYPE timestamp")
    both_raise(group_of(), database, SourceSchemaError, "'timestamp'", "without time zone", "set source.timezone")
    execute("ALTER TABLE events ALTER COLUMN timestamp TYPE date")
    both_raise(group_of(), database, SourceSchemaError, "is date", "expected timestamp with time zone")


def test_an_unreachable_database_may_be_tried_again(database: Arguments, tmp_path: Path) -> None:
    both_raise(group_of(), {**database, "host": str(tmp_path)}, SourceUnavailableError, "does not answer")
    both_raise(group_of(), {**database, "host": "127.0.0.1", "port": "1"}, SourceUnavailableError, "does not answer")


def test_a_refused_connection_is_for_people_to_mend(database: Arguments) -> None:
    both_raise(group_of(), {**database, "user": "nobody_here"}, ConfigurationError, "nobody_here")
    both_raise(group_of(), {**database, "dbname": "not_there"}, ConfigurationError, "not_there")


def test_a_statement_that_runs_too_long_is_ended(write: Callable[..., None], database: Arguments) -> None:
    write(event("a", 1))
    group = group_of(source={"query": "SELECT *, pg_sleep(30) AS slow FROM events OFFSET 0", "statement_timeout": "1s"})
    with pytest.raises(SourceUnavailableError, match=r"statement timeout; source.statement_timeout is 1s"):
        count(group, database)


def test_a_query_that_writes_is_refused(
    execute: Callable[..., Any], write: Callable[..., None], database: Arguments
) -> None:
    write(event("a", 1))
    execute("CREATE SEQUENCE taken")
    group = group_of(source={"query": "SELECT e.*, n FROM events AS e, nextval('taken') AS n"})
    with pytest.raises(SourceSchemaError, match="only ever read"):
        count(group, database)


# --- the address and the rules ----------------------------------------------------------------------------------


def test_the_url_opens_the_same_database(database: Arguments) -> None:
    source = PostgresSource(group_of(), database, SUITES)
    engine = sqlalchemy.create_engine(source.url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT current_database()").scalar() == database["dbname"]
    engine.dispose()


def test_the_url_keeps_every_character_of_a_password() -> None:
    given = {"host": "db.example", "port": "6432", "user": "a@b", "password": "p:/@${X}%20$", "sslmode": "require"}
    url = sqlalchemy.make_url(PostgresSource(group_of(), {**given, "dbname": "d/b"}, SUITES).url)
    assert (url.host, url.port, url.username, url.password) == ("db.example", 6432, "a@b", given["password"])
    assert url.database == "d/b"
    assert url.query["sslmode"] == "require"
    assert "$" not in str(url.render_as_string(hide_password=False))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kwargs": {"unexpected_rows_query": "SELECT 1 FROM {batch} LIMIT 1"}}, "WHERE <condition>"),
        ({"kwargs": {"unexpected_rows_query": "SELECT 1 FROM {batch} WHERE value LIKE 'a%'"}}, "% : { }"),
        ({"meta": {}}, "meta.reason"),
    ],
)
def test_a_suite_that_cannot_be_counted_by_is_refused(
    write: Callable[..., None], database: Arguments, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    suite = json.loads((SUITES / "source_rows.json").read_text())
    suite["expectations"][-1] |= change
    (tmp_path / "source_rows.json").write_text(json.dumps(suite))
    group = group_of()
    source = PostgresSource(group, database, tmp_path)
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        source.count(group.range(START, START + timedelta(hours=1)), read_at=READ_AT)


def test_a_missing_suite_says_which_setting_to_change(database: Arguments, tmp_path: Path) -> None:
    group = group_of()
    with pytest.raises(ConfigurationError, match="ANOMALY_EXPECTATIONS"):
        PostgresSource(group, database, tmp_path).count(group.range(START, START + timedelta(hours=1)), read_at=READ_AT)
