"""Detectability: the smallest change that each variable of a group would notice now, and those that would notice none.

In: the serving champion and the counts of the latest weeks. Out, in the store: per variable, kind of change and hour of
the day the smallest size and how soon; for blind variables, why. The champion judges these weeks once more, all of them
as complete counts; changes are then put into copies (`anomaly.detection.detectability`). Nothing else is written.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import calendars, months
from anomaly.detection import detectability as detection
from anomaly.detection.detectability import Ground, Noticeable, Rules, horizon, needed_before, noticeable
from anomaly.detection.evidence import Series
from anomaly.detection.thresholds import limit
from anomaly.exceptions import IncompleteCountsError, IncompleteFitError
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import Direction
from anomaly.ports import ArtifactReader, Fit, ForecasterLoader, Predictions, Store
from anomaly.ports.detectability import ChangeKind, Detectability, Noticed, VariableDetectability
from anomaly.ports.labels import Labels
from anomaly.stages.labelled import factors_at
from anomaly.stages.predict import Champion, judge, load_champion

log = logging.getLogger(__name__)

DAYS = 28
"""Looked at; every fourth is tried."""
RARE = 6.0
"""Events within the horizon below which a silence of that length is nothing unusual."""
_DAY = timedelta(days=1)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DetectabilityReport:
    """What one measurement found."""

    fit_id: str
    model_version: int
    within: TimeRange
    """The weeks that were looked at, with what the tests look back on before them."""
    variables: int
    blind: int
    typical_drop: float | None
    """Share lost that the median variable notices in its median hour; None when it notices none."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "fit": self.fit_id,
            "model_version": self.model_version,
            "start": self.within.start.isoformat(),
            "end": self.within.end.isoformat(),
            "variables": self.variables,
            "blind": self.blind,
            "typical_drop": self.typical_drop,
        }

    def __str__(self) -> str:
        drop = "no drop" if self.typical_drop is None else f"a drop of {self.typical_drop:.0%}"
        return (
            f"{self.variables:,} variables, of which {self.blind:,} are blind; the median variable notices {drop} "
            f"within a day, by version {self.model_version}"
        )


def measure(
    group: Group,
    *,
    days: int,
    store: Store,
    detectability: Detectability,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
    now: datetime,
    labels: Labels | None = None,
    told: Callable[[int, int], None] = lambda done, of: None,  # noqa: ARG005
) -> DetectabilityReport:
    """Measures all variables of the group, and keeps what it found in place of what was known.

    Args:
        days: looked at, up to the latest complete counts; at least eight.
        labels: what people have said moves thresholds.
        told: progress: done so far, of how much.

    Raises:
        IncompleteFitError: there is no champion.
        IncompleteCountsError: the latest weeks are not counted, or there are too few of them.
        ArtifactCorruptedError, ArtifactsUnavailableError: the champion cannot be loaded.
    """
    fit = store.champion(group)
    if fit is None:
        raise IncompleteFitError(f"group {group.name!r} has no champion to ask; run: anomaly fit {group.name}")
    within = _within(group, days, store)
    champion = load_champion(group, fit, store=store, artifacts=artifacts, forecaster=forecaster)
    factors = factors_at(() if labels is None else labels.adjustments(group), within.end)
    judged = judge(group, champion, within, store, now, factors)
    rows = _measured(group, champion, judged, factors, days=days, now=now, told=told)
    rows += _unjudged(group, fit, {row.variable for row in rows}, store, now)
    rows.sort(key=lambda row: row.variable)
    detectability.save(group, fit.id, rows)
    report = DetectabilityReport(
        fit_id=fit.id,
        model_version=fit.model_version or 0,
        within=within,
        variables=len(rows),
        blind=sum(bool(row.blind) for row in rows),
        typical_drop=_median([row.typical("drop") for row in rows]),
    )
    log.info("%s %s: %s", group.name, within, report)
    return report


def _within(group: Group, days: int, store: Store) -> TimeRange:
    """The days to try, and before them what the tests look back on; counts that may still change are left out."""
    counted = store.updated_until(group)
    least = horizon(group.interval) * group.interval + 2 * _DAY
    if counted is not None:
        end = group.floor(counted - group.lateness)
        begin = group.floor(end - days * _DAY - needed_before(group.interval) * group.interval)
        start = max(begin, group.first_interval())
        if end - start >= needed_before(group.interval) * group.interval + least:
            within = group.range(start, end)
            gap = store.first_gap(group, within)
            if gap is None:
                return within
            raise IncompleteCountsError(
                f"group {group.name!r} has no counts for {gap}; run: anomaly update {group.name} "
                f"--start {gap.start.isoformat()} --end {gap.end.isoformat()}"
            )
    raise IncompleteCountsError(
        f"group {group.name!r} is counted until {counted.isoformat() if counted else 'nowhere'}, from "
        f"{group.first_interval().isoformat()} on; its tests look back on {needed_before(group.interval)} intervals, "
        f"and changes are tried on {least} more. Count further back, or wait"
    )


