"""Training: tiny seeded networks, trained for real."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.adapters.serving import load_forecaster
from anomaly.detection import training
from anomaly.detection.candidates import Candidate, Training, candidate
from anomaly.detection.networks import conv_autoencoder, dense, linear, residual
from anomaly.detection.networks.layers import begin
from anomaly.detection.splits import Split, split_by_time
from anomaly.detection.training import Trained
from anomaly.detection.windows import Recent, WindowSpec, gather, recent_and_seasonal
from anomaly.exceptions import ArtifactCorruptedError

HOUR = timedelta(hours=1)
HOURS, WARM = 400, 168
AT = np.arange(WARM, HOURS)
STARTS = np.datetime64("2026-01-01T00:00:00") + np.arange(HOURS) * np.timedelta64(3600, "s")
LONGER = Training(epochs=20, patience=20, learning_rate=5e-3)
SHORT = Training(epochs=6, patience=2, batch_size=32, learning_rate=1e-2)
NAMES = ["dense-16-mae", "lstm-16-mae", "tcn", "conv-autoencoder", "lstm-autoencoder", "donut"]


def lags_of(declared: Candidate) -> NDArray[np.int64]:
    return declared.window(HOUR).lags(STARTS[AT], HOUR, ZoneInfo("UTC"))


def noisy_days(variables: int) -> NDArray[np.float64]:
    """Scaled series (V, T) with a daily pattern of their own."""
    rng = np.random.default_rng(5)
    phase = rng.uniform(0, 24, (variables, 1))
    wave = 0.5 + 0.4 * np.sin((np.arange(HOURS) + phase) / 24 * 2 * np.pi)
    return np.clip(wave + 0.05 * rng.standard_normal((variables, HOURS)), 0, 1)


def trained(
    name: str,
    series: NDArray[np.float64],
    seeds: list[int],
    *,
    how: Training = SHORT,
    split: Split | None = None,
) -> Trained:
    declared = candidate(name)
    parts = split or split_by_time(np.ones((len(series), len(AT)), bool))
    return training.train(declared, series, AT, lags_of(declared), parts, seeds=seeds, training=how)


@cache
def five(name: str) -> Trained:
    return trained(name, noisy_days(5), [11, 22, 33, 44, 55], how=LONGER)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_networks_trains_as_each_would_alone(name: str) -> None:
    together, row = five(name), 3

    alone = trained(name, noisy_days(5)[row : row + 1], [44], how=LONGER)

    assert together.predictions[row] == pytest.approx(alone.predictions[0], abs=1e-4)
    assert together.epochs[row] == alone.epochs[0]


@pytest.mark.parametrize("name", NAMES)
def test_training_learns(name: str) -> None:
    targets = noisy_days(5)[:, AT]

    error = np.abs(five(name).predictions - targets)[:, -40:].mean(axis=1)
    flat = np.abs(np.median(targets, axis=1, keepdims=True) - targets)[:, -40:].mean(axis=1)
    assert (error < flat / 3).all()


def test_the_same_seeds_give_the_same_networks_to_the_last_bit() -> None:
    series = noisy_days(3)

    first, second = (trained("dense-16-mae", series, [1, 2, 3]) for _ in range(2))

    assert all(np.array_equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))
    other = trained("dense-16-mae", series, [1, 2, 4])
    assert np.array_equal(other.weights[0][:2], first.weights[0][:2])
    assert not np.array_equal(other.weights[0][2], first.weights[0][2])


def test_more_variables_than_fit_into_one_batch_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    series, seeds = noisy_days(5), [1, 2, 3, 4, 5]
    whole = trained("dense-16-mae", series, seeds)

    monkeypatch.setattr(training, "_MOST_TOGETHER", 2)
    parts = trained("dense-16-mae", series, seeds)

    assert parts.predictions == pytest.approx(whole.predictions, abs=1e-4)
    assert np.array_equal(parts.epochs, whole.epochs)
    assert all(a.shape == b.shape for a, b in zip(parts.weights, whole.weights, strict=True))


def test_variables_that_go_on_in_a_smaller_network_end_where_they_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    series = noisy_days(5)
    series[1:] = np.random.default_rng(0).random((4, HOURS))  # nothing to learn: they stop early
    seeds, how = [1, 2, 3, 4, 5], Training(epochs=25, patience=3, learning_rate=1e-3)
    whole = trained("dense-16-mae", series, seeds, how=how)
    sizes = []
    monkeypatch.setattr(training, "_WORTH_SHRINKING", 4)
    build = training._Network.__init__

    def recorded(self: training._Network, model: object, size: int, how: Training) -> None:
        sizes.append(size)
        build(self, model, size, how)

    monkeypatch.setattr(training._Network, "__init__", recorded)
    shrunk = trained("dense-16-mae", series, seeds, how=how)

    assert sizes == [5, 1]
    assert np.array_equal(shrunk.epochs, whole.epochs)
    assert shrunk.predictions == pytest.approx(whole.predictions, abs=1e-4)


def test_a_variable_that_stopped_does_not_change_any_more() -> None:
    """What a variable learns in later epochs, which run for the others, is not kept."""
    series = noisy_days(2)
    series[1] = np.random.default_rng(0).random(HOURS)  # nothing to learn: it stops early
    how = Training(epochs=25, patience=3, learning_rate=1e-3)

    longest = trained("dense-16-mae", series, [1, 2], how=how)
    stopped = int(longest.epochs[1])
    assert stopped < longest.epochs[0], "the second variable is meant to stop first"
    until_then = trained("dense-16-mae", series, [1, 2], how=replace(how, epochs=stopped))

    assert np.array_equal(longest.weights[0][1], until_then.weights[0][1])
    assert not np.array_equal(longest.weights[0][0], until_then.weights[0][0])


def test_the_weights_kept_are_those_of_the_best_epoch() -> None:
    series = noisy_days(3)
    split = split_by_time(np.ones((3, len(AT)), bool))

    result = trained("dense-16-mae", series, [1, 2, 3], how=Training(epochs=15, patience=3, learning_rate=3e-2))

    error = np.abs(result.predictions - series[:, AT])
    validation = np.where(split.validation, error, 0).sum(axis=1) / split.validation.sum(axis=1)
    assert validation == pytest.approx(result.validation_mae, rel=1e-4)


def test_windows_that_are_masked_out_teach_nothing() -> None:
    series = noisy_days(2)
    usable = np.ones((2, len(AT)), bool)
    usable[:, 30:50] = False
    spoiled = series.copy()
    spoiled[1, AT[35:45]] = np.nan
    split = split_by_time(usable)
    # Windows that hold a masked interval see it; so only the target is spoiled here, in the other run.
    clean = trained("dense-16-mae", series, [1, 2], split=split)
    moved = series.copy()
    moved[0, AT[49]] = 1.0 - moved[0, AT[49]]
    affected = trained("dense-16-mae", moved, [1, 2], split=split)

    assert affected.predictions[1] == pytest.approx(clean.predictions[1], abs=1e-6)
    with_gap = trained("dense-16-mae", spoiled, [1, 2], split=split)
    assert np.isnan(with_gap.predictions[1]).any()
    assert with_gap.predictions[0] == pytest.approx(clean.predictions[0], abs=1e-6)
    assert np.isfinite(with_gap.validation_mae).all()


def test_windows_that_are_masked_out_teach_an_autoencoder_nothing_either() -> None:
    """What it adds for rebuilding a window is masked as its forecast's error is."""
    declared = Candidate(window=lambda _: WindowSpec((Recent(14),)), network=conv_autoencoder.network)
    lags, series = lags_of(declared), noisy_days(1)
    usable = np.ones((1, len(AT)), bool)
    usable[:, 30:50] = False
    moved = series.copy()
    moved[0, AT[32:36]] += 5.0  # seen by the windows 33 to 49, and nowhere else

    clean, affected = (
        training.train(declared, s, AT, lags, split_by_time(usable), seeds=[1], training=SHORT) for s in (series, moved)
    )

    assert all(np.array_equal(a, b) for a, b in zip(clean.weights, affected.weights, strict=True))
    assert not np.array_equal(clean.predictions[:, 33:50], affected.predictions[:, 33:50])


