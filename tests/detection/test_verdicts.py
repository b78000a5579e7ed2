"""Verdicts: kinds, floors and directions."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.detection.verdicts import judge
from anomaly.groups.model import Threshold

LOWER, UPPER = np.array(-3.0), np.array(3.0)


def _kind(observed: float, predicted: float, residual: float, policy: Threshold | None = None) -> str:
    kinds = judge(
        np.array([observed]), np.array([predicted]), np.array([residual]), LOWER, UPPER, policy or Threshold()
    )
    return str(kinds[0])


@pytest.mark.parametrize(
    ("observed", "residual", "kind"),
    [(9, -0.5, ""), (2, -3.1, "drop"), (0, -3.1, "silent"), (40, 3.1, "surge"), (2, -3.0, ""), (40, 3.0, "")],
)
def test_a_residual_beyond_a_threshold_has_a_kind_and_one_on_it_has_none(
    observed: float, residual: float, kind: str
) -> None:
    assert _kind(observed, 10, residual) == kind


def test_departures_below_the_absolute_floor_do_not_count() -> None:
    assert _kind(6, 10, -5, Threshold(min_absolute=5)) == ""
    assert _kind(5, 10, -5, Threshold(min_absolute=5)) == "drop"


def test_departures_below_the_relative_floor_do_not_count() -> None:
    assert _kind(960, 1000, -5, Threshold(min_relative=0.05)) == ""
    assert _kind(900, 1000, -5, Threshold(min_relative=0.05)) == "drop"


def test_what_was_not_predicted_is_not_judged() -> None:
    assert _kind(0, np.nan, np.nan) == ""


def test_an_infinite_threshold_is_never_passed() -> None:
    kinds = judge(np.zeros(1), np.ones(1), np.array([-1e9]), np.array(-np.inf), UPPER, Threshold())
    assert kinds[0] == ""
