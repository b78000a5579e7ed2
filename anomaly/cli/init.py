"""``anomaly init``: a look at a PostgreSQL table, and a group's file with a reason beside each key.

In: a connection's name and a table. Out: a YAML file that passes ``anomaly groups check``. The table is only read, at a
bounded cost; an existing file is never overwritten.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from anomaly.groups import Group
    from anomaly.groups.guessing import Roles, TableFacts


def init(
    connection: Annotated[
        str, typer.Argument(metavar="CONNECTION", help="Of the source, as in AIRFLOW_CONN_<CONNECTION>.")
    ],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="`table` or `schema.table`; a view will do.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file to write. Default: the table's name, in the folder ANOMALY_GROUPS."
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="Where people work, such as Europe/Berlin; and the zone of naive timestamps."
        ),
    ] = None,
    timestamp: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The events' time, where the guess would be another.")
    ] = None,
    owner: Annotated[str | None, typer.Option(metavar="NAME", help="Who answers for it. Default: you.")] = None,
    channel: Annotated[str, typer.Option(metavar="CHANNEL", help="In Slack.")] = "#data-alerts",
    timeout: Annotated[int, typer.Option(metavar="SECONDS", min=1, help="Per statement.")] = 20,
) -> None:
    """Looks at a PostgreSQL table and writes a group's file, with the reason beside each key.

    Guesses which columns are the time, the entity, the variable and its type; a wide table gets a query. From the rates
    of the last weeks: the interval, how regular days and weeks are, how late rows arrive. Only reads, a sample where
    the table is large.

    Example: `anomaly init production scoring.events --timezone Europe/Berlin`
    """
    from datetime import timedelta

    from anomaly.adapters.connections import environment_connection
    from anomaly.adapters.postgres.looking import TableLook
    from anomaly.adapters.settings import Settings
    from anomaly.groups import guessing, load_group

    settings = Settings.from_environment()
    file = out or settings.groups / f"{_name(table)}.yaml"
    name = _checked(file)
    if timezone is not None:
        _known(timezone)
    arguments = environment_connection(connection).postgres_arguments()
    with TableLook.open(arguments, table, timeout=timedelta(seconds=timeout)) as look:
        facts = look.facts()
        roles = _roles(facts, timestamp)
        zone = timezone or (_asked(roles) if roles.naive else None)
        seen = look.seen(facts, roles, zone)
        if seen is None or not seen.names:
            raise ConfigurationError(
                f"{table} has no rows with a {roles.timestamp.name} in the past, so nothing can be guessed from it; "
                "name another column with --timestamp, or write the file by hand"
            )
        asked = guessing.Request(
            name=name,
            connection=connection,
            timezone=zone,
            owner=owner or getpass.getuser(),
            channel=channel,
            country=_country(zone) if zone else None,
            read_only=not look.may_write(),
        )
    text = guessing.group_file(facts, roles, seen, asked)
    _write(file, text)
    typer.echo(text)
    typer.echo(f"Wrote {file}. Read it, and then:", err=True)
    for step in _next_steps(load_group(file), seen.last):
        typer.echo(f"  anomaly {step}", err=True)


def _name(table: str) -> str:
    """A group's name from a table's."""
    plain = re.sub(r"[^a-z0-9_]+", "_", table.lower()).strip("_")
    return (plain if plain[:1].isalpha() else f"t_{plain}")[:50]


def _checked(file: Path) -> str:
    """The group's name, from a file that may be written."""
    if file.exists():
        raise ConfigurationError(f"{file} is there already and is not overwritten; name another with --out")
    if file.suffix != ".yaml" or re.fullmatch(r"[a-z][a-z0-9_]{0,49}", file.stem) is None:
        raise ConfigurationError(
            f"found the file name {file.name!r}; expected lower case letters, digits and underscores, and .yaml"
        )
    return file.stem


def _known(zone: str) -> None:
    from zoneinfo import available_timezones

    if zone not in available_timezones():
        raise ConfigurationError(f"found the zone {zone!r}; expected an IANA time zone such as Europe/Berlin or UTC")


def _roles(facts: TableFacts, timestamp: str | None) -> Roles:
    from anomaly.groups import guessing

    roles = guessing.roles(facts, timestamp)
    if roles is None:
        there = ", ".join(f"{c.name} ({c.type})" for c in facts.columns)
        what = f"no column {timestamp!r} of a timestamp's type" if timestamp else "no column of a timestamp's type"
        raise ConfigurationError(f"{facts.table} has {what}; it has {there}. Write a query by hand that makes one")
    if roles.form == "wide" and not roles.written:
        raise ConfigurationError(f"{facts.table} has no column beside {roles.timestamp.name} that could be a variable")
    return roles


def _asked(roles: Roles) -> str:
    """The zone of naive timestamps: only a person knows."""
    what = f"column {roles.timestamp.name} has no time zone"
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{what}; say in which it is written: --timezone Europe/Berlin, or --timezone UTC")
    zone: str = typer.prompt(f"{what[0].upper()}{what[1:]}. In which is it written?", default="UTC")
    _known(zone)
    return zone


def _country(zone: str) -> str | None:
    """The one country that a zone lies in and whose holidays are known, by the zone database's own table."""
    import holidays

    for folder in _zone_folders():
        table = folder / "zone.tab"
        if table.is_file():
            rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
            code = next((row[0] for row in rows if len(row) > 2 and row[2] == zone), None)
            return code if code in holidays.list_supported_countries() else None
    return None


def _zone_folders() -> list[Path]:
    import zoneinfo
    from importlib import resources

    folders = [Path(folder) for folder in zoneinfo.TZPATH]
    with contextlib.suppress(ModuleNotFoundError):
        folders.append(Path(str(resources.files("tzdata") / "zoneinfo")))
    return folders


def _next_steps(group: Group, last: datetime) -> Iterator[str]:
    """Commands that count, fit and judge what there is: the last week, when enough comes before it."""
    from datetime import timedelta

    yield from ("groups check", f"doctor {group.name}")
    begin, end = group.schedule.start.astimezone(group.zone).date(), last.astimezone(group.zone).date()
    until = end - timedelta(days=7)
    if until - begin >= group.history.minimum:
        yield f"update {group.name} --start {begin} --end {end}"
        yield f"fit {group.name} --until {until}"
        yield f"predict {group.name} --start {until} --end {end}"
        yield f"alert {group.name} --start {until} --end {end}"


def _write(file: Path, text: str) -> None:
    """Checked first, as ``anomaly groups check`` does, so that no file with mistakes is left behind."""
    from anomaly.orchestration.group_files import checked_group

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file.name).write_text(text, encoding="utf-8")
        checked_group(Path(folder), file.stem)
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as written:
        written.write(text)
