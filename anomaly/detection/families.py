"""The families of distributions that residuals may follow, by name.

In: residuals (in the group's transform) and a family's parameters, plain numbers as a store keeps them. Out: tail
probabilities, the residuals beyond which a tail probability lies, densities; and parameters fitted to residuals.

A name that ``scipy.stats`` has is scipy's distribution with scipy's parameters: shapes, location, scale. Every hour
asks for the tails of every variable, so that the usual families go to ``scipy.special`` directly, without the checks
that ``scipy.stats`` makes at each call. Two names are our own:

``genpareto-tails``
    Student's t with 8 degrees of freedom, stretched on each side of the median by its own scale, so that it meets the
    5 % and the 95 % quantile of the residuals; beyond those, generalised Pareto tails, one for each side. The body
    needs no model then, and the tails are measured where they are. Fitted by probability-weighted moments, which
    always have a solution. Seventy excesses tell a shape badly, and a shape that is wrong by chance promises too
    little far more often than too much; so it is drawn towards that of t with 8 degrees of freedom, and kept between 0
    (exponential: no history shows a point beyond which nothing is possible) and 1/3 (t with 3 degrees of freedom).
    As the tails begin where the body ends, the distribution function has no jump.

``working-hours``
    Two non-central t: one for busy and one for quiet intervals. An interval is *busy* when more events than a
    threshold are expected of it. These are the working hours of the variable itself; no calendar is needed, and a
    holiday on which little is expected is quiet. The residual alone does not tell which of the two speaks, so every
    question takes what was expected, too. Where nothing is said of it, busy intervals are meant.

Sources:
    Generalised Pareto tails: J. Pickands, "Statistical inference using extreme order statistics", Annals of
    Statistics 3 (1975). Probability-weighted moments: J. R. M. Hosking, J. R. Wallis, "Parameter and quantile
    estimation for the generalized Pareto distribution", Technometrics 29 (1987).
    Non-central t: N. L. Johnson, S. Kotz, N. Balakrishnan, "Continuous Univariate Distributions", vol. 2, ch. 31.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Real = float | Floats
"""One number, or an array that broadcasts with the others."""

LEAST_RESIDUALS = 60
"""Residuals without which a distribution is not fitted."""
LEAST_SCALE = 0.2
"""A fitted scale below this share of the robust one has collapsed onto a spike."""
ROUNDING = 0.05
"""Standardised residuals are told apart this finely where a likelihood is slow."""
LEAST_DEGREES = 3.0
"""Degrees of freedom below which t is refused: its variance would rest on what has not been seen."""


class Family(Protocol):
    """What judging and drawing need of a distribution. Arguments broadcast; parameters are numbers or arrays."""

    name: str

    def tail(self, residuals: Real, parameters: Sequence[Real], expected: Real | None = None) -> Floats:
        """The smaller tail: probability, in [0, 0.5], of a residual at least this far out on its side.

        Args:
            residuals: any shape, in the group's transform; NaN stays.
            parameters: of the family.
            expected: events expected of each interval, or None for busy ones.
        """
        ...

    def between(self, tail: Real, parameters: Sequence[Real], expected: Real | None = None) -> tuple[Floats, Floats]:
        """The residuals beyond which each side's tail is smaller than this, lower and upper."""
        ...

    def density(self, residuals: Real, parameters: Sequence[Real]) -> Floats:
        """Of the history's residuals all together, busy and quiet."""
        ...


