"""What a network is shown before it predicts an interval: a window of earlier counts, declared as lags.

In: a `WindowSpec`, the starts of the intervals to predict, the interval's length and the group's time zone.
Out: `lags`, whole numbers of intervals to look back, (N, L, F); and with them `gather` cuts the windows out of the
series they look at (`anomaly.detection.channels`), (V, N, L, F).

Lags are numbers and not moments because then a window of a thousand variables is one indexing operation, and
because a lag that is at least 1 cannot look at the interval it predicts. Seasonal lags follow the clock on the
wall of the group's zone: "the same time yesterday" is 23 or 25 hours ago when the clock was changed in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Starts = NDArray[np.datetime64]
Lags = NDArray[np.int64]

_DAY = 86_400
_ZONE_CHANGE = timedelta(hours=2)
"""No zone's clock jumps by more, short of moving the date line."""
_OFFSET_GRID = 900
"""Seconds. Zones change their offset on whole quarters of an hour, UTC."""


@dataclass(frozen=True, slots=True)
class Recent:
    """One feature: the `length` most recent intervals, oldest first."""

    length: int
    channel: str = "level"

    def lags(self, starts: Starts, step: timedelta, zone: ZoneInfo) -> Lags:  # noqa: ARG002
        """(N, length)"""
        back = np.arange(self.length, 0, -1, dtype=np.int64)
        return np.broadcast_to(back, (len(starts), self.length))

    def reach(self, step: timedelta) -> timedelta:
        return self.length * step

    def nearest(self, step: timedelta) -> timedelta:
        return step


@dataclass(frozen=True, slots=True)
class Back:
    """One feature of length 1: a channel so many intervals ago; 0 for what is known ahead."""

    intervals: int
    channel: str

    @property
    def length(self) -> int:
        return 1

    def lags(self, starts: Starts, step: timedelta, zone: ZoneInfo) -> Lags:  # noqa: ARG002
        """(N, 1)"""
        return np.full((len(starts), 1), self.intervals, dtype=np.int64)

    def reach(self, step: timedelta) -> timedelta:
        return self.intervals * step

    def nearest(self, step: timedelta) -> timedelta:
        return self.intervals * step


