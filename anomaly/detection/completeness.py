"""How complete the counts of young intervals are, and what to expect of them until they are complete.

In: counts of past intervals as they stood at each age, and as they ended. Out: per variable and age the share of
the final count that is usually there (`Filling`); and from it, for a young interval, the expectation, the
thresholds and whether it can be judged yet.

The *age* of a count is the time from the end of the interval to the moment of the count, in whole intervals: 0 for
an interval that has just ended. From the group's lateness on, rows are no longer waited for: the oldest of the A
ages is complete by definition.

Insurers face the same question (claims of an accident year are reported for years after it), and so do
epidemiologists. What is taken from them: the development factors are learned from cohorts that are complete
already, and what is missing from a young one is filled up with its *expectation*, not by dividing what little is
there by a small share (R. L. Bornhuetter and R. E. Ferguson, "The Actuary and IBNR", Proc. Casualty Actuarial Society
59, 1972; J. F. Lawless, "Adjustments for reporting delays and the prediction of occurred but not reported
events", Canadian Journal of Statistics 22, 1994). Shares are medians of means (blocks of intervals that hold
enough events for a ratio to mean something), so that an outage in the history does not pass for usual lateness.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.groups.model import Transform

Floats = NDArray[np.float64]

MEMORY = timedelta(weeks=8)
MOST_INTERVALS = 672
"""What is learned from, whichever is less: eight weeks, or so many intervals (four weeks of hours)."""
BLOCK_EVENTS = 30
"""Final events that intervals are gathered to before a share is taken: of one event, it would be 0 or 1."""
PRIOR_INTERVALS = 24
"""A variable's own experience weighs as much as the group's once it has this many intervals with events."""
LEAST_SHARE = 1e-3
"""Shares are kept above 0, so that an expectation can be compared with what is there."""
QUANTILES = ((0.6827, 1.0), (0.98, 2.326))
"""The scatter is such that these shares of the intervals lie within so many standard deviations. The second keeps a
variable that is late once in twenty intervals from being called punctual, and still leaves out an outage of half a
day in a month of hours."""
VARIABLES_AT_ONCE = 1_000
"""Of a large group; a thousand of them over a month of hours take about 60 MB."""
MEDIAN_VARIANCE = np.pi / 2
"""Variance of a median, relative to that of a mean of the same values."""


@dataclass(frozen=True, slots=True)
class Filling:
    """How the counts of V variables fill in over A ages."""

    filled: Floats
    """(V, A) share of the final count that is usually there, in (0, 1]; never falls with age; 1 at the oldest."""
    scatter: Floats
    """(V, A) standard deviation of that share from interval to interval, beyond what chance does to a small number
    of events; 0 at the oldest age."""
    intervals: NDArray[np.int64]
    """(V,) complete intervals with events that it was learned from; 0 where only the group's experience speaks."""

    def __post_init__(self) -> None:
        if not self.filled.shape == self.scatter.shape == (len(self.intervals), self.filled.shape[-1]):
            raise ValueError(
                f"filled has shape {self.filled.shape}, scatter {self.scatter.shape}, intervals "
                f"{self.intervals.shape}; expected (V, A) twice and (V,)"
            )


