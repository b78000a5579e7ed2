"""Alert: anomalies become incidents, incidents become messages, each told once.

In: a range of intervals that predict has judged. Out: incidents in the store, and one thread in Slack for each that
the group's policy wants told (`anomaly.stages.routing`). What is said goes through the outbox and out once
(`anomaly.stages.telling`), also when this is run twice, and later when Slack is down. While an incident goes on, its
message is edited; its thread hears what is materially new, and the channel only of what has become clearly worse.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from anomaly.detection.incidents import DELIVERY, Anomaly, Incident, gather
from anomaly.groups import Group, TimeRange
from anomaly.ports import Channel, Charts, ChartStore, Links, Store
from anomaly.ports.labels import Labels
from anomaly.ports.posts import Posts
from anomaly.stages.chart_data import CHART_AFTER, CHART_BEFORE, chart_data
from anomaly.stages.explaining import explained
from anomaly.stages.telling import Desk, LowRank, tell_all, tell_report

__all__ = ["CHART_AFTER", "CHART_BEFORE", "AlertReport", "alert", "chart_data"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AlertReport:
    """What one run of alert did."""

    start: str
    end: str
    anomalies: int
    opened: int
    changed: int
    worse: int
    """Of the changed ones, those that the channel should hear of again."""
    resolved: int
    withdrawn: int
    posted: int
    edited: int
    replied: int
    waiting: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.anomalies:,} anomalous intervals; incidents: {self.opened} opened, {self.changed} changed, "
            f"{self.worse} clearly worse, {self.resolved} resolved, {self.withdrawn} withdrawn; "
            f"messages: {self.posted} posted, {self.edited} edited, {self.replied} replies, {self.waiting} waiting"
        )


def alert(
    group: Group,
    start: datetime,
    end: datetime,
    *,
    store: Store,
    charts: Charts,
    chart_store: ChartStore,
    channel: Channel,
    links: Links,
    now: datetime,
    labels: Labels | None = None,
    posts: Posts | None = None,
    low_rank: LowRank | None = None,
) -> AlertReport:
    """Gathers the incidents that the range takes part in, and delivers what there is to say.

    Args:
        labels: what people said; None where nobody can label or snooze.
        posts: None for no digests and no weekly posts.
        low_rank: sends incidents to the digest that people's labels say little good of; None for none.

    Raises:
        InvalidRangeError: empty, reversed, naive or off the grid.
        SlackUnavailableError: a message could not be delivered; it stays in the outbox.
        SlackRejectedError: Slack refused a message for good; it stays in the outbox too, for after the mending.
    """
    within = group.range(start, end)
    with store.exclusively(group, "alert"):
        around = _around(group, within, store)
        before = store.incidents(group, TimeRange(around.begin, around.until, group.interval))
        gathered = gather(
            group.name,
            around.anomalies,
            step=group.interval,
            merge_gap=group.incidents.merge_gap,
            min_anomalies=group.incidents.min_anomalies,
            min_duration=group.incidents.min_duration,
            repeat_window=group.incidents.repeat_window,
            since=around.begin,
            until=around.until,
        )
        matched, withdrawn = _matched([explained(group, i, around.anomalies, store) for i in gathered], before)
        saved = store.save_incidents(group, matched, withdrawn=[w.id for w in withdrawn if w.id is not None])

    desk = Desk(store, charts, chart_store, channel, links, labels, posts, *([low_rank] if low_rank else []))
    gone = [replace(w, withdrawn=True, resolved=True) for w in withdrawn]
    told = tell_all(group, desk, now=now, touched=[*saved, *gone])
    known = {b.id: b for b in before}
    report = AlertReport(
        start=within.start.isoformat(),
        end=within.end.isoformat(),
        anomalies=sum(a.start >= around.begin for a in around.anomalies),
        opened=sum(s.id not in known for s in saved),
        changed=sum(s.id in known and not s.says_the_same_as(known[s.id]) for s in saved),
        worse=sum(s.clearly_worse for s in saved),
        resolved=sum(s.resolved and not (s.id in known and known[s.id].resolved) for s in saved),
        withdrawn=len(withdrawn),
        **tell_report(group, told, store).as_dict(),
    )
    log.info("%s %s: %s", group.name, within, report)
    told.raise_worst()
    return report


@dataclass(frozen=True, slots=True)
class _Around:
    """What the range can touch."""

    anomalies: Sequence[Anomaly]
    """Those of every incident that the range can touch, and before them those that an incident can repeat."""
    begin: datetime
    """Incidents that started earlier are not made again."""
    until: datetime
    """End of the last judged interval."""


def _around(group: Group, within: TimeRange, store: Store) -> _Around:
    """What of the anomalies the incidents of the range follow from.

    Going back, the search does not end after the beginning of an incident that still goes on: a pause of the
    scheduler must not leave it open for ever. Going forward it takes all there is, so that running an old range
    again does not cut short what happened later.
    """
    latest = store.predicted_until(group)
    until = max(within.end, latest + group.interval) if latest else within.end
    going_on = [incident.start for incident in store.incidents(group) if not incident.resolved]
    begin = _after_quiet(group, min([group.floor(within.start - group.lateness), *going_on]), store)
    repeated = _after_quiet(group, group.floor(begin - group.incidents.repeat_window), store)
    return _Around(store.anomalies(group, TimeRange(repeated, until, group.interval)), begin, until)


def _after_quiet(group: Group, begin: datetime, store: Store) -> datetime:
    """The moment, or as much earlier as it takes to have a whole merge gap without anomalies before it."""
    gap = group.incidents.merge_gap + group.interval
    while earlier := store.anomalies(group, TimeRange(group.floor(begin - gap), begin, group.interval)):
        begin = earlier[0].start
    return begin


def _matched(gathered: Sequence[Incident], before: Sequence[Incident]) -> tuple[list[Incident], list[Incident]]:
    """Each gathered incident under the id of the stored one it continues; and those that are no more."""
    left = list(before)
    matched = []
    for incident in gathered:
        same = [old for old in left if old.start < incident.end and incident.start < old.end]
        if same:
            left = [old for old in left if old not in same[:1]]
            matched.append(replace(incident, **{name: getattr(same[0], name) for name in DELIVERY}))
        else:
            matched.append(incident)
    return matched, left
