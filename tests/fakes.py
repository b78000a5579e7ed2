"""Fakes behind ports, for stages whose tests are not about the real thing.

`RecordedChannel` passes the contract tests of port `Channel` in ``tests/adapters/slack/test_channel_contract.py``,
beside the real adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from anomaly.detection.grid import CountGrid
from anomaly.exceptions import MessageGoneError
from anomaly.groups import Group, TimeRange
from anomaly.ports import (
    NO_REMARKS,
    ChartData,
    EventSource,
    HistorySummary,
    Incident,
    Links,
    Posted,
    Predictions,
    RejectedRow,
)
from anomaly.ports.posts import Digest, News, Remarks, Weekly


@dataclass(frozen=True)
class Reply:
    """A reply in an incident's thread."""

    incident: Incident
    news: News
    broadcast: bool


@dataclass
class RecordedChannel:
    """Port `Channel`: notes what it is told, can be down, and somebody can delete its messages."""

    messages: dict[str, Incident] = field(default_factory=dict)
    """What was posted, by outbox key."""
    edits: list[Incident] = field(default_factory=list)
    down: Exception | None = None
    """Raised by every call while it is set."""
    posted: dict[str, Posted] = field(default_factory=dict)
    """Where it was posted, by outbox key; without what somebody has deleted."""
    replies: dict[str, Reply] = field(default_factory=dict)
    """By outbox key."""
    digests: dict[str, Digest] = field(default_factory=dict)
    weeklies: dict[str, Weekly] = field(default_factory=dict)
    pointers: dict[str, tuple[str, Incident]] = field(default_factory=dict)
    """Channel and incident, by outbox key."""
    channels: list[str | None] = field(default_factory=list)
    """Of each message of `messages`."""
    remarks: list[Remarks] = field(default_factory=list)
    """Of each message and edit, in their order."""
    _count: int = field(default=0, init=False)

    def post(
        self,
        group: Group,
        incident: Incident,
        *,
        png: bytes,
        links: Links,
        key: str,
        channel: str | None = None,
        remarks: Remarks = NO_REMARKS,
    ) -> Posted:
        assert png
        done = self._once(key)
        if not done.found:
            self.messages[key] = incident
            self.channels.append(channel)
            self.remarks.append(remarks)
        return done

    def update(
        self,
        group: Group,
        incident: Incident,
        *,
        links: Links,
        png: bytes | None = None,
        remarks: Remarks = NO_REMARKS,
    ) -> Posted:
        self._answer()
        posted = self._there(incident)
        self.edits.append(incident)
        self.remarks.append(remarks)
        return replace(posted, words=f"edit {len(self.edits)}")

    def reply(self, group: Group, incident: Incident, news: News, *, key: str, broadcast: bool = False) -> Posted:
        self._answer()
        self._there(incident)
        done = self._once(key)
        if not done.found:
            self.replies[key] = Reply(incident, news, broadcast)
        return done

    def point(self, group: Group, incident: Incident, *, channel: str, links: Links, key: str) -> Posted:
        done = self._once(key)
        if not done.found:
            self.pointers[key] = channel, incident
        return done

    def digest(self, group: Group, digest: Digest, *, links: Links, key: str) -> Posted:
        done = self._once(key)
        if not done.found:
            self.digests[key] = digest
        return done

    def weekly(self, group: Group, weekly: Weekly, *, links: Links, key: str) -> Posted:
        done = self._once(key)
        if not done.found:
            self.weeklies[key] = weekly
        return done

    def _answer(self) -> None:
        if self.down is not None:
            raise self.down

    def _once(self, key: str) -> Posted:
        self._answer()
        if key in self.posted:
            return replace(self.posted[key], found=True)
        self._count += 1
        count = self._count
        self.posted[key] = Posted("C1", f"{count}.0", f"http://slack/{count}", words=f"message {count}")
        return self.posted[key]

    def _there(self, incident: Incident) -> Posted:
        for posted in self.posted.values():
            if posted.ts == incident.slack_ts:
                return posted
        raise MessageGoneError(f"no message {incident.slack_ts}")

    def delete(self, ts: str) -> None:
        """As somebody in the channel would."""
        self.posted = {key: posted for key, posted in self.posted.items() if posted.ts != ts}


class PassingChecks:
    """Port `DataChecks`: finds nothing wrong, at once, for tests of many runs."""

    def source_rows(
        self, group: Group, source: EventSource, within: TimeRange, *, read_at: datetime
    ) -> Sequence[RejectedRow]:
        return ()

    def counts(self, group: Group, grid: CountGrid, within: TimeRange) -> None:
        pass

    def training_windows(self, group: Group, history: HistorySummary) -> Sequence[str]:
        return ()

    def predictions(self, group: Group, predictions: Predictions, within: TimeRange) -> None:
        pass


class PlainCharts:
    """Port `Charts`: the variables' names in place of a picture."""

    def incident(self, data: ChartData) -> bytes:
        return ", ".join(v.variable for v in data.variables).encode()
