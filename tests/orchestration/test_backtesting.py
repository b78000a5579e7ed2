"""Backtests on real stores: they say what live runs have said, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.connections import Connection
from anomaly.adapters.postgres.scratch import PREFIX, scratch
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.scratch_models import NoCharts, ScratchRegistry
from anomaly.adapters.settings import Settings
from anomaly.adapters.world import World
from anomaly.detection.grid import CountGrid
from anomaly.detection.incidents import DELIVERY, Incident
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import Promotion, PromotionMode
from anomaly.orchestration import running
from anomaly.orchestration.backtesting import (
    NotingChannel,
    bench,
    planned,
    run,
    run_again,
    scheduled_fits,
)
from anomaly.ports import Predictions
from anomaly.stages.backtest import differences, same_fits
from tests.conftest import REPOSITORY, Arguments
from tests.fakes import PassingChecks

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday."""
STEP = timedelta(hours=6)
DAYS = 56
END = START + DAYS * timedelta(days=1)
WATCHED = timedelta(days=10)
NAMES = ("a", "b", "c")
SILENT = slice(-6 * 4, -4 * 4)
"""Two days, six days before the end, in which a and b are hardly written."""


@dataclass(frozen=True)
class LiveWorld(World):
    """A world with real stores, whose checks pass at once and whose channel notes what it is told."""

    models: ScratchRegistry
    noted: NotingChannel

    def checks(self) -> Any:
        return PassingChecks()

    def registry(self) -> Any:
        return self.models

    def channel(self, group: Group) -> Any:
        return self.noted

    def charts(self) -> Any:
        return NoCharts()

    def chart_store(self) -> Any:
        return NoCharts()

    def fit_charts(self) -> Any:
        return NoCharts()


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group(
        interval="6h",
        candidates=["seasonal-naive", "departure-linear"],
        schedule={"start": START, "delay": "5min"},
        history={"length": "42d", "minimum": "35d"},
        lateness="0h",
        timezone="Europe/Berlin",
    )


@pytest.fixture
def world(metadata_database: Arguments, tmp_path: Path) -> LiveWorld:
    settings = replace(
        Settings.from_environment(), artifacts=str(tmp_path / "live"), expectations=REPOSITORY / "expectations"
    )
    a = metadata_database
    known = Connection("anomaly_db", "postgres", a["host"], int(a["port"]), a["user"], a["password"], a["dbname"])
    models = ScratchRegistry(Artifacts(settings.artifacts))
    return LiveWorld(settings, lambda _: known, models=models, noted=NotingChannel())


@pytest.fixture
def counted(world: LiveWorld, group: Group) -> TimeRange:
    """Eight weeks of counts with a daily pattern and two bad days; the last weeks are to be watched."""
    rng = np.random.default_rng(4)
    daily = np.tile([20.0, 200.0, 300.0, 90.0], DAYS)
    counts = rng.poisson(np.stack([daily, 2 * daily, daily / 2])).astype(float)
    counts[:2, SILENT] = np.round(counts[:2, SILENT] * 0.1)
    within = group.range(START, END)
    store = world.store()
    variables = store.enrol(group, dict.fromkeys(NAMES, "numeric"), first_interval=START)
    store.write_counts(group, variables, CountGrid(NAMES, within.starts(), counts))
    store.mark_updated(group, within, rows_read=0, events=0, at=START)
    return group.range(END - WATCHED, END)


def live(world: LiveWorld, group: Group, within: TimeRange) -> None:
    """What the scheduler would have done, run by run; fits are quick."""
    refits = list(planned(group, within, run_in=timedelta(0)).refits)
    for interval in TimeRange(refits[0].until, within.end, STEP).chunks(1):
        now = interval.end + group.schedule.delay
        if refits and refits[0].until <= interval.start:
            refit = refits.pop(0)
            fit, _ = running.run_prepare(world, group, refit.until, clock=lambda at=refit.at: at)  # type: ignore[misc]
            running.run_train(world, group, fit.id, 0)
            running.run_register(world, group, fit.id)
            running.run_promote(world, group, fit.id)
        world.noted.now = now
        running.run_predict(world, group, interval, clock=lambda now=now: now)  # type: ignore[misc]
        running.run_alert(world, group, interval, clock=lambda now=now: now)  # type: ignore[misc]


def predictions(store: Any, group: Group, within: TimeRange) -> Predictions:
    found = store.read_predictions(group, store.variables(group), within)
    assert found is not None
    return found  # type: ignore[no-any-return]


def bare(incidents: Any) -> list[Incident]:
    """Incidents without what their delivery adds."""
    return [replace(i, **dict.fromkeys(DELIVERY)) for i in incidents]


def silently(_: int, __: str) -> None: ...


def schemas(world: World) -> list[str]:
    with psycopg2.connect(**world.connection("anomaly_db").postgres_arguments()) as link, link.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (PREFIX,))
        found = [name for (name,) in cursor.fetchall()]
    link.close()
    return found