class Law:
    """A distribution of ``scipy.stats``: one law for all intervals."""

    least_residuals = LEAST_RESIDUALS

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def _scipy(self) -> Any:
        from scipy import stats

        return getattr(stats, self.name)

    # --- one law

    def fit(self, standard: Floats) -> tuple[float, ...]:
        """Parameters for standardised residuals (M,), by maximum likelihood.

        Raises:
            ValueError, RuntimeError, FloatingPointError, OverflowError: there is none that can be found.
        """
        return tuple(float(p) for p in self._scipy.fit(standard, **self._start()))

    def _start(self) -> dict[str, float]:
        return {}

    def refusal(self, parameters: Sequence[float]) -> str:
        """Why these parameters are not to be trusted for standardised residuals; '' when they are."""
        if not np.all(np.isfinite(parameters)):
            return "a parameter is not finite"
        if self.least_scale(parameters) < LEAST_SCALE:
            return f"its scale collapsed to {self.least_scale(parameters):.2g} of the robust scale"
        return ""

    def least_scale(self, parameters: Sequence[float]) -> float:
        """The smallest scale in the parameters."""
        return parameters[-1]

    def cdf(self, x: Real, *parameters: Real) -> Floats:
        """Probability of at most x; NaN where its digits are lost."""
        return np.asarray(self._scipy.cdf(x, *parameters))

    def sf(self, x: Real, *parameters: Real) -> Floats:
        """Probability of more than x; NaN where its digits are lost."""
        return np.asarray(self._scipy.sf(x, *parameters))

    def ppf(self, p: Real, *parameters: Real) -> Floats:
        """The x of which `cdf` says p."""
        return np.asarray(self._scipy.ppf(p, *parameters))

    def isf(self, p: Real, *parameters: Real) -> Floats:
        """The x of which `sf` says p."""
        return np.asarray(self._scipy.isf(p, *parameters))

    # --- as a `Family`: what is expected changes nothing

    def tail(
        self,
        residuals: Real,
        parameters: Sequence[Real],
        expected: Real | None = None,  # noqa: ARG002 - for families that ask
    ) -> Floats:
        r = np.asarray(residuals, dtype=np.float64)
        with np.errstate(all="ignore"):
            below, above = self.cdf(r, *parameters), self.sf(r, *parameters)
        # Far out, the non-central t gives NaN for one side or for both: then the other side tells, or none is left.
        lost = np.isnan(below) & np.isnan(above)
        below, above = np.where(np.isnan(below), 1 - above, below), np.where(np.isnan(above), 1 - below, above)
        tail = np.where(lost, 0.0, np.clip(np.minimum(below, above), 0.0, 0.5))
        return np.where(np.isnan(r), np.nan, tail)

    def between(
        self,
        tail: Real,
        parameters: Sequence[Real],
        expected: Real | None = None,  # noqa: ARG002 - for families that ask
    ) -> tuple[Floats, Floats]:
        with np.errstate(all="ignore"):
            lower, upper = self.ppf(tail, *parameters), self.isf(tail, *parameters)
        # Where digits are lost, nothing is told apart: no residual is that far out.
        return np.where(np.isnan(lower), -np.inf, lower), np.where(np.isnan(upper), np.inf, upper)

    def density(self, residuals: Real, parameters: Sequence[Real]) -> Floats:
        with np.errstate(all="ignore"):
            return np.asarray(self._scipy.pdf(residuals, *parameters))


class Mirrored(Law):
    """A law whose mirror image is of the same family: its upper tail is the image's lower one, with all its digits."""

    def mirrored(self, parameters: Sequence[Real]) -> tuple[Real, ...]:
        """Of -x, where these are the parameters of x."""
        *shapes, location, scale = parameters
        return (*shapes, -location, scale)

    def sf(self, x: Real, *parameters: Real) -> Floats:
        return self.cdf(-x, *self.mirrored(parameters))

    def isf(self, p: Real, *parameters: Real) -> Floats:
        return -self.ppf(p, *self.mirrored(parameters))


class Symmetric(Mirrored):
    """A law whose two tails are one, so that one question answers for both."""

    def tail(
        self,
        residuals: Real,
        parameters: Sequence[Real],
        expected: Real | None = None,  # noqa: ARG002 - for families that ask
    ) -> Floats:
        *shapes, location, scale = parameters
        with np.errstate(all="ignore"):
            return self.cdf(-np.abs(residuals - location), *shapes, 0.0, scale)


class Normal(Symmetric):
    """Parameters: location, scale."""

    def cdf(self, x: Real, *parameters: Real) -> Floats:
        from scipy import special

        location, scale = parameters
        return np.asarray(special.ndtr((x - location) / scale))

    def ppf(self, p: Real, *parameters: Real) -> Floats:
        from scipy import special

        location, scale = parameters
        return np.asarray(special.ndtri(p) * scale + location)


class WithDegrees(Mirrored):
    """A law whose first parameter is its degrees of freedom."""

    def _start(self) -> dict[str, float]:
        """From here the optimiser finds the bulk of standardised residuals, not a spike."""
        return {"loc": 0.0, "scale": 1.0}

    def refusal(self, parameters: Sequence[float]) -> str:
        if parameters[0] < LEAST_DEGREES:
            return f"{parameters[0]:.2g} degrees of freedom, fewer than {LEAST_DEGREES:g}"
        return super().refusal(parameters)


class StudentT(Symmetric, WithDegrees):
    """Parameters: degrees of freedom, location, scale."""

    def cdf(self, x: Real, *parameters: Real) -> Floats:
        from scipy import special

        degrees, location, scale = parameters
        return np.asarray(special.stdtr(degrees, (x - location) / scale))

    def ppf(self, p: Real, *parameters: Real) -> Floats:
        from scipy import special

        degrees, location, scale = parameters
        return np.asarray(special.stdtrit(degrees, p) * scale + location)


