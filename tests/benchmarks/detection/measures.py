"""What a detector is worth: recall against false incidents, calibration, forecast error.

In: scores, tail probabilities or predictions, (V, N), and the truth. Out: figures. Pure: arrays in, numbers out.

Scores are larger where more anomalous. A threshold turns them into alarms; the alarms of one variable that are at most
`gap` intervals apart are one incident, because that is how often somebody is woken.

An injected incident is **found** when an alarm falls within ``[start, end)``. Alarms in the `gap` intervals after its
end are neither true nor false: what follows an outage is unusual too. All others are **false**, and are counted as
incidents per 1,000 variable-days of the time in which an alarm would be false.

Recall *at* 5 false incidents is taken at the lowest threshold such that neither it nor any higher one gives more. (The
number of false incidents falls again when alarms are so many that they merge; a detector that always cries has one
incident per variable. Coming from above, the sweep stops before that.) The thresholds that are tried are those of the
r-th largest false scores, with r growing by steps of at most 2 %.

Calibration is the share of judged intervals of clean data whose tail probability is at most the promised one, over the
promised one: 1 is right, 10 cries ten times as often as it says. Its confidence interval is a bootstrap over whole
variables, because the intervals of one variable are not independent (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

RATE_CLASSES: Mapping[str, tuple[float, float]] = {
    "all >= 1": (1, np.inf),
    "< 1": (0, 1),
    "1-10": (1, 10),
    "10-100": (10, 100),
    "100-1k": (100, 1_000),
    "> 1k": (1_000, np.inf),
}
"""Events per hour, from the first to below the second."""
_RANK_GROWTH = 1.02
_MOST_FALSE = 500.0
"""False incidents per 1,000 variable-days at which the sweep ends: nobody would read one every second day."""
_LARGEST = 1e300


class Truth(Protocol):
    """One injected incident."""

    @property
    def row(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def start(self) -> int:
        """First interval."""

    @property
    def end(self) -> int:
        """First interval after it."""


@dataclass(frozen=True, slots=True)
class Curve:
    """False incidents and recall as the threshold falls: K thresholds, I injected incidents."""

    thresholds: Floats
    """(K,) falling. A score of at least this is an alarm."""
    false_incidents: Floats
    """(K,) per 1,000 variable-days."""
    best: Floats
    """(I,) largest score within each injected incident; -inf where there is none."""
    kinds: tuple[str, ...]
    """(I,)"""
    variable_days: float
    """Time in which an alarm would be false."""

    @property
    def recall(self) -> Floats:
        """(K,) share of the injected incidents that are found; NaN when there are none."""
        if not len(self.best):
            return np.full(self.thresholds.shape, np.nan)
        found: Floats = (self.best[None, :] >= self.thresholds[:, None]).mean(axis=1)
        return found

    def threshold_at(self, false_incidents: float) -> float:
        """The lowest one down to which there are never more false incidents per 1,000 variable-days; inf for none."""
        too_many = self.false_incidents > false_incidents
        allowed = int(np.argmax(too_many)) if too_many.any() else len(too_many)
        return float(self.thresholds[allowed - 1]) if allowed else np.inf


@dataclass(frozen=True, slots=True)
class Point:
    """What a detector does at one threshold."""

    threshold: float
    recall: float
    recall_by_kind: Mapping[str, float]
    median_delay: float
    """Intervals from the start of an incident to its first alarm, of those found; NaN when none is."""
    injected: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Realised over promised rate of one class of variables at one level."""

    rate_class: str
    level: float
    ratio: float
    low: float
    high: float
    """95 % confidence interval of the ratio."""
    variables: int
    judged: int
    """Intervals with a tail probability."""
    not_judged: int
    worst: float
    """The largest ratio of a single variable."""


def curve(scores: Floats, truth: Sequence[Truth], judged: Mask, *, gap: int, per_day: int) -> Curve:
    """Sweeps the threshold.

    Args:
        scores: (V, N), NaN for never an alarm.
        truth: injected incidents, of these rows.
        judged: (V, N) which intervals count at all.
        gap: intervals; alarms at most this far apart are one incident, and this many after an injected incident are
            neither true nor false.
        per_day: intervals in a day.
    """
    usable = _usable(scores, judged)
    exposed = judged & ~_covered(truth, scores.shape, after=gap)
    outside = np.where(exposed, usable, -np.inf)
    best = np.array([usable[one.row, one.start : one.end].max(initial=-np.inf) for one in truth])
    days = float(exposed.sum() / per_day)
    thresholds, rates = [], []
    for threshold in _thresholds(outside):
        thresholds.append(threshold)
        rates.append(1000 * len(incident_starts(outside >= threshold, gap)) / max(days, 1e-9))
        if rates[-1] > _MOST_FALSE:
            break
    return Curve(np.array(thresholds), np.array(rates), best, tuple(one.kind for one in truth), days)


def point(curve: Curve, scores: Floats, truth: Sequence[Truth], judged: Mask, threshold: float) -> Point:
    """Recall, recall per kind and median delay at one threshold. The arguments are those of `curve`."""
    usable = _usable(scores, judged)
    found = curve.best >= threshold
    delays = [
        int(np.argmax(usable[one.row, one.start : one.end] >= threshold))
        for one, hit in zip(truth, found, strict=True)
        if hit
    ]
    kinds = np.array(curve.kinds)
    by_kind = {str(kind): float(found[kinds == kind].mean()) for kind in np.unique(kinds)}
    recall = float(found.mean()) if len(found) else np.nan
    return Point(threshold, recall, by_kind, float(np.median(delays)) if delays else np.nan, len(found))


