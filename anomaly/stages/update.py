"""Update, the sensor: from production rows to the complete grid of counts.

In: a range of intervals of a group. Out, in the store: its variables, a count for every variable and interval,
and in quarantine the rows that could not be counted, with the reason. The range is begun earlier by the
group's lateness, because rows arrive late, and still earlier when a gap lies before it: after an outage, the next
update also counts what the outage left out. What was never counted, before the group's first counted stretch, is
no gap and waits to be asked for. Counting again changes only what has changed.

While an interval is young, its count is also kept as it stands at that age. Set against what it ends at, that
teaches how each variable's counts fill in (`anomaly.detection.completeness`). A backfill, which sees intervals only
when they are complete, keeps and learns nothing of the kind.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import completeness
from anomaly.detection.grid import CountGrid, pad
from anomaly.exceptions import InvalidRangeError
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import TOTAL
from anomaly.ports import DataChecks, EventSource, RejectedRow, SourceCounts, Store, Variable

log = logging.getLogger(__name__)

CELLS_AT_ONCE = 300_000
"""Variables x intervals that are asked of the source, made a grid and written at a time: a range is counted in as
many chunks as that takes. Only the source's answer can hold more, when a chunk brings many variables not met before."""
VARIABLES_EXPECTED = 10_000
"""Of a group that has not met any yet; only the size of its first chunk depends on it."""
REASONS_TOLD = 3
LEARN_AGAIN_AFTER = timedelta(hours=6)
"""How counts fill in changes slowly, and learning it reads weeks of counts."""


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What one update did. Everything includes the late intervals read again and a gap filled before them."""

    start: str
    """Of what was counted, which may be earlier than the start asked for."""
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
    """Counts the range ``[start, end)``, the late intervals before it, and the gap before those if there is one.

    Updates of the same group take turns, so that each sees where the one before it ended.

    Raises:
        InvalidRangeError: before the group's first interval, or not over yet at `now`.
        ConfigurationError: the group was counted in intervals of another length.
        SourceSchemaError, SourceUnavailableError: from the source.
        ExpectationFailedError: the counts are not a complete grid.
    """
    within = group.range(start, end)
    _refuse_what_cannot_be_counted(group, within, now)
    with store.exclusively(group, "update"):
        report = _update(group, _with_what_came_before(group, within, store), source, store, checks, now)
    log.info("%s [%s, %s): %s", group.name, report.start, report.end, report)
    return report


def _update(
    group: Group, within: TimeRange, source: EventSource, store: Store, checks: DataChecks, now: datetime
) -> UpdateReport:
    source.check()
    rejected = checks.source_rows(group, source, within, read_at=now)
    quarantined = store.quarantine(group, rejected, at=now)
    if quarantined:
        _warn_of_quarantine(group, rejected, quarantined)

    variables = store.variables(group)
    before = {v.name for v in variables}
    rows_read = events = changed = 0
    at = within.start
    while at < within.end:
        chunk = next(TimeRange(at, within.end, within.step).chunks(_intervals_at_once(len(variables))))
        counted = source.count(chunk, read_at=now)
        variables = _enrol(group, chunk, counted, store)
        for grid, piece in _grids(variables, chunk, counted):
            checks.counts(group, grid, piece)
            changed += store.write_counts(group, variables, grid)
            _keep_young_counts(group, variables, grid, piece, store, now)
        rows_read += counted.rows_read
        events += int(counted.cells[:, 2].sum())
        at = chunk.end
    store.mark_updated(group, within, rows_read=rows_read, events=events, at=now)
    if not variables:
        _warn_of_no_variables(group, within)
    _learn_how_counts_fill_in(group, variables, store, now)

    return UpdateReport(
        start=within.start.isoformat(),
        end=within.end.isoformat(),
        intervals=len(within),
        variables=sum(v.name != TOTAL for v in variables),
        new_variables=tuple(v.name for v in variables if v.name not in before | {TOTAL}),
        rows_read=rows_read,
        events=events,
        changed_counts=changed,
        quarantined=quarantined,
    )


def _warn_of_quarantine(group: Group, rejected: Sequence[RejectedRow], new: int) -> None:
    reasons = Counter(row.reason for row in rejected).most_common()
    told = "; ".join(f"{rows:,} because of: {reason}" for reason, rows in reasons[:REASONS_TOLD])
    more = f"; and {len(reasons) - REASONS_TOLD} more reasons" if len(reasons) > REASONS_TOLD else ""
    log.warning(
        "group %s: %s could not be counted: %s%s. %s of them are new; all are kept in table quarantine of the metadata "
        "database. Mend them in the source, then run update for the range again",
        group.name, _rows_of(group, len(rejected)), told, more, f"{new:,}",
    )  # fmt: skip


def _warn_of_no_variables(group: Group, within: TimeRange) -> None:
    log.warning(
        "group %s has no variables yet: none of %s in %s is of a variable that it selects; check the key variables in "
        "%s.yaml against the source",
        group.name, _rows_of(group), within, group.name,
    )  # fmt: skip


def _rows_of(group: Group, rows: int | None = None) -> str:
    where = f"table {group.source.table}" if group.source.table else "the query"
    number = "the rows" if rows is None else "1 row" if rows == 1 else f"{rows:,} rows"
    return f"{number} of {where} (connection {group.source.connection})"


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


def _with_what_came_before(group: Group, within: TimeRange, store: Store) -> TimeRange:
    """Before a gap lie intervals that were young when it began, and that nobody has counted since."""
    gap = store.first_uncounted(group, within.start)
    if gap is not None:
        log.info("group %s: nothing was counted since %s, so that is where it begins", group.name, gap.isoformat())
    late = group.floor((gap or within.start) - group.lateness)
    return TimeRange(max(late, group.first_interval()), within.end, within.step)


def _keep_young_counts(
    group: Group, variables: Sequence[Variable], grid: CountGrid, piece: TimeRange, store: Store, now: datetime
) -> None:
    """The counts of intervals for which rows are still expected, with their age."""
    oldest = completeness.ages(group.lateness, group.interval) - 1
    ages = [(now - piece.start) // piece.step - 1 - n for n in range(len(piece))]
    young = [n for n, age in enumerate(ages) if age < oldest]
    if not young or not variables:
        return
    store.write_count_ages(
        group,
        variables,
        CountGrid(grid.variables, grid.starts[young], grid.counts[:, young]),
        [ages[n] for n in young],
        keep_from=group.floor(now - completeness.memory(group.interval)),
    )


def _learn_how_counts_fill_in(group: Group, variables: Sequence[Variable], store: Store, now: datetime) -> None:
    """From the intervals that were counted while they were young and are complete by now, now and then."""
    oldest = completeness.ages(group.lateness, group.interval) - 1
    begin = max(group.floor(now - completeness.memory(group.interval)), group.first_interval())
    end = group.floor(now - oldest * group.interval)
    learned = store.filling_learned(group)
    if begin >= end or (learned is not None and now - learned < LEARN_AGAIN_AFTER):
        return
    within = TimeRange(begin, end, group.interval)
    watched = int((store.counted_ages(group, within) >= 0).sum())
    if not watched:
        return
    final = store.read_counts(group, variables, within).counts
    young = (store.read_count_ages(group, variables, within, age) for age in range(oldest))
    filling = completeness.learn(final, young)
    store.save_filling(variables, filling, at=now)
    log.info(
        "group %s: learned from %d intervals how counts fill in; of the median variable, %s are there when an interval "
        "has just ended",
        group.name, watched, f"{np.median(filling.filled[:, 0]):.1%}",
    )  # fmt: skip


def _intervals_at_once(variables: int) -> int:
    return max(1, CELLS_AT_ONCE // max(variables or VARIABLES_EXPECTED, 100))


def _enrol(group: Group, chunk: TimeRange, counted: SourceCounts, store: Store) -> tuple[Variable, ...]:
    """All variables of the group, the ones seen for the first time included.

    A variable that was found begins with its first event; one that the group's file lists begins with the
    group, so that it is padded with zeros although it is never written.
    """
    variables = store.variables(group)
    known = {v.name: v for v in variables}
    kinds = dict(zip(counted.variables, counted.types, strict=True))
    first = _first_seen(chunk, counted) | {name: group.first_interval() for name in group.variables.names or ()}
    earlier = {name: at for name, at in first.items() if name not in known or at < known[name].first_interval}
    typed = {n: known[n].first_interval for n, k in kinds.items() if k and n in known and known[n].type is None}
    if group.total and TOTAL not in known and len(known.keys() | first.keys()) > 1:
        earlier[TOTAL], kinds[TOTAL] = chunk.start, "numeric"
    found = typed | earlier
    if not found:
        return variables
    # Zeros first: a crash in between leaves them without effect, and the next update does this again.
    _pad_what_will_belong(
        group, [replace(v, first_interval=earlier[v.name]) for v in variables if v.name in earlier], known, store
    )
    return store.enrol(group, {name: kinds.get(name) for name in found}, first_interval=found)


def _first_seen(chunk: TimeRange, counted: SourceCounts) -> dict[str, datetime]:
    first = np.full(len(counted.variables), len(chunk), dtype=np.int64)
    np.minimum.at(first, counted.cells[:, 0], counted.cells[:, 1])
    return {name: chunk.start + int(at) * chunk.step for name, at in zip(counted.variables, first, strict=True)}


def _pad_what_will_belong(group: Group, moved: Sequence[Variable], known: Mapping[str, Variable], store: Store) -> None:
    """Zeros between each moved variable's new first interval and its former one, where nothing is stored yet."""
    by_former: dict[datetime, list[Variable]] = {}
    for variable in moved:
        by_former.setdefault(known[variable.name].first_interval, []).append(variable)
    for former, variables in by_former.items():
        stretch = TimeRange(min(v.first_interval for v in variables), former, group.interval)
        for piece in stretch.chunks(_intervals_at_once(len(variables))):
            stored = store.read_counts(group, variables, piece)
            padded = _padded(variables, piece, np.empty((0, 3), dtype=np.int64))
            zeros = np.where(np.isnan(stored.counts), padded.counts, np.nan)
            store.write_counts(group, variables, CountGrid(stored.variables, stored.starts, zeros))


