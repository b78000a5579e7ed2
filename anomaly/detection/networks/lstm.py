"""An LSTM over the window's steps, then Dense 1; for V variables at once."""

from __future__ import annotations

from typing import Any


def network(variables: int, window: tuple[int, int], *, units: int = 16) -> Any:
    """A Keras model from windows (V, B, L, F) to predictions (V, B).

    Args:
        variables: V.
        window: (L, F).
        units: width of the hidden state.
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense, BatchedLSTM

    windows = keras.Input(batch_shape=(variables, None, *window), name="windows")
    x = BatchedLSTM(variables, units, name="lstm")(windows)
    x = BatchedDense(variables, 1, "relu", bias=0.5, name="prediction")(x)
    return keras.Model(windows, keras.layers.Reshape((-1,), name="squeeze")(x), name="lstm")
