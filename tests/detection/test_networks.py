"""The batched layers against Keras's own, variable by variable."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.detection.networks import dense, lstm
from anomaly.detection.networks.layers import begin

WINDOW = (7, 2)


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
