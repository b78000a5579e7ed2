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
from anomaly.detection import calendars, months, training, transforms
from anomaly.detection.backtests import backtest
from anomaly.detection.candidates import candidate, entered
from anomaly.detection.contest import Contest, open_contest, warm_up
from anomaly.detection.evidence import Evidence, as_json
from anomaly.detection.forecasts import Panel, Past, walk
from anomaly.detection.learning import contest_tests
from anomaly.detection.scaling import Scaler
from anomaly.detection.thresholds import limit
from anomaly.detection.windows import gather
from anomaly.groups import Group, TimeRange
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
    counts = store.read_counts(group, [f.variable for f in fitted], fit.history).counts
    contest = _contest(group, counts, fit.history, fitted)

    networks = [_forecast(group, store, artifacts, fit_id, f) for f in fitted]
    rebuilt: Rebuilt = {"scalers": {}, "windows": {}, "thresholds": {}}
    predictions = np.empty(contest.targets.shape)
    for row, f in enumerate(fitted):
        name, declared, scaler, own = f.variable.name, candidate(f.candidate), _scaler(f), np.array([row])
        of_the_history = contest.scaler_of(declared)
        rebuilt["scalers"][name] = [of_the_history.minimum[row], of_the_history.maximum[row]]
        shown, lags = contest.inputs(declared, scaler, own), contest.lags(declared.window(group.interval))
        rebuilt["windows"][name] = gather(shown, contest.at[-24:], lags[-24:])[0].tolist()
        answers = backtest(networks[row], shown, contest.at, lags)
        predictions[own] = contest.unscaled(declared, answers, scaler, rows=own, at=contest.at)
    expected = transforms.forward(contest.counts(predictions), group.transform)
    residuals = transforms.forward(counts[:, contest.at], group.transform) - expected
    rebuilt["residuals"] = {f.variable.name: own.tolist() for f, own in zip(fitted, residuals, strict=True)}
    rebuilt["tests"] = _tests(group, fitted, contest, counts, predictions)
    evidence = Evidence([f.tests for f in fitted], step=group.interval, transform=group.transform)
    limits = np.array([limit(f.tail_probability, group.threshold.direction) for f in fitted])
    sides = evidence.thresholds(limits, group.threshold.direction)
    rebuilt["thresholds"] = {f.variable.name: [float(s[row]) for s in sides] for row, f in enumerate(fitted)}

    rebuilt |= _judged(group, store, fitted, networks, evidence, limits, fit.history.start, start, end)
    incident = store.incidents(group)[0]
    drawn = {"incident": MatplotlibCharts().incident(chart_data(group, incident, store))} | fit_charts(fitted, charts)
    for name, png in drawn.items():
        (folder / f"{name}.png").write_bytes(png)
    return rebuilt


def _contest(group: Group, counts: Floats, history: TimeRange, fitted: Sequence[FittedVariable]) -> Contest:
    departed, _ = months.departures(months.as_table([f.month_days for f in fitted]), history.starts(), group.zone)
    return open_contest(
        transforms.forward(months.without(counts, departed, group.transform), group.transform),
        np.isfinite(counts),
        starts=history.starts(),
        step=group.interval,
        zone=group.zone,
        transform=group.transform,
        warm=warm_up(entered(group.candidates).values(), group.interval),
        departed=departed,
    )


def _tests(
    group: Group, fitted: Sequence[FittedVariable], contest: Contest, counts: Floats, predictions: Floats
) -> Rebuilt:
    """The tests of all variables, fitted to the history again."""
    again = contest_tests(
        contest,
        predictions,
        observed=counts,
        felt=counts,
        ordinary=np.isfinite(counts),
        distribution=group.distribution,
        merge_gap=group.incidents.merge_gap,
    )
    return {f.variable.name: as_json(tests) for f, tests in zip(fitted, again, strict=True)}


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


def _judged(
    group: Group,
    store: PostgresStore,
    fitted: Sequence[FittedVariable],
    networks: Sequence[Callable[[Float32], Float32]],
    evidence: Evidence,
    limits: Floats,
    begin: datetime,
    start: datetime,
    end: datetime,
) -> Rebuilt:
    """The range predicted and judged again, from the counts, by the networks read back and the stored tests."""
    within, known = group.range(start, end), group.range(begin, end)
    first = len(known) - len(within)
    counts = store.read_counts(group, [f.variable for f in fitted], known).counts
    past = Past(
        observed=counts,
        felt=counts[:, :first],
        expected=np.full((len(fitted), first), np.nan),
        anomalous=np.zeros((len(fitted), first), dtype=bool),
        starts=known.starts(),
        step=group.interval,
        zone=group.zone,
        transform=group.transform,
        special=calendars.special(known.starts(), group.zone, group.holidays),
        departed=months.departures(months.as_table([f.month_days for f in fitted]), known.starts(), group.zone),
    )
    panels = [
        Panel(
            rows=np.array([row]),
            positions=None,
            network_variables=1,
            scaler=_scaler(f),
            window=candidate(f.candidate).window(group.interval),
            relative=candidate(f.candidate).relative,
            predict=networks[row],
        )
        for row, f in enumerate(fitted)
    ]
    walked = walk(past, panels, evidence, limits, group.threshold)
    predicted = transforms.inverse(walked.predicted, group.transform)
    low, high = evidence.bounds(predicted, limits, group.threshold.direction, beside=(walked.outlook, walked.season))
    rows = {
        "predicted": predicted,
        "lower": low,
        "upper": high,
        "tail_probabilities": walked.tail_probabilities,
        "felt": walked.felt,
        "kinds": walked.kinds,
        "tests": walked.tests,
    }
    names = [f.variable.name for f in fitted]
    return {"judged": {what: dict(zip(names, values.tolist(), strict=True)) for what, values in rows.items()}}


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
