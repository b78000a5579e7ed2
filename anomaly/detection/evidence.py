"""How strongly each interval of each variable speaks against being ordinary: several tests, one probability.

In: counts and their predictions, in time. Out: per test and interval the evidence, and one tail probability per
interval that means what it says.

=============  ========================================================================================  =============
test           asks                                                                                      of
=============  ========================================================================================  =============
``single``     is this interval too far from its prediction, and from its outlook?                       all
``sum-<k>``    are the latest k intervals together too far from their outlook, the newest of them too?   all
``frozen``     has the same count been repeated too often?                                               regular ones
``silence``    has nothing been written for too long?                                                    rare ones
``level``      are the latest three days together too far from theirs?                                   regular ones
=============  ========================================================================================  =============

A sum goes on telling of what ended long ago, until the last hour of it has left. So its newest part has to depart as it
does, at least by a third of its share (`lasts`): a day by its latest quarter, three days by the latest day and quarter.

After an incident that lasted, an outlook has followed it, and does not know what comes after it. While the latest
eleven days hold anomalies, counts and sums are compared with what lies between the outlook and the season: the end of a
drift is news as long as it lasts, and not for the days that follow.

A prediction follows what happens: by the evening it expects the day's losses to go on, and sums of its residuals have
forgotten them. So sums are compared with the *outlook*, what was expected before the day began
(`anomaly.detection.channels`). A single interval is compared with what lies between its prediction and its outlook
(`due`): the one follows the latest weeks closely, the other takes the middle of many, and where they differ, as in an
hour that is busy on some days only, nobody knows which is right.

*Regular* variables are tested in the transform, A(sum of counts) - A(sum of predictions), because transforming after
adding up keeps one scale for an hour and for a day. *Rare* ones (fewer than three events per interval) are tested by
the distribution of their counts as long as fewer than three are expected together: negative binomial with the scatter
that their history shows, Poisson where it shows none. Silence is measured in expected events since the last write,
which turns any daily pattern into a steady clock (the time-rescaling theorem), and compared with the gaps of the
history.

Evidence is -ln p. Each test's is calibrated by the variable's own history, and so is the strongest of all of them
(`anomaly.detection.calibration`); the tests are fitted in `anomaly.detection.fitted_tests`.

Sources:
    Time-rescaling: E. N. Brown et al., "The time-rescaling theorem and its application to neural spike train data
    analysis", 2002. Sums over several lengths: E. S. Page, "Continuous inspection schemes", 1954, is the idea's root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.calibration import KNEE_EVIDENCE, Calibration, calibrated, uncalibrated
from anomaly.detection.families import FAMILIES
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
UNSETTLED = 6
"""Anomalies in `UNSETTLED_REACH`. Fewer are a spike."""
UNSETTLED_REACH = timedelta(days=8) + LEVEL_REACH
"""An outlook remembers the week that ended a day ago, and the longest sum three days of outlooks."""
LASTING = 1 / 3
"""Of a sum's relative departure, what its newest part has of its own at least."""

LARGEST = 27.6
"""-ln of 1e-12, the smallest probability that is told."""
DEGREES = 8.0
_TINY = 1e-300


