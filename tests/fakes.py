"""Fakes behind ports, for stages whose tests are not about the real thing.

`RecordedChannel` passes the contract tests of port `Channel` in ``tests/adapters/slack/test_channel_contract.py``,
beside the real adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from anomaly.detection.grid import CountGrid
from anomaly.exceptions import MessageGoneError
from anomaly.groups import Group, TimeRange
from anomaly.ports import ChartData, EventSource, HistorySummary, Incident, Links, Posted, Predictions, RejectedRow


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
    _count: int = field(default=0, init=False)

    def post(self, group: Group, incident: Incident, *, png: bytes, links: Links, key: str) -> Posted:
        if self.down is not None:
            raise self.down
        assert png
        if key not in self.posted:
            self.messages[key] = incident
            self._count += 1
            self.posted[key] = Posted("C1", f"{self._count}.0", f"http://slack/{self._count}")
        return self.posted[key]

    def update(self, group: Group, incident: Incident, *, links: Links, png: bytes | None = None) -> Posted:
        if self.down is not None:
            raise self.down
        for posted in self.posted.values():
            if posted.ts == incident.slack_ts:
                self.edits.append(incident)
                return posted
        raise MessageGoneError(f"no message {incident.slack_ts} to edit")

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
