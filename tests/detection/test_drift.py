"""Drift is found where the distribution has changed for good, and rarely where it has not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from anomaly.detection.drift import LEAST, LEAST_DISTANCE, drift, effective

WEEK = 168
HELD_OUT, LATEST = 4 * WEEK, 2 * WEEK


def residuals(rng: np.random.Generator, hours: int, *, shift: float = 0.0, memory: float = 0.4) -> NDArray[np.float64]:
    """Autocorrelated residuals that scatter more by day than by night."""
    noise = rng.normal(size=hours)
    for hour in range(1, hours):
        noise[hour] = memory * noise[hour - 1] + np.sqrt(1 - memory**2) * noise[hour]
    return noise * (1 + 0.5 * np.sin(np.arange(hours) / 24 * 2 * np.pi)) + shift


def test_residuals_that_stay_as_they_were_have_hardly_ever_drifted() -> None:
    rng = np.random.default_rng(1)
    found = drift([residuals(rng, HELD_OUT) for _ in range(400)], [residuals(rng, LATEST) for _ in range(400)])
    assert found.drifted.mean() <= 0.01


def test_probabilities_of_autocorrelated_residuals_are_not_too_small() -> None:
    rng = np.random.default_rng(2)
    found = drift([residuals(rng, HELD_OUT) for _ in range(400)], [residuals(rng, LATEST) for _ in range(400)])
    assert (found.probabilities < 0.05).mean() <= 0.07


def test_a_lasting_shift_of_one_deviation_is_found_in_every_variable() -> None:
    rng = np.random.default_rng(3)
    found = drift([residuals(rng, HELD_OUT) for _ in range(50)], [residuals(rng, LATEST, shift=1.0) for _ in range(50)])
    assert found.drifted.all()


def test_a_day_of_outage_in_two_weeks_is_no_drift() -> None:
    rng = np.random.default_rng(4)
    latest = [residuals(rng, LATEST) for _ in range(100)]
    for row in latest:
        row[100:124] = -12.0
    found = drift([residuals(rng, HELD_OUT) for _ in range(100)], latest)
    assert found.drifted.mean() <= 0.02


def test_small_counts_whose_expectation_moves_a_little_have_not_drifted() -> None:
    """Most of their residuals are one and the same number, which moves with what is expected."""
    rng = np.random.default_rng(6)
    before = [rng.poisson(0.4, HELD_OUT).astype(np.float64) - 0.40 for _ in range(50)]
    after = [rng.poisson(0.4, LATEST).astype(np.float64) - 0.45 for _ in range(50)]
    assert not drift(before, after).drifted.any()


def test_too_little_is_not_looked_at() -> None:
    found = drift([np.zeros(LEAST - 1)], [np.ones(LATEST)])
    assert np.isnan(found.distances).all()
    assert not found.drifted.any()


@settings(max_examples=50)
@given(
    arrays(np.float64, st.integers(LEAST, 200), elements=st.floats(-9, 9)),
    arrays(np.float64, st.integers(LEAST, 200), elements=st.floats(-9, 9)),
)
def test_what_drifts_is_far_and_both_ways_alike(one: np.ndarray, other: np.ndarray) -> None:
    there, back = drift([one], [other]), drift([other], [one])
    assert 0 <= there.distances[0] <= 1
    assert there.distances[0] == back.distances[0]
    assert not there.drifted[0] or there.distances[0] >= LEAST_DISTANCE
    assert 2 <= effective(one) <= len(one)
    assert drift([one], [one]).distances[0] == 0
