"""The complete variables x intervals grid of counts: no events is a count of 0, never a missing row.

In: the sparse cells that the source's engine counted. Out: `CountGrid`, dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from anomaly.groups.intervals import TimeRange, to_datetime64


@dataclass(frozen=True, slots=True)
class CountGrid:
    """Events per variable and interval.

    `counts`: (V, N), whole and non-negative; NaN for intervals before a variable's first, and where a store has
    no count. `starts`: (N,) datetime64[s], UTC.
    """

    variables: tuple[str, ...]
    starts: NDArray[np.datetime64]
    counts: NDArray[np.float64]

    def __post_init__(self) -> None:
        expected = (len(self.variables), len(self.starts))
        if self.counts.shape != expected:
            raise ValueError(f"counts have shape {self.counts.shape}; expected (V, N) = {expected}")


def pad(
    variables: Sequence[str],
    first_intervals: Sequence[datetime],
    within: TimeRange,
    cells: NDArray[np.int64],
) -> CountGrid:
    """Fills the gaps with zeros, from each variable's first interval on.

    Args:
        variables: (V,) names, the rows of the grid.
        first_intervals: (V,) when each variable's counting begins; NaN before.
        within: the range, N intervals.
        cells: (M, 3) of variable index, interval index, events; cells that occur twice are added up.
    """
    counts = np.zeros((len(variables), len(within)))
    np.add.at(counts, (cells[:, 0], cells[:, 1]), cells[:, 2])
    starts = within.starts()
    for row, first in enumerate(first_intervals):
        counts[row, starts < to_datetime64(first)] = np.nan
    return CountGrid(tuple(variables), starts, counts)
