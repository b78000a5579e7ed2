"""What an incident's thread is told, and when: only what is materially new.

In: an incident, with what its thread has said so far. Out: whether a reply is due, what the thread has said once it is
out, and the difference in records that can be put into words. Pure.

While an incident goes on, its message is edited at every change, which notifies nobody. The thread hears of it when

* variables have joined: at least a quarter more than it knows of, so that a storm that takes one variable after the
  other is told in steps that grow,
* its worst interval has become a thousand times rarer,
* it ends, goes on after all, or is withdrawn.

The channel hears of it, by a reply that is sent to both, when it has become clearly worse (`Incident.clearly_worse`).
"""

from __future__ import annotations

import math

from anomaly.detection.incidents import SEVERITIES, WORSE_PROBABILITY, Incident, Said
from anomaly.groups.model import TOTAL
from anomaly.ports import OutboxAction
from anomaly.ports.posts import News

JOINED_SHARE = 0.25
"""Of the variables that the thread knows: so many more are news."""


def said_of(incident: Incident, *, channel: str | None = None) -> Said:
    """What the thread has said once it has said all of this; variables that it named stay named.

    Args:
        channel: of the policy, that hears of it by this.
    """
    thread = incident.thread
    channels = () if thread is None else thread.channels
    return Said(
        severity=incident.severity,
        variables=tuple(sorted({v.variable for v in incident.departed} | set(thread.variables if thread else ()))),
        tail_probability=incident.tail_probability,
        resolved=incident.resolved,
        withdrawn=incident.withdrawn,
        channels=channels if channel is None or channel in channels else (*channels, channel),
    )


def reply_due(incident: Incident) -> OutboxAction | None:
    """Whether the thread, or with it the channel, should hear of the incident again."""
    thread = incident.thread
    if thread is None:
        return None
    if (incident.withdrawn, incident.resolved) != (thread.withdrawn, thread.resolved):
        return "reply"
    if incident.withdrawn or incident.resolved:
        return None
    if incident.clearly_worse:
        return "notice"
    joined = _joined(thread, said_of(incident))
    if joined and joined >= math.ceil(JOINED_SHARE * len(thread.variables)):
        return "reply"
    return "reply" if incident.tail_probability <= WORSE_PROBABILITY * thread.tail_probability else None


def news(incident: Incident, said: Said, *, to_channel: bool = False) -> News:
    """What a reply tells that takes the thread from where it is to `said`.

    Args:
        to_channel: whether the channel sees it, which has not seen the replies in between.
    """
    thread = incident.thread or said
    if said.withdrawn and not thread.withdrawn:
        return News(withdrawn=True)
    if said.resolved and not thread.resolved:
        return News(resolved=True)
    severity, rarest = thread.severity, thread.tail_probability
    if to_channel:
        severity = incident.told_severity or severity
        rarest = rarest if incident.told_tail_probability is None else incident.told_tail_probability
    names = set(said.variables) - set(thread.variables) - {TOTAL}
    return News(
        joined=tuple(part for part in incident.variables if part.variable in names),
        severity_before=severity if SEVERITIES.index(said.severity) > SEVERITIES.index(severity) else None,
        rarer=said.tail_probability <= WORSE_PROBABILITY * rarest,
        reopened=thread.resolved and not said.resolved,
    )


def nothing_new(incident: Incident, action: OutboxAction, said: Said) -> bool:
    """Whether a reply that was due says nothing any more; a notice does until the channel knows all of it."""
    if action == "notice":
        known = (incident.told_severity, incident.told_variables, incident.told_tail_probability)
        return known == (said.severity, len(said.variables), said.tail_probability)
    if action == "pointer":
        return incident.thread is not None and said.channels == incident.thread.channels
    return not news(incident, said)


def _joined(thread: Said, said: Said) -> int:
    return len(set(said.variables) - set(thread.variables) - {TOTAL})
