"""Predict on a real store: hour by hour is all at once, and an incident does not teach itself as normal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest

from anomaly.exceptions import IncompleteCountsError
from tests.stages.watched import HISTORY, WEEK, Watched, daily, fitted


def test_an_outage_is_silent_its_end_is_no_surge_and_next_week_is_predicted_as_ever(
    make_watched: Callable[..., Watched],
) -> None:
    counts = daily(HISTORY + 2 * WEEK)
    outage = slice(HISTORY + 24, HISTORY + 72)
    counts[0, outage] = 0
    watched = make_watched(counts)
    watched.promote("f1", HISTORY)
    report = watched.predict(HISTORY, HISTORY + 2 * WEEK)

    found = watched.predictions(HISTORY, HISTORY + 2 * WEEK)
    busy = found.predicted[0] > 10
    during = np.zeros(2 * WEEK, dtype=bool)
    during[24:72] = True
    assert (found.kinds[0, during & busy] == "silent").all()
    assert (found.kinds[0, ~during] == "").mean() > 0.98
    assert (found.kinds[1] == "").mean() > 0.98
    next_week = found.predicted[0, 24 + WEEK : 72 + WEEK]
    assert next_week.sum() == pytest.approx(found.predicted[1, 24 + WEEK : 72 + WEEK].sum(), rel=0.15)
    assert report.anomalies == np.count_nonzero(found.kinds != "")
    assert (report.variables, report.not_judged, report.model_versions) == (2, 0, (1,))


def test_hour_by_hour_and_all_at_once_agree_to_the_last_bit(make_watched: Callable[..., Watched]) -> None:
    counts = daily(HISTORY + 60)
    counts[:, HISTORY + 6 : HISTORY + 30] = 0
    hourly, at_once = make_watched(counts), make_watched(counts, name="copy")
    for watched, fit in ((hourly, "f1"), (at_once, "f2")):
        watched.promote(fit, HISTORY)
    for hour in range(HISTORY, HISTORY + 60):
        hourly.predict(hour, hour + 1)
    at_once.predict(HISTORY, HISTORY + 60)
    one, other = hourly.predictions(HISTORY, HISTORY + 60), at_once.predictions(HISTORY, HISTORY + 60)
    assert (other.kinds != "").any()
    for name in ("predicted", "residuals", "tail_probabilities", "lower", "upper", "kinds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_late_rows_take_a_verdict_back(make_watched: Callable[..., Watched]) -> None:
    counts = daily(HISTORY + 9)
    late = counts.copy()
    late[0, HISTORY + 7] = 0
    watched = make_watched(late)
    watched.promote("f1", HISTORY)
    watched.predict(HISTORY, HISTORY + 8)
    assert watched.predictions(HISTORY, HISTORY + 8).kinds[0, 7] == "silent"
    watched.rewrite(counts)
    watched.predict(HISTORY + 8, HISTORY + 9)
    assert watched.predictions(HISTORY, HISTORY + 8).kinds[0, 7] == ""


def test_each_interval_is_judged_by_the_champion_of_its_time(make_watched: Callable[..., Watched]) -> None:
    watched = make_watched(daily(HISTORY + 48))
    watched.promote("f1", HISTORY, threshold=100)
    watched.promote("f2", HISTORY + 24, threshold=0.01, version=2)
    report = watched.predict(HISTORY - 12, HISTORY + 48)
    found = watched.predictions(HISTORY - 12, HISTORY + 48)
    assert report.model_versions == (1, 2)
    assert np.isnan(found.predicted[:, :12]).all()
    assert (found.kinds[:, 12:36] == "").all()
    assert (found.kinds[:, 36:] != "").any()


def test_what_stays_different_becomes_normal_after_half_a_week_of_anomalies(
    make_watched: Callable[..., Watched],
) -> None:
    counts = np.full((2, HISTORY + 5 * WEEK), 30.0)
    counts[0, HISTORY:] = 90
    watched = make_watched(counts)
    watched.promote("f1", HISTORY)
    watched.predict(HISTORY, HISTORY + 5 * WEEK)
    kinds = watched.predictions(HISTORY, HISTORY + 5 * WEEK).kinds
    assert (kinds[0, :WEEK] == "surge").all()
    assert (kinds[0, -WEEK:] == "").all()


def test_without_a_champion_nothing_is_predicted_and_the_report_says_so(make_watched: Callable[..., Watched]) -> None:
    report = make_watched(daily(48)).predict(24, 48)
    assert report.predictions == 0
    assert "no champion" in str(report)


def test_variables_without_a_distribution_are_not_judged(make_watched: Callable[..., Watched]) -> None:
    watched = make_watched(daily(HISTORY + 24))
    watched.promote("f1", HISTORY)
    new = fitted(watched.variables[0], status="new", distribution="", parameters=())
    watched.store.save_fitted("f1", [new, fitted(watched.variables[1])], [])
    report = watched.predict(HISTORY, HISTORY + 24)
    assert (report.variables, report.not_judged) == (1, 1)


def test_intervals_that_update_has_not_counted_are_refused_with_the_command(
    make_watched: Callable[..., Watched],
) -> None:
    watched = make_watched(daily(48))
    with pytest.raises(IncompleteCountsError, match="anomaly update orders --start 2026-01-03T00:00:00"):
        watched.predict(40, 60)


def test_a_group_on_another_interval_is_walked_the_same_way(make_watched: Callable[..., Watched]) -> None:
    watched = make_watched(daily(48), interval="30min", incidents={"merge_gap": "6h"})
    assert watched.group.interval == timedelta(minutes=30)
    assert watched.predict(0, 10).predictions == 0


def test_predict_imports_no_tensorflow() -> None:
    code = (
        "import sys, anomaly.stages.predict, anomaly.adapters.serving, anomaly.adapters.artifacts; "
        "import onnxruntime, scipy.stats; "
        "print([m for m in ('tensorflow', 'keras', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
