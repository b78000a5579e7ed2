"""Training all networks of a group at once, and their two stored forms.

In: a candidate, scaled series (V, T), the windows' lags, and which windows train, stop and judge. Out: `Trained`:
each variable's best weights and its predictions.

The V networks are one batched model (see `anomaly.detection.networks`). The loss is the sum over variables of each
one's mean error, so no gradient crosses from one to another, and Adam works element by element: the result is what
training them one by one in the same batch order gives, without the cost per step of starting thousands of tiny
operations. Layers may add losses of their own, one number per window (V, B), which count where the window's error
counts. Each variable stops by itself: the weights of its best epoch are kept, and once it has gone `patience` epochs
without a better one, nothing later counts.

Adam: D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015. Stopping early on a validation set:
L. Prechelt, "Early stopping - but when?", 1998. Weight decay beside Adam, not through it: I. Loshchilov, F. Hutter,
"Decoupled weight decay regularization", 2019. Dropout, which the networks use while they train: N. Srivastava et al.,
"Dropout: a simple way to prevent neural networks from overfitting", 2014.
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.candidates import Candidate, Training
from anomaly.detection.splits import Split
from anomaly.detection.windows import Inputs, Lags, gather

Float32 = NDArray[np.float32]
Weights = tuple[Float32, ...]
"""Of V networks, each array (V, …), in the order of Keras's ``trainable_weights``."""

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
_WINDOW_BYTES = 256 * 2**20
_MOST_TOGETHER = 512
"""Networks per batch. More gain nothing: a step then costs arithmetic, no longer its fixed price."""
_SHRINK = 4
_WORTH_SHRINKING = 128
"""A smaller network has to be traced, which takes as long as some epochs of a network of this size."""
_FORWARD = 512
"""Windows per variable in one forward pass."""


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
    series: NDArray[np.floating] | Inputs,
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
        series: (V, T) scaled; NaN where unknown. Or what each feature looks at, and what is to be predicted.
        at: (N,) indices along T of the intervals to predict.
        lags: (N, L, F) of the candidate's window.
        split: masks (V, N). Windows that are incomplete, or whose target is unknown, are left out by themselves.
        seeds: (V,) of the variables' first weights.
        order_seed: of the order in which windows are seen, shared by all variables.
        training: how; the candidate's own when not given.
    """
    inputs = Inputs.of(series)
    variables, (length, features) = len(inputs), lags.shape[1:]
    together = max(1, min(_MOST_TOGETHER, _WINDOW_BYTES // max(1, 4 * len(at) * length * features)))
    batches = math.ceil(variables / together)
    together = math.ceil(variables / batches)
    trainer = _Trainer(candidate, together, (length, features), training or candidate.training)
    parts = [
        trainer.train(inputs.take(rows), at, lags, split.take(rows), [seeds[row] for row in rows], order_seed)
        for rows in np.array_split(np.arange(variables), batches)
    ]
    return Trained(
        weights=tuple(np.concatenate(arrays) for arrays in zip(*(p.weights for p in parts), strict=True)),
        predictions=np.concatenate([p.predictions for p in parts]),
        validation_mae=np.concatenate([p.validation_mae for p in parts]),
        epochs=np.concatenate([p.epochs for p in parts]),
    )


def load_quietly() -> None:
    """Imports what networks need, once, without the remarks that it makes.

    TensorFlow writes about processors and graphics cards to file descriptor 2 whatever its log level is, and Keras
    warns of its own dependencies: on a command line both would stand above the answer.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning, module="(keras|tensorflow)")
    theirs, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        import tensorflow as tf  # noqa: F401  both come early, nothing else
    finally:
        os.dup2(theirs, 2)
        os.close(theirs)
        os.close(nothing)


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


def forecaster(candidate: Candidate, window: tuple[int, int], weights: Weights) -> Callable[[Float32], Float32]:
    """These networks as a forecast, (V, B, L, F) to (V, B), without storing them: one of the B after the other, so that
    each has to the last bit the answer that it has alone."""
    import tensorflow as tf

    network = _assembled(candidate, window, weights)

    def each(windows: Any) -> Any:
        alone = tf.transpose(windows, (1, 0, 2, 3))[:, :, None]
        return tf.transpose(tf.map_fn(lambda one: network(one)[:, 0], alone))

    shape = tf.TensorSpec((len(weights[0]), None, *window), tf.float32)
    forward = tf.function(each, input_signature=[shape]).get_concrete_function()
    return lambda windows: np.asarray(forward(tf.constant(windows, tf.float32)), np.float32)


