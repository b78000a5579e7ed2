"""What a forecast would have said about a stretch of history, and how far off it would have been.

In: scaled series (V, T), the intervals to predict, and a forecast (a network in serving form, or one without
weights). Out: predictions (V, N), made in blocks so that memory stays bounded; errors per variable.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.windows import Lags, gather

Float32 = NDArray[np.float32]
Floats = NDArray[np.float64]

_BLOCK_BYTES = 64 * 2**20


def backtest(
    forecast: Callable[[Float32], Float32],
    series: NDArray[np.floating],
    at: NDArray[np.int64],
    lags: Lags,
    *,
    positions: NDArray[np.int64] | None = None,
    network_variables: int | None = None,
) -> Float32:
    """Predictions (V, N), scaled; NaN where the window does not suffice.

    Args:
        forecast: (V', B, L, F) scaled windows to (V', B) scaled predictions.
        series: (V, T), scaled; NaN where unknown.
        at: (N,) indices along T of the intervals to predict.
        lags: (N, L, F).
        positions: (V,) where these variables stand among the network's V'; in their order when not given.
        network_variables: V'; V when not given.
    """
    variables = len(series)
    size = variables if network_variables is None else network_variables
    rows = np.arange(variables) if positions is None else positions
    block = max(1, _BLOCK_BYTES // max(1, 4 * size * lags.shape[1] * lags.shape[2]))
    parts = [np.empty((variables, 0), np.float32)]
    for first in range(0, len(at), block):
        part = slice(first, first + block)
        asked = np.full((size, len(at[part]), *lags.shape[1:]), np.nan, np.float32)
        asked[rows] = gather(series, at[part], lags[part])
        parts.append(forecast(asked)[rows])
    return np.concatenate(parts, axis=1)


def mean_absolute_error(residuals: Floats, within: NDArray[np.bool_]) -> Floats:
    """(V,) over the intervals of the mask (V, N) that have a residual; NaN for variables without any."""
    counted = within & np.isfinite(residuals)
    total = np.where(counted, np.abs(residuals), 0.0).sum(axis=1)
    number = counted.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
