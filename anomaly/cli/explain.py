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

    from anomaly.detection.explanations import Said
    from anomaly.groups import Group
    from anomaly.ports import Store
    from anomaly.stages.explain import Compared, Explanation, Verdict

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
    store = World(settings, environment_connection).store()
    chosen = group_of(variable, groups, store)
    moment: datetime | None = None if at is None else parse_moment(at, chosen)
    found = stage.explain(chosen, variable, store=store, at=moment, fit_id=fit)
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

    record, group = found.record, found.group
    yield Text(f"{found.variable.name} of {group.name}", style="bold")
    yield from _section("Learned from", _history(found))
    yield from _section("How much may be wrong by chance", _policy(found))
    yield from _section("How it is forecast", _forecast(found))
    if record.mae:
        yield _errors(found)
    if record.tests:
        yield from _section("How it is tested", _together(found))
        for limit in found.limits:
            yield from _test(found, limit.test)
        yield from _section("Thresholds of single residuals, as stored", _thresholds(found))
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


def _history(found: Explanation) -> Iterator[tuple[str, str]]:
    from anomaly.adapters.messages import moment_words, span_words
    from anomaly.detection.explanations import number

    fit, zone = found.fit, found.group.zone
    yield "history", f"{span_words(fit.history.start, fit.history.end, zone)}, {found.intervals:,} intervals counted"
    yield "mean", f"{number(found.rate)} events per interval"
    serves = f"serves from {moment_words(fit.serves_from, zone)} on" if fit.serves_from else "does not serve"
    yield "model", f"version {fit.model_version or 'none'} ({fit.state}), {serves}"
    yield "fit", fit.id
    yield "MLflow run", fit.mlflow_run_id or "none"
    if found.changed:
        keys = ", ".join(found.changed)
        yield "changed since", f"{keys} in {found.group.name}.yaml; what a fit learns takes effect with the next one"


def _policy(found: Explanation) -> Iterator[tuple[str, str]]:
    from anomaly.detection.explanations import number, odds
    from anomaly.groups.model import TOTAL, Direction

    own = found.share
    alerts = "false incident" if own.false_alerts_per_week == 1 else "false incidents"
    yield "policy", f"{number(own.false_alerts_per_week)} {alerts} a week in {found.group.slack.channel}"
    if own.part < 1:
        whose = "this is it" if found.variable.name == TOTAL else "the other half is the other variables'"
        yield "the total", f"{own.part:.0%} of it is the total's; {whose}"
    sharing = "" if own.sharing == 1 else f"{own.sharing} variables share it, each with "
    yield (
        "shared out",
        (
            f"{sharing}{number(own.intervals_per_week)} intervals a week: a false incident may begin in 1 in "
            f"{number(1 / own.beginning)} of its own"
        ),
    )
    if own.run > 1:
        yield "runs", f"in its history rare intervals come {own.run:.2g} at a time, and a run is one incident"
    most = " (the most there is)" if own.capped else ""
    yield "so", f"1 in {number(1 / own.probability)}{most} of its intervals may be anomalous by chance"
    if own.direction is not Direction.BOTH:
        yield "direction", f"{own.direction} only, which gets all of it"
    yield (
        "evidence",
        (f"{number(own.limit)} is needed: \N{MINUS SIGN}ln of a two-sided tail probability, here {odds(own.limit)}"),
    )
    yield "as stored", _agrees(found.probability)


def _forecast(found: Explanation) -> Iterator[tuple[str, str]]:
    from anomaly.detection.explanations import number

    record = found.record
    yield "status", f"{record.status}: {record.status_reason}"
    if not record.tests:
        yield "not judged", record.choice
        return
    yield "candidate", record.candidate
    # What the sentence says of the errors is in the table below.
    why = record.choice if not record.mae else record.choice.partition("; ")[2] or "the smallest error"
    yield "because", why
    if record.slot:
        file = (
            f"{record.slot}, network {record.position} of {found.network.variables}" if found.network else record.slot
        )
        yield "network", f"{file}, first weights from seed {record.seed}"
        yield (
            "scaler",
            (
                f"{number(record.scaler_minimum)} becomes 0 and {number(record.scaler_maximum)} becomes 1, in the "
                "transform"
            ),
        )


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


def _together(found: Explanation) -> Iterator[tuple[str, str]]:
    from anomaly.detection.evidence import ANY, at_turns
    from anomaly.detection.explanations import calibration_words, number, odds

    together = next((test.calibration for test in found.record.tests if test.test == ANY), None)
    if together is None:
        return
    needed = together.inverse(found.share.limit)
    yield "all together", f"the strongest evidence of {len(found.limits)} tests counts"
    yield "calibrated", calibration_words(together.knee, together.slope, together=True)
    if at_turns(found.record.tests) != 1:
        yield "turn of month", f"there, evidence is divided by {number(at_turns(found.record.tests))}: it scatters more"
    yield "so", f"evidence of {number(needed)} ({odds(needed)}) from one test is {number(found.share.limit)} from all"


