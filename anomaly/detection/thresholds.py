"""Thresholds on residuals, from what people said they can bear.

In: a group's policy ("one false alert a week in this channel") and a variable's fitted distribution. Out: the
tail probability that each interval of each variable may use up, and the residuals `lower` and `upper` beyond
which it is an anomaly.

The policy is shared out evenly: with V variables judged and n intervals a week, each single test may be wrong
with probability ``false_alerts_per_week / (V n)``.
"""

from __future__ import annotations

import math
from datetime import timedelta

from anomaly.detection.residuals import FittedDistribution
from anomaly.groups.model import Direction, Threshold

_WEEK = timedelta(weeks=1)
LARGEST_PROBABILITY = 0.05
"""Groups with few variables and long intervals still do not call one interval in five an anomaly."""


def per_test_probability(policy: Threshold, *, variables: int, interval: timedelta) -> float:
    """Probability, in (0, 0.05], that one interval of one variable alarms by chance."""
    tests = max(variables, 1) * (_WEEK / interval)
    return min(policy.false_alerts_per_week / tests, LARGEST_PROBABILITY)


def thresholds(
    distribution: FittedDistribution, probability: float, direction: Direction = Direction.BOTH
) -> tuple[float, float]:
    """Residuals outside ``[lower, upper]`` are anomalies; a direction nobody asked for is infinite.

    Args:
        distribution: of the variable's residuals.
        probability: of the tails together, in (0, 1). A single direction gets all of it.
        direction: which side counts.
    """
    from scipy import stats

    frozen = getattr(stats, distribution.name)(*distribution.parameters)
    tail = probability / 2 if direction is Direction.BOTH else probability
    lower = -math.inf if direction is Direction.SURGE else float(frozen.ppf(tail))
    upper = math.inf if direction is Direction.DROP else float(frozen.isf(tail))
    return lower, upper


def return_period(probability: float, interval: timedelta) -> timedelta:
    """1 / probability in time: how long one waits, on average, for such an interval by chance."""
    hours = interval.total_seconds() / 3600 / probability
    return timedelta(hours=min(hours, 24 * 365.25 * 100_000))
