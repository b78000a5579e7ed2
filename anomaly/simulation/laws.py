"""How a count varies about its mean: one law for each family, with its exact tails.

In: the mean per interval, (N,), and one number per variable, its `dispersion`. Out: counts drawn from a generator,
and for any counts the probability of as few and of as many. Intervals are independent of each other.

===================== ====================================== =========================================
family                dispersion                             variance of a count with mean m
===================== ====================================== =========================================
``poisson``           not used                               m
``negative-binomial`` a: squared variation of the rate       m + a m²
``scheduled``         a: share of what is due that is missed about a m: less than Poisson's
``zero-inflated``     a: share of intervals that stay empty  m + m² a / (1 - a)
``bursty``            s: mean events per burst               m (2 s - 1)
===================== ====================================== =========================================

Scheduled counts are binomial: whole numbers of writes are due, the same every week unless the variable grows, and
each is missed with the same small chance. Bursts arrive as a Poisson process and have geometric sizes, which is the
Pólya-Aeppli law (Johnson, Kemp and Kotz, *Univariate Discrete Distributions*, chapter 9). All tails are closed forms
in the incomplete beta and gamma functions; that of bursts is a sum over the number of bursts, cut where what is left
out is below 1e-15.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Family = Literal["poisson", "negative-binomial", "scheduled", "zero-inflated", "bursty"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_HALF = 0.5 - 1e-6
"""To round by. Sums end on exact halves so often that the error of a sum would decide, in each week otherwise."""


class Law(Protocol):
    """One family. All arrays are (N,); `mean` is at least 0, and where it is 0 nothing is ever written."""

    def attained(self, mean: Floats, dispersion: float, weeks: Integers) -> Floats:
        """The mean that counts really have, where the wanted one cannot be had exactly.

        Args:
            mean: wanted.
            dispersion: of the variable.
            weeks: number of the local week that each interval lies in, never less than that of the one before.
        """

    def draw(self, rng: np.random.Generator, mean: Floats, dispersion: float) -> Integers:
        """Counts with this mean, an attained one."""

    def tails(self, counts: Floats, mean: Floats, dispersion: float) -> tuple[Floats, Floats]:
        """P(Y <= count) and P(Y >= count), for counts >= 0 and means > 0."""


class _AnyMean:
    def attained(self, mean: Floats, dispersion: float, weeks: Integers) -> Floats:  # noqa: ARG002
        return mean


class Poisson(_AnyMean):
    def draw(self, rng: np.random.Generator, mean: Floats, dispersion: float) -> Integers:  # noqa: ARG002
        return rng.poisson(mean)

    def tails(self, counts: Floats, mean: Floats, dispersion: float) -> tuple[Floats, Floats]:  # noqa: ARG002
        return _poisson_tails(counts, mean)


class NegativeBinomial(_AnyMean):
    def draw(self, rng: np.random.Generator, mean: Floats, dispersion: float) -> Integers:
        return rng.poisson(rng.gamma(1 / dispersion, dispersion * mean))

    def tails(self, counts: Floats, mean: Floats, dispersion: float) -> tuple[Floats, Floats]:
        shape = 1 / dispersion
        return _negative_binomial_tails(counts, np.full_like(mean, shape), shape / (shape + mean))


class Scheduled:
    def attained(self, mean: Floats, dispersion: float, weeks: Integers) -> Floats:
        """Whole writes are due as their mean adds up over a week, so each week's timetable is the same."""
        added = np.cumsum(mean / (1 - dispersion))
        before = np.concatenate([[0.0], added[:-1]])
        of_earlier_weeks = before[np.searchsorted(weeks, weeks)]
        due = np.floor(added - of_earlier_weeks + _HALF) - np.floor(before - of_earlier_weeks + _HALF)
        return np.asarray(due * (1 - dispersion))

    def draw(self, rng: np.random.Generator, mean: Floats, dispersion: float) -> Integers:
        return rng.binomial(_due(mean, dispersion).astype(np.int64), 1 - dispersion)

    def tails(self, counts: Floats, mean: Floats, dispersion: float) -> tuple[Floats, Floats]:
        due = _due(mean, dispersion)
        low = special.betainc(np.maximum(due - counts, 1), counts + 1, dispersion)
        high = special.betainc(np.maximum(counts, 1), np.maximum(due - counts, 0) + 1, 1 - dispersion)
        return np.where(counts >= due, 1.0, low), _or_certain(counts, np.where(counts > due, 0.0, high))


