"""What evidence is worth: fitted families are believed for the bulk of a history, the far tail is measured.

In: evidence, -ln p of some test, over a variable's history. Out: `Calibration`, a map of evidence after which p means
what it says; and how many runs its excesses come in.

A fitted family is believed for the bulk of a variable's history only; how fast its far tail really falls is measured:
`Calibration` maps evidence such that one in ten intervals of the history exceeds ln 10, and beyond follows the mean
excess of those (censored, so that a past incident does not widen it; shrunk towards the group's, so that few excesses
do not decide). The same map, once more, turns the strongest evidence of all tests into the final
probability: nobody has to guess how many independent tests overlapping sums amount to.

Ordinary excesses come in runs, those of sums above all, and a run is one incident. `clustering` measures how many runs
there are per excess (the extremal index), so that a policy in incidents becomes one in intervals.

Sources:
    Peaks over threshold: J. Pickands, "Statistical inference using extreme order statistics", 1975; in -ln p the
    excesses of a right model are exponential with mean 1. Censored mean: J. F. Lawless, "Statistical models and
    methods for lifetime data", 2003, section 4.1. Extremal index by runs: R. L. Smith, I. Weissman, "Estimating the
    extremal index", 1994.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KNEE = 0.1
"""Share of the history beyond which the measured tail begins."""
KNEE_EVIDENCE = -np.log(KNEE)
CENSORED = 3.0
"""Excesses count as at most this: about one in twenty is naturally larger, all of a past incident's are."""
PRIOR = 30.0
"""Excesses that the group's tail weighs as much as."""
SLOPES = (0.65, 3.0)
MOST_POOLED = 2.0
LEAST_RARE_SLOPE = 1.0
"""Counts of rare variables are few distinct numbers: their history shows the far tail least of all."""
KNEES = (0.5, 8.0)
LEAST_EXCESSES = 10
RUNS = 0.02
"""Share of the history whose runs are counted."""
RUNS_PRIOR = 10.0
LEAST_RUNS_PER_EXCESS = 0.1


@dataclass(frozen=True, slots=True)
class Calibration:
    """Evidence e becomes ``e * ln(10) / knee`` up to the knee, and ``ln(10) + (e - knee) / slope`` beyond."""

    knee: float = float(KNEE_EVIDENCE)
    slope: float = 1.0

    def __call__(self, evidence: Floats) -> Floats:
        return calibrated(evidence, np.float64(self.knee), np.float64(self.slope))

    def inverse(self, evidence: float) -> float:
        """The evidence that becomes this."""
        return float(uncalibrated(np.asarray(evidence), np.float64(self.knee), np.float64(self.slope)))


IDENTITY = Calibration()


def calibrated(evidence: Floats, knee: Floats | np.float64, slope: Floats | np.float64) -> Floats:
    """`Calibration` of many at once; arguments broadcast."""
    beyond = KNEE_EVIDENCE + (evidence - knee) / slope
    return np.asarray(np.where(evidence <= knee, evidence * (KNEE_EVIDENCE / knee), beyond))


def uncalibrated(evidence: Floats, knee: Floats | np.float64, slope: Floats | np.float64) -> Floats:
    """The evidence that `calibrated` makes this of; arguments broadcast."""
    beyond = knee + (evidence - KNEE_EVIDENCE) * slope
    return np.asarray(np.where(evidence <= KNEE_EVIDENCE, evidence * knee / KNEE_EVIDENCE, beyond))


def excesses(evidence: Floats) -> tuple[float, float, int]:
    """Knee, sum of censored excesses, and how many were not censored, of a history (M,); NaN left out.

    A history that hardly ever shows evidence (frozen values) says nothing about tails: knee of ln 10, no excesses.
    """
    known = evidence[np.isfinite(evidence)]
    if known.size < LEAST_EXCESSES / KNEE:
        return float(KNEE_EVIDENCE), 0.0, 0
    knee = float(np.clip(np.quantile(known, 1 - KNEE), *KNEES))
    beyond = known[known > knee] - knee
    if beyond.size < LEAST_EXCESSES:
        return max(knee, float(KNEE_EVIDENCE)), 0.0, 0
    return knee, float(np.minimum(beyond, CENSORED).sum()), int((beyond < CENSORED).sum())


def calibrations(histories: Sequence[Floats], *, rare: Sequence[bool]) -> list[Calibration]:
    """One for each variable's evidence over its history; the shorter a history, the nearer its tail to the group's."""
    found = [excesses(history) for history in histories]
    own = [total / number for _, total, number in found if number >= LEAST_EXCESSES]
    least, most = SLOPES
    pooled = float(np.clip(np.median(own), least, MOST_POOLED)) if own else 1.0
    return [
        Calibration(
            knee,
            float(np.clip((total + PRIOR * pooled) / (number + PRIOR), LEAST_RARE_SLOPE if few else least, most)),
        )
        for (knee, total, number), few in zip(found, rare, strict=True)
    ]


def clustering(histories: Sequence[Floats], gap: int) -> list[float]:
    """Runs per excess, in [0.1, 1], of each variable's evidence over its history, shrunk towards the group's.

    Args:
        histories: (V,) of (M,), in time; NaN where unknown.
        gap: excesses at most this many intervals apart are of one run.
    """
    found = []
    for history in histories:
        known = history[np.isfinite(history)]
        if known.size < LEAST_EXCESSES / RUNS:
            found.append((0, 0))
            continue
        # A limit that no evidence exceeds at all says nothing about runs.
        beyond = np.flatnonzero(np.nan_to_num(history) > max(float(np.quantile(known, 1 - RUNS)), 0.0))
        found.append((int((np.diff(beyond) > gap).sum()) + 1 if beyond.size else 0, int(beyond.size)))
    own = [runs / excesses for runs, excesses in found if excesses >= LEAST_EXCESSES]
    pooled = float(np.median(own)) if own else 1.0
    return [
        float(np.clip((runs + RUNS_PRIOR * pooled) / (excesses + RUNS_PRIOR), LEAST_RUNS_PER_EXCESS, 1.0))
        for runs, excesses in found
    ]
