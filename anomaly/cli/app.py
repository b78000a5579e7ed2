"""The command line: the same stages as the DAGs, without Airflow.

In: a group's name, a range as people write it, connections from ``AIRFLOW_CONN_<ID>``. Out: what was done, in a
sentence; or a message on standard error and an exit status that says whether trying again can help. Nothing
but typer is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from anomaly.cli.backtest import backtest
from anomaly.cli.detect import detect
from anomaly.cli.detectability import detectability
from anomaly.cli.doctor import doctor
from anomaly.cli.explain import explain
from anomaly.cli.init import init
from anomaly.cli.labels import labels_app, snooze
from anomaly.cli.models import models_app
from anomaly.cli.reproduce import reproduce
from anomaly.cli.simulate import simulate
from anomaly.cli.slack import slack_app
from anomaly.cli.tell import tell
from anomaly.exceptions import AnomalyError, InvalidGroupsError, TransientError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from anomaly.adapters.world import World
    from anomaly.groups import Group, TimeRange
    from anomaly.ports import Store

WRONG_GROUPS = 1
PERMANENT = 2
TEMPORARY = 75
"""EX_TEMPFAIL of sysexits.h: schedulers take it as "try again later"."""

ENVIRONMENT = """\
**Environment**

* `AIRFLOW_CONN_ANOMALY_DB`: the metadata database, such as `postgres://user:password@host:5432/anomaly`
* `AIRFLOW_CONN_<ID>`: every other connection that a group names, its source and its Slack, in Airflow's URI or JSON
* `ANOMALY_GROUPS`: folder of the group files (default `dags/groups`)
* `ANOMALY_EXPECTATIONS`, `ANOMALY_VALIDATIONS`: Great Expectations suites, and where their results go
* `ANOMALY_ARTIFACTS`: folder or `s3://bucket/prefix` for models and charts
* `MLFLOW_TRACKING_URI`: the MLflow server, needed by fit
* `ANOMALY_LINK_AIRFLOW`, `ANOMALY_LINK_MLFLOW`, `ANOMALY_LINK_DATA_DOCS`: addresses for links in messages
* `ANOMALY_AIRFLOW_TOKEN`: of Airflow's REST API, by which `anomaly doctor` asks for its DAGs
"""

OVERVIEW = f"""\
Watches how often business variables are written, and tells a Slack channel when reality departs from the usual.

Four stages, each of which can be run again without harm: **update** counts, **fit** learns, **predict** judges,
**alert** tells. They are what the Airflow DAGs run.

**A first day**

    anomaly init CONNECTION TABLE
    anomaly groups check
    anomaly db upgrade
    anomaly doctor
    anomaly update carriers --start 2013-01-01 --end 2013-02-03
    anomaly fit carriers --until 2013-02-03
    anomaly update carriers --start 2013-02-03 --end 2013-02-04
    anomaly predict carriers --start 2013-02-03 --end 2013-02-04
    anomaly alert carriers --start 2013-02-03 --end 2013-02-04
    anomaly status carriers

A date means midnight in the group's time zone; a time needs its offset: `2013-02-03T06:00:00-05:00`.

{ENVIRONMENT}
**Exit status**: 0 done; 1 mistakes in group files, or something differs or failed; {PERMANENT} somebody has to
change something first; {TEMPORARY} not ready, try again later.
"""


class _Commands(TyperGroup):
    """Turns the package's exceptions into a message and an exit status. Anything else is a defect and shows."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AnomalyError as error:
            _fail(error)


