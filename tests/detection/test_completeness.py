"""How counts fill in: learned from simulated late arrival, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from anomaly.detection import completeness, transforms
from anomaly.detection.completeness import Filling, learn
from anomaly.groups.model import Transform

Floats = NDArray[np.float64]
ANSCOMBE = Transform.ANSCOMBE

AGES = 4
MONTH = 28 * 24
SEEN_AFTER = 0.1
"""Update runs six minutes after the hour."""
FAR_OUT = 4.0
"""Thresholds of the simulated variables, whose residuals scatter by 1 in Anscombe's transform."""


def late_arrival(rates: Floats, delays: Floats, intervals: int, seed: int, *, slow: float = 0.0) -> Floats:
    """Counts (A, V, N) at every age, of events that are written after an exponential delay; the last age sees all.

    Args:
        rates: (V,) events per hour.
        delays: (V,) mean hours between an event and its row.
        intervals: N hours.
        slow: share of hours whose rows take four times as long.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((AGES, len(rates), intervals))
    for row, (rate, delay) in enumerate(zip(rates, delays, strict=True)):
        hour = np.repeat(np.arange(intervals), rng.poisson(rate, intervals))
        taken = delay * np.where(rng.random(intervals) < slow, 4.0, 1.0)[hour]
        written = rng.random(len(hour)) + rng.exponential(1, len(hour)) * taken
        for age in range(AGES):
            there = hour[written <= 1 + age + SEEN_AFTER] if age < AGES - 1 else hour
            counts[age, row] = np.bincount(there, minlength=intervals)
    return counts


def true_shares(delays: Floats) -> Floats:
    """(V, A) the share of an hour's rows that is written by each age."""
    to_come = 1 - (np.arange(1000) + 0.5) / 1000
    wait = to_come[:, None, None] + np.arange(AGES - 1) + SEEN_AFTER
    shares = 1 - np.exp(-wait / delays[:, None]).mean(axis=0)
    return np.column_stack([shares, np.ones(len(delays))])


