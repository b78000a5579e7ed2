"""What a forecast would have said about a stretch of history, and how far off it would have been.

In: scaled series (V, T), the intervals to predict, and a forecast (a network in serving form, or one without
weights). Out: predictions (V, N), made in blocks so that memory stays bounded; errors per variable.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.windows import Inputs, Lags, gather

Float32 = NDArray[np.float32]
Floats = NDArray[np.float64]

_BLOCK_BYTES = 64 * 2**20


def backtest(
    forecast: Callable[[Float32], Float32],
    series: NDArray[np.floating] | Inputs,
    at: NDArray[np.int64],
    lags: Lags,
    *,
    positions: NDArray[np.int64] | None = None,
    network_variables: int | None = None,
) -> Float32:
    """Predictions (V, N), scaled; NaN where the window does not suffice.

    Args:
        forecast: (V', B, L, F) scaled windows to (V', B) scaled predictions.
        series: (V, T), scaled; NaN where unknown. Or what each feature looks at.
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


LEAST_EXPECTED = 0.02
"""Events per interval; a forecast of nothing at all would be infinitely wrong about the first event."""


def poisson_deviance(counts: Floats, expected: Floats, within: NDArray[np.bool_]) -> Floats:
    """(V,) mean over the intervals of the mask (V, N); NaN for variables without any. Smallest for the true mean.

    P. McCullagh, J. A. Nelder, "Generalized linear models", 2nd ed. 1989, section 2.3.
    """
    m = np.maximum(expected, LEAST_EXPECTED)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = 2 * (np.where(counts > 0, counts * np.log(counts / m), 0.0) - (counts - m))
    return mean_absolute_error(deviance, within)
