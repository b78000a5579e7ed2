"""Simulated variables: what each is like, its true mean per interval, and counts drawn from it.

In: `Traits`, a range and a seed. Out: `Simulated`, the counts beside the mean that an oracle would know.

Every variable has a random stream of its own, made of the seed and its name: adding, leaving out or reordering
variables changes no other's counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.groups import TimeRange
from anomaly.simulation.laws import LAWS, Family, tails
from anomaly.simulation.patterns import DAILY, Clock, Monthly, Pattern
from anomaly.simulation.streams import stream

RATES = (0.2, 100_000.0)
"""Mean events per hour, from the rarest to the busiest variable that is drawn by default."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Traits:
    """What one simulated variable is like."""

    name: str
    family: Family = "poisson"
    rate: float = 10.0
    """Mean events per hour over an ordinary week, before months and growth; above 0."""
    dispersion: float = 0.0
    """How counts vary about their mean; what the number means depends on the family: see `anomaly.simulation.laws`."""
    pattern: Pattern = field(default_factory=Pattern)

    def __post_init__(self) -> None:
        low, high = _DISPERSIONS[self.family]
        if not low <= self.dispersion <= high:
            raise ValueError(
                f"dispersion of {self.name!r} is {self.dispersion}; expected within [{low}, {high}] for {self.family}"
            )
        if not self.rate > 0:
            raise ValueError(f"rate of {self.name!r} is {self.rate} events per hour; expected above 0")


