"""The metadata store on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, NullPool, create_engine

from anomaly.adapters.postgres import migrate as migrations
from anomaly.adapters.postgres.migrate import migrate
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.calibration import IDENTITY, Calibration
from anomaly.detection.completeness import Filling
from anomaly.detection.evidence import FittedTest
from anomaly.detection.grid import CountGrid
from anomaly.exceptions import ConfigurationError, StoreUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import TOTAL
from anomaly.ports import (
    Fit,
    FittedVariable,
    Incident,
    IncidentVariable,
    NetworkFile,
    Predictions,
    RejectedRow,
    Variable,
)

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)
DAY = TimeRange(START, START + 24 * HOUR, HOUR)
NASTY = ["it's", 'say "hi"', "with space", "🚀 launch", "tab\there", "back\\slash", "new\nline", "100%", "%s"]


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group()


@pytest.fixture
def store(metadata_database: dict[str, str]) -> PostgresStore:
    return PostgresStore(metadata_database)


def _enrolled(store: PostgresStore, group: Group, names: list[str]) -> tuple[Variable, ...]:
    return store.enrol(group, dict.fromkeys(names, "numeric"), first_interval=START)


def _downgrade(database: dict[str, str], revision: str) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(migrations.__file__).parent / "migrations"))
    engine = create_engine(URL.create("postgresql+psycopg2"), connect_args=dict(database), poolclass=NullPool)
    with engine.begin() as link:
        configuration.attributes["connection"] = link
        command.downgrade(configuration, revision)


def _fit(name: str = "f1", serves_from: datetime = START, state: str = "promoted") -> Fit:
    return Fit(
        id=name,
        group="orders",
        history=TimeRange(serves_from - 48 * HOUR, serves_from, HOUR),
        configuration={"name": "orders"},
        shards=1,
        state=state,  # type: ignore[arg-type]
        model_version=3,
        serves_from=serves_from,
        metrics={"mae": 0.5},
    )


def _predictions(variables: tuple[Variable, ...], fit: str = "f1") -> Predictions:
    shape = (len(variables), 24)
    kinds = np.full(shape, "", dtype="<U16")
    kinds[0, 5] = "silent"
    observed = np.arange(24.0) + np.zeros(shape)
    return Predictions(
        fit_id=fit,
        variables=variables,
        starts=DAY.starts(),
        observed=observed,
        predicted=observed + 0.1,
        lower=np.zeros(shape),
        upper=np.full(shape, np.inf),
        residuals=np.full(shape, -0.1),
        tail_probabilities=np.full(shape, 0.3),
        felt=np.where(kinds == "", observed, observed + 0.1),
        outlook=observed + 0.2,
        kinds=kinds,
        tests=np.where(kinds == "", "single", "sum-24"),
    )


def _fitted(variable: Variable) -> FittedVariable:
    return FittedVariable(
        variable=variable,
        status="fitted",
        status_reason="regular",
        candidate="dense-16-mae",
        slot="dense-16-mae-00",
        position=0,
        seed=2**40,
        scaler_minimum=1.2247448713915892,
        scaler_maximum=9.1,
        mae={"dense-16-mae": 0.1 + 0.2, "champion": 0.4},
        choice="the smallest error",
        distribution="nct",
        parameters=(7.1, 0.2, 0.0, 1.1),
        distribution_reason="passed",
        tail_probability=1e-4,
        lower=-4.4,
        upper=float("inf"),
        residuals=np.array([0.1, -0.2], dtype=np.float32),
        month_days={25: (0.4, 0.4), -1: (0.0, 0.48)},
        tests=(
            FittedTest("single", "nct", (7.1, 0.2, 0.0, 1.1), Calibration(2.1, 1.7), "passed"),
            FittedTest("silence", "gaps", (0.1 + 0.2, 1e-9), Calibration(), "of 12 gaps, 'half' are longer: 50%"),
            FittedTest("any", "any", (), Calibration(3.0, 0.7), ""),
        ),
    )


def _incident(**changes: object) -> Incident:
    part = IncidentVariable("a", "drop", START, START + 3 * HOUR, 3, 1.0, 30.0, 1e-7)
    whole = Incident("orders", "drop", START, START + 3 * HOUR, False, 1e-7, 1e7, (part,))  # noqa: FBT003
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_variables_with_any_name_are_enrolled_once_and_come_back_sorted(store: PostgresStore, group: Group) -> None:
    first = _enrolled(store, group, NASTY)
    again = _enrolled(store, group, [*NASTY, "new"])
    assert sorted(NASTY, key=lambda n: n.encode()) == [v.name for v in first]
    assert {v.id for v in first} < {v.id for v in again}
    assert len(again) == len(NASTY) + 1


def test_an_earlier_first_interval_and_a_type_learnt_later_are_kept(store: PostgresStore, group: Group) -> None:
    store.enrol(group, {"a": None}, first_interval=START)
    store.enrol(group, {"a": "numeric"}, first_interval=START + HOUR)
    (variable,) = store.enrol(group, {"a": None}, first_interval=START - HOUR)
    assert (variable.type, variable.first_interval) == ("numeric", START - HOUR)


def test_counts_come_back_as_written_and_writing_again_changes_nothing(store: PostgresStore, group: Group) -> None:
    variables = _enrolled(store, group, NASTY)
    counts = np.random.default_rng(1).integers(0, 10**12, (len(NASTY), 24)).astype(float)
    counts[2, :5] = np.nan
    grid = CountGrid(tuple(v.name for v in variables), DAY.starts(), counts)
    assert store.write_counts(group, variables, grid) == np.isfinite(counts).sum()
    assert store.write_counts(group, variables, grid) == 0
    np.testing.assert_array_equal(store.read_counts(group, variables, DAY).counts, counts)
    assert np.isnan(store.read_counts(group, variables[:1], TimeRange(START - HOUR, START, HOUR)).counts).all()

    counts[0, 0] += 1
    assert store.write_counts(group, variables, grid) == 1


def test_variables_begin_each_at_its_own_moment(store: PostgresStore, group: Group) -> None:
    first = {"a": START, "b": START + HOUR}
    found = store.enrol(group, dict.fromkeys(first), first_interval=first)
    assert {v.name: v.first_interval for v in found} == first


def test_only_the_variables_that_the_group_selects_are_its_own(
    store: PostgresStore, make_group: Callable[..., Group]
) -> None:
    _enrolled(store, make_group(), ["a", "ab", "b"])
    for selection, chosen in ((["b", "c"], ["b"]), ({"pattern": "a.*"}, ["a", "ab"]), ("all", ["a", "ab", "b"])):
        group = make_group(variables=selection)
        assert [v.name for v in store.variables(group)] == chosen
        assert [v.name for v in store.variables(group, left_out=True)] == ["a", "ab", "b"]


@pytest.mark.parametrize("cells", [1, 7, 24, 100])
def test_counts_travel_in_pieces_of_any_size(
    store: PostgresStore, group: Group, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr("anomaly.adapters.postgres.store._CELLS_AT_ONCE", cells)
    variables = _enrolled(store, group, ["a", "b", "c"])
    counts = np.random.default_rng(cells).integers(0, 10**15, (3, 24)).astype(float)
    counts[1, 3:20] = np.nan
    for century in (START, datetime(1999, 12, 31, 12, tzinfo=UTC)):
        within = TimeRange(century, century + 24 * HOUR, HOUR)
        assert store.write_counts(group, variables, CountGrid(("a", "b", "c"), within.starts(), counts)) == 72 - 17
        np.testing.assert_array_equal(store.read_counts(group, variables, within).counts, counts)
    assert store.read_counts(group, [], DAY).counts.shape == (0, 24)


def test_counts_of_some_variables_come_in_the_order_asked_for(store: PostgresStore, group: Group) -> None:
    a, b = _enrolled(store, group, ["a", "b"])
    store.write_counts(group, [a, b], CountGrid(("a", "b"), DAY.starts(), np.array([[1.0] * 24, [2.0] * 24])))
    assert store.read_counts(group, [b, a], DAY).counts[:, 0].tolist() == [2.0, 1.0]


def test_counts_are_kept_by_age_and_the_same_age_again_replaces_them(store: PostgresStore, group: Group) -> None:
    a, b = _enrolled(store, group, ["a", "b"])
    counts = np.arange(48.0).reshape(2, 24)
    counts[1, :3] = np.nan
    grid = CountGrid(("a", "b"), DAY.starts(), counts)
    store.write_count_ages(group, [a, b], grid, [23 - n for n in range(24)], keep_from=START)
    last = CountGrid(("a", "b"), DAY.starts()[23:], np.array([[1000.0], [2000.0]]))
    for _ in range(2):
        store.write_count_ages(group, [a, b], last, [0], keep_from=START)
    at_once = store.read_count_ages(group, [b, a], DAY, 0)
    assert at_once[:, 23].tolist() == [2000, 1000]
    assert np.isnan(at_once[:, :23]).all()
    oldest = store.read_count_ages(group, [a, b], DAY, 23)
    assert oldest[0, 0] == 0
    assert np.isnan(oldest[1]).all()
    assert store.read_count_ages(group, [b], DAY, 20)[0, 3] == counts[1, 3]


def test_the_latest_age_of_each_interval_is_known_and_old_intervals_are_forgotten(
    store: PostgresStore, group: Group, make_group: Callable[..., Group]
) -> None:
    variables = _enrolled(store, group, ["a"])
    for age in (0, 2, 1):
        two = CountGrid(("a",), DAY.starts()[4:6], np.ones((1, 2)))
        store.write_count_ages(group, variables, two, [age, 0], keep_from=START)
    assert store.counted_ages(group, DAY).tolist() == [-1] * 4 + [2, 0] + [-1] * 18
    other = make_group(name="payments")
    store.write_count_ages(other, (), CountGrid((), DAY.starts()[:1], np.ones((0, 1))), [0], keep_from=DAY.end)
    assert store.counted_ages(group, DAY).max() == 2
    one = CountGrid(("a",), DAY.starts()[6:7], np.ones((1, 1)))
    store.write_count_ages(group, variables, one, [0], keep_from=START + 5 * HOUR)
    assert store.counted_ages(group, DAY).tolist() == [-1] * 5 + [0, 0] + [-1] * 17


def test_what_was_learned_of_filling_in_comes_back_and_is_replaced(store: PostgresStore, group: Group) -> None:
    a, b, c = _enrolled(store, group, ["a", "b", "c"])
    assert store.filling_learned(group) is None
    shares, deviations = np.array([[0.5, 0.9, 1.0], [0.25, 0.75, 1.0]]), np.array([[0.1, 0.05, 0.0], [0.2, 0.1, 0.0]])
    filling = Filling(shares, deviations, np.array([600, 7]))
    store.save_filling([a, b], filling, at=START)
    store.save_filling([a, b], filling, at=START + HOUR)
    back = store.filling([c, b, a], 3)
    np.testing.assert_array_equal(back.filled, [[1, 1, 1], [0.25, 0.75, 1], [0.5, 0.9, 1]])
    np.testing.assert_array_equal(back.scatter, [[0, 0, 0], [0.2, 0.1, 0], [0.1, 0.05, 0]])
    assert back.intervals.tolist() == [0, 7, 600]
    assert store.filling_learned(group) == START + HOUR
    shorter = store.filling([a], 2)  # the group's lateness was shortened: the oldest age is complete
    np.testing.assert_array_equal(shorter.filled, [[0.5, 1]])
    assert store.filling((), 3).filled.shape == (0, 3)


def test_updated_ranges_join_where_they_touch_and_the_first_gap_is_found(store: PostgresStore, group: Group) -> None:
    for first, last in ((0, 4), (10, 12), (4, 6)):
        store.mark_updated(
            group, TimeRange(START + first * HOUR, START + last * HOUR, HOUR), rows_read=0, events=0, at=START
        )
    assert store.first_gap(group, TimeRange(START, START + 6 * HOUR, HOUR)) is None
    gap = store.first_gap(group, DAY)
    assert gap == TimeRange(START + 6 * HOUR, START + 10 * HOUR, HOUR)
    assert store.first_gap(group, TimeRange(START + 11 * HOUR, START + 14 * HOUR, HOUR)) == TimeRange(
        START + 12 * HOUR, START + 14 * HOUR, HOUR
    )
    assert store.updated_until(group) == START + 12 * HOUR


def test_the_gap_before_a_moment_begins_where_the_latest_counted_stretch_ends(
    store: PostgresStore, group: Group
) -> None:
    assert store.first_uncounted(group, START) is None
    for first, last in ((2, 4), (8, 12)):
        store.mark_updated(
            group, TimeRange(START + first * HOUR, START + last * HOUR, HOUR), rows_read=0, events=0, at=START
        )
    found = {hour: store.first_uncounted(group, START + hour * HOUR) for hour in (1, 2, 3, 4, 5, 8, 9, 12, 20)}
    four, twelve = START + 4 * HOUR, START + 12 * HOUR
    assert found == {1: None, 2: None, 3: None, 4: None, 5: four, 8: four, 9: None, 12: None, 20: twelve}


def test_a_stage_of_a_group_has_one_run_at_a_time_and_others_are_not_held_up(
    store: PostgresStore, group: Group, make_group: Callable[..., Group]
) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with store.exclusively(group, "update"):
            order.append("second")

    other = threading.Thread(target=second)
    with store.exclusively(group, "update"):
        other.start()
        assert waiting.wait(10)
        with store.exclusively(group, "alert"), store.exclusively(make_group(name="payments"), "update"):
            other.join(0.3)
        assert other.is_alive()
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_a_turn_ends_with_an_exception_inside_it(store: PostgresStore, group: Group) -> None:
    with pytest.raises(RuntimeError, match="broken"), store.exclusively(group, "update"):
        raise RuntimeError("broken")
    with store.exclusively(group, "update"):
        pass


def test_counts_of_another_interval_are_refused_with_the_ways_out(
    store: PostgresStore, group: Group, make_group: Callable[..., Group]
) -> None:
    store.mark_updated(group, DAY, rows_read=0, events=0, at=START)
    finer = make_group(interval="30min")
    half_hours = finer.range(DAY.start, DAY.end)
    for asked in (
        lambda: store.first_gap(finer, half_hours),
        lambda: store.first_uncounted(finer, half_hours.end),
        lambda: store.read_counts(finer, (), half_hours),
        lambda: store.mark_updated(finer, half_hours, rows_read=0, events=0, at=START),
    ):
        with pytest.raises(ConfigurationError, match="counted in 1h intervals.*now says interval: 30min.*rename"):
            asked()
    other = make_group(name="payments", interval="30min")
    store.mark_updated(other, half_hours, rows_read=0, events=0, at=START)
    assert store.first_gap(other, half_hours) is None


def test_counts_made_before_steps_were_kept_get_theirs_and_what_cannot_be_told_is_counted_again(
    metadata_database: dict[str, str], store: PostgresStore, make_group: Callable[..., Group]
) -> None:
    hourly, empty = make_group(), make_group(name="empty")
    (variable,) = _enrolled(store, hourly, ["a"])
    counts = np.ones((1, 24))
    counts[0, 5] = np.nan
    store.write_counts(hourly, [variable], CountGrid(("a",), DAY.starts(), counts))
    for group in (hourly, empty):
        store.mark_updated(group, DAY, rows_read=0, events=0, at=START)
    _downgrade(metadata_database, "0001")
    migrate(metadata_database)
    assert store.first_gap(hourly, DAY) is None
    assert store.first_gap(empty, DAY) == DAY
    with pytest.raises(ConfigurationError, match="counted in 1h intervals"):
        store.first_uncounted(make_group(interval="30min"), DAY.end)


def test_a_fit_made_before_there_were_several_tests_is_judged_by_the_one_it_has(
    metadata_database: dict[str, str], store: PostgresStore, group: Group
) -> None:
    judged, new = _enrolled(store, group, ["judged", "new"])
    store.save_fit(_fit())
    without = replace(_fitted(new), status="new", distribution="", parameters=(), tests=())
    store.save_fitted("f1", [_fitted(judged), without], [])
    _downgrade(metadata_database, "0004")
    migrate(metadata_database)

    before, unjudged = store.fitted("f1")

    single, together = before.tests
    assert (single.test, single.family, single.parameters) == ("single", before.distribution, before.parameters)
    assert together.test == "any"
    for test in before.tests:
        assert test.calibration.slope == 1
        assert test.calibration.knee == pytest.approx(IDENTITY.knee)
    assert unjudged.tests == ()


def test_a_total_is_of_the_group_but_none_of_its_variables_and_its_events_count_once(
    store: PostgresStore, make_group: Callable[..., Group]
) -> None:
    group = make_group(total=True)
    variables = _enrolled(store, group, ["a", "b", TOTAL])
    counts = np.array([[3.0] * 24, [1.0] * 24, [2.0] * 24])
    store.write_counts(group, variables, CountGrid(tuple(v.name for v in variables), DAY.starts(), counts))

    assert [v.name for v in store.variables(group)] == [TOTAL, "a", "b"]
    assert store.totals(group) == {"variables": 2, "intervals": 24, "events": 72, "quarantined": 0}
    chosen = make_group(variables=["a"])
    assert [v.name for v in store.variables(chosen)] == ["a"]


def test_quarantine_keeps_each_bad_row_once_and_counts_its_copies(store: PostgresStore, group: Group) -> None:
    bad = RejectedRow("no timestamp", {"variable": NASTY[3], "value": "nul\0", "timestamp": None})
    assert store.quarantine(group, [bad, bad], at=START) == 2
    assert store.quarantine(group, [bad, bad], at=START) == 0
    assert store.totals(group)["quarantined"] == 2


def test_a_fit_and_what_it_learnt_come_back_as_saved(store: PostgresStore, group: Group) -> None:
    (variable,) = _enrolled(store, group, ["🚀 launch"])
    fit = _fit()
    fitted = _fitted(variable)
    files = [NetworkFile("dense-16-mae-00", "dense-16-mae", 1, "file:///a", "aa", "file:///b", "bb")]
    store.save_fit(fit)
    for _ in range(2):
        store.save_fitted(fit.id, [fitted], files)
    assert store.fit("f1") == fit
    assert store.fit("f2") is None
    (back,) = store.fitted("f1", residuals=True)
    np.testing.assert_array_equal(back.residuals, fitted.residuals)
    assert replace(back, residuals=fitted.residuals) == fitted
    (light,) = store.fitted("f1", names=["🚀 launch"])
    assert (light.residuals.dtype.name, light.residuals.shape) == ("float32", (0,))
    assert replace(light, residuals=fitted.residuals) == fitted
    assert store.fitted("f1", names=["another"]) == ()
    assert store.fitted("f1", names=[]) == ()
    assert list(store.network_files("f1")) == files


def test_each_interval_is_served_by_the_latest_promoted_fit_before_it(store: PostgresStore, group: Group) -> None:
    for name, day, state in (
        ("f1", 0, "promoted"),
        ("f2", 7, "promoted"),
        ("f3", 9, "rejected"),
        ("f4", 14, "promoted"),
    ):
        store.save_fit(_fit(name, START + timedelta(days=day), state))

    def serving(first: int, last: int) -> list[str]:
        within = TimeRange(START + timedelta(days=first), START + timedelta(days=last), HOUR)
        return [fit.id for fit in store.champions(group, within)]

    assert serving(-3, -1) == []
    assert serving(-3, 1) == ["f1"]
    assert serving(8, 9) == ["f2"]
    assert serving(6, 15) == ["f1", "f2", "f4"]
    champion = store.champion(group)
    assert champion is not None
    assert champion.id == "f4"


def test_predictions_come_back_and_replace_what_was_there(store: PostgresStore, group: Group) -> None:
    variables = _enrolled(store, group, ["a", "b"])
    store.save_fit(_fit())
    made = _predictions(variables)
    assert store.write_predictions(group, made) == 1
    back = store.read_predictions(group, variables, DAY)
    assert back is not None
    for name in (
        "observed",
        "predicted",
        "lower",
        "upper",
        "residuals",
        "tail_probabilities",
        "felt",
        "outlook",
        "kinds",
        "tests",
    ):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
    (anomaly,) = store.anomalies(group, DAY)
    assert (anomaly.variable, anomaly.start, anomaly.kind) == ("a", START + 5 * HOUR, "silent")
    assert store.predicted_until(group) == START + 23 * HOUR

    made.kinds[0, 5] = ""
    made.predicted[1, 3] = np.nan
    assert store.write_predictions(group, made) == 0
    assert store.anomalies(group, DAY) == []
    back = store.read_predictions(group, variables, DAY)
    assert back is not None
    assert np.isnan(back.predicted[1, 3])


def test_of_what_is_long_past_only_what_is_out_of_the_ordinary_is_remembered(
    store: PostgresStore, group: Group
) -> None:
    variables = _enrolled(store, group, ["a", "b"])
    store.save_fit(_fit())
    made = _predictions(variables)
    made.felt[:] = made.observed
    made.felt[1, 3] += 2  # a stand-in; `a` is silent in the fifth hour
    store.write_predictions(group, made)

    found = store.remembered(group, variables, DAY, whole_from=START + 20 * HOUR)

    known = np.zeros(made.felt.shape, dtype=bool)
    known[:, 20:] = known[1, 3] = known[0, 5] = True
    for name in ("observed", "felt", "predicted"):
        np.testing.assert_array_equal(getattr(found, name), np.where(known, getattr(made, name), np.nan))
    np.testing.assert_array_equal(found.anomalous, made.kinds != "")
    nothing = store.remembered(group, variables, TimeRange(DAY.end, DAY.end + 2 * HOUR, HOUR), whole_from=START)
    assert np.isnan(nothing.felt).all()


def test_what_stands_in_for_counts_is_told_with_what_its_fit_knew_of_the_month(
    store: PostgresStore, group: Group
) -> None:
    a, b = _enrolled(store, group, ["a", "b"])
    store.save_fit(_fit())
    store.save_fitted(_fit().id, [_fitted(a), replace(_fitted(b), month_days={})], [])
    made = _predictions((a, b))
    made.felt[:] = made.observed
    made.felt[:, 5] += 3  # of both, but nothing was known of the other's days
    store.write_predictions(group, made)

    (found,) = store.stand_ins(group, (b, a), DAY)

    assert (found.variable_id, found.start, found.month_days) == (a.id, START + 5 * HOUR, _fitted(a).month_days)
    assert store.stand_ins(group, (a, b), TimeRange(START, START + 5 * HOUR, HOUR)) == ()


def test_an_incident_keeps_its_id_and_its_message_when_it_changes(store: PostgresStore, group: Group) -> None:
    (saved,) = store.save_incidents(group, [_incident()])
    assert saved.id is not None
    assert store.enqueue(saved.id, "post")
    assert not store.enqueue(saved.id, "update")
    with store.due(group, at=START) as (entry,):
        assert entry.incident == saved
        store.delivered(
            entry, channel="C1", ts="12.5", permalink="http://x", chart="file:///c.png", told="digest", at=START
        )
    with store.due(group, at=START) as none_left:
        assert none_left == []

    store.save_incidents(group, [replace(saved, resolved=True)])
    (known,) = store.incidents(group)
    assert (known.id, known.resolved, known.slack_ts, known.chart) == (saved.id, True, "12.5", "file:///c.png")
    assert known.told == "digest"
    assert store.enqueue(saved.id, "update")
    with store.due(group, at=START) as (edit,):
        assert edit.key != entry.key
        store.message_gone(edit, at=START)
    (known,) = store.incidents(group)
    assert (known.slack_ts, known.told) == (None, None)
    assert store.enqueue(saved.id, "post")
    with store.due(group, at=START) as (again,):
        assert again.key not in {entry.key, edit.key}
    assert store.incidents(group, TimeRange(START + 3 * HOUR, START + 4 * HOUR, HOUR)) == ()


def test_a_withdrawn_incident_is_gone_from_the_list(store: PostgresStore, group: Group) -> None:
    (saved,) = store.save_incidents(group, [_incident()])
    assert saved.id is not None
    store.save_incidents(group, [], withdrawn=[saved.id])
    assert store.incidents(group) == ()


def test_a_postponed_message_waits_until_its_time(store: PostgresStore, group: Group) -> None:
    (saved,) = store.save_incidents(group, [_incident()])
    assert saved.id is not None
    store.enqueue(saved.id, "post")
    with store.due(group, at=START) as (entry,):
        store.postponed(entry, error="down", until=START + HOUR)
    with store.due(group, at=START) as early:
        assert early == []
    assert store.waiting(group) == 1
    with store.due(group, at=START + HOUR) as (entry,):
        assert entry.attempts == 1


def test_an_unreachable_database_says_where_it_was_looked_for(group: Group) -> None:
    store = PostgresStore({"host": "127.0.0.1", "port": "1", "dbname": "anomaly", "user": "me"})
    with pytest.raises(StoreUnavailableError, match="the metadata database could not be reached: .*127.0.0.1:1"):
        store.variables(group)


def test_a_database_without_tables_says_how_to_make_them(database: dict[str, str], group: Group) -> None:
    with pytest.raises(ConfigurationError, match="anomaly db upgrade"):
        PostgresStore(database).variables(group)


def test_migrating_twice_is_migrating_once(database: dict[str, str]) -> None:
    assert migrate(database) == migrate(database)
    with psycopg2.connect(**database) as link, link.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_name = 'counts'")
        assert cursor.fetchone() == (1,)


def test_runs_are_kept_latest_first(store: PostgresStore, group: Group) -> None:
    for stage in ("update", "predict"):
        store.record_run(group, stage, DAY, seconds=1.5, report={"events": 3}, at=START)
    assert [(r.stage, r.seconds, r.report) for r in store.runs(group)] == [
        ("predict", 1.5, {"events": 3}),
        ("update", 1.5, {"events": 3}),
    ]
