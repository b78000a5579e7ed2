"""Our own detector, as the benchmark calls it: one function, so that it is one place to change.

In: counts, (V, N), and how many of their intervals are history. Out: `Judged`, for all later intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.detection.peers.local_time import hour_of_week

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """All (V, N); what is before `train` is NaN or ''."""

    predicted: Floats
    """Events per interval."""
    tail_probability: Floats
    """In [0, 1], of the strongest test in this interval; NaN where not judged."""
    kinds: NDArray[np.str_]
    """'' for normal."""

    @property
    def scores(self) -> Floats:
        """Larger is more anomalous."""
        with np.errstate(divide="ignore"):
            return -np.log10(self.tail_probability)


def ours(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
    seed: int,
) -> Judged:
    """Stand-in until the walk is plugged in: the median of the hour of the week, Anscombe residuals, a normal tail."""
    from scipy.stats import norm

    z = 2 * np.sqrt(counts + 3 / 8)
    week = hour_of_week(starts, zone)
    predicted = np.full(z.shape, np.nan)
    for at in range(train, z.shape[1]):
        predicted[:, at] = np.median(z[:, :at][:, week[:at] == week[at]][:, -6:], axis=1)
    residuals = z - predicted
    scale = np.maximum(np.nanstd(residuals[:, train : train + 168], axis=1, keepdims=True), 0.7)
    tail_probability = 2 * norm.sf(np.abs(residuals) / scale)
    events = np.maximum((predicted / 2) ** 2 - 3 / 8, 0)
    kinds = np.where(tail_probability < 1e-4, np.where(residuals < 0, "drop", "surge"), "")
    return Judged(events, tail_probability, kinds.astype("<U16"))
