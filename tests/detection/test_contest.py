"""The contest of candidates: what each may see, and over which windows their errors are counted."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.detection import backtests
from anomaly.detection.backtests import backtest, mean_absolute_error
from anomaly.detection.candidates import CANDIDATES
from anomaly.detection.contest import Contest, enter, open_contest, warm_up
from anomaly.groups.model import Transform

HOUR = timedelta(hours=1)
HOURS = 600


def contest_on(z: NDArray[np.float64], *, warm: int = 168) -> Contest:
    starts = np.datetime64("2026-01-01T00:00:00") + np.arange(z.shape[1]) * np.timedelta64(3600, "s")
    judged = np.isfinite(z)
    linear = Transform.LINEAR
    return open_contest(z, judged, starts=starts, step=HOUR, zone=ZoneInfo("UTC"), transform=linear, warm=warm)


def test_the_warm_up_covers_the_networks_windows_and_the_nearest_week_of_the_naive_forecast() -> None:
    levels = warm_up([declared for declared in CANDIDATES.values() if not declared.relative], HOUR)
    naive = warm_up([CANDIDATES["seasonal-naive"]], HOUR)

    assert 168 <= levels <= 172
    assert 168 <= naive <= 172


def test_networks_on_departures_wait_for_a_baseline_and_a_week_of_departures_from_it() -> None:
    for name in ("departure-linear", "departure-16-mae"):
        assert 2 * 168 <= warm_up([CANDIDATES[name]], HOUR) <= 2 * 168 + 4
    assert warm_up(CANDIDATES.values(), timedelta(days=1)) >= 49


def test_the_scale_comes_from_the_training_part_alone() -> None:
    z = np.ones((1, HOURS))
    z[0, :300] = np.arange(300) % 5
    z[0, -10:] = 100

    contest = contest_on(z)

    assert (contest.scaler.minimum[0], contest.scaler.maximum[0]) == (0, 4)
    assert contest.split.test[0, -10:].all()


def test_a_younger_variable_waits_for_its_own_warm_up() -> None:
    z = np.ones((2, HOURS))
    z[1, :200] = np.nan

    contest = contest_on(z)

    judged = contest.split.train | contest.split.held_out
    assert judged[0].all()
    assert contest.at[judged[1].argmax()] == 200 + 168


def test_the_naive_forecast_of_what_repeats_weekly_is_exact() -> None:
    z = np.tile(np.random.default_rng(0).random((2, 168)), 4)[:, :HOURS]

    entry = enter(CANDIDATES["seasonal-naive"], contest_on(z), seeds=[1, 2], order_seed=1)

    assert entry.weights is None
    assert entry.mae == pytest.approx(np.zeros(2), abs=1e-6)


def test_predictions_in_blocks_are_those_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    series, at = np.random.default_rng(0).random((3, 100)), np.arange(20, 100)
    lags = np.broadcast_to(np.arange(7, 0, -1)[None, :, None], (80, 7, 1))
    asked = np.array([4, 0, 2])

    def forecast(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(windows.mean(axis=(2, 3)) * np.arange(5, dtype=np.float32)[:, None])

    whole = backtest(forecast, series, at, lags, positions=asked, network_variables=5)
    monkeypatch.setattr(backtests, "_BLOCK_BYTES", 1000)
    blocks = backtest(forecast, series, at, lags, positions=asked, network_variables=5)

    assert np.array_equal(whole, blocks)
    assert whole[0, 0] == pytest.approx(4 * series[0, 13:20].mean())


def test_errors_count_what_is_inside_the_mask_and_known() -> None:
    residuals = np.array([[1.0, -3.0, np.nan, 100.0], [np.nan] * 4])
    within = np.array([[True, True, True, False]] * 2)

    error = mean_absolute_error(residuals, within)

    assert error[0] == 2
    assert np.isnan(error[1])
