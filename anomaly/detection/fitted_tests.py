"""Where the tests of a variable come from: fitted to its history, and calibrated by it.

In: the history of V variables, what was observed, felt and expected. Out: `FittedTest`s, which
`anomaly.detection.evidence` asks. The history is taken without incidents that nobody has judged yet.

Days of the month that always depart are expected (`anomaly.detection.months`). Those that depart by another amount each
time are not: a history of sixty days holds the turn of the month twice, too little to forecast it, enough to see that
scatter is larger then. There, evidence is divided by how much larger it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.backtests import LEAST_EXPECTED
from anomaly.detection.calibration import IDENTITY, KNEE, KNEES, calibrations, clustering
from anomaly.detection.evidence import (
    ANY,
    DEGREES,
    FROZEN,
    LEVEL,
    LEVEL_REACH,
    SILENCE,
    SILENCE_REACH,
    SINGLE,
    SUMS,
    Evidence,
    FittedTest,
    Series,
    departure,
    sums_until,
    waits_until,
)
from anomaly.detection.residuals import (
    FittedDistribution,
    contaminated,
    fit_distribution,
    informative,
    robust_scale,
    without_contamination,
)
from anomaly.detection.statuses import RARE_RATE
from anomaly.groups.model import Transform

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

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
_BLOCK_CELLS = 50_000
"""Variables x intervals whose trailing windows are held at a time: up to a week each, 70 MB."""
LEAST_TURN = 100
"""Intervals without which turns of months are not told from other days."""
CLEARLY_MORE = 1.5


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
    sums = _in_blocks(lambda part: sums_until(series, part, (1, *SUMS, LEVEL_REACH // step)), at, len(rare))
    waits = _in_blocks(lambda part: {SILENCE: (waits_until(series, part, SILENCE_REACH // step),)}, at, len(rare))
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
