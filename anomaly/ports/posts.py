"""What is told about incidents beside the incidents themselves: remarks, news for a thread, digests, weekly posts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from anomaly.detection.incidents import Incident, IncidentVariable, Severity
from anomaly.groups import Group
from anomaly.ports.labels import Label, Snooze

PostKind = Literal["digest", "weekly"]


@dataclass(frozen=True, slots=True)
class Remarks:
    """What people have said of an incident."""

    label: Label | None = None
    snooze: Snooze | None = None
    """That keeps it quiet now."""


@dataclass(frozen=True, slots=True)
class News:
    """What a reply tells the thread of an incident: the difference to what it has said so far."""

    joined: tuple[IncidentVariable, ...] = ()
    """Variables that take part now, the worst first."""
    severity_before: Severity | None = None
    """If it has become more severe."""
    rarer: bool = False
    """Whether its worst interval has become rarer by far."""
    resolved: bool = False
    reopened: bool = False
    withdrawn: bool = False

    def __bool__(self) -> bool:
        return self != News()


@dataclass(frozen=True, slots=True)
class Digest:
    """The incidents that went to a group's digest since the one before, the worst first."""

    slot: datetime
    incidents: tuple[Incident, ...]


@dataclass(frozen=True, slots=True)
class WeekTold:
    """A week's incidents of a group, by where they went and what people said of those told."""

    start: datetime
    """Monday's first moment in the group's zone, UTC."""
    told: int
    """In messages of their own."""
    digest: int
    page: int
    real: int
    false_alarms: int
    expected: int

    @property
    def unlabelled(self) -> int:
        """Of those told."""
        return self.told - self.real - self.false_alarms - self.expected


@dataclass(frozen=True, slots=True)
class LoudVariable:
    """A variable that took part in many incidents that were told."""

    name: str
    incidents: int
    false_alarms: int


@dataclass(frozen=True, slots=True)
class Weekly:
    """What a group's policy promised, and what was observed."""

    slot: datetime
    promised: float
    """False alerts per week that the policy accepts."""
    weeks: tuple[WeekTold, ...]
    """The oldest first; only weeks that were judged."""
    loudest: tuple[LoudVariable, ...]


@dataclass(frozen=True, slots=True)
class Post:
    """A message about a group as a whole, to be delivered exactly once."""

    id: int
    group: str
    kind: PostKind
    slot: datetime
    """The moment of the group's policy that it belongs to."""
    attempts: int

    @property
    def key(self) -> str:
        """Unique, also over databases that are made anew."""
        return f"{self.group}-{self.kind}-{self.slot:%Y%m%dT%H%M}Z"


class Posts(Protocol):
    """PostgreSQL. Each write is one transaction; every method may raise `StoreUnavailableError`."""

    def begin_digest(self, group: Group, slot: datetime) -> bool:
        """A digest of all that was placed there until `slot` and is in none yet; False when there is nothing for it,
        or when this slot had its digest."""

    def begin_weekly(self, group: Group, slot: datetime) -> bool:
        """False when this slot had its post."""

    def due(self, group: Group, *, at: datetime) -> AbstractContextManager[Sequence[Post]]:
        """Undelivered ones whose time has come, oldest first; inside the block no second sender gets them."""

    def listed(self, post: Post) -> tuple[Incident, ...]:
        """The incidents of a digest, by start; those that have been withdrawn since are left out."""

    def delivered(self, post: Post, *, channel: str, ts: str, permalink: str | None, at: datetime) -> None: ...

    def postponed(self, post: Post, *, error: str, until: datetime) -> None: ...
