"""What the charts draw: one variable over a stretch of time, as plain numbers for JSON.

In: a variable, a stretch, the stores. Out: seconds since the epoch, observed and predicted counts with their band,
residuals with thresholds, and the histogram of the residuals that the distribution was fitted to with its density.
At most `MOST_POINTS` intervals; of a longer stretch, neighbours are added up, and then there is no band: the bounds of
single intervals do not add up to those of their sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.families import FAMILIES
from anomaly.groups import Group, TimeRange
from anomaly.ports import FittedVariable, Floats, Store, Variable

MOST_POINTS = 5000
"""What a screen can tell apart, twice over; some 250 kB before compression."""
SMALL_POINTS = 400
"""Of a small multiple."""
BINS = 60
CURVE_POINTS = 240
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Drawn:
    """Arrays (N,), NaN where unknown; N is at most the number of points asked for."""

    starts: NDArray[np.int64]
    """Seconds since the epoch."""
    observed: Floats
    predicted: Floats
    lower: Floats
    upper: Floats
    residuals: Floats
    kinds: tuple[str, ...]
    tests: tuple[str, ...]
    added_up: int
    """Intervals per point."""
    fit_id: str | None
    """The fit that judged the latest of it."""

    def as_dict(self) -> dict[str, Any]:
        odd = [(at, kind, self.tests[at]) for at, kind in enumerate(self.kinds) if kind]
        return {
            "t": self.starts.tolist(),
            "observed": plain(self.observed),
            "predicted": plain(self.predicted),
            "lower": plain(self.lower),
            "upper": plain(self.upper),
            "residuals": plain(self.residuals),
            "anomalies": odd,
            "added_up": self.added_up,
        }


def drawn(group: Group, variables: Sequence[Variable], within: TimeRange, store: Store, *, points: int) -> list[Drawn]:
    """Each variable over the stretch, in their order."""
    counts = store.read_counts(group, variables, within).counts
    said = store.read_predictions(group, variables, within)
    unknown = np.full(len(within), np.nan)
    seconds = within.starts().astype("datetime64[s]").astype(np.int64)
    made = []
    for row in range(len(variables)):
        one = Drawn(
            starts=seconds,
            observed=counts[row],
            predicted=said.predicted[row] if said else unknown,
            lower=said.lower[row] if said else unknown,
            upper=said.upper[row] if said else unknown,
            residuals=said.residuals[row] if said else unknown,
            kinds=tuple(map(str, said.kinds[row])) if said else ("",) * len(within),
            tests=tuple(map(str, said.tests[row])) if said else ("",) * len(within),
            added_up=1,
            fit_id=said.fit_id if said else None,
        )
        made.append(added_up(one, points))
    return made


def added_up(one: Drawn, points: int) -> Drawn:
    """The same in at most so many points: neighbours summed, the largest residual and the first kind kept."""
    size = math.ceil(len(one.starts) / points)
    if size <= 1:
        return one
    whole = -(-len(one.starts) // size) * size

    def pieces(values: Floats) -> Floats:
        return np.pad(values, (0, whole - len(values)), constant_values=np.nan).reshape(-1, size)

    def summed(values: Floats) -> Floats:
        grouped = pieces(values)
        return np.where(np.isnan(grouped).all(axis=1), np.nan, np.nansum(grouped, axis=1))

    residuals = pieces(one.residuals)
    furthest = np.nan_to_num(np.abs(residuals), nan=-1.0).argmax(axis=1)
    first = [
        next((at for at in range(begin, min(begin + size, len(one.kinds))) if one.kinds[at]), begin)
        for begin in range(0, whole, size)
    ]
    nothing = np.full(whole // size, np.nan)
    return Drawn(
        starts=one.starts[::size],
        observed=summed(one.observed),
        predicted=summed(one.predicted),
        lower=nothing,
        upper=nothing,
        residuals=residuals[np.arange(len(residuals)), furthest],
        kinds=tuple(one.kinds[at] for at in first),
        tests=tuple(one.tests[at] for at in first),
        added_up=size,
        fit_id=one.fit_id,
    )


def histogram(record: FittedVariable, shown: Floats) -> dict[str, Any] | None:
    """The residuals that a variable's distribution was fitted to; None when nothing was fitted.

    Args:
        record: with its residuals.
        shown: residuals of the stretch beside it, which must have room on the axis.
    """
    fitted = record.residuals.astype(np.float64)
    fitted = fitted[np.isfinite(fitted)]
    if not record.distribution or not len(fitted):
        return None
    ends = np.concatenate([np.percentile(fitted, [0.1, 99.9]), shown, [record.lower, record.upper, 0.0]])
    ends = ends[np.isfinite(ends)]
    low, high = float(ends.min()), float(ends.max())
    margin = 0.05 * (high - low) or 1.0
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    densities = np.histogram(fitted, edges)[0] / (len(fitted) * np.diff(edges))
    grid = np.linspace(edges[0], edges[-1], CURVE_POINTS)
    family = FAMILIES.get(record.distribution)
    curve = np.full(CURVE_POINTS, np.nan) if family is None else family.density(grid, record.parameters)
    return {
        "middles": plain((edges[:-1] + edges[1:]) / 2),
        "densities": plain(densities),
        "x": plain(grid),
        "curve": plain(np.where(np.isfinite(curve), curve, np.nan)),
        "family": record.distribution,
        "residuals": len(fitted),
    }


def thresholds(record: FittedVariable) -> list[float | None]:
    """Of single residuals; None where a side has none."""
    return [_plain_number(record.lower), _plain_number(record.upper)]


def plain(values: Floats) -> list[float | None]:
    """For JSON: five digits that matter, None for what is not finite."""
    return [_plain_number(value) for value in values.tolist()]


def _plain_number(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def stretch_around(group: Group, start: datetime, end: datetime, *, latest: datetime | None) -> TimeRange:
    """An incident with what came before and after it: as long as itself, four days before it and one after at least."""
    from anomaly.stages.alert import CHART_AFTER, CHART_BEFORE

    length = end - start
    begin = max(group.floor(start - max(CHART_BEFORE, length)), group.first_interval())
    until = group.floor(end + max(CHART_AFTER, length / 2))
    if latest is not None:
        until = min(until, latest + group.interval)
    return TimeRange(begin, max(until, end, begin + group.interval), group.interval)
