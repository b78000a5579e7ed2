"""The batched layers against Keras's own, variable by variable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from anomaly.detection.networks import conv_autoencoder, dense, donut, linear, lstm, lstm_autoencoder, residual, tcn
from anomaly.detection.networks.layers import Hidden, Profile, begin
from anomaly.detection.networks.reconstruction import EvidenceBound, Injected, Rebuilt

Float32 = NDArray[np.float32]

WINDOW = (7, 2)


def with_weights(network: Any, seeds: list[int]) -> list[Float32]:
    """Gives each variable weights of its own, biases included, and returns them."""
    rng = np.random.default_rng(1)
    weights = [w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for w in begin(network, seeds)]
    for variable, array in zip(network.trainable_weights, weights, strict=True):
        variable.assign(array)
    return weights


def of_variable(network: Any, row: int) -> dict[str, list[Float32]]:
    """One variable's weights by layer, without their leading axis; biases are (units,)."""
    found = {}
    for layer in network.layers:
        if layer.trainable_weights:
            arrays = {w.name: w.numpy()[row] for w in layer.trainable_weights}
            found[layer.name] = [array[0] if name == "bias" else array for name, array in arrays.items()]
    return found


def parted(windows: Float32, seasons: int) -> tuple[Float32, Float32]:
    """One variable's windows (B, L, 1) as a network sees them: departures and profile, both (B, L)."""
    seen = np.roll(windows[..., 0], -1, axis=1)
    by_season = seen.reshape(len(seen), seasons, -1)
    profile = np.tile(by_season.mean(axis=1), (1, seasons))
    return seen - profile, profile


def keras_gates(weights: list[Float32], units: int) -> list[Float32]:
    """Ours are ordered input, forget, output, candidate; Keras has input, forget, candidate, output."""
    order = np.concatenate([np.arange(2 * units), np.arange(3 * units, 4 * units), np.arange(2 * units, 3 * units)])
    return [array[..., order] for array in weights]


def test_a_batched_dense_network_computes_what_keras_computes_per_variable() -> None:
    import keras

    batched = dense.network(3, WINDOW)
    weights = begin(batched, [1, 2, 3])
    for variable, array in zip(batched.trainable_weights, weights, strict=True):
        variable.assign(array)
    windows = np.random.default_rng(0).random((3, 5, *WINDOW)).astype(np.float32)
    together = np.asarray(batched(windows))

    for row in range(3):
        alone = keras.Sequential(
            [
                keras.Input(WINDOW),
                keras.layers.Flatten(),
                keras.layers.Dense(32, "tanh"),
                keras.layers.Dropout(0.05),
                keras.layers.Dense(16, "tanh"),
                keras.layers.Dropout(0.05),
                keras.layers.Dense(1, "relu"),
            ]
        )
        alone.set_weights([w[row] if w.shape[1] > 1 or w.ndim < 3 else w[row][0] for w in weights])
        assert alone.count_params() == 1025
        assert together[row] == pytest.approx(np.asarray(alone(windows[row]))[:, 0], abs=1e-6)


def test_a_batched_lstm_computes_what_keras_computes_per_variable() -> None:
    import keras

    batched = lstm.network(2, WINDOW, units=4)
    weights = begin(batched, [7, 8])
    rng = np.random.default_rng(1)
    weights = [w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for w in weights]
    for variable, array in zip(batched.trainable_weights, weights, strict=True):
        variable.assign(array)
    windows = rng.random((2, 5, *WINDOW)).astype(np.float32)
    together = np.asarray(batched(windows))

    for row in range(2):
        alone = keras.Sequential([keras.Input(WINDOW), keras.layers.LSTM(4), keras.layers.Dense(1, "relu")])
        kernel, recurrent, bias, out, out_bias = (w[row] for w in weights)
        # Keras orders its gates input, forget, candidate, output.
        order = np.concatenate([np.arange(8), np.arange(12, 16), np.arange(8, 12)])
        alone.set_weights([kernel[:, order], recurrent[:, order], bias[0, order], out, out_bias[0]])
        assert together[row] == pytest.approx(np.asarray(alone(windows[row]))[:, 0], abs=1e-5)