def _test(found: Explanation, name: str) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    from anomaly.detection.explanations import asks, calibration_words, family_words, limit_words

    limit = next(limit for limit in found.limits if limit.test == name)
    yield Padding(Text.assemble((name, "bold"), f"  {asks(name)}"), (1, 0, 0, 2))
    yield _facts(
        (
            ("family", family_words(limit)),
            ("calibrated", calibration_words(limit.knee, limit.slope)),
            ("alarms at", limit_words(limit, found.fit.history.step, found.transform)),
        ),
        indent=4,
    )


def _thresholds(found: Explanation) -> Iterator[tuple[str, str]]:
    from anomaly.detection.explanations import number

    for name, side in (("below", found.lower), ("above", found.upper)):
        what = (
            "no fixed one: it depends on what is expected, or on nobody"
            if math.isinf(side.stored)
            else number(side.stored)
        )
        yield name, what
    agree = found.lower.agrees and found.upper.agrees
    yield "worked out", "agrees" if agree else f"below {_agrees(found.lower)}; above {_agrees(found.upper)}"


def _agrees(numbers: Compared) -> str:
    from anomaly.detection.explanations import number

    if numbers.agrees:
        return "agrees"
    return f"differs, {number(numbers.stored)} is stored and {number(numbers.worked_out)} follows"


def _verdict(found: Explanation, verdict: Verdict) -> Iterator[RenderableType]:
    from anomaly.adapters.messages import span_words

    yield from _section(span_words(verdict.start, verdict.end, found.group.zone), _said(found, verdict))
    yield _evidence(verdict)
    yield from _section("Verdict", _decided(found, verdict))


def _said(found: Explanation, verdict: Verdict) -> Iterator[tuple[str, str]]:
    from anomaly.adapters.messages import departure_words
    from anomaly.detection.explanations import number

    yield "observed", departure_words(verdict.observed, verdict.predicted)
    if verdict.counted != verdict.observed:
        yield "counted since", f"{number(verdict.counted)}: rows came late; predict judges it again"
    yield "ordinary", f"{number(verdict.lower)} to {number(verdict.upper)}, as far as this interval alone tells"
    yield "residual", f"{number(verdict.residual)}, in the transform"
    if verdict.special:
        yield (
            "special day",
            f"a holiday ({found.group.holidays}) or beside one: anything that its week has shown is ordinary",
        )
    if verdict.looked.divisor != 1:
        yield (
            "turn of month",
            f"evidence is divided by {number(verdict.looked.divisor)}: the history scatters more there",
        )
    if verdict.judged_by != found.fit.id:
        yield "judged by", f"fit {verdict.judged_by}, another than the one explained here"


def _evidence(verdict: Verdict) -> RenderableType:
    from rich import box
    from rich.padding import Padding
    from rich.table import Table

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
            _saw(said),
            number(said.evidence) if said.evidence else "0",
            number(said.needed),
            odds(said.evidence) if said.evidence else "",
            style="bold" if decided else None,
        )
    return Padding(table, (0, 0, 0, 2))


def _saw(said: Said) -> str:
    from anomaly.adapters.messages import departure_words

    if said.test == "frozen":
        return f"{said.lasted} equal counts in a row" if said.lasted > 1 else "a new count"
    if said.test == "silence":
        return f"{said.lasted} intervals without a write" if said.lasted else "a write"
    if math.isnan(said.felt) or math.isnan(said.expected):
        return "not enough known"
    return departure_words(said.felt, said.expected)


def _decided(found: Explanation, verdict: Verdict) -> Iterator[tuple[str, str]]:
    from anomaly.adapters.messages import return_period_words
    from anomaly.detection.explanations import number

    looked, needed = verdict.looked, found.share.limit
    enough = abs(looked.evidence) >= needed
    hours = found.group.interval.total_seconds() / 3600 / max(looked.tail_probability, 1e-300)
    yield (
        "decided by",
        verdict.decided + ("" if verdict.decided == looked.decided else f"; worked out again: {looked.decided}"),
    )
    yield (
        "all together",
        (f"evidence {number(looked.evidence)} of {number(needed)} needed; by chance {return_period_words(hours)}"),
    )
    yield "verdict", verdict.kind or _why_normal(enough=enough)
    yield "stored", f"tail probability {number(verdict.tail_probability.stored)}: {_agrees(verdict.tail_probability)}"
    if not verdict.tail_probability.agrees and verdict.judged_by == found.fit.id:
        yield (
            "",
            (
                "What was there by then is not kept: the interval was judged while it or one before it was filling in, "
                "or counts, holidays or the policy have changed since"
            ),
        )


def _why_normal(*, enough: bool) -> str:
    if not enough:
        return "normal"
    return "normal: rare enough, but smaller than the policy's floors, or judged while it was filling in"
