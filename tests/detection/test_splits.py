"""Training, validation and test period: every window in one of them, in the order of time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from anomaly.detection.splits import split_by_time

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 60)))


@given(masks)
def test_every_usable_window_is_in_exactly_one_part(usable: NDArray[np.bool_]) -> None:
    split = split_by_time(usable)

    parts = split.train.astype(int) + split.validation + split.test
    assert np.array_equal(parts, usable.astype(int))


@given(masks)
def test_training_lies_before_validation_and_that_before_the_test_period(usable: NDArray[np.bool_]) -> None:
    split = split_by_time(usable)

    for train, validation, test in zip(split.train, split.validation, split.test, strict=True):
        ends = [np.flatnonzero(part) for part in (train, validation, test)]
        ends = [part for part in ends if part.size]
        assert all(a.max() < b.min() for a, b in pairwise(ends))


def test_the_parts_have_their_shares() -> None:
    split = split_by_time(np.ones((1, 100), bool))

    assert (split.train.sum(), split.validation.sum(), split.test.sum()) == (70, 15, 15)
    assert split.held_out.sum() == 30


def test_a_younger_variable_is_split_by_its_own_history() -> None:
    usable = np.ones((2, 100), bool)
    usable[1, :60] = False

    split = split_by_time(usable)

    assert (split.train[1].sum(), split.validation[1].sum(), split.test[1].sum()) == (28, 6, 6)


def test_impossible_shares_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found shares 0\.5 and 0\.5"):
        split_by_time(np.ones((1, 9), bool), validation=0.5, test=0.5)
