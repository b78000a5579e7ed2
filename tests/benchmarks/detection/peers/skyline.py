"""Etsy's Skyline: an ensemble of simple rules; the more of them fire, the more anomalous.

Re-implemented from its published description, because it is a Python 2 service around Redis and Graphite. Eight of its
nine rules, each with its own constants:

=============================  ================================================================================
rule                           fires when
=============================  ================================================================================
first hour's average           the last three points' mean is 3 deviations from the first 1/24 of the span
average                        the same, from the whole span
moving average                 the last point is 3 deviations from the exponential average (centre of mass 50)
mean subtraction               the last point is 3 deviations from the mean of those before it
least squares                  the last three errors of a straight line through the span average over 3 deviations
Grubbs                         the last three points' mean passes Grubbs' test for one outlier at 5 %
histogram                      the last three points' mean lies in one of 15 bins with at most 20 points
median absolute deviation      the last point is over 6 of them from the median
=============================  ================================================================================

The ninth compares the last ten minutes with the hour before them (Kolmogorov-Smirnov) and has no meaning with one
point an hour. The span is 24 hours of points every ten seconds there, and the last 28 days here. A series whose last
100 points are all equal is "boring" and never anomalous.

In its favour: rules that fire are counted, and among equal numbers the margin by which they pass decides, where the
original has ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SPAN_DAYS = 28
BORING = 100
_DEVIATIONS = 3.0
_LEAST = 1e-12
_BINS, _FEW = 15, 20
_CENTRE_OF_MASS = 50


def score(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
) -> Floats:
    """(V, N), NaN before `train`. Whole part: rules that fire; the rest orders equal numbers.

    Raises:
        ValueError: less history than the span.
    """
    span = SPAN_DAYS * timedelta(days=1) // step
    if train + 1 < span:
        raise ValueError(f"{train} intervals of history; Skyline's rules need the span, {span}")
    scores = np.full(counts.shape, np.nan)
    for row, series in enumerate(counts.astype(np.float64)):
        views = np.lib.stride_tricks.sliding_window_view(series, span)[train - span + 1 :]
        scores[row, train:] = _ensemble(views)
    return scores


def _ensemble(views: Floats) -> Floats:
    """Scores of the last point of each span: (M, span) to (M,)."""
    spans = _Spans(views, views.mean(axis=1), views.std(axis=1, ddof=1), tail=views[:, -3:].mean(axis=1))
    ratios = np.stack([rule(spans) for rule in RULES])
    margin = np.tanh(np.maximum(ratios, 0) / 10).mean(axis=0)
    boring = np.ptp(views[:, -BORING:], axis=1) == 0
    return np.where(boring, 0.0, (ratios > 1).sum(axis=0) + 0.999 * margin)


@dataclass(frozen=True, slots=True)
class _Spans:
    """M spans of S points, and what most rules need of them."""

    views: Floats
    """(M, S)"""
    mean: Floats
    deviation: Floats
    tail: Floats
    """(M,) mean of the last three points."""

    @property
    def last(self) -> Floats:
        last: Floats = self.views[:, -1]
        return last


def _in_deviations(distance: Floats, deviation: Floats) -> Floats:
    """(M,) as a multiple of three deviations: above 1 the rule fires. Any distance does where nothing varies."""
    ratio: Floats = np.abs(distance) / (_DEVIATIONS * np.maximum(deviation, _LEAST))
    return ratio


def _first_hours(spans: _Spans) -> Floats:
    first = spans.views[:, : spans.views.shape[1] // 24]
    return _in_deviations(spans.tail - first.mean(axis=1), first.std(axis=1, ddof=1))


def _average(spans: _Spans) -> Floats:
    return _in_deviations(spans.tail - spans.mean, spans.deviation)


def _moving_average(spans: _Spans) -> Floats:
    length = spans.views.shape[1]
    weights = (1 - 1 / (1 + _CENTRE_OF_MASS)) ** np.arange(length - 1, -1, -1.0)
    weights /= weights.sum()
    average = spans.views @ weights
    variance = np.maximum((spans.views**2) @ weights - average**2, 0) / (1 - (weights**2).sum())
    return _in_deviations(spans.last - average, np.sqrt(variance))


def _mean_subtraction(spans: _Spans) -> Floats:
    before = spans.views[:, :-1]
    return _in_deviations(spans.last - before.mean(axis=1), before.std(axis=1, ddof=1))


def _least_squares(spans: _Spans) -> Floats:
    length = spans.views.shape[1]
    at = np.arange(length) - (length - 1) / 2
    slope = spans.views @ at / (at @ at)
    spread = np.sqrt(np.maximum(spans.views.var(axis=1) - slope**2 * (at @ at) / length, 0))
    errors = spans.tail - spans.mean - slope * at[-3:].mean()
    negligible = (np.round(spread) == 0) | (np.round(errors) == 0)
    return np.where(negligible, 0.0, _in_deviations(errors, spread))


def _grubbs(spans: _Spans) -> Floats:
    from scipy.stats import t

    length = spans.views.shape[1]
    critical = float(t.isf(0.05 / (2 * length), length - 2)) ** 2
    limit = (length - 1) / np.sqrt(length) * np.sqrt(critical / (length - 2 + critical))
    ratio: Floats = (spans.tail - spans.mean) / np.maximum(spans.deviation, _LEAST) / limit
    return ratio


def _histogram(spans: _Spans) -> Floats:
    low, high = spans.views.min(axis=1), spans.views.max(axis=1)
    width = np.maximum((high - low) / _BINS, _LEAST)
    bins = np.minimum(np.floor((spans.tail - low) / width), _BINS - 1)
    left = (low + bins * width)[:, None]
    right = np.where(bins == _BINS - 1, np.inf, left[:, 0] + width)[:, None]
    inside = ((spans.views >= left) & (spans.views < right)).sum(axis=1)
    return np.where(inside <= _FEW, (_FEW + 1) / (inside + 0.5), 0.0)


def _median_deviation(spans: _Spans) -> Floats:
    distance = np.abs(spans.views - np.median(spans.views, axis=1, keepdims=True))
    usual: Floats = np.median(distance, axis=1)
    return np.divide(distance[:, -1], 6 * usual, out=np.zeros(len(usual)), where=usual > 0)


RULES: tuple[Callable[[_Spans], Floats], ...] = (
    _first_hours,
    _average,
    _moving_average,
    _mean_subtraction,
    _least_squares,
    _grubbs,
    _histogram,
    _median_deviation,
)
