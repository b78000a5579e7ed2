"""Rebuilds a fit and its verdicts in a process that knows nothing but the database and the saved weights.

Run as ``python -m tests.stages.rebuild_from_metadata ARGUMENTS``: JSON with the libpq arguments, the id of the
fit, the range that was judged, and the folder to write to. Writes ``rebuilt.json`` and the charts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.adapters import charts
from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.charts import MatplotlibCharts
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.serving import load_forecaster
from anomaly.detection import training, transforms
from anomaly.detection.backtests import backtest
from anomaly.detection.candidates import candidate, entered
from anomaly.detection.contest import Contest, open_contest, warm_up
from anomaly.detection.forecasts import Panel, walk
from anomaly.detection.residuals import fit_distribution, informative
from anomaly.detection.scaling import Scaler
from anomaly.detection.thresholds import thresholds
from anomaly.detection.windows import gather
from anomaly.groups import Group
from anomaly.ports import FittedVariable
from anomaly.stages.alert import chart_data
from anomaly.stages.fit import fit_charts

Rebuilt = dict[str, Any]
Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]


def rebuild(database: Mapping[str, str], fit_id: str, start: datetime, end: datetime, folder: Path) -> Rebuilt:
    """Everything that judged the range, from the metadata."""
    store, artifacts = PostgresStore(database), Artifacts(str(folder))
    fit = store.fit(fit_id)
    assert fit is not None
    group = Group.model_validate(fit.configuration)
    fitted = store.fitted(fit.id, residuals=True)
    contest = _contest(group, store, fitted, fit.history)

    networks = [_forecast(group, store, artifacts, fit_id, f) for f in fitted]
    rebuilt: Rebuilt = {"scalers": {}, "windows": {}, "residuals": {}, "distributions": {}, "thresholds": {}}
    for row, f in enumerate(fitted):
        name, scaled = f.variable.name, _scaler(f).scale(contest.z[[row]])
        lags = contest.lags(candidate(f.candidate).window(group.interval))
        rebuilt["scalers"][name] = [contest.scaler.minimum[row], contest.scaler.maximum[row]]
        rebuilt["windows"][name] = gather(scaled, contest.at[-24:], lags[-24:])[0].tolist()
        predicted = _scaler(f).unscale(backtest(networks[row], scaled, contest.at, lags))[0]
        rebuilt["residuals"][name] = _residuals(group, contest, row, predicted).tolist()
        distribution = fit_distribution(f.residuals, group.distribution)
        rebuilt["distributions"][name] = [distribution.name, *distribution.parameters]
        rebuilt["thresholds"][name] = thresholds(distribution, f.tail_probability, group.threshold.direction)

    rebuilt |= _judged(group, store, fitted, networks, rebuilt["thresholds"], fit.history.start, start, end)
    incident = store.incidents(group)[0]
    drawn = {"incident": MatplotlibCharts().incident(chart_data(group, incident, store))} | fit_charts(fitted, charts)
    for name, png in drawn.items():
        (folder / f"{name}.png").write_bytes(png)
    return rebuilt


def _contest(group: Group, store: PostgresStore, fitted: tuple[FittedVariable, ...], history: Any) -> Contest:
    counts = store.read_counts(group, [f.variable for f in fitted], history).counts
    return open_contest(
        transforms.forward(counts, group.transform),
        np.isfinite(counts),
        starts=history.starts(),
        step=group.interval,
        zone=group.zone,
        warm=warm_up(entered(group.candidates).values(), group.interval),
    )


def _scaler(fitted: FittedVariable) -> Scaler:
    return Scaler(np.array([fitted.scaler_minimum]), np.array([fitted.scaler_maximum]))


def _forecast(
    group: Group, store: PostgresStore, artifacts: Artifacts, fit_id: str, fitted: FittedVariable
) -> Callable[[Float32], Float32]:
    """One variable's network, re-made of its training form; or what forecasts without weights."""
    declared = candidate(fitted.candidate)
    if declared.forecast is not None:
        return declared.forecast
    file = next(f for f in store.network_files(fit_id) if f.slot == fitted.slot)
    weights = training.read_training_form(artifacts.read(file.training_uri, sha256=file.training_sha256))
    own = training.take(weights, np.array([fitted.position]))
    return load_forecaster(training.serving_form(declared, declared.window(group.interval).shape, own)).predict


def _residuals(group: Group, contest: Contest, row: int, predicted: Floats) -> Floats:
    target = contest.targets[row]
    telling = informative(transforms.inverse(target, group.transform), transforms.inverse(predicted, group.transform))
    residuals: Floats = (target - predicted)[contest.split.held_out[row] & telling]
    return residuals


def _judged(
    group: Group,
    store: PostgresStore,
    fitted: Sequence[FittedVariable],
    networks: Sequence[Callable[[Float32], Float32]],
    limits: Mapping[str, tuple[float, float]],
    begin: datetime,
    start: datetime,
    end: datetime,
) -> Rebuilt:
    """The range predicted and judged again, from the counts, by the networks read back and the limits made again."""
    within, known = group.range(start, end), group.range(begin, end)
    first = len(known) - len(within)
    counts = store.read_counts(group, [f.variable for f in fitted], known).counts
    windows = [candidate(f.candidate).window(group.interval) for f in fitted]
    walked = walk(
        counts,
        np.zeros((len(fitted), first), dtype=bool),
        first,
        [
            Panel(
                rows=np.array([row]),
                positions=None,
                network_variables=1,
                scaler=_scaler(f),
                lags=windows[row].lags(within.starts(), group.interval, group.zone),
                predict=networks[row],
            )
            for row, f in enumerate(fitted)
        ],
        lower=np.array([limits[f.variable.name][0] for f in fitted]),
        upper=np.array([limits[f.variable.name][1] for f in fitted]),
        policy=group.threshold,
        transform=group.transform,
        step=group.interval,
    )
    names = [f.variable.name for f in fitted]
    predicted = transforms.inverse(walked.predicted, group.transform)
    return {
        "predicted": dict(zip(names, predicted.tolist(), strict=True)),
        "kinds": dict(zip(names, walked.kinds.tolist(), strict=True)),
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    folder = Path(given["folder"])
    done = rebuild(
        given["database"],
        given["fit"],
        datetime.fromisoformat(given["start"]),
        datetime.fromisoformat(given["end"]),
        folder,
    )
    (folder / "rebuilt.json").write_text(json.dumps(done))
