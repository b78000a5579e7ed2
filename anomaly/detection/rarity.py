"""How rare each row's evidence is among all that came before it.

In: one number per row, of any unit and any distribution. Out: its rarity in both directions, -log10 of the share of
earlier rows that were at least as far out, so that evidence of different kinds, and of different series, can be put
side by side.

No distribution is assumed where there are rows to count: inside what was seen, the tail probability is a conformal
rank. Beyond the outermost rows there is nothing to count, so that there the tail goes on as an exponential, with the
mean excess of the outermost rows as its scale. Counting alone would call everything beyond the maximum equally rare.

Sources:
    Conformal rank: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World" (2005), ch. 2.
    Excesses over a high threshold: J. Pickands, "Statistical Inference Using Extreme Order Statistics", Annals of
    Statistics 3 (1975); the exponential is the generalised Pareto distribution with shape 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

WARM_UP = 50
"""Rows that must have been seen before any is judged: a rank among fewer says nothing about 1 in 100."""
TAIL_SHARE = 0.05
TAIL_ROWS = 10
"""The tail that is extrapolated: the outermost 5 % of the rows, and no fewer than 10, which a mean excess needs."""
RAREST = 6.0
"""Rarity is cut here, at one row in a million. How much farther out a row is depends on the tail's shape, which
nobody knows; several kinds of evidence that agree say more than one that is absurdly large."""


class Rarity(NamedTuple):
    """What the past says of each row; NaN evidence has no rarity (0) and is not learnt from."""

    above: NDArray[np.float64]
    """(T,), in [0, 6]: -log10 of the probability of evidence at least as high."""
    below: NDArray[np.float64]
    """(T,), in [0, 6]: -log10 of the probability of evidence at least as low."""
    median: NDArray[np.float64]
    """(T,), in the evidence's unit: of the rows before; NaN before there are any."""


def running_rarity(evidence: ArrayLike, *, resolution: ArrayLike = 0.0) -> Rarity:
    """Rarity of each row among the rows before it.

    Args:
        evidence: (T,), any unit; NaN where there is none.
        resolution: (T,) or one number, >= 0, in the evidence's unit: differences below it mean nothing. It is the
            smallest scale of a tail, for evidence that never varied so far.
    """
    rows = np.asarray(evidence, dtype=np.float64)
    finest = np.broadcast_to(np.asarray(resolution, dtype=np.float64), rows.shape)
    above, below = np.ones(rows.size), np.ones(rows.size)
    median = np.full(rows.size, np.nan)
    seen: list[float] = []
    for t, row in enumerate(rows.tolist()):
        if math.isnan(row):
            continue
        count = len(seen)
        lower, upper = bisect_left(seen, row), bisect_right(seen, row)
        if count:
            median[t] = seen[count // 2]
        if count >= WARM_UP:
            above[t], below[t] = (count - lower + 1) / (count + 1), (upper + 1) / (count + 1)
            size = max(TAIL_ROWS, int(TAIL_SHARE * count))
            if lower >= count - size:
                above[t] = _beyond(seen[count - size - 1], row, seen[count - size :], count, finest[t])
            if upper <= size:
                below[t] = _beyond(seen[size], row, seen[:size], count, finest[t])
        seen.insert(upper, row)
    return Rarity(_rarity(above), _rarity(below), median)


def _beyond(start: float, row: float, tail: list[float], count: int, finest: float) -> float:
    """Probability of a row at least this far into the tail that begins after `start`, when `count` were seen."""
    scale = max(abs(sum(tail) / len(tail) - start), finest)
    share = (len(tail) + 1) / (count + 1)
    return share * math.exp(-abs(row - start) / scale) if scale > 0.0 else 0.0


def _rarity(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    rarity: NDArray[np.float64] = -np.log10(np.maximum(probability, 10.0**-RAREST))
    return rarity


def running_quantiles(rows: ArrayLike, probabilities: tuple[float, ...]) -> NDArray[np.float64]:
    """(P, T): quantiles of the rows before each row, NaN before there are `WARM_UP` of them.

    Args:
        rows: (T,), any unit; NaN is not learnt from.
        probabilities: (P,), each in [0, 1].
    """
    values = np.asarray(rows, dtype=np.float64)
    quantiles = np.full((len(probabilities), values.size), np.nan)
    seen: list[float] = []
    for t, row in enumerate(values.tolist()):
        if len(seen) >= WARM_UP:
            quantiles[:, t] = [seen[round(p * (len(seen) - 1))] for p in probabilities]
        if not math.isnan(row):
            insort(seen, row)
    return quantiles
