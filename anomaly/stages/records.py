"""The record of a fitted variable: all that judges it, and all that rebuilds why.

In: how the contest went, or the reason why a variable was not in it. Out: `FittedVariable` with scaler, residuals,
distribution, tests and thresholds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.candidates import CANDIDATES, CONSTANT
from anomaly.detection.choosing import CHAMPION
from anomaly.detection.evidence import SILENCE, SINGLE, Evidence, FittedTest, runs_per_excess
from anomaly.detection.learning import constant_tests, contest_tests
from anomaly.detection.statuses import Judgement
from anomaly.detection.thresholds import in_intervals, limit
from anomaly.groups import Group
from anomaly.ports import FittedVariable, Variable
from anomaly.stages.placing import Outcome

CHOSEN = "chosen"
"""Among a record's errors: that of the forecast it got."""
MOST_RESIDUALS = 2000
"""Residuals kept per variable, the latest: enough for a chart and a review."""

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


def measure_of(fitted: FittedVariable) -> Literal["MAE", "Poisson deviance"]:
    """In what its errors are measured: rare variables are those that are also judged by their silence."""
    return "Poisson deviance" if any(test.test == SILENCE for test in fitted.tests) else "MAE"


def variable_seed(seed: int, name: str) -> int:
    """Seed of a variable's first weights; follows from the group's seed and the name alone, in [0, 2^31)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big") >> 1


def chosen_predictions(outcome: Outcome) -> Floats:
    """What each contestant's winner says of the contest, (V, N), in the transform; NaN where nobody won.

    A champion that keeps its place has predicted only what the new networks were not trained on.
    """
    predictions = np.full(outcome.contest.targets.shape, np.nan)
    for row, place in enumerate(outcome.places):
        if place is not None:
            source = outcome.champion.predictions if place.kept else outcome.entries[place.candidate].predictions
            predictions[row] = source[row]
    return predictions


def contestant_records(
    group: Group,
    variables: list[Variable],
    judgements: list[Judgement],
    outcome: Outcome,
    *,
    observed: Floats,
    felt: Floats,
    ordinary: Mask,
    month_days: Sequence[Mapping[int, tuple[float, float]]],
    probabilities: Sequence[float],
) -> list[FittedVariable]:
    """Tests and thresholds of all contestants, from what their winners say of the history.

    Args:
        observed, felt: (V, T) the history, as counted and with stand-ins.
        ordinary: (V, T) intervals that stand for what is normal.
        month_days: (V,) days of the month that always depart, or may.
        probabilities: (V,) of a false incident beginning in an interval.
    """
    predictions = chosen_predictions(outcome)
    contest = outcome.contest
    residuals = transforms.forward(felt[:, contest.at], contest.transform) - transforms.forward(
        contest.counts(predictions), contest.transform
    )
    tests = contest_tests(
        contest,
        predictions,
        observed=observed,
        felt=felt,
        ordinary=ordinary,
        distribution=group.distribution,
        merge_gap=group.incidents.merge_gap,
    )
    records = []
    for row, (variable, judgement) in enumerate(zip(variables, judgements, strict=True)):
        place = outcome.places[row]
        probability = probabilities[row]
        if place is None:
            unjudged = Judgement("new", outcome.choices[row].reason)
            records.append(fallback_record(group, variable, unjudged, np.empty(0), np.empty(0, bool), probability))
            continue
        kept = outcome.champion.fitted[row] if place.kept else None
        scaler = contest.scaler_of(CANDIDATES[place.candidate])
        known = ordinary[row, contest.at]
        errors = {name: float(entry.mae[row]) for name, entry in outcome.entries.items()}
        errors |= {CHAMPION: float(outcome.champion.mae[row]), CHOSEN: outcome.choices[row].mae}
        records.append(
            _record(
                group,
                variable,
                judgement,
                candidate=place.candidate,
                slot=place.slot,
                position=place.position,
                seed=kept.seed if kept else variable_seed(group.seed, variable.name),
                scaler=(kept.scaler_minimum, kept.scaler_maximum)
                if kept
                else (float(scaler.minimum[row]), float(scaler.maximum[row])),
                mae={name: error for name, error in errors.items() if math.isfinite(error)},
                choice=outcome.choices[row].reason,
                tests=tests[row],
                residuals=residuals[row, known],
                month_days=month_days[row],
                probability=probability,
            )
        )
    return records


def fallback_record(
    group: Group, variable: Variable, judgement: Judgement, counts: Floats, ordinary: Mask, probability: float
) -> FittedVariable:
    """What a variable gets that is not fitted: see `anomaly.detection.statuses`."""
    constant, residuals = 0.0, np.empty(0)
    tests: tuple[FittedTest, ...] = ()
    if judgement.status != "new":
        constant = float(transforms.forward(judgement.constant, group.transform))
        residuals = (transforms.forward(counts, group.transform) - constant)[ordinary]
        tests = constant_tests(
            counts[None],
            judgement.constant,
            ordinary[None],
            distribution=group.distribution,
            step=group.interval,
            transform=group.transform,
            merge_gap=group.incidents.merge_gap,
        )
    return _record(
        group,
        variable,
        judgement,
        candidate="" if judgement.status == "new" else CONSTANT,
        slot="",
        position=0,
        seed=variable_seed(group.seed, variable.name),
        scaler=(constant, constant),
        mae={},
        choice=f"{judgement.status}: {judgement.reason}",
        tests=tests,
        residuals=residuals,
        probability=probability,
    )


def _record(
    group: Group,
    variable: Variable,
    judgement: Judgement,
    *,
    candidate: str,
    slot: str,
    position: int,
    seed: int,
    scaler: tuple[float, float],
    mae: dict[str, float],
    choice: str,
    tests: tuple[FittedTest, ...],
    residuals: Floats,
    probability: float,
    month_days: Mapping[int, tuple[float, float]] | None = None,
) -> FittedVariable:
    single = next((test for test in tests if test.test == SINGLE), None)
    lower, upper = -math.inf, math.inf
    probability = in_intervals(probability, runs_per_excess(tests))
    if single is not None:
        limits = np.array([limit(probability, group.threshold.direction)])
        evidence = Evidence([tests], step=group.interval, transform=group.transform)
        lower, upper = (float(side[0]) for side in evidence.thresholds(limits, group.threshold.direction))
    return FittedVariable(
        variable=variable,
        status=judgement.status,
        status_reason=judgement.reason,
        candidate=candidate,
        slot=slot,
        position=position,
        seed=seed,
        scaler_minimum=scaler[0],
        scaler_maximum=scaler[1],
        mae=mae,
        choice=choice,
        distribution=single.family if single else "",
        parameters=single.parameters if single else (),
        distribution_reason=single.reason if single else "not judged, so there is none",
        tail_probability=probability,
        lower=lower,
        upper=upper,
        residuals=residuals[np.isfinite(residuals)][-MOST_RESIDUALS:].astype(np.float32),
        tests=tests,
        month_days=month_days or {},
    )
