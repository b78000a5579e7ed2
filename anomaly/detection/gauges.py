"""Anomaly scores of a gauge: a series of measurements (load, temperature, price) rather than of counts.

In: the values, and a forecast of them where there is one. Out: per row the evidence against it, an anomaly score and
whether to tell somebody.

Gauges have no common shape: some are noise around a level, some jump between levels, some follow the day. So many
simple looks are taken at each row, each at several memories:

level       the mean of the last rows: is it higher or lower than it ever was?
spread      their standard deviation: is it larger than it ever was?
season      the level, against the same time on the days before and the same time in the weeks before
shape       the last rows as a whole: do they resemble any stretch of the past?
forecast    the value, against the forecast

Each look becomes a rarity among its own past (`rarity.py`), which makes them comparable with each other and between
series without any parameter of the series. Looks that are residuals count by their skill: the share of the error of
the running median that the forecast avoids, over the rows so far. A daily pattern where there is none, or a network
that learnt nothing, has no skill and no say. Together they are the Euclidean length of all rarities: looks that agree
add up, a very strong one outweighs many weak ones, and none can alert alone. Evidence is then made sparse
(`realerts.py`).

Everything said of a row uses that row and the ones before it; scoring a truncated series gives the same numbers.

Sources:
    The skill of a forecast against a reference: A. H. Murphy, "Skill Scores Based on the Mean Square Error",
    Monthly Weather Review 116 (1988), here with absolute errors.
    Rarities of a detector's own score, for series of any kind: A. Lavin, S. Ahmad, "Evaluating Real-Time Anomaly
    Detection Algorithms - the Numenta Anomaly Benchmark", ICMLA 2015 (its anomaly likelihood).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from anomaly.detection.novelty import nearest_past_distance
from anomaly.detection.rarity import WARM_UP, running_quantiles, running_rarity
from anomaly.detection.realerts import worth_telling

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, NDArray[np.bool_]], Floats]

MEMORIES = (1, 4, 12, 48, 144)
"""Rows that a level or a spread is taken over: about three times longer each, from a row to where days begin."""
SHAPE_ROWS = 24
"""Rows of a shape, beside those of a day."""
DAYS, WEEKS = 7, 4
"""How many earlier days and weeks the season is the median of; two are enough to begin with."""
OWN_FORECAST_ROWS = 4
"""Without a forecast, the next value is expected to be the median of this many: follows a level, ignores a spike."""
HALF_LIFE = 200.0
"""Rows until an incident is half forgotten. On benchmark series any choice between 100 and 300 does as well."""
MARGIN = 0.3
"""How much worse an incident must get to be told again."""
HALFWAY = 6.7
"""Evidence that makes an anomaly score of 0.5: what about one row in 1,000 reaches on benchmark series and is worth
telling."""
ALERT_SCORE = 0.5
"""The score from which a row is an anomaly."""
ENOUGH = 0.75
"""Share of the rows that must be measured: a mean of fewer scatters more than those it is compared with."""
BLOCK = 4096
"""Rows that are worked on at once; changes nothing but the memory taken."""
BAND = (0.005, 0.995)
"""Quantiles of the residuals so far between which a value is ordinary."""
RESOLUTION = 1e-7
"""Share of the largest value so far below which differences are rounding."""


@dataclass(frozen=True, slots=True)
class GaugeScores:
    """What is said of each row. All (T,)."""

    anomaly_score: Floats
    """In [0, 1): 0 except on the few rows that are worth telling."""
    is_anomaly: NDArray[np.bool_]
    """Where the score reaches the threshold: the rows to tell somebody of."""
    evidence: Floats
    """>= 0: the length of all rarities, before it is made sparse; for charts."""
    tail_probability: Floats
    """In [1e-6, 1]: share of earlier rows with at least as much evidence; NaN where a row was not judged."""
    predicted: Floats
    """In the values' unit: the forecast, given or our own; NaN before there is one."""
    lower: Floats
    upper: Floats
    """In the values' unit: the forecast with the 0.5 % and 99.5 % quantile of its residuals so far."""
    strongest: NDArray[np.int64]
    """Index in `looks` of the look that contributed most; -1 where nothing did."""
    looks: tuple[str, ...]
    """What the looks are, in words."""


