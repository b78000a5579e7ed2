"""The complete grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anomaly.detection.grid import CountGrid, pad
from anomaly.groups import TimeRange

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)
DAY = TimeRange(START, START + 24 * HOUR, HOUR)


def test_no_events_is_a_count_of_zero_from_the_first_interval_on() -> None:
    grid = pad(["a", "b"], [START, START + 5 * HOUR], DAY, np.array([[0, 3, 7], [1, 6, 2]]))
    assert grid.counts[0, 3] == 7
    assert np.nansum(grid.counts[0]) == 7
    assert np.isnan(grid.counts[1, :5]).all()
    assert not np.isnan(grid.counts[1, 5:]).any()


@given(arrays.arrays(np.int64, st.tuples(st.integers(0, 60), st.just(3)), elements=st.integers(0, 2)))
def test_padding_loses_no_event(cells: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
    grid = pad(["a", "b", "c"], [START] * 3, DAY, cells)
    assert grid.counts.sum() == cells[:, 2].sum()
    assert (grid.counts >= 0).all()


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(V, N\) = \(1, 24\)"):
        CountGrid(("a",), DAY.starts(), np.zeros((2, 24)))
