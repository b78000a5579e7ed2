"""Donut, the variational autoencoder for seasonal series, as a forecaster; for V variables at once.

H. Xu et al., "Unsupervised anomaly detection via variational auto-encoder for seasonal KPIs in web applications",
2018: windows rebuilt from a Gaussian code, trained by the M-ELBO with missing data injected. D. P. Kingma, M. Welling,
"Auto-encoding variational Bayes", 2014. What makes it a forecast stands in
`anomaly.detection.networks.reconstruction`; that also takes the place of the paper's imputation by Markov chains,
since the one place that is missing when it serves is missing in training as well.

Two things are smaller than in the paper, because each variable has a network of its own and few weeks to learn it
from: the layers, and the standard deviation, which is one per window instead of one per place (Anscombe's transform
makes the scatter of counts nearly the same at every level). Serving draws no noise: the code is the posterior's mean.
"""

from __future__ import annotations

from typing import Any

_LEAST_DEVIATION = 1e-3
"""Keeps logarithms finite. In units of the scaled series, whose span is 1, and of the code, whose prior has 1."""


def network(
    variables: int,
    window: tuple[int, int],
    *,
    hidden: int = 8,
    code: int = 4,
    injected: float = 0.05,
    bound: float = 0.05,
    seasons: int = 7,
) -> Any:
    """A Keras model from windows (V, B, L, 1) to predictions (V, B).

    Args:
        variables: V.
        window: (L, 1).
        hidden: units of the encoder's and the decoder's layer.
        code: K, numbers that a window is reduced to.
        injected: share of places that are hidden while training, beside the newest.
        bound: weight of the M-ELBO beside the forecast's own error, in scaled units per nat.
        seasons: in a window; L is a multiple of it.
    """
    import keras

    from anomaly.detection.networks.layers import BatchedDense, Hidden, Profile
    from anomaly.detection.networks.reconstruction import EvidenceBound, Injected, Sampled

    length, features = window
    windows = keras.Input(batch_shape=(variables, None, length, features), name="windows")
    own = Hidden(name="hidden")(windows)
    shown, known = Injected(injected, seed=1, name="injected")(own)
    profile = Profile(seasons, name="profile")(shown)
    x = keras.layers.Subtract(name="departures")([shown, profile])
    x = BatchedDense(variables, hidden, "tanh", name="encoder")(x)
    mean = BatchedDense(variables, code, name="code_mean")(x)
    deviation = BatchedDense(variables, code, "softplus", name="code_deviation")(x) + _LEAST_DEVIATION
    x = BatchedDense(variables, hidden, "tanh", name="decoder")(Sampled(seed=2, name="code")(mean, deviation))
    x_mean = BatchedDense(variables, length, zero=True, name="rebuilt_departures")(x)
    rebuilt = keras.layers.Add(name="rebuilt")([x_mean, profile])
    spread = BatchedDense(variables, 1, "softplus", bias=-2.0, name="spread")(x) + _LEAST_DEVIATION
    answer = EvidenceBound(bound, name="prediction")(rebuilt, spread, own, known, mean, deviation)
    return keras.Model(windows, answer, name="donut")