@dataclass(frozen=True, slots=True)
class SameLocalTime:
    """One feature: the same time on the wall clock, each of `days` days ago, oldest first."""

    days: tuple[int, ...]
    channel: str = "level"

    @property
    def length(self) -> int:
        return len(self.days)

    def lags(self, starts: Starts, step: timedelta, zone: ZoneInfo) -> Lags:
        """(N, length). Where the clock skipped that time, the interval nearest to it; never less than 1."""
        seconds = _seconds(starts)
        now = utc_offsets(seconds, zone)
        columns = []
        for days in self.days:
            guess = seconds - days * _DAY
            back = days * _DAY - now + utc_offsets(guess, zone)
            columns.append(np.maximum(np.rint(back / step.total_seconds()).astype(np.int64), 1))
        return np.stack(columns, axis=1)

    def reach(self, step: timedelta) -> timedelta:
        return timedelta(days=max(self.days)) + _ZONE_CHANGE + step

    def nearest(self, step: timedelta) -> timedelta:
        return timedelta(days=min(self.days)) + _ZONE_CHANGE + step


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """An input of L steps by F features: one column of L lags for each feature."""

    columns: tuple[Recent | SameLocalTime | Back, ...]

    def __post_init__(self) -> None:
        lengths = {column.length for column in self.columns}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"columns have lengths {sorted(lengths)}; expected one length above zero for all")

    @property
    def channels(self) -> tuple[str, ...]:
        """(F,) what each feature looks at."""
        return tuple(column.channel for column in self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(L, F)"""
        return self.columns[0].length, len(self.columns)

    def reach(self, step: timedelta) -> timedelta:
        """How much before an interval's start must be known for its window to be complete; at most."""
        return max(column.reach(step) for column in self.columns)

    def nearest(self, step: timedelta) -> timedelta:
        """How much before an interval's start must be known for its window to hold anything; at most."""
        return min(column.nearest(step) for column in self.columns)

    def lags(self, starts: Starts, step: timedelta, zone: ZoneInfo) -> Lags:
        """Whole intervals to look back, all at least 1: (N, L, F).

        Args:
            starts: (N,) starts of the intervals to predict, datetime64[s] in UTC.
            step: length of an interval.
            zone: the group's, for what "the same time" means.
        """
        return np.stack([column.lags(starts, step, zone) for column in self.columns], axis=2)


def season(step: timedelta) -> int:
    """Days after which counts repeat: 1, or 7 when an interval is a whole day."""
    return 7 if step >= timedelta(days=1) else 1


def recent_and_seasonal(step: timedelta, *, length: int = 7) -> WindowSpec:
    """The `length` latest intervals, beside the same local time in the `length` seasons before."""
    return WindowSpec((Recent(length), SameLocalTime(tuple(n * season(step) for n in range(length, 0, -1)))))


def same_time_in_weeks(step: timedelta, *, weeks: int = 4) -> WindowSpec:  # noqa: ARG001
    """The same local time on the same day of the week, in the `weeks` weeks before."""
    return WindowSpec((SameLocalTime(tuple(7 * n for n in range(weeks, 0, -1))),))


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a candidate is shown of V series, scaled: one series for each feature, or one for all of them."""

    features: tuple[NDArray[np.floating], ...]
    """F arrays (V, T), or a single one that every feature looks at."""
    target: NDArray[np.floating]
    """(V, T) what is to be predicted."""

    @classmethod
    def of(cls, series: NDArray[np.floating] | Inputs) -> Inputs:
        """The inputs of candidates that look at nothing but the series they predict."""
        return series if isinstance(series, Inputs) else cls((series,), series)

    def take(self, rows: NDArray[np.int64]) -> Inputs:
        """Those of some of the variables, in float32, which networks compute in."""
        target = self.target[rows].astype(np.float32)
        features = (target if f is self.target else f[rows].astype(np.float32) for f in self.features)
        return Inputs(tuple(features), target)

    def __len__(self) -> int:
        return len(self.target)


def seasonal_rate(step: timedelta) -> WindowSpec:  # noqa: ARG001
    """The mean count around the same local time of the week, as the channel ``rate`` has it."""
    return WindowSpec((Back(0, "rate"),))


def season_and_day(step: timedelta) -> WindowSpec:
    """The baseline, and how the latest day's aggregate departed from its own: a day unlike its kind, taken as it is."""
    return WindowSpec((Back(0, "baseline"), Back(1, f"mean-{max(1, timedelta(days=1) // step)}")))


def departures(step: timedelta) -> WindowSpec:
    """How the series departed from its baseline: in the latest intervals, around this time yesterday, a week ago, and
    on average over 3, 12, 24 and 168 hours, and what it would be if the latest interval's and the latest day's share of
    their baselines went on; beside the baseline of the interval itself, and what the intervals beside it, and the days
    of its kind, say otherwise. One step, as many features.

    New features are added at the end: a network that was made before them is shown the ones that it knows.
    """
    day, week = timedelta(days=1) // step, timedelta(days=7) // step
    lags = sorted({1, 2, day - 1, day, day + 1, week} - {0})
    means = sorted({max(1, round(timedelta(hours=hours) / step)) for hours in (3, 12, 24, 168)} - {1})
    return WindowSpec(
        (
            Back(0, "baseline"),
            Back(0, "contrast"),
            *(Back(lag, "deviation") for lag in lags),
            *(Back(1, f"mean-{intervals}") for intervals in means),
            Back(0, "beside"),
            Back(0, "contrast-beside"),
            *(Back(0, f"carried-{intervals}") for intervals in sorted({1, max(1, day)})),
        )
    )


def gather(series: NDArray[np.floating] | Inputs, at: NDArray[np.int64], lags: Lags) -> NDArray[np.float32]:
    """Cuts windows out of series: (V, N, L, F) float32.

    Args:
        series: (V, T), one value per interval; or what each feature looks at.
        at: (N,) index along T of the intervals to predict; T itself is the interval after the last.
        lags: (N, L, F), at least 1; 0 only for features that are known ahead. What lies before the series'
            beginning is NaN.

    Raises:
        ValueError: a lag below 1 into the series that is to be predicted.
    """
    inputs = Inputs.of(series)
    least = 1 if inputs.features[0] is inputs.target else 0
    if lags.size and lags.min() < least:
        raise ValueError(f"a lag is {lags.min()}; expected at least {least}, or the window sees what it predicts")
    positions = at[:, None, None] - lags
    if len(inputs.features) == 1:
        windows = inputs.features[0].astype(np.float32)[:, np.maximum(positions, 0)]
    else:
        windows = np.empty((len(inputs), *positions.shape), np.float32)
        for f, feature in enumerate(inputs.features):
            windows[..., f] = feature.astype(np.float32)[:, np.maximum(positions[..., f], 0)]
    windows[:, positions < 0] = np.nan
    return windows


def utc_offsets(seconds: NDArray[np.int64], zone: ZoneInfo) -> NDArray[np.int64]:
    """Seconds that the zone's wall clock is ahead of UTC at each of these Unix times; any shape."""
    quarters, back = np.unique(seconds // _OFFSET_GRID, return_inverse=True)
    offsets = [_offset(int(quarter) * _OFFSET_GRID, zone) for quarter in quarters]
    return np.array(offsets, dtype=np.int64)[back].reshape(seconds.shape)


@lru_cache(maxsize=2**17)
def _offset(second: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _seconds(starts: Starts) -> NDArray[np.int64]:
    return starts.astype("datetime64[s]").astype(np.int64)
