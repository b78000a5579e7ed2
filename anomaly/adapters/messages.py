"""What people read about an incident: the words, and the Slack message made of them.

In: a group, an incident, what people said of it, links. Out: plain strings for charts, and Block Kit for Slack. Pure,
so that the chart and the message always say the same thing in the same words; sending is `anomaly.adapters.slack`, and
what is said beside the message of an incident is in `anomaly.adapters.replies` and `anomaly.adapters.group_posts`.

The limits are Slack's own (https://docs.slack.dev/reference/block-kit/blocks). Text that users chose is escaped
and shortened here, never passed on as markup: a variable may be called ``<!channel>``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from anomaly.detection.causes import Shared
from anomaly.groups import Group
from anomaly.groups.model import TOTAL
from anomaly.ports import NO_REMARKS, Incident, IncidentVariable, Links
from anomaly.ports.labels import Label, Snooze
from anomaly.ports.posts import Remarks

Block = dict[str, Any]

HEADER_LIMIT = 150
ALT_TEXT_LIMIT = 2000
LISTED = 8
"""Variables with a line of their own; the rest is named in one more line, as far as it goes."""
NAME_LIMIT = 80
REASON_LIMIT = 300
OTHERS_LIMIT = 400

EVERYTHING = "all variables together"
"""What a group's total is called."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HAPPENED = {"drop": "dropped", "surge": "surged", "silent": "fell silent", "frozen": "froze", "shift": "shifted"}
_HOURS_PER_YEAR = 365.25 * 24
_MARKS = {"critical": ":red_circle:", "high": ":large_orange_circle:", "low": ":large_yellow_circle:"}
_LABELLED = {"real": "Labelled real", "false_alarm": "Labelled false alarm", "expected": "Labelled expected"}
_BUTTONS = {"real": "Real", "false_alarm": "False alarm", "expected": "Expected…"}


# --- words ----------------------------------------------------------------------------------------------------


def headline(incident: Incident, *, name_limit: int = NAME_LIMIT) -> str:
    """What happened, in one line: ``carriers: 14 variables dropped``. A group's total is not one of the fourteen."""
    count = len(incident.departed)
    who = shortened(called(incident.departed[0].variable), name_limit) if count == 1 else f"{count} variables"
    if count == 1 and total_of(incident) not in {None, incident.departed[0]}:
        who = f"{who} and {EVERYTHING}"
    return f"{incident.group}: {who} {_happened(incident.kind)}"


def kind_words(kind: str) -> str:
    """The kind as a noun: ``drop``, ``silence``, ``frozen counts``, ``new level``."""
    return {"silent": "silence", "frozen": "standstill", "shift": "new level"}.get(kind, kind)


def called(variable: str) -> str:
    """What people call a variable: a group's total is ``all variables together``."""
    return EVERYTHING if variable == TOTAL else variable


def total_of(incident: Incident) -> IncidentVariable | None:
    """The part of the group's total, if it takes part."""
    return next((part for part in incident.variables if part.variable == TOTAL), None)


def moment_words(moment: datetime, zone: ZoneInfo, *, year: bool = True) -> str:
    """``8 Feb 2013 14:00``, in the zone."""
    local = moment.astimezone(zone)
    day = f"{local.day} {_MONTHS[local.month - 1]}"
    return f"{day} {local.year} {local:%H:%M}" if year else f"{day} {local:%H:%M}"


