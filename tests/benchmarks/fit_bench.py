"""Fitting 500 variables x 90 days hourly with the seed network: all at once, against a Keras loop.

Both sides get the same windows, split, scale, first biases, dropout, optimiser, learning rate, batch size, patience and
most epochs. The loop is what one would write with Keras alone: build, compile, fit with early stopping, predict, per
variable; it is measured on a sample spread over the variables, half before and half after the batch, and its
imports and first warm-up are not counted. The error is compared on the test period of the same variables.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.candidates import candidate
from anomaly.detection.contest import Contest, enter, open_contest, warm_up
from anomaly.detection.windows import gather
from anomaly.groups.model import Transform
from tests.benchmarks.measuring import Figure, hourly_counts

HOUR = timedelta(hours=1)
SEED_NETWORK = "dense-16-mae"
DROPOUT = 0.05


def fit_benchmark(variables: int = 500, days: int = 90, sample: int = 10) -> list[Figure]:
    contest = _contest(variables, days)
    rows = np.linspace(0, variables - 1, sample).astype(int)
    _keras(contest, 0, epochs=1)  # what only the first network of a process pays is nobody's
    _batch(_contest(8, days))

    loop = [_keras(contest, int(row)) for row in rows[: sample // 2]]
    seconds, errors, epochs = _batch(contest)
    loop += [_keras(contest, int(row)) for row in rows[sample // 2 :]]

    loop_seconds = float(np.mean([took for took, _, _ in loop]))
    loop_errors = np.array([error for _, error, _ in loop])
    batch_seconds = seconds / variables
    worse = float(np.median(errors[rows]) / np.median(loop_errors) - 1)
    shared: dict[str, float | int | str] = {
        "variables": variables,
        "days": days,
        "keras_sample": sample,
        "batched_ms_per_variable": round(1000 * batch_seconds, 2),
        "keras_ms_per_variable": round(1000 * loop_seconds, 1),
        "batched_mean_epochs": round(epochs, 1),
        "keras_mean_epochs": round(float(np.mean([e for _, _, e in loop])), 1),
    }
    accuracy: dict[str, float | int | str] = {
        "batched_median_mae": round(float(np.median(errors[rows])), 4),
        "keras_median_mae": round(float(np.median(loop_errors)), 4),
        "batched_median_mae_of_all": round(float(np.median(errors)), 4),
        "variables": sample,
    }
    return [
        Figure(
            "fit: faster per variable than a Keras loop", loop_seconds / batch_seconds, 100, "at least", "x", shared
        ),
        Figure("fit: median test MAE, batched against loop", abs(worse) * 100, 2, "at most", "% apart", accuracy),
    ]


def _contest(variables: int, days: int) -> Contest:
    z = transforms.forward(hourly_counts(variables, days), Transform.ANSCOMBE)
    starts = np.datetime64("2026-01-01T00:00:00") + np.arange(z.shape[1]) * np.timedelta64(3600, "s")
    warm = warm_up([candidate(SEED_NETWORK)], HOUR)
    return open_contest(
        z,
        np.ones(z.shape, bool),
        starts=starts,
        step=HOUR,
        zone=ZoneInfo("America/New_York"),
        transform=Transform.ANSCOMBE,
        warm=warm,
    )


def _batch(contest: Contest) -> tuple[float, NDArray[np.float64], float]:
    """Seconds for all, test MAE (V,), mean epochs."""
    began = time.perf_counter()
    entry = enter(candidate(SEED_NETWORK), contest, seeds=list(range(len(contest.z))), order_seed=1)
    return time.perf_counter() - began, entry.mae, entry.epochs


def _keras(contest: Contest, row: int, *, epochs: int | None = None) -> tuple[float, float, int]:
    """Seconds, test MAE and epochs of one variable."""
    import keras

    declared = candidate(SEED_NETWORK)
    how, spec = declared.training, declared.window(HOUR)
    scaled = contest.scaler.scale(contest.z)[row : row + 1]
    windows = gather(scaled, contest.at, contest.lags(spec))[0]
    targets = scaled[0, contest.at].astype(np.float32)
    parts = {n: getattr(contest.split, n)[row] for n in ("train", "validation", "test")}
    keras.utils.set_random_seed(row)

    began = time.perf_counter()
    network: Any = keras.Sequential(
        [
            keras.Input(spec.shape),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="tanh"),
            keras.layers.Dropout(DROPOUT),
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.Dropout(DROPOUT),
            keras.layers.Dense(1, activation="relu", bias_initializer=keras.initializers.Constant(0.5)),
        ]
    )
    network.compile(optimizer=keras.optimizers.Adam(how.learning_rate), loss="mae")
    history = network.fit(
        windows[parts["train"]],
        targets[parts["train"]],
        validation_data=(windows[parts["validation"]], targets[parts["validation"]]),
        epochs=epochs or how.epochs,
        batch_size=how.batch_size,
        callbacks=[keras.callbacks.EarlyStopping(patience=how.patience, restore_best_weights=True)],
        verbose=0,
    )
    predicted = network.predict(windows, verbose=0, batch_size=1024)[:, 0]
    seconds = time.perf_counter() - began
    error = np.abs(predicted - targets)[parts["test"]].mean() * contest.scaler.span[row]
    return seconds, float(error), len(history.history["loss"])


if __name__ == "__main__":
    for figure in fit_benchmark():
        print(figure.name, round(figure.value, 2), figure.unit, dict(figure.details))
