"""How good are the forecasts? Mean over series of MAE / sqrt(mean + 0.1) on clean counts, beside the oracle's.

The oracle forecasts the true mean, which only simulated counts have. The median of the last eight same hours of the
local week is what one would do without a model.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tests.benchmarks.detection.data import SOURCES, workload
from tests.benchmarks.detection.measures import forecast_error
from tests.benchmarks.detection.peers.hour_of_week import median_of_hour_of_week
from tests.benchmarks.detection.reporting import Section, mean, spread
from tests.benchmarks.detection.verdicts_of_ours import judged
from tests.benchmarks.measuring import Figure

AIM_FLIGHTS, AIM_OVER_ORACLE = 0.100, 0.06


def forecast_benchmark(seeds: Sequence[int]) -> Section:
    title = "Forecast error, MAE / sqrt(mean + 0.1)"
    table = Table("counts", "ours", "oracle", "ours above the oracle", "hour-of-week median", title=title)
    errors: dict[str, list[float]] = {"simulated": [], "flights": [], "oracle": []}
    medians: dict[str, list[float]] = {source: [] for source in SOURCES}
    for source in SOURCES:
        for seed in seeds if source == "simulated" else seeds[:1]:
            load = workload(source, seed)
            predicted = judged(source, seed, "clean").predicted
            errors[source].append(float(forecast_error(predicted, load.clean, load.judged).mean()))
            usual = median_of_hour_of_week(load.clean, load.starts, load.zone, load.train)
            medians[source].append(float(forecast_error(usual, load.clean, load.judged).mean()))
            if load.simulated is not None:
                ideal = forecast_error(load.simulated.expected, load.clean, load.judged)
                errors["oracle"].append(float(ideal.mean()))
    above = mean(errors["simulated"]) / mean(errors["oracle"]) - 1
    table.add_row(
        "simulated", spread(errors["simulated"]), spread(errors["oracle"]), f"{above:.1%}", spread(medians["simulated"])
    )
    table.add_row("flights", f"{mean(errors['flights']):.3f}", "-", "-", f"{mean(medians['flights']):.3f}")
    goals = [
        Figure("flights: forecast error", mean(errors["flights"]), AIM_FLIGHTS, "at most", "", {}),
        Figure("simulated: forecast error above the oracle's", above, AIM_OVER_ORACLE, "at most", "", {}),
    ]
    return Section("forecast", goals, [table], {**errors, "hour-of-week median": medians})
