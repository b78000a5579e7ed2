"""``anomaly explain``: every threshold traced to its rule, and a verdict to the test that gave it.

In: a variable's name, and a moment to explain one interval too. Out: a page that is read from top to bottom, from the
group's policy to counts, or the same as JSON. What is stored and can be worked out again is, and "agrees" or "differs"
says how that went.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType
    from rich.table import Table

    from anomaly.groups import Group
    from anomaly.ports import Store
    from anomaly.stages.explain import Explanation, Verdict

NEAR_NAMES = 5


def explain(
    variable: Annotated[str, typer.Argument(metavar="VARIABLE", help="Its name; '(total)' is a group's total.")],
    group: Annotated[
        str | None, typer.Option(metavar="GROUP", help="Needed where several groups have such a variable.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Explain the interval that holds it: a date, or a time with its offset."),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="A fit's id or its model's version. Default: the one that judged, or that serves now."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Why a variable's thresholds are what they are, and with a moment, why its interval was judged so.

    Follows every number back to its rule: the group's policy, the contest of candidates, the tests and their
    calibration by the history; and works out again what can be, to compare it with what is stored.

    Example: `anomaly explain dep_delay.UA --at 2013-02-08T18:00:00-05:00`
    """
    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.settings import Settings
    from anomaly.adapters.world import World
    from anomaly.orchestration.group_files import checked_group, checked_groups
    from anomaly.orchestration.ranges import parse_moment
    from anomaly.stages import explain as stage

    settings = Settings.from_environment()
    groups = (checked_group(settings.groups, group),) if group else checked_groups(settings.groups)
    world = World(settings, environment_connection)
    store = world.store()
    chosen = group_of(variable, groups, store)
    moment: datetime | None = None if at is None else parse_moment(at, chosen)
    found = stage.explain(chosen, variable, store=store, at=moment, fit_id=fit, labels=world.labels())
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)


def group_of(variable: str, groups: Iterable[Group], store: Store) -> Group:
    """The one group that has met a variable of this name.

    Raises:
        ConfigurationError: none has, or several have.
    """
    from difflib import get_close_matches

    met = {group: [v.name for v in store.variables(group, left_out=True)] for group in groups}
    having = [group for group, names in met.items() if variable in names]
    if len(having) == 1:
        return having[0]
    if having:
        named = ", ".join(group.name for group in having)
        raise ConfigurationError(f"several groups have a variable {variable!r}: {named}; say which with --group")
    everything = sorted({name for names in met.values() for name in names})
    near = get_close_matches(variable, everything, n=NEAR_NAMES, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "nothing is called like that"
    where = ", ".join(group.name for group in met)
    raise ConfigurationError(
        f"found no variable {variable!r} among the {len(everything)} that {where} {'has' if len(met) == 1 else 'have'} "
        f"met; {hint}"
    )


# --- the page ---------------------------------------------------------------------------------------------------


def _show(found: Explanation) -> None:
    from rich.console import Console

    # Into a pipe or a log there is no width to keep to; rich assumes 80 columns there.
    console = Console(width=None if os.isatty(1) or "COLUMNS" in os.environ else 120, highlight=False)
    for part in _page(found):
        console.print(part)


def _page(found: Explanation) -> Iterator[RenderableType]:
    from rich.text import Text

    from anomaly.adapters import explanation_words as words

    record, group = found.record, found.group
    yield Text(f"{found.variable.name} of {group.name}", style="bold")
    yield from _section("Learned from", words.learned_from(found))
    yield from _section("How much may be wrong by chance", words.shared_out(found))
    yield from _section("How it is forecast", words.forecast_by(found))
    if record.mae:
        yield _errors(found)
    if record.tests:
        yield from _section("How it is tested", words.tested_together(found))
        for limit in found.limits:
            yield from _test(found, limit.test)
        yield from _section("Thresholds of single residuals, as stored", words.thresholds_stored(found))
    if found.verdict:
        yield from _verdict(found, found.verdict)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text()
    yield Text(title, style="bold underline")
    yield _facts(rows)


def _facts(rows: Iterable[tuple[str, str]], *, indent: int = 2) -> Table:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=13, style="dim")
    table.add_column(overflow="fold")
    for name, words in rows:
        table.add_row(name, Text(words))
    return Padding(table, (0, 0, 0, indent))  # type: ignore[return-value]


def _errors(found: Explanation) -> RenderableType:
    from rich import box
    from rich.padding import Padding
    from rich.table import Table

    from anomaly.detection.candidates import CANDIDATES
    from anomaly.detection.choosing import CHAMPION, MARGIN
    from anomaly.detection.evidence import SILENCE
    from anomaly.stages.records import CHOSEN

    errors = {name: error for name, error in found.record.mae.items() if name != CHOSEN}
    order = [*CANDIDATES, CHAMPION]
    best = min(errors.values(), default=math.nan)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("on the test period")
    rare = any(test.test == SILENCE for test in found.record.tests)
    table.add_column("Poisson deviance" if rare else "mean absolute error", justify="right")
    table.add_column("above the best", justify="right")
    table.add_column("")
    for name in sorted(errors, key=lambda n: order.index(n) if n in order else len(order)):
        above = errors[name] / best - 1 if best > 0 else 0.0
        won = found.record.choice.startswith(f"{name} ")
        note = "chosen" if won else f"within {MARGIN:.0%}" if above <= MARGIN else ""
        table.add_row(
            name, f"{errors[name]:.4f}", f"{above:+.1%}" if above else "the best", note, style="bold" if won else None
        )
    return Padding(table, (0, 0, 0, 2))


def _test(found: Explanation, name: str) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    from anomaly.adapters import explanation_words as words
    from anomaly.detection.explanations import asks

    limit = next(limit for limit in found.limits if limit.test == name)
    yield Padding(Text.assemble((name, "bold"), f"  {asks(name)}"), (1, 0, 0, 2))
    yield _facts(words.tested(found, limit), indent=4)


def _verdict(found: Explanation, verdict: Verdict) -> Iterator[RenderableType]:
    from anomaly.adapters import explanation_words as words
    from anomaly.adapters.messages import span_words

    yield from _section(span_words(verdict.start, verdict.end, found.group.zone), words.said_of(found, verdict))
    yield _evidence(verdict)
    yield from _section("Verdict", words.decided(found, verdict))


def _evidence(verdict: Verdict) -> RenderableType:
    from rich import box
    from rich.padding import Padding
    from rich.table import Table

    from anomaly.adapters import explanation_words as words
    from anomaly.detection.explanations import number, odds

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("test")
    table.add_column("what it saw", overflow="fold")
    table.add_column("evidence", justify="right")
    table.add_column("needed", justify="right")
    table.add_column("by chance", justify="right")
    for said in sorted(verdict.looked.said, key=lambda said: -abs(said.evidence)):
        decided = said.test == verdict.looked.decided
        table.add_row(
            said.test,
            words.what_it_saw(said),
            number(said.evidence) if said.evidence else "0",
            number(said.needed),
            odds(said.evidence) if said.evidence else "",
            style="bold" if decided else None,
        )
    return Padding(table, (0, 0, 0, 2))