def test_a_backtest_says_what_live_runs_have_said_to_the_last_bit(
    world: LiveWorld, group: Group, counted: TimeRange
) -> None:
    live(world, group, counted)
    what = planned(group, counted, run_in=timedelta(0))
    assert len(what.refits) >= 2
    with bench(world, group) as one:
        said = run(one, what, told=silently)
        mine, theirs = (predictions(w.store(), group, counted) for w in (one.world, world))
        messages = list(one.messages())
        incidents = bare(one.incidents())
    for name in ("observed", "predicted", "lower", "upper", "residuals", "tail_probabilities", "felt", "outlook"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)
    np.testing.assert_array_equal(mine.kinds, theirs.kinds)
    np.testing.assert_array_equal(mine.tests, theirs.tests)
    assert incidents == bare(world.store().incidents(group))
    assert incidents
    assert messages == world.noted.messages
    assert [a.told_at for a in said.told] == [m.at for m in world.noted.messages if m.how == "post"]


def test_a_backtest_of_two_policies_trains_once_and_leaves_nothing_of_it_behind(
    world: LiveWorld, group: Group, counted: TimeRange
) -> None:
    what = planned(group, counted, run_in=timedelta(0))
    floors = group.threshold.model_copy(update={"min_absolute": 1e6})
    strict = group.model_copy(update={"threshold": floors})
    assert same_fits(group, strict)
    with bench(world, group) as one:
        before = run(one, what, told=silently)
        assert before.told
        with bench(world, group) as again:
            same = run_again(one, again, what, before, told=silently)
            assert list(Path(again.world.settings.artifacts).rglob("*.onnx")) == []
            mine, theirs = (predictions(b.world.store(), group, counted) for b in (again, one))
        with bench(world, strict) as other:
            fewer = run_again(one, other, what, before, told=silently)
    np.testing.assert_array_equal(mine.tail_probabilities, theirs.tail_probabilities)
    np.testing.assert_array_equal(mine.kinds, theirs.kinds)
    assert {d.how for d in differences(before, same)} == {"stays"}
    assert {d.how for d in differences(before, fewer)} == {"disappears"}

    store = world.store()
    assert (store.champion(group), store.incidents(group), store.runs(group)) == (None, (), ())
    assert schemas(world) == []


def test_fits_that_a_person_would_have_to_approve_serve_in_a_backtest(
    world: LiveWorld, group: Group, counted: TimeRange
) -> None:
    """Nobody is there to approve fits of the past, and without a champion there would be nothing to report."""
    reviewed = group.model_copy(update={"promotion": Promotion(mode=PromotionMode.REVIEWED)})
    refit = planned(reviewed, counted, run_in=timedelta(0)).refits[0]
    with bench(world, reviewed) as one:
        done = one.fit(refit)
        champion = one.world.store().champion(reviewed)
    assert done.promoted, done.said
    assert champion is not None
    assert champion.history.end == refit.until


def test_a_schema_whose_process_was_killed_is_dropped_by_the_next_and_one_in_use_is_not(
    world: LiveWorld, group: Group
) -> None:
    arguments = world.connection("anomaly_db").postgres_arguments()
    with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {PREFIX}left CREATE TABLE counts (n integer)")
    link.close()
    with scratch(arguments, group) as used, scratch(arguments, group) as other:
        assert sorted(schemas(world)) == sorted([used.schema, other.schema])
    assert schemas(world) == []


def test_an_exception_inside_drops_the_schema_too(world: LiveWorld, group: Group) -> None:
    arguments = world.connection("anomaly_db").postgres_arguments()
    with pytest.raises(KeyboardInterrupt), scratch(arguments, group):
        raise KeyboardInterrupt
    assert schemas(world) == []


def test_what_is_written_inside_stays_there(world: LiveWorld, group: Group, counted: TimeRange) -> None:
    arguments = world.connection("anomaly_db").postgres_arguments()
    with scratch(arguments, group) as made:
        inside = PostgresStore(made.arguments)
        assert inside.variables(group) == world.store().variables(group)
        np.testing.assert_array_equal(
            inside.read_counts(group, inside.variables(group), counted).counts,
            world.store().read_counts(group, inside.variables(group), counted).counts,
        )
        inside.record_run(group, "fit", counted, seconds=1, report={}, at=END)
        assert len(inside.runs(group)) == 1
    assert world.store().runs(group) == ()


def test_fits_are_scheduled_in_the_groups_zone_and_learn_what_was_counted_by_then(group: Group) -> None:
    summer = datetime(2026, 4, 8, tzinfo=UTC)  # Berlin's clocks were put forward on 29 March
    refits = scheduled_fits(group, summer)
    assert all(r.at.astimezone(group.zone).strftime("%a %H:%M") == "Mon 06:00" for r in refits)
    assert [r.at.hour for r in refits[-3:]] == [5, 4, 4]
    assert [r.until for r in refits[-2:]] == [datetime(2026, 3, 30, tzinfo=UTC), datetime(2026, 4, 6, tzinfo=UTC)]
    assert refits[0].at >= START + group.history.minimum
