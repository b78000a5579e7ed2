"""The distribution of a variable's residuals: what is ordinary, and how far out is how rare.

In: residuals (observed - predicted, in the group's transform) of a period the network was not trained on.
Out: `FittedDistribution`, a continuous ``scipy.stats`` distribution with its parameters and the reason why it
was taken.

The first choice is the non-central t, because residuals of counts are skewed and have heavy tails. Maximum
likelihood alone is not to be trusted with it: ``scipy.stats.nct.fit`` raises nothing on degenerate residuals
(mostly zero, few distinct values) but returns a scale of 1e-20 and a threshold that everything exceeds. So:

1. Residuals are standardised first, by their median and a robust scale with a floor (`robust_scale`).
2. The fit must pass a gate: enough residuals, enough distinct ones, finite parameters, a scale that did not
   collapse, a tail not thinner than the normal's nor heavier than t with 3 degrees of freedom, and a
   Kolmogorov-Smirnov distance to the residuals that chance explains.
3. What does not pass gets Student's t with 8 degrees of freedom at the robust scale: a wider net, never a
   narrower one.

Sources:
    Non-central t: N. L. Johnson, S. Kotz, N. Balakrishnan, "Continuous Univariate Distributions", vol. 2, ch. 31.
    The limit of the Kolmogorov-Smirnov distance: N. Smirnov, "Table for Estimating the Goodness of Fit of
    Empirical Distributions", Annals of Mathematical Statistics 19 (1948).
    Scale from quantiles: P. J. Huber, E. M. Ronchetti, "Robust Statistics", 2nd ed., ch. 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.detection.transforms import SCALE_FLOOR

DISTRIBUTIONS = ("nct", "t", "norm", "skewnorm", "johnsonsu", "laplace", "logistic")
"""Names in ``scipy.stats`` that a group may ask for: continuous, on the whole real line."""

FALLBACK = "t"
FALLBACK_DEGREES_OF_FREEDOM = 8.0

MIN_RESIDUALS = 60
MIN_DISTINCT = 20
MIN_STANDARD_SCALE = 0.2
"""A fitted scale below this share of the robust one has collapsed onto a spike."""
KS_LIMIT = 1.63
"""Kolmogorov-Smirnov: sqrt(M) times the distance stays below this in 99 of 100 samples of the right distribution.

Smirnov's limit for large M, sqrt(-ln(0.01 / 2) / 2). It holds for parameters that are known beforehand; fitted ones
come closer to their own residuals, so that the gate is wider than 1 in 100: it refuses the wrong family, and
leaves the right one alone."""
SMALLEST_PROBABILITY = 1e-12
"""Tail probabilities are not told apart below this: scipy's tails lose their digits."""


@dataclass(frozen=True, slots=True)
class FittedDistribution:
    """``getattr(scipy.stats, name)(*parameters)``: shape parameters, then location and scale, of the residual."""

    name: str
    parameters: tuple[float, ...]
    reason: str


QUIET = 0.25
"""Events per interval. Where less is predicted and nothing came, the residual says nothing about scatter."""


def informative(observed: ArrayLike, predicted: ArrayLike) -> NDArray[np.bool_]:
    """Which residuals a distribution should be fitted to: not those of quiet intervals.

    A variable that sleeps at night has residuals of nearly nothing for a quarter of its day. They would make the
    distribution a spike with wings, which no family fits and which hides how much the active hours scatter.

    Args:
        observed, predicted: events per interval, any shape.
    """
    return (np.asarray(observed) > 0) | (np.asarray(predicted) >= QUIET)


def robust_scale(residuals: ArrayLike, *, floor: float = SCALE_FLOOR) -> float:
    """Scale of the residuals, equal to the standard deviation when they are normal.

    The largest of: the range from the 5 % to the 95 % quantile over 3.29, the 99.5 % quantile of the distance
    from the median over 2.81 (so that a heavy tail counts), and the floor. The divisors are what the same range and
    distance are in standard deviations of a normal distribution: 2 * 1.645 and 2.807.
    """
    r = np.asarray(residuals, dtype=np.float64)
    low, middle, high = np.quantile(r, [0.05, 0.5, 0.95])
    far = np.quantile(np.abs(r - middle), 0.995)
    return float(max((high - low) / 3.29, far / 2.81, floor))