def _measured(
    group: Group,
    champion: Champion,
    judged: Predictions,
    factors: Mapping[str, float],
    *,
    days: int,
    now: datetime,
    told: Callable[[int, int], None],
) -> list[VariableDetectability]:
    fitted, zone = champion.fitted, champion.zone
    _, perhaps = months.departures(months.as_table([f.month_days for f in fitted]), judged.starts, zone)
    ground = Ground(
        series=Series(judged.observed, judged.felt, judged.predicted, judged.outlook),
        anomalous=judged.kinds != "",
        starts=judged.starts,
        special=calendars.special(judged.starts, zone, group.holidays) | (perhaps != 0),
        turn=calendars.turn_of_month(judged.starts, zone),
        step=group.interval,
        zone=zone,
        transform=champion.transform,
    )
    direction = group.threshold.direction
    limits = [limit(f.tail_probability * factors.get(f.variable.name, 1.0), direction) for f in fitted]
    rules = Rules(
        np.array(limits),
        group.threshold,
        group.incidents.min_anomalies,
        group.incidents.min_duration,
        group.incidents.merge_gap,
    )
    done = Counter[str]()

    def progressed(variables: int) -> None:
        done["variables"] += variables
        told(done["variables"], len(fitted))

    found = noticeable(ground, [f.tests for f in fitted], rules, days=days, seed=group.seed, told=progressed)
    per_day = _DAY / group.interval
    rows = []
    for row, f in enumerate(fitted):
        counts, expected = judged.observed[row], judged.predicted[row]
        known = np.isfinite(counts) & np.isfinite(expected)
        events = float(counts[known].mean()) * per_day if known.any() else 0.0
        changes = tuple(change for kind, of in found.items() for change in _changes(cast("ChangeKind", kind), of, row))
        tried = max((int(of.days[row].max(initial=0)) for of in found.values()), default=0)
        blind = _why_blind(group, found, row, events, _scatter(counts[known], expected[known]))
        rows.append(VariableDetectability(f.variable.name, champion.fit.id, now, tried, events, blind, changes))
    return rows


def _changes(kind: ChangeKind, of: Noticeable, row: int) -> list[Noticed]:
    return [
        Noticed(
            kind,
            hour,
            None if np.isnan(of.smallest[row, at]) else float(of.smallest[row, at]),
            None if np.isnan(of.after[row, at]) else timedelta(hours=float(of.after[row, at])),
            float(of.share[row, at]),
        )
        for at, hour in enumerate(of.hours)
        if of.days[row, at] > 0
    ]


def _scatter(counts: Floats, expected: Floats) -> float:
    """Typical distance of a count from its prediction, as a share of what is predicted."""
    mean = float(expected.mean()) if expected.size else 0.0
    return float(np.sqrt(np.mean((counts - expected) ** 2))) / mean if mean > 0 else float("inf")


def _why_blind(group: Group, found: Mapping[str, Noticeable], row: int, events: float, scatter: float) -> str:
    """Why a variable notices no loss of everything for the whole horizon in most hours; '' if it does."""
    surges = group.threshold.direction is Direction.SURGE
    asked = found["surge" if surges else "silence"]
    tried = asked.days[row] > 0
    ahead = horizon(group.interval) * group.interval
    within = f"{ahead / timedelta(hours=1):.0f} h"
    if not tried.any():
        return "in these weeks it was never undisturbed and predicted for long enough to try anything"
    if np.isfinite(asked.smallest[row][tried]).mean() > 0.5:
        return ""
    events_ahead = events * (ahead / _DAY)
    if surges:
        largest = detection.SURGES[-1] + 1
        return f"too noisy: even {largest:.0f} times as many for {within} would be within its thresholds"
    if group.threshold.min_absolute > events_ahead:
        return (
            f"the policy's floor threshold.min_absolute of {group.threshold.min_absolute:g} is more than the "
            f"{events_ahead:.3g} events that it has in {within}"
        )
    if events_ahead < RARE:
        return f"too rare: {events_ahead:.2g} events in {within} on average, so none at all is nothing unusual"
    return (
        f"too noisy: a count is typically {scatter:.0%} of the prediction away from it, so that even nothing for "
        f"{within} is within its thresholds"
    )


def _unjudged(group: Group, fit: Fit, measured: set[str], store: Store, now: datetime) -> list[VariableDetectability]:
    """Variables that no test of the champion judges."""
    reasons = {f.variable.name: f"no test judges it: {f.status_reason}" for f in store.fitted(fit.id)}
    later = "no test judges it: it was met after the fit"
    return [
        VariableDetectability(v.name, fit.id, now, 0, 0.0, reasons.get(v.name, later), ())
        for v in store.variables(group)
        if v.name not in measured
    ]


def _median(sizes: list[float | None]) -> float | None:
    found = sorted(float("inf") if size is None else size for size in sizes)
    middle = found[len(found) // 2] if found else float("inf")
    return None if middle == float("inf") else middle
