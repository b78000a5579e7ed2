"""The distribution of a variable's residuals: what is ordinary, and how far out is how rare.

In: residuals (observed - predicted, in the group's transform) of a period the network was not trained on.
Out: `FittedDistribution`, a family of `anomaly.detection.families` with its parameters and the reason why it was
taken.

The first choice is the non-central t, because residuals of counts are skewed and have heavy tails. Maximum
likelihood alone is not to be trusted with it: ``scipy.stats.nct.fit`` raises nothing on degenerate residuals
(mostly zero, few distinct values) but returns a scale of 1e-20 and a threshold that everything exceeds. So:

1. A few residuals that are absurdly far out are past incidents, not scatter. They are left out, and counted in the
   reason (`without_contamination`). More than a few are how the variable behaves, and stay.
2. Residuals are standardised, by their median and a robust scale with a floor (`robust_scale`).
3. The fit must pass a gate: enough residuals, enough distinct ones, finite parameters, a scale that did not
   collapse, at least 3 degrees of freedom, a tail not thinner than the normal's nor heavier than t with 3 degrees of
   freedom, and a Kolmogorov-Smirnov distance to the residuals that chance explains.
4. What does not pass gets Student's t with 8 degrees of freedom at the robust scale: a wider net, never a
   narrower one. Each half of ``working-hours`` passes the gate by itself, as non-central t or as t; where a half has
   too few residuals, one non-central t for all intervals is tried.

Sources:
    The limit of the Kolmogorov-Smirnov distance: N. Smirnov, "Table for Estimating the Goodness of Fit of
    Empirical Distributions", Annals of Mathematical Statistics 19 (1948).
    Scale from quantiles: P. J. Huber, E. M. Ronchetti, "Robust Statistics", 2nd ed., ch. 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.detection.families import FAMILIES, LAWS, LEAST_RESIDUALS, NCT, WORKING_HOURS, Law, T
from anomaly.detection.transforms import SCALE_FLOOR

Floats = NDArray[np.float64]

DISTRIBUTIONS = tuple(FAMILIES)
"""Names that a group may ask for: continuous, on the whole real line."""

FALLBACK_DEGREES_OF_FREEDOM = 8.0

MIN_DISTINCT = 20
KS_LIMIT = 1.63
"""Kolmogorov-Smirnov: sqrt(M) times the distance stays below this in 99 of 100 samples of the right distribution.

Smirnov's limit for large M, sqrt(-ln(0.01 / 2) / 2). It holds for parameters that are known beforehand; fitted ones
come closer to their own residuals, so that the gate is wider than 1 in 100: it refuses the wrong family, and
leaves the right one alone."""
FAR = 8.0
"""Core scales beyond which a residual may be contamination: one in 1e15 of a normal distribution's."""
NEIGHBOURS_FAR = 4.0
"""Core scales beyond which a residual beside such a one is of the same incident."""
MOST_CONTAMINATION = 0.02
"""Share of the residuals. More than that is a heavy tail, and belongs to what is ordinary."""
TOLD_WIDENING = 2.0
"""A robust scale this many times its core's is told in the reason."""


@dataclass(frozen=True, slots=True)
class FittedDistribution:
    """A family of `anomaly.detection.families` by name, its parameters, and why it was taken."""

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


def core_scale(residuals: ArrayLike, *, floor: float = SCALE_FLOOR) -> float:
    """Scale of the middle half of the residuals: their quartiles' distance over 1.349, which is what it is in
    standard deviations of a normal distribution; at least the floor. A quarter of anything does not move it far."""
    low, high = np.quantile(np.asarray(residuals, dtype=np.float64), [0.25, 0.75])
    return float(max((high - low) / 1.349, floor))


