"""Predict: what should have been written, how far reality is from it, and the verdict.

In: a range of intervals that update has counted. Out, in the store: prediction, residual, tail probability,
thresholds and verdict for every variable that is judged. Each interval is served by the champion of its time,
so a range that is run again later gives what it gave live. The networks run in their serving form; nothing of
TensorFlow is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import cleaning, transforms
from anomaly.detection.candidates import candidate
from anomaly.detection.forecasts import Panel, Walk, walk
from anomaly.detection.residuals import tail_probability
from anomaly.detection.scaling import Scaler
from anomaly.exceptions import IncompleteCountsError
from anomaly.groups import Group, TimeRange
from anomaly.ports import (
    ArtifactReader,
    DataChecks,
    Fit,
    FittedVariable,
    ForecasterLoader,
    Predictions,
    Store,
    Variable,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PredictReport:
    """What one prediction did."""

    start: str
    end: str
    intervals: int
    variables: int
    not_judged: int
    """Variables that no champion judges: new, or met after the fit."""
    predictions: int
    anomalies: int
    model_versions: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"model_versions": list(self.model_versions)}

    def __str__(self) -> str:
        if not self.model_versions:
            return "there is no champion for this range yet, so nothing was predicted; run a fit first"
        versions = ", ".join(str(v) for v in self.model_versions)
        return (
            f"{self.predictions:,} predictions for {self.variables} variables in {self.intervals} intervals by "
            f"version {versions}; {self.anomalies:,} anomalous; {self.not_judged} variables not judged"
        )


def predict(
    group: Group,
    start: datetime,
    end: datetime,
    *,
    store: Store,
    checks: DataChecks,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
    now: datetime,  # noqa: ARG001  all stages are called alike
) -> PredictReport:
    """Judges the range ``[start, end)``, and again the late intervals before it, whose counts may have changed.

    Raises:
        InvalidRangeError: empty, reversed, naive or off the grid.
        IncompleteCountsError: update has not counted all of it.
        ArtifactCorruptedError, ArtifactsUnavailableError: the champion cannot be loaded.
        ExpectationFailedError: a prediction is not finite, or thresholds are out of order.
    """
    requested = group.range(start, end)
    within = TimeRange(
        max(group.floor(requested.start - group.lateness), group.first_interval()), requested.end, requested.step
    )
    gap = store.first_gap(group, requested)
    if gap is not None:
        raise IncompleteCountsError(
            f"group {group.name!r} has no counts for {gap}; run update for it first: "
            f"anomaly update {group.name} --start {gap.start.isoformat()} --end {gap.end.isoformat()}"
        )

    predictions = anomalies = 0
    judged: set[str] = set()
    versions = []
    for fit, part in _served_by(store.champions(group, within), within):
        made = _predict_with(group, fit, part, store=store, artifacts=artifacts, forecaster=forecaster)
        checks.predictions(group, made, part)
        anomalies += store.write_predictions(group, made)
        predictions += int(np.isfinite(made.predicted).sum())
        judged |= {v.name for v, row in zip(made.variables, made.predicted, strict=True) if np.isfinite(row).any()}
        versions.append(fit.model_version or 0)

    variables = store.variables(group)
    report = PredictReport(
        start=within.start.isoformat(),
        end=within.end.isoformat(),
        intervals=len(within),
        variables=len(judged),
        not_judged=len(variables) - len(judged),
        predictions=predictions,
        anomalies=anomalies,
        model_versions=tuple(versions),
    )
    log.info("%s %s: %s", group.name, within, report)
    return report


def _served_by(champions: Sequence[Fit], within: TimeRange) -> Iterator[tuple[Fit, TimeRange]]:
    """Which champion serves which part of the range. Of two that serve from the same moment, the later fit."""
    latest = {fit.serves_from: fit for fit in champions if fit.serves_from is not None}
    moments = [*sorted(latest), within.end]
    for serves_from, until in pairwise(moments):
        begin = max(serves_from, within.start)
        if begin < until:
            yield latest[serves_from], TimeRange(begin, until, within.step)


def _predict_with(
    group: Group,
    fit: Fit,
    within: TimeRange,
    *,
    store: Store,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
) -> Predictions:
    fitted = tuple(f for f in store.fitted(fit.id) if f.distribution)
    variables = tuple(f.variable for f in fitted)
    panels, reach = _panels(group, fit, fitted, within, store=store, artifacts=artifacts, forecaster=forecaster)
    known = within.widened(before=max(reach, cleaning.MEMORY))
    first = len(known) - len(within)

    observed = store.read_counts(group, variables, known).counts
    series, anomalous = _with_stand_ins(group, observed[:, :first], variables, known, store)
    lower, upper = np.array([f.lower for f in fitted]), np.array([f.upper for f in fitted])
    walked = walk(
        np.concatenate([series, observed[:, first:]], axis=1),
        anomalous,
        first,
        panels,
        lower=lower,
        upper=upper,
        policy=group.threshold,
        transform=group.transform,
        step=group.interval,
    )
    counted = np.isfinite(observed[:, first:])
    return Predictions(
        fit_id=fit.id,
        variables=variables,
        starts=within.starts(),
        observed=observed[:, first:],
        predicted=np.where(counted, transforms.inverse(walked.predicted, group.transform), np.nan),
        lower=transforms.inverse(walked.predicted + lower[:, None], group.transform),
        upper=transforms.inverse(walked.predicted + upper[:, None], group.transform),
        residuals=walked.residuals,
        tail_probabilities=_tail_probabilities(fitted, walked),
        kinds=walked.kinds,
    )


def _panels(
    group: Group,
    fit: Fit,
    fitted: Sequence[FittedVariable],
    within: TimeRange,
    *,
    store: Store,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
) -> tuple[list[Panel], timedelta]:
    """Who predicts whom, and how much history their windows need."""
    files = {file.slot: file for file in store.network_files(fit.id)}
    panels, reach = [], timedelta(0)
    predict_scaled: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    positions: NDArray[np.int64] | None
    by_network: Mapping[tuple[str, str], list[int]] = _rows_by(fitted, lambda f: (f.slot, f.candidate))
    for (slot, name), rows in by_network.items():
        declared = candidate(name)
        window = declared.window(group.interval)
        reach = max(reach, window.reach(group.interval))
        members = [fitted[row] for row in rows]
        if slot:
            file = files[slot]
            network = forecaster(artifacts.read(file.serving_uri, sha256=file.serving_sha256))
            predict_scaled, positions = network.predict, np.array([m.position for m in members])
            size = file.variables
        else:
            if declared.forecast is None:
                raise ValueError(f"fit {fit.id}: candidate {name!r} needs a network, but has no slot")
            predict_scaled, positions, size = declared.forecast, None, len(rows)
        panels.append(
            Panel(
                rows=np.array(rows),
                positions=positions,
                network_variables=size,
                scaler=Scaler(
                    np.array([m.scaler_minimum for m in members]), np.array([m.scaler_maximum for m in members])
                ),
                lags=window.lags(within.starts(), group.interval, group.zone),
                predict=predict_scaled,
            )
        )
    return panels, reach


def _rows_by(fitted: Sequence[FittedVariable], key: Any) -> dict[Any, list[int]]:
    order = sorted(range(len(fitted)), key=lambda row: (key(fitted[row]), row))
    return {found: list(rows) for found, rows in groupby(order, key=lambda row: key(fitted[row]))}


def _with_stand_ins(
    group: Group,
    observed: NDArray[np.float64],
    variables: Sequence[Variable],
    known: TimeRange,
    store: Store,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The history before the range, anomalous counts replaced by their predictions; and where those were."""
    anomalous = np.zeros(observed.shape, dtype=bool)
    predicted = np.zeros(observed.shape)
    row = {v.name: at for at, v in enumerate(variables)}
    if observed.shape[1]:
        history = TimeRange(known.start, known.start + observed.shape[1] * known.step, known.step)
        for anomaly in store.anomalies(group, history):
            if anomaly.variable in row:
                cell = row[anomaly.variable], (anomaly.start - known.start) // known.step
                anomalous[cell], predicted[cell] = True, anomaly.predicted
    replaced = cleaning.stand_in(anomalous, known.step)
    return np.where(replaced, predicted, observed), anomalous


def _tail_probabilities(fitted: Sequence[FittedVariable], walked: Walk) -> NDArray[np.float64]:
    probabilities = np.full(walked.residuals.shape, np.nan)
    for name, rows in _rows_by(fitted, lambda f: f.distribution).items():
        parameters = np.array([fitted[row].parameters for row in rows]).T[:, :, None]
        probabilities[rows] = tail_probability(name, list(parameters), walked.residuals[rows])
    return probabilities