def memory(step: timedelta) -> int:
    """Intervals before the one that is judged that its evidence looks at."""
    return max(FROZEN_REACH, SUMS[-1], SILENCE_REACH // step, LEVEL_REACH // step)


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
    season: Floats | None = None
    """(V, T) what the season alone would expect; on days that nobody is sure of, the outlook. None for nobody."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the tests found at n intervals."""

    found: dict[str, Floats]
    """Per test, (V, n): calibrated evidence, negative for too few, positive for too many; 0 for none."""
    sums: dict[str, tuple[Floats, Floats]]
    """Per test that compares sums, (V, n): what was felt and what was expected."""
    waits: Floats | None = None
    """(V, n) events expected since the last write; None where nobody is tested for silence."""


def unsettled(anomalous: Mask, step: timedelta) -> Mask:
    """(V,) of which the latest eleven days, (V, T) in time, held so many anomalies that nobody can say what is usual:
    an outlook follows what lasts, and so does not know what comes after it."""
    first = anomalous.shape[1] - max(1, UNSETTLED_REACH // step)
    return np.asarray(anomalous[:, max(first, 0) :].sum(axis=1) >= UNSETTLED)


def sums_until(
    series: Series, at: NDArray[np.int64], lengths: Sequence[int], loose: Mask | None = None
) -> dict[int, tuple[Floats, Floats]]:
    """Per length what was felt and what was expected of the intervals that end at these positions, (V, n); NaN where
    one is unknown. A single interval has what is `due`, several have their outlook; those of loose variables, (V,),
    what is nearest of that, the season's and all between."""
    longest = max(lengths)
    felt, outlook = (_latest(values, at, longest) for values in (series.felt, series.outlook))
    sums = {k: (felt[..., -k:].sum(axis=2), outlook[..., -k:].sum(axis=2)) for k in lengths}
    observed = series.observed[:, at]
    sums[1] = observed, due(observed, series.expected[:, at], series.outlook[:, at])
    if loose is not None and series.season is not None and loose.any():
        season = _latest(series.season[loose], at, longest)
        for k, (seen, expected) in sums.items():
            expected[loose] = due(seen[loose], expected[loose], season[..., -k:].sum(axis=2))
    return sums


def due(observed: Floats, expected: Floats, outlook: Floats) -> Floats:
    """What is nearest to the counts between their prediction and their outlook, (V, n); the prediction where there is
    no outlook, NaN where there is no prediction."""
    low, high = np.fmin(expected, outlook), np.fmax(expected, outlook)
    return np.where(np.isfinite(expected), np.clip(observed, low, high), np.nan)


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


def lasts(
    newest: tuple[Floats, Floats], whole: tuple[Floats, Floats], lengths: tuple[int, int], transform: Transform
) -> Mask:
    """(V, n) whether a sum's newest part departs as the whole sum does, at least by `LASTING` of its share.

    Args:
        newest, whole: what was felt and what was expected, (V, n) each.
        lengths: intervals of each. Counts depart by shares of what was expected, gauges by interval.
        transform: of the group.
    """
    (part, part_expected), (felt, expected) = newest, whole
    shares = (part_expected, expected) if transform is Transform.ANSCOMBE else lengths
    departed = felt - expected
    return np.asarray((part - part_expected) * shares[1] * np.sign(departed) >= LASTING * np.abs(departed) * shares[0])


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


def waits_until(series: Series, at: NDArray[np.int64], reach: int) -> Floats:
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


def runs_per_excess(tests: Sequence[FittedTest]) -> float:
    """Of all tests of a variable together, in (0, 1]; 1 for one that is not judged."""
    return next((t.parameters[0] for t in tests if t.test == ANY and t.parameters), 1.0)


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

    def take(self, series: Series, at: NDArray[np.int64], same: Floats, loose: Mask | None = None) -> Taken:
        """Asks all tests of these intervals.

        Args:
            series: up to and including the intervals asked for.
            at: (n,) positions along T.
            same: (V, T), `prepared`.
            loose: (V,) of which nobody can say what is usual (`unsettled`); None for nobody.
        """
        sums = sums_until(series, at, (1, *SUMS, LEVEL_REACH // self._step), loose)
        found: dict[str, Floats] = {}
        newest = np.sign(series.observed[:, at] - series.expected[:, at])
        lengths = {SINGLE: 1} | {f"sum-{k}": k for k in SUMS}
        if self._families[LEVEL]:
            lengths[LEVEL] = LEVEL_REACH // self._step
        lasting, shorter = np.ones(newest.shape, dtype=bool), 1
        for name, length in sorted(lengths.items(), key=lambda one: one[1]):
            evidence = self._of_sums(name, *sums[length], length)
            if shorter > 1:
                lasting &= lasts(sums[shorter], sums[length], (shorter, length), self._transform)
            agrees = lasting & (np.sign(evidence) == newest) if length > 1 else lasting
            found[name] = np.where(agrees, evidence, 0.0)
            shorter = length
        compared = {name: sums[length] for name, length in lengths.items()}
        if self._families[FROZEN]:
            found[FROZEN] = self._calibrate(FROZEN, _run_evidence(series, at, same, self._transform))
        waits = None
        if self._families[SILENCE]:
            waits = waits_until(series, at, SILENCE_REACH // self._step)
            evidence = np.zeros(waits.shape)
            for rows, (median, excess) in self._families[SILENCE]["gaps"]:
                evidence[rows] = of_waits(waits[rows], median[:, None], excess[:, None])
            found[SILENCE] = -self._calibrate(SILENCE, evidence)
        return Taken({name: np.nan_to_num(values) for name, values in found.items()}, compared, waits)

    def single_limits(self, limits: Floats) -> Floats:
        """(V,) evidence of the test of single intervals, before calibration, at which all tests together reach these
        limits."""
        return uncalibrated(uncalibrated(limits, *self._calibration[ANY]), *self._calibration[SINGLE])

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

    def bounds(
        self,
        expected: Floats,
        limits: Floats,
        direction: Direction = Direction.BOTH,
        *,
        beside: Sequence[Floats] = (),
    ) -> tuple[Floats, Floats]:
        """Single counts (V, n) beyond which an interval is anomalous, for what is expected, (V, n).

        Args:
            expected: predictions; NaN where there is none, and then no bounds.
            limits: (V,) evidence from which an interval is anomalous.
            direction: that counts.
            beside: (V, n) each, what else may be due: the outlook, and the season while nobody knows; NaN for nothing.
        """
        ends = np.fmin.reduce([expected, *beside]), np.fmax.reduce([expected, *beside])
        low, high = (
            transforms.inverse(
                transforms.forward(end, self._transform) + self._residuals(limits, direction, end)[side],
                self._transform,
            )
            for side, end in enumerate(ends)
        )
        tail = np.exp(-self.single_limits(limits)) / 2
        for rows, (phi, least) in self._families[SINGLE].get("counts", []):
            few, many = (
                _count_bounds(np.maximum(end[rows], least[:, None]), phi, tail[rows])[side]
                for side, end in enumerate(ends)
            )
            low[rows] = 0.0 if direction is Direction.SURGE else few
            high[rows] = np.inf if direction is Direction.DROP else many
        return np.where(np.isnan(expected), np.nan, low), np.where(np.isnan(expected), np.nan, high)

    def _of_sums(self, name: str, felt: Floats, expected: Floats, length: int) -> Floats:
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
        return np.asarray(self._calibrate(name, evidence) * np.sign(felt - expected))

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
    knee, slope = np.full(variables, float(KNEE_EVIDENCE)), np.ones(variables)
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
