"""How strongly each interval of each variable speaks against being ordinary: several tests, one probability.

In: counts and their predictions, in time. Out: per test and interval the evidence, and one tail probability per
interval that means what it says.

=============  ======================================================================================  =============
test           asks                                                                                    of
=============  ======================================================================================  =============
``single``     is this interval too far from its prediction?                                           all
``sum-<k>``    are the latest k intervals together too far from their outlook, and the newest one too?   all
``frozen``     has the same count been repeated too often?                                             regular ones
``silence``    has nothing been written for too long?                                                  rare ones
``level``      are the latest three days together too far from theirs?                                 regular ones
=============  ======================================================================================  =============

A prediction follows what happens: by the evening it expects the day's losses to go on, and sums of its residuals have
forgotten them. So sums are compared with the *outlook*, what was expected before the day began
(`anomaly.detection.channels`).

*Regular* variables are tested in the transform, A(sum of counts) - A(sum of predictions), because transforming after
adding up keeps one scale for an hour and for a day. *Rare* ones (fewer than three events per interval) are tested by
the distribution of their counts as long as fewer than three are expected together: negative binomial with the scatter
that their history shows, Poisson where it shows none. Silence is measured in expected events since the last write,
which turns any daily pattern into a steady clock (the time-rescaling theorem), and compared with the gaps of the
history.

The turn of a month is unlike the days before it for some variables, and a history of sixty days holds it twice: too
little to forecast, enough to see that scatter is larger then. There, evidence is divided by how much larger it was.

Ordinary excesses come in runs, those of sums above all, and a run is one incident. `clustering` measures how many runs
there are per excess (the extremal index), so that a policy in incidents becomes one in intervals.

Evidence is -ln p. A fitted family is believed for the bulk of a variable's history only; how fast its far tail really
falls is measured: `Calibration` maps evidence such that one in ten intervals of the history exceeds ln 10, and beyond
follows the mean excess of those (censored, so that a past incident does not widen it; shrunk towards the group's, so
that few excesses do not decide). The same map, once more, turns the strongest evidence of all tests into the final
probability: nobody has to guess how many independent tests overlapping sums amount to.

Sources:
    Extremal index by runs: R. L. Smith, I. Weissman, "Estimating the extremal index", 1994.
    Peaks over threshold: J. Pickands, "Statistical inference using extreme order statistics", 1975; in -ln p the
    excesses of a right model are exponential with mean 1. Censored mean: J. F. Lawless, "Statistical models and
    methods for lifetime data", 2003, section 4.1. Time-rescaling: E. N. Brown et al., "The time-rescaling theorem and
    its application to neural spike train data analysis", 2002. Sums over several lengths: E. S. Page, "Continuous
    inspection schemes", 1954, is the idea's root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.backtests import LEAST_EXPECTED
from anomaly.detection.families import FAMILIES
from anomaly.detection.residuals import (
    FittedDistribution,
    contaminated,
    fit_distribution,
    informative,
    robust_scale,
    without_contamination,
)
from anomaly.detection.statuses import RARE_RATE
from anomaly.groups.model import Direction, Transform

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SINGLE, FROZEN, SILENCE, LEVEL, ANY = "single", "frozen", "silence", "level", "any"
SUMS = (3, 6, 24)
"""Intervals that are added up."""
FROZEN_LEAST = 5
"""Repeats. A busy hour that equals the one before is a coincidence that a schedule brings about every day."""
FROZEN_REACH = 48
"""Intervals of one value that are told apart; longer runs count as this long."""
SILENCE_REACH = timedelta(days=7)
LEVEL_REACH = timedelta(days=3)

KNEE = 0.1
"""Share of the history beyond which the measured tail begins."""
_KNEE = -np.log(KNEE)
CENSORED = 3.0
"""Excesses count as at most this: about one in twenty is naturally larger, all of a past incident's are."""
PRIOR = 30.0
"""Excesses that the group's tail weighs as much as."""
SLOPES = (0.8, 3.0)
LEAST_RARE_SLOPE = 1.0
"""Counts of rare variables are few distinct numbers: their history shows the far tail least of all."""
KNEES = (0.5, 8.0)
LEAST_EXCESSES = 10
LARGEST = 27.6
"""-ln of 1e-12, the smallest probability that is told."""
DEGREES = 8.0
LEVEL_DEGREES, LEVEL_WIDER = 3.0, 1.5
"""A history holds few independent stretches of three days: their scale is known badly."""
FLOORS: Mapping[str, float] = {SINGLE: 0.5, "sum-3": 0.4, "sum-6": 0.3, "sum-24": 0.2, LEVEL: 0.3}
"""Smallest scale in Anscombe's transform, where Poisson counts have 1."""
LEAST_OF_MEAN = 0.05
"""Share of its mean that is expected of a rare variable's quietest hours at least: what is late by an hour or two falls
into hours that know no events."""
LEAST_GAP = 0.15
"""Expected events; gaps are not told apart more finely."""
LEAST_GAPS = 10
_TINY = 1e-300
_BLOCK_CELLS = 50_000
"""Variables x intervals whose trailing windows are held at a time: up to a week each, 70 MB."""