def contaminated(residuals: Floats, *, floor: float = SCALE_FLOOR) -> NDArray[np.bool_]:
    """Which residuals are so absurdly far out, and so few, that they are of past incidents.

    Beyond 8 core scales from the median, with their neighbours in time beyond 4: the hours of one outage are not all
    equally busy. None, when they would be more than 2 % of all.

    Args:
        residuals: (M,), finite, oldest first.
        floor: smallest scale, in the transform.
    """
    core = core_scale(residuals, floor=floor) if residuals.size else 0.0
    if core == 0:  # without a floor, nothing is near to a middle half of equal residuals, and so nothing is far
        return np.zeros(residuals.shape, dtype=bool)
    distance = np.abs(residuals - np.median(residuals)) / core
    out = distance > NEIGHBOURS_FAR
    run = np.cumsum(np.diff(out, prepend=False))  # runs of residuals that are out, and of those between them
    far = np.asarray(out & np.isin(run, run[distance > FAR]))
    return far if far.sum() <= MOST_CONTAMINATION * residuals.size else np.zeros_like(far)


def without_contamination(residuals: Floats, *, floor: float = SCALE_FLOOR) -> tuple[Floats, str]:
    """The residuals without the `contaminated`, and what to say of it ('' for nothing).

    Past incidents in a history would widen what is ordinary until the next one fits in.

    Args:
        residuals: (M,), finite, oldest first.
        floor: smallest scale, in the transform.
    """
    far = contaminated(residuals, floor=floor)
    number = int(far.sum())
    if number:
        return residuals[~far], f"{number} residual{'s'[: number > 1]} left out as contamination"
    core = core_scale(residuals, floor=floor) if residuals.size else 0.0
    wider = robust_scale(residuals, floor=floor) / core if core else 1.0
    if wider > TOLD_WIDENING:
        return residuals, f"tails make the scale {wider:.2g} times that of the middle half"
    return residuals, ""


def fit_distribution(
    residuals: ArrayLike, name: str, *, scale_floor: float = SCALE_FLOOR, expected: ArrayLike | None = None
) -> FittedDistribution:
    """The distribution `name` fitted to the residuals, or the fallback when the gate refuses it.

    Args:
        residuals: (M,), in the group's transform, oldest first; what is not finite is left out.
        name: one of `DISTRIBUTIONS`.
        scale_floor: smallest robust scale, in the transform.
        expected: (M,) events expected of the intervals; only ``working-hours`` asks for it, and must have it.

    Raises:
        ValueError: `name` is none of `DISTRIBUTIONS`, or is ``working-hours`` without `expected`.
    """
    if name not in FAMILIES:
        raise ValueError(f"distribution {name!r} is unknown; expected one of {', '.join(DISTRIBUTIONS)}")
    r = np.asarray(residuals, dtype=np.float64)
    if name != WORKING_HOURS.name:
        return _fit_one(LAWS[name], r[np.isfinite(r)], scale_floor)
    if expected is None:
        raise ValueError(f"distribution {name!r} needs what was expected of each interval; found nothing")
    m = np.asarray(expected, dtype=np.float64)
    known = np.isfinite(r) & np.isfinite(m)
    return _fit_halves(r[known], m[known], scale_floor)


def _fit_halves(r: Floats, expected: Floats, floor: float) -> FittedDistribution:
    """Busy intervals are those of which more than half of the median is expected."""
    threshold = float(np.median(expected)) / 2 if expected.size else 0.0
    calm = expected <= threshold
    fewest = min(int(calm.sum()), int((~calm).sum()))
    if fewest < LEAST_RESIDUALS:
        whole = _fit_one(NCT, r, floor)
        few = f"{fewest} residuals of its {'quiet' if fewest == calm.sum() else 'busy'} intervals"
        reason = f"working-hours was refused: {few}, fewer than {LEAST_RESIDUALS}; {whole.reason}"
        return FittedDistribution(whole.name, whole.parameters, reason)
    quiet, busy = (_fit_half(r[half], floor) for half in (calm, ~calm))
    return FittedDistribution(
        WORKING_HOURS.name,
        (threshold, float(calm.mean()), *quiet.parameters, *busy.parameters),
        f"busy above {threshold:.3g} expected events, scale {busy.parameters[-1]:.3g}: {busy.reason}; "
        f"else quiet, scale {quiet.parameters[-1]:.3g}: {quiet.reason}",
    )


