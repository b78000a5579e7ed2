"""What labels mean for the stages: factors in time, and which counts teach nothing, or teach after all.

In: labels and adjustments as they are stored. Out: arrays on a group's grid, for fit and predict; and labels as they
are drafted from an incident.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.adjusting import factors
from anomaly.detection.cleaning import usual
from anomaly.detection.evidence import FROZEN, SILENCE
from anomaly.detection.incidents import Incident
from anomaly.exceptions import UnknownIncidentError
from anomaly.groups import Group, TimeRange
from anomaly.ports import Store
from anomaly.ports.labels import Adjustment, Label, LabelWord, Via

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

TOGETHER = "together"
"""The test of variables that joined an incident, and did not take part by themselves."""


# --- drafting ---------------------------------------------------------------------------------------------------


def known_incident(group: Group, incident_id: int, store: Store) -> Incident:
    """The group's incident of this id.

    Raises:
        UnknownIncidentError: there is none, or it was withdrawn.
    """
    incident = store.incident(incident_id)
    if incident is None or incident.group != group.name:
        raise UnknownIncidentError(
            f"group {group.name!r} has no incident {incident_id}; it may have been deleted, or the message is of "
            "another installation. `anomaly labels list` and the review page show those that there are"
        )
    if incident.withdrawn:
        raise UnknownIncidentError(
            f"incident {incident_id} of group {group.name!r} was withdrawn: late rows explained it, or it has become "
            "part of another incident. There is nothing to label; if another message tells of the same time, label "
            "that one"
        )
    return incident


def drafted(
    group: Group,
    incident: Incident,
    word: LabelWord,
    *,
    reason: str = "",
    author: str,
    via: Via,
    now: datetime,
) -> Label:
    """A label of the incident as it is now; not kept yet."""
    return Label(
        group=group.name,
        start=since(incident, group.interval),
        end=incident.end,
        variables=tuple(v.variable for v in incident.variables),
        own=tuple(v.variable for v in incident.variables if v.test != TOGETHER),
        word=word,
        author=author,
        via=via,
        given_at=now,
        reason=reason,
        incident_id=incident.id,
    )


def since(incident: Incident, step: timedelta) -> datetime:
    """When it began by what its tests looked at: a silence that is noticed after nine hours has lasted nine hours.

    What a silence and a frozen count looked at ends with the variable's last anomalous interval, what a sum looked at
    with its first or a later one.
    """
    begins = (
        v.end - v.stretch if v.test in {FROZEN, SILENCE} else v.start + step - v.stretch
        for v in incident.variables
        if v.stretch
    )
    return min([incident.start, *begins])


# --- thresholds -------------------------------------------------------------------------------------------------


def factors_of(held: Iterable[Label]) -> dict[str, float]:
    """What the labels that hold make of each variable's probability; 1 for variables that are not in it."""
    said = sorted(held, key=lambda label: (label.given_at, math.inf if label.id is None else label.id))  # drafts last
    return factors((label.word, label.moved) for label in said)


def factors_at(adjustments: Iterable[Adjustment], moment: datetime) -> dict[str, float]:
    """The factors that serve the interval that starts at a moment, by variable; those that are not 1.

    Args:
        adjustments: of one group, by `serves_from`.
    """
    latest = {a.variable: a.factor for a in adjustments if a.serves_from <= moment}
    return {name: factor for name, factor in latest.items() if factor != 1.0}


def served_alike(adjustments: Sequence[Adjustment], within: TimeRange) -> Iterator[tuple[TimeRange, dict[str, float]]]:
    """The range in parts, each with the factors that serve all of its intervals.

    Args:
        adjustments: of one group, by `serves_from`.
    """
    moments = sorted({within.start, *(a.serves_from for a in adjustments if a.serves_from in within)})
    for begin, end in zip(moments, [*moments[1:], within.end], strict=True):
        yield TimeRange(begin, end, within.step), factors_at(adjustments, begin)


# --- teaching ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taught:
    """What people said of the counts that a fit learns from. Arrays (V, T)."""

    unlike: Mask
    """Labelled real or expected: they stand for nothing that is ordinary."""
    ordinary: Mask
    """Labelled false alarms, and nothing else: ordinary after all, whatever was judged."""


def taught(held: Iterable[Label], names: Sequence[str], within: TimeRange, incidents: Iterable[Incident]) -> Taught:
    """What a fit on this range has to know.

    Args:
        held: the labels of the range.
        names: (V,)
        within: T intervals.
        incidents: of the range: what has gone on since it was labelled is labelled as a whole.
    """
    row = {name: at for at, name in enumerate(names)}
    ends = {incident.id: incident.end for incident in incidents}
    unlike, alarms = (np.zeros((len(names), len(within)), dtype=bool) for _ in range(2))
    for label in held:
        part = _part(within, label.start, max(label.end, ends.get(label.incident_id, label.end)))
        rows = [row[name] for name in label.variables if name in row]
        (alarms if label.word == "false_alarm" else unlike)[rows, part] = True
    return Taught(unlike, alarms & ~unlike)


def relearned(counts: Floats, felt: Floats, said: Taught, step: timedelta) -> Floats:
    """(V, T) what a fit sees of the history: false alarms as counted, what is unlike anything ordinary with stand-ins.

    Args:
        counts: (V, T) as they are.
        felt: (V, T) with stand-ins where an interval was anomalous.
    """
    seen = np.where(said.ordinary, counts, felt)
    bare = said.unlike & (seen == counts)  # told as part of the incident, though nothing was anomalous there
    rows = np.flatnonzero(bare.any(axis=1))
    if rows.size:
        stand_ins = usual(seen[rows], said.unlike[rows], step)
        seen[rows] = np.where(bare[rows] & np.isfinite(stand_ins), stand_ins, seen[rows])
    return seen


def _part(within: TimeRange, start: datetime, end: datetime) -> slice:
    """Positions of the intervals that overlap ``[start, end)``."""
    first = (start - within.start) // within.step
    last = -((within.start - end) // within.step)
    return slice(max(first, 0), max(last, 0))