def tests_of(*, rare: bool) -> tuple[str, ...]:
    """The tests that such a variable takes, in the order in which ties are told."""
    sums = tuple(f"sum-{k}" for k in SUMS)
    return (SINGLE, SILENCE, *sums) if rare else (SINGLE, FROZEN, *sums, LEVEL)


def memory(step: timedelta) -> int:
    """Intervals before the one that is judged that its evidence looks at."""
    return max(FROZEN_REACH, SUMS[-1], SILENCE_REACH // step, LEVEL_REACH // step)


# --- calibration ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calibration:
    """Evidence e becomes ``e * ln(10) / knee`` up to the knee, and ``ln(10) + (e - knee) / slope`` beyond."""

    knee: float = float(_KNEE)
    slope: float = 1.0

    def __call__(self, evidence: Floats) -> Floats:
        return calibrated(evidence, np.float64(self.knee), np.float64(self.slope))

    def inverse(self, evidence: float) -> float:
        """The evidence that becomes this."""
        if evidence <= _KNEE:
            return float(evidence * self.knee / _KNEE)
        return float(self.knee + (evidence - _KNEE) * self.slope)


IDENTITY = Calibration()


def calibrated(evidence: Floats, knee: Floats | np.float64, slope: Floats | np.float64) -> Floats:
    """`Calibration` of many at once; arguments broadcast."""
    return np.asarray(np.where(evidence <= knee, evidence * (_KNEE / knee), _KNEE + (evidence - knee) / slope))


def excesses(evidence: Floats) -> tuple[float, float, int]:
    """Knee, sum of censored excesses, and how many were not censored, of a history (M,); NaN left out.

    A history that hardly ever shows evidence (frozen values) says nothing about tails: knee of ln 10, no excesses.
    """
    known = evidence[np.isfinite(evidence)]
    if known.size < LEAST_EXCESSES / KNEE:
        return float(_KNEE), 0.0, 0
    knee = float(np.clip(np.quantile(known, 1 - KNEE), *KNEES))
    beyond = known[known > knee] - knee
    if beyond.size < LEAST_EXCESSES:
        return max(knee, float(_KNEE)), 0.0, 0
    return knee, float(np.minimum(beyond, CENSORED).sum()), int((beyond < CENSORED).sum())


def calibrations(histories: Sequence[Floats], *, rare: Sequence[bool]) -> list[Calibration]:
    """One for each variable's evidence over its history; the shorter a history, the nearer its tail to the group's."""
    found = [excesses(history) for history in histories]
    own = [total / number for _, total, number in found if number >= LEAST_EXCESSES]
    pooled = float(np.clip(np.median(own), 0.8, 2.0)) if own else 1.0
    least, most = SLOPES
    return [
        Calibration(
            knee,
            float(np.clip((total + PRIOR * pooled) / (number + PRIOR), LEAST_RARE_SLOPE if few else least, most)),
        )
        for (knee, total, number), few in zip(found, rare, strict=True)
    ]


LEAST_TURN = 100
"""Intervals without which turns of months are not told from other days."""
CLEARLY_MORE = 1.5
RUNS = 0.02
"""Share of the history whose runs are counted."""
RUNS_PRIOR = 10.0
LEAST_RUNS_PER_EXCESS = 0.1


def clustering(histories: Sequence[Floats], gap: int) -> list[float]:
    """Runs per excess, in [0.1, 1], of each variable's evidence over its history, shrunk towards the group's.

    Args:
        histories: (V,) of (M,), in time; NaN where unknown.
        gap: excesses at most this many intervals apart are of one run.
    """
    found = []
    for history in histories:
        known = history[np.isfinite(history)]
        if known.size < LEAST_EXCESSES / RUNS:
            found.append((0, 0))
            continue
        # A limit that no evidence exceeds at all says nothing about runs.
        beyond = np.flatnonzero(np.nan_to_num(history) > max(float(np.quantile(known, 1 - RUNS)), 0.0))
        found.append((int((np.diff(beyond) > gap).sum()) + 1 if beyond.size else 0, int(beyond.size)))
    own = [runs / excesses for runs, excesses in found if excesses >= LEAST_EXCESSES]
    pooled = float(np.median(own)) if own else 1.0
    return [
        float(np.clip((runs + RUNS_PRIOR * pooled) / (excesses + RUNS_PRIOR), LEAST_RUNS_PER_EXCESS, 1.0))
        for runs, excesses in found
    ]


# --- what is fitted ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FittedTest:
    """One test of one variable: its family, the family's parameters, and how its evidence is calibrated.

    Families: a name in `anomaly.detection.families` with its parameters (of the residual in the transform);
    ``counts`` with the excess scatter phi, variance = mean + phi mean^2, and the
    least that is ever taken to be expected; ``gaps`` with the median gap and the mean by
    which the longer half exceeds it, in expected events; ``repeats`` with location and scale of the residuals and half
    the distance of two values; ``any`` with the runs per excess and with what evidence is divided by at the turn of
    the month.
    """

    test: str
    family: str
    parameters: tuple[float, ...]
    calibration: Calibration
    reason: str


@dataclass(frozen=True, slots=True)
class Series:
    """What evidence is taken from: V variables over T intervals."""

    observed: Floats
    """(V, T) as written."""
    felt: Floats
    """(V, T) what sums see: stand-ins for earlier anomalies, and of special days what was beyond the ordinary, on top
    of their outlook."""
    expected: Floats
    """(V, T) predictions, on special days what of the ordinary is nearest; NaN where there was none."""
    outlook: Floats
    """(V, T) what was expected before the day began; NaN where unknown."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the tests found at n intervals."""

    found: dict[str, Floats]
    """Per test, (V, n): calibrated evidence, negative for too few, positive for too many; 0 for none."""
    sums: dict[str, tuple[Floats, Floats]]
    """Per test that compares sums, (V, n): what was felt and what was expected."""
    waits: Floats | None = None
    """(V, n) events expected since the last write; None where nobody is tested for silence."""


def _sums(series: Series, at: NDArray[np.int64], lengths: Sequence[int]) -> dict[int, tuple[Floats, Floats]]:
    """Per length what was felt and what was expected of the intervals that end at these positions, (V, n); NaN where
    one is unknown. A single interval has its prediction, several have their outlook."""
    longest = max(lengths)
    felt, outlook = (_latest(values, at, longest) for values in (series.felt, series.outlook))
    sums = {k: (felt[..., -k:].sum(axis=2), outlook[..., -k:].sum(axis=2)) for k in lengths}
    return sums | {1: (series.observed[:, at], series.expected[:, at])}


def _latest(values: Floats, at: NDArray[np.int64], length: int) -> Floats:
    """(V, n, length), oldest first, of (V, T) and positions (n,); NaN before the beginning.

    A copy with the lengths side by side: their sums are added up in the same order for one position and for many.
    """
    positions = at[:, None] + np.arange(1 - length, 1)
    found = values[:, np.maximum(positions, 0)]
    if positions[0, 0] < 0:
        found[:, positions < 0] = np.nan
    return found


def departure(felt: Floats, expected: Floats, length: int, transform: Transform) -> Floats:
    """Of sums over so many intervals, in the transform, on the scale of a single interval's."""
    if transform is Transform.ANSCOMBE:
        return transforms.forward(felt, transform) - transforms.forward(expected, transform)
    return np.asarray((felt - expected) / np.sqrt(length))


def _run_evidence(series: Series, at: NDArray[np.int64], same: Floats, transform: Transform) -> Floats:
    """-ln of the probability that a run of equal values came about, (V, n); 0 where the newest value is new.

    Args:
        same: (V, T) -ln of the probability that an interval repeats the one before.
    """
    values = _latest(series.observed, at, FROZEN_REACH + 1)
    newest = values[..., -1:]
    alive = values[..., -2::-1] == newest  # from the interval before, back
    if transform is Transform.ANSCOMBE:
        alive &= newest > 0  # a run of zeros is silence, and told as such
    alive = np.logical_and.accumulate(alive, axis=2)
    unlikely = np.nan_to_num(_latest(same, at, FROZEN_REACH)[..., ::-1])
    total = np.where(alive, unlikely, 0.0).sum(axis=2)
    return np.asarray(np.where(alive.sum(axis=2) >= FROZEN_LEAST, total, 0.0))


def _waits(series: Series, at: NDArray[np.int64], reach: int) -> Floats:
    """Expected events since the last write, (V, n); 0 where there was one."""
    alive = np.logical_and.accumulate(_latest(series.observed, at, reach)[..., ::-1] == 0, axis=2)
    expected = np.nan_to_num(_latest(series.expected, at, reach)[..., ::-1])
    return np.asarray(np.where(alive, expected, 0.0).sum(axis=2))


def repeats(
    observed: Floats, expected: Floats, location: Floats, scale: Floats, half: Floats, transform: Transform
) -> Floats:
    """-ln of the probability that an interval's value is the one before it, (V, T - 1), from the second on."""
    from scipy.special import stdtr

    predicted = transforms.forward(expected[:, 1:], transform) + location[:, None]
    before = observed[:, :-1]
    high = transforms.forward(before + half[:, None], transform)
    low_counts = before - half[:, None]
    low = transforms.forward(np.maximum(low_counts, 0) if transform is Transform.ANSCOMBE else low_counts, transform)
    probability = stdtr(DEGREES, (high - predicted) / scale[:, None]) - stdtr(
        DEGREES, (low - predicted) / scale[:, None]
    )
    return np.asarray(-np.log(np.clip(probability, 1e-6, 1.0)))


def two_sided(
    family: str, parameters: Sequence[Floats | float], residuals: Floats, expected: Floats | None = None
) -> Floats:
    """-ln of twice the smaller tail, in [0, 27.6]; NaN stays.

    Args:
        family: a name in `anomaly.detection.families`.
        parameters: its parameters; numbers or arrays that broadcast with the residuals.
        residuals: in the transform.
        expected: events expected of each interval, for families that ask; None for busy intervals.
    """
    tail = FAMILIES[family].tail(residuals, parameters, expected)
    evidence = -np.log(np.maximum(2 * tail, _TINY))
    return np.where(np.isfinite(residuals), np.clip(evidence, 0.0, LARGEST), np.nan)


def of_counts(total: Floats, expected: Floats, phi: Floats) -> Floats:
    """-ln of twice the smaller tail of a count under a negative binomial law; Poisson where phi is 0.

    Args:
        total: (V, n) counts; stand-ins make some of them fractions, which are rounded.
        expected: (V, n) means.
        phi: (V, 1) excess scatter.
    """
    from scipy import special

    y, m = np.round(total), expected
    size = 1 / np.maximum(phi, 1e-9)
    share = size / (size + m)
    with np.errstate(all="ignore"):
        poisson = phi < 1e-6
        below = np.where(poisson, special.pdtr(y, m), special.betainc(size, y + 1, share))
        above = np.where(poisson, special.pdtrc(y - 1, m), special.betainc(y, size, 1 - share))
        above = np.where(y <= 0, 1.0, above)
        evidence = -np.log(np.clip(2 * np.minimum(below, above), _TINY, 1.0))
    return np.where(np.isfinite(total) & np.isfinite(expected), np.clip(evidence, 0.0, LARGEST), np.nan)


def _count_bounds(expected: Floats, phi: Floats, tail: Floats) -> tuple[Floats, Floats]:
    """(P, n) counts: fewer than the lower, or more than the upper, have less than this tail (P,)."""
    from scipy import stats

    low, high = np.empty(expected.shape), np.empty(expected.shape)
    poisson, p = phi < 1e-6, np.maximum(tail, 1e-15)[:, None]
    for rows in (poisson, ~poisson):  # each law once: scipy's preparations cost more than thousands of quantiles
        if rows.any():
            m, size = expected[rows], 1 / np.maximum(phi[rows, None], 1e-9)
            law = stats.poisson(m) if rows is poisson else stats.nbinom(size, size / (size + m))
            low[rows], high[rows] = law.ppf(p[rows]), law.isf(p[rows])
    return low, high


def of_waits(waits: Floats, median: Floats, excess: Floats) -> Floats:
    """-ln of the probability of a longer gap: half of all gaps are longer than the median, and what they are longer is
    exponential. Waits, medians and excesses are in expected events."""
    short = waits / median * np.log(2)
    evidence = np.where(waits <= median, short, np.log(2) + (waits - median) / excess)
    return np.asarray(np.clip(evidence, 0.0, LARGEST))


def at_turns(tests: Sequence[FittedTest]) -> float:
    """What a variable's evidence is divided by at the turn of the month."""
    return next((t.parameters[1] for t in tests if t.test == ANY and len(t.parameters) > 1), 1.0)


# --- taking evidence --------------------------------------------------------------------------------------------


class Evidence:
    """The tests of V variables, ready to be asked of any intervals, one at a time or many at once.

    Args:
        fitted: (V,) each variable's tests; an empty tuple for one that is not judged.
        step: length of an interval.
        transform: of the group.
    """

    def __init__(self, fitted: Sequence[Sequence[FittedTest]], *, step: timedelta, transform: Transform) -> None:
        self._step, self._transform = step, transform
        self.variables = len(fitted)
        self.names = (SINGLE, FROZEN, SILENCE, *(f"sum-{k}" for k in SUMS), LEVEL)
        by_test: dict[str, dict[int, FittedTest]] = {name: {} for name in (*self.names, ANY)}
        for row, tests in enumerate(fitted):
            for test in tests:
                by_test[test.test][row] = test
        self.rare = np.array([any(test.test == SILENCE for test in tests) for tests in fitted], dtype=bool)
        """(V,) whose outlook is a rate."""
        self._calibration = {name: _arrays(found, self.variables) for name, found in by_test.items()}
        self._at_turns = np.array([at_turns(tests) for tests in fitted])
        self._families = {name: _by_family(found) for name, found in by_test.items()}

    def prepared(self, observed: Floats, expected: Floats) -> Floats:
        """(V, T) what runs of equal values are measured by; see `repeats`."""
        same = np.zeros(observed.shape)
        for rows, (location, scale, half) in self._families[FROZEN].get("repeats", []):
            same[rows, 1:] = repeats(observed[rows], expected[rows], location, scale, half, self._transform)
        return same

    def take(self, series: Series, at: NDArray[np.int64], same: Floats) -> Taken:
        """Asks all tests of these intervals.

        Args:
            series: up to and including the intervals asked for.
            at: (n,) positions along T.
            same: (V, T), `prepared`.
        """
        sums = _sums(series, at, (1, *SUMS, LEVEL_REACH // self._step))
        found: dict[str, Floats] = {}
        newest = np.sign(sums[1][0] - sums[1][1])
        for name, length in ((SINGLE, 1), *((f"sum-{k}", k) for k in SUMS)):
            found[name] = self._of_sums(name, *sums[length], length, newest)
        compared = {SINGLE: sums[1]} | {f"sum-{k}": sums[k] for k in SUMS}
        if self._families[LEVEL]:
            length = LEVEL_REACH // self._step
            compared[LEVEL] = sums[length]
            found[LEVEL] = self._of_sums(LEVEL, *compared[LEVEL], length, newest)
        if self._families[FROZEN]:
            found[FROZEN] = self._calibrate(FROZEN, _run_evidence(series, at, same, self._transform))
        waits = None
        if self._families[SILENCE]:
            waits = _waits(series, at, SILENCE_REACH // self._step)
            evidence = np.zeros(waits.shape)
            for rows, (median, excess) in self._families[SILENCE]["gaps"]:
                evidence[rows] = of_waits(waits[rows], median[:, None], excess[:, None])
            found[SILENCE] = -self._calibrate(SILENCE, evidence)
        return Taken({name: np.nan_to_num(values) for name, values in found.items()}, compared, waits)

    def single_limits(self, limits: Floats) -> Floats:
        """(V,) evidence of the test of single intervals, before calibration, at which all tests together reach these
        limits."""
        knee, slope = self._calibration[ANY]
        one = np.where(limits <= _KNEE, limits * knee / _KNEE, knee + (limits - _KNEE) * slope)
        knee, slope = self._calibration[SINGLE]
        return np.asarray(np.where(one <= _KNEE, one * knee / _KNEE, knee + (one - _KNEE) * slope))

    def thresholds(self, limits: Floats, direction: Direction = Direction.BOTH) -> tuple[Floats, Floats]:
        """(V,) residuals of single intervals beyond which they are anomalous; infinite for rare variables, whose
        thresholds depend on what is expected, for those that are not judged, and in a direction nobody asked for.
        Where busy and quiet intervals differ, those of busy ones."""
        lower, upper = self._residuals(limits, direction, None)
        return lower[:, 0], upper[:, 0]

    def _residuals(self, limits: Floats, direction: Direction, expected: Floats | None) -> tuple[Floats, Floats]:
        """`thresholds` for what is expected, (V, n); for None, (V, 1) those of busy intervals."""
        shape = (self.variables, 1) if expected is None else expected.shape
        lower, upper = np.full(shape, -np.inf), np.full(shape, np.inf)
        tail = np.exp(-self.single_limits(limits))[:, None] / 2
        for family, parts in self._families[SINGLE].items():
            for rows, parameters in parts:
                if family != "counts":
                    columns = [p[:, None] for p in parameters]
                    own = None if expected is None else expected[rows]
                    lower[rows], upper[rows] = FAMILIES[family].between(tail[rows], columns, own)
        if direction is Direction.SURGE:
            lower[:] = -np.inf
        if direction is Direction.DROP:
            upper[:] = np.inf
        return lower, upper

    def bounds(self, expected: Floats, limits: Floats, direction: Direction = Direction.BOTH) -> tuple[Floats, Floats]:
        """Single counts (V, n) beyond which an interval is anomalous, for what is expected, (V, n)."""
        z = transforms.forward(expected, self._transform)
        sides = self._residuals(limits, direction, expected)
        low, high = (transforms.inverse(z + side, self._transform) for side in sides)
        tail = np.exp(-self.single_limits(limits)) / 2
        for rows, (phi, least) in self._families[SINGLE].get("counts", []):
            few, many = _count_bounds(np.maximum(expected[rows], least[:, None]), phi, tail[rows])
            low[rows] = 0.0 if direction is Direction.SURGE else few
            high[rows] = np.inf if direction is Direction.DROP else many
        return np.where(np.isnan(expected), np.nan, low), np.where(np.isnan(expected), np.nan, high)

    def _of_sums(self, name: str, felt: Floats, expected: Floats, length: int, newest: Floats) -> Floats:
        evidence = np.full(felt.shape, np.nan)
        residuals = departure(felt, expected, length, self._transform)
        for family, parts in self._families[name].items():
            for rows, parameters in parts:
                columns = [p[:, None] for p in parameters]
                if family == "counts":
                    scatter, least = columns
                    evidence[rows] = of_counts(felt[rows], np.maximum(expected[rows], least), scatter)
                else:
                    evidence[rows] = two_sided(family, columns, residuals[rows], expected[rows])
        direction = np.sign(felt - expected)
        agreeing = direction == newest if length > 1 else np.ones(direction.shape, dtype=bool)
        return np.asarray(self._calibrate(name, evidence) * direction * agreeing)

    def _calibrate(self, name: str, evidence: Floats) -> Floats:
        knee, slope = self._calibration[name]
        return calibrated(evidence, knee[:, None], slope[:, None])

    def together(self, found: Mapping[str, Floats], turn: Mask) -> tuple[Floats, NDArray[np.int64]]:
        """The strongest evidence of all tests, calibrated, (V, n) and signed; and which test it was, by `names`.

        Args:
            found: as `take` found it.
            turn: (n,) intervals at the turn of a month.
        """
        table = np.stack([found.get(name, np.zeros(1)) + np.zeros_like(found[SINGLE]) for name in self.names])
        best = np.abs(table).argmax(axis=0)
        strongest = np.take_along_axis(table, best[None], axis=0)[0]
        strongest = np.where(turn, strongest / self._at_turns[:, None], strongest)
        knee, slope = self._calibration[ANY]
        signed = np.sign(strongest) * np.clip(calibrated(np.abs(strongest), knee[:, None], slope[:, None]), 0, LARGEST)
        return signed, best


def _arrays(found: Mapping[int, FittedTest], variables: int) -> tuple[Floats, Floats]:
    knee, slope = np.full(variables, float(_KNEE)), np.ones(variables)
    for row, test in found.items():
        knee[row], slope[row] = test.calibration.knee, test.calibration.slope
    return knee, slope


def _by_family(found: Mapping[int, FittedTest]) -> dict[str, list[tuple[NDArray[np.int64], tuple[Floats, ...]]]]:
    families: dict[str, list[int]] = {}
    for row in sorted(found):
        families.setdefault(found[row].family, []).append(row)
    return {
        family: [
            (
                np.array(rows),
                tuple(np.array(values) for values in zip(*(found[r].parameters for r in rows), strict=True)),
            )
        ]
        for family, rows in families.items()
    }


# --- fitting ----------------------------------------------------------------------------------------------------


def fit_tests(
    series: Series,
    judged: Mask,
    *,
    rare: Mask,
    distribution: str,
    step: timedelta,
    transform: Transform,
    gap: int,
    turn: Mask,
    floors: Mapping[str, float] = FLOORS,
) -> list[tuple[FittedTest, ...]]:
    """The tests of V variables, fitted to their history.

    Args:
        series: the history.
        judged: (V, T) intervals that stand for what is ordinary: observed ones of ordinary days.
        rare: (V,) variables with few events per interval.
        distribution: of single residuals, first choice; one of `anomaly.detection.residuals.DISTRIBUTIONS`.
        step: length of an interval.
        transform: of the group.
        gap: intervals between anomalies of one incident, at most.
        turn: (T,) intervals at the turn of a month.
        floors: smallest scale per test, in the transform.
    """
    asked = judged
    series, judged = _without_incidents(series, asked, rare, transform, floors.get(SINGLE, 0.0))
    incidents = (asked & ~judged).sum(axis=1)
    at = np.arange(series.felt.shape[1])
    sums = _in_blocks(lambda part: _sums(series, part, (1, *SUMS, LEVEL_REACH // step)), at, len(rare))
    waits = _in_blocks(lambda part: {SILENCE: (_waits(series, part, SILENCE_REACH // step),)}, at, len(rare))
    drafts: list[dict[str, FittedTest]] = []
    for row in range(len(series.felt)):
        usable = judged[row]
        draft: dict[str, FittedTest] = {}
        for name, length in ((SINGLE, 1), *((f"sum-{k}", k) for k in SUMS)):
            felt, expected = (part[row][usable] for part in sums[length])
            if rare[row] and _mean(expected) < RARE_RATE:
                draft[name] = _counts_test(name, felt, expected, length)
            else:
                chosen = distribution if name == SINGLE else "t"
                residuals = departure(felt, expected, length, transform)
                telling = informative(felt, expected) | (transform is not Transform.ANSCOMBE)
                draft[name] = _residual_test(name, residuals[telling], chosen, floors, expected[telling])
        if incidents[row]:
            reason = f"{draft[SINGLE].reason}; {incidents[row]} intervals of the history left out as past incidents"
            draft[SINGLE] = replace(draft[SINGLE], reason=reason)
        if rare[row]:
            draft[SILENCE] = _gaps_test(waits[SILENCE][0][row], series.observed[row], usable)
        else:
            length = LEVEL_REACH // step
            felt, expected = (part[row][usable] for part in sums[length])
            draft[LEVEL] = _residual_test(LEVEL, departure(felt, expected, length, transform), "t", floors)
            observed, expected = (part[row][usable] for part in sums[1])
            apart = departure(observed, expected, 1, transform)
            draft[FROZEN] = _repeats_test(apart, observed, transform, floors.get(SINGLE, 0.0))
        drafts.append(draft)
    return _calibrated(drafts, series, judged, step=step, transform=transform, gap=gap, turn=turn)


def _without_incidents(
    series: Series, judged: Mask, rare: Mask, transform: Transform, floor: float
) -> tuple[Series, Mask]:
    """The history with incidents that nobody has judged yet, as a walk would have left it: with stand-ins.

    One day of an outage is a few residuals far out, but a tenth of all sums over three days: as they are, they would
    teach the tests of sums, and through them all thresholds, that such days are ordinary.
    """
    residuals = departure(series.observed, series.expected, 1, transform)
    asked = judged & np.isfinite(residuals)
    if transform is Transform.ANSCOMBE:
        asked &= informative(series.observed, series.expected) & ~rare[:, None]
    far = np.zeros(judged.shape, dtype=bool)
    for row in range(len(far)):
        far[row, asked[row]] = contaminated(residuals[row, asked[row]], floor=floor)
    incidents = _in_runs(np.where(far, np.sign(residuals), 0.0))
    return replace(series, felt=np.where(incidents, series.outlook, series.felt)), judged & ~incidents


def _in_runs(signs: Floats) -> Mask:
    """Which of (V, T) are one of at least three in a row of the same sign. Single ones may be how a variable scatters
    whose nights are quieter than its days; calibration takes those for what they are."""
    three = (signs[:, 2:] != 0) & (signs[:, 2:] == signs[:, 1:-1]) & (signs[:, 1:-1] == signs[:, :-2])
    found = np.zeros(signs.shape, dtype=bool)
    for back in range(3):
        found[:, back : signs.shape[1] - 2 + back] |= three
    return found


_Parts = Mapping[Any, tuple[Floats, ...]]


def _in_blocks(ask: Callable[[NDArray[np.int64]], _Parts], at: NDArray[np.int64], variables: int) -> _Parts:
    """What is asked of all positions, in blocks that bound the memory that trailing windows take."""
    block = max(1, _BLOCK_CELLS // max(1, variables))
    parts = [ask(at[first : first + block]) for first in range(0, len(at), block)]
    return {
        name: tuple(np.concatenate(pieces, axis=1) for pieces in zip(*(part[name] for part in parts), strict=True))
        for name in parts[0]
    }


def _found(tests: Evidence, series: Series, at: NDArray[np.int64], same: Floats) -> _Parts:
    return {name: (evidence,) for name, evidence in tests.take(series, at, same).found.items()}


def _calibrated(
    drafts: Sequence[Mapping[str, FittedTest]],
    series: Series,
    judged: Mask,
    *,
    step: timedelta,
    transform: Transform,
    gap: int,
    turn: Mask,
) -> list[tuple[FittedTest, ...]]:
    at = np.arange(series.felt.shape[1])
    raw = Evidence([tuple(draft.values()) for draft in drafts], step=step, transform=transform)
    same = raw.prepared(series.observed, series.expected)
    known = judged & np.isfinite(series.felt) & np.isfinite(series.expected)
    taken = _in_blocks(lambda part: _found(raw, series, part, same), at, len(judged))
    history = {name: np.where(known, np.abs(e), np.nan) for name, (e,) in taken.items()}
    names = [name for name in raw.names if name in history]
    fitted: list[dict[str, FittedTest]] = [
        {name: test for name, test in draft.items() if name != FROZEN or not _repeats_by_nature(history[FROZEN][row])}
        for row, draft in enumerate(drafts)
    ]
    for name in names:
        rows = [row for row, own in enumerate(fitted) if name in own]
        for row, found in zip(
            rows, calibrations([history[name][row] for row in rows], rare=raw.rare[rows].tolist()), strict=True
        ):
            fitted[row][name] = replace(fitted[row][name], calibration=found)
    tested = Evidence([tuple(own.values()) for own in fitted], step=step, transform=transform)
    taken = _in_blocks(lambda part: _found(tested, series, part, same), at, len(judged))
    strongest = np.abs(np.stack([e for (e,) in taken.values()])).max(axis=0)
    strongest = np.where(known, strongest, np.nan)
    divisors = np.array([_divisor(row[turn], row[~turn]) for row in strongest])
    strongest = np.where(turn, strongest / divisors[:, None], strongest)
    runs = clustering(list(strongest), gap)
    return [
        (*own.values(), FittedTest(ANY, "any", (share, divisor), found, _reason(share, divisor)))
        for own, found, share, divisor in zip(
            fitted, calibrations(list(strongest), rare=raw.rare.tolist()), runs, divisors.tolist(), strict=True
        )
    ]


def _repeats_by_nature(history: Floats) -> bool:
    """Whether runs of equal values are so ordinary that no calibration makes them tell anything: as they are always
    the strongest evidence, they would only blunt the other tests."""
    known = history[np.isfinite(history)]
    return bool(known.size and np.quantile(known, 1 - KNEE) > KNEES[1])


def _divisor(at_turns: Floats, elsewhere: Floats) -> float:
    """How much more evidence the turns of months show, at the knee; 1 where it is not clearly more."""
    turns, others = (values[np.isfinite(values)] for values in (at_turns, elsewhere))
    if turns.size < LEAST_TURN or others.size < LEAST_TURN:
        return 1.0
    more = float(np.quantile(turns, 1 - KNEE) / max(float(np.quantile(others, 1 - KNEE)), 0.5))
    return more if more > CLEARLY_MORE else 1.0


def _reason(runs_per_excess: float, divisor: float) -> str:
    words = f"the strongest evidence of all tests, by its history; excesses come in runs of {1 / runs_per_excess:.2g}"
    return words if divisor == 1 else f"{words}; divided by {divisor:.2g} at the turn of the month"


def runs_per_excess(tests: Sequence[FittedTest]) -> float:
    """Of all tests of a variable together, in (0, 1]; 1 for one that is not judged."""
    return next((t.parameters[0] for t in tests if t.test == ANY and t.parameters), 1.0)


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0


def _residual_test(
    test: str,
    residuals: Floats,
    distribution: str,
    floors: Mapping[str, float],
    expected: Floats | None = None,
) -> FittedTest:
    known = residuals[np.isfinite(residuals)]
    floor = floors.get(test, 0.0)
    if test == SINGLE:
        fitted = fit_distribution(residuals, distribution, scale_floor=floor, expected=expected)
    else:
        known, note = without_contamination(known, floor=floor)
        middle = float(np.median(known)) if known.size else 0.0
        scale = robust_scale(known, floor=floor) if known.size else max(floor, 1.0)
        degrees, wider = (LEVEL_DEGREES, LEVEL_WIDER) if test == LEVEL else (DEGREES, 1.0)
        reason = f"t with {degrees:g} degrees at {wider:g} times the robust scale {scale:.3g}"
        reason = f"{reason}; {note}" if note else reason
        fitted = FittedDistribution("t", (degrees, middle, wider * scale), reason)
    return FittedTest(test, fitted.name, fitted.parameters, IDENTITY, fitted.reason)


def _counts_test(test: str, felt: Floats, expected: Floats, length: int) -> FittedTest:
    """Excess scatter by moments: the mean of (y - m)^2 - m over the mean of m^2, large squares censored."""
    known = np.isfinite(felt) & np.isfinite(expected)
    y, m = felt[known], np.maximum(expected[known], 1e-9)
    phi = 0.0
    if y.size >= 2:
        square = (y - m) ** 2
        most = np.quantile(square, 0.995)
        phi = max(0.0, float((np.minimum(square, most) - m).mean() / (m**2).mean()))
    law = "Poisson" if phi < 1e-6 else f"negative binomial, variance = mean + {phi:.3g} mean²"
    least = max(length * LEAST_EXPECTED, LEAST_OF_MEAN * _mean(m))
    reason = f"{law}; from {y.size} sums of the history; never taken to expect less than {least:.2g}"
    return FittedTest(test, "counts", (phi, least), IDENTITY, reason)


def _gaps_test(waits: Floats, observed: Floats, usable: Mask) -> FittedTest:
    """Gaps are the waits just before an interval with events."""
    ends = np.flatnonzero((observed[1:] > 0) & (waits[:-1] > 0) & usable[1:])
    gaps = waits[ends]
    if gaps.size < LEAST_GAPS:
        reason = f"{gaps.size} gaps, fewer than {LEAST_GAPS}: as if events were independent, and twice as wide"
        return FittedTest(SILENCE, "gaps", (2 * float(np.log(2)), 2.0), IDENTITY, reason)
    median = max(float(np.median(gaps)), LEAST_GAP)
    beyond = np.minimum(gaps[gaps > median], np.quantile(gaps, 0.99)) - median
    excess = max(float(beyond.mean()) if beyond.size else 0.0, LEAST_GAP)
    reason = f"half of {gaps.size} gaps exceed {median:.2g} expected events, by {excess:.2g} on average"
    return FittedTest(SILENCE, "gaps", (median, excess), IDENTITY, reason)


def _repeats_test(residuals: Floats, observed: Floats, transform: Transform, floor: float) -> FittedTest:
    """The residuals' own middle and scale: the location of a skewed family is not where its middle is."""
    residuals = residuals[np.isfinite(residuals)]
    location = float(np.median(residuals)) if residuals.size else 0.0
    scale = robust_scale(residuals, floor=floor) if residuals.size else max(floor, 1.0)
    known = observed[np.isfinite(observed)]
    half = 0.5
    if transform is not Transform.ANSCOMBE and known.size:
        distances = np.diff(np.unique(known))
        half = float(distances.min()) / 2 if distances.size else 0.5
    return FittedTest(
        FROZEN, "repeats", (location, scale, half), IDENTITY, "how likely each interval repeats the one before"
    )


def as_json(tests: Sequence[FittedTest]) -> list[dict[str, Any]]:
    """For a store."""
    return [
        {
            "test": t.test,
            "family": t.family,
            "parameters": list(t.parameters),
            "knee": t.calibration.knee,
            "slope": t.calibration.slope,
            "reason": t.reason,
        }
        for t in tests
    ]


def from_json(stored: Sequence[Mapping[str, Any]]) -> tuple[FittedTest, ...]:
    """What `as_json` wrote."""
    return tuple(
        FittedTest(s["test"], s["family"], tuple(s["parameters"]), Calibration(s["knee"], s["slope"]), s["reason"])
        for s in stored
    )
