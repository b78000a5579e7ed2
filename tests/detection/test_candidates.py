"""The candidates: how large they are, in which order they stand, and what those without weights forecast."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from anomaly.detection.candidates import BASELINE, CANDIDATES, CONSTANT, candidate, entered
from anomaly.detection.networks import naive
from anomaly.detection.training import parameters_per_variable

HOUR = timedelta(hours=1)


def test_the_seed_network_has_1025_parameters_per_variable() -> None:
    seed = candidate("dense-16-mae")

    assert parameters_per_variable(seed, seed.window(HOUR).shape) == 1025


def test_the_lstm_has_the_weights_of_an_lstm_and_a_dense_layer() -> None:
    lstm = candidate("lstm-16-mae")

    assert parameters_per_variable(lstm, lstm.window(HOUR).shape) == 4 * 16 * (2 + 16 + 1) + 17


def test_candidates_are_listed_from_the_simplest_to_the_most_complex() -> None:
    sizes = [parameters_per_variable(c, c.window(HOUR).shape) for c in CANDIDATES.values()]

    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("step", "length"),
    [(HOUR, 168), (timedelta(minutes=15), 672), (timedelta(days=1), 49), (timedelta(days=7), 7), (HOUR / 60, 672)],
)
def test_a_long_context_holds_seven_seasons_and_is_no_longer_than_it_can_afford(step: timedelta, length: int) -> None:
    assert candidate("tcn").window(step).shape == (length, 1)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="candidate 'dense-17' is unknown; expected one of .*dense-16-mae"):
        candidate("dense-17")


def test_knowing_the_candidates_imports_neither_keras_nor_tensorflow() -> None:
    code = (
        "import sys, anomaly.detection.candidates, anomaly.stages.fit, anomaly.adapters.serving;"
        "print(sorted(m for m in ('keras', 'tensorflow', 'onnxruntime', 'scipy.stats') if m in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert found.strip() == "[]"


def test_the_seasonal_naive_forecast_is_the_median_of_the_weeks_that_are_known() -> None:
    windows = np.array([[[1.0, 2.0, 9.0, 4.0], [np.nan, np.nan, 6.0, 8.0], [np.nan] * 4]], np.float32)[..., None]

    forecast = naive.median(windows)

    assert forecast[0, :2].tolist() == [3.0, 7.0]
    assert np.isnan(forecast[0, 2])


def test_the_constant_fallback_forecasts_what_its_scaler_states() -> None:
    forecast = candidate(CONSTANT).forecast

    assert forecast is not None
    assert forecast(np.full((2, 3, 1, 2), np.nan, np.float32)).tolist() == [[0.0] * 3] * 2


def test_the_baseline_enters_every_contest_and_the_simplest_stands_first() -> None:
    assert list(entered(["lstm-16-mae", "dense-16-mae"])) == [BASELINE, "dense-16-mae", "lstm-16-mae"]
    assert list(entered([BASELINE])) == [BASELINE]
