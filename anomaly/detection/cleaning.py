"""Which observed counts later windows must not see, so that an incident does not teach itself as normal.

In: where a variable was anomalous. Out: how long, and how often, that may be before what was observed is believed.

An anomalous interval is replaced, so that the hours after an outage are not predicted low and its end is not
told as a surge. But what stays different has become the new normal: once more than half of a week was
anomalous, observations count again, and the next windows and fits learn them. So has what comes back at the same time
a week later: a flight that is new on Saturdays is news once.

What people labelled as an incident, and nothing found anomalous at the time, is replaced by what is usual at that
interval of the week.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

MEMORY = timedelta(days=7)
PATIENCE = 0.5
"""Share of the last `MEMORY` that may be anomalous before the anomalies are believed."""


def patience(step: timedelta) -> tuple[int, int]:
    """Intervals in the memory, and how many of them may be anomalous."""
    memory = max(1, MEMORY // step)
    return memory, int(memory * PATIENCE)


def believed(anomalous: NDArray[np.bool_], at: int, step: timedelta) -> NDArray[np.bool_]:
    """(V,) whether an anomaly at this interval would repeat one of a week ago, give or take an interval.

    Args:
        anomalous: (V, T)
        at: index along T.
        step: length of an interval.
    """
    week = at - max(1, MEMORY // step)
    if week < 0:
        return np.zeros(len(anomalous), dtype=bool)
    return np.asarray(anomalous[:, max(week - 1, 0) : week + 2].any(axis=1))


def usual(counts: NDArray[np.float64], unlike: NDArray[np.bool_], step: timedelta) -> NDArray[np.float64]:
    """(V, T) the median of the same interval in all weeks, without those that are unlike; NaN where there is none.

    Args:
        counts: (V, T), NaN where unknown.
        unlike: (V, T) intervals that stand for nothing usual.
        step: length of an interval.
    """
    week = max(1, MEMORY // step)
    weeks = -(-counts.shape[1] // week)
    known = np.full((len(counts), weeks * week), np.nan)
    known[:, : counts.shape[1]] = np.where(unlike, np.nan, counts)
    ordered = np.sort(known.reshape(len(counts), weeks, week), axis=1)  # NaN last
    number = np.isfinite(ordered).sum(axis=1, keepdims=True)
    middle = [np.take_along_axis(ordered, np.maximum(at, 0), axis=1) for at in ((number - 1) // 2, number // 2)]
    median = np.where(number > 0, np.add(*middle) / 2, np.nan)
    return np.broadcast_to(median, ordered.shape).reshape(len(counts), -1)[:, : counts.shape[1]]
