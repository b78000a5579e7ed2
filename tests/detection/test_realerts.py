"""One incident is told once, and again when it is clearly worse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.realerts import worth_telling

EVIDENCE = st.lists(st.floats(0, 50), max_size=100)


def _told(rows: list[float], half_life: float = 10.0) -> list[float]:
    told: list[float] = worth_telling(rows, half_life=half_life, margin=0.3).tolist()
    return told


def test_what_stays_as_it_is_is_told_once() -> None:
    assert _told([5.0, 5.0, 5.0]) == [5.0, 0.0, 0.0]


def test_what_gets_clearly_worse_is_told_again_and_what_gets_a_little_worse_is_not() -> None:
    assert _told([5.0, 6.0, 7.0, 5.0]) == [5.0, 0.0, 7.0, 0.0]


def test_after_a_half_life_the_bar_has_fallen_by_half() -> None:
    quiet = [0.0] * 9
    assert _told([8.0, *quiet, 5.3])[-1] == pytest.approx(5.3)
    assert _told([8.0, *quiet, 5.1])[-1] == 0.0


@given(rows=EVIDENCE, share=st.floats(0, 1))
def test_what_is_told_is_the_evidence_and_does_not_depend_on_later_rows(rows: list[float], share: float) -> None:
    told = np.array(_told(rows))
    assert np.all((told == 0) | (told == np.array(rows)))
    part = int(share * len(rows))
    assert _told(rows[:part]) == told[:part].tolist()


def test_rows_without_evidence_are_silent() -> None:
    assert _told([float("nan"), 2.0]) == [0.0, 2.0]
