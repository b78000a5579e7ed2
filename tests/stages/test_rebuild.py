"""Everything but the weights lives in PostgreSQL: what judged an incident can be made again from there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly.adapters.charts import MatplotlibCharts
from anomaly.adapters.serving import load_forecaster
from anomaly.groups import TimeRange
from anomaly.ports import FittedVariable, Links
from anomaly.stages.alert import alert
from anomaly.stages.predict import predict
from tests.conftest import REPOSITORY
from tests.fakes import RecordedChannel
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, FIRST_FIT, Workplace, regular, wavy


def test_scaler_windows_distribution_thresholds_verdicts_and_chart_are_rebuilt_from_the_metadata(
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
        assert rebuilt["distributions"][name] == [f.distribution, *f.parameters]
        assert rebuilt["thresholds"][name] == [f.lower, f.upper]
        np.testing.assert_allclose(rebuilt["predicted"][name], found.predicted[row], rtol=1e-4, atol=1e-4)
        assert rebuilt["kinds"][name] == found.kinds[row].tolist()
    assert "silent" in rebuilt["kinds"]["regular"]
    for name, original in originals.items():
        assert (tmp_path / f"{name}.png").read_bytes() == original, name
    assert incident.end - incident.start >= timedelta(hours=1)


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
