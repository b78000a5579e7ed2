"""Predict on intervals that are still filling in: what is said of them, and that the end is as if they never had."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.completeness import Filling
from anomaly.detection.grid import CountGrid
from anomaly.groups import TimeRange
from anomaly.ports import Predictions
from anomaly.stages.predict import predict
from tests.fakes import PassingChecks
from tests.stages.conftest import HOUR, START
from tests.stages.watched import HISTORY, NoNetworks, Watched

HOURS = 6
FILLED = np.array([0.5, 0.8, 0.9, 1.0])


def _even(hours: int) -> NDArray[np.float64]:
    """(2, hours) Poisson counts with the same rate day and night."""
    return np.random.default_rng(4).poisson(200.0, (2, hours)).astype(float)


def _look(watched: Watched, hour: int, now: datetime, *, hours: int = 1) -> None:
    none, start = NoNetworks(), START + hour * HOUR
    predict(
        watched.group,
        start,
        start + hours * HOUR,
        store=watched.store,
        checks=PassingChecks(),
        artifacts=none,
        forecaster=none,
        now=now,
    )


def _count_at_its_age(watched: Watched, counts: NDArray[np.float64], hour: int) -> None:
    """As update would leave the hour and those before it, of which a share is there."""
    ages = np.arange(3, -1, -1)
    within = TimeRange(START + (hour - 3) * HOUR, START + (hour + 1) * HOUR, HOUR)
    there = np.round(counts[:, hour - 3 : hour + 1] * FILLED[ages])
    names = tuple(v.name for v in watched.variables)
    watched.store.write_counts(watched.group, watched.variables, CountGrid(names, within.starts(), there))
    young = CountGrid(names, within.starts()[1:], there[:, 1:])
    watched.store.write_count_ages(watched.group, watched.variables, young, ages[1:].tolist(), keep_from=START)


def _judged(watched: Watched) -> Predictions:
    return watched.predictions(HISTORY, HISTORY + HOURS - 3)


def test_hour_by_hour_with_late_rows_ends_where_a_backfill_ends_and_lateness_is_no_drop(
    make_watched: Callable[..., Watched],
) -> None:
    counts = _even(HISTORY + HOURS)
    unaware, watched = (make_watched(counts, lateness="3h", name=name) for name in ("unaware", "aware"))
    unaware.promote("f1", HISTORY)
    watched.promote("f2", HISTORY)
    for hour in range(HISTORY, HISTORY + HOURS):
        _count_at_its_age(unaware, counts, hour)
        _look(unaware, hour, START + (hour + 1) * HOUR)
        assert (unaware.predictions(hour, hour + 1).kinds == "drop").all()

    aware = Filling(np.tile(FILLED, (2, 1)), np.zeros((2, 4)), np.full(2, 500, dtype=np.int64))
    watched.store.save_filling(watched.variables, aware, at=START)
    for hour in range(HISTORY, HISTORY + HOURS):
        _count_at_its_age(watched, counts, hour)
        _look(watched, hour, START + (hour + 1.1) * HOUR)
        newest = watched.predictions(hour, hour + 1)
        assert (newest.kinds == "").all()
        np.testing.assert_allclose(newest.observed, newest.predicted, rtol=0.3)
        assert ((newest.lower <= newest.observed) & (newest.observed <= newest.upper)).all()

    live = _judged(watched)
    watched.rewrite(counts)
    _look(watched, HISTORY, START + (HISTORY + 100) * HOUR, hours=HOURS)
    backfilled = _judged(watched)
    for name in ("observed", "predicted", "lower", "upper", "residuals", "tail_probabilities", "kinds"):
        np.testing.assert_array_equal(getattr(live, name), getattr(backfilled, name))


def test_an_hour_without_a_row_is_silent_at_any_age_and_one_that_says_nothing_is_left_open(
    make_watched: Callable[..., Watched],
) -> None:
    counts = _even(HISTORY + HOURS)
    watched = make_watched(counts, lateness="3h")
    watched.promote("f1", HISTORY)
    scatter = np.array([[0.0, 0.0, 0.0, 0.0], [0.4, 0.1, 0.1, 0.0]])
    filling = Filling(np.tile(FILLED, (2, 1)), scatter, np.full(2, 500, dtype=np.int64))
    watched.store.save_filling(watched.variables, filling, at=START)
    counts[:, HISTORY + 4] = 0
    _count_at_its_age(watched, counts, HISTORY + 4)
    _look(watched, HISTORY + 4, START + (HISTORY + 5) * HOUR)
    newest = watched.predictions(HISTORY + 4, HISTORY + 5)
    assert newest.kinds[0, 0] in {"drop", "silent"}
    assert np.isnan(newest.predicted[1, 0])
