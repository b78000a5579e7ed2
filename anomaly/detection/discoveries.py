"""Which weaker variables join an incident: false-discovery control over the whole group.

In: the tail probabilities of all variables that were judged in an incident's anomalous intervals. Out: the anomalies
of those that are too weak to be told by themselves and too many, together, to be chance.

An interval in which one of 5,000 variables is just beyond its threshold is ordinary; one in which forty are is not.
Thresholds from the group's policy stay the gate: they alone open incidents. Once an incident has two variables of its
own, or the group's total, a further one joins when

1. its intervals are rarer than `LOOSEST`, and depart in the incident's direction beyond the policy's floors;
2. over the incident's anomalous intervals, their harmonic mean p is low enough for Benjamini and Hochberg's
   procedure over all judged variables at the rate `FALSE_SHARE`: of the variables that a message names, at most 5 in
   100 are there by chance, on average. In one interval the harmonic mean p is the tail probability itself.

The procedure holds for independent and for positively dependent tests (Benjamini and Yekutieli), such as variables
that one pipeline writes. Combining per incident, not per interval, keeps the promise however long an incident lasts.
Intervals that are not rarer than `LOOSEST` count as if they said nothing, which errs on the careful side and needs
only the few rare ones to be read.

Sources:
    Y. Benjamini, Y. Hochberg, "Controlling the False Discovery Rate", Journal of the Royal Statistical Society B 57
    (1995). Y. Benjamini, D. Yekutieli, "The control of the false discovery rate in multiple testing under
    dependency", Annals of Statistics 29 (2001).
    D. J. Wilson, "The harmonic mean p-value for combining dependent tests", PNAS 116 (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.detection.incidents import Anomaly, Incident
from anomaly.groups.model import TOTAL, Direction, Threshold

Floats = NDArray[np.float64]

FALSE_SHARE = 0.05
"""Of the variables that a message names, the share that may be there by chance, on average."""
LOOSEST = 0.01
"""An interval that is more likely than this by chance supports nothing."""
OWN_VARIABLES = 2
"""Variables beyond their own thresholds without which nothing joins: one alone may be chance itself."""


def joining(
    incident: Incident, rare: Sequence[Anomaly], *, starts: Sequence[datetime], judged: int, policy: Threshold
) -> tuple[Anomaly, ...]:
    """The anomalies of the variables that join the incident, by start and variable.

    Args:
        incident: as its own anomalies make it.
        rare: of the group's variables, in the incident's anomalous intervals, what has a tail probability of at most
            `LOOSEST`. Kinds are of no matter.
        starts: the incident's anomalous intervals.
        judged: how many variables were judged in these intervals, without the total.
        policy: its direction and floors.
    """
    own = {v.variable for v in incident.variables}
    if (len(own) < OWN_VARIABLES and TOTAL not in own) or incident.kind == "frozen":
        return ()
    with_it = _in_direction(incident, [a for a in rare if a.variable != TOTAL], policy)
    names = sorted({a.variable for a in with_it})
    row, column = ({key: at for at, key in enumerate(keys)} for keys in (names, starts))
    probabilities = np.ones((len(names), len(starts)))
    for anomaly in with_it:
        probabilities[row[anomaly.variable], column[anomaly.start]] = anomaly.tail_probability
    combined = harmonic_mean(probabilities)
    discovered = adjusted(combined, tests=max(judged, len(names))) <= FALSE_SHARE
    found = {name for name, yes in zip(names, discovered, strict=True) if yes} - own
    return tuple(a for a in with_it if a.variable in found)


def harmonic_mean(probabilities: Floats) -> Floats:
    """One probability per variable, (V,), from those of its intervals, (V, N) in (0, 1]."""
    if not probabilities.size:
        return np.ones(len(probabilities))
    return np.asarray(probabilities.shape[1] / np.sum(1 / probabilities, axis=1), dtype=np.float64)


def adjusted(probabilities: ArrayLike, *, tests: int) -> Floats:
    """Each test's smallest false-discovery rate at which it is a discovery: (M,), in [0, 1].

    Args:
        probabilities: (M,), of the most extreme tests; the others are known to be larger.
        tests: how many there were in all, at least M.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    rates = p[order] * tests / np.arange(1, len(p) + 1)
    result = np.empty_like(p)
    result[order] = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1.0)
    return result


def _in_direction(incident: Incident, rare: Sequence[Anomaly], policy: Threshold) -> list[Anomaly]:
    """The rare intervals that depart as the incident does, and far enough, with their kinds; by start and variable."""
    departure = sum(v.observed - v.expected for v in incident.variables)
    wanted = {Direction.DROP: -1, Direction.SURGE: 1, Direction.BOTH: int(np.sign(departure))}[policy.direction]
    kept = []
    for anomaly in sorted(rare, key=lambda a: (a.start, a.variable)):
        distance = anomaly.observed - anomaly.predicted
        floor = max(policy.min_absolute, policy.min_relative * anomaly.predicted)
        if np.sign(distance) == wanted == np.sign(departure) and abs(distance) >= floor:
            down = "silent" if anomaly.observed == 0 else "drop"
            kept.append(replace(anomaly, kind=down if wanted < 0 else "surge", test="together"))
    return kept
