"""Which observed counts later windows must not see, so that an incident does not teach itself as normal.

In: where a variable was anomalous. Out: where its prediction stands in for what was observed.

An anomalous interval is replaced, so that the hours after an outage are not predicted low and its end is not
told as a surge. But what stays different has become the new normal: once more than half of a week was
anomalous, observations count again, and the next windows and fits learn them.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

MEMORY = timedelta(days=7)
PATIENCE = 0.5
"""Share of the last `MEMORY` that may be anomalous before the anomalies are believed."""


def patience(step: timedelta) -> tuple[int, int]:
    """Intervals in the memory, and how many of them may be anomalous."""
    memory = max(1, MEMORY // step)
    return memory, int(memory * PATIENCE)


def stand_in(anomalous: NDArray[np.bool_], step: timedelta) -> NDArray[np.bool_]:
    """Where the prediction stands in for the observation: (V, N), of the anomalous intervals.

    Args:
        anomalous: (V, N), consecutive intervals, oldest first.
        step: length of an interval.
    """
    memory, most = patience(step)
    total = np.cumsum(anomalous, axis=1, dtype=np.int64)
    before = np.zeros_like(total)
    before[:, memory:] = total[:, :-memory]
    return anomalous & (total - before <= most)
