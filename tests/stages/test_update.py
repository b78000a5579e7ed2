"""Update on real PostgreSQL and Great Expectations: nothing is lost, nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.postgres.source import PostgresSource
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.exceptions import InvalidRangeError, SourceSchemaError, SourceUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.stages.update import UpdateReport, update
from tests.stages.conftest import HOUR, START, SourceTable, rows_in

NOW = START + timedelta(days=30)


class Sensor:
    """A group with its source and store, ready to be updated."""

    def __init__(
        self,
        group: Group,
        table: SourceTable,
        store: PostgresStore,
        checks: GreatExpectationsChecks,
        make_source: Callable[[Group], PostgresSource],
    ) -> None:
        self.group, self.table, self.store, self.checks = group, table, store, checks
        self._make_source = make_source

    def update(self, first: int, last: int, *, now: datetime = NOW) -> UpdateReport:
        return update(
            self.group,
            START + first * HOUR,
            START + last * HOUR,
            source=self._make_source(self.group),
            store=self.store,
            checks=self.checks,
            now=now,
        )

    def counts(self, first: int, last: int) -> dict[str, list[float]]:
        within = TimeRange(START + first * HOUR, START + last * HOUR, HOUR)
        variables = self.store.variables(self.group)
        grid = self.store.read_counts(self.group, variables, within)
        return {v.name: row.tolist() for v, row in zip(variables, grid.counts, strict=True)}


@pytest.fixture
def make_sensor(
    make_group: Callable[..., Group],
    source_table: SourceTable,
    store: PostgresStore,
    checks: GreatExpectationsChecks,
    make_source: Callable[[Group], PostgresSource],
) -> Callable[..., Sensor]:
    return lambda **changes: Sensor(make_group(**changes), source_table, store, checks, make_source)


@pytest.fixture
def sensor(make_sensor: Callable[..., Sensor]) -> Sensor:
    return make_sensor()


def test_events_are_counted_per_interval_and_gaps_are_zeros(sensor: Sensor) -> None:
    sensor.table.write("balance", 0, 3)
    sensor.table.write("balance", 2, 1)
    sensor.table.write("income 🚀 'x'", 1, 2)
    report = sensor.update(0, 4)
    counts = sensor.counts(0, 4)
    assert counts["balance"] == [3, 0, 1, 0]
    assert np.isnan(counts["income 🚀 'x'"][0])
    assert counts["income 🚀 'x'"][1:] == [2, 0, 0]
    assert (report.events, report.variables, report.new_variables) == (6, 2, ("balance", "income 🚀 'x'"))


def test_running_it_again_changes_nothing(sensor: Sensor) -> None:
    sensor.table.write("balance", 0, 3)
    sensor.table.add([("e", None, "numeric", "1", START)])
    first = sensor.update(0, 4)
    again = sensor.update(0, 4)
    assert (first.changed_counts, first.quarantined) == (4, 1)
    assert (again.changed_counts, again.quarantined, again.new_variables) == (0, 0, ())


def test_late_rows_are_counted_on_the_next_run(sensor: Sensor) -> None:
    sensor.table.write("balance", 0, 3)
    sensor.update(0, 1)
    sensor.table.write("balance", 0, 2)
    sensor.update(1, 2)
    assert sensor.counts(0, 2)["balance"] == [5, 0]


def test_rows_later_than_the_lateness_wait_for_a_run_of_their_range(sensor: Sensor) -> None:
    sensor.table.write("balance", 0, 3)
    sensor.update(0, 6)
    sensor.table.write("balance", 0, 2)
    sensor.update(6, 7)
    assert sensor.counts(0, 1)["balance"] == [3]
    sensor.update(0, 1)
    assert sensor.counts(0, 1)["balance"] == [5]


def test_hour_by_hour_and_all_at_once_give_the_same_counts(
    make_sensor: Callable[..., Sensor], make_group: Callable[..., Group]
) -> None:
    generator = np.random.default_rng(5)
    hourly, at_once = make_sensor(), make_sensor(name="copy")
    for name in ("a", "b", "c"):
        hourly.table.write_all(name, generator.poisson(1.5, 12).tolist())
    for hour in range(12):
        hourly.update(hour, hour + 1)
    at_once.update(0, 12)
    assert repr(hourly.counts(0, 12)) == repr(at_once.counts(0, 12))


def test_an_older_range_counted_later_moves_a_variable_s_beginning_and_pads_between(sensor: Sensor) -> None:
    sensor.table.write("balance", 0)
    sensor.table.write("balance", 14)
    sensor.table.write("other", 10)
    sensor.update(10, 16)
    assert np.isnan(sensor.counts(10, 16)["balance"][0])
    sensor.update(0, 4)
    assert sensor.counts(0, 1)["balance"] == [1]
    assert sensor.counts(10, 16)["balance"] == [0, 0, 0, 0, 1, 0]


def test_bad_rows_go_to_quarantine_with_the_reason_and_the_rest_goes_on(sensor: Sensor) -> None:
    good = ("e", "balance", "numeric", "1", START)
    sensor.table.add(
        [
            good,
            ("e", None, "numeric", "1", START),
            ("e", "balance", "colour", "1", START),
            ("e", "balance", "numeric", "1", None),
            ("e", "balance", "numeric", "1", NOW + timedelta(days=400)),
            (None, "balance", "numeric", "1", START),
        ]
    )
    report = sensor.update(0, 1)
    assert (report.events, report.quarantined) == (1, 5)
    reasons = rows_in(sensor.store._arguments, "SELECT reason FROM quarantine ORDER BY reason")
    assert len({reason for (reason,) in reasons}) == 5


def test_exact_duplicates_are_counted_because_writing_twice_is_what_we_look_for(sensor: Sensor) -> None:
    sensor.table.add([("e", "balance", "numeric", "1", START)] * 4)
    assert sensor.update(0, 1).events == 4


def test_a_listed_variable_that_is_never_written_is_a_row_of_zeros(make_sensor: Callable[..., Sensor]) -> None:
    sensor = make_sensor(variables=["balance", "ghost"])
    sensor.table.write("balance", 1)
    sensor.table.write("other", 1)
    sensor.update(0, 3)
    assert sensor.counts(0, 3) == {"balance": [0, 1, 0], "ghost": [0, 0, 0]}


def test_a_source_without_a_single_event_gives_no_variables_and_no_exception(sensor: Sensor) -> None:
    report = sensor.update(0, 24)
    assert (report.variables, report.events) == (0, 0)
    assert sensor.store.first_gap(sensor.group, TimeRange(START, START + 24 * HOUR, HOUR)) is None


def test_a_range_that_is_not_over_or_begins_too_early_is_refused(sensor: Sensor) -> None:
    with pytest.raises(InvalidRangeError, match="is not over yet"):
        sensor.update(0, 2, now=START + HOUR)
    with pytest.raises(InvalidRangeError, match="before its first interval, 2026-01-01T00:00:00"):
        sensor.update(-1, 2)


def test_a_missing_table_or_database_says_what_to_do(make_sensor: Callable[..., Sensor]) -> None:
    sensor = make_sensor(source={"connection": "source", "table": "evnets"})
    with pytest.raises(SourceSchemaError, match="evnets"):
        sensor.update(0, 1)
    nowhere = PostgresSource(
        sensor.group, {"host": "127.0.0.1", "port": "1", "dbname": "x"}, suites=sensor.checks._suites
    )
    with pytest.raises(SourceUnavailableError, match="127.0.0.1"):
        update(
            sensor.group,
            START,
            START + HOUR,
            source=nowhere,
            store=sensor.store,
            checks=sensor.checks,
            now=datetime(2026, 2, 1, tzinfo=UTC),
        )
