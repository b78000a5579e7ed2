"""Forecasts without weights: the baseline every network has to beat, and the fallback's constant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.medians import nan_median

Float32 = NDArray[np.float32]


def median(windows: Float32) -> Float32:
    """Median over the window of what is known of it: (V, B, L, F) to (V, B); NaN where nothing is known."""
    flat = windows.reshape(*windows.shape[:2], -1)
    return nan_median(flat).astype(np.float32)


def total(windows: Float32) -> Float32:
    """What the window shows, added up: (V, B, L, F) to (V, B); NaN where any of it is unknown."""
    return np.asarray(windows.sum(axis=(2, 3)), np.float32)


def lowest(windows: Float32) -> Float32:
    """Zero, which a scaler turns into its minimum: the constant forecast that the metadata states."""
    return np.zeros(windows.shape[:2], np.float32)
