"""The verdict on each interval: normal, or a kind of anomaly.

In: the evidence of the tests (`anomaly.detection.evidence`), each variable's limit and the group's policy. Out: the
kind per variable, '' for normal.

==========  ==================================================================
kind        means
==========  ==================================================================
``drop``    too few events, in this interval or in the latest ones together
``silent``  the same, and not a single event in them
``surge``   too many events
``frozen``  the same count again and again
``shift``   for days, another level than in earlier weeks
==========  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.evidence import FROZEN, LEVEL, SILENCE, SINGLE, Taken
from anomaly.groups.model import Direction, Threshold

Floats = NDArray[np.float64]
KIND = "<U16"


def in_direction(found: Mapping[str, Floats], direction: Direction) -> dict[str, Floats]:
    """Evidence of departures that count; a frozen value has no direction and always does."""
    if direction is Direction.BOTH:
        return dict(found)
    sign = -1 if direction is Direction.DROP else 1
    return {name: e if name == FROZEN else np.where(np.sign(e) == sign, e, 0.0) for name, e in found.items()}


def judge(
    taken: Taken, tests: NDArray[np.str_], evidence: Floats, limits: Floats, policy: Threshold
) -> NDArray[np.str_]:
    """Kinds (V, n) of n intervals.

    Args:
        taken: what the tests found.
        tests: (V, n) the test with the strongest evidence.
        evidence: (V, n) all tests together, signed.
        limits: (V,) evidence from which an interval is anomalous.
        policy: departures below its floors are none.
    """
    felt, expected = (np.zeros(tests.shape) for _ in range(2))
    for name in set(tests.ravel().tolist()):
        cells = tests == name
        sums = taken.sums.get(name, taken.sums[SINGLE])
        felt[cells], expected[cells] = sums[0][cells], sums[1][cells]
        if name == SILENCE and taken.waits is not None:  # the newest interval alone may hold less than one event
            felt[cells], expected[cells] = 0.0, taken.waits[cells]
    distance = np.abs(felt - expected)
    floors = (distance >= policy.min_absolute) & (distance >= policy.min_relative * expected)
    repeated = tests == FROZEN
    found = (np.abs(evidence) >= limits[:, None]) & (floors | repeated)
    below = evidence < 0
    kinds = np.select(
        [repeated, tests == LEVEL, below & ((felt == 0) | (tests == SILENCE)), below],
        ["frozen", "shift", "silent", "drop"],
        default="surge",
    )
    return np.where(found, kinds, "").astype(KIND)
