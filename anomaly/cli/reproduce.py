"""``anomaly reproduce``: an alert, derived again from what is stored.

In: an incident's number, or the address of its message. Out: what it was derived from, and "equal"; or which numbers
differ, by how much, and what has changed since. Nothing is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomaly.adapters.settings import Settings
    from anomaly.groups import Group
    from anomaly.ports import Incident
    from anomaly.ports.judgements import Judgements
    from anomaly.stages.reproduce import Part, Reproduction

DIFFERS = 1
_PERMALINK = re.compile(r"/archives/(?P<channel>\w+)/p(?P<seconds>\d+)(?P<micros>\d{6})(?:$|[?#])")
_SHOWN = 6
"""Lines that a list has at most; the others are counted."""


def reproduce(
    alert: Annotated[
        str, typer.Argument(metavar="ALERT", help="An incident's number, or the address of its message in Slack.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Derives an alert again from what is stored, and says whether it comes out equal.

    Takes the counts as they were when they were judged, the model version and its files by their SHA-256, and the
    configuration that was noted then; works out predictions, residuals, tail probabilities, thresholds, verdicts and
    the incident; and compares every number with the stored one.

    Exit status: 0 equal, 1 something differs.

    Example: `anomaly reproduce 17`
    """
    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.settings import Settings
    from anomaly.adapters.world import World
    from anomaly.stages import reproduce as stage

    settings = Settings.from_environment()
    world = World(settings, environment_connection)
    judgements = world.judgements()
    incident = incident_of(alert, judgements)
    found = stage.reproduce(
        _group(incident, settings),
        incident,
        store=world.store(),
        judgements=judgements,
        artifacts=world.artifacts(),
        forecaster=world.forecaster(),
    )
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    raise typer.Exit(0 if found.equal else DIFFERS)


def incident_of(alert: str, judgements: Judgements) -> Incident:
    """The incident of a number or of a message's address.

    Raises:
        ConfigurationError: neither, or there is no such incident.
    """
    if alert.isdecimal():
        by_number = judgements.incident(int(alert))
        if by_number is None:
            raise ConfigurationError(f"there is no incident {alert}; `anomaly status` says which groups have some")
        return by_number
    address = _PERMALINK.search(alert)
    if address is None:
        raise ConfigurationError(
            f"found {alert!r}; expected an incident's number, or the address of its message, such as "
            "https://example.slack.com/archives/C0123456789/p1795324417142580"
        )
    channel, ts = address["channel"], f"{address['seconds']}.{address['micros']}"
    by_message = judgements.incident_at(channel, ts)
    if by_message is None:
        raise ConfigurationError(
            f"no incident has message {ts} in channel {channel}; copy the link of a thread's first message, not of a "
            "reply"
        )
    return by_message


def _group(incident: Incident, settings: Settings) -> Group:
    from anomaly.orchestration.group_files import checked_group

    return checked_group(settings.groups, incident.group)


# --- the page ---------------------------------------------------------------------------------------------------


def _show(found: Reproduction) -> None:
    import os

    from rich.console import Console

    console = Console(width=None if os.isatty(1) or "COLUMNS" in os.environ else 120, highlight=False)
    for part in _page(found):
        console.print(part)


def _page(found: Reproduction) -> Iterator[RenderableType]:
    from rich.markup import escape

    from anomaly.adapters.messages import span_words

    incident = found.incident
    names = ", ".join(v.variable for v in incident.variables[:3])
    more = len(incident.variables) - 3
    yield (
        f"[bold]Incident {incident.id}[/bold] of {found.group.name}: {incident.kind}, {incident.severity}, "
        f"{escape(names)}{f' and {more} more' if more > 0 else ''}, "
        f"{span_words(incident.start, incident.end, found.group.zone)}"
    )
    yield from _section("Derived from", _sources(found))
    yield from _section("Changed since, and no part of it", _since(found))
    yield from _section("Compared", [("values", f"{found.compared:,}"), ("differing", f"{found.differing:,}")])
    if found.differences:
        yield _differences(found)
    for line in (*found.assumed, *found.underived):
        yield f"  {escape(line)}"
    yield "[bold green]equal[/bold green]" if found.equal else f"[bold red]differs[/bold red]{escape(_why(found))}"


