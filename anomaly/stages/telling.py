"""Telling: what there is to say of a group's incidents goes out, each thing once.

In: incidents as they are stored, with what has been said of them. Out: messages, edits, replies, digests and weekly
posts in Slack. Two steps, repeated until nothing is left to say:

* `settle` compares what is stored with what has been said, and puts the difference into the outbox. It needs to know
  nothing of what changed or who changed it: a run that died is made up for by the next one.
* `deliver` sends what is due in the outbox. It notes each thing when it is out; what is out and was not noted is found
  again in Slack by its key.

Slack being down stops the delivery at the first refusal: the rest is as unlikely to get through, and waits as well in
the outbox. What Slack refuses for good stands in nobody's way, nor does what cannot be drawn.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from anomaly.detection.incidents import DELIVERY, Incident
from anomaly.exceptions import (
    MessageGoneError,
    SlackRejectedError,
    SlackUnavailableError,
    TransientError,
)
from anomaly.groups import Group
from anomaly.ports import Channel, Charts, ChartStore, Links, OutboxEntry, Said, Store
from anomaly.ports.labels import Label, Labels, Snooze
from anomaly.ports.posts import Posts, Remarks
from anomaly.stages import digests
from anomaly.stages.chart_data import chart_data
from anomaly.stages.routing import placed, quiet_for, snooze_of
from anomaly.stages.threads import news, nothing_new, reply_due, said_of

log = logging.getLogger(__name__)

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)
MOST_DOUBLINGS = 9
ROUNDS = 4
"""A reply may be due that waited for another one; no run has more than a few of them to tell of one incident."""

LowRank = Callable[[Group, Incident], str]
"""Why a model of people's labels thinks little of an incident, in words; '' if it does not."""


def _ranked_by_nobody(_: Group, __: Incident) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Desk:
    """All that it takes to tell people of incidents."""

    store: Store
    charts: Charts
    chart_store: ChartStore
    channel: Channel
    links: Links
    labels: Labels | None = None
    """None where nobody can label or snooze."""
    posts: Posts | None = None
    """None for no digests and no weekly posts."""
    low_rank: LowRank = _ranked_by_nobody


@dataclass(slots=True)
class Told:
    """What went out in one run, and what did not."""

    sent: Counter[str] = field(default_factory=Counter)
    """By what it was: ``post``, ``update``, ``reply``, ``notice``, ``pointer``, ``digest``, ``weekly``."""
    failures: list[Exception] = field(default_factory=list)
    gone: int = 0
    """Messages that somebody had deleted: their incidents are told anew."""
    stopped: bool = False
    """Slack does not answer: the rest is for another time."""

    def raise_worst(self) -> None:
        """What trying again cannot mend comes first.

        Raises:
            SlackUnavailableError, SlackRejectedError: if anything was not delivered. Or what else kept it: a chart
                that cannot be drawn, or kept.
        """
        if self.failures:
            raise next((f for f in self.failures if isinstance(f, SlackRejectedError)), self.failures[0])


@dataclass(frozen=True, slots=True)
class TellReport:
    """What one run of telling did."""

    posted: int
    edited: int
    replied: int
    waiting: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"messages: {self.posted} posted, {self.edited} edited, {self.replied} replies, {self.waiting} waiting"


def tell(
    group: Group,
    *,
    store: Store,
    charts: Charts,
    chart_store: ChartStore,
    channel: Channel,
    links: Links,
    now: datetime,
    labels: Labels | None = None,
    posts: Posts | None = None,
    low_rank: LowRank = _ranked_by_nobody,
) -> TellReport:
    """Delivers what there is to say now, without looking for incidents: after a label, or at the end of quiet hours.

    Raises:
        SlackUnavailableError, SlackRejectedError: something was not delivered; it stays in the outbox.
    """
    desk = Desk(store, charts, chart_store, channel, links, labels, posts, low_rank)
    told = tell_all(group, desk, now=now)
    report = tell_report(group, told, store)
    log.info("%s: %s", group.name, report)
    told.raise_worst()
    return report


def tell_report(group: Group, told: Told, store: Store) -> TellReport:
    return TellReport(
        posted=told.sent["post"],
        edited=told.sent["update"],
        replied=told.sent["reply"] + told.sent["notice"] + told.sent["pointer"],
        waiting=store.waiting(group),
    )


def tell_all(group: Group, desk: Desk, *, now: datetime, touched: Iterable[Incident] = ()) -> Told:
    """Settles and delivers.

    Args:
        touched: incidents that may read differently though they were over, beside all that are unsettled.
    """
    told = Told()
    looked_at = {incident.id: incident for incident in touched}
    for again in range(ROUNDS):
        looked_at |= {incident.id: incident for incident in desk.store.unsettled(group)}
        enqueued = settle(group, list(looked_at.values()), desk, now=now)
        if again and not enqueued:
            break
        before = sum(told.sent.values()) + told.gone
        deliver(group, desk, told, now=now)
        if told.stopped or sum(told.sent.values()) + told.gone == before:
            break
        looked_at = {}
    if desk.posts is not None and not told.stopped:
        digests.begin(group, store=desk.store, posts=desk.posts, now=now)
        _deliver_posts(group, desk, desk.posts, told, now=now)
    return told


