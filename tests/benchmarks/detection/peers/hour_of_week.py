"""The median of the hour of the week and the median absolute deviation from it: what most people write first.

Of the last eight occurrences of the same local hour of the week, not counting the current one. The score is the
distance from their median in robust standard deviations (1.4826 MAD), at least one event: without that floor a single
event in a quiet hour is infinitely unusual.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.detection.peers.local_time import hour_of_week

WEEKS = 8
_TO_STANDARD_DEVIATION = 1.4826


def score(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
) -> NDArray[np.float64]:
    """(V, N), NaN before `train`."""
    scores = np.full(counts.shape, np.nan)
    for at, earlier in _same_hours(counts, starts, zone, train):
        middle = np.median(earlier, axis=1)
        deviation = np.median(np.abs(earlier - middle[:, None]), axis=1)
        scores[:, at] = np.abs(counts[:, at] - middle) / np.maximum(_TO_STANDARD_DEVIATION * deviation, 1)
    return scores


def median_of_hour_of_week(
    counts: NDArray[np.int64], starts: NDArray[np.datetime64], zone: ZoneInfo, train: int
) -> NDArray[np.float64]:
    """The median itself, as a forecast: (V, N), NaN before `train`."""
    predicted = np.full(counts.shape, np.nan)
    for at, earlier in _same_hours(counts, starts, zone, train):
        predicted[:, at] = np.median(earlier, axis=1)
    return predicted


def _same_hours(
    counts: NDArray[np.int64], starts: NDArray[np.datetime64], zone: ZoneInfo, train: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each interval from `train` on that has any, and the counts of the last same hours before it, (V, <= WEEKS)."""
    week = hour_of_week(starts, zone)
    for hour in np.unique(week):
        same = np.flatnonzero(week == hour)
        for place, at in enumerate(same):
            if at >= train and place > 0:
                yield int(at), counts[:, same[max(0, place - WEEKS) : place]]
