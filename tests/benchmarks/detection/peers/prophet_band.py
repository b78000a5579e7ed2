"""Prophet's band: how far outside its uncertainty interval a count lies.

The library with its defaults (daily and weekly seasonality, an 80 % band), on the local clock, refitted every week on
all history. The score is the distance from the forecast in half widths of the band on that side. A fit takes about a
second, so it runs on a random subset of the series.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.detection.peers.local_time import local_seconds

Floats = NDArray[np.float64]

REFIT_DAYS = 7
SEED = 0


def score(
    counts: NDArray[np.int64], starts: NDArray[np.datetime64], step: timedelta, zone: ZoneInfo, train: int
) -> Floats:
    """(V, N), NaN before `train`."""
    for name in ("prophet", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    local = local_seconds(starts, zone).astype("datetime64[s]")
    scores = np.full(counts.shape, np.nan)
    period = REFIT_DAYS * timedelta(days=1) // step
    for row, series in enumerate(counts.astype(np.float64)):
        for begin in range(train, len(series), period):
            until = min(begin + period, len(series))
            middle, low, high = _forecast(local, series, begin, until)
            observed = series[begin:until]
            width = np.where(observed < middle, middle - low, high - middle)
            scores[row, begin:until] = np.abs(observed - middle) / np.maximum(width, 1e-9)
    return scores


def _forecast(local: NDArray[np.datetime64], series: Floats, begin: int, until: int) -> tuple[Floats, Floats, Floats]:
    """The forecast and its band from `begin` to `until`, fitted on what is before."""
    import pandas as pd
    from prophet import Prophet  # type: ignore[import-not-found]

    np.random.seed(SEED)  # noqa: NPY002 - Prophet draws its band from numpy's global generator
    model = Prophet()
    model.fit(pd.DataFrame({"ds": local[:begin], "y": series[:begin]}), seed=SEED)
    forecast = model.predict(pd.DataFrame({"ds": local[begin:until]}))
    middle, low, high = (forecast[name].to_numpy(dtype=np.float64) for name in ("yhat", "yhat_lower", "yhat_upper"))
    return middle, low, high