def ages(lateness: timedelta, step: timedelta) -> int:
    """A: the oldest age, at which an interval is complete, is the first one that the lateness does not reach over."""
    return -(-lateness // step) + 1


def memory(step: timedelta) -> timedelta:
    """How far back counts by age are kept and learned from."""
    return min(MEMORY, MOST_INTERVALS * step)


def punctual(variables: int, ages: int) -> Filling:
    """What is assumed while nothing is known: everything is there at once."""
    return Filling(np.ones((variables, ages)), np.zeros((variables, ages)), np.zeros(variables, dtype=np.int64))


def learn(final: Floats, counted: Iterable[Floats]) -> Filling:
    """Learns how counts fill in from intervals that are complete.

    Args:
        final: (V, N) complete counts; NaN where there is none, or where the interval is still young.
        counted: for each age before the oldest, 0 first, the counts (V, N) as they stood then; NaN where nobody
            looked. An iterable, because all ages together may be more than one wants in memory.
    """
    shares = [_share(final, at_age) for at_age in counted]
    if not shares:
        return punctual(len(final), 1)
    one, zero = np.ones((len(final), 1)), np.zeros((len(final), 1))
    filled = _never_falling(np.column_stack([*(s.share for s in shares), one]))
    scatter = np.column_stack([*(s.scatter for s in shares), zero])
    return Filling(filled, scatter, np.max([s.intervals for s in shares], axis=0))


@dataclass(frozen=True, slots=True)
class _Share:
    """Of one age, all (V,)."""

    share: Floats
    scatter: Floats
    intervals: NDArray[np.int64]


def _share(final: Floats, counted: Floats) -> _Share:
    rows = range(0, len(final), VARIABLES_AT_ONCE)
    parts = [_of_each(final[at : at + VARIABLES_AT_ONCE], counted[at : at + VARIABLES_AT_ONCE]) for at in rows]
    own, variance, uncertain, intervals = (np.concatenate(column) for column in zip(*parts, strict=True))
    usual, between, typical = _of_the_group(own, variance, intervals)
    share = _shrunk(own, usual, intervals)
    pulled = _shrunk(np.zeros_like(own), 1.0, intervals)
    spread = _shrunk(variance + uncertain, typical, intervals) + pulled**2 * between
    return _Share(np.clip(share, LEAST_SHARE, 1.0), np.sqrt(spread), intervals.astype(np.int64))


def _of_each(final: Floats, counted: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Each variable by itself, (V,) each: share, its variance between intervals, that of its estimate, intervals."""
    known = np.isfinite(counted) & (final > 0)
    whole = np.where(known, final, 0.0)
    there = np.where(known, np.minimum(counted, whole), 0.0)
    events, arrived, squares = _blocks(whole, there)
    own = _weighted_median(arrived, events)
    variance = _variance_beyond_chance(own[:, None], events, arrived, squares)
    blocks = np.maximum((events > 0).sum(axis=1), 1)
    uncertain = MEDIAN_VARIANCE * (own * (1 - own) / np.maximum(events.sum(axis=1), 1) + variance / blocks)
    return own, variance, uncertain, known.sum(axis=1).astype(np.float64)


def _shrunk(own: Floats, towards: float, intervals: Floats) -> Floats:
    """Weighted by experience. Written so that a mean of ones is 1 to the last bit."""
    return (intervals * own + PRIOR_INTERVALS * towards) / (intervals + PRIOR_INTERVALS)


def _of_the_group(own: Floats, variance: Floats, intervals: Floats) -> tuple[float, float, float]:
    """The usual share, how it differs between variables (a variance), and the usual variance within one.

    A group without experience is taken to be punctual.
    """
    if not intervals.any():
        return 1.0, 0.0, 0.0
    weights = intervals[None, :]
    usual = _weighted_median(own[None, :] * weights, weights)
    between = 1.4826 * _weighted_median(np.abs(own - usual)[None, :] * weights, weights)
    typical = _weighted_median(variance[None, :] * weights, weights)
    shrunk = _shrunk(usual, 1.0, intervals.sum(keepdims=True))
    return float(shrunk[0]), float(between[0] ** 2), float(typical[0])


def _blocks(whole: Floats, there: Floats) -> tuple[Floats, Floats, Floats]:
    """Gathers consecutive intervals to blocks of about `BLOCK_EVENTS` events or more.

    Returns, all (V, N): final events, those of them that were there, and the sum of the squared final counts, per
    block; zeros where a variable has fewer than N blocks.
    """
    variables, n = whole.shape
    total = whole.sum(axis=1, keepdims=True)
    number = np.clip(total // BLOCK_EVENTS, 1, max(n, 1))
    middle = (np.cumsum(whole, axis=1) - whole / 2) / np.maximum(total, 1)
    block = np.minimum(middle * number, number - 1).astype(np.int64)
    cell = (block + n * np.arange(variables)[:, None]).ravel()
    return tuple(  # type: ignore[return-value]
        np.bincount(cell, values.ravel(), minlength=variables * n).reshape(variables, n)
        for values in (whole, there, whole**2)
    )


def _weighted_median(parts: Floats, weights: Floats) -> Floats:
    """(V,) of ``parts / weights`` along rows, each value with its weight; 1 in rows without any weight."""
    values = np.divide(parts, weights, out=np.ones_like(parts), where=weights > 0)
    order = np.argsort(values, axis=1, kind="stable")
    reached = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    middle = np.argmax(reached >= reached[:, -1:] / 2, axis=1)
    chosen = np.take_along_axis(order, middle[:, None], axis=1)
    return np.where(reached[:, -1] > 0, np.take_along_axis(values, chosen, axis=1)[:, 0], 1.0)


def _variance_beyond_chance(share: Floats, events: Floats, arrived: Floats, squares: Floats) -> Floats:
    """(V,) the variance of the share between intervals that explains how blocks scatter.

    A block lies within k standard deviations exactly when the variance is at least
    ``(distance^2 / k^2 - chance) / squares``. So the variance with which a share q of the blocks lies within k of them
    is the q-quantile of those.
    """
    empty = events == 0
    distance, chance = (arrived - share * events) ** 2, share * (1 - share) * events
    found = np.zeros(len(events))
    for quantile, deviations in QUANTILES:
        needed = np.maximum(distance / deviations**2 - chance, 0) / np.where(empty, 1, squares)
        needed = np.sort(np.where(empty, np.inf, needed), axis=1)
        blocks = (~empty).sum(axis=1)
        at = np.clip(np.ceil(quantile * blocks).astype(np.int64) - 1, 0, None)
        found = np.maximum(found, np.where(blocks > 0, needed[np.arange(len(events)), at], 0.0))
    return found


def _never_falling(shares: Floats) -> Floats:
    """(V, A) between the running maximum and the running minimum from the end, which both never fall."""
    highest = np.maximum.accumulate(shares, axis=1)
    lowest = np.minimum.accumulate(shares[:, ::-1], axis=1)[:, ::-1]
    return (highest + lowest) / 2


def expectation(predicted: Floats, filled: Floats) -> Floats:
    """Events to expect at an age, of those predicted for the complete interval (both broadcast)."""
    return predicted * filled


def completed(observed: Floats, predicted: Floats, filled: Floats) -> Floats:
    """What a young interval will probably end at: what is there, and what is usually still to come.

    Later windows are shown this instead of the partial count. All in events per interval, and broadcast; a complete
    interval is returned as it is, and one that is not predicted too.
    """
    missing = np.where((filled < 1) & np.isfinite(predicted), (1 - filled) * predicted, 0.0)
    return observed + missing


def thresholds(
    predicted: Floats,
    filled: Floats,
    scatter: Floats,
    *,
    lower: Floats,
    upper: Floats,
    deviations: Floats,
    transform: Transform,
) -> tuple[Floats, Floats]:
    """Thresholds on the residuals of young intervals, against `expectation`, in the transform. They are never nearer
    than those of complete intervals, and the same where an interval is complete.

    Two things add to the residual of a complete interval, and are added in squares: chance, which decides which of
    the events are there already (binomial thinning), and the share, which is another in every interval. The share is
    taken as many standard deviations away as the threshold itself, and stays in [0, 1]: what is above the
    threshold although everything may already be there is too much at any age.

    Args:
        predicted: events in the complete interval.
        filled, scatter: of the variable at the interval's age.
        lower, upper: thresholds on residuals of complete intervals, in the transform; may be infinite.
        deviations: how many standard deviations the thresholds would lie away if residuals were normal; > 0.
        transform: the space of residuals.

    All broadcast.
    """
    expected = transforms.forward(expectation(predicted, filled), transform)

    def moved(threshold: Floats, sign: int) -> Floats:
        outwards = ((filled < 1) | (scatter > 0)) & np.isfinite(threshold) & (threshold * sign > 0)
        distance = np.where(outwards, np.abs(threshold), deviations)
        share = np.clip(filled + sign * deviations * scatter, 0.0, 1.0)
        shift = transforms.forward(predicted * share, transform) - expected
        wider = _thinned(predicted, filled, distance / deviations, transform)
        return np.where(outwards, sign * np.hypot(distance * wider, shift), threshold)

    return moved(lower, -1), moved(upper, 1)


def _thinned(predicted: Floats, filled: Floats, scale: Floats, transform: Transform) -> Floats:
    """By what factor, at least 1, a residual scatters more when each event is there with probability `filled`.

    `scale` is the standard deviation of residuals of complete intervals. Thinning turns a variance of ``d`` times
    the mean into ``filled * d + 1 - filled`` times the (smaller) mean.
    """
    mean = np.maximum(predicted, 1.0)
    dispersion = scale**2 if transform is Transform.ANSCOMBE else scale**2 / mean
    return np.sqrt(np.maximum((filled * dispersion + 1 - filled) / dispersion, 1.0))


def judgeable(
    predicted: Floats, filled: Floats, young_lower: Floats, lower: Floats, transform: Transform
) -> NDArray[np.bool_]:
    """Whether an interval can be judged at its age: whether silence would be an anomaly already.

    Where silence is none even in the complete interval, waiting tells no more, and every age is judged.

    Args:
        predicted: events in the complete interval; NaN is not judged.
        filled: share usually there at the age.
        young_lower: lower threshold at the age, from `thresholds`.
        lower: of complete intervals.
        transform: the space of residuals.

    All broadcast: predictions (V, 1) with shares (V, A) tell the ages at which each variable is judged.
    """
    silence = transforms.forward(0.0, transform)
    now = silence - transforms.forward(expectation(predicted, filled), transform) < young_lower
    ever = silence - transforms.forward(predicted, transform) < lower
    judged: NDArray[np.bool_] = np.isfinite(predicted) & (now | ~ever)
    return judged


def as_if_complete(
    residuals: Floats, *, lower: Floats, upper: Floats, young_lower: Floats, young_upper: Floats
) -> Floats:
    """Residuals of young intervals, brought to the measure of complete ones: what lies on the young threshold comes
    to lie on the complete one, so that everything that follows (scores, tail probabilities) stays as it is.

    All broadcast, in the transform. Where a threshold is infinite the other one's measure is used.
    """
    below = _ratio(lower, young_lower)
    above = _ratio(upper, young_upper)
    below, above = np.where(np.isfinite(below), below, above), np.where(np.isfinite(above), above, below)
    stretched = residuals * np.where(residuals < 0, below, above)
    return np.where(np.isfinite(stretched), stretched, residuals)


def felt(
    observed: Floats,
    predicted: Floats,
    filled: Floats,
    scatter: Floats,
    *,
    lower: Floats,
    upper: Floats,
    deviations: Floats,
    transform: Transform,
) -> Floats:
    """What a young interval counts as: the complete count that would be as surprising as this partial one is.

    Tests of complete intervals and later windows can take it as if it had been written, alone and in sums. The
    arguments are those of `thresholds`, with what is there, in events per interval. Complete intervals are returned
    to the last bit, and so is what is not predicted.
    """
    young_lower, young_upper = thresholds(
        predicted, filled, scatter, lower=lower, upper=upper, deviations=deviations, transform=transform
    )
    residuals = transforms.forward(observed, transform) - transforms.forward(expectation(predicted, filled), transform)
    brought = as_if_complete(residuals, lower=lower, upper=upper, young_lower=young_lower, young_upper=young_upper)
    counts = transforms.inverse(transforms.forward(predicted, transform) + brought, transform)
    young = ((filled < 1) | (scatter > 0)) & np.isfinite(predicted)
    return np.where(young, counts, observed)


def at_ages(filling: Filling, counted_at: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Shares and scatters (V, N) of intervals that were counted at these ages (N,); complete beyond the oldest, and
    where the age is negative, which stands for counted when nobody kept ages any more."""
    oldest = filling.filled.shape[1] - 1
    column = np.where((counted_at < 0) | (counted_at > oldest), oldest, counted_at)
    return filling.filled[:, column], filling.scatter[:, column]


def _ratio(whole: Floats, young: Floats) -> Floats:
    usable = np.isfinite(whole) & np.isfinite(young) & (young != 0)
    unknown = np.full(np.broadcast(whole, young).shape, np.nan)
    return np.asarray(np.divide(whole, young, out=unknown, where=usable), dtype=np.float64)