# --- what there is to say ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Said:
    """What people have said of some incidents."""

    labels: Mapping[int, Label] = field(default_factory=dict)
    snoozes: Sequence[Snooze] = ()

    def of(self, incident: Incident) -> Remarks:
        # The message of what is over has nothing to be quiet about; what is untold is kept quiet, over or not.
        quiet = incident.slack_ts is not None and (incident.resolved or incident.withdrawn)
        return Remarks(
            None if incident.id is None else self.labels.get(incident.id),
            None if quiet else snooze_of(incident, self.snoozes),
        )


def _said_by_people(group: Group, incidents: Sequence[Incident], labels: Labels | None, now: datetime) -> _Said:
    if labels is None or not incidents:
        return _Said()
    return _Said(labels.of_incidents([i.id for i in incidents if i.id is not None]), labels.snoozes(group, at=now))


def settle(group: Group, incidents: Sequence[Incident], desk: Desk, *, now: datetime) -> int:
    """Places each incident that has no message, and enqueues what its message and its thread do not say yet; how
    much that was."""
    said = _said_by_people(group, incidents, desk.labels, now)
    enqueued = 0
    for incident in incidents:
        if incident.id is None:
            continue
        remarks = said.of(incident)
        if incident.slack_ts is not None:
            enqueued += _settle_told(group, incident, incident.id, remarks, desk.store, now=now)
        elif not incident.withdrawn:
            enqueued += _settle_untold(group, incident, incident.id, remarks, desk, now=now)
    return enqueued


def _settle_untold(
    group: Group, incident: Incident, number: int, remarks: Remarks, desk: Desk, *, now: datetime
) -> int:
    low_rank = desk.low_rank(group, incident)
    found = placed(group, incident, snooze=remarks.snooze, low_rank=low_rank, now=now)
    if (found.place, found.reason) != (incident.place, incident.place_reason):
        desk.store.place(number, found.place, reason=found.reason, at=now)
    return int(found.place == "message" and desk.store.enqueue(number, "post"))


def _settle_told(
    group: Group, incident: Incident, number: int, remarks: Remarks, store: Store, *, now: datetime
) -> int:
    enqueued = 0
    if incident.told != digest(incident, remarks):
        enqueued += store.enqueue(number, "update")
    over = incident.resolved or incident.withdrawn
    muted = not over and (remarks.snooze is not None or quiet_for(group, incident, now) is not None)
    action = reply_due(incident)
    if action is not None and not muted:
        return enqueued + store.enqueue(number, action, said=said_of(incident))
    route = group.slack.route(incident.severity)
    thread = incident.thread
    if thread and thread.channels and not over and not muted and route not in {"digest", "page", *thread.channels}:
        pointed = replace(thread, channels=(*thread.channels, route))
        enqueued += store.enqueue(number, "pointer", said=pointed)
    return enqueued


_UNTOLD: dict[str, Any] = dict.fromkeys(DELIVERY)


