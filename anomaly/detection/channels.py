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
``beside``        the mean of the two intervals beside the same local time of the week, over up to six weeks, minus
                  the baseline: twelve opinions more about the season, from hours that are nearly alike
``contrast-beside``  the same for the days of this kind, of four weeks
``mean-<k>``      the mean of the latest k deviations, this interval's included
``carried-<k>``   the deviation to expect if the latest k intervals' share of their baselines goes on: a payday's
                  surplus is some percent of every hour, not so many events of every hour
================  ==============================================================================================

Baseline, rate, outlook, contrast, what is beside and what is carried on are known ahead: a window may look at those of
the interval that it predicts.
Why: a small network learns a departure from the season much better than the season itself, and the season of a
business variable is its week. Medians of the same local time are the oldest robust forecast there is; six of them are
robust against two odd weeks. Where events are rare the median is 0 and says nothing: there the mean is what waits can
be measured by.

Everything is causal: `settle` adds one interval, from what was known by then, in the same operations and the same
order of summation as the bulk computation, so that an hour alone and a year at once agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.medians import nan_median
from anomaly.detection.windows import SameLocalTime, utc_offsets
from anomaly.groups.model import Transform

Floats = NDArray[np.float64]

LEVEL, BASELINE, RATE, DEVIATION, OUTLOOK = "level", "baseline", "rate", "deviation", "outlook"
CONTRAST = "contrast"
BESIDE, CONTRAST_BESIDE = "beside", "contrast-beside"
REMEMBERED = 0.7
"""Share of last week's mean deviation that an outlook takes over; the rest was weather."""
WEEKS = 6
_MEAN, _CARRIED = "mean-", "carried-"
MOST_CARRIED = 3.0
"""Times its baseline: more than that is an incident, and nothing to go on with."""
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)
_BLOCK_BYTES = 64 * 2**20

_days = SameLocalTime(tuple(range(28, 0, -1)))
_weeks = SameLocalTime(tuple(7 * n for n in range(WEEKS, 0, -1)))


def mean_of(intervals: int) -> str:
    """The channel of means of this many deviations."""
    return f"{_MEAN}{intervals}"


def carried_from(intervals: int) -> str:
    """The channel of the share of so many intervals' baselines, carried on."""
    return f"{_CARRIED}{intervals}"


