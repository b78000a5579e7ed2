"""The space in which counts are forecast and residuals are taken.

In: counts per interval. Out: the transformed counts z, and back.

Counts scatter more the larger they are. Anscombe's transform, ``z = 2 sqrt(y + 3/8)``, makes the scatter of
Poisson counts nearly 1 at every level, so that one scale of residuals serves day and night
(F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35, 1948).
The linear transform leaves them as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.groups.model import Transform

_SHIFT = 3 / 8

SCALE_FLOOR = 0.5
"""Smallest scale a residual is measured by, in the transform: half of what Poisson counts scatter by nature
(Anscombe), or half an event (linear). It keeps near-constant variables from alarming on a single event."""


def forward(counts: ArrayLike, transform: Transform) -> NDArray[np.float64]:
    """Counts (any shape, non-negative, NaN passes) to z."""
    y = np.asarray(counts, dtype=np.float64)
    return 2 * np.sqrt(y + _SHIFT) if transform is Transform.ANSCOMBE else y


def inverse(z: ArrayLike, transform: Transform) -> NDArray[np.float64]:
    """z (any shape) to counts, never below zero."""
    values = np.asarray(z, dtype=np.float64)
    if transform is Transform.ANSCOMBE:
        return np.maximum((np.maximum(values, 0) / 2) ** 2 - _SHIFT, 0)
    return np.maximum(values, 0)
