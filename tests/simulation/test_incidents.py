"""Injected incidents: exactly what the truth says is broken, and nothing else."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.groups import TimeRange
from anomaly.simulation.incidents import KINDS, Injected, inject, type_share
from anomaly.simulation.local_means import local_means
from anomaly.simulation.variables import Simulated, draw_traits, simulate

HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2025, 1, 1, tzinfo=UTC)
STEPS = [timedelta(minutes=15), timedelta(minutes=20), HOUR, timedelta(hours=6), timedelta(days=1)]
Counts = NDArray[np.int64]


def simulated(variables: int = 60, *, step: timedelta = HOUR, days: int = 90, seed: int = 1) -> Simulated:
    within = TimeRange(START, START + timedelta(days=days), step)
    return simulate(draw_traits(variables, seed=seed), within, zone=BERLIN, seed=seed)


def broken(
    made: Simulated, *kinds: str, per_variable: float = 2, begin: int = 0, seed: int = 1, known: bool = True
) -> tuple[Counts, tuple[Injected, ...]]:
    return inject(
        made.counts,
        made.starts,
        step=made.step,
        zone=made.zone,
        seed=seed,
        per_variable=per_variable,
        begin=begin,
        expected=made.expected if known else None,
        kinds=kinds or KINDS,
        names=made.names,
    )


@settings(max_examples=25, deadline=None)
@given(
    step=st.sampled_from(STEPS),
    days=st.integers(1, 60),
    seed=st.integers(0, 2**31),
    per_variable=st.floats(0, 8),
    share=st.floats(0, 1),
    known=st.booleans(),
)
def test_incidents_lie_apart_after_the_beginning_and_nothing_else_changes(
    step: timedelta, days: int, seed: int, per_variable: float, share: float, *, known: bool
) -> None:
    made = simulated(6, step=step, days=days, seed=seed)
    number = len(made.starts)
    begin = int(share * number)

    counts, truth = broken(made, per_variable=per_variable, begin=begin, seed=seed, known=known)

    assert counts.dtype == np.int64
    assert counts.min() >= 0
    same = np.ones(counts.shape, dtype=bool)
    for row in range(6):
        own = [incident for incident in truth if incident.row == row]
        for incident in own:
            assert begin <= incident.start < incident.end <= number
            assert incident.variable == made.names[row]
            stretch = slice(incident.start, incident.end)
            assert not np.array_equal(counts[row, stretch], made.counts[row, stretch])
            same[row, stretch] = False
        for earlier, later in pairwise(own):
            assert (later.start - earlier.end) * step >= timedelta(hours=36)
    assert np.array_equal(counts[same], made.counts[same])


def test_a_variables_incidents_do_not_depend_on_the_others() -> None:
    few, many = simulated(4), simulated(9)

    _, truth = broken(few, per_variable=2.3)
    _, more = broken(many, per_variable=2.3)

    assert truth == tuple(incident for incident in more if incident.row < 4)
    assert broken(few, seed=2)[1] != broken(few, seed=1)[1]


def test_all_kinds_come_up_equally_often() -> None:
    _, truth = broken(simulated(80), *(kind for kind in KINDS if kind != "wrong-day"), per_variable=2.25)

    assert set(Counter(incident.kind for incident in truth).values()) <= {17, 18, 19, 20}, (
        "20 each, less what fits nowhere"
    )


def test_a_fraction_breaks_some_of_the_variables_once() -> None:
    _, truth = broken(simulated(80), "drop", per_variable=0.25)

    assert len(truth) == 20
    assert len({incident.row for incident in truth}) == 20


def lengths(truth: tuple[Injected, ...]) -> tuple[int, int]:
    hours = [incident.end - incident.start for incident in truth]
    return min(hours), max(hours)


def before_and_after(made: Simulated, kind: str) -> tuple[list[tuple[Injected, Counts, Counts]], tuple[int, int]]:
    counts, truth = broken(made, kind)
    assert len(truth) > 40
    pairs = [(one, made.counts[one.row, one.start : one.end], counts[one.row, one.start : one.end]) for one in truth]
    return pairs, lengths(truth)


def test_zero_loses_everything() -> None:
    pairs, (shortest, longest) = before_and_after(simulated(), "zero")

    assert all(after.sum() == 0 and incident.magnitude == 1 for incident, _, after in pairs)
    assert 2 <= shortest < 6
    assert 20 < longest <= 24


@pytest.mark.parametrize(("kind", "hours"), [("drop", (4, 24)), ("type-missing", (12, 48))])
def test_losses_are_thinned_by_the_stated_share(kind: str, hours: tuple[int, int]) -> None:
    made = simulated()
    pairs, (shortest, longest) = before_and_after(made, kind)

    assert hours[0] <= shortest < longest <= hours[1]
    for incident, before, after in pairs:
        kept, events = 1 - incident.magnitude, int(before.sum())
        assert (after <= before).all()
        assert abs(after.sum() - kept * events) <= 5 * np.sqrt(events * kept * (1 - kept)) + 1
        if kind == "type-missing":
            assert incident.magnitude == type_share(incident.variable, 1)


@pytest.mark.parametrize(("kind", "hours", "factors"), [("surge", (2, 12), (1.6, 4)), ("spike", (1, 2), (3, 10))])
def test_extra_events_come_on_top(kind: str, hours: tuple[int, int], factors: tuple[float, float]) -> None:
    made = simulated()
    pairs, (shortest, longest) = before_and_after(made, kind)

    assert hours[0] <= shortest < longest <= hours[1]
    for incident, before, after in pairs:
        extra = (incident.magnitude - 1) * made.expected[incident.row, incident.start : incident.end].sum()
        assert factors[0] <= incident.magnitude <= factors[1]
        assert abs((after - before).sum() - extra) <= 5 * np.sqrt(extra)


def test_duplicates_are_twice_the_events() -> None:
    assert all(np.array_equal(after, 2 * before) for _, before, after in before_and_after(simulated(), "duplicates")[0])


def test_a_drift_loses_more_and_more() -> None:
    pairs, (shortest, longest) = before_and_after(simulated(), "drift")

    assert 72 <= shortest < longest <= 168
    for incident, before, after in pairs:
        assert 0.4 <= incident.magnitude <= 0.8
        halves = zip(np.array_split(before, 2), np.array_split(after, 2), strict=True)
        events = [(int(b.sum()), int(a.sum())) for b, a in halves]
        if min(b for b, _ in events) > 1000:
            early, late = (1 - a / b for b, a in events)
            assert 0.05 < early < late < incident.magnitude


def test_a_frozen_variable_repeats_its_last_count_when_it_would_not_on_its_own() -> None:
    made = simulated()
    counts, truth = broken(made, "frozen")

    assert len(truth) > 40
    for incident in truth:
        after = counts[incident.row, incident.start - 1 : incident.end]
        before = made.counts[incident.row, incident.start : incident.end]
        assert set(after.tolist()) == {incident.magnitude}
        assert incident.magnitude > 0
        assert np.mean(before == incident.magnitude) <= 0.5
    assert 6 <= lengths(truth)[0] < lengths(truth)[1] <= 36


def test_a_count_that_hardly_ever_changes_is_not_frozen() -> None:
    counts = np.full((1, 2000), 4, dtype=np.int64)
    counts[0, ::50] = 5

    _, truth = inject(
        counts, simulated(1).starts[:2000], step=HOUR, zone=BERLIN, seed=1, per_variable=5, begin=0, kinds=["frozen"]
    )

    assert not truth


def test_a_delay_writes_later_what_it_held_back() -> None:
    pairs, (shortest, longest) = before_and_after(simulated(), "delay")

    assert 3 <= shortest < longest <= 10
    for incident, before, after in pairs:
        silence = int(incident.magnitude)
        assert 2 <= silence <= 8
        assert after[:silence].sum() == 0
        assert after.sum() == before.sum()
        assert (after[silence:] >= before[silence:]).all()


def test_a_wrong_day_is_written_like_one_of_the_other_kind_within_three_days() -> None:
    made = simulated(days=80)  # until 22 March, before the clock is changed
    pairs, (_, longest) = before_and_after(made, "wrong-day")
    local = [moment.item().replace(tzinfo=UTC).astimezone(BERLIN) for moment in made.starts]

    assert longest <= 24
    for incident, _, after in pairs:
        (day,) = {moment.date() for moment in local[incident.start : incident.end]}
        others = [
            shift for shift in range(-72, 73, 24) if (day + timedelta(hours=shift)).weekday() // 5 != day.weekday() // 5
        ]
        row = made.counts[incident.row]
        assert any(
            incident.start + shift >= 0 and np.array_equal(row[incident.start + shift :][: len(after)], after)
            for shift in others
        )


def test_days_that_are_alike_are_not_swapped() -> None:
    counts = np.random.default_rng(1).poisson(30, (5, 2000))

    _, truth = inject(
        counts, simulated(1).starts[:2000], step=HOUR, zone=BERLIN, seed=1, per_variable=3, begin=0, kinds=["wrong-day"]
    )

    assert not truth


def test_incidents_begin_while_the_variable_is_active() -> None:
    made = simulated()
    _, truth = broken(made, "zero", "drop", "surge")

    for incident in truth:
        mean = made.expected[incident.row]
        assert mean[incident.start] >= 0.25 * mean.mean()
        assert mean[incident.start : incident.end].sum() >= 5


def test_a_variable_that_writes_nothing_cannot_break() -> None:
    counts = np.zeros((3, 500), dtype=np.int64)

    unchanged, truth = inject(
        counts, simulated(1).starts[:500], step=HOUR, zone=BERLIN, seed=1, per_variable=3, begin=0
    )

    assert truth == ()
    assert np.array_equal(unchanged, counts)


def test_local_means_are_near_the_truth_and_hardly_moved_by_an_outage() -> None:
    made = simulated(40, days=120)
    regular = [
        row
        for row, traits in enumerate(made.traits)
        if traits.family == "poisson" and not traits.pattern.growth and traits.pattern.monthly == "none"
    ]
    outage = made.counts.copy()
    outage[:, 1000:1024] = 0

    clean = local_means(made.counts, made.starts, HOUR, BERLIN)[regular]
    after = local_means(outage, made.starts, HOUR, BERLIN)[regular]

    truth = made.expected[regular]
    assert len(regular) > 3
    assert np.abs(clean - truth).sum(axis=1) / np.sqrt(truth / 17).sum(axis=1) == pytest.approx(0.8, abs=0.3)
    assert (np.abs(after - clean).sum(axis=1) / clean.sum(axis=1)).max() < 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ["meteor"]}, "kinds ['meteor'] are unknown"),
        ({"kinds": []}, "0 kinds"),
        ({"begin": 9}, "from interval 9 of 4"),
        ({"per_variable": -1}, "-1 incidents per variable"),
        ({"names": ["a", "b"]}, "2 names"),
        ({"counts": np.ones((1, 4))}, "counts are float64"),
        ({"counts": -np.ones((1, 4), dtype=np.int64)}, "from -1; expected whole numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"counts": np.ones((1, 4), dtype=np.int64), "per_variable": 1, "begin": 0} | change

    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace("]", r"\]")):
        inject(starts=simulated(1).starts[:4], step=HOUR, zone=BERLIN, seed=1, **arguments)  # type: ignore[arg-type]