app = typer.Typer(
    cls=_Commands,
    help=OVERVIEW,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
groups_app = typer.Typer(help="The group files.", no_args_is_help=True)
database_app = typer.Typer(help="The metadata database.", no_args_is_help=True)
app.add_typer(groups_app, name="groups")
app.add_typer(database_app, name="db")
app.add_typer(models_app, name="models")
app.add_typer(labels_app, name="labels")
app.add_typer(slack_app, name="slack")
app.command()(snooze)
app.command()(tell)
app.command()(init)
app.command()(doctor)
app.command()(simulate)
app.command()(explain)
app.command()(backtest)
app.command()(detectability)
app.command()(reproduce)
app.command()(detect)

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name of a group, as its file is called.")]
Start = Annotated[
    str | None,
    typer.Option(metavar="MOMENT", help="Start of the range: a date, or a time with its offset. Goes with --end."),
]
End = Annotated[str | None, typer.Option(metavar="MOMENT", help="End of the range, not part of it. Goes with --start.")]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="MOMENT", help="Where the history ends. Default: the latest interval that the schedule has counted."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of what happens.")]


@app.command()
def update(group: GroupName, start: Start = None, end: End = None, verbose: Verbose = False) -> None:
    """Counts the events of a range in the source. Without a range, of the latest complete interval.

    Reads the source, and nothing else, in a read-only transaction. Running it again counts late rows, and changes
    nothing otherwise.

    Example: `anomaly update carriers --start 2013-01-01 --end 2013-02-03`
    """
    from anomaly.orchestration.running import run_update

    _log(verbose=verbose)
    chosen = _group(group)
    typer.echo(run_update(_world(), chosen, _range(chosen, start, end)))


@app.command()
def fit(
    group: GroupName,
    until: Until = None,
    reason: Annotated[str, typer.Option(help="Why it is fitted now; kept with the fit.")] = "on demand",
    verbose: Verbose = False,
) -> None:
    """Learns what is normal from the history. Whether the model then serves, the group's policy says.

    Checks that the history is complete, trains every candidate for all variables, picks the best of each,
    registers the model in MLflow, reviews it against the champion, and promotes it where `promotion` in the group's
    file says so.

    Example: `anomaly fit carriers --until 2013-02-03`
    """
    from anomaly.detection.training import load_quietly
    from anomaly.orchestration.ranges import chosen_until
    from anomaly.orchestration.running import (
        run_prepare,
        run_promote,
        run_register,
        run_review,
        run_train,
        utc_now,
    )

    _log(verbose=verbose)
    chosen, world = _group(group), _world()
    moment = chosen_until(chosen, _moment(chosen, until), at=utc_now())
    begun, done = run_prepare(world, chosen, moment, reason=reason)
    typer.echo(done)
    if not verbose:
        load_quietly()
    for shard in range(begun.shards):
        typer.echo(run_train(world, chosen, begun.id, shard))
    typer.echo(run_register(world, chosen, begun.id))
    typer.echo(run_review(world, chosen, begun.id))
    typer.echo(run_promote(world, chosen, begun.id))


@app.command()
def predict(group: GroupName, start: Start = None, end: End = None, verbose: Verbose = False) -> None:
    """Judges the counts of a range by the champion. Without a range, of the latest complete interval.

    The range must have been updated. Running it again gives the same predictions.

    Example: `anomaly predict carriers --start 2013-02-03 --end 2013-02-04`
    """
    from anomaly.orchestration.running import run_predict

    _log(verbose=verbose)
    chosen = _group(group)
    typer.echo(run_predict(_world(), chosen, _range(chosen, start, end)))


@app.command()
def alert(group: GroupName, start: Start = None, end: End = None, verbose: Verbose = False) -> None:
    """Gathers the anomalies of a range into incidents and posts them. Without a range, of the latest interval.

    One message per incident, sent once however often this runs; what Slack could not take is sent the next time.

    Example: `anomaly alert carriers --start 2013-02-03 --end 2013-02-04`
    """
    from anomaly.orchestration.running import run_alert

    _log(verbose=verbose)
    chosen = _group(group)
    typer.echo(run_alert(_world(), chosen, _range(chosen, start, end)))


@app.command()
def status(
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="One group; without it, all.")] = None,
) -> None:
    """Where each group stands: counted until, champion, open incidents, messages waiting, last runs."""
    chosen = (_group(group),) if group else _groups()
    store = _world().store()
    _print(_overview(store, chosen))
    if group:
        _print(_runs(store, chosen[0]))


@groups_app.command("check")
def check(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Folder of the group files. Default: ANOMALY_GROUPS.")
    ] = None,
) -> None:
    """Reads every group file, and reports every mistake at once: file, key, found, expected.

    Example: `anomaly groups check dags/groups`
    """
    try:
        found = _groups(folder)
    except InvalidGroupsError as wrong:
        typer.echo(wrong, err=True)
        raise typer.Exit(WRONG_GROUPS) from None
    _print(_group_table(found))


@database_app.command("upgrade")
def upgrade() -> None:
    """Makes the metadata tables, or brings them to this version's shape. Safe to run again.

    Needs `AIRFLOW_CONN_ANOMALY_DB` of a role that may create tables.
    """
    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.postgres.migrate import migrate
    from anomaly.adapters.settings import DATABASE_CONNECTION

    arguments = environment_connection(DATABASE_CONNECTION).postgres_arguments()
    typer.echo(f"The metadata database is at revision {migrate(arguments)}.")


