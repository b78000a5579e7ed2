"""PyOD as anomstack uses it: principal components and nearest neighbours on lags of smoothed differences.

The features, models and defaults are anomstack's (February 2026): first differences, their mean over 3 intervals, that
and its 5 lags; ``PCA`` and ``KNN`` with a contamination of 1 %; scores are min-max scaled to a probability, averaged
over the two models, and averaged over 3 intervals before the threshold. Training takes up to 90 days. It is repeated
once a week here; anomstack's default is every few minutes, which changes nothing but the time.

In its favour: probabilities are not clipped at 1, so that beyond the training data more is still more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIFFERENCES, SMOOTHED, LAGS = 1, 3, 5
CONTAMINATION = 0.01
TRAINING_DAYS, REFIT_DAYS = 90, 7
ALERT_SMOOTHED = 3


def score(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
    *,
    model: str,
) -> Floats:
    """One model's probabilities: (V, N), NaN before `train`."""
    day = timedelta(days=1) // step
    reach = DIFFERENCES + SMOOTHED - 1 + LAGS
    scores = np.full(counts.shape, np.nan)
    for row, series in enumerate(counts.astype(np.float64)):
        features = _features(series)
        for begin in range(train, len(series), REFIT_DAYS * day):
            until = min(begin + REFIT_DAYS * day, len(series))
            history = features[max(reach, begin - TRAINING_DAYS * day) : begin]
            scores[row, begin:until] = _probability(model, history, features[begin:until])
    return scores


pca = functools.partial(score, model="pca")
knn = functools.partial(score, model="knn")


def combined(of_models: Sequence[Floats]) -> Floats:
    """The mean over the models, and then over the last intervals: (V, N), NaN where the models have none."""
    mean = np.mean(of_models, axis=0)
    padded = np.pad(mean, ((0, 0), (ALERT_SMOOTHED - 1, 0)), constant_values=np.nan)
    latest = np.lib.stride_tricks.sliding_window_view(padded, ALERT_SMOOTHED, axis=1)
    known = ~np.isnan(latest)
    totals: Floats = np.where(known, latest, 0).sum(axis=2) / np.maximum(known.sum(axis=2), 1)
    return np.where(np.isnan(mean), np.nan, totals)


def _features(series: Floats) -> Floats:
    """(N, 1 + LAGS), newest first; NaN where the series does not reach back far enough."""
    changes = np.full(len(series), np.nan)
    changes[DIFFERENCES:] = series[DIFFERENCES:] - series[:-DIFFERENCES]
    smooth = np.full(len(series), np.nan)
    smooth[SMOOTHED - 1 :] = np.convolve(changes, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
    lagged = np.full((len(series), 1 + LAGS), np.nan)
    for lag in range(1 + LAGS):
        lagged[lag:, lag] = smooth[: len(series) - lag]
    return lagged


def _probability(name: str, history: Floats, judged: Floats) -> Floats:
    """Min-max scaled by the training scores. A history without any variation says nothing: all 0."""
    if np.ptp(history, axis=0).max() == 0:
        return np.zeros(len(judged))
    model = _builders()[name](contamination=CONTAMINATION)
    model.fit(history)
    low, high = model.decision_scores_.min(), model.decision_scores_.max()
    result: Floats = (model.decision_function(judged) - low) / max(high - low, 1e-12)
    return result


def _builders() -> dict[str, Callable[..., Any]]:
    from pyod.models.knn import KNN  # type: ignore[import-not-found]
    from pyod.models.pca import PCA  # type: ignore[import-not-found]

    return {"pca": PCA, "knn": KNN}
