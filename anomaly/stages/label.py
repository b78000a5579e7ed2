"""Label: what a person says of an incident is kept, and counts.

In: an incident, a word (real, false alarm, expected), a reason, and who says it. Out, in the store: the label; what
it makes of its variables' thresholds from the first interval on that is not judged yet; and an edit of the incident's
message. What it would change is said before, by `effect_of`.

Verdicts that are there stay: a range that is run again is judged as it was, because an adjustment serves from an
interval on. What a label means for training is read by fit when it learns (`anomaly.stages.labelled`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from anomaly.detection.incidents import Incident
from anomaly.exceptions import LabelRefusedError
from anomaly.groups import Group
from anomaly.ports import Store
from anomaly.ports.labels import Adjustment, Label, Labels, LabelWord, Snooze, Via
from anomaly.stages.effects import Effect, effect_of
from anomaly.stages.judging import judging
from anomaly.stages.labelled import drafted, factors_of, known_incident

__all__ = ["Effect", "Label", "Snooze", "effect_of", "give", "move_thresholds", "snooze", "take_back", "take_in"]

log = logging.getLogger(__name__)

LONGEST_SNOOZE = timedelta(days=366)


def give(
    group: Group,
    incident_id: int,
    word: LabelWord,
    *,
    reason: str,
    author: str,
    via: Via,
    store: Store,
    labels: Labels,
    now: datetime,
) -> Label:
    """Labels an incident; another label of it is replaced, and what that one led to is undone.

    Saying the same again changes nothing, and makes up for a run that died in the middle.

    Raises:
        UnknownIncidentError: the group has no incident of this id, or it was withdrawn.
        LabelRefusedError: expected without a reason, or nobody's name.
    """
    incident = known_incident(group, incident_id, store)
    draft = drafted(group, incident, word, reason=reason.strip(), author=author.strip(), via=via, now=now)
    refuse_incomplete(draft)
    with store.exclusively(group, "label"):
        label = labels.give(draft)
        move_thresholds(group, store=store, labels=labels, now=now, why=label)
    _edit_message(incident, store)
    log.info("%s: incident %d is labelled %s by %s: %s", group.name, incident_id, word, author, reason or "no reason")
    return label


def take_in(group: Group, drafts: Sequence[Label], *, store: Store, labels: Labels, now: datetime) -> tuple[Label, ...]:
    """Labels that were written down elsewhere; returns those that are new here.

    Each is of the incident of its number, if that is of its time and one of its variables; else of the one incident of
    its time and variables, if there is exactly one; else of no incident, which masks and moves thresholds all the same.
    Taking the same in twice changes nothing.
    """
    incidents = store.incidents(group)
    with store.exclusively(group, "label"):
        before = {label.id for label in labels.labels(group)}
        given = [labels.give(_of_its_incident(draft, incidents)) for draft in drafts]
        move_thresholds(group, store=store, labels=labels, now=now)
        held = {label.id for label in labels.labels(group)}
    new = tuple({label.id: label for label in given if label.id in held - before}.values())
    labelled = {label.incident_id for label in new}
    for incident in incidents:
        if incident.id in labelled:
            _edit_message(incident, store)
    return new


def _of_its_incident(draft: Label, incidents: Sequence[Incident]) -> Label:
    of_its_time = [i for i in incidents if i.start < draft.end and draft.start < i.end]
    sharing = [i.id for i in of_its_time if {v.variable for v in i.variables} & set(draft.variables)]
    if draft.incident_id in sharing:
        return draft
    return replace(draft, incident_id=sharing[0] if len(sharing) == 1 else None)


def take_back(
    group: Group, incident_id: int, *, author: str, store: Store, labels: Labels, now: datetime
) -> Label | None:
    """The incident has no label any more, and what it led to is undone; returns the label that it had."""
    held = labels.of_incidents([incident_id]).get(incident_id)
    if held is None:
        return None
    with store.exclusively(group, "label"):
        labels.take_back(held, at=now)
        move_thresholds(group, store=store, labels=labels, now=now)
    incident = store.incident(incident_id)
    if incident is not None and not incident.withdrawn:
        _edit_message(incident, store)
    log.info("%s: %s took back that incident %d is %s", group.name, author, incident_id, held.word)
    return held


def snooze(
    group: Group,
    variable: str | None,
    until: datetime,
    *,
    reason: str,
    author: str,
    via: Via,
    labels: Labels,
    now: datetime,
) -> Snooze:
    """No new message about a variable, or with None about the whole group, until a moment.

    Raises:
        LabelRefusedError: until a moment that has passed, is more than a year ahead, or has no time zone; a variable
            that the group does not watch; or nobody's name.
    """
    if until.tzinfo is None or until <= now or until > now + LONGEST_SNOOZE:
        raise LabelRefusedError(
            f"a snooze until {until.isoformat()}; expected a moment with a time zone, after now "
            f"({now.isoformat(timespec='seconds')}) and within a year"
        )
    if variable is not None and not group.watches(variable):
        raise LabelRefusedError(f"group {group.name!r} does not watch a variable {variable!r}; check its name")
    if not author.strip():
        raise LabelRefusedError("nobody's name; say who snoozes")
    kept = labels.snooze(
        Snooze(group.name, variable, now, until, author.strip(), via, given_at=now, reason=reason.strip())
    )
    log.info("%s: %s snoozed %s until %s", group.name, author, variable or "the whole group", until.isoformat())
    return kept


def refuse_incomplete(label: Label) -> None:
    """What a person must say.

    Raises:
        LabelRefusedError: it is missing.
    """
    if label.word == "expected" and not label.reason:
        raise LabelRefusedError(
            "an expected incident needs a reason: what was planned, so that the next one who looks knows it, too"
        )
    if not label.author:
        raise LabelRefusedError("nobody's name; say who labels")


def move_thresholds(
    group: Group, *, store: Store, labels: Labels, now: datetime, why: Label | None = None
) -> tuple[Adjustment, ...]:
    """Brings the group's adjustments in line with the labels that hold, from the first interval that is not judged.

    An interval that is being judged just now is judged again with them, or they serve from the one after it
    (`anomaly.stages.judging`).

    Never before an adjustment that is there already: labels that were imported into an empty installation serve from
    now on, and what is judged later of the past must not put them behind what follows.

    Args:
        why: the label that made the difference, if it was one.
    """
    with judging(group, store):
        latest = store.predicted_until(group)
        serves_from = group.floor(now if latest is None else latest) + group.interval
        wanted = factors_of(labels.labels(group))
        have, since = {}, {}
        for before in labels.adjustments(group):  # by `serves_from`
            have[before.variable], since[before.variable] = before.factor, before.serves_from
        changed = tuple(
            Adjustment(
                group.name,
                name,
                max(serves_from, since.get(name, serves_from)),
                wanted.get(name, 1.0),
                _because(why),
                None if why is None else why.id,
            )
            for name in sorted(wanted.keys() | have.keys())
            if wanted.get(name, 1.0) != have.get(name, 1.0)
        )
        labels.adjust(changed)
    return changed


def _because(label: Label | None) -> str:
    if label is None:
        return "a label was taken back, or several came from a file"
    said = {"real": "real", "false_alarm": "a false alarm", "expected": "expected"}[label.word]
    what = "an incident" if label.incident_id is None else f"incident {label.incident_id}"
    return f"{label.author} called {what} {said}"


def _edit_message(incident: Incident, store: Store) -> None:
    """What has no message yet will say it when it is told."""
    if incident.id is not None and incident.slack_ts is not None:
        store.enqueue(incident.id, "update")