@dataclass(frozen=True, slots=True)
class Simulated:
    """Counts of V variables in N intervals, and the truth about them."""

    counts: NDArray[np.int64]
    """(V, N) events."""
    expected: NDArray[np.float64]
    """(V, N) the true mean: what an oracle knows."""
    starts: NDArray[np.datetime64]
    """(N,) datetime64[s], UTC."""
    step: timedelta
    zone: ZoneInfo
    traits: tuple[Traits, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """(V,)"""
        return tuple(traits.name for traits in self.traits)


def simulate(traits: Sequence[Traits], within: TimeRange, *, zone: ZoneInfo, seed: int) -> Simulated:
    """Draws counts.

    Args:
        traits: (V,), names distinct.
        within: N intervals. Growth starts at its beginning.
        zone: whose wall clock the patterns follow.
        seed: the same seed, variable and range give the same counts.

    Raises:
        ValueError: a name occurs twice.
    """
    if twice := {one.name for one in traits if sum(one.name == other.name for other in traits) > 1}:
        raise ValueError(f"variables {sorted(twice)} occur twice; expected a name of its own for each")
    starts = within.starts()
    clock = Clock.of(starts, within.step, zone)
    shape = (len(traits), len(starts))
    counts, expected = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    for row, one in enumerate(traits):
        law = LAWS[one.family]
        mean = one.rate * (within.step / _HOUR) * clock.activity(one.pattern)
        expected[row] = law.attained(mean, one.dispersion, clock.weeks)
        counts[row] = law.draw(stream("counts", seed, one.name), expected[row], one.dispersion)
    return Simulated(counts, expected, starts, within.step, zone, tuple(traits))


def tail(
    simulated: Simulated, counts: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An oracle's tail probabilities: P(Y <= count) and P(Y >= count) under the true law, each (V, N), exact.

    Args:
        simulated: whose law.
        counts: (V, N), what to judge; the simulated counts themselves when left out.
    """
    judged = (simulated.counts if counts is None else counts).astype(np.float64)
    pairs = [
        tails(one.family, judged[row], simulated.expected[row], one.dispersion)
        for row, one in enumerate(simulated.traits)
    ]
    low = np.array([pair[0] for pair in pairs]).reshape(judged.shape)
    return low, np.array([pair[1] for pair in pairs]).reshape(judged.shape)


def draw_traits(variables: int, *, seed: int, rates: tuple[float, float] = RATES) -> tuple[Traits, ...]:
    """A realistic mixture of variables. Asking for more of them leaves the first ones as they were.

    Rates are log-uniform. Families depend on the rate, as in life: what is written thousands of times an hour is
    never bursty or empty, and rarely as even as Poisson. Most follow people's days and weeks, many rest at weekends,
    some follow the month.

    Args:
        variables: how many.
        seed: the same seed gives the same variables.
        rates: lowest and highest mean events per hour.

    Raises:
        ValueError: rates that are not positive and in order.
    """
    if not 0 < rates[0] <= rates[1]:
        raise ValueError(f"rates are {rates} events per hour; expected 0 < lowest <= highest")
    # The golden ratio's multiples fill the range evenly for any number of variables.
    offset = stream("rates", seed, "").random()
    shares = (offset + np.arange(variables) * (np.sqrt(5) - 1) / 2) % 1
    lowest, highest = np.log(rates[0]), np.log(rates[1])
    return tuple(
        _one(f"variable_{row:04d}", float(np.exp(lowest + share * (highest - lowest))), seed)
        for row, share in enumerate(shares)
    )


_DISPERSIONS: dict[Family, tuple[float, float]] = {
    "poisson": (0.0, 0.0),
    "negative-binomial": (1e-6, 10.0),
    "scheduled": (1e-6, 0.5),
    "zero-inflated": (0.0, 0.95),
    "bursty": (1.0, 1e9),
}
_MIXTURES: tuple[tuple[float, dict[Family, float]], ...] = (
    (1_000, {"poisson": 0.35, "negative-binomial": 0.30, "scheduled": 0.15, "zero-inflated": 0.08, "bursty": 0.12}),
    (np.inf, {"poisson": 0.15, "negative-binomial": 0.65, "scheduled": 0.20}),
)
"""Families and their shares, for rates below so many events per hour."""


def _one(name: str, rate: float, seed: int) -> Traits:
    rng = stream("traits", seed, name)
    mixture = next(shares for below, shares in _MIXTURES if rate < below)
    family = list(mixture)[rng.choice(len(mixture), p=list(mixture.values()))]
    return Traits(name, family, rate, _dispersion(family, rate, rng), _pattern(rng))


def _dispersion(family: Family, rate: float, rng: np.random.Generator) -> float:
    match family:
        case "poisson":
            return 0.0
        case "negative-binomial":
            return _log_uniform(rng, 0.02, 0.3) if rate < 100 else _log_uniform(rng, 0.002, 0.05)
        case "scheduled":
            return _log_uniform(rng, 0.005, 0.1)
        case "zero-inflated":
            return float(rng.uniform(0.05, 0.4))
        case "bursty":
            return max(2.0, rate * _log_uniform(rng, 0.2, 2.0))


def _pattern(rng: np.random.Generator) -> Pattern:
    daily = DAILY[rng.choice(len(DAILY), p=(0.12, 0.33, 0.30, 0.17, 0.08))]
    monthly: Monthly = ("none", "first-days", "payday", "last-days")[rng.choice(4, p=(0.76, 0.08, 0.08, 0.08))]
    weekdays = rng.normal(1.0, 0.05, 5).clip(0.8, 1.2)
    return Pattern(
        daily=daily,
        shift_hours=round(float(rng.normal(0, 1)), 2),
        night=0.0 if daily == "night-batch" else round(float(rng.uniform(0.01, 0.25)), 3),
        week=tuple(round(float(day), 3) for day in (*weekdays, *_weekend(daily, rng))),
        monthly=monthly,
        month_boost=0.0 if monthly == "none" else round(float(rng.uniform(0.2, 0.8)), 3),
        growth=round(float(rng.normal(0.05, 0.2)), 3) if rng.random() < 0.5 else 0.0,
    )


def _weekend(daily: str, rng: np.random.Generator) -> tuple[float, float]:
    """Activity of Saturday and Sunday beside about 1 on other days."""
    if rng.random() < (0.5 if daily == "office" else 0.1):
        return 0.0, 0.0
    saturday = rng.uniform(0.2, 0.7) if daily in {"office", "commute"} else rng.uniform(0.75, 1.3)
    return float(saturday), float(saturday * rng.uniform(0.7, 1.1))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
