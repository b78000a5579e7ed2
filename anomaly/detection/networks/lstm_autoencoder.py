"""An LSTM encoder and decoder over the days of a week, as a forecaster; for V variables at once.

P. Malhotra et al., "LSTM-based encoder-decoder for multi-sensor anomaly detection", 2016. As there, the encoder's last
hidden state is the code, and the decoder rebuilds the window backwards, newest first. A step is not one interval but
one season (a day of hours): a week is seven steps instead of 168, which is what makes it affordable. What makes it a
forecast stands in `anomaly.detection.networks.reconstruction`.
"""

from __future__ import annotations

from typing import Any


def network(variables: int, window: tuple[int, int], *, units: int = 8, seasons: int = 7) -> Any:
    """A Keras model from windows (V, B, L, 1) to predictions (V, B).

    Args:
        variables: V.
        window: (L, 1).
        units: width of the code.
        seasons: in a window; L is a multiple of it.
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense, BatchedLSTM, Hidden, Profile
    from anomaly.detection.networks.reconstruction import Rebuilt

    length, features = window
    windows = keras.Input(batch_shape=(variables, None, length, features), name="windows")
    seen = Hidden(name="hidden")(windows)
    profile = Profile(seasons, name="profile")(seen)
    x = keras.layers.Subtract(name="departures")([seen, profile])
    x = keras.layers.Reshape((-1, seasons, length // seasons), name="seasons")(x)
    code = BatchedLSTM(variables, units, name="encoder")(x)
    x = keras.layers.Reshape((-1, 1, units), name="code")(code)
    x = keras.layers.Concatenate(axis=2, name="repeated")([x] * seasons)
    x = BatchedLSTM(variables, units, backwards=True, name="decoder")(x)
    x = BatchedDense(variables, length // seasons, zero=True, name="rebuilt_seasons")(x)
    x = keras.layers.Reshape((-1, length), name="rebuilt_departures")(x)
    rebuilt = keras.layers.Add(name="rebuilt")([x, profile])
    return keras.Model(windows, Rebuilt(name="prediction")(rebuilt, seen), name="lstm_autoencoder")
