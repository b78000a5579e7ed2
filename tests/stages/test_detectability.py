"""The detectability map of a group, on real stores, against the stages that would have had to notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from anomaly.adapters.postgres.detectability import PostgresDetectability
from anomaly.detection.incidents import gather
from anomaly.exceptions import IncompleteCountsError, IncompleteFitError
from anomaly.groups import TimeRange
from anomaly.ports.detectability import VariableDetectability
from anomaly.stages.detectability import DetectabilityReport, measure
from tests.conftest import Arguments
from tests.stages.conftest import HOUR, START
from tests.stages.watched import HISTORY, WEEK, NoNetworks, Watched, fitted, judged_singly

LAST = HISTORY + 3 * WEEK
NOW = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture
def kept(metadata_database: Arguments) -> PostgresDetectability:
    return PostgresDetectability(metadata_database)


@pytest.fixture
def watched(make_watched: Callable[..., Watched]) -> Watched:
    """`busy` is written 400 times an hour by day, `rare` once in two days."""
    rng = np.random.default_rng(5)
    by_day = 400 * np.maximum(np.sin(np.arange(LAST) / 24 * 2 * np.pi), 0) + 5
    counts = np.stack([rng.poisson(by_day), rng.poisson(1 / 48, LAST)]).astype(float)
    return make_watched(counts, names=("busy", "rare"), lateness="0h", holidays=None)


def look(watched: Watched, kept: PostgresDetectability, **changes: Any) -> DetectabilityReport:
    none = NoNetworks()
    given: dict[str, Any] = {"days": 8, "artifacts": none, "forecaster": none, "now": NOW}
    return measure(watched.group, store=watched.store, detectability=kept, **(given | changes))


def row(kept: PostgresDetectability, watched: Watched, name: str) -> VariableDetectability:
    found = kept.of_variable(watched.group, name)
    assert found is not None
    return found


def test_a_busy_variable_sees_and_a_rare_one_is_blind_with_the_reason(
    watched: Watched, kept: PostgresDetectability
) -> None:
    watched.promote("fit", HISTORY)
    report = look(watched, kept)
    assert (report.variables, report.blind) == (2, 1)
    assert [r.variable for r in kept.blind(watched.group, limit=5)] == ["rare"]
    assert row(kept, watched, "rare").blind.startswith("too rare: 0.")
    busy = row(kept, watched, "busy")
    assert busy.blind == ""
    assert {c.hour for c in busy.of("drop")} == set(range(24))
    assert busy.typical("silence") is not None
    assert busy.fit_id == "fit"


def test_what_the_map_calls_noticeable_opens_an_incident_when_it_happens(
    watched: Watched, kept: PostgresDetectability
) -> None:
    """The change is written into the counts, and the real predict and gather look for it."""
    watched.promote("fit", HISTORY)
    look(watched, kept)
    change = next(c for c in row(kept, watched, "busy").of("drop") if c.hour == 9)
    assert change.smallest is not None
    assert change.after is not None
    clean = watched.store.read_counts(
        watched.group, watched.variables, TimeRange(START, START + LAST * HOUR, HOUR)
    ).counts
    first = LAST - 2 * 24 + 9
    watched.predict(HISTORY, first)

    def opens(share: float) -> bool:
        broken = clean.copy()
        broken[0, first : first + 24] = np.floor(broken[0, first : first + 24] * (1 - share))
        watched.rewrite(broken)
        watched.predict(first, first + 24)
        within = TimeRange(START + first * HOUR, START + (first + 24) * HOUR, HOUR)
        found = [a for a in watched.store.anomalies(watched.group, within) if a.variable == "busy"]
        return bool(gather("g", found, step=HOUR, merge_gap=12 * HOUR, min_anomalies=3, until=within.end + 24 * HOUR))

    assert opens(change.smallest + 0.1)
    assert not opens(change.smallest / 3)


def test_a_tighter_policy_notices_less(watched: Watched, kept: PostgresDetectability) -> None:
    watched.promote("fit", HISTORY)
    look(watched, kept)
    before = row(kept, watched, "busy").typical("drop")
    floors = watched.group.threshold.model_copy(update={"min_relative": 0.9})
    tight = replace(watched, group=watched.group.model_copy(update={"threshold": floors}))
    look(tight, kept)
    after = row(kept, watched, "busy").typical("drop")
    assert before is not None
    assert after is not None
    assert after >= 0.9 > before


def test_variables_that_nothing_judges_are_blind_for_that_reason(watched: Watched, kept: PostgresDetectability) -> None:
    watched.promote("fit", HISTORY)
    unjudged = fitted(watched.variables[1], tests=(), status="new", status_reason="too young", distribution="")
    watched.store.save_fitted("fit", [unjudged], [])
    look(watched, kept)
    rare = row(kept, watched, "rare")
    assert rare.blind == "no test judges it: too young"
    assert rare.changes == ()


def test_nothing_but_the_map_is_written(watched: Watched, kept: PostgresDetectability) -> None:
    watched.promote("fit", HISTORY)
    look(watched, kept)
    within = TimeRange(START, START + LAST * HOUR, HOUR)
    assert watched.store.read_predictions(watched.group, watched.variables, within) is None
    assert watched.store.incidents(watched.group) == ()


def test_measuring_twice_gives_the_same(watched: Watched, kept: PostgresDetectability) -> None:
    watched.promote("fit", HISTORY)
    look(watched, kept)
    once = kept.of_group(watched.group)
    look(watched, kept)
    assert kept.of_group(watched.group) == once


def test_without_a_champion_or_enough_counts_it_says_what_to_do(watched: Watched, kept: PostgresDetectability) -> None:
    with pytest.raises(IncompleteFitError, match="anomaly fit"):
        look(watched, kept)
    watched.promote("fit", HISTORY)
    group = watched.group.model_copy(
        update={"schedule": watched.group.schedule.model_copy(update={"start": START + (LAST - 48) * HOUR})}
    )
    with pytest.raises(IncompleteCountsError, match="Count further back"):
        look(replace(watched, group=group), kept)


def test_tests_of_single_intervals_alone_need_three_hours_of_silence(
    watched: Watched, kept: PostgresDetectability
) -> None:
    """Three anomalous intervals open an incident, and by day each silent hour is one."""
    watched.promote("fit", HISTORY, tests=[judged_singly(4.0)] * 2)
    look(watched, kept)
    noon = next(c for c in row(kept, watched, "busy").of("silence") if c.hour == 6)
    assert noon.smallest == 3.0
    assert noon.after == timedelta(hours=3)
