"""What an incident's thread is told after its first message, and what leads to it from another channel.

In: an incident and its news. Out: text and Block Kit. Pure; sending is `anomaly.adapters.slack`.
"""

from __future__ import annotations

from anomaly.adapters.messages import (
    NAME_LIMIT,
    Block,
    code,
    duration_words,
    escaped,
    headline,
    linked,
    mark_of,
    number_words,
    observed_words,
    return_period_words,
    section,
    sentence,
    shortened,
    span_words,
)
from anomaly.groups import Group
from anomaly.ports import Incident, Links
from anomaly.ports.posts import News

LISTED = 5
"""Variables that a reply says something of; the rest is a number, and in the message."""


def reply_text(incident: Incident, news: News) -> str:
    """The one line for notifications, escaped."""
    return escaped(f"{incident.group}: {_headline(incident, news)}")


def reply_blocks(group: Group, incident: Incident, news: News, *, broadcast: bool = False) -> list[Block]:
    """What is new, and nothing else.

    Args:
        broadcast: whether it must be understood in the channel, without the thread above it.
    """
    words = _headline(incident, news)
    lines = [f"{_mark(incident, news)} *{escaped(f'{incident.group}: {words}' if broadcast else words)}*"]
    if news.withdrawn:
        lines.append("Late rows explain it, or it is part of another incident.")
    elif news.resolved:
        lines.append(escaped(_account(group, incident)))
    else:
        lines += _joined(news)
        if news.rarer:
            lines.append(f"The worst interval is rarer now: {return_period_words(incident.return_period_hours)}.")
    return [section("\n".join(lines))]


def reply_words(group: Group, incident: Incident, news: News) -> str:
    """The same in a line of plain text."""
    words = [_headline(incident, news)]
    if news.resolved and not news.withdrawn:
        words.append(_account(group, incident).removesuffix("."))
    words += [f"{shortened(part.variable, NAME_LIMIT)} {observed_words(part)}" for part in news.joined[:LISTED]]
    if news.rarer and not (news.withdrawn or news.resolved):
        words.append(f"the worst interval is rarer now: {return_period_words(incident.return_period_hours)}")
    return "; ".join(words)


def _headline(incident: Incident, news: News) -> str:
    if news.withdrawn:
        return "Withdrawn"
    if news.resolved:
        return f"Resolved after {duration_words(incident.end - incident.start)}"
    said = []
    if news.reopened:
        said.append("it goes on after all")
    if news.severity_before:
        said.append(f"{news.severity_before} \N{RIGHTWARDS ARROW} {incident.severity}")
    if news.joined:
        more = len(news.joined)
        said.append(f"{more} more variable{'s' * (more != 1)}, {len(incident.departed)} by now")
    return sentence("; ".join(said) or f"worse: {headline(incident)}")


def _mark(incident: Incident, news: News) -> str:
    return ":white_check_mark:" if news.withdrawn or news.resolved else mark_of(incident)


def _account(group: Group, incident: Incident) -> str:
    """How it was, in a line, for who opens the thread now."""
    span = span_words(incident.start, incident.end, group.zone)
    number = len(incident.departed)
    return f"{span}; {number_words(number)} variable{'s' * (number != 1)}, {incident.severity} at the end."


def _joined(news: News) -> list[str]:
    lines = [f"•  {code(part.variable)}  {escaped(observed_words(part))}" for part in news.joined[:LISTED]]
    more = len(news.joined) - LISTED
    return [*lines, f"_and {more} more_"] if more > 0 else lines


def pointer_text(incident: Incident) -> str:
    """The one line for notifications, escaped."""
    return escaped(pointer_words(incident))


def pointer_words(incident: Incident) -> str:
    """The same in plain text."""
    return f"{sentence(incident.severity)}: {headline(incident)}"


def pointer_blocks(group: Group, incident: Incident, links: Links) -> list[Block]:
    """What it is and where it is told."""
    where = incident.permalink or links.incident(incident)
    thread = linked("the thread", where) if where else f"the thread in {escaped(group.slack.channel)}"
    words = f"{mark_of(incident)} *{pointer_text(incident)}*\nIt has become {incident.severity}; more is in {thread}."
    return [section(words)]