def test_first_weights_follow_from_the_variables_own_seed_alone() -> None:
    together = begin(lstm.network(3, WINDOW), [5, 6, 7])
    alone = begin(lstm.network(1, WINDOW), [6])

    assert all(np.array_equal(a[1], b[0]) for a, b in zip(together, alone, strict=True))


def test_first_weights_are_distributed_as_keras_draws_them() -> None:
    import keras

    kernel = begin(dense.network(200, WINDOW), list(range(200)))[0]
    keras_kernel = np.asarray(keras.initializers.GlorotUniform(seed=1)((14, 32)))

    limit = np.sqrt(6 / (14 + 32))
    assert np.abs(kernel).max() <= limit
    assert np.abs(keras_kernel).max() <= limit
    assert kernel.std() == pytest.approx(keras_kernel.std(), rel=0.1)
    recurrent = begin(lstm.network(1, WINDOW), [3])[1][0]
    assert recurrent @ recurrent.T == pytest.approx(np.eye(16), abs=1e-5)


def test_dropout_masks_are_the_same_for_every_variable() -> None:
    network = dense.network(2, WINDOW, dropout=0.5)
    first = begin(network, [1])
    for variable, array in zip(network.trainable_weights, first, strict=True):
        variable.assign(np.concatenate([array, array]))
    windows = np.repeat(np.random.default_rng(0).random((1, 20, *WINDOW)).astype(np.float32), 2, axis=0)

    one, other = np.asarray(network(windows, training=True))

    assert np.array_equal(one, other)
    assert not np.array_equal(one, np.asarray(network(windows, training=False))[0])


@pytest.mark.parametrize(
    ("length", "most", "found"),
    [
        (168, 4, [4, 2, 3, 7]),
        (168, 8, [8, 3, 7]),
        (672, 8, [8, 4, 3, 7]),
        (49, 8, [7, 7]),
        (1, 4, [1]),
        (131, 4, [131]),
    ],
)
def test_kernels_follow_from_the_windows_length(length: int, most: int, found: list[int]) -> None:
    assert tcn.kernels(length, most) == found


def test_a_tree_of_convolutions_computes_what_dilated_causal_convolutions_compute_at_the_newest_place() -> None:
    import keras

    batched = tcn.network(2, (42, 1), channels=3, kernel=4)
    with_weights(batched, [1, 2])
    windows = np.random.default_rng(0).random((2, 5, 42, 1)).astype(np.float32)
    together = np.asarray(batched(windows))

    for row in range(2):
        weights = of_variable(batched, row)
        departures, profile = parted(windows[row], 7)
        x = departures[..., None]
        newest, dilation = [x[:, -1]], 1
        for level, size in enumerate(tcn.kernels(42, 4), 1):
            conv = keras.layers.Conv1D(3, size, dilation_rate=dilation, padding="causal", activation="tanh")
            conv.build(x.shape)
            kernel, bias = weights[f"convolution_{level}"]
            conv.set_weights([kernel.reshape(size, -1, 3), bias])
            x = np.asarray(conv(x))
            newest.append(x[:, -1])
            dilation *= size
        kernel, bias = weights["departure"]
        expected = (np.concatenate(newest, axis=1) @ kernel + bias)[:, 0] + profile[:, -1]
        assert dilation == 42
        assert together[row] == pytest.approx(expected, abs=1e-5)


