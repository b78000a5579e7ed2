"""LinkedIn's luminol, by its own library, made causal.

Its scores look ahead in two ways, and both are taken away without touching how it scores:

* **default detector** (``default``): distance from an exponential average, and the same of the derivative, each
  divided by the standard deviation over the *whole* series. The library's two detectors run as they are; their scales
  are replaced by those of the series so far, and they are combined with the library's weights.
  (Scores below 0.1 % of the largest are set to 0 by the library; that, too, would look ahead, and is left out.)
* **bitmap detector** (``bitmap``): compares the window before a point with the window *after* it. Its score is used
  at the end of the latter, which is when it can be known. It cuts the range of values in four by the smallest and
  largest of the whole series, so later values are clipped to the range of the history first: the cuts are then those
  of the history. Windows are its default share (1.25 %) of 120 days.

The library was last released in 2017 and asks numpy for ``asscalar``, which numpy has since dropped: it is put back
for it.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW = 36


def score(
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    step: timedelta,
    zone: ZoneInfo,
    train: int,
    *,
    detector: str = "default",
) -> Floats:
    """(V, N), NaN before `train`."""
    seconds = starts.astype("datetime64[s]").astype(np.int64)
    score_one = _default if detector == "default" else functools.partial(_bitmap, train=train)
    scores = np.array([score_one(series.astype(np.float64), seconds) for series in counts])
    scores[:, :train] = np.nan
    return scores


default = functools.partial(score, detector="default")
bitmap = functools.partial(score, detector="bitmap")


def _default(series: Floats, seconds: NDArray[np.int64]) -> Floats:
    from luminol.algorithms.anomaly_detector_algorithms.derivative_detector import (  # type: ignore[import-not-found]
        DerivativeDetector,
    )
    from luminol.algorithms.anomaly_detector_algorithms.exp_avg_detector import (  # type: ignore[import-not-found]
        ExpAvgDetector,
    )
    from luminol.constants import (  # type: ignore[import-not-found]
        DEFAULT_DETECTOR_EMA_SIGNIFICANT,
        DEFAULT_DETECTOR_EMA_WEIGHT,
    )

    of_average = _run(ExpAvgDetector, series, seconds) * _or_one(series.std()) / _scale_so_far(series)
    # Its scale is a common factor, so the scores so far say what it would have been.
    of_derivative = _run(DerivativeDetector, series, seconds)
    of_derivative /= _scale_so_far(of_derivative)
    weighted = DEFAULT_DETECTOR_EMA_WEIGHT * of_average + (1 - DEFAULT_DETECTOR_EMA_WEIGHT) * of_derivative
    combined = np.maximum(of_average, weighted)
    significant = of_average > DEFAULT_DETECTOR_EMA_SIGNIFICANT
    result: Floats = np.where(significant, np.maximum(combined, of_derivative), combined)
    return result


def _bitmap(series: Floats, seconds: NDArray[np.int64], *, train: int) -> Floats:
    from luminol.algorithms.anomaly_detector_algorithms.bitmap_detector import (  # type: ignore[import-not-found]
        BitmapDetector,
    )

    history = series[:train]
    known = np.clip(series, history.min(), history.max())
    looked_ahead = _run(BitmapDetector, known, seconds, lag_window_size=WINDOW, future_window_size=WINDOW)
    late = np.zeros(len(series))
    late[WINDOW - 1 :] = looked_ahead[: len(series) - WINDOW + 1]
    return late


def _run(detector: type, series: Floats, seconds: NDArray[np.int64], **options: int) -> Floats:
    from luminol.modules.time_series import TimeSeries  # type: ignore[import-not-found]

    vars(np).setdefault("asscalar", lambda value: value.item())
    run: Any = detector(TimeSeries(dict(zip(seconds.tolist(), series.tolist(), strict=True))), **options)
    run._denoise_scores = lambda scores: scores
    scored = run.run()
    return np.array(scored.values)


def _scale_so_far(values: Floats) -> Floats:
    """(N,) standard deviation of all values up to each; 1 where it is 0."""
    number = np.arange(1, len(values) + 1)
    centred = values - values[0]
    mean = np.cumsum(centred) / number
    deviation = np.sqrt(np.maximum(np.cumsum(centred**2) / number - mean**2, 0))
    return np.where(deviation > 0, deviation, 1.0)


def _or_one(value: float) -> float:
    return value if value > 0 else 1.0
