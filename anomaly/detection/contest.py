"""The contest of candidates over one history: the same intervals, the same split, the same scale for all.

In: transformed counts (V, T), and which of them may be judged. Out: per candidate an `Entry`: its predictions, its
errors on the test period, its networks' weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.backtests import backtest, mean_absolute_error
from anomaly.detection.candidates import Candidate
from anomaly.detection.scaling import Scaler
from anomaly.detection.splits import Split, split_by_time
from anomaly.detection.windows import Lags, WindowSpec

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Contest:
    """What all candidates are given. N intervals are predicted, the last N of T."""

    z: Floats
    """(V, T), in the transform, with stand-ins where a count was anomalous; NaN before a variable's first."""
    starts: NDArray[np.datetime64]
    """(T,)"""
    step: timedelta
    zone: ZoneInfo
    at: NDArray[np.int64]
    """(N,) indices along T."""
    split: Split
    """Masks (V, N)."""
    scaler: Scaler
    """Of the training part."""

    @property
    def targets(self) -> Floats:
        """(V, N), in the transform."""
        return self.z[:, self.at]

    def lags(self, window: WindowSpec, rows: NDArray[np.int64] | slice = slice(None)) -> Lags:
        """(N, L, F) of a window, or of some of the N."""
        return window.lags(self.starts[self.at[rows]], self.step, self.zone)


@dataclass(frozen=True, slots=True)
class Entry:
    """How one candidate did."""

    predictions: Floats
    """(V, N), in the transform; NaN where it could not predict."""
    mae: Floats
    """(V,), on the test period, in the transform."""
    weights: tuple[Float32, ...] | None
    """Of V networks; None for candidates without."""
    epochs: float = 0.0
    """Until a variable stopped, on average."""


def warm_up(candidates: Iterable[Candidate], step: timedelta) -> int:
    """Intervals that must pass before every candidate has a window that suffices it."""
    needed = 1
    for candidate in candidates:
        window = candidate.window(step)
        needed = max(needed, -(-(window.reach if candidate.network else window.nearest)(step) // step))
    return needed


def open_contest(
    z: Floats, judged: NDArray[np.bool_], *, starts: NDArray[np.datetime64], step: timedelta, zone: ZoneInfo, warm: int
) -> Contest:
    """Splits the history and takes the scale of its training part.

    Args:
        z: (V, T), in the transform; NaN where unknown.
        judged: (V, T) where an observed count stands, not a stand-in; only these train, stop and judge.
        starts: (T,) datetime64[s] in UTC.
        step: length of an interval.
        zone: the group's.
        warm: intervals that pass, from each variable's first, before one is predicted.
    """
    known = np.isfinite(z)
    first = np.where(known.any(axis=1), known.argmax(axis=1), z.shape[1])
    predicted_from = min(int(first.min(initial=z.shape[1])) + warm, z.shape[1])
    at = np.arange(predicted_from, z.shape[1])
    split = split_by_time((known & judged)[:, at] & (at >= first[:, None] + warm))
    trained_until = np.where(split.held_out.any(axis=1), split.held_out.argmax(axis=1), len(at)) + predicted_from
    training_part = np.where(np.arange(z.shape[1]) < trained_until[:, None], z, np.nan)
    return Contest(z, starts, step, zone, at, split, Scaler.fit(training_part))


def enter(candidate: Candidate, contest: Contest, *, seeds: Sequence[int], order_seed: int) -> Entry:
    """Trains the candidate for all variables, if it has networks, and lets it predict all of the contest.

    Args:
        candidate: any.
        contest: what all are given.
        seeds: (V,) of the variables' first weights.
        order_seed: of the order in which windows are seen.
    """
    series = contest.scaler.scale(contest.z)
    lags = contest.lags(candidate.window(contest.step))
    weights, epochs = None, 0.0
    if candidate.network is not None:
        from anomaly.detection import training  # TensorFlow, which contests without networks do not need

        trained = training.train(candidate, series, contest.at, lags, contest.split, seeds=seeds, order_seed=order_seed)
        scaled, weights, epochs = trained.predictions, trained.weights, float(trained.epochs.mean())
    elif candidate.forecast is not None:
        scaled = backtest(candidate.forecast, series, contest.at, lags)
    else:
        raise ValueError("a candidate needs a network or a forecast; found neither")
    predictions = contest.scaler.unscale(scaled)
    return Entry(predictions, errors(contest, predictions), weights, epochs)


def errors(contest: Contest, predictions: Floats) -> Floats:
    """(V,) mean absolute errors on the test period, in the transform."""
    return mean_absolute_error(contest.targets - predictions, contest.split.test)
