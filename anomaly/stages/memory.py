"""What later intervals and fits see of what was judged before.

In: counts as they are now, and what was stored when they were judged. Out: counts with stand-ins, and what was known
of the day of the month when something was put in place of a count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import months
from anomaly.groups import Group, TimeRange
from anomaly.ports import Predictions, Remembered, Store, Variable

Floats = NDArray[np.float64]


def felt_counts(counts: Floats, judged: Predictions | Remembered) -> Floats:
    """(V, N): what each interval was taken for when it was judged; where its count has changed since, the count."""
    unchanged = np.isfinite(judged.felt) & (judged.observed == counts)
    return np.where(unchanged, judged.felt, counts)


def departed_then(
    group: Group, variables: Sequence[Variable], within: TimeRange, zone: ZoneInfo, store: Store
) -> Floats:
    """(V, N) what fits took the day of the month for, where something stands in for a count; 0 elsewhere."""
    found = np.zeros((len(variables), len(within)))
    row_of = {v.id: row for row, v in enumerate(variables)}
    cells = defaultdict(list)
    for one in store.stand_ins(group, variables, within):
        column = (one.start - within.start) // within.step
        cells[tuple(sorted(one.month_days.items()))].append((row_of[one.variable_id], column))
    starts = within.starts()
    for days, places in cells.items():
        rows, columns = np.array(places).T
        certain, _ = months.departures(months.as_table([dict(days)]), starts[columns], zone)
        found[rows, columns] = certain[0]
    return found
