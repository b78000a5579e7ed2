"""Walks through time, interval by interval, predicting and judging each from what was known before it.

In: the series of all variables, with history before the first interval to judge; per kind of network the
variables it serves, their scaler and their windows' lags; the tests of each variable (`anomaly.detection.evidence`).
Out: predictions, evidence and verdicts, (V, N).

One interval after the other, because a verdict changes what later windows and sums see (`anomaly.detection.cleaning`):
an anomalous count is replaced by its prediction. As most intervals are ordinary, some are run through at once as if all
of them were; those after the first that is not are done again. Intervals that are still filling in are judged by how
complete they are (`anomaly.detection.young`), and go one by one. An hour alone and a year at once have the same
numbers, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import calendars, months, transforms, verdicts
from anomaly.detection.channels import BASELINE, LEVEL, OUTLOOK, RATE, Channels, reach
from anomaly.detection.cleaning import MEMORY, believed, patience
from anomaly.detection.completeness import Filling
from anomaly.detection.evidence import LEVEL_REACH, UNSETTLED_REACH, Evidence, Series, memory, unsettled
from anomaly.detection.scaling import Scaler
from anomaly.detection.windows import WindowSpec
from anomaly.detection.young import Young
from anomaly.groups.model import Threshold, Transform

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]

_MOST_AHEAD = 128
_AHEAD_CELLS = 2_000_000
"""Variables x intervals x what their tests look at, of a run: 16 MB for each series."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Variables that one batched network (or one forecast without weights) serves."""

    rows: NDArray[np.int64]
    """(P,) rows of the series."""
    positions: NDArray[np.int64] | None
    """(P,) where these stand among the network's P' variables; None when the forecast takes any number."""
    network_variables: int
    """P': the network's leading axis."""
    scaler: Scaler
    """Of the P variables."""
    window: WindowSpec
    relative: bool
    """Whether the answer is a departure from the baseline."""
    predict: Callable[[Float32], Float32]
    """(P', n, L, F) to (P', n), scaled."""
    at_once: bool = False
    """Whether it has the same answer for an interval among many as for it alone, to the last bit."""


@dataclass(frozen=True, slots=True)
class Past:
    """V variables over T intervals, of which the first H are judged already."""

    observed: Floats
    """(V, T) counts as written; NaN where unknown."""
    felt: Floats
    """(V, H) with stand-ins for what was anomalous."""
    expected: Floats
    """(V, H) the predictions of then, in events per interval; NaN where there were none. Of the latest `looked_at`."""
    anomalous: NDArray[np.bool_]
    """(V, H), of the latest `looked_at`."""
    starts: NDArray[np.datetime64]
    """(T,) datetime64[s], UTC."""
    step: timedelta
    zone: ZoneInfo
    transform: Transform
    special: NDArray[np.bool_]
    """(T,) days that are unlike their kind (`anomaly.detection.calendars`)."""
    filling: Filling | None = None
    """How the V variables fill in; without it every count is complete."""
    departed: Floats | None = None
    """(2, V, T) what the day of the month brings, and may bring, by `anomaly.detection.months`; None for nothing."""
    then: Floats | None = None
    """(V, H) what the fits that judged took it for, where something stands in for a count; None for nothing."""
    ages: NDArray[np.int64] | None = None
    """(T - H,) at which the counts to judge were taken, in whole intervals; -1 for complete."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What came out, all (V, N) with N = T - H; NaN where nothing could be predicted, or nothing be said yet."""

    predicted: Floats
    """Of complete intervals, in the transform."""
    residuals: Floats
    """In the measure of complete intervals."""
    felt: Floats
    """Counts, with stand-ins and allowances: what later intervals see."""
    outlook: Floats
    """Counts that were expected before the day began, which sums are compared with."""
    season: Floats
    """Counts that the season alone would expect, while too much was anomalous of late to know; NaN elsewhere."""
    evidence: Floats
    """Signed, calibrated: -ln of the tail probability, negative for too few."""
    tail_probabilities: Floats
    tests: NDArray[np.str_]
    """The test with the strongest evidence."""
    kinds: NDArray[np.str_]
    """'' for ordinary intervals."""
    young: Young
    """What of it is still filling in."""


def looked_at(step: timedelta) -> timedelta:
    """How far back a walk looks at predictions and verdicts. Of what was judged before, only stand-ins matter."""
    return max(memory(step) * step, MEMORY + step, UNSETTLED_REACH) + step


def needed_before(windows: Sequence[WindowSpec], step: timedelta) -> timedelta:
    """How much history a walk looks at, so that more of it changes nothing."""
    windowed = max((w.reach(step) + reach(w.channels, step) for w in windows), default=timedelta(0))
    levels = LEVEL_REACH + reach([OUTLOOK, RATE], step)
    return max(windowed + step, levels + step, looked_at(step))


