"""Training all networks of a group at once, and their two stored forms.

In: a candidate, scaled series (V, T), the windows' lags, and which windows train, stop and judge. Out: `Trained`:
each variable's best weights and its predictions.

The V networks are one batched model (see `anomaly.detection.networks`). The loss is the sum over variables of each
one's mean absolute error, so no gradient crosses from one to another, and Adam works element by element: the
result is what training them one by one in the same batch order gives, without the cost per step of starting
thousands of tiny operations. Each variable stops by itself: the weights of its best epoch are kept, and once it
has gone `patience` epochs without a better one, nothing later counts.

Adam: D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.candidates import Candidate, Training
from anomaly.detection.splits import Split
from anomaly.detection.windows import Lags, gather

Float32 = NDArray[np.float32]
Weights = tuple[Float32, ...]
"""Of V networks, each array (V, …), in the order of Keras's ``trainable_weights``."""

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
_WINDOW_BYTES = 256 * 2**20
_MOST_TOGETHER = 512
"""Networks per batch. More gain nothing: a step then costs arithmetic, no longer its fixed price."""


@dataclass(frozen=True, slots=True)
class Trained:
    """V trained networks."""

    weights: Weights
    predictions: Float32
    """(V, N), scaled; NaN where the window is incomplete."""
    validation_mae: NDArray[np.float64]
    """(V,), scaled; infinite for variables without anything to validate on, which keep their first weights."""
    epochs: NDArray[np.int64]
    """(V,) epochs until each variable stopped."""


