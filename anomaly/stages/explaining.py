"""An incident explained: which weaker variables join it, what they all share, and what its tests looked at.

In: an incident as its own anomalies make it, and what the store has of its time. Out: the same incident with
everything that people read about it. The decisions are `anomaly.detection`'s; here is what they need to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.causes import LEAST_HIT, shared
from anomaly.detection.discoveries import LOOSEST, OWN_VARIABLES, joining
from anomaly.detection.evidence import FROZEN, SILENCE
from anomaly.detection.incidents import Anomaly, Incident, IncidentVariable, joined, rated
from anomaly.detection.lookback import covered, is_sum, lookback, quiet_for, same_for
from anomaly.groups import Group, TimeRange
from anomaly.groups.intervals import to_datetime64
from anomaly.groups.model import TOTAL
from anomaly.ports import RareIntervals, Store, Variable

LOOK_BACK = timedelta(days=28)
"""So far back it is looked for what is usual, and for when a count froze."""


Rare = Callable[[Sequence[datetime]], RareIntervals]
"""What the group's variables did in some intervals, as far as it was rare enough to join."""


def explained(
    group: Group, incident: Incident, anomalies: Sequence[Anomaly], store: Store, *, rare: Rare | None = None
) -> Incident:
    """The incident with what joins it, what its variables share, what was observed, and so how bad it is.

    Args:
        anomalies: of the group, at least those of the incident.
        rare: whom to ask for what was rare; the store itself by default.
    """
    own = [a for a in anomalies if incident.start <= a.start < incident.end]
    if len(incident.variables) >= min(OWN_VARIABLES, LEAST_HIT) or incident.departed[0].variable == TOTAL:
        starts = sorted({a.start for a in own})
        found = rare(starts) if rare else store.rare(group, starts, at_most=LOOSEST)
        judged = {name: kind for name, kind in found.judged.items() if name != TOTAL}
        weaker = joining(incident, found.anomalies, starts=starts, judged=len(judged), policy=group.threshold)
        incident = joined(incident, weaker, group.interval)
        incident = replace(incident, shared=shared(judged, {v.variable for v in incident.variables}))
    return rated(replace(incident, variables=_with_evidence(group, incident, own, store)))


def explained_as_it_grew(
    group: Group, states: Sequence[Incident], anomalies: Sequence[Anomaly], store: Store
) -> tuple[Incident, ...]:
    """`explained` for each state of one incident, whose starts are the same; of the last, the store is asked."""
    starts = sorted({a.start for a in anomalies if states[-1].start <= a.start < states[-1].end})
    rare = _Once(group, starts, store)
    return tuple(explained(group, state, anomalies, store, rare=rare) for state in states)


class _Once:
    """What was rare up to earlier moments of an incident, from one question for all of it.

    Looking costs variables x intervals. What was rare is cut by time. Which variables were judged cannot be: it is the
    same for all states if it was the same in the first interval, which costs one more interval to ask. Where a variable
    was judged for the first time meanwhile, each state is asked for.
    """

    def __init__(self, group: Group, starts: Sequence[datetime], store: Store) -> None:
        self._group, self._starts, self._store = group, list(starts), store

    def __call__(self, starts: Sequence[datetime]) -> RareIntervals:
        """
        Args:
            starts: the first of those of the incident.
        """
        if list(starts) == self._starts:
            return self._whole
        if not self._judged_alike:
            return self._ask(starts)
        until = starts[-1]
        return RareIntervals(self._whole.judged, tuple(a for a in self._whole.anomalies if a.start <= until))

    @cached_property
    def _whole(self) -> RareIntervals:
        return self._ask(self._starts)

    @cached_property
    def _judged_alike(self) -> bool:
        return self._ask(self._starts[:1]).judged.keys() == self._whole.judged.keys()

    def _ask(self, starts: Sequence[datetime]) -> RareIntervals:
        return self._store.rare(self._group, starts, at_most=LOOSEST)


def _with_evidence(
    group: Group, incident: Incident, own: Sequence[Anomaly], store: Store
) -> tuple[IncidentVariable, ...]:
    """The variables with what their tests looked at. Most were found in single intervals, and need nothing read."""
    summed = {a.variable for a in own if is_sum(a.test)}
    waited = {v.variable for v in incident.variables if v.test in {FROZEN, SILENCE}}
    by_name = {v.name: v for v in store.variables(group, left_out=True)} if summed | waited else {}
    changed = _summed(group, incident, own, [by_name[name] for name in sorted(summed & by_name.keys())], store)
    parts = {v.variable: v for v in incident.variables} | changed
    for part in _waited(group, incident, parts, [by_name[name] for name in sorted(waited & by_name.keys())], store):
        parts[part.variable] = part
    return tuple(parts[v.variable] for v in incident.variables)


def _summed(
    group: Group, incident: Incident, own: Sequence[Anomaly], variables: Sequence[Variable], store: Store
) -> dict[str, IncidentVariable]:
    """The parts of the variables that were found by sums, with the departure over all that was summed."""
    if not variables:
        return {}
    step = group.interval
    longest = max(lookback(a.test, step) for a in own)
    within = TimeRange(incident.start + step - longest, incident.end, step)
    predictions = store.read_predictions(group, variables, within)
    if predictions is None:
        return {}
    row = {v.name: at for at, v in enumerate(variables)}
    anomalous = np.zeros((len(variables), len(within)), dtype=bool)
    lengths = np.ones(anomalous.shape, dtype=np.int64)
    for anomaly in own:
        if anomaly.variable in row:
            cell = row[anomaly.variable], (anomaly.start - within.start) // step
            anomalous[cell], lengths[cell] = True, lookback(anomaly.test, step) // step
    changed = {}
    for part in incident.variables:
        if part.variable in row:
            at = row[part.variable]
            looked_at = covered(anomalous[at], lengths[at]) & np.isfinite(predictions.outlook[at])
            changed[part.variable] = replace(
                part,
                observed=_total(predictions.observed[at], looked_at),
                expected=_total(predictions.outlook[at], looked_at),
            )
    return changed


def _total(values: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
    return float(sum(values[where].tolist()))


def _waited(
    group: Group,
    incident: Incident,
    parts: dict[str, IncidentVariable],
    variables: Sequence[Variable],
    store: Store,
) -> list[IncidentVariable]:
    """The parts of the variables that froze or fell silent, with how long they have, and what is usual."""
    if not variables:
        return []
    within = TimeRange(group.floor(incident.start - LOOK_BACK), incident.end, group.interval)
    grid = store.read_counts(group, variables, within)
    changed = []
    for variable, counts in zip(variables, grid.counts, strict=True):
        part = parts[variable.name]
        until = counts[grid.starts < to_datetime64(part.end)]
        if part.test == FROZEN:
            changed.append(replace(part, stretch=same_for(until) * group.interval))
        else:
            waiting, usual = quiet_for(until[np.isfinite(until)])
            usually = None if usual is None else usual * group.interval
            changed.append(replace(part, stretch=waiting * group.interval, usual=usually))
    return changed
