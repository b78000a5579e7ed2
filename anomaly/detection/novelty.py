"""Whether the last rows look like anything seen before.

In: a series. Out: for each row, the distance from the rows that end there to the most similar rows of the past. A
shape that never occurred (a day without its rise, an oscillation) is far from everything even when each of its values
is ordinary.

This is the left matrix profile, without normalisation: a gauge's level and amplitude belong to its shape, and on a
flat stretch normalised noise would be compared with noise. The squared distance at each lag follows from that of the
row before by one square that enters and one that leaves, so that a row costs as many operations as there are earlier
rows, whatever the stretch's length.

Sources:
    C.-C. M. Yeh et al., "Matrix Profile I", ICDM 2016; Y. Zhu et al., "Matrix Profile II", ICDM 2016, for distances
    that follow from those of the row before; Y. Lu et al., "DAMP", KDD 2022, for looking to the left only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MEMORY = 20_000
"""Stretches that are remembered: bounds a row's cost for series of any length."""


def nearest_past_distance(values: ArrayLike, width: int, *, memory: int = MEMORY) -> NDArray[np.float64]:
    """(T,): Euclidean distance from the last `width` rows to their nearest earlier ones, in the values' unit.

    Only stretches that do not overlap the last rows count. NaN until there are `width` such stretches, that is for
    the first 3 * width - 2 rows. Exact but for the rounding of sums: about 1e-7 of the largest value.

    Args:
        values: (T,), finite.
        width: rows of a stretch, at least 1.
        memory: stretches that are remembered, the latest ones, at least `width`.
    """
    series = np.asarray(values, dtype=np.float64)
    size = series.size
    distance = np.full(size, np.nan)
    lags = min(size, width + memory)
    backwards = series[::-1].copy()  # then the rows at lags 0, 1, 2, … lie in this order
    squares, entering = np.zeros(lags), np.empty(lags)
    for t in range(size):
        reach = min(t + 1, lags)
        change = entering[:reach]
        np.subtract(backwards[size - 1 - t :][:reach], series[t], out=change)
        squares[:reach] += np.square(change, out=change)
        gone = t - width
        if gone >= 0:
            reach = min(gone + 1, lags)
            change = entering[:reach]
            np.subtract(backwards[size - 1 - gone :][:reach], series[gone], out=change)
            squares[:reach] -= np.square(change, out=change)
        complete = min(t - width + 2, lags)
        if complete >= 2 * width:
            distance[t] = np.sqrt(max(float(squares[width:complete].min()), 0.0))
    return distance
