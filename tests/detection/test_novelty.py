"""The nearest earlier stretch, against looking at every one of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.detection.novelty import nearest_past_distance

Floats = NDArray[np.float64]


def _by_hand(values: Floats, width: int, memory: int) -> Floats:
    result = np.full(values.size, np.nan)
    for end in range(3 * width - 2, values.size):
        start = end - width + 1
        earlier = range(max(0, start - width - memory + 1), start - width + 1)
        stretch = values[start : end + 1]
        result[end] = min(float(np.linalg.norm(stretch - values[e : e + width])) for e in earlier)
    return result


@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize("memory", [10, 40, 1000])
def test_it_is_the_smallest_of_all_distances(width: int, memory: int) -> None:
    values = np.random.default_rng(width).normal(1e3, 1.0, 150)
    np.testing.assert_allclose(
        nearest_past_distance(values, width, memory=memory), _by_hand(values, width, memory), rtol=1e-6
    )


def test_what_repeats_is_no_novelty_and_what_does_not_is() -> None:
    values = np.tile(np.sin(np.arange(24) * np.pi / 12), 20)
    values[400:412] = 0.0
    distance = nearest_past_distance(values, 24)
    assert np.nanmax(distance[:400]) < 1e-6
    assert distance[411] > 1.0


@pytest.mark.parametrize("size", [0, 1, 5, 19])
def test_a_series_too_short_to_compare_has_no_distance(size: int) -> None:
    assert np.isnan(nearest_past_distance(np.zeros(size), 7)).all()
