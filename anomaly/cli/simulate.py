"""``anomaly simulate``: counts or events made up from a seed, and incidents put into them or into real counts.

In: options, and with ``--from`` a file of real counts. Out: in the folder ``--out``

================ ========================================================================================
``counts.csv``   ``timestamp,series,value``: every interval of every series, zeros too
``events.csv``   instead, with ``--events``: ``entity_id,variable,type,value,timestamp``, as a source has them
``truth.csv``    ``series,kind,start,end,magnitude``: what was broken; ``end`` is not part of it
``traits.csv``   what each simulated variable is like, one a row
================ ========================================================================================

All moments are UTC, with their offset.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from anomaly.groups import TimeRange
    from anomaly.simulation.incidents import Injected
    from anomaly.simulation.variables import Traits

VARIABLES, DAYS, INTERVAL, START = 20, 120, "1h", date(2025, 1, 1)
MOST_EVENTS = 20_000_000
"""About 1.5 GB of ``events.csv``. Counts have no such limit."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """Counts of V series in N intervals, and what is known of how they came about."""

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    starts: NDArray[np.datetime64]
    step: timedelta
    expected: NDArray[np.float64] | None = None
    traits: tuple[Traits, ...] = ()


def simulate(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files; made where it is missing.")],
    variables: Annotated[int | None, typer.Option(min=1, help=f"How many. Default: {VARIABLES}.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help=f"Length of the history. Default: {DAYS}.")] = None,
    start: Annotated[str | None, typer.Option(metavar="DATE", help=f"Its first local day. Default: {START}.")] = None,
    interval: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help=f"15min, 1h, 1d, … Default: {INTERVAL}; of real counts, their own."),
    ] = None,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Whose wall clock the patterns follow.")] = "UTC",
    rates: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Events per hour of the rarest and the busiest variable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and options give the same files.")] = 1,
    incidents: Annotated[float, typer.Option(min=0, help="Incidents per variable; may be a fraction.")] = 0.0,
    clean: Annotated[
        str, typer.Option(metavar="DURATION", help="No incidents so long from the start; at most half of the history.")
    ] = "4w",
    events: Annotated[bool, typer.Option("--events", help="Write single events in place of counts.")] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="COUNTS.csv", help="Real counts to break: timestamp,value and perhaps series."),
    ] = None,
) -> None:
    """Makes up counts or events of many kinds of variables, and breaks them or real counts in known ways.

    Patterns of the day, week, month and year, from rare to very busy variables; with `--incidents`, losses, surges,
    duplicates, delays and more, listed in `truth.csv`. Needs no database.

    Example: `anomaly simulate --out sim --variables 20 --days 120 --timezone Europe/Berlin --incidents 3`
    """
    zone, step = zone_of(timezone), duration_of("--interval", interval)
    quiet = duration_of("--clean", clean) or timedelta(0)
    if source is not None:
        made = {"--variables": variables, "--days": days, "--start": start, "--rates": rates, "--events": events}
        if given := [name for name, value in made.items() if value]:
            raise ConfigurationError(f"{', '.join(given)} with --from: real counts are taken as they are; leave it out")
        if not incidents:
            raise ConfigurationError("--from without --incidents would only copy; say how many, such as --incidents 3")
        counted = _read(source, step)
    else:
        within = _range(start, days or DAYS, step or timedelta(hours=1), zone)
        counted = _simulated(variables or VARIABLES, within, zone, rates, seed)
    counts, truth = _broken(counted, zone=zone, seed=seed, incidents=incidents, quiet=quiet)
    if events:
        _refuse_too_many(int(counts.sum()))
    out.mkdir(parents=True, exist_ok=True)
    if events:
        _write_events(out / "events.csv", counted, counts, truth, seed)
    else:
        _write_counts(out / "counts.csv", counted, counts)
    _write_truth(out / "truth.csv", counted, truth)
    if counted.traits:
        _write_traits(out / "traits.csv", counted.traits)
    _tell(counted, counts, truth)
    written = ["events.csv" if events else "counts.csv", "truth.csv", *(["traits.csv"] if counted.traits else [])]
    typer.echo(f"Written to {out}: {', '.join(written)}")


# --- what is asked for ------------------------------------------------------------------------------------------


def zone_of(name: str) -> ZoneInfo:
    """What ``--timezone`` names.

    Raises:
        ConfigurationError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(f"--timezone is {name!r}; expected a zone's name such as Europe/Berlin") from None


