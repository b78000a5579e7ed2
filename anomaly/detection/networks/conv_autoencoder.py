"""A convolutional autoencoder on windows of seven seasons, as a forecaster; for V variables at once.

G. E. Hinton, R. R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006; with strided
convolutions up to the code and transposed ones back (M. D. Zeiler et al., "Deconvolutional networks", 2010). Strides
are as long as kernels, so both are matrix products on pieces of the window; see `anomaly.detection.networks.tcn` for
how the kernels follow from its length. What makes it a forecast stands in `anomaly.detection.networks.reconstruction`.
"""

from __future__ import annotations

from typing import Any

from anomaly.detection.networks.tcn import kernels


def network(
    variables: int, window: tuple[int, int], *, channels: int = 8, code: int = 8, kernel: int = 8, seasons: int = 7
) -> Any:
    """A Keras model from windows (V, B, L, 1) to predictions (V, B).

    Args:
        variables: V.
        window: (L, 1); L best has small prime factors.
        channels: of every level but the code.
        code: numbers that a window is reduced to.
        kernel: the most places that a level joins, unless a prime factor of L is larger.
        seasons: in a window; L is a multiple of it.
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense, Hidden, Profile
    from anomaly.detection.networks.reconstruction import Rebuilt

    length, features = window
    windows = keras.Input(batch_shape=(variables, None, length, features), name="windows")
    seen = Hidden(name="hidden")(windows)
    profile = Profile(seasons, name="profile")(seen)
    x = keras.layers.Subtract(name="departures")([seen, profile])
    joins = kernels(length, kernel)
    places, width = length, 1
    for level, joined in enumerate(joins, 1):
        places //= joined
        x = keras.layers.Reshape((-1, places, joined * width), name=f"pieces_{level}")(x)
        width = channels if places > 1 else code
        x = BatchedDense(variables, width, "tanh", name=f"convolution_{level}")(x)
    for level, joined in reversed(list(enumerate(joins, 1))):
        width, activation = (channels, "tanh") if level > 1 else (1, None)
        x = BatchedDense(variables, joined * width, activation, zero=level == 1, name=f"transposed_{level}")(x)
        places *= joined
        x = keras.layers.Reshape((-1, places, width), name=f"places_{level}")(x)
    x = keras.layers.Reshape((-1, length), name="rebuilt_departures")(x)
    rebuilt = keras.layers.Add(name="rebuilt")([x, profile])
    return keras.Model(windows, Rebuilt(name="prediction")(rebuilt, seen), name="conv_autoencoder")
