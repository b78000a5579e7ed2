"""Under what each interval was judged, and where that is kept: what makes an alert derivable again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from anomaly.groups import Group, TimeRange
from anomaly.ports import Incident

Content = Mapping[str, Any]
"""What JSON can hold."""


def digest(content: Content) -> str:
    """SHA-256 of the content as compact JSON with sorted keys; equal contents have equal digests."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a judgement depends on, beside the counts and the fit."""

    configuration: Content
    """The group's file as it was: ``Group.model_dump(mode='json')``."""
    adjustments: Content
    """By variable, the factor by which labels had changed the probability behind its thresholds."""
    filling: Content
    """By variable, ``filled`` and ``scatter`` by age, and ``intervals``; empty when every count was complete."""
    software: Content
    """Version by library."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one interval of a group was judged last."""

    start: datetime
    judged_at: datetime
    fit_id: str
    age: int
    """At which its counts were taken, in whole intervals; -1 for complete."""
    circumstances: Circumstances


class Judgements(Protocol):
    """PostgreSQL. Each write is one transaction; every method may raise `StoreUnavailableError`."""

    def note(self, group: Group, judgements: Sequence[Judgement]) -> None:
        """Replaces what was noted of these intervals. What they were judged under is kept once."""

    def judgements(self, group: Group, within: TimeRange) -> tuple[Judgement, ...]:
        """By start; those from before this was noted are missing."""

    def incident(self, number: int) -> Incident | None:
        """Of any group, withdrawn or not."""

    def incident_at(self, channel: str, ts: str) -> Incident | None:
        """The one whose message stands there."""