def digest(incident: Incident, remarks: Remarks | None = None) -> str:
    """Of what a message about the incident says; equal for incidents that read the same."""
    said: dict[str, Any] = asdict(replace(incident, **_UNTOLD))
    if remarks is not None and remarks.label is not None:
        said["label"] = (remarks.label.word, remarks.label.author, remarks.label.reason)
    if remarks is not None and remarks.snooze is not None:
        said["snooze"] = (remarks.snooze.end, remarks.snooze.author, remarks.snooze.reason)
    written = json.dumps(said, default=_as_text, sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def _as_text(time: datetime | timedelta) -> str:
    return time.astimezone(UTC).isoformat() if isinstance(time, datetime) else str(time)


# --- saying it --------------------------------------------------------------------------------------------------


def deliver(group: Group, desk: Desk, told: Told, *, now: datetime) -> None:
    """Sends what is due of incidents, and notes in `told` what became of it."""
    store = desk.store
    with store.due(group, at=now) as entries:
        said = _said_by_people(group, [entry.incident for entry in entries], desk.labels, now)
        fresh: dict[int | None, Incident] = {}
        for entry in entries:
            entry = replace(entry, incident=fresh.get(entry.incident.id, entry.incident))  # noqa: PLW2901
            reason = _no_use(entry)
            if reason:
                store.dropped(entry, reason=reason, at=now)
                continue
            try:
                action, fresh[entry.incident.id] = _send(group, entry, said.of(entry.incident), desk, now=now)
                told.sent[action] += 1
            except MessageGoneError as gone:
                log.warning("the message of incident %s is gone; a new one is posted: %s", entry.incident.id, gone)
                store.message_gone(entry, at=now)
                told.gone += 1
                fresh[entry.incident.id] = replace(entry.incident, slack_ts=None, thread=None)
            except (SlackUnavailableError, SlackRejectedError) as refused:
                wait = wait_after(entry.attempts, refused)
                store.postponed(entry, error=str(refused), until=now + wait)
                log.warning("message %s was not delivered, next try in %s: %s", entry.key, wait, refused)
                told.failures.append(refused)
                if isinstance(refused, SlackUnavailableError):
                    told.stopped = True
                    return
            except TransientError:
                raise  # the next one would wait for the same server
            except Exception as failed:
                # Its chart, or a mistake of ours: whatever it is, the other incidents are told, and then it is raised.
                wait = wait_after(entry.attempts, failed)
                store.postponed(entry, error=f"{type(failed).__name__}: {failed}", until=now + wait)
                log.exception("message %s could not be made, next try in %s", entry.key, wait)
                told.failures.append(failed)


def _no_use(entry: OutboxEntry) -> str:
    """Why there is nothing left to say by this entry, if there is not."""
    incident = entry.incident
    if incident.slack_ts is not None:
        return "nothing new" if entry.said is not None and nothing_new(incident, entry.action, entry.said) else ""
    if incident.withdrawn:
        return "withdrawn before it was told"
    return "" if entry.action == "post" else "the incident has no message"


def _send(group: Group, entry: OutboxEntry, remarks: Remarks, desk: Desk, *, now: datetime) -> tuple[str, Incident]:
    """Sends one entry; what was sent, and the incident as it is then."""
    incident = entry.incident
    if entry.said is not None:
        return entry.action, _send_reply(group, entry, entry.said, desk, now=now)
    png, chart = (None, None) if incident.withdrawn else _drawn(group, incident, desk)
    first = incident.slack_ts is None
    said = None
    if first and png is not None:
        route = _channel(group, incident)
        done = desk.channel.post(
            group, incident, png=png, links=desk.links, key=entry.key, channel=route, remarks=remarks
        )
        said = said_of(incident, channel=route)
    else:
        done = desk.channel.update(group, incident, links=desk.links, png=png, remarks=remarks)
    # A message that a dead run left behind may say less than the incident is now: unknown, so edited next.
    told = None if done.found else digest(incident, remarks)
    desk.store.delivered(
        entry,
        channel=done.channel,
        ts=done.ts,
        permalink=done.permalink,
        chart=chart,
        told=told,
        at=now,
        said=said,
        words=done.words,
    )
    after = replace(incident, channel=done.channel, slack_ts=done.ts, thread=said or incident.thread)
    return "post" if first else "update", after


def _send_reply(group: Group, entry: OutboxEntry, said: Said, desk: Desk, *, now: datetime) -> Incident:
    incident = entry.incident
    if entry.action == "pointer":
        channel = said.channels[-1]
        done = desk.channel.point(group, incident, channel=channel, links=desk.links, key=entry.key)
    else:
        notice = entry.action == "notice"
        new = news(incident, said, to_channel=notice)
        done = desk.channel.reply(group, incident, new, key=entry.key, broadcast=notice)
    desk.store.delivered(
        entry,
        channel=done.channel,
        ts=done.ts,
        permalink=done.permalink,
        chart=None,
        told=None,
        at=now,
        words=done.words,
    )
    return replace(incident, thread=said)


def _channel(group: Group, incident: Incident) -> str:
    route = group.slack.route(incident.severity)
    return group.slack.channel if route in {"digest", "page"} else route


def _drawn(group: Group, incident: Incident, desk: Desk) -> tuple[bytes, str]:
    """The chart, and where it is kept; drawing it again replaces it."""
    png = desk.charts.incident(chart_data(group, incident, desk.store))
    return png, desk.chart_store.save(f"{group.name}/{incident.start:%Y-%m-%dT%H%M}Z-{incident.id}.png", png)


def _deliver_posts(group: Group, desk: Desk, posts: Posts, told: Told, *, now: datetime) -> None:
    with posts.due(group, at=now) as due:
        for post in due:
            try:
                done = digests.send(
                    group,
                    post,
                    store=desk.store,
                    posts=posts,
                    labels=desk.labels,
                    channel=desk.channel,
                    links=desk.links,
                )
                if done is not None:
                    told.sent[post.kind] += 1
                where = ("", "", None) if done is None else (done.channel, done.ts, done.permalink)
                posts.delivered(post, channel=where[0], ts=where[1], permalink=where[2], at=now)
            except (SlackUnavailableError, SlackRejectedError) as refused:
                wait = wait_after(post.attempts, refused)
                posts.postponed(post, error=str(refused), until=now + wait)
                log.warning("%s was not delivered, next try in %s: %s", post.key, wait, refused)
                told.failures.append(refused)
                if isinstance(refused, SlackUnavailableError):
                    told.stopped = True
                    return


def wait_after(attempts: int, refused: Exception) -> timedelta:
    """Until the next try: as long as Slack asks for, or twice as long as the last time."""
    asked = refused.retry_after if isinstance(refused, SlackUnavailableError) else None
    doubled: timedelta = min(FIRST_WAIT * 2 ** min(attempts, MOST_DOUBLINGS), LONGEST_WAIT)
    return max(doubled, asked) if asked else doubled
