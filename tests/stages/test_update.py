"""Update on real PostgreSQL and Great Expectations: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.postgres.source import PostgresSource
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.grid import CountGrid
from anomaly.exceptions import (
    ConfigurationError,
    InvalidRangeError,
    SourceSchemaError,
    SourceUnavailableError,
    StoreUnavailableError,
)
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import TOTAL
from anomaly.ports import DataChecks, Variable
from anomaly.stages import update as stage
from anomaly.stages.update import UpdateReport, update
from tests.fakes import PassingChecks
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

    def update(self, first: int, last: int, *, now: datetime = NOW, checks: DataChecks | None = None) -> UpdateReport:
        return update(
            self.group,
            START + first * HOUR,
            START + last * HOUR,
            source=self._make_source(self.group),
            store=self.store,
            checks=checks or self.checks,
            now=now,
        )

    def selecting(self, **changes: object) -> Sensor:
        """The same source and store after the group's file has changed."""
        group = Group.model_validate(self.group.model_dump(mode="json") | changes)
        return Sensor(group, self.table, self.store, self.checks, self._make_source)

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


def test_the_total_is_the_sum_of_all_variables_and_none_of_them(make_sensor: Callable[..., Sensor]) -> None:
    sensor = make_sensor(total=True)
    sensor.table.write("a", 1, 3)
    sensor.table.write("b", 1, 2)
    sensor.table.write("b", 2, 4)
    report = sensor.update(0, 4)
    assert (report.variables, report.new_variables, report.events) == (2, ("a", "b"), 9)
    assert sensor.counts(0, 4)[TOTAL] == [0, 5, 4, 0]

    sensor.table.write("a", 2, 10)  # late
    sensor.table.write("new", 4, 7)
    sensor.update(4, 5)
    assert sensor.counts(0, 5)[TOTAL] == [0, 5, 14, 0, 7]
    assert sensor.update(4, 5).changed_counts == 0
    assert sensor.selecting(total=False).counts(0, 5).keys() == {"a", "b", "new"}


def test_hour_by_hour_and_all_at_once_give_the_same_total(
    sensor: Sensor,
) -> None:
    for hour, events in enumerate([2, 0, 1, 5, 0, 3]):
        sensor.table.write("a", hour, events)
        sensor.table.write("b", hour, 1)
    hourly, at_once = sensor.selecting(total=True), sensor.selecting(total=True, name="copy")
    for hour in range(6):
        hourly.update(hour, hour + 1)
    at_once.update(0, 6)
    assert hourly.counts(0, 6) == at_once.counts(0, 6)
    assert hourly.counts(0, 6)[TOTAL] == [3, 1, 2, 6, 1, 4]


def test_a_single_variable_has_no_total_beside_it(make_sensor: Callable[..., Sensor]) -> None:
    sensor = make_sensor(total=True)
    sensor.table.write("a", 1, 3)
    sensor.update(0, 4)
    assert sensor.counts(0, 4).keys() == {"a"}


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


def test_a_variable_that_the_group_no_longer_selects_is_neither_listed_nor_padded(sensor: Sensor) -> None:
    for name in ("balance", "income"):
        sensor.table.write(name, 0)
    sensor.update(0, 1)
    narrower = sensor.selecting(variables=["balance"])
    report = narrower.update(1, 3)
    assert report.variables == 1
    assert narrower.counts(0, 3) == {"balance": [1, 0, 0]}
    left_out = sensor.counts(0, 3)["income"]
    assert left_out[0] == 1
    assert np.isnan(left_out[1:]).all()


def test_a_group_whose_interval_has_changed_is_not_counted_until_somebody_decides(sensor: Sensor) -> None:
    sensor.table.write("balance", 0, 3)
    sensor.update(0, 4)
    finer = sensor.selecting(interval="30min")
    with pytest.raises(ConfigurationError, match="was counted in 1h intervals, and orders.yaml now says .* 30min"):
        finer.update(4, 5)
    assert sensor.counts(0, 4)["balance"] == [3, 0, 0, 0]


def test_an_outage_longer_than_the_lateness_is_made_up_for(sensor: Sensor) -> None:
    sensor.table.write_all("balance", [1] * 12)
    sensor.update(2, 4)
    report = sensor.update(10, 11)
    assert sensor.counts(2, 12)["balance"][:9] == [1] * 9
    assert report.start == (START + HOUR).isoformat()
    assert sensor.store.first_gap(sensor.group, TimeRange(START + 2 * HOUR, START + 11 * HOUR, HOUR)) is None


def test_rows_that_came_late_at_the_beginning_of_an_outage_are_counted_after_it(sensor: Sensor) -> None:
    sensor.table.write_all("balance", [1] * 12)
    sensor.update(0, 4)
    sensor.table.write("balance", 3, 5)
    sensor.update(10, 11)
    assert sensor.counts(3, 4)["balance"] == [6]


