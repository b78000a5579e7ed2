"""``anomaly backtest``: what would have been alerted over past days, under the group's policy and under another one.

In: a group, so many days, and a second policy if there is one. Out: a summary in the terminal, a page with charts,
and the same as JSON. Nothing of what the stages have stored changes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly.exceptions import ConfigurationError, InvalidRangeError

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.console import Console, RenderableType

    from anomaly.adapters.backtest_report import Backtest, Reported
    from anomaly.adapters.world import World
    from anomaly.groups import Group, TimeRange
    from anomaly.orchestration.backtesting import ScratchBench
    from anomaly.ports.labels import Label
    from anomaly.stages.backtest import Outcome, Plan

LOSES_CONFIRMED = 1
LISTED = 12
"""Incidents, or differences, that the terminal shows; the page shows all."""
_WHOLE_FILE = ("source", "interval", "schedule")
"""Keys that a file with a whole group has, and one that only changes a policy has not, or not all."""


def backtest(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Name of a group, as its file is called.")],
    days: Annotated[int, typer.Option(min=1, help="How many days are looked at.")] = 90,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="MOMENT", help="Where they end: a date, or a time with its offset. Default: counted until."
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Another policy to compare with: a whole group file, or one with only the keys that change.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the report. Default: var/backtests/GROUP.")
    ] = None,
    run_in: Annotated[
        int, typer.Option(min=0, metavar="DAYS", help="Days that are replayed before them, where history allows.")
    ] = 14,
    charts: Annotated[int, typer.Option(min=0, help="Incidents with a chart in the report, the worst first.")] = 20,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of what happens.")] = False,
) -> None:
    """What would have been alerted over past days: strictly causal, with the group's refit schedule.

    Runs the real stages in a scratch copy of the metadata, so it says what live runs would have said; nothing is
    posted, and nothing that is stored changes. With --policy it runs both and tells the difference; policies that
    differ only in thresholds, incidents and messages share their fits. A fit takes as long as ever, and there is one
    per scheduled moment.

    Exit status: 0 done; 1 the second policy keeps quiet about confirmed incidents that the first tells.

    Example: `anomaly backtest carriers --days 90 --policy stricter.yaml`
    """
    from datetime import timedelta

    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.settings import Settings
    from anomaly.adapters.world import World
    from anomaly.detection.training import load_quietly
    from anomaly.orchestration.group_files import checked_group

    settings = Settings.from_environment()
    first = checked_group(settings.groups, group)
    second = None if policy is None else other_policy(first, settings.groups, policy)
    world = World(settings, environment_connection)
    within = range_of(world, first, days, until)
    with quiet(verbose=verbose):
        if not verbose:
            load_quietly()
        report = _run(world, first, second, within, run_in=timedelta(days=run_in), charts=charts, policy=policy)
    folder = out or Path("var/backtests") / first.name
    _write(report, folder)
    _show(report, folder)
    if report.loses_confirmed:
        raise typer.Exit(LOSES_CONFIRMED)


def range_of(world: World, group: Group, days: int, until: str | None) -> TimeRange:
    """So many days that end at a moment, or where update has counted until.

    Raises:
        ConfigurationError: nothing is counted yet, or not up to that moment.
        InvalidRangeError: not a moment.
    """
    from datetime import timedelta

    from anomaly.orchestration.ranges import parse_moment

    counted = world.store().updated_until(group)
    if counted is None:
        raise ConfigurationError(
            f"group {group.name!r} has no counts yet; count the past first: anomaly update {group.name}"
        )
    moment = counted if until is None else parse_moment(until, group)
    if moment.tzinfo is None:
        raise InvalidRangeError(f"until is {until}, which has no time zone; write it with an offset: {until}+00:00")
    end = group.floor(moment)
    if end > counted:
        raise ConfigurationError(
            f"group {group.name!r} is counted until {counted.isoformat()}, and --until is {end.isoformat()}; run: "
            f"anomaly update {group.name} --start {counted.isoformat()} --end {end.isoformat()}"
        )
    start = max(group.floor(end - timedelta(days=days)), group.first_interval())
    return group.range(start, end)


def other_policy(group: Group, folder: Path, path: Path) -> Group:
    """The group under a second policy: of a whole group file, or of its own file with some keys changed.

    Raises:
        ConfigurationError: no such file, or it counts other things than the group does.
        InvalidGroupsError: with all mistakes of the policy.
    """
    import tempfile

    import yaml

    from anomaly.orchestration.group_files import checked_group

    if not path.is_file():
        raise ConfigurationError(f"--policy {path}: there is no such file")
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as bad:
        raise ConfigurationError(f"--policy {path}: found {bad}; expected valid YAML") from bad
    if not isinstance(written, dict):
        raise ConfigurationError(
            f"--policy {path}: expected a mapping of keys, such as threshold: {{min_relative: 0.2}}"
        )
    if not all(key in written for key in _WHOLE_FILE):
        own = next(file for file in (folder / f"{group.name}.yaml", folder / f"{group.name}.yml") if file.is_file())
        written = _merged(yaml.safe_load(own.read_text(encoding="utf-8")), written)
    with tempfile.TemporaryDirectory(prefix="anomaly-policy-") as aside:
        mine = Path(aside) / f"{group.name}.yaml"
        mine.write_text(yaml.safe_dump(written | {"name": group.name}), encoding="utf-8")
        second = checked_group(Path(aside), group.name)
    other = [key for key in ("source", "interval") if getattr(second, key) != getattr(group, key)]
    if other:
        raise ConfigurationError(
            f"--policy {path}: {' and '.join(other)} differ from the group's; a backtest looks at what update has "
            "counted, so policies may differ in everything but that"
        )
    return second


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping with the keys of another on top; mappings inside are merged in turn."""
    both = {
        key: _merged(under[key], value) if isinstance(value, dict) and isinstance(under.get(key), dict) else value
        for key, value in over.items()
    }
    return {**under, **both}


