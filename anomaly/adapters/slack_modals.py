"""The dialogs behind the buttons of an incident's message: Block Kit views, and what people chose in them.

In: a group, an incident, what a label would change. Out: views for ``views.open`` and ``views.update``; and from what
comes back, a reason, a length of time, variables. Pure; sending is `anomaly.adapters.slack_actions`.

Limits are those of https://docs.slack.dev/reference/views and of the elements: 24 characters in titles and buttons,
75 in options, 3000 in a view's own notes. What users named is escaped in mrkdwn, and shown as plain text elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from anomaly.adapters.messages import Block, called, escaped, headline, label_words, shortened, span_words
from anomaly.groups import Group
from anomaly.ports import Incident
from anomaly.ports.labels import Label, LabelWord
from anomaly.stages.label import Effect

LABEL_VIEW, SNOOZE_VIEW = "label", "snooze"
REASON, LENGTH, WHAT = "reason", "length", "what"
"""Blocks of inputs, and the actions in them."""

OPTION_LIMIT = 75
REASON_LIMIT = 500
SHOWN_VARIABLES = 3
"""Thresholds that a dialog shows; a label moves ten at most."""
OFFERED_VARIABLES = 10

LENGTHS: Mapping[str, tuple[str, timedelta]] = {
    "4h": ("4 hours", timedelta(hours=4)),
    "1d": ("1 day", timedelta(days=1)),
    "3d": ("3 days", timedelta(days=3)),
    "1w": ("1 week", timedelta(weeks=1)),
    "4w": ("4 weeks", timedelta(weeks=4)),
}
EVERYONE, ALL_ITS = "group", "incident"

_TITLES: Mapping[LabelWord, str] = {"real": "Real", "false_alarm": "False alarm", "expected": "Expected"}
_MEANING: Mapping[LabelWord, str] = {
    "real": "Nothing is learned from its counts, and thresholds that labels had widened come one step back.",
    "false_alarm": "Its counts are learned as ordinary, and thresholds of its worst variables are widened one step.",
    "expected": "Nothing is learned from its counts, and thresholds of its worst variables are widened half a step.",
}
_WHY: Mapping[LabelWord, str] = {
    "real": "What was it? (optional)",
    "false_alarm": "Why was it a false alarm? (optional)",
    "expected": "What was planned?",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a dialog is about; travels in the view and comes back with it."""

    incident_id: int
    channel: str
    """Where the button was, to tell the person what went wrong."""
    thread: str | None = None
    word: LabelWord | None = None

    def written(self) -> str:
        return json.dumps(
            {"incident": self.incident_id, "channel": self.channel, "thread": self.thread, "word": self.word}
        )

    @classmethod
    def read(cls, written: str) -> Asked:
        """
        Raises:
            ValueError: it is not what `written` wrote.
        """
        given = json.loads(written)
        if not isinstance(given, dict) or given.get("word") not in {None, *_TITLES}:
            raise ValueError(f"found {written!r}; expected what a dialog of ours carries")
        return cls(int(given["incident"]), str(given["channel"]), given.get("thread"), given.get("word"))


# --- labels -----------------------------------------------------------------------------------------------------


def label_view(
    group: Group, incident: Incident, asked: Asked, *, effect: Effect | None, before: Label | None
) -> dict[str, Any]:
    """Asks for the reason, and shows what the label would change.

    Args:
        effect: None while it is worked out.
        before: the label that this one would replace.
    """
    word = cast("LabelWord", asked.word)
    said = [_context(f"{label_words(before)}. Yours takes its place.")] if before else []
    return {
        "type": "modal",
        "callback_id": LABEL_VIEW,
        "private_metadata": asked.written(),
        "title": _plain(_TITLES[word]),
        "submit": _plain("Label"),
        "close": _plain("Cancel"),
        "blocks": [
            _about(group, incident),
            *said,
            {"type": "divider"},
            _mrkdwn(_effect_words(effect)),
            _context(_MEANING[word]),
            {
                "type": "input",
                "block_id": REASON,
                "optional": word != "expected",
                "label": _plain(_WHY[word]),
                "element": {
                    "type": "plain_text_input",
                    "action_id": REASON,
                    "multiline": True,
                    "max_length": REASON_LIMIT,
                },
            },
        ],
    }