def _sources(found: Reproduction) -> Iterator[tuple[str, str]]:
    for run in found.runs:
        yield run.stage, f"over [{_utc(run.start)}, {_utc(run.end)}), done {_utc(run.finished_at)} UTC"
    for part in found.parts:
        yield "intervals", f"{part.within}" + (f", judged last at {_utc(part.judged_at)} UTC" if part.judged_at else "")
        yield from _part(part)
    if found.recounted:
        yield "counts", f"as they were judged; {len(found.recounted):,} of them are others now"
    elif found.parts:
        yield "counts", "as they were judged, and they still are"


def _part(part: Part) -> Iterator[tuple[str, str]]:
    from anomaly.ports.judgements import digest

    yield "model", f"version {part.fit.model_version}, fit {part.fit.id}"
    for file in part.files:
        yield "file", f"{file.serving_uri.rsplit('/', 1)[-1]} of {file.candidate}, SHA-256 {file.serving_sha256[:16]}…"
    if part.circumstances:
        yield "configuration", f"SHA-256 {digest(part.circumstances.configuration)[:16]}…"
        if part.circumstances.adjustments:
            names = sorted(part.circumstances.adjustments)
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield "labels", f"had moved the thresholds of {', '.join(names[:_SHOWN])}{more}"


def _since(found: Reproduction) -> Iterator[tuple[str, str]]:
    changed = (*found.changed, *found.libraries)
    for line in changed[:_SHOWN]:
        yield "", line
    if len(changed) > _SHOWN:
        yield "", f"and {len(changed) - _SHOWN} more"
    for one in found.recounted[:_SHOWN]:
        yield "count", f"{one.variable} at {_utc(one.start)} UTC was {one.judged:g} when judged, is {one.now:g}"
    if len(found.recounted) > _SHOWN:
        yield "", f"and {len(found.recounted) - _SHOWN:,} more counts"


def _differences(found: Reproduction) -> RenderableType:
    from rich import box
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("what", "variable", "interval (UTC)", "stored", "derived"):
        table.add_column(column, justify="right" if column in {"stored", "derived"} else "left", overflow="fold")
    for one in found.differences:
        when = f"{_utc(one.start)}" if one.start else ""
        table.add_row(one.what, one.variable, when, _value(one.stored), _value(one.derived))
    if found.differing > len(found.differences):
        table.add_row("…", f"and {found.differing - len(found.differences):,} more", "", "", "")
    return Padding(table, (0, 0, 0, 2))


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else repr(value)


def _why(found: Reproduction) -> str:
    """What may lie behind it, the likeliest first."""
    reasons = []
    if found.underived:
        reasons.append("some of it cannot be derived any more")
    if found.judged_again:
        first, number = found.judged_again[0], len(found.judged_again)
        reasons.append(
            f"{number} earlier {'interval was' if number == 1 else 'intervals were'} judged again after it, from "
            f"{_utc(first)} UTC on"
        )
    if found.recounted_before:
        reasons.append(f"{found.recounted_before:,} counts that it looked back on are others now")
    if found.libraries:
        reasons.append("the libraries are other versions")
    if found.assumed:
        reasons.append("what it was judged under had to be assumed")
    if found.differing and all(one.relative < 1e-6 for one in found.differences):
        reasons.append("the numbers agree to six digits, so it is rounding")
    return ": " + "; ".join(reasons) if reasons else ": nothing that is known has changed, so look at what was stored"


def _section(title: str, lines: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> Iterator[RenderableType]:
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=13)
    grid.add_column(overflow="fold")
    for name, said in lines:
        grid.add_row(name, escape(said))
    if grid.row_count:
        yield f"[bold]{title}[/bold]"
        yield Padding(grid, (0, 0, 0, 2))
