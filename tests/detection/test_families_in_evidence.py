"""Every family that a group may ask for judges and bounds alike; quiet intervals are told from busy ones."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.detection.calibration import IDENTITY
from anomaly.detection.evidence import ANY, SINGLE, Evidence, FittedTest, Series, as_json, from_json, two_sided
from anomaly.detection.families import FAMILIES, LAWS
from anomaly.detection.fitted_tests import FLOORS, fit_tests
from anomaly.detection.residuals import DISTRIBUTIONS
from anomaly.groups.model import Direction, Transform

Floats = NDArray[np.float64]
HOUR = timedelta(hours=1)
LIMIT = float(-np.log(1e-4))
SHIFTS = (50.0, 1 / 3, *(9.0, 0.0, 0.0, 4.0), *(9.0, 0.3, -0.3, 1.0))
"""Quiet up to 50 expected events, where residuals scatter four times as much."""
PARAMETERS: dict[str, tuple[float, ...]] = {
    "nct": (9.0, 0.4, -0.2, 1.2),
    "t": (9.0, 0.1, 1.2),
    "norm": (0.1, 1.2),
    "genpareto-tails": (0.15, 0.5, 0.05, 0.7, 0.2, 0.1, 1.2),
    "skewnorm": (1.0, 0.0, 1.2),
    "johnsonsu": (0.2, 1.8, 0.0, 2.0),
    "laplace": (0.0, 1.2),
    "logistic": (0.0, 1.2),
    "working-hours": SHIFTS,
}


def _watch(family: str, parameters: tuple[float, ...]) -> Evidence:
    """A variable that takes the test of single intervals alone."""
    tests = (FittedTest(SINGLE, family, parameters, IDENTITY, ""), FittedTest(ANY, "any", (1.0,), IDENTITY, ""))
    return Evidence([tests], step=HOUR, transform=Transform.ANSCOMBE)


def _single(watch: Evidence, counts: Floats, expected: Floats) -> Floats:
    series = Series(counts[None], counts[None], expected[None], expected[None])
    at = np.arange(counts.size)
    evidence: Floats = watch.take(series, at, watch.prepared(series.observed, series.expected)).found[SINGLE][0]
    return evidence


@pytest.mark.parametrize("family", DISTRIBUTIONS)
def test_counts_beyond_the_bounds_have_the_evidence_that_makes_them_anomalous(family: str) -> None:
    watch = _watch(family, PARAMETERS[family])
    expected = np.array([30.0, 400.0, 45.0, 900.0])
    low, high = (side[0] for side in watch.bounds(expected[None], np.array([LIMIT])))
    assert (low < expected).all()
    assert (expected < high).all()
    assert (_single(watch, high * 1.001, expected) >= LIMIT).all()
    assert (_single(watch, high * 0.999, expected) < LIMIT).all()
    told = low > 0  # where nothing is expected, none at all is no departure
    assert (_single(watch, low * 0.998, expected) <= -LIMIT)[told].all()
    assert (_single(watch, low * 1.002, expected) > -LIMIT)[told].all()


@pytest.mark.parametrize("direction", Direction)
def test_a_quiet_interval_has_thresholds_of_its_own_and_a_single_pair_is_that_of_busy_ones(
    direction: Direction,
) -> None:
    watch, limits = _watch("working-hours", SHIFTS), np.array([LIMIT])
    lower, upper = watch.thresholds(limits, direction)
    busy, quiet = _watch("nct", SHIFTS[6:]), _watch("nct", SHIFTS[2:6])
    assert (lower, upper) == busy.thresholds(limits, direction)
    expected = np.array([[50.0, 50.001]])
    found = np.stack(watch.bounds(expected, limits, direction))
    assert (found[..., 0] == np.stack(quiet.bounds(expected, limits, direction))[..., 0]).all()
    assert (found[..., 1] == np.stack(busy.bounds(expected, limits, direction))[..., 1]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_evidence_of_one_interval_is_that_of_the_interval_among_thousands_to_the_last_bit(family: str) -> None:
    generator = np.random.default_rng(4)
    residuals, expected = generator.standard_t(3, (3, 500)) * 4, generator.uniform(1, 100, (3, 500))
    columns = [np.array([[p], [p], [p]]) for p in PARAMETERS[family]]
    whole = two_sided(family, columns, residuals, expected)
    single = [two_sided(family, columns, residuals[:, [t]], expected[:, [t]]) for t in range(0, 500, 7)]
    assert np.array_equal(whole[:, ::7], np.concatenate(single, axis=1))
    assert (whole >= 0).all()


def test_evidence_is_bounded_two_sided_and_keeps_nan() -> None:
    found = two_sided("norm", (0.0, 1.0), np.array([0.0, 1.96, -1.96, 80.0, np.nan]))
    assert found[0] == 0
    assert found[1] == pytest.approx(-np.log(0.05), abs=1e-3)
    assert found[2] == found[1]
    assert found[3] == 27.6
    assert np.isnan(found[4])


def test_evidence_stays_a_number_where_the_non_central_t_loses_its_digits() -> None:
    residuals = -np.array([5.0, 8.75, 9.25, 11.0, 15.0, 400.0])
    assert np.isnan(LAWS["nct"].cdf(residuals, 60.0, 3.0, 0.0, 1.0)).any()
    assert (two_sided("nct", (60.0, 3.0, 0.0, 1.0), residuals) == 27.6).all()


def _history(counts: Floats, expected: Floats, family: str) -> tuple[FittedTest, ...]:
    series = Series(*(values[None] for values in (counts, counts, expected, expected)))
    (tests,) = fit_tests(
        series,
        np.ones((1, counts.size), dtype=bool),
        rare=np.zeros(1, dtype=bool),
        distribution=family,
        step=HOUR,
        transform=Transform.ANSCOMBE,
        gap=3,
        turn=np.zeros(counts.size, dtype=bool),
    )
    return tests


def _hours(*, at_night: float) -> tuple[Floats, Floats]:
    """Counts of sixty days, with so many times the scatter at night; and what is expected of them."""
    generator, hours = np.random.default_rng(8), np.arange(60 * 24)
    night = hours % 24 < 8
    expected = np.where(night, 20.0, 200.0) * generator.uniform(0.8, 1.2, hours.size)
    scatter = np.where(night, at_night, 1.0) * generator.normal(0, 0.5, hours.size)
    return np.maximum(np.round((np.sqrt(expected) + scatter) ** 2), 0), expected


@pytest.mark.parametrize("family", ["working-hours", "genpareto-tails"])
def test_a_history_is_fitted_kept_and_read_back_with_its_reason(family: str) -> None:
    counts, expected = _hours(at_night=3.0 if family == "working-hours" else 1.0)
    tests = _history(counts, expected, family)
    single = next(t for t in tests if t.test == SINGLE)
    assert single.family == family, single.reason
    assert from_json(json.loads(json.dumps(as_json(tests)))) == tests
    watch = Evidence([tests], step=HOUR, transform=Transform.ANSCOMBE)
    low, high = (2 * np.sqrt(side[0]) for side in watch.bounds(np.array([[20.0, 200.0]]), np.array([LIMIT])))
    assert (high - low > 2 * FLOORS[SINGLE]).all()
    if family == "working-hours":
        assert 80 < single.parameters[0] < 120
        assert high[0] - low[0] > 1.5 * (high[1] - low[1])


@pytest.mark.parametrize("family", ["t", "genpareto-tails"])
def test_a_past_incident_in_the_history_hardly_moves_the_thresholds_and_is_told(family: str) -> None:
    counts, expected = _hours(at_night=1.0)
    broken = counts.copy()
    broken[800:820] = 0
    clean, contaminated = (_history(one, expected, family) for one in (counts, broken))
    widths = []
    for tests in (clean, contaminated):
        watch = Evidence([tests], step=HOUR, transform=Transform.ANSCOMBE)
        lower, upper = watch.thresholds(np.array([LIMIT]))
        widths.append(float(upper[0] - lower[0]))
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert "20 intervals of the history left out as past incidents" in contaminated[0].reason
    assert "past incidents" not in clean[0].reason
