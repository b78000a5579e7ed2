"""What later intervals and fits see of what was judged before.

In: counts as they are now, and the predictions that were stored when they were judged. Out: counts with stand-ins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.ports import Predictions

Floats = NDArray[np.float64]


def felt_counts(counts: Floats, predictions: Predictions) -> Floats:
    """(V, N): what each interval was taken for when it was judged; where its count has changed since, the count."""
    unchanged = np.isfinite(predictions.felt) & (predictions.observed == counts)
    return np.where(unchanged, predictions.felt, counts)