def score_gauge(
    values: ArrayLike,
    *,
    step: timedelta,
    predicted: ArrayLike | None = None,
    threshold: float = ALERT_SCORE,
) -> GaugeScores:
    """Scores of every row of one series, each from that row and the ones before it.

    Args:
        values: (T,), in time, one per step; NaN where nothing was measured. Such a row is not judged, and for the
            looks at several rows only the others count.
        step: time between rows; makes the day and the week.
        predicted: (T,), forecast of each row from the rows before; NaN where there is none. Without it, the median
            of the last rows.
        threshold: anomaly score from which a row is an anomaly, in (0, 1).

    Raises:
        ValueError: the values are not one series, the forecast has another length, or the step is not positive.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"values have shape {series.shape}; expected (T,): score one series at a time")
    if step <= timedelta(0):
        raise ValueError(f"the step is {step}; expected the time between two rows, more than 0")
    forecast = None if predicted is None else np.asarray(predicted, dtype=np.float64)
    if forecast is not None and forecast.shape != series.shape:
        raise ValueError(f"the forecast has shape {forecast.shape} and the values {series.shape}; expected the same")

    measured = np.isfinite(series)
    begin = int(np.argmax(measured)) if measured.any() else series.size
    held = _hold(series[begin:], measured[begin:])
    if forecast is None:
        forecast = np.r_[np.full(begin, np.nan), _own_forecast(held)]
    forecast = np.where(np.isfinite(forecast), forecast, np.nan)

    names: list[str] = []
    total, best = np.zeros(held.size), np.zeros(held.size)
    strongest = np.full(series.size, -1, dtype=np.int64)
    for name, rarity in _looks(held, measured[begin:], forecast[begin:], step):
        total += rarity**2
        strongest[begin:][rarity > best] = len(names)
        best = np.maximum(best, rarity)
        names.append(name)
    evidence = np.r_[np.zeros(begin), np.sqrt(total)]
    told = worth_telling(evidence, half_life=HALF_LIFE, margin=MARGIN)
    score = told / (told + HALFWAY)
    low, high = running_quantiles(np.where(measured, series - forecast, np.nan), BAND)
    return GaugeScores(
        anomaly_score=score,
        is_anomaly=score >= threshold,
        evidence=evidence,
        tail_probability=_share_of_past(evidence, measured),
        predicted=forecast,
        lower=forecast + low,
        upper=forecast + high,
        strongest=strongest,
        looks=tuple(names),
    )


def _share_of_past(evidence: Floats, measured: NDArray[np.bool_]) -> Floats:
    """(T,): how likely this much evidence is by what was seen since the looks have warmed up; NaN until then."""
    begun = measured & (np.cumsum(measured) > WARM_UP)
    judged = measured & (np.cumsum(measured) > 2 * WARM_UP)
    return np.where(judged, 10.0 ** -running_rarity(np.where(begun, evidence, np.nan)).above, np.nan)


def _hold(series: Floats, measured: NDArray[np.bool_]) -> Floats:
    """The series, whose first value is measured, with the last measured value where none is."""
    held: Floats = series[np.maximum.accumulate(np.where(measured, np.arange(series.size), 0))]
    return held


def _own_forecast(held: Floats) -> Floats:
    recent = np.stack([_before(held, lag) for lag in range(1, OWN_FORECAST_ROWS + 1)])
    forecast: Floats = np.median(recent, axis=0)
    return forecast


def _looks(
    held: Floats, measured: NDArray[np.bool_], forecast: Floats, step: timedelta
) -> Iterator[tuple[str, Floats]]:
    """Each look's name and its rarity (T,), weighted with its skill; 0 on rows that were not measured."""
    resolution = RESOLUTION * np.maximum.accumulate(np.abs(held)) if held.size else held

    def rarities(evidence: Floats) -> tuple[Floats, Floats, Floats]:
        return running_rarity(np.where(measured, evidence, np.nan), resolution=resolution)

    def skilled(residual: Floats, naive: Floats, trial: int = WARM_UP) -> tuple[Floats, Floats]:
        above, below, _ = rarities(residual)
        weight = _skill(np.where(measured, residual, np.nan), np.where(measured, naive, np.nan), trial)
        return above * weight, below * weight

    naive = np.full(held.size, np.nan)
    for memory in MEMORIES:
        level = _rolling(held, measured, memory, _mean)
        above, below, median = rarities(level)
        yield f"high over {_rows(memory)}", above
        yield f"low over {_rows(memory)}", below
        if memory == 1:
            naive = level - median
        for season, lags in _seasons(step).items():
            above, below = skilled(level - _usual(level, lags), level - median, trial=lags[0])
            yield f"high for the {season} over {_rows(memory)}", above
            yield f"low for the {season} over {_rows(memory)}", below
        if memory > 1:
            spread = _rolling(held, measured, memory, _spread)
            yield f"unsteady over {_rows(memory)}", rarities(spread)[0]
    above, below = skilled(held - forecast, naive)
    yield "above the forecast", above
    yield "below the forecast", below
    known = np.cumsum(measured).astype(np.float64)
    for width in _shapes(step):
        distance = nearest_past_distance(held, width)
        whole = known - _before(known, width) == width
        yield f"new shape over {_rows(width)}", rarities(np.where(whole, distance, np.nan))[0]


