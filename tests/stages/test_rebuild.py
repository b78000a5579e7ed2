"""Everything but the weights lives in PostgreSQL: what judged an incident can be made again from there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from anomaly.adapters.charts import MatplotlibCharts
from anomaly.adapters.serving import load_forecaster
from anomaly.groups import TimeRange
from anomaly.ports import Links
from anomaly.stages.alert import alert
from anomaly.stages.predict import predict
from tests.conftest import REPOSITORY
from tests.stages.conftest import HOUR, START
from tests.stages.test_alert import RecordedChannel
from tests.stages.workplace import FIRST_FIT, Workplace, regular, wavy


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
    drawn = Path(incident.chart.removeprefix("file://"))
    original = drawn.read_bytes()
    drawn.unlink()

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
        np.testing.assert_allclose(rebuilt["residuals"][name], f.residuals, atol=1e-5)
        assert rebuilt["distributions"][name][0] == f.distribution
        assert rebuilt["distributions"][name][1:] == pytest.approx(f.parameters, rel=1e-3)
        assert rebuilt["thresholds"][name] == pytest.approx([f.lower, f.upper], rel=1e-3)
        assert rebuilt["kinds"][name] == found.kinds[row].tolist()
    assert "silent" in rebuilt["kinds"]["regular"]
    assert (tmp_path / "chart.png").read_bytes() == original
    assert incident.end - incident.start >= timedelta(hours=1)
