"""When a variable is written: the shape of its days, weeks, months and years on the wall clock.

In: a `Pattern` and a `Clock`, the wall clock of a range cut into quarters of an hour. Out: the activity per interval,
(N,), as a multiple of the variable's mean rate. Over an ordinary week it averages 1; months and growth come on top.

Activity is looked up by the quarter of the local week, so an interval of a day is the sum of what its quarters hold
(23, 24 or 25 hours of them), and the office opens at eight in summer as in winter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.simulation.wall_clock import DAY, local_seconds, weekdays, weeks

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Daily = Literal["flat", "office", "evening", "commute", "night-batch"]
Monthly = Literal["none", "first-days", "payday", "last-days"]
DAILY: tuple[Daily, ...] = get_args(Daily)
MONTHLY: tuple[Monthly, ...] = get_args(Monthly)

_QUARTER = 900
_QUARTERS_OF_DAY = DAY // _QUARTER
_YEAR = 365.25 * DAY


@dataclass(frozen=True, slots=True)
class Pattern:
    """The shape of one variable's activity in time, local."""

    daily: Daily = "flat"
    shift_hours: float = 0.0
    """How much later than usual its day runs, in hours; negative for earlier."""
    night: float = 0.0
    """Least activity of a day as a share of the most, in [0, 1]. (``flat`` has none.)"""
    week: tuple[float, ...] = (1.0,) * 7
    """Activity of Monday to Sunday, at least 0, only their ratios matter. Zeros on the last two: weekends off."""
    monthly: Monthly = "none"
    """Which days of the month stand out: the 1st to 3rd, the 25th to 27th, or the last three."""
    month_boost: float = 0.0
    """How much more is written on those days, as a share: 0.5 is half as much again."""
    growth: float = 0.0
    """Per year, as a share: 0.2 makes a fifth more of the range's first day a year later. Above -1."""

    def __post_init__(self) -> None:
        if len(self.week) != 7 or min(self.week) < 0 or max(self.week) <= 0:
            raise ValueError(f"week is {self.week}; expected the activity of seven days, none negative, not all zero")
        if self.growth <= -1 or self.month_boost < -1 or not 0 <= self.night <= 1:
            raise ValueError(
                f"growth {self.growth}, month_boost {self.month_boost}, night {self.night}; "
                "expected above -1, at least -1, within [0, 1]"
            )

    def of_week(self) -> Floats:
        """Activity per quarter of an hour of the local week, from Monday's midnight: (672,), averages 1."""
        hours = (np.arange(_QUARTERS_OF_DAY) + 0.5) * _QUARTER / 3600
        day = _SHAPES[self.daily]((hours - self.shift_hours) % 24)
        if self.daily != "flat":
            day = self.night + (1 - self.night) * day / day.max()
        days = np.repeat(self.week, _QUARTERS_OF_DAY)
        week = _smoothed(days) * np.tile(day, 7)
        return np.asarray(week / week.mean())


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock of a range, computed once for all of its variables."""

    quarters: Integers
    """(N, S) quarter of the local week in each of the S equal parts of each interval."""
    days_from_first: Integers
    days_to_last: Integers
    """(N,) of the local day in its month; 0 on the month's first, and last, day."""
    weeks: Integers
    """(N,) number of the local week, which begins on Monday."""
    years: Floats
    """(N,) since the start of the range."""

    @classmethod
    def of(cls, starts: NDArray[np.datetime64], step: timedelta, zone: ZoneInfo) -> Clock:
        """For N intervals from `starts`, UTC, on the wall clock of `zone`."""
        length = int(step.total_seconds())
        parts = max(1, -(-length // _QUARTER))
        seconds = starts.astype("datetime64[s]").astype(np.int64)
        middles = seconds[:, None] + (2 * np.arange(parts) + 1) * length // (2 * parts)
        local = local_seconds(middles.ravel().astype("datetime64[s]"), zone).reshape(middles.shape)
        day = local[:, parts // 2] // DAY
        month = day.astype("datetime64[D]").astype("datetime64[M]")
        first = month.astype("datetime64[D]").astype(np.int64)
        after = (month + 1).astype("datetime64[D]").astype(np.int64)
        quarters = weekdays(local) * _QUARTERS_OF_DAY + local % DAY // _QUARTER
        return cls(quarters, day - first, after - 1 - day, weeks(day * DAY), (seconds - seconds[:1]) / _YEAR)

    def activity(self, pattern: Pattern) -> Floats:
        """Activity per interval as a multiple of the mean rate, at least 0: (N,)."""
        week = pattern.of_week()[self.quarters].mean(axis=1)
        boosted = np.where(self._stands_out(pattern.monthly), 1 + pattern.month_boost, 1.0)
        return np.asarray(week * boosted * (1 + pattern.growth) ** self.years)

    def _stands_out(self, monthly: Monthly) -> NDArray[np.bool_]:
        match monthly:
            case "none":
                return np.zeros(len(self.years), dtype=bool)
            case "first-days":
                return self.days_from_first < 3
            case "payday":
                return (self.days_from_first >= 24) & (self.days_from_first < 27)
            case "last-days":
                return self.days_to_last < 3


def _smoothed(week: Floats) -> Floats:
    """Saturday does not begin on the stroke of midnight: a moving mean over four hours, that meets itself on Monday."""
    half = 2 * 3600 // _QUARTER
    around = np.concatenate([week[-half:], week, week[:half]])
    return np.convolve(around, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid").clip(0)


def _bump(hours: Floats, at: float, width: float) -> Floats:
    """A bell around a time of day, both in hours, that meets itself across midnight."""
    return np.exp((np.cos((hours - at) * np.pi / 12) - 1) / (np.pi * width / 12) ** 2)


def _office(hours: Floats) -> Floats:
    """Eight to half past five, with people who come early and stay late, and a dip at lunch."""
    open_share = 1 / (1 + np.exp(-(hours - 8) / 0.4)) - 1 / (1 + np.exp(-(hours - 17.5) / 0.6))
    return np.asarray(np.clip(open_share, 0, None) * (1 - 0.25 * _bump(hours, 12.5, 0.8)))


_SHAPES: Mapping[Daily, Callable[[Floats], Floats]] = {
    "flat": np.ones_like,
    "office": _office,
    "evening": lambda hours: 0.55 * _bump(hours, 13, 3.5) + _bump(hours, 20, 2.2),
    "commute": lambda hours: _bump(hours, 8, 1.3) + 0.35 * _bump(hours, 13, 3) + 0.9 * _bump(hours, 18, 1.8),
    "night-batch": lambda hours: np.where((hours >= 2) & (hours < 5), 1.0, 0.0),
}
