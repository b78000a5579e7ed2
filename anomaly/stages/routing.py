"""Where an incident goes: to a message now, to one after the quiet hours, to the day's digest, or to its page alone.

In: the group's policy, the incident, the snoozes that hold, the time. Out: a place, with its reason. Pure. The first
of these rules that applies decides:

1. What is over stays where it went: nobody is told today of what was kept from them last week.
2. Wholly inside a planned event: the review page, or the digest.
3. All its variables are snoozed, or the whole group: the review page. If it outlasts the snooze, it is told.
4. Its severity is sent to the digest or to the page. If it becomes worse, it climbs out of there.
5. The model of labels thinks little of it, and it is not critical: the digest.
6. Quiet hours, and it is not severe enough for them: it waits until they end.
7. A message in the channel of its severity.

Every incident is in exactly one place, and whatever its place, it is on the review page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from anomaly.detection.incidents import SEVERITIES, Incident, Place
from anomaly.groups import Group
from anomaly.groups.calendar_rules import planned_event, quiet_until
from anomaly.ports.labels import Snooze


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an incident is found, and why it is not in a message."""

    place: Place
    reason: str = ""


def placed(
    group: Group, incident: Incident, *, snooze: Snooze | None = None, low_rank: str = "", now: datetime
) -> Placed:
    """The place of an incident that has no message yet.

    Args:
        snooze: that keeps it quiet now, of `snooze_of`.
        low_rank: why a model of people's labels thinks little of it; '' if it does not.
    """
    if incident.resolved and incident.place in {"digest", "page"}:
        return Placed(incident.place, incident.place_reason)
    names = [part.variable for part in incident.departed]
    event = planned_event(group.planned, names, incident.start, incident.end, group.zone)
    if event is not None:
        return Placed(event.tell, f"planned: {event.name}")
    if snooze is not None:
        return Placed("page", snooze_words(group, snooze))
    route = group.slack.route(incident.severity)
    if route in {"digest", "page"}:
        where = "digest" if route == "digest" else "review page"
        return Placed("digest" if route == "digest" else "page", f"{incident.severity} ones go to the {where}")
    if low_rank and incident.severity != "critical":
        return Placed("digest", low_rank)
    quiet = quiet_for(group, incident, now)
    if quiet is not None:
        return Placed("waiting", f"quiet hours until {quiet.astimezone(group.zone):%a %H:%M}")
    return Placed("message")


def quiet_for(group: Group, incident: Incident, now: datetime) -> datetime | None:
    """Until when the channel is to hear nothing of the incident; None when it may."""
    below = group.slack.quiet_below
    loud = below != "never" and SEVERITIES.index(incident.severity) >= SEVERITIES.index(below)
    return None if loud else quiet_until(group.slack.quiet_hours, now, group.zone)


def snooze_of(incident: Incident, snoozes: Sequence[Snooze]) -> Snooze | None:
    """The snooze that keeps the incident quiet: of the whole group, or the first to end of those that between them
    snooze all its variables."""
    whole = [snooze for snooze in snoozes if snooze.variable is None]
    if whole:
        return max(whole, key=lambda snooze: snooze.end)
    by_variable: dict[str | None, Snooze] = {}
    for snooze in sorted(snoozes, key=lambda snooze: snooze.end):
        by_variable[snooze.variable] = snooze
    names = {part.variable for part in incident.departed}
    if not names <= by_variable.keys():
        return None
    return min((by_variable[name] for name in names), key=lambda snooze: snooze.end)


def snooze_words(group: Group, snooze: Snooze) -> str:
    """``snoozed by Ann until 12 May 14:00: we are migrating``."""
    until = snooze.end.astimezone(group.zone)
    why = f": {snooze.reason}" if snooze.reason else ""
    return f"snoozed by {snooze.author} until {until.day} {until:%b %H:%M}{why}"
