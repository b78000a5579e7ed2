"""What windows may look at: the series itself, and series that follow from it.

In: transformed counts z (V, T), the starts of the intervals and the group's zone. Out: `Channels`, one (V, T) array
per name:

================  ==============================================================================================
``level``         z itself
``baseline``      the median of the same local time of the week over up to six weeks before
``rate``          the mean count around the same local time of the week over those weeks, with one part of the
                  latest week's mean, transformed
``deviation``     level - baseline
``outlook``       baseline + 0.7 of the mean deviation in the week that ended a day ago: what a day could be
                  expected to bring before it began
``contrast``      the mean of the same local time on the days of this kind, working or weekend, of four weeks, minus
                  the baseline: another opinion about the season, from more days and less alike
``mean-<k>``      the mean of the latest k deviations, this interval's included
================  ==============================================================================================

Baseline, rate, outlook and contrast are known ahead: a window may look at those of the interval that it predicts.
Why: a small network learns a departure from the season much better than the season itself, and the season of a
business variable is its week. Medians of the same local time are the oldest robust forecast there is; six of them are
robust against two odd weeks. Where events are rare the median is 0 and says nothing: there the mean is what waits can
be measured by.

Everything is causal: `settle` adds one interval, from what was known by then, in the same operations and the same
order of summation as the bulk computation, so that an hour alone and a year at once agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.windows import SameLocalTime, utc_offsets
from anomaly.groups.model import Transform

Floats = NDArray[np.float64]

LEVEL, BASELINE, RATE, DEVIATION, OUTLOOK = "level", "baseline", "rate", "deviation", "outlook"
CONTRAST = "contrast"
REMEMBERED = 0.7
"""Share of last week's mean deviation that an outlook takes over; the rest was weather."""
WEEKS = 6
_MEAN = "mean-"
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)
_BLOCK_BYTES = 64 * 2**20

_days = SameLocalTime(tuple(range(28, 0, -1)))
_weeks = SameLocalTime(tuple(7 * n for n in range(WEEKS, 0, -1)))


def mean_of(intervals: int) -> str:
    """The channel of means of this many deviations."""
    return f"{_MEAN}{intervals}"


def reach(names: Iterable[str], step: timedelta) -> timedelta:
    """How much before an interval its channels look, at most."""
    longest = timedelta(0)
    for name in names:
        if name != LEVEL:
            mean = int(name.removeprefix(_MEAN)) * step if name.startswith(_MEAN) else timedelta(0)
            mean = _WEEK + _DAY if name == OUTLOOK else mean
            longest = max(longest, mean + _weeks.reach(step) + step)
    return longest


