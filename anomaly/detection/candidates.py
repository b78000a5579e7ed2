"""The architectures that compete, by name: an entry is `functools.partial` and one line.

In: a name from a group's YAML. Out: `Candidate`, which knows its window and how its network is built, or, for
those without weights, how it forecasts. Listed from the simplest to the most complex: ties go to the earlier.

Importing this does not import Keras: builders do when they are called.

Seasonal naive: R. J. Hyndman, G. Athanasopoulos, "Forecasting: principles and practice", 2021, section 5.2. Dropout:
N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014. Early stopping:
L. Prechelt, "Early stopping - but when?", 1998.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.networks import (
    conv_autoencoder,
    dense,
    donut,
    linear,
    lstm,
    lstm_autoencoder,
    naive,
    residual,
    tcn,
)
from anomaly.detection.windows import (
    Recent,
    WindowSpec,
    departures,
    recent_and_seasonal,
    same_time_in_weeks,
    season,
    season_and_day,
    seasonal_rate,
)

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Training:
    """How to train: Adam, early stopping per variable on the mean absolute error, whatever the loss."""

    epochs: int = 50
    patience: int = 6
    """Epochs without a better validation error after which a variable stops."""
    batch_size: int = 32
    """Windows per step, of every variable."""
    learning_rate: float = 2e-3
    loss: Literal["mae", "mse"] = "mae"
    """Of the prediction; losses that layers add come on top."""
    weight_decay: float = 0.0
    """Share of every weight, biases excepted, that a step takes away, per unit of the learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture with its options. It has either a network or a forecast."""

    window: Callable[[timedelta], WindowSpec]
    """From the interval's length to the window it is shown."""
    network: Callable[[int, tuple[int, int]], Any] | None = None
    """From V and (L, F) to an untrained Keras model."""
    forecast: Callable[[Float32], Float32] | None = None
    """From scaled windows (V, B, L, F) to scaled predictions (V, B), without weights."""
    training: Training = Training()
    relative: bool = False
    """Whether what it answers is a departure from the baseline, in units of how much the series departs from it
    (`anomaly.detection.scaling.Scaler.of_departures`); else a scaled level."""


_weeks = partial(same_time_in_weeks, weeks=4)
_seven = partial(recent_and_seasonal, length=7)


def _week(step: timedelta, *, most: int = 672) -> WindowSpec:
    """The latest intervals of seven seasons: 168 hours, 672 quarters, 49 days. A season is a day, or of days a week.

    Below a quarter of an hour it stays at so many intervals, and its seven parts are no longer seasons: windows of
    several thousand places would cost more than they tell.
    """
    return WindowSpec((Recent(7 * min(max(round(season(step) * timedelta(days=1) / step), 1), most // 7)),))


_steady = Training(batch_size=64, learning_rate=5e-3)
_noisy = Training(batch_size=64, learning_rate=3e-3)
_large_steps = Training(batch_size=128, learning_rate=5e-3)  # an unrolled step has a high price, however few windows
_fewer_epochs = Training(epochs=30, patience=5, batch_size=128, learning_rate=5e-3)  # fourteen unrolled steps
_departing = Training(epochs=60, patience=10, batch_size=64, learning_rate=3e-3, weight_decay=1.0)

CANDIDATES: dict[str, Candidate] = {
    "seasonal-naive": Candidate(window=_weeks, forecast=naive.median),
    "seasonal-rate": Candidate(window=seasonal_rate, forecast=naive.median),
    "seasonal-daily": Candidate(window=season_and_day, forecast=naive.total),
    "departure-linear": Candidate(window=departures, network=linear.network, training=_steady, relative=True),
    "departure-16-mae": Candidate(window=departures, network=residual.network, training=_departing, relative=True),
    "tcn": Candidate(window=_week, network=partial(tcn.network, channels=8), training=_steady),
    "dense-16-mae": Candidate(window=_seven, network=partial(dense.network, hidden=(32, 16), dropout=0.05)),
    "lstm-16-mae": Candidate(window=_seven, network=partial(lstm.network, units=16), training=_large_steps),
    "conv-autoencoder": Candidate(
        window=_week, network=partial(conv_autoencoder.network, channels=8, code=8), training=_steady
    ),
    "lstm-autoencoder": Candidate(
        window=_week, network=partial(lstm_autoencoder.network, units=8), training=_fewer_epochs
    ),
    "donut": Candidate(window=_week, network=partial(donut.network, hidden=8, code=4), training=_noisy),
}
"""What a group's YAML may name."""

BASELINE = "seasonal-naive"
"""It takes part in every contest: a network that is no better than the same hour of other weeks is not worth it."""
CONSTANT = "constant"
FALLBACKS: dict[str, Candidate] = {
    CONSTANT: Candidate(window=partial(recent_and_seasonal, length=1), forecast=naive.lowest),
}
"""What variables get that cannot be fitted: the constant that their scaler's minimum states."""


def entered(names: Iterable[str]) -> dict[str, Candidate]:
    """Who competes where these are named: they and the baseline, by name, from the simplest."""
    named = {*names, BASELINE}
    return {name: declared for name, declared in CANDIDATES.items() if name in named}


def candidate(name: str) -> Candidate:
    """The candidate or fallback of this name.

    Raises:
        ValueError: there is none.
    """
    known = CANDIDATES | FALLBACKS
    if name not in known:
        raise ValueError(f"candidate {name!r} is unknown; expected one of {', '.join(known)}")
    return known[name]
