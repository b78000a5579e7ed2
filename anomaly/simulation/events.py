"""Single events behind counts: rows as a source table has them.

In: the counts of one variable, broken or not, and the incidents that broke them. Out: `Events`, exactly as many in
each interval as the counts say.

Events lie anywhere in their interval. Every event belongs to an entity of one of two types, which its id names;
while a type is missing, all belong to the other. Where every event was written twice, the rows come in equal pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.simulation.incidents import Injected, type_share
from anomaly.simulation.streams import stream

Strings = NDArray[np.str_]
Integers = NDArray[np.int64]

TYPES = ("numeric", "enum", "boolean", "date", "text")
_LEVELS = np.array(["low", "medium", "high"])
_NOTES = np.array(["ok", "checked by phone", "moved", "no answer", "paid in full"])


@dataclass(frozen=True, slots=True)
class Events:
    """M events of one variable, by time."""

    variable: str
    type: str
    """One of `TYPES`, the same for all."""
    entity_ids: Strings
    contents: Strings
    timestamps: NDArray[np.datetime64]
    """(M,) each: who was written, what was written, as text, and when, datetime64[ms] in UTC."""


def draw_events(
    variable: str,
    counts: NDArray[np.int64],
    starts: NDArray[np.datetime64],
    *,
    step: timedelta,
    seed: int,
    incidents: Sequence[Injected] = (),
) -> Events:
    """Draws the events that make up the counts.

    Args:
        variable: its name, which with the seed decides everything else.
        counts: (N,).
        starts: (N,), UTC.
        step: length of an interval.
        seed: the one that the incidents were injected with.
        incidents: those of this variable.
    """
    rng = stream("events", seed, variable)
    kinds = _kinds(counts, incidents)
    written = np.where(kinds == "duplicates", counts // 2, counts)
    at = np.repeat(np.arange(len(counts)), written)
    first = starts.astype("datetime64[ms]").astype(np.int64)[at]
    moments = first + rng.integers(0, int(step.total_seconds() * 1000), len(at))
    lesser = (rng.random(len(at)) < type_share(variable, seed)) & (kinds[at] != "type-missing")
    known = max(10, int(counts.sum() ** 0.7))
    numbers = rng.integers(1, known + 1, len(at)).astype(str)
    entities = np.char.add(np.where(lesser, "company-", "person-"), numbers)
    name = TYPES[rng.integers(len(TYPES))]
    order = np.repeat(np.arange(len(at)), np.where(kinds[at] == "duplicates", 2, 1))
    order = order[np.argsort(moments[order], kind="stable")]
    values = _values(name, rng, moments)
    return Events(variable, name, entities[order], values[order], moments[order].astype("datetime64[ms]"))


def _kinds(counts: Integers, incidents: Sequence[Injected]) -> Strings:
    """The kind of incident in each interval, '' for none: (N,)."""
    kinds = np.full(len(counts), "", dtype="<U16")
    for incident in incidents:
        kinds[incident.start : incident.end] = incident.kind
    return kinds


def _values(name: str, rng: np.random.Generator, moments: Integers) -> Strings:
    """Something that a column of this type could hold, as text: (M,)."""
    size = len(moments)
    match name:
        case "numeric":
            return np.char.mod("%.2f", rng.lognormal(4, 1, size))
        case "enum":
            return _LEVELS[rng.choice(3, size, p=(0.6, 0.3, 0.1))]
        case "boolean":
            return np.where(rng.random(size) < 0.8, "true", "false")
        case "date":
            return (moments.astype("datetime64[ms]").astype("datetime64[D]") - rng.integers(0, 365, size)).astype(str)
        case _:
            return _NOTES[rng.integers(0, len(_NOTES), size)]
