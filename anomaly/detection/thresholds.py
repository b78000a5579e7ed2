"""How rare an interval must be to be an anomaly, from what people said they can bear.

In: a group's policy ("one false alert a week in this channel"). Out: the tail probability that each interval of each
variable may use up, and the evidence from which one is anomalous (`anomaly.detection.evidence`, which also knows the
residuals and counts that this amounts to).

The policy is shared out evenly: with V variables judged and n intervals a week, a false incident may begin in each
interval of each with probability ``false_alerts_per_week / (V n)``. Anomalous intervals come in runs, which are one
incident; so each may be anomalous with that probability over the runs per excess. A group's total gets half of it all
for itself: it sees what is spread over all others, and is one among many only by number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.groups.model import TOTAL, Direction, Threshold

_WEEK = timedelta(weeks=1)
LARGEST_PROBABILITY = 0.05
"""Groups with few variables and long intervals still do not call one interval in five an anomaly."""


def per_test_probability(policy: Threshold, *, variables: int, interval: timedelta) -> float:
    """Probability, in (0, 0.05], that one interval of one variable alarms by chance."""
    tests = max(variables, 1) * (_WEEK / interval)
    return min(policy.false_alerts_per_week / tests, LARGEST_PROBABILITY)


TOTALS_SHARE = 0.5
"""Of a policy's false alerts: what a group's total gets for itself."""


def probabilities(policy: Threshold, names: Sequence[str], *, interval: timedelta) -> NDArray[np.float64]:
    """(V,) for each variable, the probability that one interval alarms by chance; the total has a share of its own."""
    totals = np.array([name == TOTAL for name in names], dtype=bool)
    if not totals.any() or totals.all():
        return np.full(len(names), per_test_probability(policy, variables=len(names), interval=interval))
    alone = per_test_probability(policy, variables=1, interval=interval) * TOTALS_SHARE
    each = per_test_probability(policy, variables=int((~totals).sum()), interval=interval) * (1 - TOTALS_SHARE)
    return np.where(totals, alone, each)


def in_intervals(incidents: float, runs_per_excess: float) -> float:
    """Probability, at most 0.05, that an interval may be anomalous by chance, when so many runs may begin there."""
    return min(incidents / runs_per_excess, LARGEST_PROBABILITY)


def limit(probability: float, direction: Direction) -> float:
    """Evidence, -ln of a two-sided tail probability, from which an interval is anomalous.

    A single direction gets all of the probability, and half of the two-sided tails are of the other one.
    """
    share = probability if direction is Direction.BOTH else 2 * probability
    return -math.log(min(share, 1.0))


def return_period(probability: float, interval: timedelta) -> timedelta:
    """1 / probability in time: how long one waits, on average, for such an interval by chance."""
    hours = interval.total_seconds() / 3600 / probability
    return timedelta(hours=min(hours, 24 * 365.25 * 100_000))