def test_what_was_never_counted_is_no_outage(sensor: Sensor) -> None:
    sensor.table.write_all("balance", [1] * 12)
    assert sensor.update(10, 11).start == (START + 7 * HOUR).isoformat()
    assert sensor.update(4, 5).start == (START + HOUR).isoformat()


class CountingStore(PostgresStore):
    """The real store, which notes what passes through it, and can be told to break."""

    breaks = False

    def __init__(self, arguments: Mapping[str, str]) -> None:
        super().__init__(arguments)
        self.enrolled: list[int] = []
        self.read: list[int] = []
        self.written: list[int] = []

    def enrol(
        self, group: Group, found: Mapping[str, str | None], *, first_interval: datetime | Mapping[str, datetime]
    ) -> tuple[Variable, ...]:
        self.enrolled.append(len(found))
        return super().enrol(group, found, first_interval=first_interval)

    def read_counts(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> CountGrid:
        self.read.append(len(variables))
        return super().read_counts(group, variables, within)

    def write_counts(self, group: Group, variables: Sequence[Variable], grid: CountGrid) -> int:
        if self.breaks:
            raise StoreUnavailableError("gone in the middle")
        self.written.append(grid.counts.size)
        return super().write_counts(group, variables, grid)


def test_an_update_that_breaks_while_padding_is_made_whole_by_the_next(sensor: Sensor) -> None:
    sensor.table.write("balance", 0)
    sensor.table.write("balance", 14)
    sensor.table.write("other", 10)
    sensor.update(10, 16)
    breaking = CountingStore(sensor.store._arguments)
    breaking.breaks = True
    whole, sensor.store = sensor.store, breaking
    with pytest.raises(StoreUnavailableError, match="in the middle"):
        sensor.update(0, 4)
    sensor.store = whole
    sensor.update(0, 4)
    assert sensor.counts(10, 16)["balance"] == [0, 0, 0, 0, 1, 0]


def test_many_new_and_many_older_variables_take_one_enrolment_and_one_padding_per_beginning(sensor: Sensor) -> None:
    sensor.table.add(
        (f"e{n}", f"v{n:02d}", "numeric", "1", START + hour * HOUR) for n in range(40) for hour in (n % 4, 10 + n % 2)
    )
    sensor.store = store = CountingStore(sensor.store._arguments)
    sensor.update(10, 12)
    assert store.enrolled == [40]
    sensor.update(0, 4)
    assert (store.enrolled, store.read) == ([40, 40], [20, 20])
    assert [sensor.counts(0, 12)["v03"][hour] for hour in range(3, 12)] == [1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_a_new_group_is_counted_in_pieces_that_memory_can_hold(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CELLS_AT_ONCE", 600)
    sensor.table.write_all("early", [1] * 24)
    sensor.table.add(("e", f"v{n:03d}", "numeric", "1", START + (2 + n % 9) * HOUR) for n in range(149))
    sensor.store = store = CountingStore(sensor.store._arguments)
    report = sensor.update(0, 24)
    assert max(store.written) <= 600
    assert (report.variables, report.events) == (150, 24 + 149)
    counts = sensor.counts(0, 24)
    assert sum(np.nansum(row) for row in counts.values()) == report.events
    assert counts["early"] == [1] * 24
    assert counts["v000"][2:] == [1] + [0] * 21


def test_two_updates_of_a_group_at_once_take_turns(sensor: Sensor) -> None:
    sensor.table.write_all("balance", [1] * 12)
    reached: list[str] = []
    second = threading.Thread(target=lambda: sensor.update(4, 8))

    class StartsAnother(PostgresSource):
        def check(self) -> None:
            reached.append(threading.current_thread().name)
            if len(reached) == 1:
                second.start()
                second.join(0.5)
                assert second.is_alive()
                assert len(reached) == 1
            super().check()

    arguments, suites = sensor.table.arguments, sensor.checks._suites
    sensor._make_source = lambda group: StartsAnother(group, arguments, suites=suites)
    sensor.update(0, 4)
    second.join(60)
    assert reached == [threading.current_thread().name, second.name]
    assert sensor.counts(0, 8)["balance"] == [1] * 8


def test_the_warning_of_quarantine_says_what_where_and_what_to_do(
    sensor: Sensor, caplog: pytest.LogCaptureFixture
) -> None:
    sensor.table.add([("e", None, "numeric", str(n), START) for n in range(3)])
    sensor.table.add([("e", "balance", "colour", "1", START)])
    with caplog.at_level(logging.WARNING):
        sensor.update(0, 1)
        (first,) = [r.getMessage() for r in caplog.records if "quarantine" in r.getMessage()]
        caplog.clear()
        sensor.update(0, 1)
        assert "quarantine" not in caplog.text
    assert first.startswith("group orders: 4 rows of table events (connection source) could not be counted: 3 because")
    assert "; 1 because of: " in first
    assert "4 of them are new; all are kept in table quarantine" in first
    assert first.endswith("Mend them in the source, then run update for the range again")


def test_the_warning_of_no_variables_says_where_to_look(
    make_sensor: Callable[..., Sensor], caplog: pytest.LogCaptureFixture
) -> None:
    sensor = make_sensor(variables={"pattern": "balanse"})
    sensor.table.write("balance", 0)
    with caplog.at_level(logging.WARNING):
        sensor.update(0, 1)
    (warning,) = [r.getMessage() for r in caplog.records if "no variables" in r.getMessage()]
    assert "table events (connection source)" in warning
    assert "check the key variables in orders.yaml against the source" in warning


class Arriving:
    """Rows of one variable that are written a while after their events, and a sensor that looks every hour."""

    def __init__(self, sensor: Sensor, rate: float, delay: float, hours: int) -> None:
        rng = np.random.default_rng(3)
        hour = np.repeat(np.arange(hours), rng.poisson(rate, hours))
        self.sensor, self.happened = sensor, hour + rng.random(len(hour))
        self.written = self.happened + rng.exponential(delay, len(hour))

    def live(self, first: int, last: int, *, minutes: int = 6) -> None:
        for at in range(first, last):
            now = at + 1 + minutes / 60
            new = self.happened[(self.written <= now) & (self.written > (now - 1 if at else 0))]
            self.sensor.table.add(("e", "balance", "numeric", "1", START + hour * HOUR) for hour in new.tolist())
            self.sensor.update(at, at + 1, now=START + now * HOUR, checks=PassingChecks())

    def by_age(self, first: int, last: int) -> list[list[float]]:
        within = TimeRange(START + first * HOUR, START + last * HOUR, HOUR)
        variables = self.sensor.store.variables(self.sensor.group)
        store = self.sensor.store
        return [store.read_count_ages(self.sensor.group, variables, within, age)[0].tolist() for age in range(4)]


def test_counts_of_young_intervals_are_kept_as_they_stood_and_how_they_fill_in_is_learned(sensor: Sensor) -> None:
    arriving = Arriving(sensor, rate=60.0, delay=0.8, hours=40)
    arriving.live(0, 40)
    for age, row in enumerate(arriving.by_age(1, 30)):
        expected = [
            float(np.sum((np.floor(arriving.happened) == hour) & (arriving.written <= hour + 1 + age + 0.1)))
            for hour in range(1, 30)
        ]
        assert row == expected if age < 3 else np.isnan(row).all()
    filling = sensor.store.filling(sensor.store.variables(sensor.group), 4)
    share = np.sum(arriving.by_age(1, 30)[:3], axis=1) / np.sum(sensor.counts(1, 30)["balance"])
    assert filling.intervals[0] > 24
    # One variable with a day of experience is pulled somewhat towards being punctual, as nobody else says otherwise.
    assert (share - 0.03 < filling.filled[0, :3]).all()
    assert (filling.filled[0, :3] < share + 0.3 * (1 - share) + 0.03).all()


def test_counting_again_at_the_same_age_changes_nothing_and_at_another_adds(sensor: Sensor) -> None:
    sensor.table.write_all("balance", [5] * 4)
    now = START + 4.1 * HOUR
    sensor.update(0, 4, now=now, checks=PassingChecks())
    before = rows_in(sensor.store._arguments, "SELECT * FROM count_ages ORDER BY interval_start, age")
    sensor.update(0, 4, now=now + HOUR / 2, checks=PassingChecks())
    assert rows_in(sensor.store._arguments, "SELECT * FROM count_ages ORDER BY interval_start, age") == before
    sensor.update(0, 4, now=now + HOUR, checks=PassingChecks())
    ages = "SELECT extract(hour FROM interval_start)::int, age FROM count_ages ORDER BY 1, 2"
    assert rows_in(sensor.store._arguments, ages) == [(1, 2), (2, 1), (2, 2), (3, 0), (3, 1)]


def test_a_backfill_keeps_and_learns_nothing_of_filling_in(sensor: Sensor) -> None:
    sensor.table.write_all("balance", [5] * 12)
    sensor.update(0, 12, checks=PassingChecks())
    assert rows_in(sensor.store._arguments, "SELECT FROM count_ages UNION ALL SELECT FROM fillings") == []


def test_counts_by_age_are_forgotten_after_some_weeks(sensor: Sensor) -> None:
    sensor.table.write_all("balance", [5] * 12)
    sensor.update(0, 2, now=START + 2 * HOUR, checks=PassingChecks())
    late = 40 * 24
    sensor.update(late, late + 1, now=START + (late + 1) * HOUR, checks=PassingChecks())
    kept = rows_in(sensor.store._arguments, "SELECT min(interval_start) FROM count_ages")
    assert kept == [(START + (late - 2) * HOUR,)]
