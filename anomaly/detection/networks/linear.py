"""The linear network: everything the window shows, weighted and summed; for V variables at once.

What it answers is around zero and may be negative: it is meant for features that are departures from a baseline, and
its answer for a departure from the same baseline. It begins by answering zero, which is the baseline itself.
"""

from __future__ import annotations

from typing import Any


def network(variables: int, window: tuple[int, int]) -> Any:
    """A Keras model from windows (V, B, L, F) to predictions (V, B).

    Args:
        variables: V.
        window: (L, F).
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense

    length, features = window
    windows = keras.Input(batch_shape=(variables, None, length, features), name="windows")
    x = keras.layers.Reshape((-1, length * features), name="flatten")(windows)
    x = BatchedDense(variables, 1, zero=True, name="prediction")(x)
    return keras.Model(windows, keras.layers.Reshape((-1,), name="squeeze")(x), name="linear")
