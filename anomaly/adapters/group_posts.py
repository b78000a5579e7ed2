"""What is told of a group as a whole: the day's digest, and the week's account of promised against observed.

In: the records of `anomaly.ports.posts`. Out: text and Block Kit. Pure; sending is `anomaly.adapters.slack`.
"""

from __future__ import annotations

from datetime import datetime

from anomaly.adapters.messages import (
    Block,
    called,
    code,
    escaped,
    fitting,
    headline,
    linked,
    mark_of,
    mrkdwn_context,
    number_words,
    return_period_words,
    section,
    span_words,
    state_words,
)
from anomaly.groups import Group
from anomaly.ports import Incident, Links
from anomaly.ports.posts import Digest, Weekly, WeekTold

LISTED = 30
"""Incidents that a digest has a line for; the rest is a number and on the review page."""
HEADER_LIMIT = 150


def digest_text(group: Group, digest: Digest) -> str:
    """The one line for notifications, escaped."""
    return escaped(_digest_words(group, digest))


def _digest_words(group: Group, digest: Digest) -> str:
    number = len(digest.incidents)
    return f"{group.name}: {number} incident{'s' * (number != 1)} in the digest of {_day(digest.slot, group)}"


def digest_blocks(group: Group, digest: Digest, links: Links) -> list[Block]:
    """A line for each incident, the worst first."""
    lines = [_digest_line(group, incident, links) for incident in digest.incidents[:LISTED]]
    more = len(digest.incidents) - LISTED
    if more > 0:
        lines.append(f"_and {more} more_")
    blocks = [_header(f":newspaper: {_digest_words(group, digest)}")]
    blocks += [section(line) for line in lines]
    return [*blocks, _context(group, links)]


def _digest_line(group: Group, incident: Incident, links: Links) -> str:
    words = escaped(headline(incident))
    address = links.incident(incident)
    name = linked(words, address) if address else words
    said = (
        f"{span_words(incident.start, incident.end, group.zone)}; {return_period_words(incident.return_period_hours)}"
    )
    why = f"; {incident.place_reason}" if incident.place_reason else ""
    return f"{mark_of(incident)} *{name}*\n{escaped(f'{said}; {state_words(incident)}{why}')}"


def weekly_text(group: Group, weekly: Weekly) -> str:
    """The one line for notifications, escaped."""
    last = weekly.weeks[-1]
    told = f"{last.told} incident{'s' * (last.told != 1)} told"
    return escaped(f"{group.name}: the week of {_day(last.start, group)}: {told}; {_promise(weekly)}")


def weekly_blocks(group: Group, weekly: Weekly, links: Links) -> list[Block]:
    """The promise, what was observed of it, the weeks one by one, the loudest variables, and what to do."""
    week = _day(weekly.weeks[-1].start, group)
    blocks = [_header(f":bar_chart: {group.name}: promised against observed, week of {week}")]
    blocks.append(section(f"*Promised:* {_promise(weekly)}\n*Observed:* {_observed(weekly)}"))
    if any(week.told or week.digest or week.page for week in weekly.weeks):
        blocks.append(section(f"```{_table(group, weekly)}```"))
    if weekly.loudest:
        loudest = "\n".join(
            f"•  {code(called(loud.name))}  {loud.incidents} incidents"
            + (f", {loud.false_alarms} of them false alarms" if loud.false_alarms else "")
            for loud in weekly.loudest
        )
        blocks.append(section(f"*Loudest variables*\n{loudest}"))
    unlabelled = sum(week.unlabelled for week in weekly.weeks)
    if unlabelled:
        blocks.append(section(_please_label(group, unlabelled, links)))
    return [*blocks, _context(group, links)]


def _promise(weekly: Weekly) -> str:
    number = weekly.promised
    return f"at most {number:g} false alert{'s' * (number != 1)} a week"


def _observed(weekly: Weekly) -> str:
    """How many were false: what people called so, and that with all that nobody has called anything."""
    weeks = len(weekly.weeks)
    false = sum(week.false_alarms for week in weekly.weeks)
    unknown = sum(week.unlabelled for week in weekly.weeks)
    told = sum(week.told for week in weekly.weeks)
    over = "last week" if weeks == 1 else f"in {weeks} weeks"
    if not told:
        return f"nothing was told {over}"
    incidents = f"{told} incident{'s' * (told != 1)} told {over}"
    least, most = false / weeks, (false + unknown) / weeks
    rate = f"{_rate(least)} false a week by their labels"
    if unknown:
        rate += f", {_rate(most)} if all that nobody has labelled are"
    return f"{incidents}; {rate}: {_verdict(weekly.promised, least, most)}"


def _verdict(promised: float, least: float, most: float) -> str:
    if most <= promised:
        return "the promise was kept"
    return "more than promised" if least > promised else "labels will tell whether the promise was kept"


def _rate(value: float) -> str:
    return "0" if value == 0 else number_words(value) if value >= 1 else f"{value:.1g}"


_COLUMNS = {"told": 5, "real": 5, "false": 6, "exp.": 5, "none": 5, "digest": 7, "page": 5}
"""Names and widths: the labels of those told, and where the others went. Narrow enough for a telephone."""


def _table(group: Group, weekly: Weekly) -> str:
    head = f"{'week of':<8}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS.items())
    return "\n".join([head, *(_row(group, week) for week in weekly.weeks)])


def _row(group: Group, week: WeekTold) -> str:
    local = week.start.astimezone(group.zone)
    numbers = (week.told, week.real, week.false_alarms, week.expected, week.unlabelled, week.digest, week.page)
    shown = "".join(f"{number or '·':>{width}}" for number, width in zip(numbers, _COLUMNS.values(), strict=True))
    return f"{f'{local.day} {local:%b}':<8}{shown}"


def _please_label(group: Group, unlabelled: int, links: Links) -> str:
    words = f"{unlabelled} incident{'s' * (unlabelled != 1)} of these weeks"
    address = links.group(group)
    where = f" {linked('Review them', address)}:" if address else ""
    return f"Nobody has labelled {words}.{where} a label takes seconds, and teaches the thresholds."


def _header(words: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": fitting(words, HEADER_LIMIT), "emoji": True}}


def _context(group: Group, links: Links) -> Block:
    given = {"Review": links.group(group), "Airflow run": links.airflow_run, "Data Docs": links.data_docs}
    parts = [f"Owner: {escaped(group.owner)}"] + [linked(name, to) for name, to in given.items() if to]
    return mrkdwn_context(["  ·  ".join(parts)])


def _day(moment: datetime, group: Group) -> str:
    local = moment.astimezone(group.zone)
    return f"{local.day} {local:%b %Y}"
