"""The seed network: Flatten, Dense tanh, Dropout, Dense tanh, Dropout, Dense 1 relu; for V variables at once."""

from __future__ import annotations

from typing import Any


def network(
    variables: int, window: tuple[int, int], *, hidden: tuple[int, ...] = (32, 16), dropout: float = 0.05
) -> Any:
    """A Keras model from windows (V, B, L, F) to predictions (V, B).

    Args:
        variables: V.
        window: (L, F).
        hidden: units of each tanh layer.
        dropout: share of units dropped after each of them while training.
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense, shared_dropout

    length, features = window
    x = windows = keras.Input(batch_shape=(variables, None, length, features), name="windows")
    x = keras.layers.Reshape((-1, length * features), name="flatten")(x)
    for at, units in enumerate(hidden, 1):
        x = BatchedDense(variables, units, "tanh", name=f"dense_{at}")(x)
        x = shared_dropout(dropout, width=units, seed=at)(x)
    # relu passes no gradient below zero: beginning in the middle of the scaled range, no network is born dead
    x = BatchedDense(variables, 1, "relu", bias=0.5, name="prediction")(x)
    return keras.Model(windows, keras.layers.Reshape((-1,), name="squeeze")(x), name="dense")
