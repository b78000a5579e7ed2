"""The record of a fitted variable: all that judges it, and all that rebuilds why.

In: how the contest went, or the reason why a variable was not in it. Out: `FittedVariable` with scaler, residuals,
distribution and thresholds.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.candidates import CONSTANT
from anomaly.detection.choosing import CHAMPION
from anomaly.detection.residuals import FittedDistribution, fit_distribution, informative
from anomaly.detection.statuses import Judgement
from anomaly.detection.thresholds import thresholds
from anomaly.groups import Group
from anomaly.ports import FittedVariable, Variable
from anomaly.stages.placing import Outcome

CHOSEN = "chosen"
"""Among a record's errors: that of the forecast it got."""
MOST_RESIDUALS = 2000
"""Residuals kept per variable, the latest: enough for a distribution, a chart and a review."""

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]


def variable_seed(seed: int, name: str) -> int:
    """Seed of a variable's first weights; follows from the group's seed and the name alone, in [0, 2^31)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big") >> 1


def contestant_record(
    group: Group, variable: Variable, judgement: Judgement, outcome: Outcome, row: int, probability: float
) -> FittedVariable:
    """Distribution and thresholds of a contestant, from the residuals of what its network was not trained on."""
    contest, entries, champion = outcome.contest, outcome.entries, outcome.champion
    choice, place, before = outcome.choices[row], outcome.places[row], champion.fitted[row]
    if place is None:
        return fallback_record(group, variable, Judgement("new", choice.reason), np.empty(0), probability)
    predictions = champion.predictions[row] if place.kept else entries[place.candidate].predictions[row]
    targets = contest.targets[row]
    telling = informative(*(transforms.inverse(z, group.transform) for z in (targets, predictions)))
    residuals = (targets - predictions)[contest.split.held_out[row] & telling]
    residuals = _kept(residuals)
    distribution = fit_distribution(residuals, group.distribution)
    lower, upper = thresholds(distribution, probability, group.threshold.direction)
    errors_by_name = {name: float(entry.mae[row]) for name, entry in entries.items()}
    errors_by_name |= {CHAMPION: float(champion.mae[row]), CHOSEN: choice.mae}
    kept = before if place.kept else None
    return FittedVariable(
        variable=variable,
        status="fitted",
        status_reason=judgement.reason,
        candidate=place.candidate,
        slot=place.slot,
        position=place.position,
        seed=kept.seed if kept else variable_seed(group.seed, variable.name),
        scaler_minimum=kept.scaler_minimum if kept else float(contest.scaler.minimum[row]),
        scaler_maximum=kept.scaler_maximum if kept else float(contest.scaler.maximum[row]),
        mae={name: error for name, error in errors_by_name.items() if math.isfinite(error)},
        choice=choice.reason,
        distribution=distribution.name,
        parameters=distribution.parameters,
        distribution_reason=distribution.reason,
        tail_probability=probability,
        lower=lower,
        upper=upper,
        residuals=residuals,
    )


def _kept(residuals: Floats) -> Float32:
    """The latest finite ones, as they are stored: distributions are fitted to these, so that they can be again."""
    return residuals[np.isfinite(residuals)][-MOST_RESIDUALS:].astype(np.float32)


def fallback_record(
    group: Group, variable: Variable, judgement: Judgement, counts: Floats, probability: float
) -> FittedVariable:
    """What a variable gets that is not fitted: see `anomaly.detection.statuses`."""
    constant, residuals = 0.0, np.empty(0, np.float32)
    distribution = FittedDistribution("", (), "not judged, so there is none")
    lower, upper = -math.inf, math.inf
    if judgement.status != "new":
        constant = float(transforms.forward(judgement.constant, group.transform))
        residuals = _kept(transforms.forward(counts, group.transform) - constant)
        distribution = fit_distribution(residuals, group.distribution)
        lower, upper = thresholds(distribution, probability, group.threshold.direction)
    if judgement.status == "dead":
        lower = -math.inf
    return FittedVariable(
        variable=variable,
        status=judgement.status,
        status_reason=judgement.reason,
        candidate="" if judgement.status == "new" else CONSTANT,
        slot="",
        position=0,
        seed=variable_seed(group.seed, variable.name),
        scaler_minimum=constant,
        scaler_maximum=constant,
        mae={},
        choice=f"{judgement.status}: {judgement.reason}",
        distribution=distribution.name,
        parameters=distribution.parameters,
        distribution_reason=distribution.reason,
        tail_probability=probability,
        lower=lower,
        upper=upper,
        residuals=residuals,
    )
