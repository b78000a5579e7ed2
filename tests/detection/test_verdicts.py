"""Verdicts: kinds, limits, floors and directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.evidence import FROZEN, LEVEL, SILENCE, SINGLE, Taken
from anomaly.detection.verdicts import in_direction, judge
from anomaly.groups.model import Direction, Threshold

LIMIT = 9.0


def _kind(felt: float, expected: float, evidence: float, policy: Threshold | None = None, *, test: str = SINGLE) -> str:
    """The verdict on one interval, of which this test has the strongest evidence; sums of three are of 100 events."""
    one = (np.array([[felt]]), np.array([[expected]]))
    sums = {SINGLE: one, "sum-3": one if test == "sum-3" else (np.array([[100.0]]), np.array([[100.0]]))}
    taken = Taken({test: np.array([[evidence]])}, sums | ({LEVEL: one} if test == LEVEL else {}))
    kinds = judge(taken, np.array([[test]]), np.array([[evidence]]), np.array([LIMIT]), policy or Threshold())
    return str(kinds[0, 0])


@pytest.mark.parametrize(
    ("felt", "evidence", "kind"),
    [(9, -1.0, ""), (2, -9.1, "drop"), (0, -9.1, "silent"), (40, 9.1, "surge"), (2, -8.9, ""), (40, 8.9, "")],
)
def test_evidence_beyond_its_limit_has_a_kind_and_less_has_none(felt: float, evidence: float, kind: str) -> None:
    assert _kind(felt, 10, evidence) == kind


@pytest.mark.parametrize(
    ("test", "felt", "evidence", "kind"),
    [
        ("sum-3", 2, -10, "drop"),
        ("sum-3", 0, -10, "silent"),
        ("sum-3", 40, 10, "surge"),
        (FROZEN, 10, 10, "frozen"),
        (LEVEL, 2, -10, "shift"),
        (LEVEL, 40, 10, "shift"),
        (SILENCE, 0, -10, "silent"),
    ],
)
def test_the_test_that_decides_names_the_kind(test: str, felt: float, evidence: float, kind: str) -> None:
    assert _kind(felt, 10, evidence, test=test) == kind


def test_departures_below_the_absolute_floor_do_not_count() -> None:
    assert _kind(6, 10, -20, Threshold(min_absolute=5)) == ""
    assert _kind(5, 10, -20, Threshold(min_absolute=5)) == "drop"


def test_departures_below_the_relative_floor_do_not_count() -> None:
    assert _kind(960, 1000, -20, Threshold(min_relative=0.05)) == ""
    assert _kind(900, 1000, -20, Threshold(min_relative=0.05)) == "drop"


@pytest.mark.parametrize(("waited", "kind"), [(24.0, "silent"), (2.0, "")])
def test_a_silence_is_held_against_the_floor_by_all_that_should_have_come_since_the_last_write(
    waited: float, kind: str
) -> None:
    newest = np.array([[0.0]]), np.array([[0.5]])
    taken = Taken({SILENCE: np.array([[-20.0]])}, {SINGLE: newest}, np.array([[waited]]))
    kinds = judge(taken, np.array([[SILENCE]]), np.array([[-20.0]]), np.array([LIMIT]), Threshold(min_absolute=5))
    assert kinds.tolist() == [[kind]]


def test_floors_hold_for_the_sum_that_is_judged_and_a_frozen_value_has_none() -> None:
    assert _kind(94, 100, -20, Threshold(min_absolute=5), test="sum-3") == "drop"
    assert _kind(96, 100, -20, Threshold(min_absolute=5), test="sum-3") == ""
    assert _kind(10, 10, 20, Threshold(min_absolute=5, min_relative=0.5), test=FROZEN) == "frozen"


def test_what_was_not_predicted_is_not_judged() -> None:
    assert _kind(0, np.nan, 0.0) == ""
    assert _kind(0, np.nan, np.nan) == ""


@given(st.lists(st.floats(-27, 27), min_size=1, max_size=20), st.sampled_from(Direction))
def test_only_the_direction_that_was_asked_for_counts_and_frozen_values_have_none(
    evidence: list[float], direction: Direction
) -> None:
    found = {SINGLE: np.array(evidence), FROZEN: np.abs(evidence)}

    left = in_direction(found, direction)

    np.testing.assert_array_equal(left[FROZEN], found[FROZEN])
    wanted = {Direction.BOTH: found[SINGLE] != 0, Direction.DROP: found[SINGLE] < 0, Direction.SURGE: found[SINGLE] > 0}
    np.testing.assert_array_equal(left[SINGLE], np.where(wanted[direction], found[SINGLE], 0))