class NonCentralT(WithDegrees):
    """Parameters: degrees of freedom, non-centrality, location, scale."""

    def fit(self, standard: Floats) -> tuple[float, ...]:
        """By maximum likelihood of the residuals rounded to a twentieth of their scale: its density is so slow that
        counting equal ones makes the fit five times as fast, and moves it less than another sample would."""
        from scipy import optimize

        values, times = np.unique(np.round(standard / ROUNDING) * ROUNDING, return_counts=True)

        def surprise(parameters: Floats) -> float:
            degrees, _, _, scale = parameters
            if degrees <= 0 or scale <= 0:
                return np.inf
            total = float(-times @ np.log(self._scipy.pdf(values, *parameters)))
            return total if np.isfinite(total) else np.inf

        found = optimize.minimize(
            surprise, (8.0, 0.1, 0.0, 0.9), method="Nelder-Mead", options={"maxfev": 800, "xatol": 1e-3, "fatol": 1e-3}
        )
        return tuple(float(p) for p in found.x)

    def mirrored(self, parameters: Sequence[Real]) -> tuple[Real, ...]:
        degrees, centre, location, scale = parameters
        return degrees, -centre, -location, scale

    def cdf(self, x: Real, *parameters: Real) -> Floats:
        from scipy import special

        degrees, centre, location, scale = parameters
        return np.asarray(special.nctdtr(degrees, centre, (x - location) / scale))

    def ppf(self, p: Real, *parameters: Real) -> Floats:
        from scipy import special

        degrees, centre, location, scale = parameters
        return np.asarray(special.nctdtrit(degrees, centre, p) * scale + location)


# --- generalised Pareto tails -----------------------------------------------------------------------------------

TAIL = 0.05
"""Share of the residuals in each tail."""
BODY_DEGREES = 8.0
JOINT = 1.8595480375308983
"""Scales from the median to where a tail begins: the 95 % quantile of t with 8 degrees of freedom."""
SHAPES = (0.0, 1 / 3)
USUAL_SHAPE, USUAL_WEIGHT = 1 / 8, 40.0
"""Of t with 8 degrees of freedom, and the excesses that it weighs as much as."""
LEAST_EXCESSES = 20
"""In each tail; fewer do not tell its shape."""


class GeneralisedParetoTails(Mirrored):
    """Parameters: lower shape and spread, upper shape and spread, skew, location, scale.

    The body's scale is ``scale * (1 - skew)`` below the location (the median) and ``scale * (1 + skew)`` above.
    Spreads are in units of `scale`. Mirrored, it is of the same family.
    """

    least_residuals = int(LEAST_EXCESSES / TAIL)

    def fit(self, standard: Floats) -> tuple[float, ...]:
        low, middle, high = np.quantile(standard, [TAIL, 0.5, 1 - TAIL])
        left, right = (middle - low) / JOINT, (high - middle) / JOINT
        scale = (left + right) / 2
        if not scale > 0:
            raise ValueError("nine in ten residuals are equal")
        lower = pareto_tail((low - standard[standard < low]) / scale)
        upper = pareto_tail((standard[standard > high] - high) / scale)
        return (*lower, *upper, float((right - left) / (2 * scale)), float(middle), float(scale))

    def mirrored(self, parameters: Sequence[Real]) -> tuple[Real, ...]:
        lower, lower_spread, upper, upper_spread, skew, location, scale = parameters
        return upper, upper_spread, lower, lower_spread, -skew, -location, scale

    def least_scale(self, parameters: Sequence[float]) -> float:
        *_, skew, _, scale = parameters
        return scale * (1 - abs(skew))

    def cdf(self, x: Real, *parameters: Real) -> Floats:
        from scipy import special

        lower, lower_spread, upper, upper_spread, skew, location, scale = parameters
        z = (x - location) / scale
        left, right = 1 - skew, 1 + skew
        body = special.stdtr(BODY_DEGREES, z / np.where(z < 0, left, right))
        below, above = -JOINT * left - z, z - JOINT * right
        rest = TAIL * _beyond(above, upper, upper_spread)
        inside = np.where(above > 0, 1 - rest, np.clip(body, TAIL, 1 - TAIL))
        return np.where(below > 0, TAIL * _beyond(below, lower, lower_spread), inside)

    def ppf(self, p: Real, *parameters: Real) -> Floats:
        from scipy import special

        lower, lower_spread, upper, upper_spread, skew, location, scale = parameters
        share = np.asarray(p, dtype=np.float64)
        left, right = 1 - skew, 1 + skew
        body = special.stdtrit(BODY_DEGREES, np.clip(share, TAIL, 1 - TAIL))
        z = body * np.where(share < 0.5, left, right)
        z = np.where(share < TAIL, -JOINT * left - _beyond_which(share / TAIL, lower, lower_spread), z)
        z = np.where(share > 1 - TAIL, JOINT * right + _beyond_which((1 - share) / TAIL, upper, upper_spread), z)
        return np.asarray(z * scale + location)

    def density(self, residuals: Real, parameters: Sequence[Real]) -> Floats:
        from scipy import stats

        lower, lower_spread, upper, upper_spread, skew, location, scale = parameters
        z = (residuals - location) / scale
        left, right = 1 - skew, 1 + skew
        side = np.where(z < 0, left, right)
        with np.errstate(all="ignore"):
            body = stats.t.pdf(z / side, BODY_DEGREES) / side
            low = TAIL * stats.genpareto.pdf(-JOINT * left - z, lower, 0.0, lower_spread)
            high = TAIL * stats.genpareto.pdf(z - JOINT * right, upper, 0.0, upper_spread)
        found = np.where(z < -JOINT * left, low, np.where(z > JOINT * right, high, body))
        return np.asarray(found / scale)