def duration_of(option: str, written: str | None) -> timedelta | None:
    """What the option says, where it says something.

    Raises:
        ConfigurationError: it is no duration, or no interval.
    """
    from anomaly.adapters.series_files import LONGEST_STEP
    from anomaly.groups.durations import parse_duration

    if written is None:
        return None
    try:
        duration = parse_duration(written)
    except ValueError as wrong:
        raise ConfigurationError(f"{option} is {written!r}; expected {wrong}") from None
    if option == "--interval" and not timedelta(0) < duration <= LONGEST_STEP:
        raise ConfigurationError(f"{option} is {written}; expected more than nothing and at most a day")
    return duration


def _range(start: str | None, days: int, step: timedelta, zone: ZoneInfo) -> TimeRange:
    """So many local days from a local midnight, on the grid."""
    from anomaly.groups import TimeRange
    from anomaly.groups.intervals import floor_to

    try:
        first = START if start is None else date.fromisoformat(start)
        last = first + timedelta(days=days)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"--start is {start!r} with --days {days}; expected a date such as {START} and years before 9999"
        ) from None
    begin, end = (floor_to(datetime(day.year, day.month, day.day, tzinfo=zone), step) for day in (first, last))
    return TimeRange(begin, end, step)


def _simulated(
    variables: int, within: TimeRange, zone: ZoneInfo, rates: tuple[float, float] | None, seed: int
) -> _Counted:
    from anomaly.adapters.series_files import refuse_too_large
    from anomaly.simulation.variables import RATES, draw_traits
    from anomaly.simulation.variables import simulate as draw

    refuse_too_large(variables, len(within))
    low, high = rates or RATES
    if not 0 < low <= high <= 1e9:
        raise ConfigurationError(f"--rates are {low:g} and {high:g}; expected 0 < lowest <= highest <= 1e9 per hour")
    made = draw(draw_traits(variables, seed=seed, rates=(low, high)), within, zone=zone, seed=seed)
    return _Counted(made.names, made.counts, made.starts, made.step, made.expected, made.traits)


