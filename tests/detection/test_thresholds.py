"""Thresholds mean what the policy says."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.detection.calibration import IDENTITY, Calibration
from anomaly.detection.evidence import ANY, SINGLE, Evidence, FittedTest
from anomaly.detection.thresholds import limit, per_test_probability, probabilities, return_period
from anomaly.groups.model import TOTAL, Direction, Threshold, Transform

HOUR = timedelta(hours=1)
DIRECTIONS = st.sampled_from(Direction)


def thresholds(
    probability: float, direction: Direction = Direction.BOTH, calibration: Calibration = IDENTITY
) -> tuple[float, float]:
    """Of a variable whose residuals are standard normal, and which takes the test of single intervals alone."""
    tests = (FittedTest(SINGLE, "norm", (0.0, 1.0), calibration, ""), FittedTest(ANY, "any", (), IDENTITY, ""))
    evidence = Evidence([tests], step=HOUR, transform=Transform.ANSCOMBE)
    lower, upper = evidence.thresholds(np.array([limit(probability, direction)]), direction)
    return float(lower[0]), float(upper[0])


def test_one_false_alert_a_week_is_shared_out_over_variables_and_intervals() -> None:
    assert per_test_probability(Threshold(), variables=10, interval=HOUR) == pytest.approx(1 / (10 * 168))
    assert per_test_probability(Threshold(), variables=0, interval=timedelta(days=1)) == 0.05


@given(st.integers(1, 500), st.floats(0.01, 4), st.integers(-1, 500))
def test_what_the_variables_may_use_up_adds_up_to_the_policy_and_a_total_has_half_of_it(
    variables: int, weekly: float, total_at: int
) -> None:
    names = [f"v{n}" for n in range(variables)]
    if total_at >= 0:
        names.insert(min(total_at, variables), TOTAL)

    shares = probabilities(Threshold(false_alerts_per_week=weekly), names, interval=HOUR)

    assert len(set(shares[[name != TOTAL for name in names]].tolist())) == 1
    assert shares.sum() * 168 == pytest.approx(weekly)
    assert shares[[name == TOTAL for name in names]].sum() * 168 == pytest.approx(weekly / 2 * (total_at >= 0))


def test_a_total_without_others_may_use_up_all_of_the_policy() -> None:
    assert probabilities(Threshold(), [TOTAL], interval=HOUR).tolist() == [pytest.approx(1 / 168)]
    assert probabilities(Threshold(), [], interval=HOUR).shape == (0,)


@given(st.floats(1e-9, 0.05))
def test_the_tails_beyond_both_thresholds_hold_the_promised_probability(probability: float) -> None:
    lower, upper = thresholds(probability)
    assert lower < 0 < upper
    assert stats.norm.cdf(lower) + stats.norm.sf(upper) == pytest.approx(probability, rel=1e-6)


@pytest.mark.parametrize("probability", [0.3, 0.01, 1e-6])
def test_a_single_direction_gets_all_of_the_probability(probability: float) -> None:
    lower, upper = thresholds(probability, Direction.DROP)
    assert upper == math.inf
    assert stats.norm.cdf(lower) == pytest.approx(probability)
    lower, upper = thresholds(probability, Direction.SURGE)
    assert lower == -math.inf
    assert stats.norm.sf(upper) == pytest.approx(probability)


@given(st.floats(1e-9, 0.01), st.floats(1.1, 3), DIRECTIONS)
def test_a_rarer_alarm_never_has_a_nearer_threshold(probability: float, factor: float, direction: Direction) -> None:
    near, far = thresholds(probability * factor, direction), thresholds(probability, direction)
    assert far[0] <= near[0]
    assert near[1] <= far[1]


@given(st.floats(1e-9, 0.01), st.floats(2.31, 8), st.floats(1.01, 3))
def test_a_history_with_heavier_tails_has_farther_thresholds(probability: float, knee: float, slope: float) -> None:
    lower, upper = thresholds(probability, calibration=Calibration(knee, slope))
    light = thresholds(probability)
    assert lower < light[0]
    assert light[1] < upper


def test_a_return_period_is_the_interval_over_the_probability() -> None:
    assert return_period(1 / 720, HOUR) == pytest.approx(timedelta(hours=720), abs=timedelta(seconds=1))
    assert return_period(1e-300, HOUR) == timedelta(days=365.25 * 100_000)
