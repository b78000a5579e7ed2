"""Keras layers whose weights have a leading axis of variables, and how each variable's weights begin.

In: (V, B, …) activations. Out: (V, B, units). They are the usual layers, V times side by side, as batched
matrix products. Weights are zeros until `begin` draws them, for each variable from a seed of its own: what a
variable starts with does not depend on which others it is trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras  # noqa: TID253  builders import this module when they are called, never before
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Shape = tuple[int | None, ...]


def glorot_uniform(generator: np.random.Generator, fan_in: int, fan_out: int) -> Float32:
    """(fan_in, fan_out), as Keras's ``glorot_uniform`` draws them.

    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return generator.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32)


def orthogonal(generator: np.random.Generator, rows: int, columns: int) -> Float32:
    """(rows, columns) with orthonormal rows, rows <= columns, as Keras's ``orthogonal`` draws them.

    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning", 2014.
    """
    q, r = np.linalg.qr(generator.standard_normal((columns, rows)))
    return (q * np.sign(np.diag(r))).T.astype(np.float32)


class Batched(keras.layers.Layer):  # type: ignore[misc]  # keras publishes no types
    """A layer of V independent copies.

    Args:
        variables: V.
        units: outputs of each copy.
    """

    def __init__(self, variables: int, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.variables_count = variables
        self.units = units

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "variables": self.variables_count, "units": self.units}

    def fresh(self, generator: np.random.Generator) -> list[Float32]:
        """Weights that one variable begins with, in the order of this layer's weights, without the V axis."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("anomaly")
class BatchedDense(Batched):
    """V dense layers side by side: (V, B, …, in) to (V, B, …, units).

    Args:
        activation: name, as Keras knows it.
        bias: what every bias begins with.
        zero: whether the kernel begins with zeros. A last layer that does answers its bias at first, whatever the
            layers before it were drawn as; of any other layer the gradient would stay zero.
    """

    def __init__(
        self,
        variables: int,
        units: int,
        activation: str | None = None,
        *,
        bias: float = 0.0,
        zero: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(variables, units, **options)
        self.activation = keras.activations.get(activation)
        self.bias_start = bias
        self.zero = zero

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.inputs = input_shape[-1]
        self.kernel = self.add_weight((self.variables_count, self.inputs, self.units), "zeros", name="kernel")
        self.bias = self.add_weight((self.variables_count, 1, self.units), "zeros", name="bias")

    def call(self, x: Any) -> Any:
        ops = keras.ops
        if len(x.shape) == 3:
            return self.activation(ops.matmul(x, self.kernel) + self.bias)
        # One product per variable, not one per window.
        rows = ops.reshape(x, (self.variables_count, -1, self.inputs))
        answer = self.activation(ops.matmul(rows, self.kernel) + self.bias)
        return ops.reshape(answer, (self.variables_count, -1, *x.shape[2:-1], self.units))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def fresh(self, generator: np.random.Generator) -> list[Float32]:
        kernel = glorot_uniform(generator, self.inputs, self.units)
        return [kernel * (not self.zero), np.full((1, self.units), self.bias_start, np.float32)]

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation, "bias": self.bias_start, "zero": self.zero}


@keras.saving.register_keras_serializable("anomaly")
class BatchedLSTM(Batched):
    """V LSTM layers side by side: (V, B, L, F) to the last hidden state, (V, B, units), or all of them,
    the last one first, (V, B, L, units).

    S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997; with the forget gate of Gers et al., 2000. The
    L steps are unrolled: windows are short, and an unrolled graph exports to plain matrix products. Gates along the
    last axis: input, forget, output, candidate.

    Args:
        backwards: whether all hidden states are returned, the last one first, as a decoder needs that rebuilds a
            sequence from its end; only the last one otherwise.
    """

    def __init__(self, variables: int, units: int, *, backwards: bool = False, **options: Any) -> None:
        super().__init__(variables, units, **options)
        self.backwards = backwards

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.steps, self.inputs = input_shape[-2], input_shape[-1]
        v, gates = self.variables_count, 4 * self.units
        self.kernel = self.add_weight((v, self.inputs, gates), "zeros", name="kernel")
        self.recurrent = self.add_weight((v, self.units, gates), "zeros", name="recurrent")
        self.bias = self.add_weight((v, 1, gates), "zeros", name="bias")

    def call(self, x: Any) -> Any:
        units, ops = self.units, keras.ops
        both = ops.concatenate([self.kernel, self.recurrent], axis=1)
        hidden = cell = None
        passed = []
        for step, entered in enumerate(ops.unstack(x, self.steps, axis=2)):
            if step == 0:
                gates = ops.matmul(entered, self.kernel) + self.bias
            else:
                gates = ops.matmul(ops.concatenate([entered, hidden], axis=-1), both) + self.bias
            open_by, candidate = ops.split(gates, [3 * units], axis=-1)
            entering, forgotten, leaving = ops.split(ops.sigmoid(open_by), 3, axis=-1)
            new = entering * ops.tanh(candidate)
            cell = new if cell is None else forgotten * cell + new
            hidden = leaving * ops.tanh(cell)
            passed.append(hidden)
        return ops.stack(passed[::-1], axis=2) if self.backwards else hidden

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[: 3 if self.backwards else 2], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "backwards": self.backwards}

    def fresh(self, generator: np.random.Generator) -> list[Float32]:
        kernel = glorot_uniform(generator, self.inputs, 4 * self.units)
        bias = np.zeros((1, 4 * self.units), np.float32)
        bias[:, self.units : 2 * self.units] = 1.0  # the forget gate begins open, or the first steps are lost
        return [kernel, orthogonal(generator, self.units, 4 * self.units), bias]


@keras.saving.register_keras_serializable("anomaly")
class Newest(keras.layers.Layer):  # type: ignore[misc]
    """The newest place of each window: (V, B, L, …) to (V, B, …)."""

    def call(self, x: Any) -> Any:
        return x[:, :, -1]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:2], *input_shape[3:])


@keras.saving.register_keras_serializable("anomaly")
class Hidden(keras.layers.Layer):  # type: ignore[misc]
    """Windows that end at the interval to predict: (V, B, L, 1) before it to (V, B, L), newest last.

    L is a whole number of seasons. The newest place is hidden: it holds what the oldest held, whose place it takes,
    which is the interval that number of seasons ago.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        if input_shape[-1] != 1:
            raise ValueError(f"found windows of {input_shape[-1]} features; this network is for windows of 1")

    def call(self, windows: Any) -> Any:
        return keras.ops.concatenate([windows[:, :, 1:, 0], windows[:, :, :1, 0]], axis=2)


