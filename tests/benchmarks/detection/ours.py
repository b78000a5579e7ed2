"""Our own detector, as the benchmark calls it: one function, so that it is one place to change.

In: counts, (V, N), and how many of their intervals are history. Out: `Judged`, for all later intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.learning import Practice, watch

Floats = NDArray[np.float64]

COUNTRIES = {"America/New_York": "US"}
"""Whose holidays a group of that zone would name. Simulated variables know none."""
CANDIDATES = ("departure-linear", "departure-16-mae")
"""Of a group's five, those that win nearly always, and the baseline; the others cost as much time again."""
REFIT = timedelta(days=28)
"""Weekly fits would take four times as long, and say little else of sixty days."""


@dataclass(frozen=True, slots=True)
class Judged:
    """All (V, N); what is before `train` is NaN or ''."""

    predicted: Floats
    """Events per interval."""
    tail_probability: Floats
    """In [0, 1], of the strongest test in this interval; NaN where not judged."""
    kinds: NDArray[np.str_]
    """'' for normal."""

    @property
    def scores(self) -> Floats:
        """Larger is more anomalous."""
        with np.errstate(divide="ignore"):
            return -np.log10(self.tail_probability)


def ours(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
    seed: int,
) -> Judged:
    """Fits from the `train` intervals before, again every four weeks, and judges all later ones as a group would."""
    practice = Practice(step=step, zone=zone, holidays=COUNTRIES.get(str(zone)), refit=REFIT, candidates=CANDIDATES)
    seeds = [seed + row for row in range(len(counts))]
    watched = watch(counts.astype(np.float64), starts, practice, first=train, seeds=seeds)
    return Judged(watched.predicted, watched.tail_probabilities, watched.kinds)
