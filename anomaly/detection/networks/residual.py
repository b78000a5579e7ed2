"""The network on departures from a baseline: two tanh layers beside a straight way to the answer; for V variables.

Its features are departures, and so is its answer: around zero, negative as often as positive. Its last layer sees the
features themselves beside what the tanh layers made of them, so that what is linear need not be learnt through them
(H.-T. Cheng et al., "Wide & deep learning for recommender systems", 2016). And it begins at zero, so that training
starts from the baseline itself and leaves it only where that helps; a network that begins with the noise of its first
weights has to unlearn them on sixty days of data.
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
    x = straight = keras.layers.Reshape((-1, length * features), name="flatten")(windows)
    for at, units in enumerate(hidden, 1):
        x = BatchedDense(variables, units, "tanh", name=f"dense_{at}")(x)
        if at < len(hidden):
            x = shared_dropout(dropout, width=units, seed=at)(x)
    x = keras.layers.Concatenate(name="beside")([x, straight])
    x = BatchedDense(variables, 1, zero=True, name="prediction")(x)
    return keras.Model(windows, keras.layers.Reshape((-1,), name="squeeze")(x), name="residual")