@pytest.mark.parametrize(("loss", "place"), [("mae", np.log(2)), ("mse", 1.0)])
def test_the_loss_decides_whether_the_median_or_the_mean_is_forecast(loss: Literal["mae", "mse"], place: float) -> None:
    series = np.random.default_rng(0).exponential(1.0, (8, HOURS))
    declared = Candidate(window=lambda _: WindowSpec((Recent(1),)), network=linear.network)
    how = Training(epochs=60, patience=60, learning_rate=1e-2, loss=loss)
    split = split_by_time(np.ones((8, len(AT)), bool))

    result = training.train(declared, series, AT, lags_of(declared), split, seeds=range(8), training=how)

    assert result.predictions.mean() == pytest.approx(place, abs=0.12)


def test_weight_decay_is_that_of_adamw_and_spares_the_biases() -> None:
    import keras

    series = noisy_days(1)
    declared = Candidate(window=partial(recent_and_seasonal, length=7), network=partial(dense.network, dropout=0.0))
    lags, split = lags_of(declared), split_by_time(np.ones((1, len(AT)), bool))
    how = Training(epochs=1, batch_size=40, learning_rate=1e-2, weight_decay=2.0)

    result = training.train(declared, series, AT, lags, split, seeds=[3], training=how)

    network = dense.network(1, (7, 2), dropout=0.0)
    for variable, array in zip(network.trainable_weights, begin(network, [3]), strict=True):
        variable.assign(array)
    optimizer = keras.optimizers.AdamW(learning_rate=1e-2, weight_decay=2.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    network.compile(optimizer, "mae")
    order = np.random.default_rng([0, 0]).permutation(np.flatnonzero(split.train[0]))
    for first in range(0, len(order), 40):
        batch = AT[order[first : first + 40]]
        network.train_on_batch(gather(series, batch, lags[batch - WARM]), series[:, batch].astype(np.float32))
    for ours, theirs in zip(result.weights, network.trainable_weights, strict=True):
        assert ours == pytest.approx(theirs.numpy(), abs=1e-5)


def test_a_variable_without_anything_to_learn_from_keeps_its_first_weights() -> None:
    series = noisy_days(2)
    series[1] = np.nan

    result = trained("dense-16-mae", series, [1, 2])

    assert np.isinf(result.validation_mae[1])
    assert result.epochs[1] == 0
    assert np.isnan(result.predictions[1]).all()
    assert np.isfinite(result.predictions[0]).all()


@pytest.mark.parametrize("name", NAMES)
def test_both_stored_forms_give_what_training_gave(name: str) -> None:
    series, declared = noisy_days(5), candidate(name)
    result, shape = five(name), declared.window(HOUR).shape
    windows = gather(series, AT, lags_of(declared))

    serving = load_forecaster(training.serving_form(declared, shape, result.weights))
    stored = training.training_form(declared, shape, result.weights)

    assert serving.predict(windows) == pytest.approx(result.predictions, abs=1e-6)
    assert serving.predict(windows[:, :1]) == pytest.approx(result.predictions[:, :1], abs=1e-6)
    read = training.read_training_form(stored)
    assert all(np.array_equal(a, b) for a, b in zip(read, result.weights, strict=True))
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}