def walk(past: Past, panels: Sequence[Panel], evidence: Evidence, limits: Floats, policy: Threshold) -> Walk:
    """Predicts and judges the intervals after the first H.

    Args:
        past: what is known.
        panels: who predicts whom; a variable in no panel is not judged.
        evidence: the variables' tests.
        limits: (V,) evidence from which an interval is anomalous.
        policy: its floors and direction.
    """
    return _Walker(past, panels, evidence, limits, policy).walk()


def _young(past: Past, evidence: Evidence, limits: Floats) -> Young:
    """The intervals to judge that are still filling in; thresholds are worked out only where there are any."""
    number = past.observed.shape[1] - past.felt.shape[1]
    surprise = evidence.single_limits(limits)
    if past.filling is None or past.ages is None or (past.ages < 0).all():
        ages, filling = np.full(number, -1), None
        lower, upper = np.full(len(limits), -np.inf), np.full(len(limits), np.inf)
    else:
        ages, filling = past.ages, past.filling
        lower, upper = evidence.thresholds(limits)
    return Young(filling, ages, lower=lower, upper=upper, surprise=surprise, transform=past.transform)


class _Walker:
    def __init__(
        self, past: Past, panels: Sequence[Panel], evidence: Evidence, limits: Floats, policy: Threshold
    ) -> None:
        self.past, self.panels, self.evidence, self.limits, self.policy = past, panels, evidence, limits, policy
        shape, first = past.observed.shape, past.felt.shape[1]
        self.first = first
        felt, expected, outlook = (np.full(shape, np.nan) for _ in range(3))
        felt[:, :first], expected[:, :first] = past.felt, past.expected
        self.departed, self.perhaps = np.zeros((2, *shape)) if past.departed is None else past.departed
        before = self.departed[:, :first]
        more = before - (0.0 if past.then is None else past.then)
        felt[:, :first] = months.renewed(past.observed[:, :first], past.felt, more, past.transform)
        z = transforms.forward(months.without(felt, self.departed, past.transform), past.transform)
        names = {BASELINE, OUTLOOK, RATE, *(name for panel in panels for name in panel.window.channels)}
        self.channels = Channels(z, past.starts, past.step, past.zone, names, transform=past.transform, known=first)
        known = self.channels.outlook(evidence.rare, slice(first))
        outlook[:, :first] = months.with_them(transforms.inverse(known, past.transform), before, past.transform)
        self.season = season = np.full(shape, np.nan)
        unsure = past.special[:first] | (self.perhaps[:, :first] != 0) | evidence.rare[:, None]
        usual = months.with_them(
            transforms.inverse(self.channels[BASELINE][:, :first], past.transform), before, past.transform
        )
        season[:, :first] = np.where(unsure, outlook[:, :first], usual)
        self.series = Series(past.observed.copy(), felt, expected, outlook, season)
        self.was = np.zeros(shape, dtype=bool)
        self.was[:, :first] = past.anomalous
        self.same = np.zeros(shape)
        self.same[:, :first] = evidence.prepared(past.observed[:, :first], expected[:, :first])
        self.young = _young(past, evidence, limits)
        self.turn = calendars.turn_of_month(past.starts, past.zone)
        self.lags = [panel.window.lags(past.starts[first:], past.step, past.zone) for panel in panels]
        self.days = calendars.days_before.lags(past.starts[first:], past.step, past.zone)[:, :]
        results = (shape[0], shape[1] - first)
        self.predicted, self.residuals, self.signed = (np.full(results, np.nan) for _ in range(3))
        self.kinds, self.tests = (np.full(results, "", dtype=verdicts.KIND) for _ in range(2))
        self.waiting, self.loose = np.zeros(results, dtype=bool), np.zeros(results, dtype=bool)
        self.memory, self.patience = patience(past.step)
        self.recent = self.was[:, max(0, first - self.memory) : first].sum(axis=1)
        self.most = max(1, min(_MOST_AHEAD, _AHEAD_CELLS // max(1, shape[0] * memory(past.step))))

    def walk(self) -> Walk:
        number = self.past.observed.shape[1] - self.first
        n, ahead = 0, 1
        while n < number:
            length = self._uniform(n, min(ahead, number - n))
            n += self._run(n, length) if length > 1 else self._one(n)
            odd = self.was[:, self.first + n - 1].any()
            ahead = max(1, ahead // 2) if odd else min(2 * ahead, self.most)
        known = np.isfinite(self.residuals) & ~self.waiting
        return Walk(
            predicted=np.where(self.waiting, np.nan, self.predicted),
            residuals=np.where(self.waiting, np.nan, self.residuals),
            felt=self.series.felt[:, self.first :],
            outlook=self.series.outlook[:, self.first :],
            season=np.where(self.loose, self.season[:, self.first :], np.nan),
            evidence=np.where(known, self.signed, np.nan),
            tail_probabilities=np.where(known, np.exp(-np.abs(self.signed)), np.nan),
            tests=self.tests,
            kinds=self.kinds,
            young=self.young,
        )

    def _one(self, n: int) -> int:
        """One interval, whatever it is."""
        at = self.first + n
        self.channels.look(at)
        self._predict(slice(at, at + 1))
        mean = self.series.expected[:, at].copy()
        self._feel(at, n)
        self._judge(slice(at, at + 1))
        self._conclude(at, n, mean)
        return 1

    def _run(self, n: int, length: int) -> int:
        """Intervals ahead as if all of them were ordinary, up to the first that is not; how many these are."""
        part = slice(self.first + n, self.first + n + length)
        steps, series = slice(n, n + length), self.series
        observed = self.past.observed[:, part]
        plain = months.without(observed, self.departed[:, part], self.past.transform)
        self.channels.run(part, transforms.forward(plain, self.past.transform))
        self._predict(part)
        series.observed[:, part] = series.felt[:, part] = observed
        self.residuals[:, steps] = transforms.forward(observed, self.past.transform) - self.predicted[:, steps]
        self._judge(part)
        odd = np.flatnonzero((self.kinds[:, steps] != "").any(axis=0))
        went = int(odd[0]) + 1 if odd.size else length
        last = part.start + went - 1
        self.kinds[:, n + went : steps.stop] = ""
        for at in range(part.start, last):
            if at >= self.memory:
                self.recent -= self.was[:, at - self.memory]
        self._conclude(last, last - self.first, series.expected[:, last].copy())
        return went

    def _uniform(self, n: int, most: int) -> int:
        """How many of the next intervals, at most, can be run through at once: complete ones of ordinary days, while
        what is unsettled stays so."""
        if most == 1:
            return 1
        at = self.first + n
        part = slice(at, at + most)
        other = self.past.special[part] | (self.perhaps[:, part] != 0).any(axis=0) | self.young.any(slice(n, n + most))
        if other[0]:
            return 1
        now = unsettled(self.was[:, :at], self.past.step)
        if now.any():
            for later in range(1, most):
                other[later] |= (unsettled(self.was[:, : at + later], self.past.step) != now).any()
        return int(other.argmax()) if other.any() else most

    def _conclude(self, at: int, n: int, mean: Floats) -> None:
        """What follows from the verdict on an interval: what later ones see of it."""
        past, was = self.past, self.was
        much = (self.kinds[:, n] != "") & (self.signed[:, n] > 0)
        self.waiting[:, n] = self.young.waits(n, mean) & ~much
        self.kinds[self.waiting[:, n], n] = ""
        was[:, at] = self.kinds[:, n] != ""
        self.recent += was[:, at]
        if at >= self.memory:
            self.recent -= was[:, at - self.memory]
        expected = self.predicted[:, n]
        replaced = was[:, at] & (self.recent <= self.patience) & ~believed(was, at, past.step) & np.isfinite(expected)
        self.series.felt[replaced, at] = self._stand_in(at)[replaced]
        felt = self.series.felt[:, at]
        seen = np.where(self._unsure(at), felt, self.young.whole(n, felt, mean))
        plain = months.without(seen, self.departed[:, at], past.transform)
        self.channels.settle(at, transforms.forward(plain, past.transform))

    def _predict(self, part: slice) -> None:
        """What is expected of intervals that the channels know of."""
        past, series = self.past, self.series
        steps = slice(part.start - self.first, part.stop - self.first)
        base = self.channels[BASELINE][:, part]
        expected = np.full((len(past.observed), part.stop - part.start), np.nan)
        for panel, lags in zip(self.panels, self.lags, strict=True):
            answers = self._asked(panel, np.arange(part.start, part.stop)[:, None, None] - lags[steps])
            expected[panel.rows] = answers + base[panel.rows] if panel.relative else answers
        departed, ahead = self.departed[:, part], self.channels.outlook(self.evidence.rare, part)
        for kept, found in ((series.expected, expected), (series.outlook, ahead)):
            kept[:, part] = months.with_them(transforms.inverse(found, past.transform), departed, past.transform)
        usual = months.with_them(transforms.inverse(base, past.transform), departed, past.transform)
        held = (self.perhaps[:, part] != 0) | past.special[part] | self.evidence.rare[:, None]
        self.season[:, part] = np.where(held, series.outlook[:, part], usual)
        known = transforms.forward(series.expected[:, part], past.transform)
        self.predicted[:, steps] = np.where(departed == 0, expected, known)

    def _asked(self, panel: Panel, positions: NDArray[np.int64]) -> Floats:
        """(P, n) answers for windows at (n, L, F): levels, or departures, in the transform."""
        names = panel.window.channels
        window = panel.scaler.scale_window(names, self.channels.window(names, panel.rows, positions))
        scaled = window.astype(np.float32)
        asked = scaled
        if panel.positions is not None:
            asked = np.full((panel.network_variables, *scaled.shape[1:]), np.nan, dtype=np.float32)
            asked[panel.positions] = scaled
        parts = [asked] if panel.at_once else [asked[:, n : n + 1] for n in range(asked.shape[1])]
        answers = np.concatenate([panel.predict(part) for part in parts], axis=1)
        if panel.positions is not None:
            answers = answers[panel.positions]
        return panel.scaler.span[:, None] * answers if panel.relative else panel.scaler.unscale(answers)

    def _unsure(self, at: int) -> NDArray[np.bool_]:
        """(V,) of which nobody can say what this day brings: all on special days, some on days of the month."""
        return np.asarray((self.perhaps[:, at] != 0) | self.past.special[at])

    def _feel(self, at: int, n: int) -> None:
        """What the interval counts as: what was written, in the measure of complete intervals, (V,). On a day that
        nobody is sure of, the prediction is what of the ordinary is nearest, and only what is beyond it is felt, on top
        of the outlook: later windows learn nothing from it."""
        past, series, unsure = self.past, self.series, self._unsure(at)
        mean, outlook = series.expected[:, at].copy(), series.outlook[:, at].copy()
        counted = self.young.felt(n, past.observed[:, at], mean)
        whole = self.young.whole(n, counted, mean)
        series.observed[:, at] = series.felt[:, at] = counted
        series.expected[:, at] = self.young.expected(n, mean)
        series.outlook[:, at] = self.young.expected(n, outlook)
        self.season[:, at] = self.young.expected(n, self.season[:, at])
        if unsure.any():
            due = np.clip(whole, *self._ordinary(at, n, mean, outlook))
            beyond = np.maximum(whole - due + outlook, 0)
            due_z = np.where(np.isfinite(mean), transforms.forward(due, past.transform), np.nan)
            self.predicted[unsure, n] = due_z[unsure]
            series.observed[unsure, at] = whole[unsure]
            series.expected[unsure, at] = transforms.inverse(due_z, past.transform)[unsure]
            series.felt[unsure, at] = np.where(np.isfinite(mean) & np.isfinite(beyond), beyond, whole)[unsure]
            series.outlook[unsure, at] = self.season[unsure, at] = outlook[unsure]
        self.residuals[:, n] = transforms.forward(whole, past.transform) - self.predicted[:, n]

    def _ordinary(self, at: int, n: int, mean: Floats, outlook: Floats) -> tuple[Floats, Floats]:
        """Between which counts, (V,) each, a day that nobody is sure of is ordinary."""
        low, high = np.fmin(mean, outlook), np.fmax(mean, outlook)
        if self.past.special[at]:
            positions = at - self.days[n]
            seen = transforms.inverse(self.channels[LEVEL][:, np.maximum(positions, 0)], self.past.transform)
            seen[:, positions < 0] = np.nan
            quiet, busy = calendars.ordinary(months.with_them(seen, self.departed[:, [at]], self.past.transform))
            low, high = np.fmin(quiet, outlook), np.fmax(busy, outlook)
        ends = [months.with_them(end, self.perhaps[:, at], self.past.transform) for end in (low, high)]
        return np.fmin(low, ends[0]), np.fmax(high, ends[1])

    def _stand_in(self, at: int) -> Floats:
        """What later intervals see in place of an anomaly, (V,): the prediction. That of a day that nobody is sure
        of is the edge of the ordinary, and would be missed in sums, which compare with the outlook."""
        expected, outlook = self.series.expected[:, at], self.series.outlook[:, at]
        return np.where(self._unsure(at) & np.isfinite(outlook), outlook, expected)

    def _judge(self, part: slice) -> None:
        """The tests of intervals, and what they are taken for; what is unsettled at the first is so at all."""
        at = np.arange(part.start, part.stop)
        steps = slice(part.start - self.first, part.stop - self.first)
        before = max(part.start - 1, 0)
        known = slice(before, part.stop)
        same = self.evidence.prepared(self.past.observed[:, known], self.series.expected[:, known])
        self.same[:, before + 1 : part.stop] = same[:, 1:]
        self.same[:, part][self.young.rows(steps)] = 0  # a count that is still filling in repeats nothing
        loose = unsettled(self.was[:, : part.start], self.past.step)
        taken = self.evidence.take(self.series, at, self.same, loose)
        signed, best = self.evidence.together(
            verdicts.in_direction(taken.found, self.policy.direction), self.turn[part]
        )
        names = np.array(self.evidence.names)[best]
        self.signed[:, steps], self.tests[:, steps], self.loose[:, steps] = signed, names, loose[:, None]
        self.kinds[:, steps] = verdicts.judge(taken, names, signed, self.limits, self.policy)