def reach(names: Iterable[str], step: timedelta) -> timedelta:
    """How much before an interval its channels look, at most."""
    longest = timedelta(0)
    for name in names:
        if name != LEVEL:
            mean = (_length(name) or 0) * step
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
        self._transform = transform
        self._week, self._day = max(1, _WEEK // step), _DAY // step
        if OUTLOOK in wanted:
            wanted.add(mean_of(self._week))
        self._deviates = bool(wanted - {LEVEL, RATE})
        if self._deviates:
            wanted |= {BASELINE, DEVIATION}
        self._names = sorted(wanted)
        self._stack = np.full((len(wanted), *z.shape), np.nan)
        self._arrays: dict[str, Floats] = dict(zip(self._names, self._stack, strict=True))
        self.level = self._arrays[LEVEL]
        self.level[:, :settled] = z[:, :settled]
        self._counts: Floats | None = None
        if wanted != {LEVEL}:
            self._lags = _weeks.lags(starts, step, zone)
        if RATE in wanted:
            self._counts = np.full(z.shape, np.nan)
            self._counts[:, :settled] = transforms.inverse(self.level[:, :settled], transform)
        if wanted & {CONTRAST, CONTRAST_BESIDE}:
            self._days, self._weekend = _days.lags(starts, step, zone), weekends(starts, zone)
        self._pairs = np.full(z.shape if wanted & {BESIDE, CONTRAST_BESIDE} else (len(z), 0), np.nan)
        self._carried = sorted(_length(name) or 0 for name in wanted if name.startswith(_CARRIED))
        self._shares = {length: np.full(z.shape, np.nan) for length in self._carried}
        self._means = sorted(_length(name) or 0 for name in wanted if name.startswith(_MEAN))
        self._fill(settled)

    def __getitem__(self, name: str) -> Floats:
        return self._arrays[name]

    def window(self, names: Sequence[str], rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Floats:
        """(P, …, L, F) of P rows, at positions (…, L, F) along T, each feature of the channel with its name; NaN before
        the beginning."""
        features = np.array([self._names.index(name) for name in names])
        each = rows.reshape(-1, *(1,) * positions.ndim)
        found = self._stack[features, each, np.maximum(positions, 0)]
        found[:, positions < 0] = np.nan
        return np.asarray(found)

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

    def run(self, part: slice, z: Floats) -> None:
        """Looks at intervals and settles them, (V, n), all at once; what was there before is forgotten."""
        self.level[:, part] = z
        if self._counts is not None:
            self._counts[:, part] = transforms.inverse(z, self._transform)
        if self._deviates:
            self[BASELINE][:, part] = nan_median(_at(self.level, self._back(part)))
            self._settle(part)
        self._look(part)

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
            self[CONTRAST][:, part] = self._alike(self.level, part) - self[BASELINE][:, part]
        if CONTRAST_BESIDE in self._arrays:
            self[CONTRAST_BESIDE][:, part] = self._alike(self._pairs, part, after=1) - self[BASELINE][:, part]
        if BESIDE in self._arrays:
            self[BESIDE][:, part] = self._beside(part) - self[BASELINE][:, part]
        for length, shares in self._shares.items():
            before = _at(shares, np.arange(part.start, part.stop) - 1)
            self[carried_from(length)][:, part] = before * (
                self[BASELINE][:, part] if self._transform is Transform.ANSCOMBE else 1.0
            )
        if self._counts is not None:
            self[RATE][:, part] = transforms.forward(self._rates(self._counts, part), self._transform)

    def _settle(self, part: slice) -> None:
        if not self._deviates:
            return
        self[DEVIATION][:, part] = self.level[:, part] - self[BASELINE][:, part]
        if self._pairs.size:
            middle = np.arange(max(part.start - 1, 1), max(part.stop - 1, 1))
            self._pairs[:, middle] = (self.level[:, middle - 1] + self.level[:, middle + 1]) / 2
        lengths = {*self._means, *self._carried}
        departed = _sums(_until(self[DEVIATION], part, max(lengths, default=1)), lengths)
        bases = _sums(_until(self[BASELINE], part, max(self._carried, default=1)), self._carried)
        for length in self._means:
            self[mean_of(length)][:, part] = departed[length] / length
        for length, shares in self._shares.items():
            whole = bases[length] if self._transform is Transform.ANSCOMBE else length
            shares[:, part] = np.minimum(departed[length] / whole, MOST_CARRIED)

    def _back(self, part: slice) -> NDArray[np.int64]:
        return np.asarray(np.arange(part.start, part.stop)[:, None] - self._lags[part])

    def _beside(self, part: slice) -> Floats:
        """The mean of the intervals beside the same local time of the week."""
        return _mean_of_known(_at(self._pairs, self._back(part)))

    def _alike(self, series: Floats, part: slice, *, after: int = 0) -> Floats:
        """The mean of the same local time on earlier days that are of the same kind.

        Args:
            series: (V, T).
            part: positions asked for.
            after: intervals after its own that a value of the series knows of; none may reach the one asked for.
        """
        at = np.arange(part.start, part.stop)[:, None]
        positions = at - self._days[part]
        alike = (self._weekend[np.maximum(positions, 0)] == self._weekend[at]) & (positions + after < at)
        return _mean_of_known(np.where(alike, _at(series, positions), np.nan))

    def _rates(self, counts: Floats, part: slice) -> Floats:
        latest = _until(counts, slice(part.start - 1, part.stop - 1), self._week)
        known = np.isfinite(latest)
        (level,) = _sums(np.where(known, latest, 0.0), [self._week]).values()
        (number,) = _sums(known.astype(np.float64), [self._week]).values()
        with np.errstate(invalid="ignore"):
            level = level / number  # NaN until there is one
        newest = np.arange(part.start, part.stop)[:, None, None] - 1
        beside = np.minimum(self._back(part)[..., None] + np.arange(-1, 2), newest)
        alike = _at(counts, beside.reshape(len(beside), -1))
        rates = _mean_of_known(np.concatenate([level[..., None], alike], axis=-1))
        return np.where(np.isfinite(level), rates, np.nan)


def _length(name: str) -> int | None:
    """Of the channels that look at so many intervals."""
    return next((int(name.removeprefix(kind)) for kind in (_MEAN, _CARRIED) if name.startswith(kind)), None)


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


def _until(series: Floats, part: slice, length: int) -> Floats:
    """(V, length - 1 + n) of (V, T): what windows of this length see that end at the part's n positions; NaN before
    the beginning."""
    first = part.start - length + 1
    found = series[:, max(first, 0) : max(part.stop, 0)]
    missing = part.stop - first - found.shape[1]
    if not missing:
        return found
    return np.concatenate([np.full((len(series), missing), np.nan), found], axis=1)


def _sums(values: Floats, lengths: Iterable[int]) -> dict[int, Floats]:
    """Per length k the sums of k values next to each other, (V, n), added up from the newest on, so that one position
    alone has to the last bit what it has among many.

    Args:
        values: (V, longest - 1 + n), by `_until`.
        lengths: k of one at least.
    """
    wanted = set(lengths)
    longest = max(wanted, default=1)
    number = values.shape[1] - longest + 1
    if number == 1:
        sums = values[:, ::-1].cumsum(axis=1) + 0.0  # the loop below has no -0 either
        return {length: sums[:, length - 1 : length] for length in wanted}
    found, total = {}, np.zeros((len(values), number))
    for length in range(1, longest + 1):
        total += values[:, longest - length : longest - length + number]
        if length in wanted:
            found[length] = total.copy()
    return found


def _mean_of_known(values: Floats) -> Floats:
    """Of what is not NaN along the last axis, in its order; NaN where all is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).cumsum(axis=-1)[..., -1]
    with np.errstate(invalid="ignore"):
        return np.asarray(total / known.sum(axis=-1))
