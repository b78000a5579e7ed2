"""Lookback: what a test looked at, in intervals."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.lookback import covered, is_sum, lookback, quiet_for, same_for

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("test", "hours"),
    [("single", 1), ("sum-3", 3), ("sum-24", 24), ("level", 72), ("frozen", 1), ("sum-0", 1), ("sum-x", 1)],
)
def test_a_sum_looks_back_as_far_as_its_name_says_and_any_other_test_at_its_interval(test: str, hours: int) -> None:
    assert lookback(test, HOUR) == hours * HOUR
    assert is_sum(test) == (hours > 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=60))
def test_covered_intervals_are_those_that_some_anomaly_looked_at(cells: list[tuple[bool, int]]) -> None:
    anomalous = np.array([yes for yes, _ in cells], dtype=bool)
    lengths = np.array([length for _, length in cells], dtype=np.int64)
    looked_at = {n for at, (yes, length) in enumerate(cells) if yes for n in range(max(0, at + 1 - length), at + 1)}
    assert set(np.flatnonzero(covered(anomalous, lengths)).tolist()) == looked_at


@pytest.mark.parametrize(
    ("values", "length"),
    [([], 0), ([5.0], 1), ([5, 5, 5], 3), ([4, 5, 5], 2), ([5, 4, 5], 1), ([5, np.nan, 5], 1), ([5, np.nan], 0)],
)
def test_a_value_is_the_same_since_the_last_other_one(values: list[float], length: int) -> None:
    assert same_for(np.array(values, dtype=float)) == length


def test_quiet_is_told_with_what_is_usual() -> None:
    every_third = np.tile([1.0, 0.0, 0.0], 50)
    assert quiet_for(np.concatenate([every_third, [4.0], np.zeros(9)])) == (9, 2)
    assert quiet_for(np.array([1.0, 0.0, 0.0])) == (2, 0)
    assert quiet_for(np.zeros(7)) == (7, None)
