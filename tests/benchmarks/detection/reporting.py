"""What every section of the benchmark returns, and how it is shown: goals, tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.table import Table

from tests.benchmarks.measuring import Figure


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the benchmark, measured."""

    title: str
    goals: Sequence[Figure] = ()
    """Measured against the aims."""
    tables: Sequence[Table] = ()
    written: Mapping[str, Any] = field(default_factory=dict)
    """For the JSON file."""
    skipped: str = ""
    """Why nothing, or not all, was measured."""


def goals_table(sections: Mapping[str, Section]) -> Table:
    table = Table("section", "figure", "measured", "goal", "reached", title="Goals")
    for name, section in sections.items():
        for figure in section.goals:
            goal = f"{figure.sense} {figure.goal:g}"
            table.add_row(
                name, figure.name, f"{figure.value:.3g} {figure.unit}", goal, "yes" if figure.reached else "NO"
            )
    return table


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """Mean over seeds, and their standard deviation where there are several; '-' for nothing."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return "-"
    return f"{known.mean():.{digits}f}" + (f" ±{known.std(ddof=1):.{digits}f}" if len(known) > 1 else "")


def mean(values: Sequence[float]) -> float:
    """Over seeds, without those where there was nothing to measure; NaN when that is all."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def plain(value: Any) -> Any:
    """As JSON has it: numpy's numbers become Python's, rounded; what is not finite becomes null."""
    match value:
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items()}
        case np.ndarray() | list() | tuple():
            return [plain(inner) for inner in value]
        case np.bool_() | bool():
            return bool(value)
        case np.integer() | int():
            return int(value)
        case np.floating() | float():
            return float(f"{float(value):.6g}") if math.isfinite(value) else None
    return value
