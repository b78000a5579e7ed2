"""``anomaly models``: the versions of a group, what would change, and who serves.

In: a group's name, a version, and a reason. Out: what there is, in a table; or what was done, in a sentence. Every
command that changes something says who and why, and can be run again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from anomaly.groups import Group
    from anomaly.groups.golden import Golden
    from anomaly.ports import Fit
    from anomaly.ports.labels import Label
    from anomaly.ports.reviews import JudgedAlert, Reviews

models_app = typer.Typer(
    help="The versions of a group's model: what would change, who serves, and taking it back.", no_args_is_help=True
)

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name of a group, as its file is called.")]
Version = Annotated[int, typer.Argument(metavar="VERSION", help="Of the group's registered model.", min=1)]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the decision.")]
Who = Annotated[str | None, typer.Option("--as", help="Who decides. Default: the name you are logged in with.")]


@models_app.command("list")
def list_versions(
    group: GroupName, limit: Annotated[int, typer.Option(help="So many fits, the latest.", min=1)] = 20
) -> None:
    """The group's fits: why each ran, what became of it, and from when to when it served.

    Example: `anomaly models list carriers`
    """
    from anomaly.cli.app import _group, _print, _world

    chosen, world = _group(group), _world()
    _print(_versions(chosen, world.reviews(), limit))


@models_app.command("diff")
def diff(
    group: GroupName,
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="Default: the latest.")] = None,
) -> None:
    """What would change, or has changed, with a version: forecasts, alerts, golden incidents.

    Example: `anomaly models diff carriers 7`
    """
    from anomaly.cli.app import _group, _print, _world
    from anomaly.stages.promotion import in_sum

    chosen, world = _group(group), _world()
    reviews = world.reviews()
    fit = _version(chosen, reviews, version)
    review = reviews.review(fit.id)
    if review is None:
        typer.echo(f"version {fit.model_version} of {chosen.name} has no review; it was made without one")
        return
    champion = f"version {review.champion_version}" if review.champion_version else "nobody"
    champion += ", which could not be replayed" if review.unplayed else ""
    typer.echo(f"Version {fit.model_version} of {chosen.name} against {champion}; {_why(fit)}")
    typer.echo(f"Forecasts: {in_sum(review.comparison, chosen)}")
    alerts = review.alerts
    told = "" if alerts.champion is None else f"{alerts.champion} alerts by the champion, "
    typer.echo(
        f"Alerts from {_local(chosen, alerts.start)} to {_local(chosen, alerts.end)}: {told}{alerts.challenger} by "
        f"this version; {len(alerts.appearing)} appear, {len(alerts.disappearing)} disappear, {alerts.kept} stay"
    )
    for title, listed in (("Appear", alerts.appearing), ("Disappear", alerts.disappearing)):
        if listed:
            _print(_alerts(chosen, title, listed))
    for one in review.golden:
        if one.lost or one.missed or one.back:
            what = "LOST" if one.lost else "not found" if one.missed else "comes back"
            typer.echo(
                f"{what}: {one.golden.word} of {_local(chosen, one.golden.start)}: {', '.join(one.golden.variables)}"
            )
    verdict = reviews.verdict(fit.id)
    if verdict is not None:
        typer.echo(
            f"{verdict.who} {verdict.word} it on {_local(chosen, verdict.at)}: {verdict.why or 'no reason given'}"
        )


@models_app.command("promote")
def promote(group: GroupName, version: Version, reason: Reason = "", who: Who = None) -> None:
    """Lets a version serve, whatever speaks against it, from the next interval on.

    A review that waits for it ends. Earlier intervals stay as they were judged.

    Example: `anomaly models promote carriers 7 --reason "the new airline is in"`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import utc_now
    from anomaly.stages import serving

    chosen, world = _group(group), _world()
    done = serving.promote_version(
        chosen,
        version,
        why=reason,
        who=who or _me(),
        store=world.store(),
        reviews=world.reviews(),
        registry=world.registry(),
        now=utc_now(),
    )
    typer.echo(str(done))


@models_app.command("reject")
def reject(group: GroupName, version: Version, reason: Reason = "", who: Who = None) -> None:
    """Notes that a challenger shall not serve. A review that waits for it ends.

    Example: `anomaly models reject carriers 7 --reason "it is deaf on Sundays"`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import utc_now
    from anomaly.stages import serving

    chosen, world = _group(group), _world()
    verdict = serving.reject_version(
        chosen,
        version,
        why=reason,
        who=who or _me(),
        store=world.store(),
        reviews=world.reviews(),
        registry=world.registry(),
        now=utc_now(),
    )
    typer.echo(f"version {version} of {chosen.name} is rejected by {verdict.who}")


@models_app.command("rollback")
def rollback(
    group: GroupName,
    to: Annotated[
        int | None, typer.Option(help="Version that serves again. Default: the latest older one that has served.")
    ] = None,
    reason: Reason = "",
    who: Who = None,
) -> None:
    """Lets an older version serve again, from the next interval on: the whole group in one step.

    Earlier intervals stay as they were judged. Run it again when the registry did not answer: it completes what was
    begun.

    Example: `anomaly models rollback carriers --reason "it missed Friday's outage"`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import utc_now
    from anomaly.stages import serving

    chosen, world = _group(group), _world()
    done = serving.rollback(
        chosen,
        to=to,
        why=reason or "no reason given",
        who=who or _me(),
        store=world.store(),
        reviews=world.reviews(),
        registry=world.registry(),
        artifacts=world.artifacts(),
        now=utc_now(),
    )
    typer.echo(str(done))


