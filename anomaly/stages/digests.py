"""A group's digests and weekly posts: when one is due, and what it says.

The digest lists, once a day at the group's hour, the incidents that were placed in it since the one before; a day
without any has none. The weekly post says what the policy promised (false alerts accepted per week) and what was
observed in the latest eight weeks that were judged from their beginning to their end: how many incidents were told,
what people said of them, which variables were loudest.

Both are begun by whoever comes by once their moment has passed, at the end of alert: that is every interval, costs one
statement, and needs no DAG that could be paused or forgotten. A row per group, kind and moment makes each of them
happen once. A moment is past when the group's data have reached it, too: a week that is counted late is accounted for
late, and running old ranges again posts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from anomaly.detection.incidents import SEVERITIES, Incident
from anomaly.groups import Group, TimeRange
from anomaly.groups.calendar_rules import latest_daily, latest_weekly, local_midnight
from anomaly.groups.model import TOTAL
from anomaly.ports import Channel, Links, Posted, Store
from anomaly.ports.labels import Label, Labels
from anomaly.ports.posts import Digest, LoudVariable, Post, Posts, Weekly, WeekTold

WEEKS = 8
WEEK = timedelta(days=7)
LOUDEST = 5
LOUD_FROM = 2
"""Incidents that make a variable loud."""


def begin(group: Group, *, store: Store, posts: Posts, now: datetime) -> None:
    """Begins the digest and the weekly post whose moment has come."""
    posts.begin_digest(group, latest_daily(group.slack.digest, now, group.zone))
    reached = store.predicted_until(group)
    if group.slack.weekly is None or reached is None:
        return
    slot = latest_weekly(group.slack.weekly, min(now, reached + group.interval), group.zone)
    if _weeks(group, slot, store):
        posts.begin_weekly(group, slot)


def send(
    group: Group, post: Post, *, store: Store, posts: Posts, labels: Labels | None, channel: Channel, links: Links
) -> Posted | None:
    """Sends a post that is due; None when nothing is left of what it was to say.

    Raises:
        SlackUnavailableError, SlackRejectedError
    """
    if post.kind == "weekly":
        return channel.weekly(group, weekly(group, post.slot, store, labels), links=links, key=post.key)
    listed = posts.listed(post)
    if not listed:
        return None
    return channel.digest(group, Digest(post.slot, _worst_first(listed)), links=links, key=post.key)


def _worst_first(incidents: Sequence[Incident]) -> tuple[Incident, ...]:
    return tuple(sorted(incidents, key=lambda i: (-SEVERITIES.index(i.severity), i.tail_probability, i.start)))


def weekly(group: Group, slot: datetime, store: Store, labels: Labels | None) -> Weekly:
    """What the weekly post of this moment says."""
    weeks = _weeks(group, slot, store)
    first, last = weeks[0][0], weeks[-1][1]
    within = TimeRange(group.floor(first), group.floor(last - group.interval) + group.interval, group.interval)
    incidents = [i for i in store.incidents(group, within) if first <= i.start < last]
    given: dict[int | None, Label] = {}
    if labels is not None:
        given |= dict(labels.of_incidents([i.id for i in incidents if i.id is not None]).items())
    return Weekly(
        slot=slot,
        promised=group.threshold.false_alerts_per_week,
        weeks=tuple(_week(begin, [i for i in incidents if begin <= i.start < end], given) for begin, end in weeks),
        loudest=_loudest([i for i in incidents if i.place == "message"], given),
    )


def _weeks(group: Group, slot: datetime, store: Store) -> list[tuple[datetime, datetime]]:
    """Beginning and end of the latest whole weeks before the moment that a champion judged, the oldest first."""
    monday = slot.astimezone(group.zone).date()
    monday -= timedelta(days=monday.weekday())
    ends = [local_midnight(monday - n * WEEK, group.zone) for n in range(WEEKS + 1)]
    whole = [(begin, end) for end, begin in pairwise(ends)]
    oldest = TimeRange(group.floor(ends[-1]), group.floor(ends[0] - group.interval) + group.interval, group.interval)
    served = [fit.serves_from for fit in store.champions(group, oldest) if fit.serves_from is not None]
    return [week for week in reversed(whole) if served and week[0] >= min(served)]


def _week(begin: datetime, incidents: Sequence[Incident], given: Mapping[int | None, Label]) -> WeekTold:
    places = Counter(incident.place for incident in incidents)
    told = [incident for incident in incidents if incident.place == "message"]
    words = Counter(given[i.id].word for i in told if i.id in given)
    return WeekTold(
        start=begin,
        told=len(told),
        digest=places["digest"],
        page=places["page"] + places["waiting"],
        real=words["real"],
        false_alarms=words["false_alarm"],
        expected=words["expected"],
    )


def _loudest(told: Sequence[Incident], given: Mapping[int | None, Label]) -> tuple[LoudVariable, ...]:
    taken: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for incident in told:
        names = {part.variable for part in incident.variables if part.test != "together"} - {TOTAL}
        taken.update(names)
        if incident.id in given and given[incident.id].word == "false_alarm":
            false.update(names)
    loud = sorted((-number, -false[name], name) for name, number in taken.items() if number >= LOUD_FROM)
    return tuple(LoudVariable(name, taken[name], false[name]) for _, _, name in loud[:LOUDEST])
