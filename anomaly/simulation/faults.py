"""What breaks: one function for each kind of incident, from a place in a series to the counts written instead.

In: a `Series`, a generator and the index where the incident is to begin. Out: a `Change`, or nothing where this kind
cannot happen in that place. Events are lost one by one, by chance (binomial thinning): what is left of 3 events is a
whole number, and varies as real losses do. Extra events come on top as a Poisson number about the mean.

================ ============================================================ ==========================
kind             what happens                                                 magnitude
================ ============================================================ ==========================
``zero``         nothing is written for 2 to 24 hours                         share lost: 1
``drop``         30 to 80 % of the events are lost for 4 to 24 hours          share lost
``surge``        1.6 to 4 times as many for 2 to 12 hours                     factor
``duplicates``   every event is written twice for 2 to 24 hours               factor: 2
``spike``        3 to 10 times as many in one or two intervals                factor
``drift``        losses grow from none to 40 to 80 % over 3 to 7 days         share lost at the end
``frozen``       the last count repeats for 6 to 36 intervals                 the count
``delay``        nothing for 2 to 8 hours, then all of it in one or two       intervals of silence
                 intervals, beside what is due in them
``wrong-day``    a weekday is written like a weekend day, or the reverse      events ÷ usual events
``type-missing`` one entity type with 15 to 50 % of the events is missing     share lost
                 for 12 to 48 hours
================ ============================================================ ==========================

To add a kind: a function here and a line in `FAULTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.simulation.wall_clock import DAY, weekdays

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_HOUR = timedelta(hours=1)
_CHANCE_OF_FREEZING = 1e-4
"""A frozen stretch is at least so long that the variable would do the same on its own less often than this."""
_LONGEST_FREEZE = 36
_DIFFERENT_DAYS = 0.25
"""Days whose means are nearer than this share of the busier are alike, whatever the calendar says."""


@dataclass(frozen=True, slots=True)
class Series:
    """One variable, before anything breaks."""

    counts: Integers
    """(N,)"""
    expected: Floats
    """(N,) its true or usual mean."""
    local: Integers
    """(N,) local seconds of each interval's middle."""
    step: timedelta
    type_share: float
    """Share of the events that the entity type carries which may go missing; the same each time."""

    def intervals(self, hours: float) -> int:
        """As many hours as whole intervals, at least one."""
        return max(1, round(hours * _HOUR / self.step))


@dataclass(frozen=True, slots=True)
class Change:
    """What one incident makes of a series from `start` on."""

    start: int
    counts: Integers
    """(M,) events written in the M intervals of the incident."""
    usual: float
    """Events that these intervals would usually hold; of two kinds of day, the busier."""
    magnitude: float

    @property
    def end(self) -> int:
        """Index after the last interval."""
        return self.start + len(self.counts)


Fault = Callable[[Series, np.random.Generator, int], Change | None]


