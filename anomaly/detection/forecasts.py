"""Walks through time, interval by interval, predicting each from what was known before it.

In: the series of all variables, with history before the first interval to judge; per kind of network the
variables it serves, their scaler and their windows' lags; the thresholds. Out: predictions, residuals and
verdicts, (V, N).

One interval at a time, because a verdict changes what later windows see (`anomaly.detection.cleaning`): an
anomalous count is replaced by its prediction. An hour alone and a year at once go through the same steps with
the same numbers, so they agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import transforms, verdicts
from anomaly.detection.cleaning import patience
from anomaly.detection.scaling import Scaler
from anomaly.groups.model import Threshold, Transform

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Panel:
    """Variables that one batched network (or one forecast without weights) serves."""

    rows: NDArray[np.int64]
    """(P,) rows of the series."""
    positions: NDArray[np.int64] | None
    """(P,) where these stand among the network's P' variables; None when the forecast takes any number."""
    network_variables: int
    """P': the network's leading axis."""
    scaler: Scaler
    """Of the P variables."""
    lags: NDArray[np.int64]
    """(N, L, F), whole intervals, at least 1."""
    predict: Callable[[Float32], Float32]
    """(P', 1, L, F) to (P', 1), scaled."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What came out, all (V, N); NaN where nothing could be predicted."""

    predicted: Floats
    """In the transform."""
    residuals: Floats
    kinds: NDArray[np.str_]


def walk(
    series: Floats,
    anomalous: NDArray[np.bool_],
    first: int,
    panels: Sequence[Panel],
    *,
    lower: Floats,
    upper: Floats,
    policy: Threshold,
    transform: Transform,
    step: timedelta,
) -> Walk:
    """Predicts and judges the intervals ``first … T``.

    Args:
        series: (V, T) counts; before `first` already with stand-ins for anomalous ones; NaN where unknown.
        anomalous: (V, first) where earlier intervals were judged anomalous.
        first: index along T of the first interval to judge.
        panels: who predicts whom; a variable in no panel is not judged.
        lower, upper: (V,) thresholds on residuals.
        policy: its floors.
        transform: the space of residuals and thresholds.
        step: length of an interval.
    """
    z = transforms.forward(series, transform)
    seen = z.copy()
    memory, most = patience(step)
    was = np.zeros(series.shape, dtype=bool)
    was[:, :first] = anomalous
    recent = was[:, max(0, first - memory) : first].sum(axis=1)
    shape = (series.shape[0], series.shape[1] - first)
    predicted = np.full(shape, np.nan)
    kinds = np.full(shape, "", dtype=verdicts.KIND)

    for n in range(shape[1]):
        at = first + n
        for panel in panels:
            predicted[panel.rows, n] = _predict(panel, seen, at, n)
        expected = predicted[:, n]
        kinds[:, n] = verdicts.judge(
            series[:, at], transforms.inverse(expected, transform), z[:, at] - expected, lower, upper, policy
        )
        was[:, at] = kinds[:, n] != ""
        recent += was[:, at]
        if at >= memory:
            recent -= was[:, at - memory]
        replaced = was[:, at] & (recent <= most)
        seen[replaced, at] = expected[replaced]
    return Walk(predicted, z[:, first:] - predicted, kinds)


def _predict(panel: Panel, seen: Floats, at: int, n: int) -> Floats:
    positions = at - panel.lags[n]
    windows = seen[panel.rows[:, None, None], np.maximum(positions, 0)]
    windows[:, positions < 0] = np.nan
    scaled = panel.scaler.scale(windows).astype(np.float32)
    if panel.positions is None:
        answer = panel.predict(scaled[:, None])[:, 0]
    else:
        asked = np.full((panel.network_variables, 1, *scaled.shape[1:]), np.nan, dtype=np.float32)
        asked[panel.positions, 0] = scaled
        answer = panel.predict(asked)[panel.positions, 0]
    return panel.scaler.unscale(answer)
