"""Which candidate wins a variable: the one with the smallest error on the test period, without hair-splitting.

In: mean absolute errors on the same test period, per candidate, and the champion's. Out: the winner per variable
and why. Errors within `MARGIN` of the best count as equal: then the champion stays, because every change of model
has to be explained to somebody, and without a champion the simpler candidate wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MARGIN = 0.01
CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class Choice:
    """`name`: a candidate's, or `CHAMPION`, or '' when none could forecast the test period."""

    name: str
    mae: float
    reason: str


def choose(errors: Mapping[str, Floats]) -> tuple[Choice, ...]:
    """The winner of each variable.

    Args:
        errors: (V,) per candidate, the simplest first, NaN where it could not forecast; `CHAMPION` among them when
            there is one.
    """
    names = list(errors)
    table = np.stack([errors[name] for name in names], axis=1)
    return tuple(_choose(names, row) for row in table)


def _choose(names: list[str], row: Floats) -> Choice:
    known = {name: float(error) for name, error in zip(names, row, strict=True) if np.isfinite(error)}
    if not known:
        return Choice("", float("nan"), "no candidate could forecast the test period")
    best = min(known, key=lambda name: known[name])
    as_good = [name for name in known if known[name] <= known[best] * (1 + MARGIN)]
    winner = CHAMPION if CHAMPION in as_good else as_good[0]
    others = ", ".join(f"{name} {error:.3f}" for name, error in known.items() if name != winner)
    reason = f"{winner} has a test MAE of {known[winner]:.3f}"
    if others:
        reason += f", against {others}"
    if winner != best:
        why = "the champion stays" if winner == CHAMPION else "the simpler wins"
        reason += f"; within {MARGIN:.0%} of the best, {why}"
    return Choice(winner, known[winner], reason)
