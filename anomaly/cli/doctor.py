"""``anomaly doctor``: is everything as it should be, and if not, what to do.

In: the settings, the connections and the group files, as every command sees them. Out: a line per finding, and exit
status 1 when something failed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from anomaly.exceptions import ConfigurationError, InvalidGroupsError

if TYPE_CHECKING:
    from anomaly.adapters.doctor import Finding
    from anomaly.adapters.settings import Settings
    from anomaly.groups import Group

FAILED = 1
_NAMED = 3
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="One group; without it, all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    timeout: Annotated[int, typer.Option(metavar="SECONDS", min=1, help="For each check.")] = 20,
) -> None:
    """Checks connections, rights, clocks, disk and versions, and says what to do about what is wrong.

    The metadata database and its tables, MLflow, the artifact store, Airflow and its DAGs, Slack with the bot's scopes
    and channels, each group's source with its role and its index, groups that are behind, fits that never finished,
    messages that wait. Changes nothing; one check that fails does not stop the others.

    Exit status: 0 nothing failed, 1 something did.

    Example: `anomaly doctor`
    """
    from datetime import timedelta

    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.doctor import all_checks, examined
    from anomaly.adapters.settings import Settings
    from anomaly.adapters.world import World

    settings = Settings.from_environment()
    groups, wrong = _groups(settings, group)
    checks = all_checks(World(settings, environment_connection), groups)
    found = [*wrong, *examined(checks, timeout=timedelta(seconds=timeout))]
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False))
    else:
        _show(found)
    raise typer.Exit(FAILED if any(finding.state == "failed" for finding in found) else 0)


def _groups(settings: Settings, name: str | None) -> tuple[tuple[Group, ...], list[Finding]]:
    """The groups that can be read, and what is wrong with the others."""
    from anomaly.adapters.doctor import Finding
    from anomaly.orchestration.group_files import checked_group, checked_groups, readable_groups

    if name is not None:
        return (checked_group(settings.groups, name),), []
    try:
        groups = checked_groups(settings.groups)
    except InvalidGroupsError as mistakes:
        found = [Finding("group files", "", "failed", problem, "correct the file") for problem in mistakes.problems]
        return tuple(readable_groups(settings.groups)), found
    except ConfigurationError as nowhere:
        return (), [Finding("group files", "", "failed", str(nowhere), "see the message")]
    if not groups:
        return (), [
            Finding("group files", "", "warning", f"{settings.groups} has none", "anomaly init CONNECTION TABLE")
        ]
    number = f"{len(groups)} {'group' if len(groups) == 1 else 'groups'} in {settings.groups}, no mistakes"
    return groups, [Finding("group files", "", "ok", number)]


def _show(found: Iterable[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    findings = list(found)
    console = Console(width=None if os.isatty(1) or "COLUMNS" in os.environ else 120, highlight=False)
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(overflow="fold")
    for row in _rows(findings):
        grid.add_row(*row)
    console.print(grid)
    number = {state: sum(finding.state == state for finding in findings) for state in _COLOURS}
    console.print(f"\n{number['ok']} ok, {number['warning']} warnings, {number['failed']} failed")


def _rows(findings: list[Finding]) -> Iterator[tuple[str, str, str]]:
    """State, of what, and what was found; what is the same for several groups is said once."""
    from rich.markup import escape

    same: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        said = (finding.check, finding.state, finding.found, finding.do)
        key = said if finding.state != "ok" else (*said, finding.about)
        same.setdefault(key, []).append(finding.about)
    before = None
    for (check, state, found, do, *_), about in same.items():
        title = " ".join(filter(None, (check, _several(about))))
        shown = escape(found) + (f"\n[bold]→[/bold] {escape(do)}" if do else "")
        yield f"[{_COLOURS[state]}]{state}[/{_COLOURS[state]}]", escape(title) if title != before else "", shown
        before = title


def _several(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