def _broken(
    counted: _Counted, *, zone: ZoneInfo, seed: int, incidents: float, quiet: timedelta
) -> tuple[NDArray[np.int64], tuple[Injected, ...]]:
    from anomaly.simulation.incidents import inject

    number = len(counted.starts)
    return inject(
        counted.counts,
        counted.starts,
        step=counted.step,
        zone=zone,
        seed=seed,
        per_variable=incidents,
        begin=min(-(-quiet // counted.step), number // 2),
        expected=counted.expected,
        names=counted.names,
    )


def _refuse_too_many(events: int) -> None:
    if events > MOST_EVENTS:
        raise ConfigurationError(
            f"these are {events:,} events; expected at most {MOST_EVENTS:,} with --events. "
            "Choose fewer variables or days, or lower --rates, such as --rates 0.2 500"
        )


# --- real counts ------------------------------------------------------------------------------------------------


def _read(path: Path, step: timedelta | None) -> _Counted:
    """Real counts on their grid; what a file leaves out between its first and last moment is 0."""
    import numpy as np

    from anomaly.adapters.series_files import gridded, read_series, refuse, refuse_what_is_no_count

    file = read_series(path)
    refuse_what_is_no_count(file)
    refuse(path, np.isnan(file.numbers), "value", file.written, "a whole number of events, 0 or more")
    grid = gridded(file, step)
    counts = np.where(grid.present, grid.values, 0).astype(np.int64)
    return _Counted(file.names, counts, grid.starts, grid.step)


# --- files ------------------------------------------------------------------------------------------------------


def _written(starts: NDArray[np.datetime64]) -> list[str]:
    import numpy as np

    return [f"{moment}+00:00" for moment in np.datetime_as_string(starts)]


def _quoted(name: str) -> str:
    """A name as a CSV cell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([name])
    return line.getvalue()


def _write_counts(path: Path, counted: _Counted, counts: NDArray[np.int64]) -> None:
    moments = _written(counted.starts)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("timestamp,series,value\n")
        for name, row in zip(map(_quoted, counted.names), counts, strict=True):
            lines = [f"{moment},{name},{value}\n" for moment, value in zip(moments, row.tolist(), strict=True)]
            file.write("".join(lines))


def _write_events(
    path: Path, counted: _Counted, counts: NDArray[np.int64], truth: Sequence[Injected], seed: int
) -> None:
    from anomaly.simulation.events import draw_events

    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("entity_id,variable,type,value,timestamp\n")
        for row, name in enumerate(counted.names):
            own = [incident for incident in truth if incident.row == row]
            drawn = draw_events(name, counts[row], counted.starts, step=counted.step, seed=seed, incidents=own)
            middle = f"{_quoted(name)},{drawn.type}"
            columns = (drawn.entity_ids.tolist(), drawn.contents.tolist(), _written(drawn.timestamps))
            file.write("".join([f"{who},{middle},{value},{when}\n" for who, value, when in zip(*columns, strict=True)]))


def _write_truth(path: Path, counted: _Counted, truth: Sequence[Injected]) -> None:
    import numpy as np

    edges = _written(np.append(counted.starts, counted.starts[-1:] + np.timedelta64(counted.step, "s")))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["series", "kind", "start", "end", "magnitude"])
        writer.writerows([t.variable, t.kind, edges[t.start], edges[t.end], f"{t.magnitude:.6g}"] for t in truth)


def _write_traits(path: Path, traits: Sequence[Traits]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(_flat(traits[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_flat, traits))


def _flat(traits: Traits) -> dict[str, Any]:
    pattern = traits.pattern
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return {
        "series": traits.name,
        "family": traits.family,
        "rate_per_hour": f"{traits.rate:.6g}",
        "dispersion": f"{traits.dispersion:.6g}",
        "daily": pattern.daily,
        "shift_hours": pattern.shift_hours,
        "night": pattern.night,
        **dict(zip(days, pattern.week, strict=True)),
        "monthly": pattern.monthly,
        "month_boost": pattern.month_boost,
        "growth_per_year": pattern.growth,
    }


# --- the summary ------------------------------------------------------------------------------------------------


def _tell(counted: _Counted, counts: NDArray[np.int64], truth: Sequence[Injected]) -> None:
    from rich.console import Console

    from anomaly.groups.durations import format_duration

    names, first = len(counted.names), f"{counted.starts[0].item():%Y-%m-%d %H:%M}"
    # Into a pipe or a log nothing may be cut off; rich assumes 80 columns there.
    console = Console(width=None if os.isatty(1) else 200, highlight=False)
    console.print(
        f"{names} {'variable' if names == 1 else 'variables'}, {len(counted.starts):,} intervals of "
        f"{format_duration(counted.step)} from {first} UTC, {len(truth)} incidents"
    )
    console.print(_table(_family_rows(counted, counts), "family", "variables", "events", "per hour", "empty"))
    if truth:
        console.print(_table(_kind_rows(counted.step, truth), "kind", "incidents", "hours", "magnitude"))


def _table(rows: Iterator[tuple[str, ...]], *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _family_rows(counted: _Counted, counts: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
    import numpy as np

    kinds: list[str] = [traits.family for traits in counted.traits]
    families = np.array(kinds or ["real counts"] * len(counted.names))
    per_hour = counts.mean(axis=1) / (counted.step / timedelta(hours=1))
    for family in sorted(set(families.tolist())):
        own = families == family
        yield (
            family,
            f"{own.sum()}",
            f"{counts[own].sum():,}",
            f"{per_hour[own].min():,.3g} to {per_hour[own].max():,.3g}",
            f"{(counts[own] == 0).mean():.0%}",
        )


def _kind_rows(step: timedelta, truth: Sequence[Injected]) -> Iterator[tuple[str, ...]]:
    for kind, number in sorted(Counter(incident.kind for incident in truth).items()):
        hours = [(one.end - one.start) * (step / timedelta(hours=1)) for one in truth if one.kind == kind]
        worst = [one.magnitude for one in truth if one.kind == kind]
        yield kind, f"{number}", _from_to(hours), _from_to(worst)


def _from_to(values: Sequence[float]) -> str:
    return f"{min(values):,.3g} to {max(values):,.3g}"