def changed_keys(one: Group, other: Group) -> dict[str, tuple[Any, Any]]:
    """Keys that differ, with dots between their levels, as they are written in JSON."""
    return dict(_changed(one.model_dump(mode="json"), other.model_dump(mode="json"), ""))


def _changed(one: Mapping[str, Any], other: Mapping[str, Any], above: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in sorted({*one, *other}):
        old, new = one.get(key), other.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changed(old, new, f"{above}{key}.")
        elif old != new:
            yield f"{above}{key}", (old, new)


# --- running ------------------------------------------------------------------------------------------------------


def _run(
    world: World,
    first: Group,
    second: Group | None,
    within: TimeRange,
    *,
    run_in: timedelta,
    charts: int,
    policy: Path | None,
) -> Backtest:
    from anomaly.adapters.backtest_report import Backtest
    from anomaly.orchestration import backtesting
    from anomaly.orchestration.running import utc_now
    from anomaly.stages.backtest import differences, late_rows, same_fits

    labels = world.labels().labels(first, within)
    late = late_rows(first, within, world.store())
    what = backtesting.planned(first, within, run_in=run_in)
    with backtesting.bench(world, first) as one:
        with progress(what, "the policy as it is" if second else first.name) as told:
            outcome = backtesting.run(one, what, told=told)
        before = _reported("as it is", outcome, labels, one, charts)
        if second is None:
            return Backtest(before, utc_now(), late)
        shared = same_fits(first, second)
        with backtesting.bench(world, second) as other:
            plan = what if shared else backtesting.planned(second, within, run_in=run_in)
            with progress(plan, "the second policy") as told:
                again = (
                    backtesting.run_again(one, other, plan, outcome, told=told)
                    if shared
                    else backtesting.run(other, plan, told=told)
                )
            after = _reported(policy.name if policy else "second policy", again, labels, other, charts)
    return Backtest(
        before,
        utc_now(),
        late,
        after,
        differences(before.outcome, after.outcome),
        changed_keys(first, second),
        shared,
    )


def _reported(name: str, outcome: Outcome, labels: tuple[Label, ...], bench: ScratchBench, charts: int) -> Reported:
    from anomaly.adapters.backtest_report import Reported, incident_order
    from anomaly.stages.backtest import confirmed

    worst = sorted((alert.incident for alert in outcome.alerts), key=incident_order)[:charts]
    drawn = {incident.id: bench.chart(incident) for incident in worst if incident.id is not None}
    return Reported(name, outcome, confirmed(outcome, labels), drawn)


@contextmanager
def quiet(*, verbose: bool) -> Iterator[None]:
    """Without the logs of the stages and of what they import, unless asked for."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        yield
        return
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def progress(plan: Plan, name: str) -> Iterator[Callable[[int, str], None]]:
    """A bar on standard error while a plan is run; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[name]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("intervals"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=plan.intervals, name=name)
        yield lambda done, doing: bar.update(task, advance=done, description=doing)


def _write(report: Backtest, folder: Path) -> None:
    from anomaly.adapters.backtest_report import as_dict, as_html

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(as_html(report), encoding="utf-8")
        (folder / "report.json").write_text(json.dumps(as_dict(report), indent=2, ensure_ascii=False), encoding="utf-8")
    except OSError as refused:
        raise ConfigurationError(f"the report cannot be written to {folder}: {refused}; name another with --out") from (
            refused
        )


# --- the terminal -------------------------------------------------------------------------------------------------


def _show(report: Backtest, folder: Path) -> None:
    from rich.console import Console

    # Into a pipe or a log nothing may be cut off; rich assumes 80 columns there.
    console: Console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160, highlight=False)
    for part in summary(report):
        console.print(part)
    console.print(f"\nReport: {folder / 'report.html'}, and report.json beside it", soft_wrap=True)