def _zero(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    return _thinned(series, rng, slice(start, start + series.intervals(rng.uniform(2, 24))), 1.0)


def _drop(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    stretch = slice(start, start + series.intervals(rng.uniform(4, 24)))
    return _thinned(series, rng, stretch, rng.uniform(0.3, 0.8))


def _surge(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    stretch = slice(start, start + series.intervals(rng.uniform(2, 12)))
    return _multiplied(series, rng, stretch, rng.uniform(1.6, 4))


def _duplicates(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    stretch = slice(start, start + series.intervals(rng.uniform(2, 24)))
    return _change(series, stretch, 2 * series.counts[stretch], 2.0)


def _spike(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    return _multiplied(series, rng, slice(start, start + int(rng.integers(1, 3))), rng.uniform(3, 10))


def _drift(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    stretch = slice(start, start + series.intervals(24 * rng.uniform(3, 7)))
    worst = rng.uniform(0.4, 0.8)
    return _thinned(series, rng, stretch, worst * np.linspace(0, 1, stretch.stop - start + 1)[1:], worst)


def _frozen(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    if start == 0 or series.counts[start - 1] == 0:
        return None
    shortest = _shortest_freeze(series.counts)
    if shortest > _LONGEST_FREEZE:
        return None
    stretch = slice(start, start + int(rng.integers(shortest, _LONGEST_FREEZE + 1)))
    value = series.counts[start - 1]
    if np.mean(series.counts[stretch] == value) > 0.5:
        return None
    return _change(series, stretch, np.full(stretch.stop - start, value), float(value))


def _delay(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    silence = series.intervals(rng.uniform(2, 8))
    stretch = slice(start, start + silence + int(rng.integers(1, 3)))
    if stretch.stop > len(series.counts):
        return None
    counts = series.counts[stretch].copy()
    held = int(counts[:silence].sum())
    counts[:silence] = 0
    catch_up = len(counts) - silence
    counts[silence:] += rng.multinomial(held, [1 / catch_up] * catch_up)
    return _change(series, stretch, counts, float(silence))


def _wrong_day(series: Series, rng: np.random.Generator, start: int) -> Change | None:  # noqa: ARG001
    """The day around `start` is written like the nearest day of the other kind, from where the two begin to differ."""
    days = series.local // DAY
    today = np.flatnonzero(days == days[start])
    other = _day_of_the_other_kind(days, int(days[start]))
    if other is None:
        return None
    clock = series.local % DAY
    nearest = other[np.abs(clock[other][None, :] - clock[today][:, None]).argmin(axis=1)]
    busier = np.maximum(series.expected[today], series.expected[nearest])
    apart = np.abs(series.expected[today] - series.expected[nearest]) > _DIFFERENT_DAYS * busier
    differ = np.flatnonzero(apart & (busier > _DIFFERENT_DAYS * series.expected.mean()))
    if not differ.size:
        return None
    within = slice(differ[0], differ[-1] + 1)
    distance = np.abs(series.expected[today] - series.expected[nearest])[within].sum()
    if distance < _DIFFERENT_DAYS * busier[within].sum():
        return None
    usual = float(series.expected[today[within]].sum())
    written = float(series.expected[nearest[within]].sum())
    return Change(
        int(today[within][0]),
        series.counts[nearest[within]],
        max(usual, written),
        written / usual if usual else np.inf,
    )


def _type_missing(series: Series, rng: np.random.Generator, start: int) -> Change | None:
    stretch = slice(start, start + series.intervals(rng.uniform(12, 48)))
    return _thinned(series, rng, stretch, series.type_share)


FAULTS: Mapping[str, Fault] = {
    "zero": _zero,
    "drop": _drop,
    "surge": _surge,
    "duplicates": _duplicates,
    "spike": _spike,
    "drift": _drift,
    "frozen": _frozen,
    "delay": _delay,
    "wrong-day": _wrong_day,
    "type-missing": _type_missing,
}


def _change(series: Series, stretch: slice, counts: Integers, magnitude: float) -> Change | None:
    """Nothing where the series ends before the incident does."""
    if stretch.stop > len(series.counts):
        return None
    return Change(stretch.start, counts, float(series.expected[stretch].sum()), magnitude)


def _thinned(
    series: Series, rng: np.random.Generator, stretch: slice, lost: float | Floats, magnitude: float | None = None
) -> Change | None:
    if stretch.stop > len(series.counts):
        return None
    kept = rng.binomial(series.counts[stretch], 1 - np.asarray(lost))
    return _change(series, stretch, kept, float(np.max(lost)) if magnitude is None else magnitude)


def _multiplied(series: Series, rng: np.random.Generator, stretch: slice, factor: float) -> Change | None:
    extra = rng.poisson((factor - 1) * series.expected[stretch])
    return _change(series, stretch, series.counts[stretch] + extra, factor)


def _shortest_freeze(counts: Integers) -> int:
    """Least intervals, at least 6, that the same count repeats by chance less often than `_CHANCE_OF_FREEZING`."""
    before, after = counts[:-1], counts[1:]
    active = (before > 0) | (after > 0)
    repeats = np.mean(before[active] == after[active]) if active.any() else 1.0
    if repeats == 0:
        return 6
    return _LONGEST_FREEZE + 1 if repeats == 1 else max(6, int(np.ceil(np.log(_CHANCE_OF_FREEZING) / np.log(repeats))))


def _day_of_the_other_kind(days: Integers, day: int) -> Integers | None:
    """Indices of the nearest day that is a weekend day where `day` is not, or the reverse, wholly in the series."""
    for away in (-1, 1, -2, 2, -3, 3):
        other = np.flatnonzero(days == day + away)
        inside = other.size and other[0] > 0 and other[-1] < len(days) - 1
        if inside and _weekend(day + away) != _weekend(day):
            return other
    return None


def _weekend(day: int) -> bool:
    return bool(weekdays(np.array(day * DAY)) >= 5)
