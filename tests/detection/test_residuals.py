"""Residual distributions: a good fit is taken, a degenerate one is refused, and thresholds keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from anomaly.detection.residuals import DISTRIBUTIONS, fit_distribution, robust_scale, tail_probability
from anomaly.detection.transforms import SCALE_FLOOR

Floats = NDArray[np.float64]


def _sample(name: str, *shapes: float, size: int = 1500, seed: int = 7) -> Floats:
    return np.asarray(getattr(stats, name).rvs(*shapes, size=size, random_state=np.random.default_rng(seed)))


def test_skewed_heavy_tailed_residuals_get_the_non_central_t() -> None:
    fitted = fit_distribution(_sample("nct", 8.0, 0.7), "nct")
    assert fitted.name == "nct"
    true, found = stats.nct(8.0, 0.7), stats.nct(*fitted.parameters)
    assert found.isf(1e-3) == pytest.approx(true.isf(1e-3), rel=0.2)
    assert found.ppf(1e-3) == pytest.approx(true.ppf(1e-3), rel=0.2)


@pytest.mark.parametrize(
    ("residuals", "why"),
    [
        (np.zeros(500), "distinct"),
        (np.where(np.arange(500) % 50 == 0, np.linspace(-3, 3, 500), 0.0), "distinct"),
        (np.array([]), "there are no residuals"),
        (np.full(100, np.nan), "there are no residuals"),
        (np.linspace(-1, 1, 20), "fewer than 60"),
    ],
    ids=["all zero", "mostly zero", "none", "not finite", "few"],
)
def test_degenerate_residuals_get_the_fallback_with_the_reason(residuals: Floats, why: str) -> None:
    fitted = fit_distribution(residuals, "nct")
    assert fitted.name == "t"
    assert why in fitted.reason
    assert fitted.parameters[-1] >= SCALE_FLOOR


def test_a_spike_with_a_few_values_around_it_does_not_collapse_the_scale() -> None:
    generator = np.random.default_rng(3)
    residuals = np.where(generator.random(800) < 0.93, 0.0, generator.normal(0, 2, 800))
    fitted = fit_distribution(residuals, "nct")
    assert getattr(stats, fitted.name)(*fitted.parameters).isf(1e-4) > SCALE_FLOOR


def test_two_far_heaps_are_refused_by_kolmogorov_and_smirnov() -> None:
    generator = np.random.default_rng(5)
    residuals = np.concatenate([generator.normal(-5, 0.4, 400), generator.normal(5, 0.4, 400)])
    fitted = fit_distribution(residuals, "norm")
    assert fitted.name == "t"
    assert "Kolmogorov-Smirnov" in fitted.reason


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_on_offer_can_be_fitted_to_its_own_sample(name: str) -> None:
    shapes = {"nct": (9.0, 0.4), "t": (9.0,), "skewnorm": (2.0,), "johnsonsu": (0.2, 1.8)}.get(name, ())
    fitted = fit_distribution(_sample(name, *shapes, size=800), name)
    assert np.isfinite(fitted.parameters).all()
    assert fitted.reason


def test_an_unknown_distribution_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="cauchy.*expected one of nct"):
        fit_distribution(np.arange(100.0), "cauchy")


@settings(max_examples=25, deadline=None)
@given(st.floats(-50, 50), st.floats(1.0, 40), st.integers(0, 2**31))
def test_a_fit_moves_and_stretches_with_the_residuals(shift: float, stretch: float, seed: int) -> None:
    base = np.random.default_rng(seed).standard_t(7, 400) * SCALE_FLOOR * 4
    one, other = fit_distribution(base, "norm"), fit_distribution(base * stretch + shift, "norm")
    assert one.name == other.name
    assert other.parameters[-1] == pytest.approx(one.parameters[-1] * stretch, rel=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80))
def test_the_robust_scale_never_falls_below_its_floor(residuals: list[float]) -> None:
    assert robust_scale(residuals) >= SCALE_FLOOR


def test_tail_probabilities_are_two_sided_bounded_and_keep_nan() -> None:
    found = tail_probability("norm", [0.0, 1.0], np.array([0.0, 1.96, -1.96, 80.0, np.nan]))
    assert found[0] == 1.0
    assert found[1] == pytest.approx(0.05, abs=1e-3)
    assert found[2] == pytest.approx(found[1])
    assert 0 < found[3] <= 1e-12
    assert np.isnan(found[4])


def test_tail_probabilities_stay_numbers_where_scipy_loses_them() -> None:
    shapes = (60.0, 3.0, 0.0, 1.0)
    residuals = -np.array([5.0, 8.75, 9.25, 11.0, 15.0, 400.0])
    with np.errstate(all="ignore"):
        assert np.isnan(stats.nct.cdf(residuals, *shapes)).any()
    assert (tail_probability("nct", shapes, residuals) == 1e-12).all()


@settings(max_examples=200, deadline=None)
@given(st.floats(2.5, 500), st.floats(-6, 6), st.floats(-60, 60))
def test_tail_probabilities_of_the_non_central_t_are_probabilities(df: float, nc: float, residual: float) -> None:
    (found,) = tail_probability("nct", (df, nc, 0.0, 1.0), np.array([residual]))
    assert 0 < found <= 1