def _beyond(distance: Real, shape: Real, spread: Real) -> Floats:
    """Share of a tail that is farther out than this distance from its joint."""
    from scipy import special

    y = np.maximum(distance, 0.0) / spread
    with np.errstate(all="ignore"):
        share = special.inv_boxcox(-y, -shape)
    return np.where(shape * y <= -1, 0.0, share)


def _beyond_which(share: Real, shape: Real, spread: Real) -> Floats:
    """The distance of which `_beyond` says this share."""
    from scipy import special

    return np.asarray(-special.boxcox(np.clip(share, 0.0, 1.0), -shape) * spread)


def pareto_tail(excesses: Floats) -> tuple[float, float]:
    """Shape, within `SHAPES`, and spread of a generalised Pareto distribution, by probability-weighted moments.

    The shape is drawn towards the usual one; the spread then keeps the mean excess.

    Args:
        excesses: (M,) positive distances from where the tail begins.

    Raises:
        ValueError: there are fewer than 10, as many equal residuals lie at the joint.
    """
    if excesses.size < LEAST_EXCESSES / 2:
        raise ValueError(f"{excesses.size} residuals beyond a joint, fewer than {LEAST_EXCESSES // 2}")
    y = np.sort(excesses)
    # Plotting positions (i - 0.35) / M, as Hosking and Wallis recommend.
    beyond = 1 - (np.arange(1, y.size + 1) - 0.35) / y.size
    mean, weighted = float(y.mean()), float((y * beyond).mean())
    shape = 2 - mean / (mean - 2 * weighted)
    drawn = (y.size * shape + USUAL_WEIGHT * USUAL_SHAPE) / (y.size + USUAL_WEIGHT)
    limited = float(np.clip(drawn, *SHAPES))
    return limited, mean * (1 - limited)


# --- busy and quiet intervals -----------------------------------------------------------------------------------


class WorkingHours:
    """Parameters: expected events beyond which an interval is busy, share of quiet intervals in the history, then
    the non-central t of quiet and that of busy intervals (4 each)."""

    name = "working-hours"

    def __init__(self, law: Law) -> None:
        self._law = law

    def tail(self, residuals: Real, parameters: Sequence[Real], expected: Real | None = None) -> Floats:
        _, _, *halves = parameters
        quiet, busy = halves[:4], halves[4:]
        if expected is None:
            return self._law.tail(residuals, busy)
        calm = _is_quiet(expected, parameters)
        own = [np.where(calm, q, b) for q, b in zip(quiet, busy, strict=True)]
        return self._law.tail(residuals, own)

    def between(self, tail: Real, parameters: Sequence[Real], expected: Real | None = None) -> tuple[Floats, Floats]:
        _, _, *halves = parameters
        lower, upper = self._law.between(tail, halves[4:])
        if expected is None:
            return lower, upper
        calm = _is_quiet(expected, parameters)
        quiet_lower, quiet_upper = self._law.between(tail, halves[:4])
        return np.where(calm, quiet_lower, lower), np.where(calm, quiet_upper, upper)

    def density(self, residuals: Real, parameters: Sequence[Real]) -> Floats:
        _, share, *halves = parameters
        quiet, busy = (self._law.density(residuals, half) for half in (halves[:4], halves[4:]))
        return np.asarray(share * quiet + (1 - share) * busy)


def _is_quiet(expected: Real, parameters: Sequence[Real]) -> NDArray[np.bool_]:
    return np.asarray(np.asarray(expected) <= parameters[0])


# --- by name ----------------------------------------------------------------------------------------------------

NCT = NonCentralT("nct")
T = StudentT("t")
WORKING_HOURS = WorkingHours(NCT)

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        NCT,
        T,
        Normal("norm"),
        GeneralisedParetoTails("genpareto-tails"),
        Law("skewnorm"),
        Law("johnsonsu"),
        Law("laplace"),
        Law("logistic"),
    )
}
"""Families of one law for all intervals."""

FAMILIES: dict[str, Family] = {**LAWS, WORKING_HOURS.name: WORKING_HOURS}
"""All that a group may ask for."""
