"""``anomaly detectability``: the smallest change that each variable of a group would notice, and who sees nothing.

In: a group with a champion. Out: a table, the blind variables with the reason, and all of it as CSV or JSON. What is
measured is kept, for the review pages.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args

import typer

from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.console import RenderableType
    from rich.table import Table

    from anomaly.groups import Group
    from anomaly.ports.detectability import ChangeKind, VariableDetectability

LISTED = 30
"""Variables that the table shows, those that notice least first; CSV and JSON have all."""
_COLUMNS = ("variable", "kind", "hour", "smallest", "after_hours", "share", "days", "events_per_day", "blind", "fit_id")


def detectability(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Name of a group, as its file is called.")],
    days: Annotated[
        int, typer.Option(min=8, help="Latest days of complete counts that changes are put into, every fourth.")
    ] = 28,
    variable: Annotated[str | None, typer.Option(metavar="NAME", help="Show one variable, hour by hour.")] = None,
    stored: Annotated[bool, typer.Option("--stored", help="Show what was measured last; measure nothing.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A row per variable, kind of change and hour.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of what happens.")] = False,
) -> None:
    """The smallest change that each variable would notice within a day, by hour of the day, and how soon.

    Puts drops, surges, silence, frozen counts and delays into copies of the latest counts, and asks the champion's
    tests, under the policy's thresholds. Variables that would not even notice that nothing is written are named, with
    the reason. Takes about half a second per variable of an hourly group.

    Example: `anomaly detectability carriers`
    """
    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.settings import Settings
    from anomaly.adapters.world import World
    from anomaly.cli.backtest import quiet
    from anomaly.orchestration.detectability import run_detectability
    from anomaly.orchestration.group_files import checked_group

    settings = Settings.from_environment()
    chosen = checked_group(settings.groups, group)
    world = World(settings, environment_connection)
    if not stored:
        with quiet(verbose=verbose), _Progress(chosen.name) as told:
            done = run_detectability(world, chosen, days=days, told=told.so_far)
        typer.echo(done, err=as_csv or as_json)
    rows = world.detectability().of_group(chosen)
    if not rows:
        raise ConfigurationError(f"nothing was measured of group {group!r} yet; run: anomaly detectability {group}")
    if variable is not None:
        rows = (_named(rows, variable, chosen),)
    if as_csv:
        typer.echo(csv_text(rows), nl=False)
    elif as_json:
        typer.echo(json.dumps([row_as_dict(row) for row in rows], indent=2, ensure_ascii=False))
    else:
        _show(one_variable(rows[0]) if variable is not None else whole_group(rows))


def _named(rows: Sequence[VariableDetectability], name: str, group: Group) -> VariableDetectability:
    from difflib import get_close_matches

    found = {row.variable: row for row in rows}
    if name in found:
        return found[name]
    near = get_close_matches(name, found, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "nothing is called like that"
    raise ConfigurationError(f"nothing was measured of a variable {name!r} of group {group.name!r}; {hint}")


class _Progress:
    """A bar on standard error, where that is a terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(f"{name}: variables", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def so_far(self, done: int, of: int) -> None:
        self._bar.update(self._task, completed=done, total=of)


# --- for machines -------------------------------------------------------------------------------------------------


def csv_text(rows: Iterable[VariableDetectability]) -> str:
    """A line per variable, kind and hour; variables without any have one line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        tail = (row.days, f"{row.events_per_day:.6g}", row.blind, row.fit_id)
        for c in row.changes:
            smallest = "" if c.smallest is None else f"{c.smallest:g}"
            writer.writerow((row.variable, c.kind, c.hour, smallest, _number(_hours(c.after)), f"{c.share:.3g}", *tail))
        if not row.changes:
            writer.writerow((row.variable, "", "", "", "", "", *tail))
    return out.getvalue()


def row_as_dict(row: VariableDetectability) -> dict[str, Any]:
    """What JSON can hold; durations in hours."""
    return {
        "variable": row.variable,
        "fit_id": row.fit_id,
        "measured_at": row.measured_at.isoformat(),
        "days": row.days,
        "events_per_day": row.events_per_day,
        "blind": row.blind or None,
        "changes": [
            {"kind": c.kind, "hour": c.hour, "smallest": c.smallest, "after_hours": _hours(c.after), "share": c.share}
            for c in row.changes
        ],
    }


def _hours(after: timedelta | None) -> float | None:
    from datetime import timedelta

    return None if after is None else after / timedelta(hours=1)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


# --- for people ---------------------------------------------------------------------------------------------------


def _show(parts: Iterable[RenderableType]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160, highlight=False)
    for part in parts:
        console.print(part)


def size_words(kind: ChangeKind, smallest: float | None) -> str:
    """``-40%``, ``+100%``, ``3 h``; a dash where nothing is noticed."""
    if smallest is None:
        return "\N{EN DASH}"
    if kind == "drop":
        return f"\N{MINUS SIGN}{smallest:.0%}"
    return f"+{smallest:.0%}" if kind == "surge" else f"{smallest:g} h"


def whole_group(rows: Sequence[VariableDetectability]) -> Iterator[RenderableType]:
    """The table of the median hour, the weakest first, and the blind."""
    from rich.markup import escape
    from rich.text import Text

    from anomaly.ports.detectability import ChangeKind

    kinds: tuple[ChangeKind, ...] = get_args(ChangeKind)
    seeing = sorted((row for row in rows if not row.blind), key=_weakness, reverse=True)
    blind = sorted((row for row in rows if row.blind), key=lambda row: -row.events_per_day)
    more = f", the {LISTED} of {len(seeing)} that notice least" if len(seeing) > LISTED else ""
    table = _table(f"Smallest change that is noticed within a day, in the median hour{more}")
    for column in ("variable", "events a day", *kinds, "a drop after", "a silence at its worst hour"):
        table.add_column(column, justify="left" if column == "variable" else "right", overflow="fold")
    for row in seeing[:LISTED]:
        table.add_row(
            escape(row.variable),
            f"{row.events_per_day:,.3g}",
            *(size_words(kind, row.typical(kind)) for kind in kinds),
            _typical_after(row),
            size_words("silence", _worst(row)),
        )
    if seeing:
        yield table
    if not blind:
        yield Text("No variable is blind.", style="green")
        return
    more = f", {LISTED} of {len(blind)}" if len(blind) > LISTED else ""
    table = _table(f"Blind: nothing written for a day would not be noticed in most hours{more}")
    for column in ("variable", "events a day", "why"):
        table.add_column(column, justify="right" if column == "events a day" else "left", overflow="fold")
    for row in blind[:LISTED]:
        table.add_row(escape(row.variable), f"{row.events_per_day:,.3g}", escape(row.blind))
    yield table


def one_variable(row: VariableDetectability) -> Iterator[RenderableType]:
    """Hour by hour."""
    from rich.text import Text

    from anomaly.ports.detectability import ChangeKind

    kinds: tuple[ChangeKind, ...] = get_args(ChangeKind)
    yield Text(f"{row.variable}: {row.events_per_day:,.3g} events a day, tried on {row.days} days", style="bold")
    if row.blind:
        yield Text(f"Blind: {row.blind}.", style="yellow")
    if not row.changes:
        return
    table = _table("Smallest change that is noticed, and after how long, by the hour in which it begins")
    for column in ("hour", *kinds):
        table.add_column(column, justify="right")
    found = {(c.kind, c.hour): c for c in row.changes}
    for hour in sorted({c.hour for c in row.changes}):
        cells = []
        for kind in kinds:
            c = found.get((kind, hour))
            after = _hours(c.after) if c else None
            said = size_words(kind, c.smallest if c else None)
            cells.append(said if after is None or kind in {"silence", "frozen"} else f"{said} after {after:g} h")
        table.add_row(f"{hour:02d}", *cells)
    yield table


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")


def _weakness(row: VariableDetectability) -> tuple[float, float]:
    drop, silence = row.typical("drop"), row.typical("silence")
    return float("inf") if drop is None else drop, float("inf") if silence is None else silence


def _typical_after(row: VariableDetectability) -> str:
    found = sorted(hours for c in row.of("drop") if (hours := _hours(c.after)) is not None)
    return f"{found[len(found) // 2]:g} h" if found else "\N{EN DASH}"


def _worst(row: VariableDetectability) -> float | None:
    sizes = [c.smallest for c in row.of("silence")]
    return None if not sizes or None in sizes else max(size for size in sizes if size is not None)
