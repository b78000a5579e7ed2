"""The oracle: knows every variable's true mean and law, and so shows what no detector can do better than.

In: simulated variables and counts. Out: scores, (V, N), ``-log10`` of the smallest of these tail probabilities:

* of the count, exactly, from the law it was drawn from;
* of the sums over the last 3, 6, 24 and 72 intervals, by the law with the same mean and variance among binomial,
  Poisson and negative binomial. Once a probability falls below 1e-4 the sums begin anew: what was told once is not
  told again for three days after it is over;
* of as many equal counts in a row, exactly: the product of the probabilities of each being what its predecessor was.

It is a ceiling for tests of this kind, up to how they are weighed against each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from anomaly.simulation.laws import Family
from anomaly.simulation.variables import Simulated, tail

Floats = NDArray[np.float64]

SUMS = (3, 6, 24, 72)
_SMALLEST = 1e-300
_TOLD = 1e-4


def oracle_scores(
    simulated: Simulated, counts: NDArray[np.int64], *, sums: tuple[int, ...] = SUMS, first: int = 0
) -> Floats:
    """(V, N). With no `sums`, only of single intervals; sums reach back to `first` and no further."""
    low, high = tail(simulated, counts)
    strongest = two_sided(low, high)
    if sums:
        strongest = np.minimum(strongest, _run_probability(counts, np.clip(low + high - 1, _SMALLEST, 1)))
        strongest = _with_sums(strongest, counts.astype(np.float64), simulated, sums, first)
    scores: Floats = -np.log10(np.maximum(strongest, _SMALLEST))
    return scores


def _with_sums(strongest: Floats, counts: Floats, simulated: Simulated, sums: tuple[int, ...], first: int) -> Floats:
    """(V, N) the smallest of the given probabilities and those of sums."""
    mean = simulated.expected
    variance = np.array(
        [_variance(one.family, own, one.dispersion) for one, own in zip(simulated.traits, mean, strict=True)]
    )
    since = np.full(len(counts), first)
    everything = [np.cumsum(np.pad(part, ((0, 0), (1, 0))), axis=1) for part in (counts, mean, variance)]
    rows, result = np.arange(len(counts)), strongest.copy()
    for at in range(first, counts.shape[1]):
        for length in sums:
            begin = np.maximum(since, at + 1 - length)
            sides = _matched_tails(*(total[:, at + 1] - total[rows, begin] for total in everything))
            result[:, at] = np.minimum(result[:, at], two_sided(*sides))
        since[result[:, at] < _TOLD] = at + 1
    return result


def oracle_tail_probability(simulated: Simulated, counts: NDArray[np.int64]) -> Floats:
    """(V, N) of single intervals: at most as often below a level as the level says, because counts are discrete."""
    return two_sided(*tail(simulated, counts))


def two_sided(low: Floats, high: Floats) -> Floats:
    """Twice the smaller tail, at most 1."""
    both: Floats = np.minimum(2 * np.minimum(low, high), 1)
    return both


def _variance(family: Family, mean: Floats, dispersion: float) -> Floats:
    """Of one interval's count, by the table in `anomaly.simulation.laws`."""
    match family:
        case "poisson":
            return mean
        case "negative-binomial":
            return mean + dispersion * mean**2
        case "scheduled":
            return mean * dispersion
        case "zero-inflated":
            return mean + mean**2 * dispersion / (1 - dispersion)
        case "bursty":
            return mean * (2 * dispersion - 1)


def _matched_tails(counts: Floats, mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """P(Y <= count) and P(Y >= count) by the law with this mean and variance."""
    counts, mean = np.maximum(np.rint(counts), 0), np.maximum(mean, 1e-9)
    ratio = np.maximum(variance, 1e-9) / mean
    low, high = special.gammaincc(counts + 1, mean), special.gammainc(np.maximum(counts, 1), mean)

    over = ratio > 1.001
    shape, success = mean[over] / (ratio[over] - 1), 1 / ratio[over]
    low[over] = special.betainc(shape, counts[over] + 1, success)
    high[over] = special.betaincc(shape, np.maximum(counts[over], 1), success)

    under = ratio < 0.999
    missed = ratio[under]
    due = np.maximum(mean[under] / (1 - missed), 1)
    some = counts[under]
    low[under] = np.where(some >= due, 1.0, special.betainc(np.maximum(due - some, 1e-9), some + 1, missed))
    high[under] = special.betainc(np.maximum(some, 1), np.maximum(due - some, 0) + 1, 1 - missed)
    return low, np.where(counts == 0, 1.0, high)


def _run_probability(counts: NDArray[np.int64], probability: Floats) -> Floats:
    """(V, N) of the run of equal counts that ends here, given its first one."""
    logs = np.log(probability)
    logs[:, 0] = 0
    equal = np.zeros(counts.shape, dtype=bool)
    equal[:, 1:] = counts[:, 1:] == counts[:, :-1]
    total = np.cumsum(np.where(equal, logs, 0), axis=1)
    at_start = np.maximum.accumulate(np.where(equal, 0, np.arange(counts.shape[1])), axis=1)
    result: Floats = np.exp(total - np.take_along_axis(total, at_start, axis=1))
    return result