# --- what the commands share ----------------------------------------------------------------------------------


def _fail(error: AnomalyError) -> NoReturn:
    typer.echo(f"{error}", err=True)
    raise typer.Exit(TEMPORARY if isinstance(error, TransientError) else PERMANENT) from error


def _log(*, verbose: bool) -> None:
    import logging
    import warnings

    if not verbose:
        # TensorFlow's remarks on processors and graphics cards, and Keras's on its own dependencies, are not ours.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )


def _world() -> World:
    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.settings import Settings
    from anomaly.adapters.world import World

    return World(Settings.from_environment(), environment_connection)


def _groups(folder: Path | None = None) -> tuple[Group, ...]:
    from anomaly.adapters.settings import Settings
    from anomaly.orchestration.group_files import checked_groups

    return checked_groups(folder or Settings.from_environment().groups)


def _group(name: str) -> Group:
    from anomaly.adapters.settings import Settings
    from anomaly.orchestration.group_files import checked_group

    return checked_group(Settings.from_environment().groups, name)


def _moment(group: Group, written: str | None) -> datetime | None:
    from anomaly.orchestration.ranges import parse_moment

    return None if written is None else parse_moment(written, group)


def _range(group: Group, start: str | None, end: str | None) -> TimeRange:
    from anomaly.orchestration.ranges import chosen_range
    from anomaly.orchestration.running import utc_now

    return chosen_range(group, _moment(group, start), _moment(group, end), at=utc_now())


def _print(table: Table) -> None:
    from rich.console import Console

    # Into a pipe or a log nothing may be cut off; rich assumes 80 columns there.
    width = None if os.isatty(1) else 200
    Console(width=width, highlight=False).print(table)


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        right = column in {"variables", "open incidents", "waiting", "seconds"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _group_table(groups: tuple[Group, ...]) -> Table:
    from rich.markup import escape

    from anomaly.groups.durations import format_duration

    table = _table(
        f"{len(groups)} {'group' if len(groups) == 1 else 'groups'}, no mistakes",
        "group", "owner", "source", "interval", "variables of the source", "candidates", "channel",
    )  # fmt: skip
    for group in groups:
        chosen = group.variables
        picked = ", ".join(chosen.names) if chosen.names else chosen.pattern or "all"
        source = f"{group.source.table or 'query'} on {group.source.connection}"
        cells = (
            group.name,
            group.owner,
            source,
            format_duration(group.interval),
            picked,
            ", ".join(group.candidates),
            group.slack.channel,
        )
        table.add_row(*map(escape, cells))
    return table


def _overview(store: Store, groups: tuple[Group, ...]) -> Table:
    table = _table(
        "Groups", "group", "variables", "counted until", "champion", "serves from", "open incidents", "waiting",
        "last run",
    )  # fmt: skip
    for group in groups:
        champion = store.champion(group)
        last = store.runs(group, limit=1)
        table.add_row(
            group.name,
            str(len(store.variables(group))),
            _local(group, store.updated_until(group)),
            f"version {champion.model_version}" if champion else "none yet",
            _local(group, champion.serves_from if champion else None),
            str(sum(not incident.resolved for incident in store.incidents(group))),
            str(store.waiting(group)),
            f"{last[0].stage}, {_local(group, last[0].finished_at)}" if last else "never",
        )
    return table


def _runs(store: Store, group: Group) -> Table:
    from rich.markup import escape

    table = _table("Last runs", "finished", "stage", "from", "to", "seconds", "what it did")
    for run in store.runs(group, limit=12):
        did = ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in run.report.items() if _told(value))
        table.add_row(
            _local(group, run.finished_at),
            run.stage,
            _local(group, run.start),
            _local(group, run.end),
            f"{run.seconds:.1f}",
            escape(did),
        )
    return table


def _told(value: Any) -> bool:
    """Whether a report's value says something beyond the range, which has its own columns."""
    return isinstance(value, bool | int | float) or (isinstance(value, list) and bool(value))


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case list() if len(value) > 3:
            return f"{len(value)}"
        case list():
            return "/".join(map(str, value))
        case _:
            return str(value)


def _local(group: Group, moment: datetime | None) -> str:
    """In the group's zone, to the minute, with the zone's abbreviation."""
    return f"{moment.astimezone(group.zone):%Y-%m-%d %H:%M %Z}" if moment else "never"