def test_the_convolutional_autoencoder_computes_what_strided_and_transposed_convolutions_compute() -> None:
    import keras

    batched = conv_autoencoder.network(2, (12, 1), channels=3, code=2, kernel=4, seasons=3)
    with_weights(batched, [1, 2])
    for name, size, units in [("transposed_2", 3, 3), ("transposed_1", 4, 1)]:
        bias = batched.get_layer(name).bias  # ours has one for each place, Keras one for all
        bias.assign(np.tile(bias.numpy()[..., :units], size))
    windows = np.random.default_rng(0).random((2, 5, 12, 1)).astype(np.float32)
    together = np.asarray(batched(windows))

    for row in range(2):
        weights = of_variable(batched, row)
        departures, profile = parted(windows[row], 3)
        x = departures[..., None]
        for level, (size, units) in enumerate([(4, 3), (3, 2)], 1):
            conv = keras.layers.Conv1D(units, size, strides=size, activation="tanh")
            conv.build(x.shape)
            kernel, bias = weights[f"convolution_{level}"]
            conv.set_weights([kernel.reshape(size, -1, units), bias])
            x = np.asarray(conv(x))
        for level, size, units, activation in [(2, 3, 3, "tanh"), (1, 4, 1, None)]:
            conv = keras.layers.Conv1DTranspose(units, size, strides=size, activation=activation)
            conv.build(x.shape)
            kernel, bias = weights[f"transposed_{level}"]
            conv.set_weights([kernel.reshape(-1, size, units).transpose(1, 2, 0), bias[:units]])
            x = np.asarray(conv(x))
        assert together[row] == pytest.approx(x[:, -1, 0] + profile[:, -1], abs=1e-5)


def test_the_lstm_autoencoder_computes_what_keras_computes_per_variable() -> None:
    import keras

    batched = lstm_autoencoder.network(2, (12, 1), units=3, seasons=4)
    with_weights(batched, [1, 2])
    windows = np.random.default_rng(0).random((2, 5, 12, 1)).astype(np.float32)
    together = np.asarray(batched(windows))

    for row in range(2):
        weights = of_variable(batched, row)
        alone = keras.Sequential(
            [
                keras.Input((4, 3)),
                keras.layers.LSTM(3, name="encoder"),
                keras.layers.RepeatVector(4),
                keras.layers.LSTM(3, return_sequences=True, name="decoder"),
                keras.layers.Dense(3, name="rebuilt_seasons"),
            ]
        )
        for name in ("encoder", "decoder"):
            alone.get_layer(name).set_weights(keras_gates(weights[name], 3))
        alone.get_layer("rebuilt_seasons").set_weights(weights["rebuilt_seasons"])
        departures, profile = parted(windows[row], 4)
        backwards = np.asarray(alone(departures.reshape(5, 4, 3)))
        assert together[row] == pytest.approx(backwards[:, 0, -1] + profile[:, -1], abs=1e-5)


SEASONAL = [tcn.network, conv_autoencoder.network, lstm_autoencoder.network, donut.network]


@pytest.mark.parametrize("build", SEASONAL)
def test_a_window_that_does_not_divide_into_seasons_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="a window of 13 places does not divide into 7 seasons"):
        build(1, (13, 1))


@pytest.mark.parametrize("build", SEASONAL)
def test_a_network_for_one_feature_is_refused_windows_of_several(build: Any) -> None:
    with pytest.raises(ValueError, match="found windows of 2 features; this network is for windows of 1"):
        build(1, (7, 2))


@pytest.mark.parametrize("build", SEASONAL)
def test_a_seasonal_network_begins_by_forecasting_the_mean_of_the_windows_seasons(build: Any) -> None:
    network = build(2, (14, 1))
    for variable, array in zip(network.trainable_weights, begin(network, [1, 2]), strict=True):
        variable.assign(array)
    windows = np.random.default_rng(0).random((2, 5, 14, 1)).astype(np.float32)

    assert np.asarray(network(windows)) == pytest.approx(windows[:, :, ::2, 0].mean(axis=2), abs=1e-6)


def test_the_profile_of_a_window_is_the_mean_of_its_seasons() -> None:
    window = np.array([[[1.0, 2.0, 3.0, 6.0]]], np.float32)

    assert np.asarray(Profile(2)(window)).tolist() == [[[2.0, 4.0, 2.0, 4.0]]]


def test_the_newest_place_holds_what_was_a_season_ago() -> None:
    windows = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)

    assert np.asarray(Hidden()(windows)).tolist() == [[[1.0, 2.0, 0.0], [4.0, 5.0, 3.0]]]


