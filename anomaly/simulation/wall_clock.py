"""What the clock on the wall of a zone shows: people and their pipelines follow it, the grid of intervals does not.

In: moments in UTC and a zone. Out: the same moments as local seconds, days and weekdays. Local seconds are counted
as if the wall clock had run since 1970 without a change, so that plain division finds the local day and time of day;
on the day the clock is put back an hour of them occurs twice, on the day it is put forward an hour is skipped.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

DAY = 86_400
"""Seconds, on the wall clock."""
_OFFSET_GRID = 900
"""Seconds. Zones change their offset on whole quarters of an hour, UTC."""
_THURSDAY = 3
"""Weekday of 1 January 1970, Monday being 0."""


def local_seconds(starts: NDArray[np.datetime64], zone: ZoneInfo) -> Integers:
    """The wall clock at each moment, in seconds: (N,).

    Args:
        starts: (N,) moments, UTC.
        zone: whose clock.
    """
    seconds = starts.astype("datetime64[s]").astype(np.int64)
    quarters, back = np.unique(seconds // _OFFSET_GRID, return_inverse=True)
    offsets = [_offset(int(quarter) * _OFFSET_GRID, zone) for quarter in quarters]
    return seconds + np.array(offsets, dtype=np.int64)[back]


def _offset(second: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def middles(starts: NDArray[np.datetime64], step: timedelta) -> NDArray[np.datetime64]:
    """The middle of each interval, to the second: what decides on which day an interval counts."""
    seconds = starts.astype("datetime64[s]").astype(np.int64) + int(step.total_seconds()) // 2
    return seconds.astype("datetime64[s]")


def weekdays(local: Integers) -> Integers:
    """0 for Monday to 6 for Sunday, of local seconds; any shape."""
    return (local // DAY + _THURSDAY) % 7


def weeks(local: Integers) -> Integers:
    """Number of the week, from Monday, of local seconds; any shape."""
    return (local // DAY + _THURSDAY) // 7
