"""The score of the Numenta Anomaly Benchmark, from its description.

In: anomaly scores of several series and their labelled windows. Out: NAB's normalised score, 0 for a detector that
says nothing and 100 for one that flags each window on its first row and nothing else; below 0 is possible.

A row is flagged when its score reaches the threshold, which is one for all series. A window is worth more the earlier
its first flagged row lies in it, by a sigmoid that has fallen to almost nothing at its end; a window without a flagged
row costs 1. Each flagged row outside windows costs a share of 1, less when it comes shortly after a window. The first
15 % of a series, at most 750 rows, are not scored. The three profiles weigh false positives and misses differently.

Source: A. Lavin, S. Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms - the Numenta Anomaly Benchmark", ICMLA
2015; constants from the benchmark's `config/profiles.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROBATION_SHARE, PROBATION_ROWS = 0.15, 750
FORGIVEN = 3.0
"""Window widths after a window, beyond which a false positive costs as much as anywhere."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a false positive and a missed window cost, when finding a window at once is worth 1."""

    name: str
    false_positive: float
    missed: float


PROFILES = (
    Profile("standard", 0.11, 1.0),
    Profile("low FP", 0.22, 1.0),
    Profile("low FN", 0.11, 2.0),
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scores of one series and its windows, as first and last row."""

    scores: Floats
    """(T,) in [0, 1]"""
    windows: tuple[tuple[int, int], ...]
    """In time, without overlap."""


def nab_score(series: Sequence[Labelled], profile: Profile, threshold: float) -> float:
    """The normalised score of all series together at one threshold."""
    total, windows = 0.0, 0
    for one in series:
        flagged = np.flatnonzero(one.scores >= threshold)
        flagged = flagged[flagged >= min(int(PROBATION_SHARE * one.scores.size), PROBATION_ROWS)]
        total += _worth(flagged, one.windows, profile)
        windows += len(one.windows)
    silent = -profile.missed * windows
    return 100.0 * (total - silent) / (windows - silent)


def best_threshold(series: Sequence[Labelled], profile: Profile) -> tuple[float, float]:
    """The best score over all thresholds, as on NAB's own board, and the threshold."""
    told = np.unique(np.concatenate([one.scores[one.scores > 0] for one in series]))
    candidates = np.append(told, 1.1)
    scores = [nab_score(series, profile, threshold) for threshold in candidates.tolist()]
    best = int(np.argmax(scores))
    return scores[best], float(candidates[best])


def _worth(flagged: NDArray[np.intp], windows: tuple[tuple[int, int], ...], profile: Profile) -> float:
    within = np.zeros(flagged.size, dtype=bool)
    cost = np.ones(flagged.size)
    worth = 0.0
    for first, last in windows:
        width = last - first + 1
        inside = (flagged >= first) & (flagged <= last)
        within |= inside
        worth += _earliness(last - flagged[inside].min() + 1, width) if inside.any() else -profile.missed
        after = (flagged - last) / (width - 1.0)
        cost = np.where((after > 0) & (after <= FORGIVEN), -_sigmoid(after), np.where(after > 0, 1.0, cost))
    return worth - profile.false_positive * float(cost[~within].sum())


def _earliness(rows_left: int, width: int) -> float:
    """Worth of a window whose first flagged row has so many rows left, itself included; 1 for the first row."""
    return float(_sigmoid(np.float64(-rows_left / width)) / _sigmoid(np.float64(-1.0)))


def _sigmoid(x: Floats | np.float64) -> Floats:
    return np.asarray(2.0 / (1.0 + np.exp(5.0 * np.clip(x, -100.0, 100.0))) - 1.0)