def average_precision(scores: Floats, truth: Sequence[Truth], judged: Mask, *, gap: int, per_day: int) -> float:
    """Over variable-days: a day is positive where an injected incident was, its score the largest of its intervals.

    Days are blocks of `per_day` intervals. Intervals in the `gap` after an incident are left out; so is a day with
    nothing left. NaN where no day is positive.
    """
    from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

    inside = _covered(truth, scores.shape, after=0)
    counts = judged & (inside | ~_covered(truth, scores.shape, after=gap))
    usable = _usable(scores, judged)
    days = scores.shape[1] // per_day
    shape = (scores.shape[0], days, per_day)
    cut = np.s_[:, : days * per_day]
    any_left = np.asarray(counts[cut].reshape(shape).any(axis=2))
    positive = np.asarray((inside & judged)[cut].reshape(shape).any(axis=2))[any_left]
    largest = np.where(counts, usable, -np.inf)[cut].reshape(shape).max(axis=2)[any_left]
    if not positive.any():
        return float("nan")
    lowest = largest[np.isfinite(largest)].min(initial=0) - 1
    return float(average_precision_score(positive, np.where(np.isfinite(largest), largest, lowest)))


def calibrate(
    tail_probability: Floats,
    rates: Floats,
    judged: Mask,
    *,
    levels: Sequence[float] = (1e-3, 1e-4),
    draws: int = 1000,
    seed: int = 0,
) -> list[Calibration]:
    """Realised over promised rates on clean data, for each class of `RATE_CLASSES` that has variables.

    Args:
        tail_probability: (V, N) in [0, 1], NaN where not judged.
        rates: (V,) mean events per hour.
        judged: (V, N) which intervals count at all.
        levels: promised rates.
        draws: bootstrap samples.
        seed: of the bootstrap.
    """
    known = judged & ~np.isnan(tail_probability)
    results = []
    for name, (low, high) in RATE_CLASSES.items():
        rows = np.flatnonzero((rates >= low) & (rates < high))
        if not len(rows):
            continue
        tests = known[rows].sum(axis=1)
        for level in levels:
            beyond = (known[rows] & (np.nan_to_num(tail_probability[rows], nan=1.0) <= level)).sum(axis=1)
            promised = tests * level
            ends = _bootstrap(beyond, promised, draws=draws, seed=seed)
            single = np.divide(beyond, promised, out=np.zeros(len(rows)), where=promised > 0)
            ratio = float(beyond.sum() / promised.sum()) if promised.sum() else np.nan
            missing = int(judged[rows].sum() - tests.sum())
            results.append(
                Calibration(name, level, ratio, *ends, len(rows), int(tests.sum()), missing, float(single.max()))
            )
    return results


def _bootstrap(beyond: NDArray[np.int64], promised: Floats, *, draws: int, seed: int) -> tuple[float, float]:
    """95 % interval of the ratio of sums, by drawing variables with replacement."""
    variables = len(beyond)
    weights = np.random.default_rng(seed).multinomial(variables, np.full(variables, 1 / variables), size=draws)
    sums = weights @ promised
    ratios = np.divide(weights @ beyond, sums, out=np.full(draws, np.nan), where=sums > 0)
    if np.isnan(ratios).all():
        return np.nan, np.nan
    low, high = np.nanpercentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def forecast_error(predicted: Floats, counts: NDArray[np.int64], judged: Mask) -> Floats:
    """MAE / sqrt(mean + 0.1) per variable, (V,), over judged intervals: about 0.8 for the mean of Poisson counts.

    Raises:
        ValueError: a judged interval without a prediction.
    """
    if (gaps := int(np.isnan(predicted[judged]).sum())) > 0:
        raise ValueError(f"{gaps} judged intervals have no prediction; a forecast is compared where it always answers")
    intervals = judged.sum(axis=1)
    error = np.where(judged, np.abs(counts - predicted), 0).sum(axis=1) / intervals
    mean = np.where(judged, counts, 0).sum(axis=1) / intervals
    result: Floats = error / np.sqrt(mean + 0.1)
    return result


def incident_starts(alarms: Mask, gap: int) -> NDArray[np.int64]:
    """(M, 2) row and first interval of each incident: alarms of a row that are at most `gap` apart are one."""
    rows, at = np.nonzero(alarms)
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]) | (at[1:] - at[:-1] > gap)
    return np.column_stack([rows[first], at[first]]).astype(np.int64)


def _usable(scores: Floats, judged: Mask) -> Floats:
    """-inf where there is no score; finite above, so that no score reaches the threshold "never"."""
    return np.where(judged & ~np.isnan(scores), np.minimum(scores, _LARGEST), -np.inf)


def _covered(truth: Sequence[Truth], shape: tuple[int, ...], *, after: int) -> Mask:
    """(V, N) where an injected incident is, and `after` intervals more."""
    covered = np.zeros(shape, dtype=bool)
    for one in truth:
        covered[one.row, one.start : one.end + after] = True
    return covered


def _thresholds(outside: Floats) -> Floats:
    """The scores of growing rank among those that would be false, falling, each once; and just above the largest."""
    falling = np.sort(outside[np.isfinite(outside)])[::-1]
    if not len(falling):
        return np.array([np.inf])
    steps = int(np.ceil(np.log(len(falling)) / np.log(_RANK_GROWTH))) + 1
    ranks = np.unique(np.minimum(np.floor(_RANK_GROWTH ** np.arange(steps)).astype(np.int64), len(falling)) - 1)
    above = np.nextafter(falling[0], np.inf)
    return np.concatenate([[above], np.unique(falling[ranks])[::-1]])
