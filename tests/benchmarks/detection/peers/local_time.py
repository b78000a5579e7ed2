"""The hour of the local week, which the seasonal peers go by."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

WEEK = 168
_THURSDAY = 3
"""The weekday of 1 January 1970."""


def local_seconds(starts: NDArray[np.datetime64], zone: ZoneInfo) -> NDArray[np.int64]:
    """(N,) the wall clock of `zone`, in seconds as if it had never been changed."""
    seconds = starts.astype("datetime64[s]").astype(np.int64)
    offsets = [datetime.fromtimestamp(int(second), UTC).astimezone(zone).utcoffset() for second in seconds]
    return seconds + np.array([0 if one is None else int(one.total_seconds()) for one in offsets], dtype=np.int64)


def hour_of_week(starts: NDArray[np.datetime64], zone: ZoneInfo) -> NDArray[np.int64]:
    """(N,) 0 for the hour after Monday's midnight, to 167."""
    return (local_seconds(starts, zone) // 3600 + 24 * _THURSDAY) % WEEK