@keras.saving.register_keras_serializable("anomaly")
class Profile(keras.layers.Layer):  # type: ignore[misc]
    """What each place of a window would hold if all its seasons were alike: their mean. (V, B, L) to (V, B, L).

    Args:
        seasons: in a window.
    """

    def __init__(self, seasons: int, **options: Any) -> None:
        super().__init__(**options)
        self.seasons = seasons

    def build(self, input_shape: tuple[int, ...]) -> None:
        if input_shape[-1] % self.seasons:
            raise ValueError(f"a window of {input_shape[-1]} places does not divide into {self.seasons} seasons")

    def call(self, window: Any) -> Any:
        ops = keras.ops
        season = window.shape[-1] // self.seasons
        by_season = ops.reshape(window, (*ops.shape(window)[:2], self.seasons, season))
        return ops.tile(ops.mean(by_season, axis=2), (1, 1, self.seasons))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seasons": self.seasons}


def shared_dropout(rate: float, *, width: int, seed: int) -> Any:
    """Dropout (V, B, width) with one mask for all variables.

    The V losses are independent, so each network is trained as with a mask of its own; and its training does not
    depend on its place in the batch.
    """
    return keras.layers.Dropout(rate, noise_shape=(1, None, width), seed=seed)


def begin(network: Any, seeds: Sequence[int]) -> list[Float32]:
    """Weights that the variables with these seeds begin with, in the order of ``network.trainable_weights``.

    Each is (V, …). A variable's own depend on its seed alone.
    """
    layers = [layer for layer in network.layers if isinstance(layer, Batched)]
    drawn = [
        [weight for at, layer in enumerate(layers) for weight in layer.fresh(np.random.default_rng([seed, at]))]
        for seed in seeds
    ]
    return [np.stack(weights) for weights in zip(*drawn, strict=True)]
