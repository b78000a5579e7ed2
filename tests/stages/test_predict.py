"""Predict on a real store: hour by hour is all at once, and an incident does not teach itself as normal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomaly.detection.learning import constant_tests
from anomaly.exceptions import IncompleteCountsError
from anomaly.groups import VariableSelection
from anomaly.groups.model import Transform
from tests.conftest import REPOSITORY
from tests.fakes import PassingChecks
from tests.stages.conftest import HOUR, START
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
    for name in ("predicted", "residuals", "tail_probabilities", "lower", "upper", "felt", "kinds", "tests"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_hour_by_hour_and_all_at_once_agree_in_all_tests_and_on_special_days(
    make_watched: Callable[..., Watched],
) -> None:
    first = HISTORY + 8 * 24 + 12  # noon before the weekend that Presidents' Day prolongs
    counts = np.random.default_rng(8).poisson([[40.0], [0.7]], (2, first + 36)).astype(float)
    counts[0, first + 2 : first + 10] = 55
    counts[0, first + 14 : first + 18] = 0
    counts[:, first + 22 : first + 30] //= 2
    counts[1, first + 10 :] = 0
    tests = [
        constant_tests(
            counts[[row], :HISTORY],
            mean,
            np.ones((1, HISTORY), dtype=bool),
            distribution="nct",
            step=HOUR,
            transform=Transform.ANSCOMBE,
            merge_gap=12 * HOUR,
        )
        for row, mean in enumerate([40.0, 0.7])
    ]
    hourly, at_once = (make_watched(counts, name=name, holidays="US") for name in ("hourly", "at_once"))
    for watched, fit in ((hourly, "f1"), (at_once, "f2")):
        watched.checks = PassingChecks()
        watched.promote(fit, first, tests=tests)
    for hour in range(first, first + 36):
        hourly.predict(hour, hour + 1)
    at_once.predict(first, first + 36)
    one, other = hourly.predictions(first, first + 36), at_once.predictions(first, first + 36)
    for name in (
        *("predicted", "residuals", "tail_probabilities", "lower", "upper"),
        *("felt", "outlook", "kinds", "tests"),
    ):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert {"frozen", "silent"} <= set(other.kinds[0].tolist())
    assert len(set(other.tests.ravel().tolist())) >= 5
    special = slice(12, None)
    assert (other.felt[0, special] != other.observed[0, special]).mean() > 0.9


@pytest.mark.parametrize("knew", [False, True])
def test_hour_by_hour_and_all_at_once_agree_where_a_later_fit_knows_of_the_month(
    make_watched: Callable[..., Watched],
    knew: bool,  # noqa: FBT001
) -> None:
    began, first = HISTORY, HISTORY + 30
    day = (START + (HISTORY + 6) * HOUR).day
    counts = daily(HISTORY + 80)
    times = np.array([(START + hour * HOUR).day for hour in range(counts.shape[1])])
    busy = np.isin(times, [day, day + 1]) & (np.arange(counts.shape[1]) >= began)
    counts[:, busy] = np.round(counts[:, busy] * 4)
    counts[1, first + 4 : first + 8] = 0
    hourly, at_once = (make_watched(counts, name=name) for name in ("hourly", "at_once"))
    for watched, fit in ((hourly, "1"), (at_once, "2")):
        days = {day: (np.log(4), np.log(4)), day + 1: (0.0, np.log(5))}
        watched.promote(f"before {fit}", began, month_days=days if knew else {})
        watched.predict(began, first)
        watched.promote(f"after {fit}", first, month_days=days)
    for hour in range(first, first + 50):
        hourly.predict(hour, hour + 1)
    at_once.predict(first, first + 50)
    one, other = hourly.predictions(began, first + 50), at_once.predictions(began, first + 50)
    for name in (
        *("predicted", "residuals", "tail_probabilities", "lower", "upper"),
        *("felt", "outlook", "kinds", "tests"),
    ):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    known = busy[began : first + 50]
    assert knew or (other.kinds[0, :30][known[:30]] == "surge").sum() > 5, "the first fit knows nothing of the day"
    assert (other.kinds[0, 30:][known[30:]] == "").all(), "the second one does"
    assert "silent" in other.kinds[1, 34:38].tolist()


def test_a_shift_that_lasts_longer_than_the_patience_is_believed_alike_in_pieces_and_at_once(
    make_watched: Callable[..., Watched],
) -> None:
    hours = 16 * 24
    counts = daily(HISTORY + hours)
    counts[0, HISTORY + 24 :] = np.round(counts[0, HISTORY + 24 :] * 3 + 20)
    pieces, at_once = make_watched(counts), make_watched(counts, name="copy")
    for watched, fit in ((pieces, "f1"), (at_once, "f2")):
        watched.promote(fit, HISTORY)
    for hour in range(HISTORY, HISTORY + hours, 16):
        pieces.predict(hour, hour + 16)
    at_once.predict(HISTORY, HISTORY + hours)
    one, other = pieces.predictions(HISTORY, HISTORY + hours), at_once.predictions(HISTORY, HISTORY + hours)
    for name in ("predicted", "residuals", "kinds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (other.kinds[0] == "surge").sum() > 100


def test_a_long_range_is_judged_in_chunks_that_change_nothing(
    make_watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = daily(HISTORY + 60)
    counts[:, HISTORY + 6 : HISTORY + 30] = 0
    whole, chunked = make_watched(counts), make_watched(counts, name="copy")
    for watched, fit in ((whole, "f1"), (chunked, "f2")):
        watched.promote(fit, HISTORY)
    whole.predict(HISTORY, HISTORY + 60)
    monkeypatch.setattr("anomaly.stages.predict.CELLS_AT_ONCE", 14)
    chunked.predict(HISTORY, HISTORY + 60)
    one, other = whole.predictions(HISTORY, HISTORY + 60), chunked.predictions(HISTORY, HISTORY + 60)
    np.testing.assert_array_equal(one.predicted, other.predicted)
    np.testing.assert_array_equal(one.kinds, other.kinds)


def test_a_champion_judges_in_the_transform_it_was_fitted_in(make_watched: Callable[..., Watched]) -> None:
    watched = make_watched(daily(HISTORY + 24))
    watched.promote("f1", HISTORY, configuration={"transform": "anscombe", "timezone": "UTC"})
    watched.predict(HISTORY, HISTORY + 24)
    before = watched.predictions(HISTORY, HISTORY + 24)
    watched.group = watched.group.model_copy(update={"transform": Transform.LINEAR, "timezone": "Asia/Tokyo"})
    watched.predict(HISTORY, HISTORY + 24)
    after = watched.predictions(HISTORY, HISTORY + 24)
    np.testing.assert_array_equal(before.residuals, after.residuals)
    np.testing.assert_array_equal(before.kinds, after.kinds)


def test_variables_that_left_the_selection_are_not_judged_any_more(make_watched: Callable[..., Watched]) -> None:
    watched = make_watched(daily(HISTORY + 24))
    watched.promote("f1", HISTORY)
    watched.predict(HISTORY, HISTORY + 12)
    watched.group = watched.group.model_copy(update={"variables": VariableSelection(names=("a",))})
    report = watched.predict(HISTORY + 12, HISTORY + 24)
    assert report.variables == 1
    assert np.isnan(watched.predictions(HISTORY + 12, HISTORY + 24).predicted[1]).all()


def test_intervals_that_failed_runs_left_out_are_judged_with_the_next(make_watched: Callable[..., Watched]) -> None:
    watched = make_watched(daily(HISTORY + 48))
    watched.promote("f1", HISTORY)
    watched.predict(HISTORY, HISTORY + 12)
    watched.predict(HISTORY + 30, HISTORY + 31)
    assert np.isfinite(watched.predictions(HISTORY, HISTORY + 31).predicted).all()


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
    new = fitted(watched.variables[0], status="new", distribution="", parameters=(), tests=())
    watched.store.save_fitted("f1", [new, fitted(watched.variables[1])], [])
    report = watched.predict(HISTORY, HISTORY + 24)
    assert (report.variables, report.not_judged) == (1, 1)


def test_intervals_that_update_has_not_counted_are_refused_with_the_command(
    make_watched: Callable[..., Watched],
) -> None:
    watched = make_watched(daily(48))
    with pytest.raises(IncompleteCountsError, match="anomaly update orders --start 2026-01-03T00:00:00"):
        watched.predict(40, 60)


def test_a_group_without_variables_to_judge_predicts_nothing(make_watched: Callable[..., Watched]) -> None:
    watched = make_watched(daily(HISTORY + 24))
    watched.promote("f1", HISTORY)
    new = [fitted(v, status="new", distribution="", parameters=(), tests=()) for v in watched.variables]
    watched.store.save_fitted("f1", new, [])
    report = watched.predict(HISTORY, HISTORY + 24)
    assert (report.predictions, report.not_judged) == (0, 2)


def test_predicting_imports_no_tensorflow(make_watched: Callable[..., Watched], tmp_path: Path) -> None:
    watched = make_watched(daily(HISTORY + 24))
    watched.promote("f1", HISTORY)
    start, end = (START + hours * HOUR for hours in (HISTORY, HISTORY + 24))
    code = f"""
import sys
from datetime import datetime
from pathlib import Path
from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.serving import load_forecaster
from anomaly.groups import Group
from anomaly.stages.predict import predict
import onnxruntime
report = predict(
    Group.model_validate_json({watched.group.model_dump_json()!r}),
    datetime.fromisoformat({start.isoformat()!r}),
    datetime.fromisoformat({end.isoformat()!r}),
    store=PostgresStore({watched.store._arguments!r}),
    checks=GreatExpectationsChecks(Path("expectations"), Path({str(tmp_path)!r})),
    artifacts=Artifacts({str(tmp_path)!r}),
    forecaster=load_forecaster,
    now=datetime.fromisoformat({end.isoformat()!r}),
)
assert report.predictions == 48, report
print([m for m in ("tensorflow", "keras", "mlflow") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
