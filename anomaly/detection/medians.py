"""Medians of what is known."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", np.float32, np.float64)


def nan_median(values: NDArray[Real]) -> NDArray[Real]:
    """Median along the last axis of what is not NaN; NaN where all is. Without warnings, and fast for short axes."""
    ordered = np.sort(values, axis=-1)  # NaN come last
    known = np.isfinite(ordered).sum(axis=-1)
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, values.shape[-1] - 1)
    middle = [np.take_along_axis(ordered, at[..., None], -1)[..., 0] for at in (low, high)]
    return np.where(known > 0, (middle[0] + middle[1]) / 2, np.nan)