def train(
    candidate: Candidate,
    series: NDArray[np.floating],
    at: NDArray[np.int64],
    lags: Lags,
    split: Split,
    *,
    seeds: Sequence[int],
    order_seed: int = 0,
    training: Training | None = None,
) -> Trained:
    """Trains one network per variable.

    Args:
        candidate: one with a network.
        series: (V, T) scaled; NaN where unknown.
        at: (N,) indices along T of the intervals to predict.
        lags: (N, L, F) of the candidate's window.
        split: masks (V, N). Windows that are incomplete, or whose target is unknown, are left out by themselves.
        seeds: (V,) of the variables' first weights.
        order_seed: of the order in which windows are seen, shared by all variables.
        training: how; the candidate's own when not given.
    """
    values = series.astype(np.float32)
    variables, (length, features) = len(values), lags.shape[1:]
    together = max(1, min(_MOST_TOGETHER, _WINDOW_BYTES // max(1, 4 * len(at) * length * features)))
    batches = math.ceil(variables / together)
    together = math.ceil(variables / batches)
    trainer = _Trainer(candidate, together, (length, features), training or candidate.training)
    parts = [
        trainer.train(values[rows], at, lags, split.take(rows), [seeds[row] for row in rows], order_seed)
        for rows in np.array_split(np.arange(variables), batches)
    ]
    return Trained(
        weights=tuple(np.concatenate(arrays) for arrays in zip(*(p.weights for p in parts), strict=True)),
        predictions=np.concatenate([p.predictions for p in parts]),
        validation_mae=np.concatenate([p.validation_mae for p in parts]),
        epochs=np.concatenate([p.epochs for p in parts]),
    )


def parameters_per_variable(candidate: Candidate, window: tuple[int, int]) -> int:
    """Trainable weights of one variable's network; 0 for candidates without."""
    if candidate.network is None:
        return 0
    return sum(int(np.prod(w.shape)) for w in candidate.network(1, window).trainable_weights)


def take(weights: Weights, rows: NDArray[np.int64]) -> Weights:
    """The weights of some of the variables, in this order."""
    return tuple(array[rows] for array in weights)


def stack(parts: Sequence[Weights]) -> Weights:
    """Weights of the same architecture, one after another along the axis of variables.

    Raises:
        ValueError: they are not of the same architecture.
    """
    shapes = {tuple(array.shape[1:] for array in part) for part in parts}
    if len(shapes) != 1:
        raise ValueError(f"found weights of {len(shapes)} different architectures; expected one")
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def training_form(candidate: Candidate, window: tuple[int, int], weights: Weights) -> bytes:
    """A ``.keras`` file of the batched network with these weights. Holds no pickles."""
    network = _assembled(candidate, window, weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return path.read_bytes()


def serving_form(candidate: Candidate, window: tuple[int, int], weights: Weights) -> bytes:
    """An ONNX file of the batched network: input (V, B, L, F), output (V, B), B free."""
    network = _assembled(candidate, window, weights)
    network(np.zeros((len(weights[0]), 1, *window), np.float32))  # the export needs a network that was called
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        network.export(path, format="onnx", verbose=False)
        return path.read_bytes()


def read_training_form(stored: bytes) -> Weights:
    """The weights in a ``.keras`` file; Keras's safe mode refuses files that would run code."""
    import keras

    import anomaly.detection.networks.layers  # noqa: F401  registers the layers' names

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        path.write_bytes(stored)
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    return tuple(np.asarray(w, np.float32) for w in network.trainable_weights)


def _assembled(candidate: Candidate, window: tuple[int, int], weights: Weights) -> Any:
    if candidate.network is None:
        raise ValueError("this candidate has no network")
    network = candidate.network(len(weights[0]), window)
    for variable, array in zip(network.trainable_weights, weights, strict=True):
        variable.assign(array)
    return network


class _Trainer:
    """One batched network, traced once, for as many sets of variables as one likes."""

    def __init__(self, candidate: Candidate, variables: int, window: tuple[int, int], training: Training) -> None:
        import tensorflow as tf

        if candidate.network is None:
            raise ValueError("this candidate has no network, so there is nothing to train")
        self._training = training
        self._variables = variables
        self._network = candidate.network(variables, window)
        self._weights = [w.value for w in self._network.trainable_weights]
        self._others = [w.value for w in self._network.non_trainable_variables]
        self._others_at_first = [w.numpy() for w in self._others]
        self._best, self._mean, self._square = (
            [tf.Variable(tf.zeros_like(w), trainable=False) for w in self._weights] for _ in range(3)
        )
        self._step = tf.Variable(0.0, trainable=False)
        self._epoch = tf.function(self._run_epoch)
        self._keep = tf.function(self._keep_improved)
        self._forward = tf.function(self._network, reduce_retracing=True)

    def train(
        self,
        series: Float32,
        at: NDArray[np.int64],
        lags: Lags,
        split: Split,
        seeds: Sequence[int],
        order_seed: int,
    ) -> Trained:
        """The last set may be smaller than the network: places without a variable learn nothing and are dropped."""
        import tensorflow as tf

        real, places = len(series), self._variables
        windows, targets = gather(series, at, lags), series[:, at]
        complete = np.isfinite(windows).all(axis=(2, 3))
        judged = complete & np.isfinite(targets)
        windows, targets = np.nan_to_num(windows), np.nan_to_num(targets)
        filled = [_padded(a, places) for a in (windows, targets, split.train & judged, split.validation & judged)]
        windows, targets, learning, validating = filled
        self._begin([*seeds, *[0] * (places - real)])

        stop_rows = np.flatnonzero(validating.any(axis=0))
        train_rows = np.flatnonzero(learning.any(axis=0))
        data = tuple(tf.constant(a) for a in (windows, targets, learning.astype(np.float32)))
        held = tuple(tf.constant(a[:, stop_rows]) for a in (windows, targets, validating.astype(np.float32)))

        best = np.full(places, np.inf)
        waited, epochs = np.zeros(places, np.int64), np.zeros(places, np.int64)
        active = learning.any(axis=1) & validating.any(axis=1)
        for epoch in range(self._training.epochs):
            if not active.any():
                break
            order = np.random.default_rng([order_seed, epoch]).permutation(train_rows).astype(np.int32)
            error = self._epoch(*data, tf.constant(order), *held).numpy()
            improved = active & (error < best)
            if improved.any():
                self._keep(tf.constant(improved))
            best = np.where(improved, error, best)
            waited = np.where(improved, 0, waited + 1)
            epochs += active
            active &= waited < self._training.patience

        for weight, kept in zip(self._weights, self._best, strict=True):
            weight.assign(kept)
        predictions = self._predict(windows)
        return Trained(
            weights=tuple(w.numpy()[:real] for w in self._weights),
            predictions=np.where(complete, predictions[:real], np.nan).astype(np.float32),
            validation_mae=best[:real],
            epochs=epochs[:real],
        )

    def _begin(self, seeds: Sequence[int]) -> None:
        import tensorflow as tf

        from anomaly.detection.networks.layers import begin

        for weight, best, fresh in zip(self._weights, self._best, begin(self._network, seeds), strict=True):
            weight.assign(fresh)
            best.assign(fresh)
        for slot in (*self._mean, *self._square):
            slot.assign(tf.zeros_like(slot))
        for other, value in zip(self._others, self._others_at_first, strict=True):
            other.assign(value)
        self._step.assign(0.0)

    def _run_epoch(
        self, windows: Any, targets: Any, weights: Any, order: Any, stop_windows: Any, stop_targets: Any, stop: Any
    ) -> Any:
        """One pass over the windows in this order; returns each variable's validation MAE, (V,)."""
        import tensorflow as tf

        size = self._training.batch_size
        seen = tf.size(order)
        for first in tf.range(0, seen, size):
            batch = order[first : tf.minimum(first + size, seen)]
            self._learn(
                tf.gather(windows, batch, axis=1), tf.gather(targets, batch, axis=1), tf.gather(weights, batch, axis=1)
            )
        error = tf.abs(self._network(stop_windows, training=False) - stop_targets) * stop
        return tf.math.divide_no_nan(tf.reduce_sum(error, axis=1), tf.reduce_sum(stop, axis=1))

    def _learn(self, windows: Any, targets: Any, weights: Any) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            error = tf.abs(self._network(windows, training=True) - targets) * weights
            loss = tf.reduce_sum(tf.reduce_mean(error, axis=1))
        gradients = tape.gradient(loss, self._weights)
        self._step.assign_add(1.0)
        power_1, power_2 = tf.pow(_BETA_1, self._step), tf.pow(_BETA_2, self._step)
        for weight, mean, square, gradient in zip(self._weights, self._mean, self._square, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=power_1,
                beta2_power=power_2,
                lr=self._training.learning_rate,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=gradient,
            )

    def _keep_improved(self, improved: Any) -> None:
        import tensorflow as tf

        for best, weight in zip(self._best, self._weights, strict=True):
            chosen = tf.reshape(improved, [-1, *[1] * (len(weight.shape) - 1)])
            best.assign(tf.where(chosen, weight, best))

    def _predict(self, windows: Float32, size: int = 1024) -> Float32:
        parts = [self._forward(windows[:, at : at + size]).numpy() for at in range(0, windows.shape[1], size)]
        return np.concatenate(parts, axis=1)


def _padded(array: NDArray[Any], rows: int) -> NDArray[Any]:
    return np.pad(array, [(0, rows - len(array)), *[(0, 0)] * (array.ndim - 1)])
