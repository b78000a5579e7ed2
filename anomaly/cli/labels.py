"""``anomaly labels`` and ``anomaly snooze``: what people say of incidents, from the command line and from files.

In: a group's name, an incident's number, a word; or a CSV file. Out: what there is, in a table; or what was done, in
a sentence. What a label would change is shown before it is given.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from anomaly.exceptions import AnomalyError, LabelRefusedError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from anomaly.adapters.world import World
    from anomaly.groups import Group
    from anomaly.ports import Incident
    from anomaly.ports.labels import Label, LabelWord, Snooze

labels_app = typer.Typer(
    help="What people said of incidents: real, false_alarm, expected. Labels count: for thresholds, for training.",
    no_args_is_help=True,
)

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name of a group, as its file is called.")]
Number = Annotated[int, typer.Argument(metavar="INCIDENT", help="Its number, as `anomaly labels list GROUP` shows it.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why. Needed for expected.")]
Who = Annotated[str | None, typer.Option("--as", help="Who says it. Default: the name you are logged in with.")]
LISTED = 100


@labels_app.command("list")
def list_labels(
    group: GroupName,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Only incidents that nobody has labelled.")] = False,
) -> None:
    """The group's latest incidents with what was said of them, and labels that belong to no incident.

    Example: `anomaly labels list carriers --unlabelled`
    """
    from anomaly.cli.app import _group, _print, _world

    chosen, world = _group(group), _world()
    held = world.labels().labels(chosen)
    _print(_incident_table(chosen, world.store().incidents(chosen), held, unlabelled=unlabelled))
    loose = [label for label in held if label.incident_id is None]
    if loose and not unlabelled:
        _print(_loose_table(chosen, loose))


@labels_app.command("give")
def give_label(
    group: GroupName,
    incident: Number,
    word: Annotated[str, typer.Argument(metavar="WORD", help="real, false_alarm or expected.")],
    reason: Reason = "",
    who: Who = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Without asking.")] = False,
) -> None:
    """Labels an incident, after showing what that would change. Another label of it is replaced.

    Example: `anomaly labels give carriers 12 expected --reason "airport closed for maintenance"`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import utc_now
    from anomaly.ports.labels import LabelWord as Words
    from anomaly.stages.label import effect_of, give

    if word not in get_args(Words):
        raise LabelRefusedError(f"found the word {word!r}; expected one of {', '.join(get_args(Words))}")
    said = cast("LabelWord", word)
    chosen, world = _group(group), _world()
    store, labels = world.store(), world.labels()
    effect = effect_of(chosen, incident, said, store=store, labels=labels, now=utc_now())
    typer.echo(f"{str(effect)[:1].upper()}{str(effect)[1:]}.")
    for name, (before, after) in effect.factors.items():
        typer.echo(f"  {name}: alarms {1 / after:.3g} times as rare as fitted, {1 / before:.3g} so far")
    if not yes and sys.stdin.isatty():
        typer.confirm("Label it so?", abort=True)
    given = give(
        chosen,
        incident,
        said,
        reason=reason,
        author=_who(who),
        via="cli",
        store=store,
        labels=labels,
        now=utc_now(),
    )
    typer.echo(f"Incident {incident} of {chosen.name} is labelled {given.word} by {given.author}.")
    _tell(world, chosen)


@labels_app.command("take-back")
def take_back_label(group: GroupName, incident: Number, who: Who = None) -> None:
    """Takes an incident's label back; what it led to is undone from the next interval on.

    Example: `anomaly labels take-back carriers 12`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import utc_now
    from anomaly.stages.label import take_back

    chosen, world = _group(group), _world()
    had = take_back(chosen, incident, author=_who(who), store=world.store(), labels=world.labels(), now=utc_now())
    if had is None:
        typer.echo(f"Incident {incident} of {chosen.name} has no label.")
        return
    typer.echo(f"Incident {incident} of {chosen.name} is not labelled {had.word} any more.")
    _tell(world, chosen)


@labels_app.command("learn")
def learn_labels(group: GroupName) -> None:
    """Learns which incidents people care for, from what they said; low-ranked ones then go to the digest.

    Goes along with every fit, and takes 40 labelled incidents. Registered in MLflow as `anomaly.GROUP.ranking`.

    Example: `anomaly labels learn carriers`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import run_rank

    typer.echo(run_rank(_world(), _group(group)))


@labels_app.command("export")
def export_labels(
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="One group; without it, all.")] = None,
    file: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Default: standard output.")] = None,
) -> None:
    """Writes labels as CSV, which `anomaly labels import` reads back.

    Example: `anomaly labels export carriers --to labels.csv`
    """
    from anomaly.adapters.label_files import written
    from anomaly.cli.app import _group, _groups, _world

    labels = _world().labels()
    chosen = (_group(group),) if group else _groups()
    text = written(label for one in chosen for label in labels.labels(one))
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_bytes(text.encode())
        typer.echo(f"{text.count(chr(10)) - 1} labels in {file}")


