"""A temporal convolutional network: dilated causal convolutions over a long context; for V variables at once.

S. Bai, J. Z. Kolter, V. Koltun, "An empirical evaluation of generic convolutional and recurrent networks for sequence
modeling", 2018; the skip connections from every level to the answer as in A. van den Oord et al., "WaveNet", 2016.

Only the newest place's answer is wanted. Each level's dilation is the product of the kernels below it, so the places
that this answer needs form a tree: level by level, the window is cut into pieces as long as the kernel, and each piece
becomes one place. That is the dilated convolution, computed at no other place, and no more than a few matrix products.
The kernels' product is the window's length; its prime factors in ascending order are gathered into kernels, so that a
window of seven days of 24 hours has dilations 1, 4, 8 and 24: its last level joins the same hours of seven days.
"""

from __future__ import annotations

from typing import Any


def network(variables: int, window: tuple[int, int], *, channels: int = 8, kernel: int = 8, seasons: int = 7) -> Any:
    """A Keras model from windows (V, B, L, 1) to predictions (V, B).

    Args:
        variables: V.
        window: (L, 1); L best has small prime factors.
        channels: of every level.
        kernel: the most places that a level joins, unless a prime factor of L is larger.
        seasons: in a window; L is a multiple of it.
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense, Hidden, Newest, Profile

    length, features = window
    windows = keras.Input(batch_shape=(variables, None, length, features), name="windows")
    seen = Hidden(name="hidden")(windows)
    profile = Profile(seasons, name="profile")(seen)
    x = keras.layers.Subtract(name="departures")([seen, profile])
    x = keras.layers.Reshape((-1, length, 1), name="places")(x)
    places, width = length, 1
    skips = [Newest(name="newest_0")(x)]
    for level, joined in enumerate(kernels(length, kernel), 1):
        places //= joined
        pieces = keras.layers.Reshape((-1, places, joined * width), name=f"pieces_{level}")(x)
        x = BatchedDense(variables, channels, "tanh", name=f"convolution_{level}")(pieces)
        skips.append(Newest(name=f"newest_{level}")(x))
        width = channels
    x = keras.layers.Concatenate(name="skips")(skips)
    x = BatchedDense(variables, 1, zero=True, name="departure")(x)
    x = keras.layers.Reshape((-1,), name="squeeze")(x)
    return keras.Model(windows, keras.layers.Add(name="prediction")([x, Newest(name="newest")(profile)]), name="tcn")


def kernels(length: int, most: int) -> list[int]:
    """Kernel sizes, from the newest intervals up, whose product is the length: 168 at most 4 is 4, 2, 3, 7."""
    sizes: list[int] = []
    rest, factor = length, 2
    while rest > 1:
        if rest % factor:
            factor += 1
            continue
        rest //= factor
        if sizes and sizes[-1] * factor <= most:
            sizes[-1] *= factor
        else:
            sizes.append(factor)
    return sizes or [1]