def _fit_half(r: Floats, floor: float) -> FittedDistribution:
    """As a non-central t, which t is where its non-centrality is 0."""
    skewed = _fit_one(NCT, r, floor)
    if skewed.name == NCT.name:
        return skewed
    plain = _fit_one(T, r, floor)
    degrees, *where = plain.parameters
    return FittedDistribution(NCT.name, (degrees, 0.0, *where), plain.reason)


def _fit_one(law: Law, r: Floats, floor: float) -> FittedDistribution:
    if r.size == 0:
        return _fallback(0.0, floor, "there are no residuals")
    r, note = without_contamination(r, floor=floor)
    middle, scale = float(np.median(r)), robust_scale(r, floor=floor)
    distinct = len(np.unique(np.round(r, 6)))
    if r.size < law.least_residuals:
        return _fallback(middle, scale, f"{r.size} residuals, fewer than {law.least_residuals}", note)
    if distinct < MIN_DISTINCT:
        return _fallback(middle, scale, f"{distinct} distinct residuals, fewer than {MIN_DISTINCT}", note)

    parameters, refusal = _fit(law, (r - middle) / scale)
    if refusal:
        return _fallback(middle, scale, f"{law.name} was refused: {refusal}", note)
    *shapes, location, spread = parameters
    passed = f"{law.name} passed the gate: {r.size} residuals, {distinct} distinct, robust scale {scale:.3g}"
    return FittedDistribution(law.name, (*shapes, middle + scale * location, scale * spread), _noted(passed, note))


def _fallback(middle: float, scale: float, reason: str, note: str = "") -> FittedDistribution:
    parameters = (FALLBACK_DEGREES_OF_FREEDOM, middle, scale)
    return FittedDistribution(T.name, parameters, _noted(f"fallback t: {reason}", note))


def _noted(reason: str, note: str) -> str:
    return f"{reason}; {note}" if note else reason


def _fit(law: Law, standard: Floats) -> tuple[tuple[float, ...], str]:
    """Parameters for standardised residuals; the second part says why the result is refused, if it is."""
    from scipy import stats

    try:
        with np.errstate(all="ignore"):
            parameters = law.fit(standard)
    except (ValueError, RuntimeError, FloatingPointError, OverflowError, stats.FitError) as impossible:
        return (), f"no fit ({impossible})"
    return parameters, _gate(law, parameters, standard)


def _gate(law: Law, parameters: Sequence[float], standard: Floats) -> str:
    """Why the fit is not to be trusted; '' when it is."""
    from scipy import special

    refusal = law.refusal(parameters)
    if refusal:
        return refusal
    lower, upper = (float(side) for side in law.between(1e-5, parameters))
    if not np.isfinite([lower, upper]).all() or lower >= upper:
        return "its tails are not finite"
    thinnest, widest = 3.0, -float(special.stdtrit(3, 1e-5))
    if -lower < thinnest or upper < thinnest:
        return "a tail is thinner than the data can vouch for"
    if -lower > widest or upper > widest:
        return "a tail is heavier than t with 3 degrees of freedom"
    distance, limit = ks_distance(standard, law, parameters), KS_LIMIT / np.sqrt(standard.size)
    if not distance <= limit:
        return f"Kolmogorov-Smirnov distance {distance:.3f}, above {limit:.3f}"
    return ""


def ks_distance(values: Floats, law: Law, parameters: Sequence[float]) -> float:
    """The largest distance between the law's distribution function and that of the values (M,), in [0, 1]."""
    with np.errstate(all="ignore"):
        said = law.cdf(np.sort(values), *parameters)
    counted = np.arange(values.size + 1) / values.size
    return float(max(np.max(said - counted[:-1]), np.max(counted[1:] - said)))
