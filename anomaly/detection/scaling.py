"""Scaling per variable, an origin and a unit: the numbers a network sees are of the order of 1.

In: transformed counts of the training part only (what comes later must not leak into the scale). Out: `Scaler`,
whose two numbers per variable are kept as metadata; nothing else is needed to scale and unscale again. Networks on
levels get minimum and maximum, so that they see [0, 1]; networks on departures from the baseline get the mean level
and how much the series departs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_RANGE_OF_NORMAL = 3.29
_LEVELS = frozenset({"level", "baseline", "rate", "outlook"})
"""Channels (`anomaly.detection.channels`) that have an origin."""


@dataclass(frozen=True, slots=True)
class Scaler:
    """`minimum`, `maximum`: (V,), in the group's transform. Variables whose two are equal are only shifted."""

    minimum: Floats
    maximum: Floats

    @classmethod
    def fit(cls, values: ArrayLike) -> Scaler:
        """From (V, N) values of the training part, NaN left out; a variable with nothing but NaN gets 0 and 1."""
        z = np.asarray(values, dtype=np.float64)
        empty = ~np.isfinite(z).any(axis=1)
        minimum = np.where(np.isfinite(z), z, np.inf).min(axis=1)
        maximum = np.where(np.isfinite(z), z, -np.inf).max(axis=1)
        return cls(np.where(empty, 0.0, minimum), np.where(empty, 1.0, maximum))

    @classmethod
    def of_departures(cls, level: ArrayLike, departure: ArrayLike) -> Scaler:
        """From (V, N) levels and departures of the training part, NaN left out: the mean level, and that plus the
        departures' scale, which is their range from the 5 % to the 95 % quantile in standard deviations of a normal
        distribution. Departures of nothing get the unit 1."""
        z, d = np.asarray(level, dtype=np.float64), np.asarray(departure, dtype=np.float64)
        origin, unit = np.zeros(len(z)), np.ones(len(z))
        for row in range(len(z)):
            known, departed = z[row][np.isfinite(z[row])], d[row][np.isfinite(d[row])]
            origin[row] = known.mean() if known.size else 0.0
            low, high = np.quantile(departed, [0.05, 0.95]) if departed.size else (0.0, 0.0)
            unit[row] = (high - low) / _RANGE_OF_NORMAL if high > low else 1.0
        return cls(origin, origin + unit)

    @property
    def span(self) -> Floats:
        """(V,), above zero."""
        span = self.maximum - self.minimum
        return np.where(span > 0, span, 1.0)

    def scale(self, values: ArrayLike) -> Floats:
        """(V, ...) in the transform to scaled; the training part lies in [0, 1], what is new may lie outside."""
        z = np.asarray(values, dtype=np.float64)
        return (z - self._along(self.minimum, z)) / self._along(self.span, z)

    def unscale(self, scaled: ArrayLike) -> Floats:
        """(V, ...) scaled back to the transform."""
        s = np.asarray(scaled, dtype=np.float64)
        return s * self._along(self.span, s) + self._along(self.minimum, s)

    def scale_channel(self, name: str, values: ArrayLike) -> Floats:
        """(V, ...) of a channel (`anomaly.detection.channels`): levels have an origin, departures have none."""
        if name in _LEVELS:
            return self.scale(values)
        d = np.asarray(values, dtype=np.float64)
        return d / self._along(self.span, d)

    def scale_window(self, names: Sequence[str], values: Floats) -> Floats:
        """(V, …, L, F), each feature of the channel with its name, as `scale_channel` does."""
        origin = np.where([name in _LEVELS for name in names], self._along(self.minimum, values), 0.0)
        return np.asarray((values - origin) / self._along(self.span, values))

    def take(self, rows: ArrayLike) -> Scaler:
        """The scaler of some of the variables, by index or mask."""
        index = np.asarray(rows)
        return Scaler(self.minimum[index], self.maximum[index])

    @staticmethod
    def _along(per_variable: Floats, values: Floats) -> Floats:
        return per_variable.reshape(-1, *[1] * (values.ndim - 1))
