"""Time on a group's grid: half-open ranges of whole intervals, in UTC.

In: aware datetimes and a fixed step. Out: `TimeRange`, whose ends lie on the grid that starts at the Unix
epoch (so that any two parties that know the step agree on every boundary).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.exceptions import InvalidRangeError

Starts = NDArray[np.datetime64]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor_to(moment: datetime, step: timedelta) -> datetime:
    """The latest grid boundary at or before `moment` (aware), in UTC."""
    return EPOCH + ((moment - EPOCH) // step) * step


def ceil_to(moment: datetime, step: timedelta) -> datetime:
    """The earliest grid boundary at or after `moment` (aware), in UTC."""
    return EPOCH - ((EPOCH - moment) // step) * step


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Whole intervals in ``[start, end)``. Both ends are aware, in UTC, on the grid, and start < end.

    Raises:
        InvalidRangeError: naive, reversed, empty, or off the grid.
    """

    start: datetime
    end: datetime
    step: timedelta

    def __post_init__(self) -> None:
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment.tzinfo is None:
                raise InvalidRangeError(
                    f"{name} is {moment.isoformat()}, which has no time zone; write it with an offset, "
                    f"for example {moment.isoformat()}+00:00"
                )
            if floor_to(moment, self.step) != moment:
                raise InvalidRangeError(
                    f"{name} is {moment.isoformat()}, which is not a boundary of {self.step} intervals; "
                    f"the nearest are {floor_to(moment, self.step).isoformat()} and "
                    f"{ceil_to(moment, self.step).isoformat()}"
                )
        if self.start >= self.end:
            what = "empty" if self.start == self.end else "reversed"
            raise InvalidRangeError(
                f"the range [{self.start.isoformat()}, {self.end.isoformat()}) is {what}; the start must be "
                "before the end, and the end is not part of the range"
            )
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    def __len__(self) -> int:
        """How many intervals."""
        return (self.end - self.start) // self.step

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return f"[{self.start:%Y-%m-%d %H:%M}, {self.end:%Y-%m-%d %H:%M}) UTC"

    def starts(self) -> Starts:
        """Start of every interval: (N,) datetime64[s], UTC."""
        first = np.datetime64(self.start.replace(tzinfo=None), "s")
        return first + np.arange(len(self)) * np.timedelta64(int(self.step.total_seconds()), "s")

    def widened(self, *, before: timedelta = timedelta(0)) -> TimeRange:
        """The same range, begun earlier by `before`, rounded out to the grid."""
        return TimeRange(floor_to(self.start - before, self.step), self.end, self.step)

    def chunks(self, intervals: int) -> Iterator[TimeRange]:
        """Consecutive ranges of at most `intervals` intervals that cover this one."""
        at = self.start
        while at < self.end:
            until = min(at + intervals * self.step, self.end)
            yield TimeRange(at, until, self.step)
            at = until


def to_datetime64(moment: datetime) -> np.datetime64:
    """An aware datetime as datetime64[s] in UTC."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "s")
