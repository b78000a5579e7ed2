"""Update, the sensor: from production rows to the complete grid of counts.

In: a range of intervals of a group. Out, in the store: its variables, a count for every variable and interval,
and in quarantine the rows that could not be counted, with the reason. The range is begun earlier by the
group's lateness, because rows arrive late; counting again changes only what has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from anomaly.detection.grid import CountGrid, pad
from anomaly.exceptions import InvalidRangeError
from anomaly.groups import Group, TimeRange
from anomaly.ports import DataChecks, EventSource, SourceCounts, Store, Variable

log = logging.getLogger(__name__)

CELLS_AT_ONCE = 4_000_000
"""Variables x intervals held in memory at a time (32 MB)."""


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What one update did. Counts of intervals, rows and events include the re-read late intervals."""

    start: str
    end: str
    intervals: int
    variables: int
    new_variables: tuple[str, ...]
    rows_read: int
    events: int
    changed_counts: int
    quarantined: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"new_variables": list(self.new_variables)}

    def __str__(self) -> str:
        new = f", {len(self.new_variables)} of them new" if self.new_variables else ""
        return (
            f"counted {self.events:,} events of {self.variables} variables{new} in {self.intervals} intervals; "
            f"{self.changed_counts:,} counts are new or changed; {self.quarantined:,} rows newly quarantined"
        )


def update(
    group: Group,
    start: datetime,
    end: datetime,
    *,
    source: EventSource,
    store: Store,
    checks: DataChecks,
    now: datetime,
) -> UpdateReport:
    """Counts the range ``[start, end)`` and the late intervals before it.

    Raises:
        InvalidRangeError: before the group's first interval, or not over yet at `now`.
        SourceSchemaError, SourceUnavailableError: from the source.
        ExpectationFailedError: the counts are not a complete grid.
    """
    within = group.range(start, end)
    _refuse_what_cannot_be_counted(group, within, now)
    reread = _with_late_intervals(group, within)

    source.check()
    rejected = checks.source_rows(group, source, reread, read_at=now)
    quarantined = store.quarantine(group, rejected, at=now)
    if quarantined:
        log.warning("%d source rows went to quarantine, the first because: %s", quarantined, rejected[0].reason)

    before = {v.name for v in store.variables(group)}
    rows_read = events = changed = 0
    variables: tuple[Variable, ...] = ()
    for chunk in reread.chunks(_intervals_at_once(len(before))):
        counted = source.count(chunk, read_at=now)
        variables = _enrol(group, chunk, counted, store)
        grid = _grid(variables, chunk, counted)
        checks.counts(group, grid, chunk)
        changed += store.write_counts(group, variables, grid)
        rows_read += counted.rows_read
        events += int(counted.cells[:, 2].sum())
    store.mark_updated(group, reread, rows_read=rows_read, events=events, at=now)

    report = UpdateReport(
        start=reread.start.isoformat(),
        end=reread.end.isoformat(),
        intervals=len(reread),
        variables=len(variables),
        new_variables=tuple(v.name for v in variables if v.name not in before),
        rows_read=rows_read,
        events=events,
        changed_counts=changed,
        quarantined=quarantined,
    )
    log.info("%s %s: %s", group.name, reread, report)
    if not variables:
        log.warning("%s has no variables yet: no row of the source matches its selection", group.name)
    return report


def _refuse_what_cannot_be_counted(group: Group, within: TimeRange, now: datetime) -> None:
    if within.end > now:
        raise InvalidRangeError(
            f"the range {within} of group {group.name!r} is not over yet (it is {now.isoformat()}); "
            "count intervals once they have ended"
        )
    if within.start < group.first_interval():
        raise InvalidRangeError(
            f"the range {within} of group {group.name!r} begins before its first interval, "
            f"{group.first_interval().isoformat()}; start there, or move schedule.start in its file"
        )


def _with_late_intervals(group: Group, within: TimeRange) -> TimeRange:
    start = max(group.floor(within.start - group.lateness), group.first_interval())
    return TimeRange(start, within.end, within.step)


def _intervals_at_once(variables: int) -> int:
    return max(1, CELLS_AT_ONCE // max(variables, 100))


def _enrol(group: Group, chunk: TimeRange, counted: SourceCounts, store: Store) -> tuple[Variable, ...]:
    """All variables of the group, the ones seen for the first time included.

    A variable that was found begins with its first event; one that the group's file lists begins with the
    group, so that it is padded with zeros although it is never written.
    """
    known = {v.name: v for v in store.variables(group)}
    seen = _first_seen(chunk, counted)
    listed = {name: group.first_interval() for name in group.variables.names or ()}
    first = seen | listed
    earlier = {name: at for name, at in first.items() if name not in known or at < known[name].first_interval}
    kinds = dict(zip(counted.variables, counted.types, strict=True))
    for at in sorted(set(earlier.values())):
        store.enrol(group, {n: kinds.get(n) for n, t in earlier.items() if t == at}, first_interval=at)
    untyped = {n: k for n, k in kinds.items() if n in known and known[n].type is None and k is not None}
    if untyped:
        store.enrol(group, untyped, first_interval=chunk.end)
    if not earlier and not untyped:
        return tuple(known.values())

    variables = store.variables(group)
    moved = [v for v in variables if v.name in earlier and v.name in known]
    for variable in moved:
        _pad_what_now_belongs(group, variable, known[variable.name].first_interval, store)
    return variables


def _first_seen(chunk: TimeRange, counted: SourceCounts) -> dict[str, datetime]:
    first = np.full(len(counted.variables), len(chunk), dtype=np.int64)
    np.minimum.at(first, counted.cells[:, 0], counted.cells[:, 1])
    return {name: chunk.start + int(at) * chunk.step for name, at in zip(counted.variables, first, strict=True)}


def _pad_what_now_belongs(group: Group, variable: Variable, began: datetime, store: Store) -> None:
    """Zeros between a variable's new first interval and its former one, where nothing is stored yet."""
    stretch = TimeRange(variable.first_interval, began, group.interval)
    stored = store.read_counts(group, [variable], stretch)
    zeros = np.where(np.isnan(stored.counts), 0.0, np.nan)
    store.write_counts(group, [variable], CountGrid(stored.variables, stored.starts, zeros))


def _grid(variables: Sequence[Variable], chunk: TimeRange, counted: SourceCounts) -> CountGrid:
    row = {v.name: at for at, v in enumerate(variables)}
    rows = np.array([row[name] for name in counted.variables], dtype=np.int64)
    cells = counted.cells.copy()
    cells[:, 0] = rows[cells[:, 0]]
    return pad([v.name for v in variables], [v.first_interval for v in variables], chunk, cells)
