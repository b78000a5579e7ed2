"""Scaling per variable: there and back, from the training part alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from anomaly.detection.scaling import Scaler

tables = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=st.floats(-1e6, 1e6))


@given(tables)
def test_scaling_and_back_gives_what_was_scaled(values: NDArray[np.float64]) -> None:
    scaler = Scaler.fit(values)

    assert np.allclose(scaler.unscale(scaler.scale(values)), values, rtol=1e-9, atol=1e-9)


@given(tables)
def test_the_training_part_lies_between_zero_and_one(values: NDArray[np.float64]) -> None:
    scaled = Scaler.fit(values).scale(values)

    assert scaled.min() >= 0
    assert scaled.max() <= 1


def test_a_constant_variable_scales_to_zero_and_back() -> None:
    scaler = Scaler.fit(np.full((1, 5), 7.0))

    assert (scaler.scale(np.full((1, 5), 7.0)) == 0).all()
    assert scaler.unscale(np.zeros((1, 3))).tolist() == [[7.0, 7.0, 7.0]]


def test_what_is_unknown_is_left_out_of_the_scale() -> None:
    scaler = Scaler.fit(np.array([[np.nan, 2.0, 4.0], [np.nan, np.nan, np.nan]]))

    assert (scaler.minimum.tolist(), scaler.maximum.tolist()) == ([2.0, 0.0], [4.0, 1.0])


def test_windows_are_scaled_along_the_axis_of_variables() -> None:
    scaler = Scaler(np.array([0.0, 10.0]), np.array([2.0, 20.0]))
    windows = np.ones((2, 3, 7, 2)) * np.array([1.0, 15.0])[:, None, None, None]

    assert (scaler.scale(windows) == 0.5).all()
    assert (scaler.take(np.array([1])).scale(windows[1:]) == 0.5).all()
