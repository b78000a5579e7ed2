"""The smallest change that each variable would notice, by kind of change and hour of the day, and how soon.

In: what the serving tests saw of V variables over the last weeks (counts, predictions, outlook), and their limits.
Out: `Noticeable`, per kind of change and hour the smallest size at which an incident of this variable alone opens, on
most days.

=============  ==========================================================================  =====================
kind           what is done to a copy of the counts, from one hour on                      size
=============  ==========================================================================  =====================
``drop``       a share of every interval's events is lost                                  share lost, to 1
``surge``      a share of what is expected comes on top                                    share added, from 0.1
``silence``    nothing is written                                                          hours until noticed
``frozen``     the count before is repeated                                                hours until noticed
``delay``      nothing is written for a while, then all of it at once                      hours of silence
=============  ==========================================================================  =====================

A change is tried on several days, each weekday in turn, until it is noticed or the horizon is over (a day, or seven
intervals). The size is found by bisection over a ladder, because more of a change is noticed no later. The tests,
their calibration, the limits, the policy's floors and what is enough for an incident are those of predict and alert.

One thing is simpler than in a walk through time (`anomaly.detection.forecasts`): the networks are not asked again. A
prediction follows what happens, by a share that the last weeks show: the slope of its departure from the outlook on
the departure that was felt an interval before. Changed counts move the predictions by that share. Sums are compared
with the outlook, which no change moves within its own day.

Ladders and bisection stand in for a search over every size: smallest effects that a procedure would find at a given
power are what experiments are planned with (J. Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms, verdicts
from anomaly.detection.evidence import Evidence, FittedTest, Series, memory
from anomaly.detection.lookback import ALWAYS_ENOUGH, lookback
from anomaly.groups.model import Threshold, Transform

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

KINDS = ("drop", "surge", "silence", "frozen", "delay")
DROPS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
SURGES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0)
DELAYS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Hours."""
SURE = 0.75
"""Share of the days tried on which a change must be noticed."""
HORIZON = timedelta(days=1)
LEAST_HORIZON = 7
"""Intervals, where they are long."""
APART = 4
"""Days between two that are tried: seven of them hold each weekday once."""
ROWS_AT_ONCE = 10_000
"""Variables x days x hours that are tried side by side; some 100 MB."""
_THINNED = 0.7
"""Rows are left behind once they have noticed, whenever no more than this share has not."""
_CLEAN = timedelta(days=1)
"""So long before a change nothing may be anomalous: the copy would not be clean."""
_LEAST_PAIRS = 48
_NAMES = ("observed", "felt", "expected", "outlook")

_Answer = tuple[Floats, Floats, Floats, Floats]
"""Smallest, hours until noticed, share of the days, days; (V, K) each."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What changes are put into: V variables over T intervals, as they were judged."""

    series: Series
    """(V, T) each."""
    anomalous: Mask
    """(V, T)"""
    starts: NDArray[np.datetime64]
    """(T,) datetime64[s], UTC."""
    special: Mask
    """(V, T) days unlike their kind, or of which nobody is sure: nothing is tried on them."""
    turn: Mask
    """(T,) at the turn of a month, where limits are others."""
    step: timedelta
    zone: ZoneInfo
    transform: Transform


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes an incident."""

    limits: Floats
    """(V,) evidence from which an interval is anomalous."""
    policy: Threshold
    min_anomalies: int
    min_duration: timedelta
    merge_gap: timedelta


@dataclass(frozen=True, slots=True)
class Noticeable:
    """Of one kind of change, for V variables and the K hours of the day in which intervals begin."""

    hours: tuple[int, ...]
    """Of the group's zone, ascending."""
    smallest: Floats
    """(V, K) NaN where even the largest is not noticed on most days, or where no day could be tried."""
    after: Floats
    """(V, K) hours until it is noticed, on the median day; NaN as above."""
    share: Floats
    """(V, K) of the days tried, those on which `smallest`, or the largest, was noticed."""
    days: Integers
    """(V, K) that were tried."""


