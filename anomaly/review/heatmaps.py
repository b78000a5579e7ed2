"""Variables by time: where cells lie, how strong they are, what is said of them.

In: a stretch and the cells of its rows. Out: numbers and words for templates. The colour of a cell tells the kind, its
strength how rare the rarest interval in it was; what nobody judged is left blank, so that quiet and unknown differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from anomaly.adapters.messages import duration_words, moment_words, return_period_words, span_words
from anomaly.groups import Group
from anomaly.ports.review import Cell, Stretch, VariableRow

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FEWEST_DAYS = 7
LAST_TICK = 88.0
"""Percent of the width after which a tick's words have no room."""
TONES = {"drop": "down", "silent": "down", "surge": "up", "shift": "up", "frozen": "still"}
"""Kinds that share a colour."""
STRENGTHS = (1e-6, 1e-9)
"""Tail probabilities from which a cell is drawn stronger."""


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    """Percent of the width."""
    words: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A cell as it is drawn."""

    at: float
    width: float
    """Percent of the width."""
    tone: str
    strength: int
    """1 to 3."""
    words: str
    until: str
    """Up to when a page shows it with what followed, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Band:
    """What was judged, in percent of the width."""

    at: float
    width: float


def stretch_of(days: int, *, judged_from: datetime | None, end: datetime, zone: ZoneInfo, step: timedelta) -> Stretch:
    """So many days up to a moment, whole local days; shorter where nothing was judged before, a week at least.

    Args:
        days: asked for.
        judged_from: start of the first interval that has a prediction.
        end: of the last one.
        zone: whose midnights cells begin at.
        step: length of an interval; no cell is shorter.
    """
    if judged_from is not None:
        days = min(days, max(FEWEST_DAYS, math.ceil((end - judged_from) / DAY) + 1))
    last = (end - timedelta(microseconds=1)).astimezone(zone).date() + DAY
    first = datetime.combine(last - days * DAY, time(), tzinfo=zone).astimezone(UTC)
    cell = max(step, HOUR if days <= 8 else 6 * HOUR if days <= 35 else DAY)
    return Stretch(first, max(1, round(days * DAY / cell)), cell)


def ticks(stretch: Stretch, zone: ZoneInfo) -> list[Tick]:
    """Local midnights, as many as a phone has room for."""
    days = round((stretch.end - stretch.start) / DAY)
    every = next(step for step in (1, 2, 4, 7, 14, 28, 56, 10_000) if days / step <= 7)
    first = stretch.start.astimezone(zone).date()
    found = []
    for day in range(0, days, every):
        moment = datetime.combine(first + day * DAY, time(), tzinfo=zone)
        at = 100 * ((moment - stretch.start) / (stretch.end - stretch.start))
        if at > LAST_TICK:
            break
        found.append(Tick(round(at, 3), moment_words(moment, zone, year=False)[:-6]))
    return found


def marks(cells: Iterable[Cell], stretch: Stretch, *, zone: ZoneInfo, step: timedelta, what: str) -> list[Mark]:
    """
    Args:
        what: what a cell counts, in one word of which there may be several: ``interval`` or ``variable``.
    """
    width = 100 / stretch.cells
    made = []
    for cell in cells:
        begin = stretch.start + cell.at * stretch.cell
        rarity = return_period_words(step / HOUR / max(cell.tail_probability, 1e-300))
        counted = f"{cell.anomalies:,} {what}{'s' * (cell.anomalies != 1)}"
        words = f"{span_words(begin, begin + stretch.cell, zone)}\n{counted}, {cell.kind}; by chance {rarity}"
        strength = 1 + sum(cell.tail_probability <= limit for limit in STRENGTHS)
        until = (begin + stretch.cell + DAY).isoformat(timespec="minutes").replace("+00:00", "Z")
        tone = TONES.get(cell.kind, "up")
        made.append(Mark(round(cell.at * width, 3), round(width, 3), tone, strength, words, until))
    return made


def band(row: VariableRow, stretch: Stretch, step: timedelta) -> Band | None:
    """What of the stretch was judged of a variable."""
    if row.judged_from is None or row.judged_until is None:
        return None
    return part_of(stretch, row.judged_from, row.judged_until + step)


def part_of(stretch: Stretch, start: datetime, end: datetime) -> Band | None:
    """Where a time lies in the stretch; None when it does not."""
    length = stretch.end - stretch.start
    begin, finish = max(start, stretch.start), min(end, stretch.end)
    if begin >= finish:
        return None
    return Band(round(100 * ((begin - stretch.start) / length), 3), round(100 * ((finish - begin) / length), 3))


def summary(row: VariableRow) -> str:
    """A row's cells in words, for those who do not see them."""
    if row.judged_until is None:
        return "not judged in this time"
    if not row.anomalies:
        return "nothing out of the ordinary"
    kinds = ", ".join(dict.fromkeys(cell.kind for cell in row.cells))
    return f"{row.anomalies:,} anomalous interval{'s' * (row.anomalies != 1)}: {kinds}"


def zone_of(groups: Sequence[Group]) -> ZoneInfo:
    """The zone of most of the groups."""
    names = [group.timezone for group in groups] or ["UTC"]
    return ZoneInfo(max(dict.fromkeys(names), key=names.count))


def cell_words(stretch: Stretch) -> str:
    return duration_words(stretch.cell)