def test_rebuilding_the_window_is_an_extra_task_in_training_only() -> None:
    layer = Rebuilt()
    window, rebuilt = np.zeros((2, 1, 3), np.float32), np.full((2, 1, 3), [1.0, 3.0, 9.0], np.float32)

    served, without = np.asarray(layer(rebuilt, window)), list(layer.losses)
    layer(rebuilt, window, training=True)

    assert served.tolist() == [[9.0], [9.0]]
    assert not without
    assert [np.asarray(loss).tolist() for loss in layer.losses] == [[[2.0], [2.0]]]


def test_missing_data_are_injected_at_the_same_places_for_every_variable_and_never_when_serving() -> None:
    layer = Injected(0.3, seed=1)
    window = np.random.default_rng(0).random((2, 40, 50)).astype(np.float32)

    shown, known = (np.asarray(a) for a in layer(window, training=True))
    served, _ = (np.asarray(a) for a in layer(window))

    assert np.array_equal(known[0], known[1])
    assert (known[:, :, -1] == 0).all()
    assert known[:, :, :-1].mean() == pytest.approx(0.7, abs=0.05)
    assert np.array_equal(shown[:, :, :-1][known[:, :, :-1] == 1], window[:, :, :-1][known[:, :, :-1] == 1])
    mean = np.broadcast_to(window.mean(axis=2, keepdims=True), window.shape)
    assert shown[:, :, :-1][known[:, :, :-1] == 0] == pytest.approx(mean[:, :, :-1][known[:, :, :-1] == 0], abs=1e-6)
    assert np.array_equal(served, window)


def test_the_evidence_bound_is_donuts() -> None:
    """Against densities from scipy, the expectation over the code by Gauss and Hermite; up to a constant."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(20)
    rng = np.random.default_rng(0)

    def both() -> tuple[float, float]:
        window, rebuilt, spread = rng.random((1, 1, 6)), rng.random((1, 1, 6)), rng.uniform(0.1, 2, (1, 1, 1))
        mean, deviation = rng.standard_normal((1, 1, 2)), rng.uniform(0.1, 2, (1, 1, 2))
        known = np.array([[[1.0, 0.0, 1.0, 1.0, 0.0, 0.0]]])
        layer = EvidenceBound(0.5)
        layer(*(a.astype(np.float32) for a in (rebuilt, spread, window, known, mean, deviation)), training=True)
        likelihood = (known * norm.logpdf(window, rebuilt, spread)).sum()
        drawn = mean[..., None] + deviation[..., None] * nodes
        prior = (norm.logpdf(drawn) * shares / shares.sum()).sum()
        bound = likelihood + known.mean() * prior + norm.entropy(mean, deviation).sum()
        return float(np.asarray(layer.losses[0])[0, 0]), -0.5 * bound / 6

    ours, by_hand = np.array([both() for _ in range(5)]).T

    assert np.ptp(by_hand) > 0.1
    assert ours - by_hand == pytest.approx(np.full(5, ours[0] - by_hand[0]), abs=1e-5)


def test_donut_draws_noise_while_it_trains_and_none_when_it_serves() -> None:
    network = donut.network(2, (14, 1))
    first = begin(network, [1])
    for variable, array in zip(network.trainable_weights, first, strict=True):
        variable.assign(np.concatenate([array, array]))
    windows = np.repeat(np.random.default_rng(0).random((1, 20, 14, 1)).astype(np.float32), 2, axis=0)

    one, other = np.asarray(network(windows, training=True))
    again = np.asarray(network(windows, training=True))[0]
    served, served_again = (np.asarray(network(windows)) for _ in range(2))

    assert np.array_equal(one, other), "all variables are given the same noise"
    assert not np.array_equal(one, again)
    assert np.array_equal(served, served_again)


@pytest.mark.parametrize("build", [linear.network, residual.network])
def test_a_network_on_deviations_begins_with_the_baseline_and_may_fall_below_it(build: Any) -> None:
    network = build(2, (1, 10))
    for variable, array in zip(network.trainable_weights, begin(network, [1, 2]), strict=True):
        variable.assign(array)
    windows = np.random.default_rng(0).standard_normal((2, 50, 1, 10)).astype(np.float32)

    assert not np.asarray(network(windows)).any()
    with_weights(network, [1, 2])
    assert np.asarray(network(windows)).min() < 0