def span_words(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    """``8 Feb 2013 14:00 - 9 Feb 15:00 EST`` (with a longer dash); what the two ends share is said once."""
    begins, ends = start.astimezone(zone), end.astimezone(zone)
    same_day = begins.date() == ends.date()
    until = f"{ends:%H:%M}" if same_day else moment_words(end, zone, year=begins.year != ends.year)
    first, last = _zone_name(begins), _zone_name(ends)
    since = moment_words(start, zone) if first == last else f"{moment_words(start, zone)} {first}"
    return f"{since} \N{EN DASH} {until} {last}"


def duration_words(duration: timedelta) -> str:
    """``45 min``, ``25 h``, ``3 days``: the two largest units at most."""
    minutes = round(duration.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h" if minutes == 0 else f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} days" if hours == 0 else f"{days} days {hours} h"


def return_period_words(hours: float) -> str:
    """``once in 4.7 years``: how often chance alone would do this.

    Args:
        hours: the return period; positive, may be infinite.
    """
    if math.isnan(hours):
        return "rarity unknown"
    years = hours / _HOURS_PER_YEAR
    if years >= 99_999:
        return "less than once in 100,000 years"
    for size, unit in ((_HOURS_PER_YEAR, "years"), (_HOURS_PER_YEAR / 12, "months"), (24.0, "days"), (1.0, "hours")):
        if hours >= 2 * size:
            return f"once in {_two_digits(hours / size)} {unit}"
    return "about once an hour"


def number_words(value: float) -> str:
    """A count as people write it: ``1,240``, and ``3.2`` where decimals still matter."""
    if not math.isfinite(value):
        return "unknown"
    if abs(value) >= 10 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.1f}"


def departure_words(observed: float, expected: float) -> str:
    """``312 instead of 1,240 (-75%)``, with a real minus sign."""
    words = f"{number_words(observed)} instead of {number_words(expected)}"
    if not (math.isfinite(observed) and math.isfinite(expected)) or expected <= 0:
        return words
    ratio = observed / expected
    if ratio >= 10:
        return f"{words} ({number_words(round(ratio))}\N{MULTIPLICATION SIGN} as many)"
    percent = round(100 * (ratio - 1))
    sign = "\N{MINUS SIGN}" if percent < 0 else "+"
    return f"{words} ({sign}{abs(percent)}%)"


def state_words(incident: Incident) -> str:
    """``ongoing, 25 h so far``, ``resolved after 25 h``, or why it was none; and whether it has become worse."""
    if incident.withdrawn:
        return "withdrawn: late rows explain it, or it is part of another incident"
    lasted = duration_words(incident.end - incident.start)
    worse = f"; {worse_words(incident)}" if incident.clearly_worse else ""
    return f"resolved after {lasted}" if incident.resolved else f"ongoing, {lasted} so far{worse}"


def worse_words(incident: Incident) -> str:
    """``worse than when it was told (high, 5 variables)``, of an incident that has been told."""
    variables = incident.told_variables
    number = "" if variables is None else f", {variables} variable{'s' * (variables != 1)}"
    return f"worse than when it was told ({incident.told_severity or 'unknown'}{number})"


def observed_words(part: IncidentVariable) -> str:
    """What was observed of a variable, as its test saw it.

    ``312 instead of 420 (-26%), found over 24 h``; ``nothing for 9 h; usually at most 2 h``.
    """
    stretch = duration_words(part.stretch) if part.stretch else ""
    if part.test == "silence" and stretch:
        usual = f"; usually at most {duration_words(part.usual)}" if part.usual else ""
        return f"nothing for {stretch}{usual}"
    if part.test == "frozen":
        return f"the same count for {stretch}" if stretch else "the same count again and again"
    found = "odd only together with the others" if part.test == "together" else ""
    if stretch:
        found = f"another level over {stretch}" if part.test == "level" else f"found over {stretch}"
    words = departure_words(part.observed, part.expected)
    return f"{words}, {found}" if found else words


def shared_words(shared: Shared, quoted: Callable[[str], str] = str) -> str:
    """``14 of 16 variables under dep_delay., 0 of 16 under arr_delay.``: what hit variables share.

    Args:
        quoted: how a part of a name is set off from the words around it.
    """
    if shared.place == "everything":
        return f"all {shared.total} variables of the group"
    under = {"prefix": "under", "suffix": "ending in", "type": "of type"}[shared.place]
    words = f"{shared.hit} of {shared.total} variables {under} {quoted(shared.value)}"
    if shared.contrast:
        return f"{words}, {shared.others_hit} of {shared.others} {under} {quoted(shared.contrast)}"
    return f"{words}, {shared.others_hit} of {shared.others} others"


def shortened(text: str, limit: int) -> str:
    """The text on one line and in at most `limit` characters; the middle goes, because ends tell names apart."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "(blank)"
    if len(line) <= limit:
        return line
    head = (limit - 1) // 2
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"


# --- the Slack message ------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text that Slack shows as it is: its three control characters as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fallback_text(group: Group, incident: Incident) -> str:
    """The one line for notifications and screen readers, escaped."""
    return escaped(message_words(group, incident))


def message_words(group: Group, incident: Incident) -> str:
    """The message in one line of plain text."""
    span = span_words(incident.start, incident.end, group.zone)
    rarity = return_period_words(incident.return_period_hours)
    return f"{status_word(incident)}: {headline(incident)}, {span} ({rarity}): {state_words(incident)}"


def status_word(incident: Incident) -> str:
    """How things stand, in a word or two: ``Critical``, ``Resolved after 25 h``, ``Withdrawn``."""
    if incident.withdrawn:
        return "Withdrawn"
    if incident.resolved:
        return f"Resolved after {duration_words(incident.end - incident.start)}"
    return sentence(incident.severity)


def incident_blocks(
    group: Group,
    incident: Incident,
    *,
    links: Links,
    file_id: str | None,
    remarks: Remarks = NO_REMARKS,
    buttons: bool = False,
) -> list[Block]:
    """The message: header, what people said, facts, the worst variables, the chart, buttons, and where to look further.

    Args:
        file_id: the uploaded chart, or None while Slack has not finished processing it.
        buttons: whether to label and to snooze; an incident that was withdrawn has none.
    """
    return [
        _header(incident),
        *_remarks(group, remarks),
        _facts(group, incident),
        # The header and the facts have said it all of a single variable.
        *([section(_variable_lines(incident))] if len(incident.departed) > 1 else []),
        *([section(_all_together(incident))] if _all_together(incident) else []),
        *([section(_in_common(incident))] if incident.shared else []),
        _chart(group, incident, file_id),
        *([_buttons(incident)] if buttons and not incident.withdrawn and incident.id is not None else []),
        _context(group, incident, links),
    ]


def _header(incident: Incident) -> Block:
    over = incident.resolved or incident.withdrawn
    mark = ":white_check_mark:" if over else mark_of(incident)
    text = fitting(f"{status_word(incident)} · {headline(incident)}", HEADER_LIMIT - len(mark) - 1)
    return {"type": "header", "text": {"type": "plain_text", "text": f"{mark} {text}", "emoji": True}}


def mark_of(incident: Incident) -> str:
    """The colour of its severity."""
    return _MARKS[incident.severity]


def _remarks(group: Group, remarks: Remarks) -> list[Block]:
    """What people wrote is shown as plain text: nothing in it is markup."""
    said = [f":label: {escaped(label_words(remarks.label))}"] if remarks.label else []
    said += [f":zzz: {escaped(snooze_words(group, remarks.snooze))}"] if remarks.snooze else []
    return [{"type": "section", "text": {"type": "plain_text", "text": words, "emoji": True}} for words in said]


def label_words(label: Label) -> str:
    """``Labelled false alarm by Ann: we are migrating``."""
    return f"{_LABELLED[label.word]} by {shortened(label.author, NAME_LIMIT)}{_because(label.reason)}"


def snooze_words(group: Group, snooze: Snooze) -> str:
    """``Snoozed by Ann until 12 May 2026 14:00: we are migrating``."""
    until = moment_words(snooze.end, group.zone)
    return f"Snoozed by {shortened(snooze.author, NAME_LIMIT)} until {until}{_because(snooze.reason)}"


def _because(reason: str) -> str:
    return f": {shortened(reason, REASON_LIMIT)}" if reason.strip() else ""


def _buttons(incident: Incident) -> Block:
    value = str(incident.id)
    labels = [
        {"type": "button", "action_id": f"label:{word}", "value": value, "text": _plain(shown)}
        for word, shown in _BUTTONS.items()
    ]
    snooze = {"type": "button", "action_id": "snooze", "value": value, "text": _plain("Snooze…")}
    return {"type": "actions", "elements": [*labels, snooze]}


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text}


def _facts(group: Group, incident: Incident) -> Block:
    when = span_words(incident.start, incident.end, group.zone)
    # The header says how long it was; how it goes on, and why it was none, needs a line.
    state = "" if incident.resolved and not incident.withdrawn else f"\n{sentence(state_words(incident))}"
    facts = {
        "When": f"{when}{state}",
        "Observed": sentence(_observed(incident)),
        "Severity": f"{sentence(incident.severity)} {kind_words(incident.kind)}",
        "By chance": sentence(return_period_words(incident.return_period_hours)),
    }
    fields = [{"type": "mrkdwn", "text": f"*{name}*\n{escaped(fact)}"} for name, fact in facts.items()]
    return {"type": "section", "fields": fields}


def _observed(incident: Incident) -> str:
    """Of the variables that take part; frozen counts cannot be added up to anything."""
    if len(incident.departed) == 1 or (incident.departed and incident.kind == "frozen"):
        return observed_words(incident.departed[0])
    return departure_words(sum(v.observed for v in incident.departed), sum(v.expected for v in incident.departed))


def _in_common(incident: Incident) -> str:
    return f"*Probable common cause:* {'; '.join(shared_words(shared, code) for shared in incident.shared)}"


def _variable_lines(incident: Incident) -> str:
    departed = incident.departed
    lines = [_variable_line(v, incident.kind) for v in departed[:LISTED]]
    others = departed[LISTED:]
    if others:
        weaker = sum(part.test == "together" for part in others)
        only = f", {weaker} of them odd only together with the others" if weaker else ""
        lines.append(f"_and {len(others)} more{only}:_ {_others(others)}")
    return "\n".join(lines)


def _variable_line(part: IncidentVariable, usual: str) -> str:
    kind = "" if part.kind == usual else f", {_happened(part.kind)}"
    return f"•  {code(part.variable)}  {escaped(observed_words(part) + kind)}"


def _all_together(incident: Incident) -> str:
    """The group's total in a sentence of its own, beside variables that departed by themselves; else ''."""
    total = total_of(incident)
    if total is None or total in incident.departed:
        return ""
    return escaped(f"{sentence(EVERYTHING)}: {observed_words(total)}.")


def _others(others: tuple[IncidentVariable, ...]) -> str:
    names: list[str] = []
    length = 0
    for part in others:
        name = code(part.variable)
        length += len(name) + 2
        if length > OTHERS_LIMIT:
            return ", ".join([*names, "…"])
        names.append(name)
    return ", ".join(names)


def _chart(group: Group, incident: Incident, file_id: str | None) -> Block:
    if file_id is None:
        return mrkdwn_context(["_Slack is still processing the chart._"])
    alt = f"Chart: observed and expected counts, residuals and thresholds. {headline(incident)}, " + span_words(
        incident.start, incident.end, group.zone
    )
    return {"type": "image", "slack_file": {"id": file_id}, "alt_text": alt[:ALT_TEXT_LIMIT]}


def _context(group: Group, incident: Incident, links: Links) -> Block:
    given = {
        "Review": links.incident(incident),
        "Airflow run": links.airflow_run,
        "Model": links.model,
        "Data Docs": links.data_docs,
    }
    parts = [f"Owner: {escaped(shortened(group.owner, NAME_LIMIT))}"]
    parts += [linked(name, address) for name, address in given.items() if address]
    return mrkdwn_context(["  ·  ".join(parts)])


def linked(words: str, address: str) -> str:
    """Escaped words that lead to an address."""
    return f"<{_address(address)}|{words}>"


def mrkdwn_context(texts: list[str]) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text} for text in texts]}


def section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def code(name: str) -> str:
    """A variable's name as code, where nothing in it is markup."""
    shown = escaped(shortened(name, NAME_LIMIT)).replace("`", "'")
    return f"`{shown}`"


def _address(url: str) -> str:
    return escaped(url).replace("|", "%7C")


def fitting(text: str, limit: int) -> str:
    """Escaped text of at most `limit` characters, never cut inside an entity."""
    size = limit
    while len(escaped(shortened(text, size))) > limit:
        size -= 1
    return escaped(shortened(text, size))


def sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _happened(kind: str) -> str:
    return _HAPPENED.get(kind, f"out of the ordinary ({kind})")


def _two_digits(value: float) -> str:
    if value < 10:
        return f"{value:.1f}".removesuffix(".0")
    magnitude = 10 ** (math.floor(math.log10(value)) - 1)
    return f"{round(value / magnitude) * magnitude:,}"


def _zone_name(local: datetime) -> str:
    name = local.tzname() or ""
    return f"UTC{name}" if name[:1] in {"+", "-"} else name