@models_app.command("follow")
def follow(group: GroupName) -> None:
    """What the DAG does between fits: follows an alias moved by hand, and looks for drift.

    Example: `anomaly models follow carriers`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.orchestration.running import run_follow

    typer.echo(str(run_follow(_world(), _group(group))))


@models_app.command("golden")
def golden(
    group: GroupName,
    write: Annotated[
        bool, typer.Option("--write", help="Write the file; otherwise only show what would change.")
    ] = False,
) -> None:
    """Makes the group's golden incidents from its labels: confirmed ones, and known false alarms.

    What the file holds already stays, unless a label of the same incident says otherwise now. Review it like code.

    Example: `anomaly models golden carriers --write`
    """
    from anomaly.cli.app import _group, _world
    from anomaly.groups.golden import dump_golden, golden_path, load_golden

    chosen, world = _group(group), _world()
    folder = world.settings.groups
    before = load_golden(folder, chosen.name)
    after = _merged(before, world.labels().labels(chosen))
    new, gone = [g for g in after if g not in before], [g for g in before if g not in after]
    for sign, listed in (("+", new), ("-", gone)):
        for one in listed:
            typer.echo(
                f"{sign} {_local(chosen, one.start)} {one.word}: {', '.join(one.variables)} {one.reason}".rstrip()
            )
    path = golden_path(folder, chosen.name)
    if not new and not gone:
        typer.echo(f"{path} holds all {len(after)} already")
    elif write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump_golden(after), encoding="utf-8")
        typer.echo(f"{path}: {len(after)} incidents. Look through them and commit the file")
    else:
        typer.echo(f"{len(new)} to add, {len(gone)} to replace; write them with --write")


def _merged(before: tuple[Golden, ...], labels: tuple[Label, ...]) -> tuple[Golden, ...]:
    """What is there, with the labels' incidents in the place of those that they are about."""
    from anomaly.groups.golden import Golden

    made = [
        Golden(start=label.start, end=label.end, variables=label.variables, word=label.word, reason=label.reason)
        for label in labels
    ]
    kept = [g for g in before if not any(m.is_same(g.start, g.end, frozenset(g.variables)) for m in made)]
    return tuple(sorted([*kept, *made], key=lambda g: (g.start, g.end, g.variables)))


def _version(group: Group, reviews: Reviews, version: int | None) -> Fit:
    from anomaly.exceptions import NoSuchVersionError
    from anomaly.stages.serving import known_version

    if version is not None:
        return known_version(group, version, reviews)
    registered = [fit for fit in reviews.fits(group) if fit.model_version is not None]
    if not registered:
        raise NoSuchVersionError(f"group {group.name!r} has no version yet; run: anomaly fit {group.name}")
    return max(registered, key=lambda fit: fit.model_version or 0)


def _versions(group: Group, reviews: Reviews, limit: int) -> Table:
    from rich.markup import escape

    from anomaly.cli.app import _table

    table = _table(
        f"Model anomaly.{group.name}",
        "version", "state", "why it was fitted", "learned up to", "serves", "alerts", "decided by",
    )  # fmt: skip
    servings = reviews.servings(group)
    latest = servings[-1].fit_id if servings else None
    for fit in reviews.fits(group, limit=limit):
        review, own = reviews.review(fit.id), [s for s in servings if s.fit_id == fit.id]
        changes = "" if review is None else f"+{len(review.alerts.appearing)} -{len(review.alerts.disappearing)}"
        state = "champion" if fit.id == latest else "served" if own else fit.state
        table.add_row(
            str(fit.model_version or ""),
            state,
            escape(fit.reason or "not said"),
            _local(group, fit.history.end),
            "\n".join(f"from {_local(group, s.serves_from)}" for s in own),
            changes,
            "\n".join(escape(f"{s.who or 'policy'}{f': {s.why}' if s.via == 'rollback' else ''}") for s in own),
        )
    return table


def _alerts(group: Group, title: str, alerts: tuple[JudgedAlert, ...]) -> Table:
    from rich.markup import escape

    from anomaly.adapters.messages import number_words, return_period_words, span_words
    from anomaly.cli.app import _table

    table = _table(title, "when", "what", "variables", "counted", "expected", "how rare")
    for alert in alerts:
        names = ", ".join(alert.variables[:4]) + (
            f" and {len(alert.variables) - 4} more" if len(alert.variables) > 4 else ""
        )
        table.add_row(
            span_words(alert.start, alert.end, group.zone) + ("" if alert.out_of_sample else " *"),
            f"{alert.kind}, {alert.severity}",
            escape(names),
            number_words(alert.observed),
            number_words(alert.expected),
            return_period_words(alert.return_period_hours),
        )
    if not all(alert.out_of_sample for alert in alerts):
        table.caption = "* where one of the two was trained"
    return table


def _why(fit: Fit) -> str:
    return f"it was fitted {fit.reason}" if fit.reason else "nobody said why it was fitted"


def _local(group: Group, moment: datetime) -> str:
    return f"{moment.astimezone(group.zone):%Y-%m-%d %H:%M}"


def _me() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"user {os.getuid()}"