def read_training_form(stored: bytes) -> Weights:
    """The weights in a ``.keras`` file; Keras's safe mode refuses files that would run code."""
    import keras

    import anomaly.detection.networks.layers
    import anomaly.detection.networks.reconstruction  # noqa: F401  both register their layers' names

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
    """Trains one set of variables after another, on networks that are traced once per size."""

    def __init__(self, candidate: Candidate, variables: int, window: tuple[int, int], training: Training) -> None:
        if candidate.network is None:
            raise ValueError("this candidate has no network, so there is nothing to train")
        self._build = candidate.network
        self._variables = variables
        self._window = window
        self._training = training
        self._by_size: dict[int, _Network] = {}

    def _network(self, size: int) -> _Network:
        if size not in self._by_size:
            self._by_size[size] = _Network(self._build(size, self._window), size, self._training)
        return self._by_size[size]

    def train(
        self, inputs: Inputs, at: NDArray[np.int64], lags: Lags, split: Split, seeds: Sequence[int], order_seed: int
    ) -> Trained:
        """At most as many variables as this was made for.

        Once three quarters have stopped, the others go on in a smaller network, from where they are.
        """
        windows, targets = gather(inputs, at, lags), inputs.target[:, at]
        complete = np.isfinite(windows).all(axis=(2, 3))
        judged = complete & np.isfinite(targets)
        data = _Data(np.nan_to_num(windows), np.nan_to_num(targets), split.train & judged, split.validation & judged)
        train_rows = np.flatnonzero(data.learns.any(axis=0))

        network = self._network(self._variables)
        state = network.begin(seeds)
        kept = [weight.copy() for weight in state.weights]
        best = np.full(len(inputs), np.inf)
        waited, epochs = np.zeros(len(inputs), np.int64), np.zeros(len(inputs), np.int64)
        active: NDArray[np.bool_] = np.logical_and(data.learns.any(axis=1), data.stops.any(axis=1))
        rows = np.arange(len(inputs))
        network.load(state, data, rows)
        for epoch in range(self._training.epochs):
            if not active.any():
                break
            if active.sum() <= network.size // _SHRINK and network.size >= _WORTH_SHRINKING:
                network.store(state, rows)
                network, rows = self._network(network.size // _SHRINK), np.flatnonzero(active)
                network.load(state, data, rows)
            order = np.random.default_rng([order_seed, epoch]).permutation(train_rows)
            error, weights = network.epoch(order)
            improved = active[rows] & (error[: len(rows)] < best[rows])
            better = rows[improved]
            for whole, part in zip(kept, weights, strict=True):
                whole[better] = part[: len(rows)][improved]
            best[better] = error[: len(rows)][improved]
            waited += 1
            waited[better] = 0
            epochs += active
            active &= waited < self._training.patience

        predictions = self._network(self._variables).predict(kept, data.windows)
        return Trained(
            weights=tuple(kept),
            predictions=np.where(complete, predictions, np.nan).astype(np.float32),
            validation_mae=best,
            epochs=epochs,
        )


@dataclass(frozen=True, slots=True)
class _Data:
    """What a set of variables learns from: (V, N, …)."""

    windows: Float32
    targets: Float32
    learns: NDArray[np.bool_]
    stops: NDArray[np.bool_]


@dataclass(slots=True)
class _State:
    """Where a training is: arrays (V, …) per weight, Adam's two moments likewise, its step, the dropout's state."""

    weights: list[Float32]
    means: list[Float32]
    squares: list[Float32]
    step: float
    others: list[NDArray[Any]]


class _Network:
    """A batched network of one size with its optimiser. Places without a variable learn nothing."""

    def __init__(self, model: Any, size: int, training: Training) -> None:
        import tensorflow as tf

        self.size = size
        self._training = training
        self._model = model
        self._weights = [w.value for w in model.trainable_weights]
        decay = training.weight_decay * training.learning_rate
        self._left = [1.0 if w.name == "bias" else 1.0 - decay for w in model.trainable_weights]
        self._others = [w.value for w in model.non_trainable_variables]
        self._others_at_first = [w.numpy() for w in self._others]
        self._means, self._squares = (
            [tf.Variable(tf.zeros_like(w), trainable=False) for w in self._weights] for _ in range(2)
        )
        self._step = tf.Variable(0.0, trainable=False)
        self._error = {"mae": tf.abs, "mse": tf.square}[training.loss]
        self._run = tf.function(self._run_epoch)
        self._forward = tf.function(model, reduce_retracing=True)

    def begin(self, seeds: Sequence[int]) -> _State:
        from anomaly.detection.networks.layers import begin

        weights = begin(self._model, seeds)
        means, squares = ([np.zeros_like(w) for w in weights] for _ in range(2))
        return _State(weights, means, squares, step=0.0, others=self._others_at_first)

    def load(self, state: _State, data: _Data, rows: NDArray[np.int64]) -> None:
        """Takes up the training of these rows of the data, and of no others."""
        import tensorflow as tf

        for variables, arrays in (
            (self._weights, state.weights),
            (self._means, state.means),
            (self._squares, state.squares),
        ):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(_padded(array[rows], self.size))
        for variable, value in zip(self._others, state.others, strict=True):
            variable.assign(value)
        self._step.assign(state.step)
        held = np.flatnonzero(data.stops[rows].any(axis=0))
        chosen = [array[rows] for array in (data.windows, data.targets, data.learns.astype(np.float32))]
        stop = [array[rows][:, held] for array in (data.windows, data.targets, data.stops.astype(np.float32))]
        self._data = [tf.constant(_padded(array, self.size)) for array in (*chosen, *stop)]

    def store(self, state: _State, rows: NDArray[np.int64]) -> None:
        """Writes back where the training of these rows is."""
        for variables, arrays in (
            (self._weights, state.weights),
            (self._means, state.means),
            (self._squares, state.squares),
        ):
            for variable, array in zip(variables, arrays, strict=True):
                array[rows] = variable.numpy()[: len(rows)]
        state.others = [variable.numpy() for variable in self._others]
        state.step = float(self._step.numpy())

    def epoch(self, order: NDArray[np.int64]) -> tuple[NDArray[np.float64], list[Float32]]:
        """One pass in this order; returns each place's validation MAE and its weights after it."""
        import tensorflow as tf

        error = self._run(tf.constant(order.astype(np.int32)), *self._data).numpy().astype(np.float64)
        return error, [w.numpy() for w in self._weights]

    def predict(self, weights: Sequence[Float32], windows: Float32) -> Float32:
        """(V, N) with these weights."""
        import tensorflow as tf

        for variable, array in zip(self._weights, weights, strict=True):
            variable.assign(_padded(array, self.size))
        parts = [
            self._forward(tf.constant(_padded(windows[:, at : at + _FORWARD], self.size))).numpy()
            for at in range(0, windows.shape[1], _FORWARD)
        ]
        return np.concatenate(parts, axis=1)[: len(windows)]

    def _run_epoch(
        self, order: Any, windows: Any, targets: Any, learns: Any, stop_windows: Any, stop_targets: Any, stops: Any
    ) -> Any:
        import tensorflow as tf

        size = self._training.batch_size
        seen = tf.size(order)
        for first in tf.range(0, seen, size):
            batch = order[first : tf.minimum(first + size, seen)]
            self._learn(
                tf.gather(windows, batch, axis=1), tf.gather(targets, batch, axis=1), tf.gather(learns, batch, axis=1)
            )
        error = tf.abs(self._model(stop_windows, training=False) - stop_targets) * stops
        return tf.math.divide_no_nan(tf.reduce_sum(error, axis=1), tf.reduce_sum(stops, axis=1))

    def _learn(self, windows: Any, targets: Any, learns: Any) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            error = self._error(self._model(windows, training=True) - targets)
            error = tf.add_n([error, *self._model.losses]) * learns
            loss = tf.reduce_sum(tf.reduce_mean(error, axis=1))
        gradients = tape.gradient(loss, self._weights)
        self._step.assign_add(1.0)
        power_1, power_2 = tf.pow(_BETA_1, self._step), tf.pow(_BETA_2, self._step)
        for weight, mean, square, gradient, left in zip(
            self._weights, self._means, self._squares, gradients, self._left, strict=True
        ):
            if left < 1:
                weight.assign(weight * left)
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


def _padded(array: NDArray[Any], rows: int) -> NDArray[Any]:
    return np.pad(array, [(0, rows - len(array)), *[(0, 0)] * (array.ndim - 1)])
