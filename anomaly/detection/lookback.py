"""How far back the test looked that found an anomaly, and what was observed there.

In: the name of a test, and a variable's counts around an anomaly. Out: stretches of time and sums, for people.

=============  ================================================  ===================================================
test           looks at                                          told as
=============  ================================================  ===================================================
``single``     the interval                                      312 instead of 1,240
``sum-24``     the sum over the 24 intervals up to it            the same over 24 h, each interval summed once
``frozen``     the run of equal counts up to it                  the same count for 9 h
``silence``    the time since the last write                     nothing for 9 h; usually at most 2 h
``level``      the sum over the three days up to it              the same over 3 days, as another level
``together``   the interval, with those of other variables       as ``single``
=============  ================================================  ===================================================
"""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.evidence import FROZEN, LEVEL, LEVEL_REACH, SILENCE

Floats = NDArray[np.float64]

ALWAYS_ENOUGH = frozenset({FROZEN, SILENCE, LEVEL})
"""Tests that look back as far as it takes: one of their anomalies says that something has been wrong for long."""
USUAL = 0.99
"""Share of a variable's intervals in which the last write was at most the usual time ago."""
_SUM = re.compile(r"sum-([1-9]\d*)")


def is_sum(test: str) -> bool:
    """Whether the test sums over a fixed number of intervals."""
    return test == LEVEL or _SUM.fullmatch(test) is not None


def lookback(test: str, step: timedelta) -> timedelta:
    """Length of the stretch, ending with the anomalous interval, that the test's name tells: one interval or more."""
    if test == LEVEL:
        return max(step, LEVEL_REACH // step * step)
    summed = _SUM.fullmatch(test)
    return step * int(summed[1]) if summed else step


def covered(anomalous: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The intervals that at least one anomaly looked at: (N,).

    Args:
        anomalous: (N,).
        lengths: (N,) intervals, at least 1, that the test of each anomaly looked at; elsewhere of no matter.
    """
    marks = np.zeros(len(anomalous) + 1, dtype=np.int64)
    at = np.flatnonzero(anomalous)
    np.add.at(marks, np.maximum(at + 1 - lengths[at], 0), 1)
    np.add.at(marks, at + 1, -1)
    return np.cumsum(marks[:-1]) > 0


def same_for(values: Floats) -> int:
    """Intervals, at the end of (N,) values, in which the value was the last one's; 0 when that is unknown."""
    if not len(values) or not np.isfinite(values[-1]):
        return 0
    different = np.flatnonzero(~(values == values[-1]))
    return len(values) - 1 - int(different[-1]) if len(different) else len(values)


def quiet_for(counts: Floats) -> tuple[int, int | None]:
    """Intervals without a write at the end of (N,) counts, and how many are usual; None when nothing tells.

    Usual is what the time since the last write did not exceed in 99 of 100 intervals before the last write.
    """
    written = np.flatnonzero(counts > 0)
    if not len(written):
        return len(counts), None
    last = int(written[-1])
    positions = np.arange(int(written[0]), last + 1)
    latest = np.maximum.accumulate(np.where(counts[positions] > 0, positions, 0))
    usual = int(np.quantile(positions - latest, USUAL, method="higher"))
    return len(counts) - 1 - last, usual