@pytest.mark.parametrize("build", [linear.network, residual.network])
def test_networks_on_departures_are_stored_as_they_are(build: Callable[..., Any]) -> None:
    declared = Candidate(window=lambda _: WindowSpec((Recent(1),) * 5), network=build)
    rng = np.random.default_rng(0)
    weights = tuple(rng.standard_normal(w.shape).astype(np.float32) for w in build(3, (1, 5)).trainable_weights)
    windows = rng.standard_normal((3, 40, 1, 5)).astype(np.float32)

    serving = load_forecaster(training.serving_form(declared, (1, 5), weights))
    read = training.read_training_form(training.training_form(declared, (1, 5), weights))

    network = build(3, (1, 5))
    for variable, array in zip(network.trainable_weights, read, strict=True):
        variable.assign(array)
    assert serving.predict(windows) == pytest.approx(np.asarray(network(windows)), abs=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(read, weights, strict=True))


def test_networks_can_be_taken_out_and_put_together() -> None:
    series, declared = noisy_days(3), candidate("dense-16-mae")
    result, shape = trained("dense-16-mae", series, [1, 2, 3]), declared.window(HOUR).shape
    mixed = training.stack([training.take(result.weights, np.array([2])), training.take(result.weights, np.array([0]))])

    serving = load_forecaster(training.serving_form(declared, shape, mixed))

    windows = gather(series[[2, 0]], AT, lags_of(declared))
    assert serving.predict(windows) == pytest.approx(result.predictions[[2, 0]], abs=1e-6)


def test_weights_of_different_architectures_do_not_stack() -> None:
    one, other = (np.zeros((1, 2, 3), np.float32),), (np.zeros((1, 2, 4), np.float32),)

    with pytest.raises(ValueError, match="2 different architectures"):
        training.stack([one, other])


def test_a_serving_form_that_is_no_network_is_refused() -> None:
    with pytest.raises(ArtifactCorruptedError, match=r"the serving form \(7 bytes\) is no network"):
        load_forecaster(b"nothing")


def test_a_forecast_without_weights_cannot_be_trained() -> None:
    with pytest.raises(ValueError, match="has no network, so there is nothing to train"):
        trained("seasonal-naive", noisy_days(1), [1])
