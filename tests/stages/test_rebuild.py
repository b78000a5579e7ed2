"""Everything but the weights lives in PostgreSQL: what judged an incident can be made again from there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly.adapters.charts import MatplotlibCharts
from anomaly.adapters.serving import load_forecaster
from anomaly.detection.evidence import FittedTest, from_json
from anomaly.groups import TimeRange
from anomaly.ports import FittedVariable, Links
from anomaly.stages.alert import alert
from anomaly.stages.predict import predict
from tests.conftest import REPOSITORY
from tests.fakes import RecordedChannel
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, FIRST_FIT, Workplace, regular, wavy


def test_scaler_windows_tests_thresholds_verdicts_and_chart_are_rebuilt_from_the_metadata(
    make_workplace: Callable[..., Workplace], tmp_path: Path
) -> None:
    place = make_workplace()
    judged = TimeRange(START + FIRST_FIT * HOUR, START + (FIRST_FIT + 48) * HOUR, HOUR)
    counts = {"wavy": wavy(FIRST_FIT + 48), "regular": regular(FIRST_FIT + 48)}
    counts["regular"][FIRST_FIT + 30 : FIRST_FIT + 36] = 0
    place.count(counts)
    fit = place.all_steps(FIRST_FIT)
    charts, store = MatplotlibCharts(), place.store
    predict(
        place.group,
        judged.start,
        judged.end,
        store=store,
        checks=place.checks,
        artifacts=place.artifacts,
        forecaster=load_forecaster,
        now=judged.end,
    )
    alert(
        place.group,
        judged.start,
        judged.end,
        store=store,
        charts=charts,
        chart_store=place.artifacts,
        channel=RecordedChannel(),
        links=Links(),
        now=judged.end,
    )
    incident = store.incidents(place.group)[0]
    assert incident.chart is not None
    (of_the_fit,) = {p.parent for p in (tmp_path / "artifacts").rglob("charts/mae_per_candidate.png")}
    drawn = {"incident": Path(incident.chart.removeprefix("file://"))}
    drawn |= {name: of_the_fit / f"{name}.png" for name in ("mae_per_candidate", "residuals")}
    originals = {name: path.read_bytes() for name, path in drawn.items()}
    for path in drawn.values():
        path.unlink()

    given = {
        "database": store._arguments,
        "fit": fit.id,
        "start": judged.start.isoformat(),
        "end": judged.end.isoformat(),
        "folder": str(tmp_path),
    }
    subprocess.run(
        [sys.executable, "-m", "tests.stages.rebuild_from_metadata", json.dumps(given)], cwd=REPOSITORY, check=True
    )
    rebuilt = json.loads((tmp_path / "rebuilt.json").read_text())

    fitted = place.fitted(fit)
    assert fitted["wavy"].slot
    found = store.read_predictions(place.group, [f.variable for f in fitted.values()], judged)
    assert found is not None
    for row, (name, f) in enumerate(fitted.items()):
        assert rebuilt["scalers"][name] == [f.scaler_minimum, f.scaler_maximum]
        np.testing.assert_array_equal(rebuilt["windows"][name], _windows(f, counts[name]))
        np.testing.assert_allclose(rebuilt["residuals"][name], f.residuals, atol=1e-5)
        assert rebuilt["thresholds"][name] == [f.lower, f.upper]
        _assert_alike(from_json(rebuilt["tests"][name]), f.tests)
        again = {what: np.array(rows[name]) for what, rows in rebuilt["judged"].items()}
        for what in ("kinds", "tests"):
            np.testing.assert_array_equal(again[what], getattr(found, what)[row])
        for what in ("predicted", "lower", "upper", "tail_probabilities", "felt"):
            np.testing.assert_allclose(again[what], getattr(found, what)[row], rtol=1e-3, atol=1e-4, err_msg=what)
    assert "silent" in rebuilt["judged"]["kinds"]["regular"]
    for name, original in originals.items():
        assert (tmp_path / f"{name}.png").read_bytes() == original, name
    assert incident.end - incident.start >= timedelta(hours=1)


def _assert_alike(rebuilt: Sequence[FittedTest], stored: Sequence[FittedTest]) -> None:
    """The same tests, but for the last digits that a network's serving form has of its own."""
    assert [(t.test, t.family) for t in rebuilt] == [(t.test, t.family) for t in stored]
    for one, other in zip(rebuilt, stored, strict=True):
        np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-2, atol=1e-3, err_msg=one.test)
        calibration = (one.calibration.knee, one.calibration.slope)
        np.testing.assert_allclose(calibration, (other.calibration.knee, other.calibration.slope), rtol=1e-2)


def _windows(fitted: FittedVariable, counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Of the history's last day, (24, L, F), cut out by hand."""
    z = 2 * np.sqrt(counts + 3 / 8)
    scaled = (z - fitted.scaler_minimum) / (fitted.scaler_maximum - fitted.scaler_minimum)
    if fitted.candidate == "seasonal-naive":
        ago = [[7 * DAY * n] for n in range(4, 0, -1)]
    else:
        ago = [[n, DAY * n] for n in range(7, 0, -1)]
    cut = np.array(
        [[[_value(scaled, at - n) for n in step] for step in ago] for at in range(FIRST_FIT - 24, FIRST_FIT)]
    )
    return cut.astype(np.float32)


def _value(scaled: NDArray[np.float64], at: int) -> float:
    return float(scaled[at]) if at >= 0 else float("nan")
