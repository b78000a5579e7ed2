"""Evidence made sparse: one incident is told once, and again only when it gets clearly worse.

In: evidence per row. Out: the same evidence on the rows that are worth telling, 0 on all others.

What was told raises the bar to a margin above itself; the bar then falls by half every half-life. An incident that
stays as it is is silent, one that grows is told again, and a second one soon after must be worse than the first. The
threshold for alerts is applied afterwards: whatever it is, the rows above it are few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def worth_telling(evidence: ArrayLike, *, half_life: float, margin: float) -> NDArray[np.float64]:
    """(T,): the evidence where it exceeds the bar, else 0.

    Args:
        evidence: (T,), >= 0; NaN counts as none.
        half_life: rows after which the bar has fallen by half, > 0.
        margin: how much worse is clearly worse, as a share of what was told, >= 0.
    """
    rows = np.nan_to_num(np.asarray(evidence, dtype=np.float64), nan=0.0)
    told = np.zeros(rows.size)
    kept, remembered = 0.5 ** (1.0 / half_life), 0.0
    for t, row in enumerate(rows.tolist()):
        remembered *= kept
        if row > remembered * (1.0 + margin):
            told[t] = remembered = row
    return told