def _effect_words(effect: Effect | None) -> str:
    if effect is None:
        return "_Working out what it would have changed…_"
    said = str(effect)
    lines = [f"*{said[:1].upper()}{said[1:]}.*"]
    moved = sorted(effect.factors.items(), key=lambda item: (-abs(math.log(item[1][1] / item[1][0])), item[0]))
    for name, (before, after) in moved[:SHOWN_VARIABLES]:
        lines.append(f"{_code(name)}  alarms {_rarer(before)} \N{RIGHTWARDS ARROW} {_rarer(after)}")
    if len(moved) > SHOWN_VARIABLES:
        lines.append(f"_and {len(moved) - SHOWN_VARIABLES} more, less each_")
    return "\n".join(lines)


def _rarer(factor: float) -> str:
    return "as fitted" if factor == 1 else f"{1 / factor:.2g}\N{MULTIPLICATION SIGN} rarer"


def reason_given(view: Mapping[str, Any]) -> str:
    """What was typed, without blanks around it."""
    return str(_input(view, REASON).get("value") or "").strip()


# --- snoozes ----------------------------------------------------------------------------------------------------


def snooze_view(group: Group, incident: Incident, asked: Asked) -> dict[str, Any]:
    """Asks for how long, and what."""
    parts = incident.departed[:OFFERED_VARIABLES]
    whats = [_option(called(part.variable), _handle(part.variable)) for part in parts]
    if len(incident.departed) > 1:
        whats.insert(0, _option(f"All {len(incident.departed)} variables of this incident", ALL_ITS))
    whats.append(_option(f"The whole group {group.name}", EVERYONE))
    lengths = [_option(words, name) for name, (words, _) in LENGTHS.items()]
    return {
        "type": "modal",
        "callback_id": SNOOZE_VIEW,
        "private_metadata": asked.written(),
        "title": _plain("Snooze"),
        "submit": _plain("Snooze"),
        "close": _plain("Cancel"),
        "blocks": [
            _about(group, incident),
            _select(WHAT, "What", whats, whats[0]),
            _select(LENGTH, "For how long", lengths, lengths[1]),
            {
                "type": "input",
                "block_id": REASON,
                "optional": True,
                "label": _plain("Why? (optional)"),
                "element": {"type": "plain_text_input", "action_id": REASON, "max_length": REASON_LIMIT},
            },
            _context("No new message meanwhile. Incidents are kept, and the review page shows them."),
        ],
    }


def snooze_given(view: Mapping[str, Any], incident: Incident) -> tuple[tuple[str | None, ...], timedelta]:
    """Variables (None for the whole group) and how long.

    Raises:
        ValueError: a variable that does not take part in the incident any more, or nothing that was offered.
    """
    what, length = (str((_input(view, name).get("selected_option") or {}).get("value")) for name in (WHAT, LENGTH))
    if length not in LENGTHS:
        raise ValueError(f"found the length {length!r}; expected one of {', '.join(LENGTHS)}")
    if what == EVERYONE:
        return (None,), LENGTHS[length][1]
    names = tuple(v.variable for v in incident.departed if what in {ALL_ITS, _handle(v.variable)})
    if not names:
        raise ValueError("the variable takes part in this incident no more; press Snooze again")
    return names, LENGTHS[length][1]


def snoozed_words(group: Group, variables: tuple[str | None, ...], until: datetime) -> str:
    """``The whole group carriers is snoozed until 12 May 14:00 CEST.``"""
    one = variables[0]
    who = f"The whole group {group.name} is" if one is None else f"{called(one)} is"
    if len(variables) > 1:
        who = f"{len(variables)} variables are"
    local = until.astimezone(group.zone)
    return f"{who} snoozed until {local.day} {local:%b %Y %H:%M %Z}."


def _handle(variable: str) -> str:
    """Names can be longer than an option's value may be."""
    return hashlib.sha256(variable.encode()).hexdigest()[:16]


# --- parts ------------------------------------------------------------------------------------------------------


def _about(group: Group, incident: Incident) -> Block:
    span = span_words(incident.start, incident.end, group.zone)
    return _mrkdwn(f"*{escaped(headline(incident))}*\n{escaped(span)}")


def _input(view: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = view.get("state", {}).get("values", {}).get(name, {}).get(name, {})
    return cast("Mapping[str, Any]", found)


def _select(name: str, label: str, options: list[Block], initial: Block) -> Block:
    element = {"type": "static_select", "action_id": name, "options": options, "initial_option": initial}
    return {"type": "input", "block_id": name, "label": _plain(label), "element": element}


def _option(words: str, value: str) -> Block:
    return {"text": _plain(shortened(words, OPTION_LIMIT)), "value": value}


def _code(name: str) -> str:
    shown = escaped(shortened(called(name), 60)).replace("`", "'")
    return f"`{shown}`"


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text}


def _mrkdwn(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_plain(text)]}