@labels_app.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, as export writes it.")], who: Who = None
) -> None:
    """Reads labels from CSV. Mistakes are reported all at once, and then nothing is kept.

    Reading the same file twice changes nothing.

    Example: `anomaly labels import labels.csv`
    """
    from anomaly.adapters.label_files import read
    from anomaly.cli.app import _groups, _world
    from anomaly.orchestration.running import utc_now
    from anomaly.stages.label import take_in

    world, now = _world(), utc_now()
    store, labels = world.store(), world.labels()
    known = {g.name: (g, frozenset(v.name for v in store.variables(g, left_out=True))) for g in _groups()}
    drafts = read(file, known, author=_who(who), now=now)
    for name in sorted({draft.group for draft in drafts}):
        group = known[name][0]
        own = [draft for draft in drafts if draft.group == name]
        new = take_in(group, own, store=store, labels=labels, now=now)
        typer.echo(f"{name}: {len(new)} new of {len(own)} labels")
        if new:
            _tell(world, group)


def snooze(
    group: GroupName,
    variable: Annotated[
        str | None, typer.Argument(metavar="[VARIABLE]", help="Its name; without it, the whole group.")
    ] = None,
    length: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="Such as 4h, 1d or 2w.")] = None,
    until: Annotated[str | None, typer.Option(metavar="MOMENT", help="A date, or a time with its offset.")] = None,
    reason: Reason = "",
    who: Who = None,
    end: Annotated[bool, typer.Option("--end", help="End the snoozes that hold, instead.")] = False,
) -> None:
    """No new message about a variable, or the whole group, for a while. Incidents are kept. Alone, lists snoozes.

    Example: `anomaly snooze carriers dep_delay.UA --for 1d --reason migration`
    """
    from anomaly.cli.app import _group, _moment, _print, _world
    from anomaly.groups.durations import parse_duration
    from anomaly.orchestration.running import utc_now
    from anomaly.stages.label import snooze as keep

    chosen, labels, now = _group(group), _world().labels(), utc_now()
    held = [s for s in labels.snoozes(chosen, at=now) if variable in {None, s.variable}]
    if end:
        for one in held:
            labels.end_snooze(one, at=now)
        typer.echo(f"{len(held)} snoozes ended.")
        return
    if length is None and until is None:
        _print(_snooze_table(chosen, held))
        return
    if length is not None and until is not None:
        raise LabelRefusedError("found both --for and --until; expected one of them")
    try:
        moment = _moment(chosen, until) or now + parse_duration(length)
    except ValueError as wrong:
        raise LabelRefusedError(f"--for: found {length!r}; expected {wrong}") from None
    kept = keep(chosen, variable, moment, reason=reason, author=_who(who), via="cli", labels=labels, now=now)
    typer.echo(f"{variable or 'The whole group'} is snoozed until {_local(chosen, kept.end)}.")


def _who(given: str | None) -> str:
    return given or getpass.getuser()


def _tell(world: World, group: Group) -> None:
    """The label is kept, whatever becomes of the message."""
    from anomaly.orchestration.running import run_tell

    try:
        run_tell(world, group)
    except AnomalyError as failure:
        typer.echo(f"The message is edited by the next run: {failure}", err=True)


def _local(group: Group, moment: datetime) -> str:
    return f"{moment.astimezone(group.zone):%Y-%m-%d %H:%M %Z}"


def _incident_table(
    group: Group, incidents: tuple[Incident, ...], held: tuple[Label, ...], *, unlabelled: bool
) -> Table:
    from rich.markup import escape

    from anomaly.adapters.messages import headline, span_words
    from anomaly.cli.app import _table

    said = {label.incident_id: label for label in held}
    table = _table("Incidents", "number", "when", "what", "severity", "labelled", "by", "reason")
    shown = [i for i in incidents if not (unlabelled and i.id in said)][-LISTED:]
    for incident in shown:
        label = said.get(incident.id)
        cells = (
            str(incident.id),
            span_words(incident.start, incident.end, group.zone),
            headline(incident),
            incident.severity,
            *((label.word, label.author, label.reason) if label else ("", "", "")),
        )
        table.add_row(*map(escape, cells))
    return table


def _loose_table(group: Group, labels: list[Label]) -> Table:
    from rich.markup import escape

    from anomaly.adapters.messages import span_words
    from anomaly.cli.app import _table

    table = _table("Labels of no incident that is known", "when", "of", "labelled", "by", "reason")
    for label in labels[-LISTED:]:
        cells = (span_words(label.start, label.end, group.zone), ", ".join(label.variables))
        table.add_row(*map(escape, (*cells, label.word, label.author, label.reason)))
    return table


def _snooze_table(group: Group, held: list[Snooze]) -> Table:
    from rich.markup import escape

    from anomaly.cli.app import _table

    table = _table("Snoozes", "what", "until", "by", "reason")
    for one in held:
        cells = (one.variable or "the whole group", _local(group, one.end), one.author, one.reason)
        table.add_row(*map(escape, cells))
    return table
