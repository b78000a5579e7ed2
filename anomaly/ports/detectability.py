"""What a variable's serving tests would notice, and where it is kept: the detectability map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from anomaly.groups import Group

ChangeKind = Literal["drop", "surge", "silence", "frozen", "delay"]


@dataclass(frozen=True, slots=True)
class Noticed:
    """One kind of change of one variable, beginning in one hour of the day."""

    kind: ChangeKind
    hour: int
    """Of the day in the group's zone, 0 to 23, in which the change begins."""
    smallest: float | None
    """The smallest change that is noticed on most days; None when even the largest that was tried is not. For a drop
    the share lost, in (0, 1]; for a surge the share added, 1 for twice as many; for a silence, a frozen count and a
    delay the hours that it lasts."""
    after: timedelta | None
    """From the beginning of that change to the end of the interval in which an incident opens, on the median day; None
    as above."""
    share: float
    """Of the days tried, those on which it was noticed, in [0, 1]: at `smallest`, or at the largest that was tried."""


@dataclass(frozen=True, slots=True)
class VariableDetectability:
    """All that was measured of one variable."""

    variable: str
    fit_id: str
    """The fit whose tests and thresholds were asked."""
    measured_at: datetime
    days: int
    """On which each change was tried."""
    events_per_day: float
    """Over these weeks, on average."""
    blind: str
    """Why nothing short of days would be noticed, in a sentence; '' for a variable that can see."""
    changes: tuple[Noticed, ...]
    """By kind, as in `ChangeKind`, and hour; empty for a variable that no test judges."""

    def of(self, kind: ChangeKind) -> tuple[Noticed, ...]:
        """One kind's, by hour."""
        return tuple(change for change in self.changes if change.kind == kind)

    def typical(self, kind: ChangeKind) -> float | None:
        """The smallest change noticed in the median hour, the same unit as `Noticed.smallest`; None when in most hours
        none is."""
        found = sorted(float("inf") if c.smallest is None else c.smallest for c in self.of(kind))
        middle = found[len(found) // 2] if found else float("inf")
        return None if middle == float("inf") else middle


class Detectability(Protocol):
    """PostgreSQL. Each write is one transaction; every method may raise `StoreUnavailableError`."""

    def save(self, group: Group, fit_id: str, rows: Sequence[VariableDetectability]) -> None:
        """Replaces all that was known of the group."""

    def of_variable(self, group: Group, name: str) -> VariableDetectability | None:
        """What was measured last; None for a variable that was not there then."""

    def of_group(self, group: Group) -> tuple[VariableDetectability, ...]:
        """All variables, by name."""

    def blind(self, group: Group, *, limit: int) -> tuple[VariableDetectability, ...]:
        """Those that would notice nothing, the most written first."""
