"""The champion in the contest: what the networks that serve now say about the history that a fit learns from.

In: the contest of a new fit, and the fit that served the end of its history, read back from the store and the
artifacts. Out: `Champion`, its predictions of what the new networks were not trained on, and its errors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.backtests import backtest
from anomaly.detection.candidates import CANDIDATES
from anomaly.detection.contest import Contest, errors
from anomaly.detection.scaling import Scaler
from anomaly.exceptions import ArtifactCorruptedError, ArtifactMissingError, IncompleteFitError
from anomaly.groups import Group, TimeRange
from anomaly.ports import (
    ArtifactReader,
    Fit,
    FittedVariable,
    Forecaster,
    ForecasterLoader,
    NetworkFile,
    Store,
    Variable,
)

log = logging.getLogger(__name__)

_COMPARABLE = ("transform", "interval", "timezone")
"""Keys of a group's configuration without which errors cannot be compared or windows not be rebuilt."""

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Champion:
    """How the champion does in the contest, for V contestants."""

    fitted: tuple[FittedVariable | None, ...]
    """None for variables it does not know."""
    files: Mapping[str, NetworkFile]
    predictions: Floats
    """(V, N), in the transform, of the held-out windows; NaN elsewhere."""
    mae: Floats
    """(V,), NaN where it predicts nothing."""
    contends: NDArray[np.bool_]
    """(V,) where it has a network of a candidate that the group still names, for the windows of today: one made for
    fewer features serves on, but cannot stand in one file with new ones. Forecasts without weights are the same in
    every fit, so the new one stands for both."""

    @property
    def contending_mae(self) -> Floats:
        return np.where(self.contends, self.mae, np.nan)


def champion_on(
    group: Group,
    fit: Fit,
    contestants: Sequence[Variable],
    contest: Contest,
    *,
    store: Store,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
) -> Champion:
    """The fit that served the last interval of the history, on this history.

    A champion whose residuals mean something else (another transform, another interval), or whose stored networks
    are damaged or gone, does not compete: a new fit is the way out of all three.
    """
    before = _served_at_the_end(group, fit, store)
    if before is None:
        return _nobody(contestants, contest)
    try:
        return _compete(group, before, contestants, contest, store, artifacts, forecaster)
    except (ArtifactCorruptedError, ArtifactMissingError) as damaged:
        log.warning("%s: the champion, version %s, does not compete: %s", group.name, before.model_version, damaged)
        return _nobody(contestants, contest)


def _served_at_the_end(group: Group, fit: Fit, store: Store) -> Fit | None:
    last = TimeRange(fit.history.end - fit.history.step, fit.history.end, fit.history.step)
    serving = [f for f in store.champions(group, last) if f.id != fit.id]
    if not serving:
        return None
    changed = [key for key in _COMPARABLE if serving[-1].configuration.get(key) != fit.configuration.get(key)]
    if changed:
        log.info("%s: the champion does not compete, the group's %s changed", group.name, " and ".join(changed))
        return None
    return serving[-1]


def _nobody(contestants: Sequence[Variable], contest: Contest) -> Champion:
    number = len(contestants)
    return Champion(
        (None,) * number,
        {},
        np.full(contest.targets.shape, np.nan),
        np.full(number, np.nan),
        np.zeros(number, dtype=bool),
    )


def _compete(
    group: Group,
    before: Fit,
    contestants: Sequence[Variable],
    contest: Contest,
    store: Store,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
) -> Champion:
    predictions = np.full(contest.targets.shape, np.nan)
    by_id = {f.variable.id: f for f in store.fitted(before.id)}
    known = tuple(by_id.get(v.id) for v in contestants)
    files = {file.slot: file for file in store.network_files(before.id)}

    held_out = np.flatnonzero(contest.split.held_out.any(axis=0))
    judged = [row for row, f in enumerate(known) if f is not None and f.candidate in CANDIDATES]
    of_today = np.ones(len(known), dtype=bool)
    for (slot, name), rows in grouped(judged, lambda row: _network_of(known[row])).items():
        members = [f for f in (known[row] for row in rows) if f is not None]
        scaler, declared, at = _scaler_of(members), CANDIDATES[name], contest.at[held_out]
        window = declared.window(contest.step)
        forecast, size, features = _forecast(name, files.get(slot), artifacts, forecaster)
        of_today[rows] = features in {None, window.shape[1]}
        scaled = backtest(
            forecast,
            contest.inputs(declared, scaler, np.array(rows)),
            at,
            contest.lags(window, held_out),
            positions=np.array([m.position for m in members]) if slot else None,
            network_variables=size,
        )
        answers = contest.unscaled(declared, scaled, scaler, rows=np.array(rows), at=at)
        predictions[np.ix_(np.array(rows), held_out)] = answers
    contends = np.array([f is not None and bool(f.slot) and f.candidate in group.candidates for f in known])
    return Champion(known, files, predictions, errors(contest, predictions), contends & of_today)


def _network_of(fitted: FittedVariable | None) -> tuple[str, str]:
    return (fitted.slot, fitted.candidate) if fitted else ("", "")


def _scaler_of(fitted: Sequence[FittedVariable]) -> Scaler:
    return Scaler(np.array([f.scaler_minimum for f in fitted]), np.array([f.scaler_maximum for f in fitted]))


def _forecast(
    name: str, file: NetworkFile | None, artifacts: ArtifactReader, forecaster: ForecasterLoader
) -> tuple[Callable[[Float32], Float32], int | None, int | None]:
    """What predicts under this name, how many variables it takes, and of how many features; None for any number."""
    if file is not None:
        artifacts.read(file.training_uri, sha256=file.training_sha256)  # what it wins with is copied from there
        network: Forecaster = forecaster(artifacts.read(file.serving_uri, sha256=file.serving_sha256))
        return network.predict, file.variables, network.features
    declared = CANDIDATES[name].forecast
    if declared is None:
        raise IncompleteFitError(f"the champion's candidate {name!r} needs a network file, but its fit has none")
    return declared, None, None


def grouped(rows: Sequence[int], key: Callable[[int], Any]) -> dict[Any, list[int]]:
    """Rows by their key, both in the order they come in."""
    groups: dict[Any, list[int]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
