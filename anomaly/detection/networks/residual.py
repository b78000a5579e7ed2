"""The network on the departure from a baseline: Flatten, Dense tanh, Dropout, Dense tanh, Dense 1; for V variables.

Its features are departures, and so is its answer: around zero, negative as often as positive. Its last layer begins
at zero, so that training starts from the baseline itself and departs from it only where that helps; a network that
begins with the noise of its first weights has to unlearn them on sixty days of data.
"""

from __future__ import annotations

from typing import Any


def network(variables: int, window: tuple[int, int], *, hidden: tuple[int, ...] = (16, 8), dropout: float = 0.1) -> Any:
    """A Keras model from windows (V, B, L, F) to predictions (V, B).

    Args:
        variables: V.
        window: (L, F).
        hidden: units of each tanh layer.
        dropout: share of units dropped, while training, after each of them but the last.
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense, shared_dropout

    length, features = window
    windows = keras.Input(batch_shape=(variables, None, length, features), name="windows")
    x = keras.layers.Reshape((-1, length * features), name="flatten")(windows)
    for at, units in enumerate(hidden, 1):
        x = BatchedDense(variables, units, "tanh", name=f"dense_{at}")(x)
        if at < len(hidden):
            x = shared_dropout(dropout, width=units, seed=at)(x)
    x = BatchedDense(variables, 1, zero=True, name="prediction")(x)
    return keras.Model(windows, keras.layers.Reshape((-1,), name="squeeze")(x), name="residual")