def summary(report: Backtest) -> Iterator[RenderableType]:
    """What the terminal shows, part by part."""
    from rich.text import Text

    from anomaly.adapters.backtest_report import notes, promised, sentence
    from anomaly.adapters.messages import span_words

    o = report.before.outcome
    yield Text(f"{o.group.name}, {span_words(o.within.start, o.within.end, o.group.zone)}", style="bold")
    for side in report.sides:
        yield Text()
        yield Text.assemble((f"{side.name}: ", "bold"), f"{sentence(side)}.")
        yield Text(f"  {promised(side)}", style="dim")
        kept, lost = side.confirmed.kept, side.confirmed.lost
        if kept or lost:
            words = f"  {len(kept)} of {len(kept) + len(lost)} confirmed incidents told"
            yield Text(words, style="red" if lost else "green")
    yield Text()
    yield _differences(report) if report.after else _alerts(report.before)
    for words in notes(report):
        yield Text(f"- {words}", style="dim")


_COLOURS = {"critical": "red", "high": "yellow", "low": "blue"}


def _alerts(side: Reported) -> RenderableType:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from anomaly.adapters.backtest_report import incident_order, told_words, what_words
    from anomaly.adapters.messages import return_period_words, span_words

    o = side.outcome
    worst = sorted(o.alerts, key=lambda alert: incident_order(alert.incident))
    more = f", the worst {LISTED} of {len(worst)}" if len(worst) > LISTED else ""
    table = Table(title=f"Incidents{more}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in ("severity", "what", "when", "how rare", "told after", "label"):
        table.add_column(column, overflow="fold", no_wrap=column in {"severity", "told after"})
    for alert in worst[:LISTED]:
        i, label = alert.incident, side.confirmed.labelled.get(alert.incident.id or 0)
        table.add_row(
            f"[{_COLOURS[i.severity]}]{i.severity}[/]",
            escape(what_words(i)),
            span_words(i.start, i.end, o.group.zone),
            return_period_words(i.return_period_hours),
            told_words(alert),
            label.word.replace("_", " ") if label else "",
        )
    return table


def _differences(report: Backtest) -> RenderableType:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from anomaly.adapters.backtest_report import what_words
    from anomaly.adapters.messages import span_words

    counted = report.counted()
    group = report.before.outcome.group
    shown = [d for d in report.differences if d.how != "stays"]
    title = ", ".join(f"{number} {how if number == 1 else _PLURAL[how]}" for how, number in counted.items())
    more = f" (the first {LISTED} of {len(shown)} that differ)" if len(shown) > LISTED else ""
    table = Table(title=f"Alerts: {title}{more}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in ("", "severity", "what", "when", "how it changes"):
        table.add_column(column, overflow="fold", no_wrap=column in {"", "severity"})
    for d in shown[:LISTED]:
        alert = d.before or d.after
        if alert is not None:
            i = alert.incident
            table.add_row(
                f"[bold]{d.how}[/]",
                f"[{_COLOURS[i.severity]}]{i.severity}[/]",
                escape(what_words(i)),
                span_words(i.start, i.end, group.zone),
                escape("; ".join(d.what)),
            )
    return table


_PLURAL = {"disappears": "disappear", "appears": "appear", "changes": "change", "stays": "stay"}