def horizon(step: timedelta) -> int:
    """Intervals within which a change has to be noticed."""
    return max(-(-HORIZON // step), LEAST_HORIZON)


def needed_before(step: timedelta) -> int:
    """Intervals before the first day tried that the tests look at."""
    return memory(step) + 1


def noticeable(
    ground: Ground,
    tests: Sequence[Sequence[FittedTest]],
    rules: Rules,
    *,
    days: int,
    seed: int,
    told: Callable[[int], None] = lambda _: None,
) -> dict[str, Noticeable]:
    """By kind, what each variable would notice.

    Args:
        ground: of at least `days` and `needed_before` intervals before them.
        tests: (V,) of the serving fit; an empty tuple for a variable that nothing judges.
        rules: of the group.
        days: at the end of the ground, of which every fourth is tried.
        seed: of the rounding of changed counts to whole ones.
        told: progress: variables that are done since last time.
    """
    places = _places(ground, days)
    number = sum(len(at) for at in places.values())
    size = max(1, ROWS_AT_ONCE // max(number, 1))
    parts = []
    for first in range(0, len(tests), size) if number else ():
        rows = slice(first, first + size)
        series = Series(*(getattr(ground.series, name)[rows] for name in _NAMES))
        some = replace(ground, series=series, anomalous=ground.anomalous[rows])
        trial = _Trial(some, tests[rows], replace(rules, limits=rules.limits[rows]), places, seed=seed + first)
        parts.append(trial.all())
        told(len(tests[rows]))
    return {kind: _stacked([part[kind] for part in parts], tuple(places), len(tests)) for kind in KINDS}


def follows(series: Series, known: Mask, transform: Transform) -> Floats:
    """(V,) by how much of a departure felt an interval ago a prediction departs from its outlook, in [0, 1].

    Args:
        series: (V, T) each.
        known: (V, T) intervals that may be looked at.
    """
    z = {name: transforms.forward(getattr(series, name), transform) for name in ("felt", "expected", "outlook")}
    felt, answered = (z["felt"] - z["outlook"])[:, :-1], (z["expected"] - z["outlook"])[:, 1:]
    usable = np.isfinite(felt) & np.isfinite(answered) & known[:, :-1] & known[:, 1:]
    x, y = np.where(usable, felt, 0.0), np.where(usable, answered, 0.0)
    squares = (x * x).sum(axis=1)
    slope = np.divide((x * y).sum(axis=1), squares, out=np.zeros(len(x)), where=squares > 0)
    return np.where(usable.sum(axis=1) >= _LEAST_PAIRS, np.clip(slope, 0.0, 1.0), 0.0)


def _places(ground: Ground, days: int) -> dict[int, Integers]:
    """By hour of the local day, positions of its first intervals, on the days that are tried, the latest first.

    Each has the whole horizon after it, and before it what the tests look back on.
    """
    local = [datetime.fromtimestamp(int(s), UTC).astimezone(ground.zone) for s in ground.starts.astype("int64")]
    least, most = needed_before(ground.step), len(local) - horizon(ground.step)
    first: dict[tuple[int, int], int] = {}
    for at in range(least, max(most + 1, least)):
        if at < len(local):
            first.setdefault((local[at].hour, local[at].toordinal()), at)
    last = local[-1].toordinal() if local else 0
    found: dict[int, list[int]] = {}
    for (hour, day), at in first.items():
        if last - days < day and (last - day) % APART == 1 % APART:
            found.setdefault(hour, []).append(at)
    return {hour: np.array(sorted(found[hour], reverse=True)) for hour in sorted(found)}


def _stacked(parts: Sequence[_Answer], hours: tuple[int, ...], variables: int) -> Noticeable:
    """Of chunks of variables."""
    if not parts:
        nothing = np.full((variables, 0), np.nan)
        return Noticeable((), nothing, nothing, nothing, nothing.astype(np.int64))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Noticeable(hours, columns[0], columns[1], columns[2], columns[3].astype(np.int64))


class _Trial:
    """All changes, tried side by side: V variables x K hours, each on up to D days, as R = V x K x D rows.

    Args:
        ground: of the V variables.
        tests: (V,)
        rules: with the V variables' limits.
        places: by hour, positions where a change begins.
        seed: of the rounding.
    """

    def __init__(
        self,
        ground: Ground,
        tests: Sequence[Sequence[FittedTest]],
        rules: Rules,
        places: Mapping[int, Integers],
        *,
        seed: int,
    ) -> None:
        self.step, self.transform, self.rules, self.tests = ground.step, ground.transform, rules, tests
        self.hour = ground.step / timedelta(hours=1)
        self.back, self.ahead = needed_before(ground.step), horizon(ground.step)
        days = max(len(at) for at in places.values())
        at = np.full((len(places), days), -1)
        for row, positions in enumerate(places.values()):
            at[row, : len(positions)] = positions
        self.shape = (len(tests), *at.shape)
        self.cells = (len(tests), len(places))
        window = np.maximum(at, self.back).reshape(-1)[:, None] + np.arange(-self.back, self.ahead)
        known = np.isfinite(ground.series.observed) & ~ground.anomalous & ~ground.special
        self.clean = Series(
            *(np.ascontiguousarray(getattr(ground.series, n)[:, window]).reshape(-1, window.shape[1]) for n in _NAMES)
        )
        self.variable = np.repeat(np.arange(len(tests)), at.size)
        self.turn = np.tile(ground.turn[window], (len(tests), 1))
        self.following = follows(ground.series, known, ground.transform)[self.variable]
        self.limits = rules.limits[self.variable]
        self.valid = _valid(ground, window, self.back) & np.tile(at.reshape(-1) >= self.back, len(tests))
        self.rounding = np.random.default_rng(seed).random((len(self.variable), self.ahead))
        self.rows = np.flatnonzero(self.valid)
        self.evidence = self._ready(self.rows)
        self.same = np.zeros(self.clean.observed.shape)
        self.same[self.rows] = self.evidence.prepared(self.clean.observed[self.rows], self.clean.expected[self.rows])
        self.lengths = np.array([lookback(name, self.step) // self.step for name in self.evidence.names])
        self.alone = np.array([name in ALWAYS_ENOUGH for name in self.evidence.names])
        self.tried = self.valid.reshape(self.shape).sum(axis=2).astype(np.float64)

    def _ready(self, rows: Integers) -> Evidence:
        return Evidence([self.tests[v] for v in self.variable[rows]], step=self.step, transform=self.transform)

    def all(self) -> dict[str, _Answer]:
        """Per kind: smallest, hours until noticed, share of the days, days, each (V, K)."""
        counts, expected = (values[:, self.back :] for values in (self.clean.observed, self.clean.expected))
        usual = np.nan_to_num(expected)
        silence = self._opened(np.zeros(counts.shape))
        frozen = self._opened(np.repeat(self.clean.observed[:, self.back - 1 : self.back], self.ahead, axis=1))
        return {
            "drop": self._search(DROPS, lambda q: np.floor(counts * (1 - q) + self.rounding), largest=silence),
            "surge": self._search(SURGES, lambda q: counts + np.floor(usual * q + self.rounding)),
            "silence": self._as_long_as(silence),
            "frozen": self._as_long_as(frozen),
            "delay": self._search([d for d in DELAYS if d <= self.ahead * self.hour], self._delayed),
        }

    def _as_long_as(self, opened: Floats) -> _Answer:
        """Changes whose size is how long they last: so long that it is enough on most days."""
        share, after = self._of_days(opened)
        ordered = np.sort(opened.reshape(self.shape), axis=2)  # days that could not be tried are infinite
        needed = np.clip(np.ceil(SURE * self.tried).astype(np.int64) - 1, 0, self.shape[2] - 1)
        longest = np.take_along_axis(ordered, needed[:, :, None], axis=2)[:, :, 0]
        found = (share >= SURE) & (self.tried > 0)
        return (
            np.where(found, longest * self.hour, np.nan),
            np.where(found, after * self.hour, np.nan),
            share,
            self.tried,
        )

    def _search(
        self, ladder: Sequence[float], changed: Callable[[Floats], Floats], *, largest: Floats | None = None
    ) -> _Answer:
        """Bisection, for all variables and hours at once. Sizes are (R, 1) where counts are made of them.

        Args:
            ladder: sizes, ascending.
            changed: (R, H) counts under sizes.
            largest: (R,) what is known of the largest size already: intervals until it is noticed.
        """
        steps = np.array([*ladder, np.inf])
        low, high = np.zeros(self.cells, np.int64), np.full(self.cells, len(ladder))
        after, share = np.full(self.cells, np.nan), np.zeros(self.cells)
        if largest is not None:
            share, soon = self._of_days(largest)
            found = (share >= SURE) & (self.tried > 0)
            after, high = np.where(found, soon, np.nan), np.where(found, len(ladder) - 1, len(ladder))
            low = np.where(found, 0, len(ladder))  # what does not show at its largest is not looked for
        while (low < high).any():
            middle = np.minimum((low + high) // 2, len(ladder) - 1)
            size = np.repeat(steps[middle].reshape(-1), self.shape[2])[:, None]
            seen, soon = self._of_days(
                self._opened(changed(size), which=np.repeat((low < high).reshape(-1), self.shape[2]))
            )
            going_on = low < high
            better = going_on & (seen >= SURE) & (self.tried > 0)
            after = np.where(better, soon, after)
            share = np.where(better | (going_on & (middle == len(ladder) - 1)), seen, share)
            high = np.where(better, middle, high)
            low = np.where(going_on & ~better, middle + 1, low)
        found = high < len(ladder)
        return np.where(found, steps[high], np.nan), np.where(found, after * self.hour, np.nan), share, self.tried

    def _delayed(self, hours: Floats) -> Floats:
        """(R, H): nothing for so many hours (R, 1), then all of it in the next interval."""
        counts = self.clean.observed[:, self.back :]
        position = np.arange(self.ahead)
        length = np.maximum(np.rint(hours / self.hour), 1)
        held = np.where(position < length, counts, 0).sum(axis=1, keepdims=True)
        return np.where(position < length, 0.0, counts) + np.where(position == length, held, 0.0)

    def _of_days(self, opened: Floats) -> tuple[Floats, Floats]:
        """Of (R,) intervals until noticed: the share of the days on which it was, and the median of these, (V, K)."""
        ordered = np.sort(opened.reshape(self.shape), axis=2)
        noticed = np.isfinite(ordered).sum(axis=2)
        middle = np.take_along_axis(ordered, (np.maximum(noticed, 1)[:, :, None] - 1) // 2, axis=2)[:, :, 0]
        return np.divide(noticed, self.tried, out=np.zeros(self.cells), where=self.tried > 0), middle

    def _opened(self, counts: Floats, which: Mask | None = None) -> Floats:
        """(R,) intervals from the change's beginning until an incident opens; infinite if none does, or where nothing
        can be tried.

        Args:
            counts: (R, H) what is written from then on.
            which: (R,) rows that are asked about; None for all.
        """
        opened = np.full(len(counts), np.inf)
        rows, evidence = self.rows, self.evidence
        if which is not None and which[rows].mean() <= _THINNED:
            rows = rows[which[rows]]
            evidence = self._ready(rows)
        state = _State(self, rows, counts)
        for n in range(self.ahead):
            if not len(state.rows):
                break
            opens = state.rows[state.next(n, evidence)]
            opened[opens] = np.minimum(opened[opens], n + 1)  # those not left behind yet go on
            going_on = np.isinf(opened[state.rows])
            if going_on.mean() <= _THINNED:
                state.keep(going_on)
                evidence = self._ready(state.rows)
        return opened


class _State:
    """A trial of some rows on its way through the horizon."""

    def __init__(self, trial: _Trial, rows: Integers, counts: Floats) -> None:
        self.trial, self.rows, self.counts = trial, rows, counts[rows]
        clean = trial.clean
        self.series = Series(clean.observed[rows], clean.felt[rows], clean.expected[rows], clean.outlook[rows])
        self.same = trial.same[rows]
        self.chains = _Chains(len(rows), trial.step, trial.rules)

    def keep(self, which: Mask) -> None:
        """Leaves the others behind."""
        self.rows, self.counts, self.same = self.rows[which], self.counts[which], self.same[which]
        self.series = Series(*(getattr(self.series, name)[which] for name in _NAMES))
        self.chains.keep(which)

    def next(self, n: int, evidence: Evidence) -> Mask:
        """Whether an incident opens with interval n of the horizon."""
        trial, series, at = self.trial, self.series, self.trial.back + n
        if n:
            felt, was = (
                transforms.forward(values, trial.transform)
                for values in (series.felt[:, at - 1], trial.clean.felt[self.rows, at - 1])
            )
            moved = transforms.forward(series.expected[:, at], trial.transform)
            moved += trial.following[self.rows] * (felt - was)
            series.expected[:, at] = transforms.inverse(moved, trial.transform)
        series.observed[:, at] = series.felt[:, at] = self.counts[:, n]
        two = slice(at - 1, at + 1)
        self.same[:, at] = evidence.prepared(series.observed[:, two], series.expected[:, two])[:, 1]
        taken = evidence.take(series, np.array([at]), self.same)
        policy = trial.rules.policy
        signed, best = evidence.together(
            verdicts.in_direction(taken.found, policy.direction), trial.turn[self.rows, at : at + 1]
        )
        names, limits = np.array(evidence.names)[best], trial.limits[self.rows]
        anomalous = verdicts.judge(taken, names, signed, limits, policy)[:, 0] != ""
        series.felt[anomalous, at] = series.expected[anomalous, at]
        return self.chains.add(n, anomalous, trial.lengths[best[:, 0]], trial.alone[best[:, 0]])


def _valid(ground: Ground, window: Integers, back: int) -> Mask:
    """(R,) days on which a change says something: known counts, nothing anomalous before, no special day."""
    day = min(_CLEAN // ground.step, back)
    clean = ~ground.anomalous[:, window[:, back - day :]].any(axis=2)
    known = np.isfinite(ground.series.observed[:, window[:, back - 1 :]]).all(axis=2)
    predicted = np.isfinite(ground.series.expected[:, window[:, back:]]).all(axis=2)
    return np.asarray(clean & known & predicted & ~ground.special[:, window[:, back:]].any(axis=2)).reshape(-1)


class _Chains:
    """What `anomaly.detection.incidents` asks of anomalies to be enough for an incident, for R variables at once."""

    def __init__(self, rows: int, step: timedelta, rules: Rules) -> None:
        self.gap, self.least = rules.merge_gap // step, rules.min_anomalies
        self.duration = -(-rules.min_duration // step)
        self.total = np.zeros(rows, dtype=np.int64)
        self.begin = np.zeros(rows, dtype=np.int64)
        self.end = np.full(rows, np.iinfo(np.int64).min // 2)

    def keep(self, which: Mask) -> None:
        """Leaves the others behind."""
        self.total, self.begin, self.end = self.total[which], self.begin[which], self.end[which]

    def add(self, n: int, anomalous: Mask, lengths: Integers, alone: Mask) -> Mask:
        """Whether the anomalies so far are enough; (R,), for those that are anomalous at interval n.

        Args:
            lengths: (R,) intervals that the test of each looked at.
            alone: (R,) whether the test's anomaly is enough by itself.
        """
        end, begin = n + 1, n + 1 - lengths
        new = anomalous & (n - self.end > self.gap)
        self.total[new] = 0
        seen = np.where(new, begin, self.end)
        self.begin = np.where(new, begin, np.where(anomalous, np.minimum(self.begin, begin), self.begin))
        self.total = np.where(anomalous, self.total + end - np.maximum(begin, seen), self.total)
        self.end = np.where(anomalous, end, self.end)
        long = end - self.begin >= self.duration
        return np.asarray(anomalous & (alone | ((self.total >= self.least) & long)))
