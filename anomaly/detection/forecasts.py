"""Walks through time, interval by interval, predicting and judging each from what was known before it.

In: the series of all variables, with history before the first interval to judge; per kind of network the
variables it serves, their scaler and their windows' lags; the tests of each variable (`anomaly.detection.evidence`).
Out: predictions, evidence and verdicts, (V, N).

One interval at a time, because a verdict changes what later windows and sums see (`anomaly.detection.cleaning`): an
anomalous count is replaced by its prediction. Intervals that are still filling in are judged by how complete they
are (`anomaly.detection.young`). An hour alone and a year at once go through the same steps with
the same numbers, so they agree to the last bit.
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
from anomaly.detection.evidence import LEVEL_REACH, Evidence, Series, memory, unsettled
from anomaly.detection.scaling import Scaler
from anomaly.detection.windows import WindowSpec
from anomaly.detection.young import Young
from anomaly.groups.model import Threshold, Transform

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]


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
    """(P', 1, L, F) to (P', 1), scaled."""


@dataclass(frozen=True, slots=True)
class Past:
    """V variables over T intervals, of which the first H are judged already."""

    observed: Floats
    """(V, T) counts as written; NaN where unknown."""
    felt: Floats
    """(V, H) with stand-ins for what was anomalous."""
    expected: Floats
    """(V, H) the predictions of then, in events per interval; NaN where there were none."""
    anomalous: NDArray[np.bool_]
    """(V, H)"""
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
    evidence: Floats
    """Signed, calibrated: -ln of the tail probability, negative for too few."""
    tail_probabilities: Floats
    tests: NDArray[np.str_]
    """The test with the strongest evidence."""
    kinds: NDArray[np.str_]
    """'' for ordinary intervals."""
    young: Young
    """What of it is still filling in."""


def needed_before(windows: Sequence[WindowSpec], step: timedelta) -> timedelta:
    """How much history a walk looks at, so that more of it changes nothing."""
    windowed = max((w.reach(step) + reach(w.channels, step) for w in windows), default=timedelta(0))
    levels = LEVEL_REACH + reach([OUTLOOK, RATE], step)
    return max(windowed, levels, memory(step) * step, MEMORY, timedelta(days=8)) + step


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

    def walk(self) -> Walk:
        past, first = self.past, self.first
        number = past.observed.shape[1] - first
        shape = (len(past.observed), number)
        self.predicted, residuals, signed = (np.full(shape, np.nan) for _ in range(3))
        kinds = np.full(shape, "", dtype=verdicts.KIND)
        tests = np.full(shape, "", dtype=verdicts.KIND)
        waiting = np.zeros(shape, dtype=bool)
        memory_, most = patience(past.step)
        was = self.was
        recent = was[:, max(0, first - memory_) : first].sum(axis=1)
        for n in range(number):
            at = first + n
            self.predicted[:, n] = self._predict(at, n)
            mean = self.series.expected[:, at].copy()
            whole = self._feel(at, n)
            expected = self.predicted[:, n]
            residuals[:, n] = transforms.forward(whole, past.transform) - expected
            verdict = self._judge(at, n)
            signed[:, n], tests[:, n], kinds[:, n] = verdict
            much = (kinds[:, n] != "") & (signed[:, n] > 0)
            waiting[:, n] = self.young.waits(n, mean) & ~much
            kinds[waiting[:, n], n] = ""
            was[:, at] = kinds[:, n] != ""
            recent += was[:, at]
            if at >= memory_:
                recent -= was[:, at - memory_]
            replaced = was[:, at] & (recent <= most) & ~believed(was, at, past.step) & np.isfinite(expected)
            self.series.felt[replaced, at] = self._stand_in(at)[replaced]
            felt = self.series.felt[:, at]
            seen = np.where(self._unsure(at), felt, self.young.whole(n, felt, mean))
            plain = months.without(seen, self.departed[:, at], past.transform)
            self.channels.settle(at, transforms.forward(plain, past.transform))
        known = np.isfinite(residuals) & ~waiting
        return Walk(
            predicted=np.where(waiting, np.nan, self.predicted),
            residuals=np.where(waiting, np.nan, residuals),
            felt=self.series.felt[:, first:],
            outlook=self.series.outlook[:, first:],
            evidence=np.where(known, signed, np.nan),
            tail_probabilities=np.where(known, np.exp(-np.abs(signed)), np.nan),
            tests=tests,
            kinds=kinds,
            young=self.young,
        )

    def _predict(self, at: int, n: int) -> Floats:
        past = self.past
        self.channels.look(at)
        expected = np.full(len(past.observed), np.nan)
        for panel, lags in zip(self.panels, self.lags, strict=True):
            expected[panel.rows] = self._asked(panel, at - lags[n])
            if panel.relative:
                expected[panel.rows] += self.channels[BASELINE][panel.rows, at]
        departed, ahead = self.departed[:, at], self.channels.outlook(self.evidence.rare, slice(at, at + 1))[:, 0]
        for kept, found in ((self.series.expected, expected), (self.series.outlook, ahead)):
            kept[:, at] = months.with_them(transforms.inverse(found, past.transform), departed, past.transform)
        usual = transforms.inverse(self.channels[BASELINE][:, at], past.transform)
        usual = months.with_them(usual, departed, past.transform)
        held = self._unsure(at) | self.evidence.rare
        self.season[:, at] = np.where(held, self.series.outlook[:, at], usual)
        return np.where(departed == 0, expected, transforms.forward(self.series.expected[:, at], past.transform))

    def _asked(self, panel: Panel, positions: NDArray[np.int64]) -> Floats:
        """(P,) answers: levels, or departures, in the transform."""
        names = panel.window.channels
        window = panel.scaler.scale_window(names, self.channels.window(names, panel.rows, positions))
        scaled = window[:, None].astype(np.float32)
        if panel.positions is None:
            answer = panel.predict(scaled)[:, 0]
        else:
            asked = np.full((panel.network_variables, *scaled.shape[1:]), np.nan, dtype=np.float32)
            asked[panel.positions] = scaled
            answer = panel.predict(asked)[panel.positions, 0]
        return panel.scaler.span * answer if panel.relative else panel.scaler.unscale(answer)

    def _unsure(self, at: int) -> NDArray[np.bool_]:
        """(V,) of which nobody can say what this day brings: all on special days, some on days of the month."""
        return np.asarray((self.perhaps[:, at] != 0) | self.past.special[at])

    def _feel(self, at: int, n: int) -> Floats:
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
        return whole

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

    def _judge(self, at: int, n: int) -> tuple[Floats, NDArray[np.str_], NDArray[np.str_]]:
        two = slice(max(at - 1, 0), at + 1)
        if at:
            self.same[:, at] = self.evidence.prepared(self.past.observed[:, two], self.series.expected[:, two])[:, 1]
        self.same[self.young.rows(n), at] = 0  # a count that is still filling in repeats nothing
        taken = self.evidence.take(self.series, np.array([at]), self.same, unsettled(self.was[:, :at], self.past.step))
        signed, best = self.evidence.together(
            verdicts.in_direction(taken.found, self.policy.direction), self.turn[at : at + 1]
        )
        names = np.array(self.evidence.names)[best[:, 0]]
        kinds = verdicts.judge(taken, names, signed[:, 0], self.limits, self.policy)
        return signed[:, 0], names, kinds
