"""What people say of incidents, and where it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from anomaly.groups import Group, TimeRange

LabelWord = Literal["real", "false_alarm", "expected"]
Via = Literal["slack", "page", "cli", "csv"]


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said of an incident: the stretch and variables as they were when it was labelled."""

    group: str
    start: datetime
    end: datetime
    """Exclusive."""
    variables: tuple[str, ...]
    word: LabelWord
    author: str
    via: Via
    given_at: datetime
    reason: str = ""
    incident_id: int | None = None
    """None when it came from a file and belongs to no incident that is known."""
    own: tuple[str, ...] = ()
    """Of the variables, those that took part by themselves, the worst first: only their thresholds move. None: all
    of `variables`, in their order."""
    id: int | None = None

    @property
    def moved(self) -> tuple[str, ...]:
        """The variables whose thresholds it speaks of, the worst first."""
        return self.own or self.variables


@dataclass(frozen=True, slots=True)
class Snooze:
    """No new message about a variable, or the whole group, for a while; incidents are still kept."""

    group: str
    variable: str | None
    """None for the whole group."""
    start: datetime
    end: datetime
    """Exclusive."""
    author: str
    via: Via
    given_at: datetime
    reason: str = ""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A variable's thresholds after a label: from an interval on, the probability behind them times `factor`."""

    group: str
    variable: str
    serves_from: datetime
    factor: float
    """Below 1: rarer alarms. Bounds are in `anomaly.detection.adjusting`."""
    reason: str
    label_id: int | None = None


class Labels(Protocol):
    """PostgreSQL. Each write is one transaction; every method may raise `StoreUnavailableError`."""

    def give(self, label: Label) -> Label:
        """Keeps it in the place of the incident's earlier label, if any, and returns it with its id.

        One without an incident takes the place of another of the same stretch and variables. The same word, reason
        and author again, and one given earlier than the one that holds, change nothing and return what is there. What
        was given at that very moment already, and replaced or taken back since, stays so: it is a replay.
        """

    def take_back(self, label: Label, *, at: datetime) -> None:
        """It holds no more; what it led to is the caller's to undo."""

    def labels(self, group: Group, within: TimeRange | None = None) -> tuple[Label, ...]:
        """Those that hold and overlap the range, or all, by start."""

    def of_incidents(self, ids: Iterable[int]) -> Mapping[int, Label]:
        """Those that hold, by incident."""

    def snooze(self, snooze: Snooze) -> Snooze:
        """Keeps it and returns it with its id. The same variable, end, reason and author again change nothing."""

    def end_snooze(self, snooze: Snooze, *, at: datetime) -> None:
        """It holds until `at` and no longer."""

    def snoozes(self, group: Group, *, at: datetime) -> tuple[Snooze, ...]:
        """Those that hold at a moment, by end."""

    def adjust(self, adjustments: Sequence[Adjustment]) -> None:
        """Upserts by variable and moment."""

    def adjustments(self, group: Group) -> tuple[Adjustment, ...]:
        """All, by `serves_from` and variable."""
