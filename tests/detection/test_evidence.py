"""Evidence: probabilities mean what they say, and each test finds what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats

from anomaly.detection.calendars import turn_of_month
from anomaly.detection.calibration import IDENTITY, Calibration, calibrations
from anomaly.detection.evidence import (
    ANY,
    FROZEN,
    SILENCE,
    SINGLE,
    Evidence,
    FittedTest,
    Series,
    as_json,
    due,
    from_json,
    lasts,
    memory,
    of_counts,
    sums_until,
)
from anomaly.detection.fitted_tests import fit_tests
from anomaly.detection.learning import constant_tests
from anomaly.detection.statuses import RARE_RATE
from anomaly.groups import TimeRange
from anomaly.groups.model import Direction, Transform
from anomaly.simulation.laws import Family
from anomaly.simulation.patterns import Pattern
from anomaly.simulation.variables import Traits, simulate

HOUR = timedelta(hours=1)
DAY = 24
UTC_ZONE = ZoneInfo("UTC")
ANSCOMBE = Transform.ANSCOMBE
START = datetime(2026, 1, 5, tzinfo=UTC)
HISTORY, AFTER = 90 * DAY, 120 * DAY
LIMIT = -np.log(1e-4)

Floats = NDArray[np.float64]

knees, slopes = st.floats(0.5, 8), st.floats(0.7, 3)


# --- calibration ------------------------------------------------------------------------------------------------


@given(knees, slopes, st.floats(0, 27), st.floats(0, 27))
def test_more_evidence_stays_more_and_little_more_stays_little_more(
    knee: float, slope: float, one: float, other: float
) -> None:
    less, more = Calibration(knee, slope)(np.sort([one, other]))

    assert less <= more
    assert more - less <= abs(one - other) * max(np.log(10) / knee, 1 / slope) + 1e-9


@given(knees, slopes, st.floats(0, 27))
def test_the_inverse_of_a_calibration_inverts_it(knee: float, slope: float, evidence: float) -> None:
    calibration = Calibration(knee, slope)

    assert calibration.inverse(float(calibration(np.array(evidence)))) == pytest.approx(evidence, abs=1e-9)


def test_after_calibration_one_interval_in_ten_exceeds_ln_10_and_the_tail_falls_as_promised() -> None:
    too_heavy = np.random.default_rng(1).exponential(1.6, 20_000)

    (calibration,) = calibrations([too_heavy], rare=[False])

    for probability in (0.1, 0.01, 0.001):
        exceeding = (calibration(too_heavy) > -np.log(probability)).mean()
        assert exceeding == pytest.approx(probability, rel=0.35), probability


def test_a_short_history_borrows_the_tail_of_the_group() -> None:
    rng = np.random.default_rng(2)
    group = [rng.exponential(1.5, 5000) for _ in range(5)]
    short = rng.exponential(0.8, 150)

    *_, among_others = calibrations([*group, short], rare=[False] * 6)
    (alone,) = calibrations([short], rare=[False])

    assert alone.slope < 1.1
    assert among_others.slope > alone.slope + 0.15


def test_what_a_store_keeps_of_tests_is_all_of_them() -> None:
    tests = (
        FittedTest(SINGLE, "nct", (7.1, 0.1 + 0.2, -0.3, 1.0), Calibration(1.7, 2.9), "passed"),
        FittedTest(ANY, "any", (), IDENTITY, ""),
    )

    assert from_json(as_json(tests)) == tests


# --- calibrated counts ------------------------------------------------------------------------------------------


def clean(
    family: Family, rate: float, dispersion: float, *, variables: int = 4, seed: int = 3
) -> tuple[Floats, Floats]:
    """Counts and their true means, (V, HISTORY + AFTER), of days with a pattern."""
    traits = [Traits(f"{family} {n}", family, rate, dispersion, Pattern(night=0.3)) for n in range(variables)]
    within = TimeRange(START, START + (HISTORY + AFTER) * HOUR, HOUR)
    simulated = simulate(traits, within, zone=UTC_ZONE, seed=seed)
    return simulated.counts.astype(np.float64), simulated.expected


def oracle(counts: Floats, expected: Floats) -> Series:
    """As one would predict who knows the true means; nothing was anomalous."""
    return Series(counts, counts, expected, expected)


def turns(first: int, last: int) -> NDArray[np.bool_]:
    return turn_of_month(TimeRange(START + first * HOUR, START + last * HOUR, HOUR).starts(), UTC_ZONE)


def fitted(counts: Floats, expected: Floats, *, distribution: str = "t") -> list[tuple[FittedTest, ...]]:
    """Tests that know the first `HISTORY` intervals."""
    known = oracle(counts[:, :HISTORY], expected[:, :HISTORY])
    return fit_tests(
        known,
        np.ones(known.felt.shape, dtype=bool),
        rare=known.felt.mean(axis=1) < RARE_RATE,
        distribution=distribution,
        step=HOUR,
        transform=ANSCOMBE,
        gap=12,
        turn=turns(0, HISTORY),
    )


def asked(
    tests: Sequence[tuple[FittedTest, ...]], known: Series, first: int, last: int
) -> tuple[Floats, NDArray[np.str_]]:
    """Signed evidence of all tests together, (V, n), and which test decided."""
    evidence = Evidence(tests, step=HOUR, transform=ANSCOMBE)
    same = evidence.prepared(known.observed, known.expected)
    found = evidence.take(known, np.arange(first, last), same).found
    signed, best = evidence.together(found, turns(first, last))
    return signed, np.array(evidence.names)[best]


def realised(family: Family, rate: float, dispersion: float) -> float:
    """Share of the intervals after the history with a tail probability of at most one in a hundred."""
    counts, expected = clean(family, rate, dispersion, seed=11)
    tests = fitted(counts, expected, distribution="nct")
    signed, _ = asked(tests, oracle(counts, expected), HISTORY, HISTORY + AFTER)
    return float((np.abs(signed) >= -np.log(0.01)).mean())


@pytest.mark.parametrize(
    ("family", "rate", "dispersion"),
    [("poisson", 20, 0.0), ("negative-binomial", 2000, 0.03), ("scheduled", 12, 0.03)],
)
def test_one_interval_in_a_hundred_has_a_tail_probability_of_one_in_a_hundred(
    family: Family, rate: float, dispersion: float
) -> None:
    assert 0.5 <= realised(family, rate, dispersion) / 0.01 <= 2


@pytest.mark.parametrize(("family", "rate", "dispersion"), [("poisson", 0.5, 0.0), ("negative-binomial", 1.0, 0.3)])
def test_rare_variables_promise_no_less_than_they_keep(family: Family, rate: float, dispersion: float) -> None:
    assert 0 < realised(family, rate, dispersion) <= 0.01


@pytest.mark.parametrize(("family", "rate", "dispersion"), [("negative-binomial", 30, 0.1), ("poisson", 0.5, 0.0)])
def test_intervals_asked_one_by_one_say_what_they_say_at_once_to_the_last_bit(
    family: Family, rate: float, dispersion: float
) -> None:
    counts, expected = clean(family, rate, dispersion, variables=3)
    known, (first, last) = oracle(counts, expected), (HISTORY, HISTORY + 40)
    tests = fitted(counts, expected)

    signed, decided = asked(tests, known, first, last)

    for at in range(first, last):
        one, which = asked(tests, known, at, at + 1)
        np.testing.assert_array_equal(one[:, 0], signed[:, at - first])
        np.testing.assert_array_equal(which[:, 0], decided[:, at - first])


def test_evidence_remembers_no_more_than_it_says() -> None:
    counts, expected = clean("poisson", 0.3, 0.0, variables=2)
    tests = fitted(counts, expected)
    back = memory(HOUR)

    (signed, _), at = asked(tests, oracle(counts, expected), HISTORY, HISTORY + 1), HISTORY + 1
    shorter = oracle(counts[:, at - back - 1 : at], expected[:, at - back - 1 : at])
    evidence = Evidence(tests, step=HOUR, transform=ANSCOMBE)
    taken = evidence.take(shorter, np.array([back]), evidence.prepared(shorter.observed, shorter.expected))

    np.testing.assert_array_equal(evidence.together(taken.found, turns(HISTORY, at))[0], signed)


# --- what each test is for --------------------------------------------------------------------------------------


def found_by(
    counts: Floats, expected: Floats, tests: Sequence[tuple[FittedTest, ...]] | None = None, *, last: int = 5 * DAY
) -> tuple[int | None, str]:
    """After how many intervals the first variable is anomalous, and by which test."""
    signed, decided = asked(tests or fitted(counts, expected), oracle(counts, expected), HISTORY, HISTORY + last)
    anomalous = np.flatnonzero(np.abs(signed[0]) >= LIMIT)
    return (int(anomalous[0]) + 1, str(decided[0, anomalous[0]])) if anomalous.size else (None, "")


def test_nothing_is_found_where_nothing_happened() -> None:
    counts, expected = clean("poisson", 20, 0.0, variables=1)

    assert found_by(counts, expected) == (None, "")


def test_a_total_outage_of_a_busy_variable_is_found_in_its_first_interval() -> None:
    counts, expected = clean("poisson", 40, 0.0, variables=1)
    counts[0, HISTORY:] = 0

    assert found_by(counts, expected) == (1, SINGLE)


def test_a_value_that_repeats_itself_is_found_as_frozen() -> None:
    counts, expected = clean("poisson", 60, 0.0, variables=1)
    expected[0, HISTORY:] = 60
    counts[0, HISTORY:] = 61

    hours, test = found_by(counts, expected)

    assert test == FROZEN
    assert hours is not None
    assert 3 <= hours <= 8


def test_a_rare_variable_that_stays_away_is_found_by_its_silence() -> None:
    counts, expected = clean("poisson", 0.4, 0.0, variables=1)
    counts[0, HISTORY:] = 0

    hours, test = found_by(counts, expected)

    assert test == SILENCE
    assert hours is not None
    waited = expected[0, HISTORY : HISTORY + hours].sum()
    assert 6 < waited < 20


def test_a_variable_that_is_written_once_an_hour_is_missed_within_six() -> None:
    counts = np.ones((1, HISTORY + AFTER))
    counts[0, HISTORY:] = 0
    tests = constant_tests(
        counts[:, :HISTORY],
        1.0,
        np.ones((1, HISTORY), dtype=bool),
        distribution="nct",
        step=HOUR,
        transform=ANSCOMBE,
        merge_gap=12 * HOUR,
    )

    hours, test = found_by(counts, np.ones(counts.shape), [tests])

    assert test == "sum-6"
    assert hours is not None
    assert hours <= 6


def test_a_loss_too_small_for_any_interval_is_found_over_a_day() -> None:
    counts, expected = clean("poisson", 40, 0.0, variables=1)
    part = slice(HISTORY, HISTORY + DAY)
    counts[0, part] = np.round(counts[0, part] * 0.8)
    tests = fitted(counts, expected)

    hours, test = found_by(counts, expected, tests, last=DAY)
    alone = [tuple(t for t in tests[0] if t.test in {SINGLE, ANY})]

    assert test in {"sum-6", "sum-24"}
    assert hours is not None
    assert 6 <= hours <= DAY
    assert found_by(counts, expected, alone, last=DAY) == (None, "")


def test_a_sum_no_longer_tells_of_what_is_over() -> None:
    """Its newest quarter is as ever, a little below at most, though half of the day was lost."""
    counts, expected = clean("scheduled", 400, 0.01, variables=1)
    part, after = slice(HISTORY, HISTORY + 12), slice(HISTORY + 12, HISTORY + DAY)
    counts[0, part] = np.round(counts[0, part] * 0.5)
    counts[0, after] = np.floor(expected[0, after])

    signed, _ = asked(fitted(counts, expected), oracle(counts, expected), HISTORY, HISTORY + DAY)

    assert (signed[0, :12] <= -LIMIT).all()
    assert (signed[0, 18:] > -LIMIT).all()  # nights of equal counts are frozen by then, which is no loss


@given(
    hnp.arrays(np.float64, 24, elements=st.floats(1, 50)),
    st.sampled_from([Transform.ANSCOMBE, Transform.LINEAR]),
)
def test_what_departs_alike_all_along_lasts(expected: Floats, transform: Transform) -> None:
    """By shares for counts, by intervals for gauges; the other way round nothing lasts."""
    for changed in (expected * 0.5, expected * 2) if transform is ANSCOMBE else (expected - 3, expected + 3):
        part, whole = ((np.full((1, 1), v[-k:].sum()) for v in (changed, expected)) for k in (6, 24))
        (part_felt, part_expected), (felt, all_expected) = part, whole
        over = 2 * part_expected - part_felt

        assert lasts((part_felt, part_expected), (felt, all_expected), (6, 24), transform).all()
        assert not lasts((over, part_expected), (felt, all_expected), (6, 24), transform).any()


def test_while_nobody_knows_what_is_usual_what_the_season_expects_is_due() -> None:
    observed, expected, season = np.full((2, 30), 40.0), np.full((2, 30), 20.0), np.full((2, 30), 41.0)
    series, last = Series(observed, observed, expected, expected, season), np.array([29])

    sums = sums_until(series, last, (1, 24), np.array([True, False]))

    assert [sums[k][1][:, 0].tolist() for k in (1, 24)] == [[40, 20], [40 * 24, 20 * 24]]


# --- thresholds -------------------------------------------------------------------------------------------------


def test_incidents_in_the_history_hardly_move_the_thresholds() -> None:
    counts, expected = clean("poisson", 30, 0.0, variables=4)
    contaminated = counts.copy()
    contaminated[:, 500:524] = 0
    contaminated[:, 1200:1212] *= 4
    limits = np.full(4, LIMIT)

    before, after = (
        np.array(Evidence(fitted(known, expected), step=HOUR, transform=ANSCOMBE).thresholds(limits))
        for known in (counts, contaminated)
    )

    np.testing.assert_allclose(after, before, rtol=0.2)


@pytest.mark.parametrize(("family", "rate"), [("poisson", 30.0), ("poisson", 0.5), ("negative-binomial", 2.0)])
def test_a_count_outside_its_bounds_reaches_the_limit_and_one_inside_does_not(family: Family, rate: float) -> None:
    counts, expected = clean(family, rate, 0.0 if family == "poisson" else 0.2, variables=2)
    evidence = Evidence(fitted(counts, expected), step=HOUR, transform=ANSCOMBE)
    low, high = (bound[:, 0] for bound in evidence.bounds(expected[:, [HISTORY]], np.full(2, LIMIT)))

    def reaches(count: Floats) -> NDArray[np.bool_]:
        tried = oracle(counts.copy(), expected)
        tried.observed[:, HISTORY] = count
        single = evidence.take(tried, np.array([HISTORY]), np.zeros(counts.shape)).found[SINGLE]
        return np.asarray(np.abs(evidence.together({SINGLE: single}, np.zeros(1, dtype=bool))[0][:, 0]) >= LIMIT)

    assert not reaches(np.ceil(low)).any()
    assert not reaches(np.floor(high)).any()
    assert reaches(np.floor(high) + 1).all()
    assert reaches(np.maximum(np.ceil(low) - 1, 0))[low > 0].all()


@given(
    hnp.arrays(np.float64, (2, 6), elements=st.floats(0, 50)),
    hnp.arrays(np.float64, (2, 6), elements=st.floats(0, 50)),
    hnp.arrays(np.float64, (2, 6), elements=st.floats(0, 50)),
)
def test_counts_between_prediction_and_outlook_are_as_due(observed: Floats, expected: Floats, outlook: Floats) -> None:
    found = due(observed, expected, outlook)
    between = (np.minimum(expected, outlook) <= observed) & (observed <= np.maximum(expected, outlook))

    assert (found[between] == observed[between]).all()
    nearest = np.minimum(np.abs(observed - expected), np.abs(observed - outlook))
    np.testing.assert_allclose(np.abs(observed - found)[~between], nearest[~between])
    assert (due(observed, expected, np.full_like(outlook, np.nan)) == expected).all()
    assert np.isnan(due(observed, np.full_like(expected, np.nan), outlook)).all()


def test_where_prediction_and_outlook_differ_the_bounds_hold_both() -> None:
    counts, expected = clean("poisson", 30, 0.0, variables=2)
    evidence = Evidence(fitted(counts, expected), step=HOUR, transform=ANSCOMBE)
    one, other, limits = np.full((2, 1), 10.0), np.full((2, 1), 40.0), np.full(2, LIMIT)

    low, high = evidence.bounds(one, limits, beside=[other])

    assert (low == evidence.bounds(one, limits)[0]).all()
    assert (high == evidence.bounds(other, limits)[1]).all()


def test_bounds_leave_open_what_nobody_asked_for() -> None:
    counts, expected = clean("poisson", 0.5, 0.0, variables=1)
    evidence = Evidence(fitted(counts, expected), step=HOUR, transform=ANSCOMBE)
    asked_for = expected[:, HISTORY : HISTORY + 24]

    low, high = evidence.bounds(asked_for, np.array([LIMIT]), Direction.DROP)
    assert np.isposinf(high).all()
    low, high = evidence.bounds(asked_for, np.array([LIMIT]), Direction.SURGE)
    assert (low == 0).all()
    assert np.isfinite(high).all()


@given(
    hnp.arrays(np.float64, 5, elements=st.integers(0, 40).map(float)),
    st.floats(0.05, 20),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_evidence_of_counts_is_that_of_their_law(counts: Floats, mean: float, phi: float) -> None:
    law = stats.nbinom(1 / phi, 1 / (1 + phi * mean)) if phi else stats.poisson(mean)

    evidence = of_counts(counts[None], np.full((1, 5), mean), np.array([[phi]]))[0]

    tail = np.minimum(law.cdf(counts), law.sf(counts - 1))
    np.testing.assert_allclose(evidence, np.clip(-np.log(np.clip(2 * tail, 1e-300, 1)), 0, 27.6), rtol=1e-6, atol=1e-9)


def test_what_is_far_out_for_a_single_interval_only_stays_in_the_history() -> None:
    counts, expected = clean("poisson", 30, 0.0, variables=1)
    spikes, outage = counts.copy(), counts.copy()
    spikes[0, 300:1500:100] = 0
    outage[0, 300:312] = 0

    clean_limit, with_spikes, with_outage = (
        Evidence(fitted(known, expected), step=HOUR, transform=ANSCOMBE).thresholds(np.array([LIMIT]))[1][0]
        for known in (counts, spikes, outage)
    )

    assert with_spikes > 1.05 * clean_limit
    assert with_outage == pytest.approx(clean_limit, rel=0.05)
