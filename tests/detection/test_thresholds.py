"""Thresholds mean what the policy says."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.detection.residuals import FittedDistribution
from anomaly.detection.thresholds import per_test_probability, return_period, thresholds
from anomaly.groups.model import Direction, Threshold

NORMAL = FittedDistribution("norm", (0.0, 1.0), "")
HOUR = timedelta(hours=1)


def test_one_false_alert_a_week_is_shared_out_over_variables_and_intervals() -> None:
    assert per_test_probability(Threshold(), variables=10, interval=HOUR) == pytest.approx(1 / (10 * 168))
    assert per_test_probability(Threshold(), variables=0, interval=timedelta(days=1)) == 0.05


@given(st.floats(1e-9, 0.05))
def test_the_tails_beyond_both_thresholds_hold_the_promised_probability(probability: float) -> None:
    lower, upper = thresholds(NORMAL, probability)
    assert lower < 0 < upper
    assert stats.norm.cdf(lower) + stats.norm.sf(upper) == pytest.approx(probability, rel=1e-6)


def test_a_single_direction_gets_all_of_the_probability() -> None:
    lower, upper = thresholds(NORMAL, 0.01, Direction.DROP)
    assert upper == math.inf
    assert stats.norm.cdf(lower) == pytest.approx(0.01)
    assert thresholds(NORMAL, 0.01, Direction.SURGE)[0] == -math.inf


@given(st.floats(1e-9, 0.01), st.floats(1.1, 3))
def test_a_rarer_alarm_never_has_a_nearer_threshold(probability: float, factor: float) -> None:
    near, far = thresholds(NORMAL, probability * factor), thresholds(NORMAL, probability)
    assert far[0] <= near[0]
    assert near[1] <= far[1]


def test_a_return_period_is_the_interval_over_the_probability() -> None:
    assert return_period(1 / 720, HOUR) == pytest.approx(timedelta(hours=720), abs=timedelta(seconds=1))
    assert return_period(1e-300, HOUR) == timedelta(days=365.25 * 100_000)
