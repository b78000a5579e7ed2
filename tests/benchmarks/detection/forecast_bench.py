"""How good are the forecasts? Mean over series of MAE / sqrt(mean + 0.1) on clean counts, beside the oracle's.

The oracle forecasts the true mean, which only simulated counts have. The median of the last eight same hours of the
local week is what one would do without a model. All are compared where ours answers; how often it does not is said.

The mean over simulated series is made by the busiest of them, whose counts vary more than Poisson's; so the middle
series' own ratio to the oracle stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from tests.benchmarks.detection.data import SOURCES, Source, workload
from tests.benchmarks.detection.measures import forecast_error
from tests.benchmarks.detection.peers.hour_of_week import median_of_hour_of_week
from tests.benchmarks.detection.reporting import Section, mean, plain, spread
from tests.benchmarks.detection.verdicts_of_ours import judged
from tests.benchmarks.measuring import Figure

Floats = NDArray[np.float64]

AIM_FLIGHTS, AIM_OVER_ORACLE = 0.100, 0.06


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one workload: means over its series, NaN where there is no such forecast."""

    ours: float
    median: float
    """Of the hour of the week."""
    oracle: float
    middle_ratio: float
    """Median over series of ours / oracle."""
    not_predicted: float
    """Share of judged intervals."""


def forecast_benchmark(seeds: Sequence[int]) -> Section:
    table = Table(
        "counts", "ours", "hour-of-week median", "oracle", "ours above the oracle", "the middle series",
        "not predicted", title="Forecast error, MAE / sqrt(mean + 0.1)",
    )  # fmt: skip
    found = {source: [_errors(source, seed) for seed in _different(source, seeds)] for source in SOURCES}
    above = {source: mean([one.ours / one.oracle - 1 for one in errors]) for source, errors in found.items()}
    for source, errors in found.items():
        table.add_row(
            source,
            *(spread([getattr(one, name) for one in errors], digits=3) for name in ("ours", "median", "oracle")),
            f"{above[source]:.1%}" if source == "simulated" else "-",
            f"{mean([one.middle_ratio for one in errors]) - 1:.1%}" if source == "simulated" else "-",
            f"{mean([one.not_predicted for one in errors]):.1%}",
        )
    flights = mean([one.ours for one in found["flights"]])
    goals = [
        Figure("flights: forecast error", flights, AIM_FLIGHTS, "at most", "", {}),
        Figure("simulated: forecast error above the oracle's", above["simulated"], AIM_OVER_ORACLE, "at most", "", {}),
    ]
    written = {
        source: {name: [getattr(one, name) for one in errors] for name in Errors.__slots__}
        for source, errors in found.items()
    }
    return Section("forecast", goals, [table], plain(written))


def _different(source: Source, seeds: Sequence[int]) -> Sequence[int]:
    """The clean flights are the same for every seed."""
    return seeds if source == "simulated" else seeds[:1]


def _errors(source: Source, seed: int) -> Errors:
    load = workload(source, seed)
    predicted = judged(source, seed, "clean").predicted
    answered = load.judged & ~np.isnan(predicted)
    rows = answered.any(axis=1)

    def error(forecast: Floats) -> Floats:
        return forecast_error(forecast[rows], load.clean[rows], answered[rows])

    ours = error(predicted)
    usual = error(median_of_hour_of_week(load.clean, load.starts, load.zone, load.train))
    ideal = np.full(len(ours), np.nan) if load.simulated is None else error(load.simulated.expected)
    missing = 1 - answered.sum() / load.judged.sum()
    return Errors(
        float(ours.mean()), float(usual.mean()), float(ideal.mean()), float(np.median(ours / ideal)), float(missing)
    )