def _grids(
    variables: Sequence[Variable], chunk: TimeRange, counted: SourceCounts
) -> Iterator[tuple[CountGrid, TimeRange]]:
    """The chunk as complete grids; one, unless it brought so many new variables that one would be too large."""
    row = {v.name: at for at, v in enumerate(variables)}
    rows = np.array([row[name] for name in counted.variables], dtype=np.int64)
    cells = counted.cells.copy()
    cells[:, 0] = rows[cells[:, 0]]
    for piece in chunk.chunks(_intervals_at_once(len(variables))):
        first = (piece.start - chunk.start) // chunk.step
        inside = (cells[:, 1] >= first) & (cells[:, 1] < first + len(piece))
        yield _padded(variables, piece, cells[inside] - (0, first, 0)), piece


def _padded(variables: Sequence[Variable], within: TimeRange, cells: NDArray[np.int64]) -> CountGrid:
    grid = pad([v.name for v in variables], [v.first_interval for v in variables], within, cells)
    if TOTAL not in grid.variables:
        return grid
    row = grid.variables.index(TOTAL)
    begun = np.isfinite(grid.counts[row])
    counts = grid.counts.copy()
    counts[row] = np.where(begun, np.nansum(np.delete(counts, row, axis=0), axis=0), np.nan)
    return CountGrid(grid.variables, grid.starts, counts)
