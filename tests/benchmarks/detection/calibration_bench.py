"""Do tail probabilities mean what they say? Realised over promised rates on clean counts, simulated and real.

The oracle's exact single-interval probabilities pass through the same measure: they must come out at 1 or, because
counts are discrete, somewhat below. That checks the measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from tests.benchmarks.detection import plots
from tests.benchmarks.detection.data import SOURCES, Source, workload
from tests.benchmarks.detection.measures import RATE_CLASSES, Calibration, calibrate
from tests.benchmarks.detection.peers.oracle import oracle_tail_probability
from tests.benchmarks.detection.reporting import Section
from tests.benchmarks.detection.verdicts_of_ours import judged
from tests.benchmarks.measuring import Figure

Floats = NDArray[np.float64]

LEVELS = (1e-3, 1e-4)
CURVE = tuple(float(level) for level in np.logspace(-1, -5, 17))
ALL_CLASS = "all >= 1"
DEGENERATE = 30.0
"""A variable that exceeds 1e-3 this many times as often as promised has a fit that failed in silence."""


def calibration_benchmark(seeds: Sequence[int]) -> Section:
    table = Table(
        "counts", "detector", "events/h", "level", "realised ÷ promised", "95 %", "variables", "not judged", "worst",
        title="Calibration on clean counts",
    )  # fmt: skip
    goals, written, curves = [], {}, {}
    for source in SOURCES:
        for detector, (tails, rates, counted) in _clean(source, seeds).items():
            name = f"{source}, {detector}"
            rows = calibrate(tails, rates, counted, levels=LEVELS)
            curves[name] = calibrate(tails, rates, counted, levels=CURVE, draws=200)
            written[name] = [_row(one) for one in rows]
            for one in rows:
                table.add_row(
                    source, detector, one.rate_class, f"{one.level:g}", f"{one.ratio:.2f}",
                    f"{one.low:.2f} - {one.high:.2f}", str(one.variables),
                    f"{one.not_judged / max(one.judged + one.not_judged, 1):.1%}", f"{one.worst:.0f}",
                )  # fmt: skip
            if detector == "ours":
                goals += _goals(source, rows)
    plots.calibration_curves(curves, ALL_CLASS)
    return Section("calibration", goals, [table], written)


def _clean(source: Source, seeds: Sequence[int]) -> dict[str, tuple[Floats, Floats, NDArray[np.bool_]]]:
    """Per detector: tail probabilities, rates and what is judged, the variables of all seeds one under the other."""
    chosen = seeds if source == "simulated" else seeds[:1]  # the clean flights are the same for every seed
    loads = [workload(source, seed) for seed in chosen]
    rates = np.concatenate([load.rates for load in loads])
    counted = np.concatenate([load.judged for load in loads])
    answers = {"ours": [judged(source, seed, "clean").tail_probability for seed in chosen]}
    known = [load.simulated for load in loads]
    if source == "simulated":
        answers["oracle, single intervals"] = [oracle_tail_probability(one, one.counts) for one in known if one]
    return {name: (np.concatenate(tails), rates, counted) for name, tails in answers.items()}


def _goals(source: str, rows: Sequence[Calibration]) -> list[Figure]:
    goals = []
    for level in LEVELS:
        of_level = {one.rate_class: one for one in rows if one.level == level}
        overall = of_level[ALL_CLASS]
        off = max(overall.ratio, 1 / overall.ratio) if overall.ratio > 0 else np.inf
        details = {"ratio": overall.ratio, "low": overall.low, "high": overall.high}
        goals.append(Figure(f"{source}: rate at {level:g} is off by", off, 2, "at most", "x", details))
        classes = {name: one.ratio for name, one in of_level.items() if name != ALL_CLASS}
        assert classes.keys() <= RATE_CLASSES.keys()
        name = f"{source}: highest rate of a class at {level:g}"
        goals.append(Figure(name, max(classes.values()), 3, "at most", "x", classes))
    worst = max(one.worst for one in rows if one.level == LEVELS[0])
    goals.append(Figure(f"{source}: worst variable at 1e-3", worst, DEGENERATE, "at most", "x", {}))
    return goals


def _row(one: Calibration) -> dict[str, float | str | int]:
    return {name: getattr(one, name) for name in one.__slots__}
