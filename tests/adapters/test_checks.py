"""The checks: what each suite lets through, what it names when it does not, and what becomes of bad source rows."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.adapters import checks as checks_module
from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.postgres.source import PostgresSource
from anomaly.detection.grid import CountGrid
from anomaly.exceptions import (
    ConfigurationError,
    ExpectationFailedError,
    SourceSchemaError,
    SourceUnavailableError,
)
from anomaly.groups import Group, TimeRange
from anomaly.ports import HistorySummary, Predictions, RejectedRow, SourceCounts, Variable

SUITES = Path(__file__).parents[2] / "expectations"
START = datetime(2026, 3, 2, tzinfo=UTC)
READ_AT = datetime(2026, 6, 1, tzinfo=UTC)

Row = tuple[str | None, str | None, str | None, str | None, Any]
Arguments = dict[str, str]


def group_of(*, source: dict[str, Any] | None = None, **changes: Any) -> Group:
    where = {"connection": "source", **(source or {"table": "events"})}
    written = {
        "name": "orders",
        "owner": "data",
        "source": where,
        "interval": "1h",
        "variables": "all",
        "schedule": {"start": datetime(2026, 1, 1, tzinfo=UTC)},
        "slack": {"channel": "#alerts"},
    }
    return Group.model_validate(written | changes)


def hours(n: int) -> TimeRange:
    return TimeRange(START, START + timedelta(hours=n), timedelta(hours=1))


@pytest.fixture
def checks(tmp_path: Path) -> GreatExpectationsChecks:
    return GreatExpectationsChecks(SUITES, tmp_path / "validations")


# --- source rows ------------------------------------------------------------------------------------------------


@pytest.fixture
def write(database: Arguments) -> Iterator[Callable[..., None]]:
    connection = psycopg2.connect(**database)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamptz)"
        )
        cursor.execute("CREATE INDEX ON events (timestamp)")

        def insert(*rows: Row, instead: bool = False) -> None:
            if instead:
                cursor.execute("TRUNCATE events")
            for row in rows:
                cursor.execute("INSERT INTO events VALUES (%s, %s, %s, %s, %s)", row)

        yield insert
    connection.close()


def read(
    checks: GreatExpectationsChecks,
    database: Arguments,
    group: Group,
    *,
    within: TimeRange | None = None,
    read_at: datetime = READ_AT,
) -> tuple[SourceCounts, Sequence[RejectedRow]]:
    source = PostgresSource(group, database, SUITES)
    within = within or hours(3)
    return source.count(within, read_at=read_at), checks.source_rows(group, source, within, read_at=read_at)


AT = START + timedelta(minutes=30)
NASTY: list[Row] = [
    ("e", "a", "numeric", "1", AT),
    ("e", "a", "numeric", "1", AT),
    ("e", "a", None, None, AT),
    ("e", 'it\'s "100%" :sure {🙂}\n\\', "text", "'; DROP TABLE events; --", AT),
    (None, "a", "numeric", "1", AT),
    (None, "a", "numeric", "1", AT),
    ("e", None, "numeric", "1", AT),
    ("e", "", "colour", "1", AT),
    ("e", "a", "", "1", AT),
    (None, None, "colour", None, None),
    ("e", "a", "numeric", "1", None),
    ("e", "a", "numeric", "1", READ_AT + timedelta(microseconds=1)),
    ("e", "a", "numeric", "1", "infinity"),
    ("e", "a", "numeric", "1", "-infinity"),
    ("e", "a", "numeric", "1", START),
    ("e", "a", "numeric", "1", START - timedelta(microseconds=1)),
    ("e", "a", "numeric", "1", START + timedelta(hours=3)),
]


def test_every_row_of_a_nasty_batch_is_counted_or_quarantined(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments
) -> None:
    write(*NASTY)
    counted, rejected = read(checks, database, group_of())
    assert int(counted.cells[:, 2].sum()) == 5
    assert len(rejected) == 10
    assert counted.rows_read == 15, "all but the two good rows beside the range"
    reasons = [row.reason for row in rejected]
    assert reasons.count("entity_id is null") == 2, "a duplicate of a bad row is a bad row of its own"
    assert "variable is null or empty; type is none of numeric, enum, boolean, date, text" in reasons
    assert reasons.count("timestamp lies in the future") == 2
    assert reasons.count("timestamp lies outside every range") == 1
    assert {
        "reason": "entity_id is null; variable is null or empty; type is none of numeric, enum, boolean, date, text; "
        "timestamp is null",
        "row": {"entity_id": None, "variable": None, "type": "colour", "value": None, "timestamp": None},
    } in [{"reason": row.reason, "row": dict(row.row)} for row in rejected]
    assert {"2026-06-01 00:00:00.000001+00", "infinity", "-infinity"} <= {row.row["timestamp"] for row in rejected}


ROWS = st.tuples(
    st.sampled_from(["e", None]),
    st.sampled_from(["a", "b", "theirs", "", None, "%s :x {y}"]),
    st.sampled_from(["numeric", "text", "Numeric", "", None]),
    st.sampled_from(["1", None]),
    st.one_of(
        st.sampled_from([None, "infinity", "-infinity"]),
        st.integers(-2, 6).map(lambda n: START + timedelta(minutes=30 * n)),
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=12), read_after=st.integers(-2, 6))
def test_counted_and_quarantined_rows_are_all_rows_that_were_read(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments, rows: list[Row], read_after: int
) -> None:
    write(*rows, instead=True)
    group = group_of(variables=["a", "b", "%s :x {y}"])
    read_at = START + timedelta(minutes=30 * read_after)
    counted, rejected = read(checks, database, group, within=hours(1), read_at=read_at)
    assert int(counted.cells[:, 2].sum()) + len(rejected) == counted.rows_read
    good = [
        row
        for row in rows
        if row[0] and row[1] and row[1] in group.variables and row[2] not in ("", "Numeric")
        and isinstance(row[4], datetime) and row[4] in hours(1) and row[4] <= read_at
    ]  # fmt: skip
    assert int(counted.cells[:, 2].sum()) == len(good)


def test_a_clean_batch_rejects_nothing(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments
) -> None:
    write(("e", "a", "numeric", "1", AT))
    assert read(checks, database, group_of())[1] == []
    write(instead=True)
    assert read(checks, database, group_of())[1] == []


def test_another_groups_bad_rows_are_left_to_it(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments
) -> None:
    write((None, "mine", "numeric", "1", AT), (None, "theirs", "numeric", "1", AT), ("e", None, "numeric", "1", AT))
    for variables in (["mine"], {"pattern": "mine"}, {"pattern": "(?!theirs).+"}):
        _, rejected = read(checks, database, group_of(variables=variables))
        assert [row.row["variable"] for row in rejected] == ["mine", None], variables


def test_a_users_query_with_percent_signs_and_colons_is_checked(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments
) -> None:
    write(("e", "100%:x", "numeric", "{:y}", AT), (None, "100%:x", "numeric", "{:y}", AT))
    query = "SELECT *, 7 % 2 AS odd FROM events WHERE variable LIKE '%\\%:x' AND value = '{:y}' -- 100% :sure"
    counted, rejected = read(checks, database, group_of(source={"query": query}))
    assert counted.cells.tolist() == [[0, 0, 1]]
    assert [row.row["value"] for row in rejected] == ["{:y}"]


def test_naive_timestamps_are_quarantined_in_utc(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments
) -> None:
    write((None, "a", "numeric", "1", AT))
    connection = psycopg2.connect(**database)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE events ALTER COLUMN timestamp TYPE timestamp USING timestamp AT TIME ZONE 'Asia/Tokyo'"
        )
    connection.close()
    _, rejected = read(checks, database, group_of(source={"table": "events", "timezone": "Asia/Tokyo"}))
    assert [row.row["timestamp"] for row in rejected] == ["2026-03-02 00:30:00+00"]


def test_beyond_the_cap_the_rest_stays_in_the_source_and_an_error_is_logged(
    checks: GreatExpectationsChecks,
    write: Callable[..., None],
    database: Arguments,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(*[(None, "a", "numeric", str(n), AT) for n in range(5)])
    monkeypatch.setattr(checks_module, "REJECTED_AT_MOST", 3)
    counted, rejected = read(checks, database, group_of())
    assert len(rejected) == 3
    assert counted.cells.size == 0
    assert [record.levelno for record in caplog.records if "more than 3 source rows" in record.message] == [
        logging.ERROR
    ]


def test_a_check_that_runs_too_long_is_given_up_at_once(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments
) -> None:
    write(("e", "a", "numeric", "1", AT))
    slow = {"query": "SELECT *, pg_sleep(60) AS slow FROM events OFFSET 0", "statement_timeout": "1s"}
    group = group_of(source=slow)
    given_up: list[str] = []

    def note(context: sqlalchemy.engine.ExceptionContext) -> None:
        given_up.append(str(context.statement))

    sqlalchemy.event.listen(sqlalchemy.Engine, "handle_error", note)
    try:
        with pytest.raises(SourceUnavailableError, match="statement timeout"):
            checks.source_rows(group, PostgresSource(group, database, SUITES), hours(1), read_at=READ_AT)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "handle_error", note)
    assert len(given_up) == 1, "seven expectations, each tried three times, would be more"
    assert "pg_sleep" in given_up[0]


def test_a_source_that_cannot_be_read_raises_what_it_would_for_counting(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments, tmp_path: Path
) -> None:
    gone = PostgresSource(group_of(), {**database, "host": str(tmp_path)}, SUITES)
    with pytest.raises(SourceUnavailableError, match="does not answer"):
        checks.source_rows(group_of(), gone, hours(1), read_at=READ_AT)
    missing = group_of(source={"table": "elsewhere"})
    with pytest.raises(SourceSchemaError, match="elsewhere"):
        checks.source_rows(missing, PostgresSource(missing, database, SUITES), hours(1), read_at=READ_AT)


def test_the_checks_may_not_write_to_the_source(
    checks: GreatExpectationsChecks, write: Callable[..., None], database: Arguments
) -> None:
    write(("e", "a", "numeric", "1", AT))
    connection = psycopg2.connect(**database)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE SEQUENCE taken")
    connection.close()
    group = group_of(source={"query": "SELECT e.*, n FROM events AS e, nextval('taken') AS n"})
    with pytest.raises(SourceSchemaError, match="only ever read"):
        checks.source_rows(group, PostgresSource(group, database, SUITES), hours(1), read_at=READ_AT)


# --- counts -----------------------------------------------------------------------------------------------------


def grid_of(counts: Any, *, variables: Sequence[str] = ("a", "b"), starts: Any = None) -> CountGrid:
    values = np.array(counts, dtype=float)
    return CountGrid(tuple(variables), hours(values.shape[1]).starts() if starts is None else starts, values)


def test_a_complete_grid_is_as_expected(checks: GreatExpectationsChecks) -> None:
    nan = np.nan
    checks.counts(group_of(), grid_of([[0, 1, 2], [nan, nan, 5]]), hours(3))
    checks.counts(group_of(), grid_of([[0, 1, 2], [nan, nan, nan]]), hours(3))
    checks.counts(group_of(), grid_of(np.zeros((0, 3)), variables=()), hours(3))


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (grid_of([[0, -1], [1, 1]]), r"'lowest': 1 of 2 rows fail \(variable 'a', lowest -1.0\).*negative"),
        (grid_of([[0, 1], [1, 0.5]]), r"'fractional': 1 of 2 rows fail \(variable 'b', fractional 1\)"),
        (grid_of([[0, np.inf], [1, 1]]), r"'fractional': 1 of 2 rows fail \(variable 'a'"),
        (grid_of([[0, np.nan], [1, 1]]), r"'missing': 1 of 2 rows fail \(variable 'a', missing 1\)"),
        (grid_of([[0, 1], [1, 1]], variables=("a", "a")), r"to_be_unique on 'variable': 2 of 2 rows fail"),
        (
            grid_of([[0], [1]]),
            r"'intervals': 2 of 2 rows fail \(variable 'a', intervals 1; variable 'b', intervals 1\)",
        ),
        (grid_of([[0, 1], [1, 1]], starts=hours(3).starts()[1:]), r"'intervals': 2 of 2 rows fail"),
        (grid_of([[0, 1], [1, 1]], starts=hours(1).starts()[[0, 0]]), r"'repeated': 2 of 2 rows fail"),
    ],
    ids=["negative", "fraction", "infinite", "gap", "twice", "short", "shifted", "repeated"],
)
def test_what_is_wrong_with_a_grid_is_named(checks: GreatExpectationsChecks, grid: CountGrid, says: str) -> None:
    with pytest.raises(ExpectationFailedError, match=says) as raised:
        checks.counts(group_of(), grid, hours(2))
    assert raised.value.suite == "counts"
    assert "group orders, [2026-03-02 00:00, 2026-03-02 02:00) UTC" in str(raised.value)


def test_a_listed_variable_that_the_grid_lacks_is_named(checks: GreatExpectationsChecks) -> None:
    group = group_of(variables=["a", "b", "never written"])
    with pytest.raises(ExpectationFailedError, match="variable 'never written', intervals 0"):
        checks.counts(group, grid_of([[0, 1], [1, 1]]), hours(2))


# --- training windows -------------------------------------------------------------------------------------------


def history_of(
    *, intervals: Sequence[int], missing: Sequence[int], distinct: Sequence[int], required: int = 50
) -> HistorySummary:
    names = tuple("abcdefgh"[: len(intervals)])
    zeros = np.zeros(len(names))
    return HistorySummary(
        names, np.array(intervals, int), np.array(missing, int), np.array(distinct, int), zeros, zeros, required
    )


def test_constant_variables_are_named_and_new_ones_do_not_fail_the_fit(checks: GreatExpectationsChecks) -> None:
    history = history_of(intervals=[100, 100, 3, 0], missing=[0, 0, 0, 0], distinct=[9, 1, 1, 0])
    assert checks.training_windows(group_of(), history) == ["b", "c"]


def test_all_constant_variables_are_named_however_many(checks: GreatExpectationsChecks) -> None:
    names = tuple(f"v{n}" for n in range(300))
    ones, zeros = np.ones(300, int), np.zeros(300)
    history = HistorySummary(names, ones * 60, ones * 0, ones, zeros, zeros, 50)
    assert checks.training_windows(group_of(), history) == list(names)


def test_a_gap_in_a_variables_own_history_fails(checks: GreatExpectationsChecks) -> None:
    history = history_of(intervals=[100, 100], missing=[0, 2], distinct=[9, 9])
    with pytest.raises(ExpectationFailedError, match=r"'missing': 1 of 2 rows fail \(variable 'b', missing 2\)"):
        checks.training_windows(group_of(), history)


def test_too_little_history_for_all_fails(checks: GreatExpectationsChecks) -> None:
    history = history_of(intervals=[10, 49], missing=[0, 0], distinct=[9, 9])
    with pytest.raises(ExpectationFailedError, match=r"'intervals': found 49, min_value 50"):
        checks.training_windows(group_of(), history)


def test_nothing_to_learn_fails(checks: GreatExpectationsChecks) -> None:
    with pytest.raises(ExpectationFailedError, match="at least one variable"):
        checks.training_windows(group_of(), history_of(intervals=[], missing=[], distinct=[]))


# --- predictions ------------------------------------------------------------------------------------------------


def predictions_of(**changes: Any) -> Predictions:
    """Two variables, three intervals; the last cell is not judged. `changes` are values of the first cell."""
    arrays = {
        "observed": np.full((2, 3), 5.0),
        "predicted": np.full((2, 3), 4.0),
        "lower": np.full((2, 3), 1.0),
        "upper": np.full((2, 3), 9.0),
        "residuals": np.full((2, 3), 0.3),
        "tail_probabilities": np.full((2, 3), 0.4),
        "felt": np.full((2, 3), 5.0),
        "outlook": np.full((2, 3), 5.0),
    }
    for name, values in arrays.items():
        if name not in {"observed", "felt", "outlook"}:
            values[1, 2] = np.nan
        values[0, 0] = changes.get(name, values[0, 0])
    variables = (Variable(1, "a", None, START), Variable(2, "b", None, START))
    normal, single = np.full((2, 3), ""), np.full((2, 3), "single")
    return Predictions("fit", variables, hours(3).starts(), **arrays, kinds=normal, tests=single)


def test_sound_predictions_are_as_expected(checks: GreatExpectationsChecks) -> None:
    checks.predictions(group_of(), predictions_of(), hours(3))
    checks.predictions(group_of(), predictions_of(upper=np.inf, lower=-np.inf), hours(3))
    checks.predictions(group_of(), predictions_of(tail_probabilities=0.0), hours(3))
    nothing = dict.fromkeys(("predicted", "lower", "upper", "residuals", "tail_probabilities"), np.nan)
    checks.predictions(group_of(), predictions_of(**nothing, observed=np.nan), hours(3))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"predicted": np.inf}, "'predicted': 1 of 5 rows fail.*predicted inf.*finite"),
        ({"predicted": np.nan}, "'predicted': 1 of 5 rows fail.*predicted nan"),
        ({"residuals": -np.inf}, "'residual': 1 of 5 rows fail"),
        ({"observed": np.nan}, "'observed': 1 of 5 rows fail"),
        ({"lower": 10.0}, "'upper' and 'lower': 1 of 5 rows fail.*upper 9.0, lower 10.0"),
        ({"upper": np.nan}, "'upper': 1 of 5 rows fail"),
        ({"tail_probabilities": 1.5}, "'tail_probability': 1 of 5 rows fail.*tail_probability 1.5"),
        ({"tail_probabilities": -0.1}, "'tail_probability': 1 of 5 rows fail"),
    ],
)
def test_what_is_wrong_with_a_prediction_is_named(
    checks: GreatExpectationsChecks, changes: dict[str, float], says: str
) -> None:
    with pytest.raises(ExpectationFailedError, match=says) as raised:
        checks.predictions(group_of(), predictions_of(**changes), hours(3))
    assert "variable 'a', start '2026-03-02T00:00Z'" in str(raised.value)


# --- suites and manners -----------------------------------------------------------------------------------------


def test_a_missing_suite_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "other.json").write_text("{}")
    checks = GreatExpectationsChecks(tmp_path / "suites", tmp_path / "results")
    with pytest.raises(ConfigurationError, match=r"counts.json.*holds other.*ANOMALY_EXPECTATIONS"):
        checks.counts(group_of(), grid_of([[0]], variables=("a",)), hours(1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"surprise": 1}, "surprise"),
        ({"name": "other"}, "expected the file's name, 'counts'"),
        ({"expectations": []}, "no expectations"),
        ({"expectations": [{"type": "expect_nothing_known", "kwargs": {}, "meta": {}}]}, "expect_nothing_known"),
        (
            {"expectations": [{"type": "expect_column_to_exist", "kwargs": {"colum": "x"}, "meta": {}}]},
            "colum",
        ),
    ],
)
def test_a_suite_that_is_not_understood_in_full_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    written = json.loads((SUITES / "counts.json").read_text()) | change
    (tmp_path / "counts.json").write_text(json.dumps(written))
    checks = GreatExpectationsChecks(tmp_path, tmp_path / "results")
    with pytest.raises(ConfigurationError, match=says):
        checks.counts(group_of(), grid_of([[0]], variables=("a",)), hours(1))


def test_an_expectation_that_cannot_be_evaluated_fails_whatever_its_severity(tmp_path: Path) -> None:
    written = json.loads((SUITES / "counts.json").read_text())
    written["expectations"] = [written["expectations"][-1] | {"severity": "info"}]
    written["expectations"][0]["kwargs"]["column"] = "not_there"
    (tmp_path / "counts.json").write_text(json.dumps(written))
    checks = GreatExpectationsChecks(tmp_path, tmp_path / "results")
    with pytest.raises(ExpectationFailedError, match="'not_there': could not be evaluated"):
        checks.counts(group_of(), grid_of([[0]], variables=("a",)), hours(1))


def test_a_missing_folder_of_suites_is_not_made(tmp_path: Path) -> None:
    checks = GreatExpectationsChecks(tmp_path / "suites", tmp_path / "results")
    with pytest.raises(ConfigurationError, match="ANOMALY_EXPECTATIONS"):
        checks.counts(group_of(), grid_of([[0]], variables=("a",)), hours(1))
    assert not (tmp_path / "suites").exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file, not a folder")
    checks = GreatExpectationsChecks(SUITES, tmp_path / "results")
    with pytest.raises(ConfigurationError, match="ANOMALY_VALIDATIONS"):
        checks.counts(group_of(), grid_of([[0]], variables=("a",)), hours(1))


QUIET = """
import socket, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

def refuse(*_):
    raise AssertionError("the checks want to talk to somebody")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
from anomaly.adapters.checks import GreatExpectationsChecks
assert "great_expectations" not in sys.modules, "importing the adapter does not import the library"
import numpy as np
from anomaly.detection.grid import CountGrid
from anomaly.groups import Group, TimeRange
start = datetime(2026, 3, 2, tzinfo=UTC)
group = Group.model_validate({
    "name": "orders", "owner": "data", "source": {"connection": "source", "table": "events"}, "interval": "1h",
    "variables": "all", "schedule": {"start": start}, "slack": {"channel": "#alerts"}})
within = TimeRange(start, start + timedelta(hours=2), timedelta(hours=1))
checks = GreatExpectationsChecks(Path(sys.argv[1]), Path(sys.argv[2]))
checks.counts(group, CountGrid(("a",), within.starts(), np.zeros((1, 2))), within)
"""


def test_nothing_is_printed_and_nobody_is_called(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore:XDG_RUNTIME_DIR", "-c", QUIET, str(SUITES), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SUITES.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "data_docs" / "index.html").exists()
