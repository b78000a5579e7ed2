"""Whether residuals still come from the distribution that the thresholds were made of.

In: per variable, residuals that its distribution was fitted to, and the latest ones, both in the same transform. Out:
the distance between the two empirical distributions, how likely one as large is by chance, and which variables have
drifted.

**The test** is Kolmogorov's and Smirnov's for two samples. Residuals of neighbouring intervals resemble each other,
so both samples count for fewer than they hold: ``n (1 - r) / (1 + r)``, with r the first autocorrelation of their
ranks, not below 0 (Bartlett's formula for a first-order process). Both samples cover whole weeks, so that busy and
quiet hours stand in both in the same shares.

**Many variables** are looked at together: by Benjamini's and Hochberg's procedure, at most `FALSE_DISCOVERIES` of
those that are found are expected to be chance.

**Small moves are none.** Residuals of small counts take few values, and all of them move a little when an expectation
does. So the distributions are compared up to a shift of `TOLERANCE` pooled standard deviations either way, as in
Lévy's distance; the probabilities are too large by that, never too small.

**How far matters, too.** With hundreds of residuals a difference that nobody would notice is significant. Below a
distance of `LEAST_DISTANCE` a variable has not drifted: 100 x D percent of the residuals would have to change sides.
An outage of a day among two weeks moves 7 %; a lasting change moves more. So incidents need no masking here.

Sources:
    N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", Ann. Math. Stat. 19 (1948).
    P. Lévy, "Calcul des probabilités" (1925): distributions that are close up to a small shift.
    M. S. Bartlett, "On the theoretical specification and sampling properties of autocorrelated time-series",
    Supplement to the J. R. Stat. Soc. 8 (1946).
    Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57 (1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FALSE_DISCOVERIES = 0.05
LEAST_DISTANCE = 0.2
TOLERANCE = 0.2
LEAST = 50
"""Residuals that either sample must hold."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drift:
    """Of V variables."""

    distances: Floats
    """(V,) largest difference of the two empirical distributions, in [0, 1], up to the tolerated shift; NaN where there
    is too little."""
    probabilities: Floats
    """(V,) of a distance at least this large by chance; NaN where there is too little."""
    drifted: NDArray[np.bool_]
    """(V,)"""


def drift(fitted: Sequence[Floats], latest: Sequence[Floats]) -> Drift:
    """Which of V variables have drifted.

    Args:
        fitted: (V,) of residuals in time, those that the distribution was fitted to.
        latest: (V,) of residuals in time. NaN is left out of both.
    """
    distances, probabilities = np.full(len(fitted), np.nan), np.full(len(fitted), np.nan)
    for row, (before, after) in enumerate(zip(fitted, latest, strict=True)):
        one, other = before[np.isfinite(before)], after[np.isfinite(after)]
        if min(len(one), len(other)) >= LEAST:
            distances[row] = _distance(one, other)
            probabilities[row] = _probability(distances[row], effective(one), effective(other))
    found = _discovered(probabilities) & (np.nan_to_num(distances) >= LEAST_DISTANCE)
    return Drift(distances, probabilities, found)


def effective(values: Floats) -> float:
    """How many independent values these are worth, from 2 to as many as there are."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
    centred = ranks - ranks.mean()
    spread = float(centred @ centred)
    r = max(0.0, float(centred[1:] @ centred[:-1]) / spread) if spread > 0 else 0.0
    return max(2.0, len(values) * (1 - r) / (1 + r))


def _distance(one: Floats, other: Floats) -> float:
    first, second = np.sort(one), np.sort(other)
    both = np.concatenate([first, second])
    tolerated = TOLERANCE * float(both.std())
    return max(0.0, _exceeds(first, second, both, tolerated), _exceeds(second, first, both, tolerated))


def _exceeds(low: Floats, high: Floats, at: Floats, tolerated: float) -> float:
    """How much more of `low` than of `high` lies up to a place, where the place of `high` is a little further on."""
    share, beyond = (
        np.searchsorted(part, at + further, side="right") / len(part)
        for part, further in ((low, 0.0), (high, tolerated))
    )
    return float((share - beyond).max())


def _probability(distance: float, n: float, m: float) -> float:
    """By Kolmogorov's limit, with Stephens' correction for samples that are not large."""
    root = math.sqrt(n * m / (n + m))
    at = (root + 0.12 + 0.11 / root) * distance
    if at < 0.3:
        return 1.0
    terms = [(-1) ** (k - 1) * math.exp(-2 * k * k * at * at) for k in range(1, 40)]
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def _discovered(probabilities: Floats) -> NDArray[np.bool_]:
    """(V,) by Benjamini's and Hochberg's procedure."""
    known = np.flatnonzero(np.isfinite(probabilities))
    found = np.zeros(len(probabilities), dtype=bool)
    if known.size:
        ordered = known[np.argsort(probabilities[known], kind="stable")]
        bars = FALSE_DISCOVERIES * np.arange(1, known.size + 1) / known.size
        below = np.flatnonzero(probabilities[ordered] <= bars)
        if below.size:
            found[ordered[: below[-1] + 1]] = True
    return found