class ZeroInflated(_AnyMean):
    def draw(self, rng: np.random.Generator, mean: Floats, dispersion: float) -> Integers:
        return rng.poisson(mean / (1 - dispersion)) * (rng.random(len(mean)) >= dispersion)

    def tails(self, counts: Floats, mean: Floats, dispersion: float) -> tuple[Floats, Floats]:
        low, high = _poisson_tails(counts, mean / (1 - dispersion))
        return dispersion + (1 - dispersion) * low, _or_certain(counts, (1 - dispersion) * high)


class Bursty(_AnyMean):
    def draw(self, rng: np.random.Generator, mean: Floats, dispersion: float) -> Integers:
        bursts = rng.poisson(mean / dispersion)
        return bursts + np.where(bursts > 0, rng.negative_binomial(np.maximum(bursts, 1), 1 / dispersion), 0)

    def tails(self, counts: Floats, mean: Floats, dispersion: float) -> tuple[Floats, Floats]:
        bursts = mean / dispersion
        low, high = np.zeros_like(mean), np.zeros_like(mean)
        reach = 8.5 * np.sqrt(bursts.max(initial=0)) + 40
        first = int(max(0, bursts.min(initial=np.inf) - reach)) if len(mean) else 0
        for number in range(first, int(bursts.max(initial=0) + reach)):
            weight = np.exp(special.xlogy(number, bursts) - bursts - special.gammaln(number + 1))
            rest = np.maximum(counts - number, 0)
            if number == 0:
                low_given, high_given = np.ones_like(mean), (counts == 0).astype(np.float64)
            else:
                low_given, high_given = _negative_binomial_tails(rest, np.full_like(mean, number), 1 / dispersion)
                low_given = np.where(counts < number, 0.0, low_given)
            low += weight * low_given
            high += weight * high_given
        return np.minimum(low, 1), np.minimum(high, 1)


LAWS: Mapping[Family, Law] = {
    "poisson": Poisson(),
    "negative-binomial": NegativeBinomial(),
    "scheduled": Scheduled(),
    "zero-inflated": ZeroInflated(),
    "bursty": Bursty(),
}


def tails(family: Family, counts: Floats, mean: Floats, dispersion: float) -> tuple[Floats, Floats]:
    """P(Y <= count) and P(Y >= count), each (N,), under a family's law; both 1 for a zero where the mean is 0."""
    low, high = np.ones_like(mean), (counts == 0).astype(np.float64)
    active = mean > 0
    low[active], high[active] = LAWS[family].tails(counts[active], mean[active], dispersion)
    return low, high


def _due(mean: Floats, missed: float) -> Floats:
    return np.rint(mean / (1 - missed))


def _poisson_tails(counts: Floats, mean: Floats) -> tuple[Floats, Floats]:
    low = np.asarray(special.gammaincc(counts + 1, mean), dtype=np.float64)
    return low, _or_certain(counts, np.asarray(special.gammainc(np.maximum(counts, 1), mean), dtype=np.float64))


def _negative_binomial_tails(counts: Floats, shape: Floats, success: Floats | float) -> tuple[Floats, Floats]:
    """Of the failures before the `shape`-th success."""
    low = np.asarray(special.betainc(shape, counts + 1, success), dtype=np.float64)
    high = np.asarray(special.betaincc(shape, np.maximum(counts, 1), success), dtype=np.float64)
    return low, _or_certain(counts, high)


def _or_certain(counts: Floats, high: Floats) -> Floats:
    """The upper tail, with the certainty that a count is at least 0."""
    return np.where(counts == 0, 1.0, high)
