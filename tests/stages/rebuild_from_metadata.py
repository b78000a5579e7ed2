"""Rebuilds a fit and its verdicts in a process that knows nothing but the database and the saved weights.

Run as ``python -m tests.stages.rebuild_from_metadata ARGUMENTS``: JSON with the libpq arguments, the id of the
fit, the range that was judged, and the folder to write to. Writes ``rebuilt.json`` and ``chart.png``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.charts import MatplotlibCharts
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.serving import load_forecaster
from anomaly.detection import training, transforms
from anomaly.detection.backtests import backtest
from anomaly.detection.candidates import CANDIDATES, candidate
from anomaly.detection.contest import Contest, open_contest, warm_up
from anomaly.detection.residuals import fit_distribution, informative
from anomaly.detection.scaling import Scaler
from anomaly.detection.thresholds import thresholds
from anomaly.detection.verdicts import judge
from anomaly.groups import Group
from anomaly.ports import FittedVariable
from anomaly.stages.alert import chart_data

Rebuilt = dict[str, Any]


def rebuild(database: Mapping[str, str], fit_id: str, start: datetime, end: datetime, folder: Path) -> Rebuilt:
    """Everything that judged the range, from the metadata."""
    store, artifacts = PostgresStore(database), Artifacts(str(folder))
    fit = store.fit(fit_id)
    assert fit is not None
    group = Group.model_validate(fit.configuration)
    fitted = store.fitted(fit.id, residuals=True)
    contest = _contest(group, store, fitted, fit.history)

    rebuilt: Rebuilt = {"scalers": {}, "residuals": {}, "distributions": {}, "thresholds": {}, "kinds": {}}
    for row, f in enumerate(fitted):
        name = f.variable.name
        rebuilt["scalers"][name] = [contest.scaler.minimum[row], contest.scaler.maximum[row]]
        rebuilt["residuals"][name] = _residuals(group, store, artifacts, fit_id, contest, row, f).tolist()
        distribution = fit_distribution(f.residuals, group.distribution)
        rebuilt["distributions"][name] = [distribution.name, *distribution.parameters]
        rebuilt["thresholds"][name] = thresholds(distribution, f.tail_probability, group.threshold.direction)

    found = store.read_predictions(group, [f.variable for f in fitted], group.range(start, end))
    assert found is not None
    lower, upper = (np.array([rebuilt["thresholds"][f.variable.name][side] for f in fitted]) for side in (0, 1))
    kinds = judge(found.observed, found.predicted, found.residuals, lower[:, None], upper[:, None], group.threshold)
    rebuilt["kinds"] = {f.variable.name: row.tolist() for f, row in zip(fitted, kinds, strict=True)}
    incident = store.incidents(group)[0]
    (folder / "chart.png").write_bytes(MatplotlibCharts().incident(chart_data(group, incident, store)))
    return rebuilt


def _contest(group: Group, store: PostgresStore, fitted: tuple[FittedVariable, ...], history: Any) -> Contest:
    counts = store.read_counts(group, [f.variable for f in fitted], history).counts
    return open_contest(
        transforms.forward(counts, group.transform),
        np.isfinite(counts),
        starts=history.starts(),
        step=group.interval,
        zone=group.zone,
        warm=warm_up([CANDIDATES[name] for name in group.candidates], group.interval),
    )


def _residuals(
    group: Group,
    store: PostgresStore,
    artifacts: Artifacts,
    fit_id: str,
    contest: Contest,
    row: int,
    fitted: FittedVariable,
) -> Any:
    """From the network re-made of its training form, and the windows cut out of the counts again."""
    declared = candidate(fitted.candidate)
    window = declared.window(group.interval)
    scaler = Scaler(np.array([fitted.scaler_minimum]), np.array([fitted.scaler_maximum]))
    forecast = declared.forecast
    if fitted.slot:
        file = next(f for f in store.network_files(fit_id) if f.slot == fitted.slot)
        weights = training.read_training_form(artifacts.read(file.training_uri, sha256=file.training_sha256))
        own = training.take(weights, np.array([fitted.position]))
        forecast = load_forecaster(training.serving_form(declared, window.shape, own)).predict
    assert forecast is not None
    scaled = backtest(forecast, scaler.scale(contest.z[[row]]), contest.at, contest.lags(window))
    predicted, target = scaler.unscale(scaled)[0], contest.targets[row]
    telling = informative(transforms.inverse(target, group.transform), transforms.inverse(predicted, group.transform))
    return (target - predicted)[contest.split.held_out[row] & telling]


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
