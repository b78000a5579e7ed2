"""The contest of candidates over one history: the same intervals, the same split, the same scale for all.

In: transformed counts (V, T) without what days of the month bring (`anomaly.detection.months`), and which of them may
be judged. Out: per candidate an `Entry`: its predictions, its
errors on the test period, its networks' weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import months, transforms
from anomaly.detection.backtests import backtest, mean_absolute_error, poisson_deviance
from anomaly.detection.candidates import CANDIDATES, Candidate
from anomaly.detection.channels import BASELINE, DEVIATION, LEVEL, OUTLOOK, RATE, Channels, reach
from anomaly.detection.scaling import Scaler
from anomaly.detection.splits import Split, split_by_time
from anomaly.detection.statuses import RARE_RATE
from anomaly.detection.windows import Inputs, Lags, WindowSpec
from anomaly.groups.model import Transform

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
    channels: Channels
    """What windows look at, of z."""
    scaler: Scaler
    """Of the training part's levels."""
    departures: Scaler
    """Of the training part's departures from the baseline."""
    transform: Transform
    rare: NDArray[np.bool_]
    """(V,) whose mean count in the training part is below `RARE_RATE`; a gauge is never rare, however small."""
    departed: Floats
    """(V, T) what was taken out of z for the day of the month, by `anomaly.detection.months`."""

    def counts(self, predictions: Floats) -> Floats:
        """What predictions (V, N), in the transform, say of the counts that are written."""
        expected = transforms.inverse(predictions, self.transform)
        return months.with_them(expected, self.departed[:, self.at], self.transform)

    @property
    def targets(self) -> Floats:
        """(V, N), in the transform."""
        return self.z[:, self.at]

    def scaler_of(self, candidate: Candidate) -> Scaler:
        """The scale that the candidate is trained on."""
        return self.departures if candidate.relative else self.scaler

    def inputs(self, candidate: Candidate, scaler: Scaler, rows: NDArray[np.int64] | slice = slice(None)) -> Inputs:
        """What the candidate is shown of these variables, in this scale, which is theirs."""
        names = candidate.window(self.step).channels
        scaled = {name: scaler.scale_channel(name, self.channels[name][rows]) for name in {*names, *_target(candidate)}}
        features = (scaled[LEVEL],) if set(names) == {LEVEL} else tuple(scaled[name] for name in names)
        return Inputs(features, scaled[_target(candidate)[0]])

    def unscaled(
        self,
        candidate: Candidate,
        scaled: NDArray[np.floating],
        scaler: Scaler,
        *,
        rows: NDArray[np.int64] | slice,
        at: NDArray[np.int64],
    ) -> Floats:
        """The candidate's answers (V, N) as levels in the transform."""
        if not candidate.relative:
            return scaler.unscale(scaled)
        return self.channels[BASELINE][rows][:, at] + scaler.span[:, None] * scaled

    def lags(self, window: WindowSpec, rows: NDArray[np.int64] | slice = slice(None)) -> Lags:
        """(N, L, F) of a window, or of some of the N."""
        return window.lags(self.starts[self.at[rows]], self.step, self.zone)


@dataclass(frozen=True, slots=True)
class Entry:
    """How one candidate did."""

    predictions: Floats
    """(V, N), in the transform; NaN where it could not predict."""
    mae: Floats
    """(V,), on the test period: mean absolute error in the transform; of rare variables, the Poisson deviance."""
    weights: tuple[Float32, ...] | None
    """Of V networks; None for candidates without."""
    epochs: float = 0.0
    """Until a variable stopped, on average."""


_WEEK = timedelta(days=7, hours=3)
"""The first baseline is a week old; the clock may have changed in between."""


def _target(candidate: Candidate) -> tuple[str]:
    return (DEVIATION,) if candidate.relative else (LEVEL,)


def warm_up(candidates: Iterable[Candidate], step: timedelta) -> int:
    """Intervals that must pass before every candidate has a window that suffices it."""
    needed = 1
    for candidate in candidates:
        window = candidate.window(step)
        if candidate.relative:
            # The baseline begins after a week; its means, when there are as many departures.
            least = max(window.reach(step), _WEEK) + reach(window.channels, step) - reach([BASELINE], step)
        else:
            least = (window.reach if candidate.network else window.nearest)(step)
        needed = max(needed, -(-least // step))
    return needed


def open_contest(
    z: Floats,
    judged: NDArray[np.bool_],
    *,
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    transform: Transform,
    warm: int,
    departed: Floats | None = None,
) -> Contest:
    """Splits the history and takes the scale of its training part.

    Args:
        z: (V, T), in the transform; NaN where unknown.
        judged: (V, T) where an observed count stands, not a stand-in; only these train, stop and judge.
        starts: (T,) datetime64[s] in UTC.
        step: length of an interval.
        zone: the group's.
        transform: what z is in.
        warm: intervals that pass, from each variable's first, before one is predicted.
        departed: (V, T) what was taken out of z for the day of the month; None for nothing.
    """
    known = np.isfinite(z)
    first = np.where(known.any(axis=1), known.argmax(axis=1), z.shape[1])
    predicted_from = min(int(first.min(initial=z.shape[1])) + warm, z.shape[1])
    at = np.arange(predicted_from, z.shape[1])
    split = split_by_time((known & judged)[:, at] & (at >= first[:, None] + warm))
    trained_until = np.where(split.held_out.any(axis=1), split.held_out.argmax(axis=1), len(at)) + predicted_from
    names = {RATE, OUTLOOK, *(name for declared in CANDIDATES.values() for name in declared.window(step).channels)}
    channels = Channels(z, starts, step, zone, names, transform=transform)
    learns = np.arange(z.shape[1]) < trained_until[:, None]
    level, deviated = (np.where(learns, channels[name], np.nan) for name in (LEVEL, DEVIATION))
    return Contest(
        z=z,
        starts=starts,
        step=step,
        zone=zone,
        at=at,
        split=split,
        channels=channels,
        scaler=Scaler.fit(level),
        departures=Scaler.of_departures(level, deviated),
        transform=transform,
        departed=np.zeros_like(z) if departed is None else departed,
        rare=(_mean(transforms.inverse(level, transform)) < RARE_RATE) & (transform is Transform.ANSCOMBE),
    )


def enter(candidate: Candidate, contest: Contest, *, seeds: Sequence[int], order_seed: int) -> Entry:
    """Trains the candidate for all variables, if it has networks, and lets it predict all of the contest.

    Args:
        candidate: any.
        contest: what all are given.
        seeds: (V,) of the variables' first weights.
        order_seed: of the order in which windows are seen.
    """
    scaler = contest.scaler_of(candidate)
    series = contest.inputs(candidate, scaler)
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
    predictions = contest.unscaled(candidate, scaled, scaler, rows=slice(None), at=contest.at)
    return Entry(predictions, errors(contest, predictions), weights, epochs)


def errors(contest: Contest, predictions: Floats) -> Floats:
    """(V,) on the test period: mean absolute errors in the transform, and Poisson deviances of rare variables, whose
    best forecast by absolute error is always zero."""
    counts, expected = (transforms.inverse(z, contest.transform) for z in (contest.targets, predictions))
    absolute = mean_absolute_error(contest.targets - predictions, contest.split.test)
    if not contest.rare.any():
        return absolute
    return np.where(contest.rare, poisson_deviance(counts, expected, contest.split.test), absolute)


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))
