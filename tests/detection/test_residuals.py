"""Residual distributions: a good fit is taken, a degenerate one is refused, past incidents do not widen it, and
thresholds keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from anomaly.detection.families import FAMILIES, LAWS, Law
from anomaly.detection.residuals import (
    DISTRIBUTIONS,
    FittedDistribution,
    contaminated,
    core_scale,
    fit_distribution,
    robust_scale,
    without_contamination,
)
from anomaly.detection.transforms import SCALE_FLOOR

Floats = NDArray[np.float64]
QUICK = tuple(name for name in LAWS if name not in {"nct", "skewnorm", "johnsonsu"})
"""Fitted within milliseconds."""
SHAPES: dict[str, tuple[float, ...]] = {
    "nct": (9.0, 0.4),
    "t": (9.0,),
    "genpareto-tails": (0.15, 0.5, 0.05, 0.7, 0.2),
    "skewnorm": (1.0,),
    "johnsonsu": (0.2, 1.8),
}


def _draw(name: str, size: int, seed: int) -> Floats:
    """Of a law with location 0.3 and scale 2."""
    uniform = np.random.default_rng(seed).uniform(size=size)
    return LAWS[name].ppf(uniform, *SHAPES.get(name, ()), 0.3, 2.0)


def _thresholds(
    fitted: FittedDistribution, probability: float, expected: Floats | None = None
) -> tuple[Floats, Floats]:
    return FAMILIES[fitted.name].between(probability / 2, fitted.parameters, expected)


# --- fitting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAWS)
def test_a_distribution_fitted_to_its_own_sample_passes_the_gate_and_keeps_its_promises(name: str) -> None:
    fitted = fit_distribution(_draw(name, 1500, 11), name)
    assert fitted.name == name, fitted.reason
    fresh = _draw(name, 200_000, 12)
    for promised in (0.05, 0.01, 0.001):
        lower, upper = _thresholds(fitted, promised)
        realised = float(np.mean((fresh < lower) | (fresh > upper)))
        assert 0.4 < realised / promised < 2.5, promised


@pytest.mark.parametrize(
    ("residuals", "why"),
    [
        (np.zeros(500), "distinct"),
        (np.where(np.arange(500) % 50 == 0, np.linspace(-3, 3, 500), 0.0), "distinct"),
        (np.array([]), "there are no residuals"),
        (np.full(100, np.nan), "there are no residuals"),
        (np.linspace(-1, 1, 20), "fewer than"),
    ],
    ids=["all zero", "mostly zero", "none", "not finite", "few"],
)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_degenerate_residuals_get_the_fallback_with_the_reason(name: str, residuals: Floats, why: str) -> None:
    fitted = fit_distribution(residuals, name, expected=np.where(np.arange(residuals.size) % 2, 100.0, 1.0))
    assert fitted.parameters[-1] >= SCALE_FLOOR
    if name == "working-hours" and residuals.size >= 120 and np.isfinite(residuals).all():
        assert fitted.parameters[5] >= SCALE_FLOOR  # quiet intervals' scale
    else:
        assert fitted.name == "t"
    assert why in fitted.reason or "fewer than 400" in fitted.reason


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(QUICK), st.floats(0.0, 0.99), st.floats(1e-9, 1e3), st.integers(0, 2**31))
def test_residuals_that_are_mostly_equal_never_make_a_tiny_scale(
    name: str, equal: float, spread: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    residuals = np.where(generator.random(600) < equal, 0.0, generator.normal(0, spread, 600))
    lower, upper = _thresholds(fit_distribution(residuals, name), 1e-4)
    assert lower < -SCALE_FLOOR
    assert upper > SCALE_FLOOR


def test_a_spike_with_a_few_values_around_it_does_not_collapse_the_non_central_t() -> None:
    generator = np.random.default_rng(3)
    residuals = np.where(generator.random(800) < 0.93, 0.0, generator.normal(0, 2, 800))
    _, upper = _thresholds(fit_distribution(residuals, "nct"), 2e-4)
    assert upper > SCALE_FLOOR


@pytest.mark.parametrize("name", ["norm", "genpareto-tails"])
def test_two_far_heaps_are_refused_by_kolmogorov_and_smirnov(name: str) -> None:
    generator = np.random.default_rng(5)
    residuals = np.concatenate([generator.normal(-5, 0.4, 400), generator.normal(5, 0.4, 400)])
    fitted = fit_distribution(residuals, name)
    assert fitted.name == "t"
    assert "Kolmogorov-Smirnov" in fitted.reason or "thinner" in fitted.reason


@pytest.mark.parametrize("name", ["t", "nct"])
def test_fewer_than_three_degrees_of_freedom_are_refused(name: str) -> None:
    residuals = stats.t.rvs(1.6, size=800, random_state=np.random.default_rng(2))
    fitted = fit_distribution(residuals, name)
    assert fitted.parameters[0] == 8.0
    assert "degrees of freedom, fewer than 3" in fitted.reason


def test_few_residuals_do_not_get_tails_of_their_own() -> None:
    fitted = fit_distribution(_draw("norm", 300, 1), "genpareto-tails")
    assert fitted.name == "t"
    assert "300 residuals, fewer than 400" in fitted.reason


def test_an_unknown_distribution_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="cauchy.*expected one of nct.*genpareto-tails.*working-hours"):
        fit_distribution(np.arange(100.0), "cauchy")


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["norm", "genpareto-tails"]), st.floats(-50, 50), st.floats(1.0, 40), st.integers(0, 2**31))
def test_a_fit_moves_and_stretches_with_the_residuals(name: str, shift: float, stretch: float, seed: int) -> None:
    base = np.random.default_rng(seed).standard_t(7, 500) * SCALE_FLOOR * 4
    one, other = fit_distribution(base, name), fit_distribution(base * stretch + shift, name)
    assert one.name == other.name
    assert other.parameters[-1] == pytest.approx(one.parameters[-1] * stretch, rel=1e-6)
    assert other.parameters[:-2] == pytest.approx(one.parameters[:-2], rel=1e-5, abs=1e-5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80))
def test_the_robust_scale_never_falls_below_its_floor(residuals: list[float]) -> None:
    assert robust_scale(residuals) >= SCALE_FLOOR


# --- contamination ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nct", "t", "norm", "genpareto-tails"])
def test_past_incidents_in_the_history_hardly_move_the_thresholds_and_are_told(name: str) -> None:
    clean = _draw("norm", 1500, 21)
    contaminated = np.concatenate([clean, np.linspace(-60, -25, 25)])
    one, other = fit_distribution(clean, name), fit_distribution(contaminated, name)
    assert "25 residuals left out as contamination" in other.reason
    assert "contamination" not in one.reason
    for sides in zip(_thresholds(one, 1e-3), _thresholds(other, 1e-3), strict=True):
        assert sides[1] == pytest.approx(sides[0], rel=0.03)


def test_more_than_two_in_a_hundred_are_a_heavy_tail_that_stays_and_widens_aloud() -> None:
    clean = _draw("norm", 1000, 22)
    heavy = np.concatenate([clean, np.linspace(-60, 60, 40)])
    kept, note = without_contamination(heavy)
    assert kept.size == heavy.size
    assert "times that of the middle half" in note
    fitted = fit_distribution(heavy, "nct")
    assert note in fitted.reason
    assert _thresholds(fitted, 1e-3)[1] > 2 * _thresholds(fit_distribution(clean, "nct"), 1e-3)[1]


@given(st.integers(1, 400), st.floats(0, 0.1), st.integers(0, 2**31))
def test_what_is_left_out_is_at_most_two_in_a_hundred_and_all_of_what_is_absurd(
    number: int, share: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    residuals = np.where(generator.random(number) < share, 50.0, 1.0) * generator.normal(0, 1, number)
    kept, note = without_contamination(residuals)
    gone = np.setdiff1d(residuals, kept)
    assert gone.size == residuals.size - kept.size <= 0.02 * number
    assert ("left out" in note) == (gone.size > 0)
    if gone.size:
        distances = [np.abs(part - np.median(residuals)) / core_scale(residuals) for part in (kept, gone)]
        assert distances[0].max() <= 8 < distances[1].max()
        assert distances[1].min() > 4


def test_the_quieter_hours_of_an_outage_go_with_its_busy_ones_and_lone_ones_stay() -> None:
    residuals = np.random.default_rng(9).normal(0, 1, 1000).clip(-3, 3)
    residuals[100:106] = [-6, -9, -7, -12, -5, -2]
    residuals[500] = -6
    assert np.flatnonzero(contaminated(residuals)).tolist() == [100, 101, 102, 103, 104]


def test_without_a_floor_equal_residuals_are_not_contaminated_by_the_others() -> None:
    residuals = np.where(np.arange(300) % 100 == 0, 1.0, 0.0)
    kept, note = without_contamination(residuals, floor=0.0)
    assert (kept.size, note) == (300, "")


# --- laws -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nct", "t", "norm"])
def test_what_goes_to_scipy_special_says_what_scipy_stats_says(name: str) -> None:
    law, parameters = LAWS[name], (*SHAPES.get(name, ()), 0.3, 2.0)
    theirs = getattr(stats, name)(*parameters)
    x = np.linspace(-25, 30, 400)
    p = np.concatenate([np.logspace(-11, -0.5, 40), [0.5, 0.9]])
    np.testing.assert_allclose(law.cdf(x, *parameters), theirs.cdf(x), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(law.sf(x, *parameters), theirs.sf(x), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(law.ppf(p, *parameters), theirs.ppf(p), rtol=1e-7)
    np.testing.assert_allclose(law.isf(p, *parameters), theirs.isf(p), rtol=1e-7)
    np.testing.assert_allclose(law.tail(x, parameters), np.minimum(theirs.cdf(x), theirs.sf(x)), rtol=1e-9, atol=1e-14)


def test_a_non_central_t_without_non_centrality_is_t() -> None:
    x = np.linspace(-30, 30, 101)
    np.testing.assert_allclose(LAWS["nct"].cdf(x, 5.0, 0.0, 0.0, 1.0), LAWS["t"].cdf(x, 5.0, 0.0, 1.0), rtol=1e-12)


@st.composite
def _laws(draw: st.DrawFn) -> tuple[Law, tuple[float, ...]]:
    name = draw(st.sampled_from(["nct", "t", "norm", "genpareto-tails"]))
    shapes: dict[str, tuple[st.SearchStrategy[float], ...]] = {
        "nct": (st.floats(3, 500), st.floats(-4, 4)),
        "t": (st.floats(3, 500),),
        "norm": (),
        "genpareto-tails": (*(st.floats(0, 1 / 3), st.floats(0.2, 2)) * 2, st.floats(-0.8, 0.8)),
    }
    where = (draw(st.floats(-5, 5)), draw(st.floats(0.5, 20)))
    return LAWS[name], (*(draw(shape) for shape in shapes[name]), *where)


@settings(max_examples=150, deadline=None)
@given(_laws(), st.lists(st.floats(-200, 200), min_size=2, max_size=30))
def test_farther_out_is_never_likelier(fitted: tuple[Law, tuple[float, ...]], residuals: list[float]) -> None:
    law, parameters = fitted
    x = np.sort(np.array(residuals))
    tail = np.maximum(law.tail(x, parameters), 1e-12)
    assert ((tail > 0) & (tail <= 0.5)).all()
    middle = float(law.ppf(0.5, *parameters))
    assert (np.diff(tail[x >= middle]) <= 1e-12).all()
    assert (np.diff(tail[x <= middle]) >= -1e-12).all()


@settings(max_examples=150, deadline=None)
@given(_laws(), st.floats(1e-10, 0.49))
def test_thresholds_and_tails_are_inverse(fitted: tuple[Law, tuple[float, ...]], probability: float) -> None:
    law, parameters = fitted
    lower, upper = law.between(probability, parameters)
    assert lower < upper
    assert law.tail(np.stack([lower, upper]), parameters) == pytest.approx(probability, rel=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1 / 3), st.floats(0.2, 2), st.floats(0, 1 / 3), st.floats(0.2, 2), st.floats(-0.8, 0.8))
def test_pareto_tails_meet_the_body_without_a_jump_at_one_in_twenty(
    lower: float, lower_spread: float, upper: float, upper_spread: float, skew: float
) -> None:
    law, parameters = LAWS["genpareto-tails"], (lower, lower_spread, upper, upper_spread, skew, 1.0, 2.0)
    for joint, share in ((law.ppf(0.05, *parameters), 0.05), (law.isf(0.05, *parameters), 0.95)):
        before, after = (law.cdf(joint + step, *parameters) for step in (-1e-9, 1e-9))
        assert before <= after
        assert before == pytest.approx(share, abs=1e-7)
        assert after == pytest.approx(share, abs=1e-7)


@pytest.mark.parametrize("name", ["genpareto-tails", "working-hours"])
def test_densities_are_what_distribution_functions_grow_by(name: str) -> None:
    halves = (10.0, 0.3, 8.0, 0.2, 0.0, 1.0, 6.0, -0.4, 1.0, 2.0)
    parameters = halves if name == "working-hours" else (*SHAPES[name], 0.3, 2.0)
    x = np.linspace(-80, 80, 320_001)
    density = FAMILIES[name].density(x, parameters)
    assert float(np.trapezoid(density, x)) == pytest.approx(1, abs=1e-3)
    if name == "genpareto-tails":
        grown = LAWS[name].cdf(5.0, *parameters) - LAWS[name].cdf(-5.0, *parameters)
        inside = np.abs(x) <= 5
        assert float(np.trapezoid(density[inside], x[inside])) == pytest.approx(float(grown), abs=1e-3)


def test_what_is_unknown_stays_unknown() -> None:
    for name, family in FAMILIES.items():
        parameters = (*SHAPES.get(name, ()), 0.0, 1.0) if name in LAWS else (5.0, 0.5, *(9.0, 0.4, 0.0, 1.0) * 2)
        assert np.isnan(family.tail(np.array([np.nan, 0.1]), parameters, np.array([1.0, 1.0]))).tolist() == [
            True,
            False,
        ]


# --- busy and quiet ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shifts() -> FittedDistribution:
    """Of a variable whose residuals scatter four times as much at night, when little is expected."""
    night = np.arange(2400) % 24 < 8
    residuals = np.random.default_rng(31).normal(0, np.where(night, 4.0, 1.0))
    return fit_distribution(residuals, "working-hours", expected=np.where(night, 3.0, 100.0))


def test_working_hours_have_their_own_scale(shifts: FittedDistribution) -> None:
    assert shifts.name == "working-hours"
    threshold, share_of_quiet, *_ = shifts.parameters
    assert threshold == 50
    assert share_of_quiet == pytest.approx(1 / 3)
    busy, quiet = _thresholds(shifts, 1e-3, np.array([100.0, 3.0]))[1]
    assert busy == pytest.approx(stats.norm.isf(5e-4), rel=0.2)
    assert quiet == pytest.approx(4 * stats.norm.isf(5e-4), rel=0.2)
    assert "busy above 50 expected events" in shifts.reason


def test_where_nothing_is_said_of_what_is_expected_busy_intervals_are_meant(shifts: FittedDistribution) -> None:
    said, unsaid = _thresholds(shifts, 1e-3, np.array([100.0])), _thresholds(shifts, 1e-3)
    assert [float(side[0]) for side in said] == [float(side) for side in unsaid]
    family = FAMILIES[shifts.name]
    both = family.tail(np.array([5.0, 5.0]), shifts.parameters, np.array([100.0, 3.0]))
    assert family.tail(np.array(5.0), shifts.parameters) == both[0] < both[1] / 100


def test_a_variable_without_quiet_intervals_has_one_distribution() -> None:
    residuals = _draw("nct", 1000, 33)
    fitted = fit_distribution(residuals, "working-hours", expected=np.full(1000, 20.0))
    assert fitted.name == "nct"
    assert fitted.parameters == fit_distribution(residuals, "nct").parameters
    assert "0 residuals of its quiet intervals, fewer than 60" in fitted.reason


def test_working_hours_cannot_be_told_without_expectations() -> None:
    with pytest.raises(ValueError, match="needs what was expected"):
        fit_distribution(np.arange(100.0), "working-hours")
