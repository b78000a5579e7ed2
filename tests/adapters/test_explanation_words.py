"""How rules read."""

from __future__ import annotations

import pytest

from anomaly.adapters.explanation_words import month_days_words
from anomaly.groups.model import Transform


def test_days_of_the_month_are_told_by_the_share_they_bring_in_the_order_of_the_month() -> None:
    said = month_days_words(
        {-1: (-0.2231435513, 0.0), 25: (0.4054651081, 0.4054651081), -2: (0.0953101798, 0.0953101798)},
        Transform.ANSCOMBE,
    )

    assert said.startswith("day 25 +50%, 1 before the last +10%, the last perhaps \N{MINUS SIGN}20%: ")


@pytest.mark.parametrize(("by", "words"), [(20.0, "day 1 20"), (-0.5, "day 1 \N{MINUS SIGN}0.5")])
def test_gauges_days_are_told_in_their_unit(by: float, words: str) -> None:
    assert month_days_words({1: (by, by)}, Transform.LINEAR).startswith(words)