class Channels:
    """Channels of V series that grow together.

    Args:
        z: (V, T), in the transform; a copy is kept and grows with `settle`.
        starts: (T,) datetime64[s], UTC.
        step: length of an interval.
        zone: the group's, for what "the same local time" means.
        names: the channels that are needed.
        transform: what z is in; the rate is a mean of counts.
        known: intervals of z that are settled; all when not given. The others are filled by `look` and `settle`.
    """

    def __init__(
        self,
        z: Floats,
        starts: NDArray[np.datetime64],
        step: timedelta,
        zone: ZoneInfo,
        names: Iterable[str],
        *,
        transform: Transform,
        known: int | None = None,
    ) -> None:
        wanted = {LEVEL, *names}
        settled = z.shape[1] if known is None else known
        self.level = z.astype(np.float64, copy=True)
        self.level[:, settled:] = np.nan
        self._arrays = {LEVEL: self.level}
        self._transform = transform
        self._week, self._day = max(1, _WEEK // step), _DAY // step
        if OUTLOOK in wanted:
            wanted.add(mean_of(self._week))
            self._arrays[OUTLOOK] = np.full(z.shape, np.nan)
        self._counts: Floats | None = None
        self._deviates = bool(wanted - {LEVEL, RATE})
        if wanted != {LEVEL}:
            self._lags = _weeks.lags(starts, step, zone)
        if RATE in wanted:
            self._arrays[RATE] = np.full(z.shape, np.nan)
            self._counts = np.full(z.shape, np.nan)
            self._counts[:, :settled] = transforms.inverse(self.level[:, :settled], transform)
        if CONTRAST in wanted:
            self._days, self._weekend = _days.lags(starts, step, zone), weekends(starts, zone)
            self._arrays[CONTRAST] = np.full(z.shape, np.nan)
        if self._deviates:
            self._arrays |= {name: np.full(z.shape, np.nan) for name in (BASELINE, DEVIATION)}
        self._means = sorted(int(name.removeprefix(_MEAN)) for name in wanted if name.startswith(_MEAN))
        self._arrays |= {mean_of(length): np.full(z.shape, np.nan) for length in self._means}
        self._fill(settled)

    def __getitem__(self, name: str) -> Floats:
        return self._arrays[name]

    def outlook(self, rare: NDArray[np.bool_], part: slice) -> Floats:
        """(V, n) what was expected of these intervals before their day began; of rare variables, their rate."""
        return np.asarray(np.where(rare[:, None], self[RATE][:, part], self[OUTLOOK][:, part]))

    def look(self, at: int) -> None:
        """What is known of an interval before it is."""
        self._look(slice(at, at + 1))

    def settle(self, at: int, z: Floats) -> None:
        """What the interval was, (V,); `look` came before it, and all earlier ones are settled."""
        self.level[:, at] = z
        if self._counts is not None:
            self._counts[:, at] = transforms.inverse(z, self._transform)
        self._settle(slice(at, at + 1))

    def _fill(self, settled: int) -> None:
        block = max(1, _BLOCK_BYTES // (8 * 3 * WEEKS * max(1, len(self.level))))
        parts = [slice(first, min(first + block, settled)) for first in range(0, settled, block)]
        if self._deviates:
            for part in parts:
                self[BASELINE][:, part] = nan_median(_at(self.level, self._back(part)))
            for part in parts:
                self._settle(part)
        for part in parts:
            self._look(part)

    def _look(self, part: slice) -> None:
        if self._deviates:
            self[BASELINE][:, part] = nan_median(_at(self.level, self._back(part)))
        if OUTLOOK in self._arrays:
            departed = _at(self[mean_of(self._week)], np.arange(part.start, part.stop) - self._day)
            self[OUTLOOK][:, part] = self[BASELINE][:, part] + REMEMBERED * np.nan_to_num(departed)
        if CONTRAST in self._arrays:
            self[CONTRAST][:, part] = self._alike(part) - self[BASELINE][:, part]
        if self._counts is not None:
            self[RATE][:, part] = transforms.forward(self._rates(self._counts, part), self._transform)

    def _settle(self, part: slice) -> None:
        if not self._deviates:
            return
        self[DEVIATION][:, part] = self.level[:, part] - self[BASELINE][:, part]
        total = np.zeros_like(self.level[:, part])
        for number, back in enumerate(range(max(self._means, default=0)), 1):
            total += _at(self[DEVIATION], np.arange(part.start, part.stop) - back)
            if number in self._means:
                self[mean_of(number)][:, part] = total / number

    def _back(self, part: slice) -> NDArray[np.int64]:
        return np.asarray(np.arange(part.start, part.stop)[:, None] - self._lags[part])

    def _alike(self, part: slice) -> Floats:
        """The mean of the same local time on earlier days that are of the same kind."""
        at = np.arange(part.start, part.stop)
        total, number = np.zeros((2, len(self.level), len(at)))
        for position in (at[:, None] - self._days[part]).T:
            alike = self._weekend[np.maximum(position, 0)] == self._weekend[at]
            _add(total, number, np.where(alike, _at(self.level, position), np.nan))
        with np.errstate(invalid="ignore"):
            return np.asarray(total / number)

    def _rates(self, counts: Floats, part: slice) -> Floats:
        at = np.arange(part.start, part.stop)
        level, known = np.zeros((2, len(counts), len(at)))
        for back in range(1, self._week + 1):
            _add(level, known, _at(counts, at - back))
        with np.errstate(invalid="ignore"):
            total = level / known  # NaN until there is one
        number = np.ones_like(total)
        for position in self._back(part).T:
            for beside in (-1, 0, 1):
                _add(total, number, _at(counts, np.minimum(position + beside, at - 1)))
        return total / number


def weekends(starts: NDArray[np.datetime64], zone: ZoneInfo) -> NDArray[np.bool_]:
    """(T,) whether an interval begins on a Saturday or Sunday of the zone."""
    seconds = starts.astype("datetime64[s]").astype(np.int64)
    days = (seconds + utc_offsets(seconds, zone)) // 86_400
    return np.asarray((days + 3) % 7 >= 5)  # 1970 began on a Thursday, three days after a Monday


def _at(series: Floats, positions: NDArray[np.int64]) -> Floats:
    """(V, …) at these positions along T; NaN before the beginning."""
    found = series[:, np.maximum(positions, 0)]
    found[:, positions < 0] = np.nan
    return found


def _add(total: Floats, number: Floats, values: Floats) -> None:
    known = np.isfinite(values)
    total += np.where(known, values, 0.0)
    number += known


def nan_median(values: Floats) -> Floats:
    """Median along the last axis of what is not NaN; NaN where all is. Without warnings, and fast for short axes."""
    ordered = np.sort(values, axis=-1)  # NaN come last
    known = np.isfinite(ordered).sum(axis=-1)
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, values.shape[-1] - 1)
    middle = [np.take_along_axis(ordered, at[..., None], -1)[..., 0] for at in (low, high)]
    return np.where(known > 0, (middle[0] + middle[1]) / 2, np.nan)
