"""What is usual at an interval of the week, without what was labelled."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.cleaning import usual

DAY = timedelta(days=1)


def test_what_is_usual_is_the_median_of_the_same_interval_in_other_weeks() -> None:
    counts = np.tile(np.arange(7.0), 5)[None]
    unlike = np.zeros(counts.shape, dtype=bool)
    counts[0, 7:14], unlike[0, 7:14] = 0.0, True
    np.testing.assert_array_equal(usual(counts, unlike, DAY), np.tile(np.arange(7.0), 5)[None])


def test_an_interval_that_no_ordinary_week_has_is_unknown() -> None:
    counts, unlike = np.ones((1, 10)), np.zeros((1, 10), dtype=bool)
    unlike[0, [1, 8]] = True
    found = usual(counts, unlike, DAY)
    assert np.isnan(found[0, [1, 8]]).all()
    assert np.isfinite(np.delete(found, [1, 8])).all()


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_what_is_unlike_changes_nothing_that_is_usual(length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(20, (2, length)).astype(float)
    counts[rng.random(counts.shape) < 0.1] = np.nan
    unlike = rng.random(counts.shape) < 0.3
    other = np.where(unlike, 1e6, counts)
    np.testing.assert_array_equal(usual(counts, unlike, DAY), usual(other, unlike, DAY))
    assert usual(counts, unlike, DAY).shape == counts.shape