def fit_distribution(residuals: ArrayLike, name: str, *, scale_floor: float = SCALE_FLOOR) -> FittedDistribution:
    """The distribution `name` fitted to the residuals, or the fallback when the gate refuses it.

    Args:
        residuals: (M,), in the group's transform; what is not finite is left out.
        name: one of `DISTRIBUTIONS`.
        scale_floor: smallest robust scale, in the transform.

    Raises:
        ValueError: `name` is none of `DISTRIBUTIONS`.
    """
    if name not in DISTRIBUTIONS:
        raise ValueError(f"distribution {name!r} is unknown; expected one of {', '.join(DISTRIBUTIONS)}")
    r = np.asarray(residuals, dtype=np.float64)
    r = r[np.isfinite(r)]
    if r.size == 0:
        return _fallback(0.0, scale_floor, "there are no residuals")
    middle, scale = float(np.median(r)), robust_scale(r, floor=scale_floor)
    distinct = len(np.unique(np.round(r, 6)))
    if r.size < MIN_RESIDUALS:
        return _fallback(middle, scale, f"{r.size} residuals, fewer than {MIN_RESIDUALS}")
    if distinct < MIN_DISTINCT:
        return _fallback(middle, scale, f"{distinct} distinct residuals, fewer than {MIN_DISTINCT}")

    standard = (r - middle) / scale
    parameters, refusal = _fit(name, standard)
    if refusal:
        return _fallback(middle, scale, f"{name} was refused: {refusal}")
    *shapes, location, spread = parameters
    return FittedDistribution(
        name,
        (*shapes, middle + scale * location, scale * spread),
        f"{name} passed the gate: {r.size} residuals, {distinct} distinct, robust scale {scale:.3g}",
    )


def _fallback(middle: float, scale: float, reason: str) -> FittedDistribution:
    return FittedDistribution(FALLBACK, (FALLBACK_DEGREES_OF_FREEDOM, middle, scale), f"fallback t: {reason}")


def _fit(name: str, standard: NDArray[np.float64]) -> tuple[tuple[float, ...], str]:
    """Maximum likelihood on standardised residuals; the second part says why the result is refused, if it is."""
    from scipy import stats

    family = getattr(stats, name)
    try:
        with np.errstate(all="ignore"):
            parameters = tuple(float(p) for p in family.fit(standard, **_start(name)))
    except (ValueError, RuntimeError, FloatingPointError, OverflowError, stats.FitError) as impossible:
        return (), f"no fit ({impossible})"
    return parameters, _gate(family(*parameters), parameters, standard)


def _start(name: str) -> dict[str, float]:
    """A start from which the optimiser finds the bulk of standardised residuals, not a spike."""
    return {"loc": 0.0, "scale": 1.0} if name in {"nct", "t"} else {}


def _gate(frozen: Any, parameters: Sequence[float], standard: NDArray[np.float64]) -> str:
    from scipy import stats

    with np.errstate(all="ignore"):
        if not np.all(np.isfinite(parameters)):
            return "a parameter is not finite"
        if parameters[-1] < MIN_STANDARD_SCALE:
            return f"its scale collapsed to {parameters[-1]:.2g} of the robust scale"
        tails = np.array([frozen.ppf(1e-5), frozen.isf(1e-5)], dtype=np.float64)
        if not np.all(np.isfinite(tails)) or tails[0] >= tails[1]:
            return "its tails are not finite"
        thinnest, widest = 3.0, float(stats.t.isf(1e-5, 3))
        if -tails[0] < thinnest or tails[1] < thinnest:
            return "a tail is thinner than the data can vouch for"
        if -tails[0] > widest or tails[1] > widest:
            return "a tail is heavier than t with 3 degrees of freedom"
        distance = float(np.asarray(stats.kstest(standard, frozen.cdf).statistic))
    limit = KS_LIMIT / np.sqrt(standard.size)
    if not distance <= limit:
        return f"Kolmogorov-Smirnov distance {distance:.3f}, above {limit:.3f}"
    return ""


def tail_probability(name: str, parameters: Sequence[ArrayLike], residuals: ArrayLike) -> NDArray[np.float64]:
    """Two-sided probability of a residual at least this far out, in [1e-12, 1]; NaN stays NaN.

    Args:
        name: the distribution's name in ``scipy.stats``.
        parameters: shapes, location and scale; each a number or an array that broadcasts with the residuals.
        residuals: any shape, in the group's transform.
    """
    from scipy import stats

    r = np.asarray(residuals, dtype=np.float64)
    family = getattr(stats, name)
    with np.errstate(all="ignore"):
        below, above = family.cdf(r, *parameters), family.sf(r, *parameters)
    # Far out, scipy's non-central t gives NaN for one side or for both: then the other side tells, or none is left.
    lost = np.isnan(below) & np.isnan(above)
    below, above = np.where(np.isnan(below), 1 - above, below), np.where(np.isnan(above), 1 - below, above)
    tail = np.where(lost, 0.0, np.minimum(below, above))
    return np.where(np.isfinite(r), np.clip(2 * tail, SMALLEST_PROBABILITY, 1.0), np.nan)