def judged(counts: Floats, filling: Filling, rates: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Residuals of young intervals in the measure of complete ones, (A, V, N), and at which ages they are judged."""
    residuals, can_be = np.empty(counts.shape), np.empty((AGES, len(rates)), dtype=bool)
    one = np.ones((len(rates), 1))
    for age in range(AGES):
        filled, scatter = filling.filled[:, [age]], filling.scatter[:, [age]]
        ends = {"lower": -FAR_OUT * one, "upper": FAR_OUT * one}
        low, high = completeness.thresholds(
            rates[:, None], filled, scatter, **ends, deviations=FAR_OUT * one, transform=ANSCOMBE
        )
        expected = completeness.expectation(rates[:, None], filled)
        plain = transforms.forward(counts[age], ANSCOMBE) - transforms.forward(expected, ANSCOMBE)
        residuals[age] = completeness.as_if_complete(plain, **ends, young_lower=low, young_upper=high)
        can_be[age] = completeness.judgeable(rates[:, None], filled, low, ends["lower"], ANSCOMBE)[:, 0]
    return residuals, can_be


@settings(max_examples=8, deadline=None)
@given(
    delay=st.floats(0.02, 1.5),
    rate=st.sampled_from([20.0, 100.0, 800.0]),
    seed=st.integers(0, 2**31),
)
def test_the_share_that_is_there_at_each_age_is_learned_from_late_arrival(delay: float, rate: float, seed: int) -> None:
    delays = np.full(3, delay)
    counts = late_arrival(np.full(3, rate), delays, MONTH, seed)
    np.testing.assert_allclose(learn(counts[-1], counts[:-1]).filled, true_shares(delays), atol=0.03)


def test_ordinary_lateness_does_not_alarm_and_silence_is_not_missed() -> None:
    rates = np.tile([20.0, 100.0, 1000.0], 4)
    delays = np.repeat([0.05, 0.3, 0.7, 1.5], 3)
    history, live = late_arrival(rates, delays, MONTH, seed=1), late_arrival(rates, delays, 4 * MONTH, seed=2)
    filling = learn(history[-1], history[:-1])
    residuals, can_be = judged(live, filling, rates)
    assert (np.abs(residuals) > FAR_OUT).mean() < 2e-4
    unaware = learn(history[-1], [history[-1]] * (AGES - 1))
    assert (judged(live, unaware, rates)[0][0] < -FAR_OUT).mean() > 0.3

    silent, _ = judged(np.zeros_like(live), filling, rates)
    assert (silent[can_be] < -FAR_OUT).all()
    assert can_be[0].mean() > 0.8
    assert can_be[1:].all()


def test_hours_that_are_now_and_then_slow_widen_the_thresholds_and_do_not_alarm() -> None:
    rates, delays = np.array([100.0, 1000.0] * 2), np.array([0.2, 0.2, 0.7, 0.7])
    history = late_arrival(rates, delays, MONTH, seed=3, slow=0.05)
    live = late_arrival(rates, delays, 4 * MONTH, seed=4, slow=0.05)
    punctual = late_arrival(rates, delays, MONTH, seed=3)
    slow, steady = learn(history[-1], history[:-1]), learn(punctual[-1], punctual[:-1])
    assert (slow.scatter[:, 0] > 2 * steady.scatter[:, 0]).all()
    assert (judged(live, slow, rates)[0] < -FAR_OUT).mean() < 2e-3
    assert (judged(live, steady, rates)[0][:-1] < -FAR_OUT).mean() > 0.01


def test_an_outage_in_the_history_does_not_pass_for_usual_lateness() -> None:
    rates, delays = np.full(4, 200.0), np.full(4, 0.3)
    counts = late_arrival(rates, delays, MONTH, seed=5)
    clean = learn(counts[-1], counts[:-1])
    counts[:-1, :, 300:312] = 0  # the pipeline stood for twelve hours and then caught up
    outage = learn(counts[-1], counts[:-1])
    np.testing.assert_allclose(outage.filled, clean.filled, atol=0.01)
    np.testing.assert_allclose(outage.scatter, clean.scatter, atol=0.06)
    assert judged(counts, outage, rates)[1].all()


def test_a_variable_with_little_experience_is_taken_to_be_like_its_group() -> None:
    rates, delays = np.array([50.0] * 8 + [0.05]), np.full(9, 0.7)
    counts = late_arrival(rates, delays, MONTH, seed=6)
    counts[:-1, 8] = np.nan  # nobody has looked at it while it was young
    filling = learn(counts[-1], counts[:-1])
    assert filling.intervals[8] == 0
    np.testing.assert_allclose(filling.filled[8], true_shares(delays)[8], atol=0.03)


def test_a_variable_with_much_experience_is_not_taken_to_be_like_its_group() -> None:
    rates, delays = np.full(9, 50.0), np.array([0.02] * 8 + [1.5])
    counts = late_arrival(rates, delays, MONTH, seed=7)
    np.testing.assert_allclose(learn(counts[-1], counts[:-1]).filled, true_shares(delays), atol=0.04)


def test_where_everything_is_there_at_once_or_nothing_is_known_every_age_is_complete() -> None:
    final = np.random.default_rng(8).poisson(3.0, (5, 200)).astype(float)
    final[4] = 0
    for counted in ([final] * 3, [np.full_like(final, np.nan)] * 3):
        filling = learn(final, counted)
        np.testing.assert_array_equal(filling.filled, np.ones((5, 4)))
        np.testing.assert_array_equal(filling.scatter, np.zeros((5, 4)))
    assert learn(final, []).filled.shape == (5, 1)


@pytest.mark.parametrize("variables", [3, 2_001])
def test_a_large_group_is_learned_in_parts_that_agree_with_the_whole(
    variables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(9)
    final = rng.poisson(40.0, (variables, 30)).astype(float)
    counted = rng.binomial(final.astype(int), 0.8).astype(float)
    whole = learn(final, [counted])
    monkeypatch.setattr(completeness, "VARIABLES_AT_ONCE", 2)
    np.testing.assert_array_equal(learn(final, [counted]).filled, whole.filled)


_counts = arrays.arrays(np.float64, (3, 6), elements=st.one_of(st.integers(0, 500).map(float), st.just(np.nan)))


@given(final=_counts, counted=st.lists(_counts, max_size=4))
def test_shares_lie_between_nothing_and_everything_and_never_fall_with_age(
    final: Floats, counted: list[Floats]
) -> None:
    filling = learn(final, counted)
    assert filling.filled.shape == (3, len(counted) + 1)
    assert ((filling.filled > 0) & (filling.filled <= 1)).all()
    assert (np.diff(filling.filled, axis=1) >= 0).all()
    assert (np.isfinite(filling.scatter) & (filling.scatter >= 0)).all()
    assert (filling.filled[:, -1] == 1).all()


_amount = st.floats(0, 1e6)
_share = st.floats(0.001, 1)


@given(
    predicted=_amount,
    filled=_share,
    scatter=st.floats(0, 1),
    lower=st.floats(-50, -0.1),
    upper=st.floats(0.1, 50),
    deviations=st.floats(1, 8),
    transform=st.sampled_from(Transform),
)
def test_thresholds_of_young_intervals_are_never_nearer_than_those_of_complete_ones(
    predicted: float,
    filled: float,
    scatter: float,
    lower: float,
    upper: float,
    deviations: float,
    transform: Transform,
) -> None:
    args = [np.array([x]) for x in (predicted, filled, scatter)]
    ends = {"lower": np.array([lower]), "upper": np.array([upper])}
    low, high = completeness.thresholds(*args, **ends, deviations=np.array([deviations]), transform=transform)
    assert low[0] <= lower * (1 - 1e-12)
    assert high[0] >= upper * (1 - 1e-12)
    on_them = completeness.as_if_complete(np.array([low[0], high[0]]), **ends, young_lower=low, young_upper=high)
    np.testing.assert_allclose(on_them, [lower, upper], rtol=1e-9)


@given(predicted=_amount, lower=st.floats(-50, -0.1), upper=st.floats(0.1, 50), residual=st.floats(-100, 100))
def test_complete_intervals_are_judged_as_ever_to_the_last_bit(
    predicted: float, lower: float, upper: float, residual: float
) -> None:
    mean, one, zero = np.array([predicted]), np.ones(1), np.zeros(1)
    ends = {"lower": np.array([lower]), "upper": np.array([upper])}
    low, high = completeness.thresholds(mean, one, zero, **ends, deviations=one * 4.4, transform=ANSCOMBE)
    same = completeness.as_if_complete(np.array([residual]), **ends, young_lower=low, young_upper=high)
    assert (low[0], high[0], same[0]) == (lower, upper, residual)
    assert completeness.completed(mean * 0.5, mean, one)[0] == predicted * 0.5
    assert completeness.expectation(mean, one)[0] == predicted


def test_a_direction_that_nobody_asked_for_stays_out_of_reach() -> None:
    mean, filled, scatter = np.array([100.0]), np.array([0.5]), np.array([0.1])
    ends = {"lower": np.array([-4.0]), "upper": np.array([np.inf])}
    low, high = completeness.thresholds(
        mean, filled, scatter, **ends, deviations=FAR_OUT * np.ones(1), transform=ANSCOMBE
    )
    assert np.isfinite(low[0])
    assert high[0] == np.inf
    stretched = completeness.as_if_complete(np.array([-3.0, 3.0]), **ends, young_lower=low, young_upper=high)
    np.testing.assert_allclose(stretched, [-3 * -4 / low[0], 3 * -4 / low[0]])


def test_more_than_a_complete_interval_may_hold_is_too_much_at_any_age() -> None:
    mean, filled, scatter = np.array([100.0]), np.array([0.3]), np.array([0.5])
    ends = {"lower": np.array([-4.0]), "upper": np.array([4.0])}
    _, high = completeness.thresholds(
        mean, filled, scatter, **ends, deviations=FAR_OUT * np.ones(1), transform=ANSCOMBE
    )
    expected = transforms.forward(completeness.expectation(mean, filled), ANSCOMBE)
    assert 100 < transforms.inverse(expected + high, ANSCOMBE)[0] < 160


def test_an_age_at_which_silence_is_ordinary_is_not_judged_yet() -> None:
    """Rows come in one batch that may take two hours: what is there before says nothing."""
    rng = np.random.default_rng(10)
    final = rng.poisson(500.0, (2, MONTH)).astype(float)
    delivered = rng.integers(0, 3, MONTH)
    counted = [np.where(delivered <= age, final, 0.0) for age in range(2)]
    filling = learn(final, counted)
    one = np.ones((2, 1))
    low, _ = completeness.thresholds(
        500 * one,
        filling.filled,
        filling.scatter,
        lower=-4 * one,
        upper=4 * one,
        deviations=4 * one,
        transform=ANSCOMBE,
    )
    can_be = completeness.judgeable(500 * one, filling.filled, low, -4 * one, ANSCOMBE)
    assert can_be.tolist() == [[False, False, True]] * 2
    rare = completeness.judgeable(0.1 * one, filling.filled, low, -4 * one, ANSCOMBE)
    assert rare.all()  # waiting would not tell more: an hour without events is ordinary for it anyway
    assert not completeness.judgeable(np.nan * one, filling.filled, low, -4 * one, ANSCOMBE).any()


def test_later_windows_are_shown_what_a_young_interval_will_probably_end_at() -> None:
    rates, delays = np.array([100.0]), np.array([0.7])
    counts = late_arrival(rates, delays, MONTH, seed=11)
    filled = learn(counts[-1], counts[:-1]).filled[:, [0]]
    shown = completeness.completed(counts[0], rates[:, None], filled)
    assert abs(shown.mean() - counts[-1].mean()) < 2
    assert np.abs(shown - counts[-1]).mean() < np.abs(counts[0] / filled - counts[-1]).mean()
    np.testing.assert_array_equal(completeness.completed(counts[0], np.array([[np.nan]]), filled), counts[0])


@given(
    observed=st.integers(0, 10**6),
    predicted=st.one_of(_amount, st.just(np.nan)),
    lower=st.floats(-50, -0.1),
    transform=st.sampled_from(Transform),
)
def test_a_complete_or_unpredicted_interval_is_felt_as_it_was_written_to_the_last_bit(
    observed: int, predicted: float, lower: float, transform: Transform
) -> None:
    count, mean, one = np.array([float(observed)]), np.array([predicted]), np.ones(1)
    ends = {"lower": np.array([lower]), "upper": one * 3, "deviations": one * 4}
    assert completeness.felt(count, mean, one, 0 * one, **ends, transform=transform)[0] == observed
    assert completeness.felt(count, np.nan * one, 0.5 * one, 0 * one, **ends, transform=transform)[0] == observed


@given(predicted=st.floats(1, 1e5), filled=_share, scatter=st.floats(0, 0.5), parts=st.floats(0, 3))
def test_a_young_interval_is_felt_on_the_side_it_errs_to_and_as_less_than_a_complete_one_would(
    predicted: float, filled: float, scatter: float, parts: float
) -> None:
    mean, one = np.array([predicted]), np.ones(1)
    observed = completeness.expectation(mean, np.array([filled])) * parts
    ends = {"lower": -4 * one, "upper": 4 * one, "deviations": 4 * one}
    felt = completeness.felt(observed, mean, filled * one, scatter * one, **ends, transform=ANSCOMBE)
    assert np.sign(np.round(felt - mean, 6))[0] in {0.0, np.sign(parts - 1)}
    assert abs(felt - mean)[0] <= abs(predicted * parts - predicted) * (1 + 1e-9) + 1e-6


def test_each_interval_has_the_share_of_its_own_age() -> None:
    filling = Filling(np.array([[0.5, 0.8, 1.0]]), np.array([[0.2, 0.1, 0.0]]), np.array([9]))
    filled, scatter = completeness.at_ages(filling, np.array([-1, 7, 2, 1, 0]))
    np.testing.assert_array_equal(filled, [[1, 1, 1, 0.8, 0.5]])
    np.testing.assert_array_equal(scatter, [[0, 0, 0, 0.1, 0.2]])


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        Filling(np.ones((2, 3)), np.zeros((2, 2)), np.zeros(2, dtype=np.int64))
