"""Keras layers that make an autoencoder a forecaster: it rebuilds a window whose newest place is hidden from it.

In: windows (V, B, L, 1) of the L intervals before the one to predict, L a whole number of seasons. Out: predictions
(V, B), and while training extra losses (V, B), one number per window, which the trainer masks and adds to its own.

An autoencoder as usually told rebuilds the interval it judges from itself, and learns to rebuild incidents as well.
Here the window's newest place never holds the interval's own count, in training or in serving, but a stand-in (see
`anomaly.detection.networks.layers.Hidden`). What is rebuilt there is a forecast, judged like everybody's; rebuilding
the other places is an extra task, which shapes the code.

A window may begin at any hour of the day. A few numbers that have to say which one, and the day's shape besides, have
no room for what is unusual in this window. So the code sees, and the decoder gives, departures from the window's own
profile (`Profile`), and begins by giving none.

P. Vincent et al., "Extracting and composing robust features with denoising autoencoders", 2008.
"""

from __future__ import annotations

from typing import Any

import keras  # noqa: TID253  builders import this module when they are called, never before


@keras.saving.register_keras_serializable("anomaly")
class Rebuilt(keras.layers.Layer):  # type: ignore[misc]  # keras publishes no types
    """The forecast in a rebuilt window: (V, B, L), and the window it is of, to (V, B).

    While training it adds the mean absolute error of all places but the newest, whose error is the trainer's. So the
    forecast and the rest of the window weigh the same.
    """

    def call(self, rebuilt: Any, window: Any, *, training: bool = False) -> Any:
        if training:
            self.add_loss(keras.ops.mean(keras.ops.abs(rebuilt - window)[:, :, :-1], axis=2))
        return rebuilt[:, :, -1]


@keras.saving.register_keras_serializable("anomaly")
class Injected(keras.layers.Layer):  # type: ignore[misc]
    """Missing data for windows (V, B, L): while training, a share of their places shows the window's mean instead.

    Which places is drawn anew for every window and is the same for all variables, so that a variable's training does
    not depend on its company. Also returned, (V, B, L): 1 where the window's own number is to be rebuilt, 0 where it
    was replaced, and 0 at the newest place, which never holds its own.

    Args:
        share: of places replaced, 0 to 1.
        seed: of the draw.
    """

    def __init__(self, share: float, *, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.share = share
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, window: Any, *, training: bool = False) -> Any:
        ops = keras.ops
        known = ops.ones_like(window)
        if training:
            drawn = keras.random.uniform((1, *ops.shape(window)[1:]), seed=self.generator)
            known = known * ops.cast(drawn >= self.share, window.dtype)
            window = known * window + (1.0 - known) * ops.mean(window, axis=2, keepdims=True)
        return window, ops.concatenate([known[:, :, :-1], ops.zeros_like(known[:, :, :1])], axis=2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "share": self.share, "seed": self.seed}


@keras.saving.register_keras_serializable("anomaly")
class Sampled(keras.layers.Layer):  # type: ignore[misc]
    """A draw from the posterior, (V, B, K) each its mean and deviation, while training; its mean otherwise.

    The noise is drawn anew for every window and is the same for all variables.

    Args:
        seed: of the draw.
    """

    def __init__(self, *, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, mean: Any, deviation: Any, *, training: bool = False) -> Any:
        if not training:
            return mean
        return mean + deviation * keras.random.normal((1, *keras.ops.shape(mean)[1:]), seed=self.generator)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable("anomaly")
class EvidenceBound(keras.layers.Layer):  # type: ignore[misc]
    """The forecast in a window that a variational autoencoder rebuilt, (V, B).

    While training it adds Donut's modified evidence lower bound (M-ELBO), negative and per place: the Gaussian
    likelihood of the known places only, and the prior weighed by their share. With one draw of the code, as the
    paper has it, except that prior and entropy, which are known in closed form, are not sampled.

    Args:
        weight: of the bound beside the forecast's own error, which the trainer adds: scaled units per nat.

    Args of the call:
        rebuilt: (V, B, L) means.
        spread: (V, B, 1) standard deviation, one per window.
        window: (V, B, L) what is to be rebuilt.
        known: (V, B, L) 1 where it counts, 0 where not.
        mean, deviation: (V, B, K) of the code's posterior.
    """

    def __init__(self, weight: float, **options: Any) -> None:
        super().__init__(**options)
        self.weight = weight

    def call(
        self, rebuilt: Any, spread: Any, window: Any, known: Any, mean: Any, deviation: Any, *, training: bool = False
    ) -> Any:
        if training:
            ops = keras.ops
            unlikely = 0.5 * ops.square((window - rebuilt) / spread) + ops.log(spread)
            prior = 0.5 * ops.sum(ops.square(mean) + ops.square(deviation), axis=2)
            entropy = ops.sum(ops.log(deviation), axis=2)
            bound = ops.sum(known * unlikely, axis=2) + ops.mean(known, axis=2) * prior - entropy
            self.add_loss(self.weight * bound / window.shape[2])
        return rebuilt[:, :, -1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight}
