"""elementary's volume anomaly test: the z-score within the bucket of the season.

Re-implemented from its documentation and defaults (the dbt package, July 2026), because it runs inside a data
warehouse: ``seasonality: hour_of_week`` for hourly buckets, a training period of 14 occurrences (14 days, times seven
with a weekly season), mean and sample standard deviation of the training period with the judged value included, a
score of 0 where the standard deviation is 0 and none where there is one value. Its default sensitivity is 3; here the
threshold is swept.
"""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.detection.peers.local_time import hour_of_week

OCCURRENCES = 14


def score(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
) -> NDArray[np.float64]:
    """(V, N), NaN before `train`."""
    scores = np.full(counts.shape, np.nan)
    week = hour_of_week(starts, zone)
    for hour in np.unique(week):
        same = np.flatnonzero(week == hour)
        for place, at in enumerate(same):
            if at < train or place == 0:
                continue
            period = counts[:, same[max(0, place + 1 - OCCURRENCES) : place + 1]].astype(np.float64)
            deviation = period.std(axis=1, ddof=1)
            distance = np.abs(counts[:, at] - period.mean(axis=1))
            scores[:, at] = np.divide(distance, deviation, out=np.zeros(len(counts)), where=deviation > 0)
    return scores
