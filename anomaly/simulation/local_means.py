"""What is usual for a variable at each time of its local week, from its counts alone.

In: counts, real or simulated. Out: a mean per interval that stands in for the true one where nobody knows it.

Each count is first pulled to within three scales of the median of its time of the week, so that a past incident
hardly moves the mean; the scale is the median absolute deviation, or what Poisson noise alone would give where that
is more. (A trimmed mean would call everything below one event in ten hours silent.) Looks at the whole series, past
and future: good for making incidents, not for finding them.
"""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.simulation.wall_clock import DAY, local_seconds, middles

_SCALES = 3.0
_MAD_TO_DEVIATION = 1.4826
"""Of a normal distribution."""
_MONDAY = 3 * DAY
"""Local seconds count from a Thursday; so much later they are a whole number of weeks from a Monday."""


def local_means(
    counts: NDArray[np.int64], starts: NDArray[np.datetime64], step: timedelta, zone: ZoneInfo
) -> NDArray[np.float64]:
    """Usual events per interval: (V, N).

    Args:
        counts: (V, N).
        starts: (N,), UTC.
        step: length of an interval.
        zone: whose wall clock makes the week.
    """
    local = local_seconds(middles(starts, step), zone)
    slots = (local + _MONDAY) % (7 * DAY) // int(step.total_seconds())
    means = np.empty(counts.shape)
    for slot in np.unique(slots):
        same = slots == slot
        means[:, same] = _robust_mean(counts[:, same].astype(np.float64))
    return means


def _robust_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row: (V, W) to (V, 1)."""
    middle = np.median(values, axis=1, keepdims=True)
    spread = _MAD_TO_DEVIATION * np.median(np.abs(values - middle), axis=1, keepdims=True)
    reach = _SCALES * np.maximum(spread, np.sqrt(middle + 1))
    return np.asarray(np.clip(values, middle - reach, middle + reach).mean(axis=1, keepdims=True))