def _rows(count: int) -> str:
    return "a row" if count == 1 else f"{count} rows"


def _rolling(held: Floats, measured: NDArray[np.bool_], memory: int, statistic: Statistic) -> Floats:
    """(T,): the statistic of what was measured in the last `memory` rows; NaN where that is too few of them.

    In blocks, because the windows of a long series would not fit into memory; each copied to contiguous rows, so that
    a row's sum is taken in the same order however many rows there are.
    """
    result = np.full(held.size, np.nan)
    if held.size < memory:
        return result
    values, there = sliding_window_view(held, memory), sliding_window_view(measured, memory)
    for start in range(0, len(values), BLOCK):
        stop = min(start + BLOCK, len(values))
        present = np.array(there[start:stop])
        enough = present.sum(axis=1) >= ENOUGH * memory
        rows = np.array(values[start:stop])
        result[start + memory - 1 : stop + memory - 1] = np.where(enough, statistic(rows, present), np.nan)
    return result


def _mean(rows: Floats, present: NDArray[np.bool_]) -> Floats:
    total = np.where(present, rows, 0.0).sum(axis=1)
    mean: Floats = total / np.maximum(present.sum(axis=1), 1)
    return mean


def _spread(rows: Floats, present: NDArray[np.bool_]) -> Floats:
    deviation = rows - _mean(rows, present)[:, None]
    spread: Floats = np.sqrt(_mean(deviation * deviation, present))
    return spread


def _before(rows: Floats, lag: int) -> Floats:
    """The row `lag` rows earlier; NaN where there is none."""
    result = np.full(rows.size, np.nan)
    result[lag:] = rows[: rows.size - lag] if lag < rows.size else []
    return result


def _seasons(step: timedelta) -> dict[str, tuple[int, ...]]:
    """Lags in rows of each season that is a whole number of steps."""
    day, week = timedelta(days=1), timedelta(days=7)
    seasons = {}
    if not day % step and day > step:
        seasons["time of day"] = tuple(k * (day // step) for k in range(1, DAYS + 1))
    if not week % step and week > step:
        seasons["time of week"] = tuple(k * (week // step) for k in range(1, WEEKS + 1))
    return seasons


def _shapes(step: timedelta) -> tuple[int, ...]:
    day = timedelta(days=1) // step
    return (SHAPE_ROWS, day) if day > SHAPE_ROWS else (SHAPE_ROWS,)


def _usual(level: Floats, lags: tuple[int, ...]) -> Floats:
    """(T,): the median of the level at these lags; NaN where fewer than two of them are there."""
    earlier = np.sort(np.stack([_before(level, lag) for lag in lags]), axis=0)  # NaN last
    there = np.isfinite(earlier).sum(axis=0)
    low = np.take_along_axis(earlier, np.maximum(there - 1, 0)[None] // 2, axis=0)[0]
    high = np.take_along_axis(earlier, np.minimum(there // 2, len(lags) - 1)[None], axis=0)[0]
    return np.where(there >= 2, (low + high) / 2, np.nan)


def _skill(residual: Floats, naive: Floats, trial: int) -> Floats:
    """(T,), in [0, 1]: share of the naive error that the forecast avoided so far; 0 for the first `trial` rows."""
    both = np.isfinite(residual) & np.isfinite(naive)
    error = np.cumsum(np.where(both, np.abs(residual), 0.0))
    reference = np.cumsum(np.where(both, np.abs(naive), 0.0))
    skill = np.clip(1.0 - error / np.where(reference > 0, reference, 1.0), 0.0, 1.0)
    return np.where((reference > 0) & (np.cumsum(both) > trial), skill, 0.0)
