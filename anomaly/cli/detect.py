"""``anomaly detect``: what the system would have said of series in CSV files, row by row.

In: files with ``timestamp,value``, or ``timestamp,series,value``. Out: in the folder ``--out`` a file of the same name
with one line per line read, in the same order: ``[series,]timestamp,value`` as they were, and

==================== ====================================================================================
``predicted``        expected before the row was seen, in the values' unit
``lower``,           a value outside of them is out of the ordinary by itself; sums of several rows and repeated
``upper``            values may be so within them
``residual``         observed minus predicted, in the values' unit
``tail_probability`` how likely this much evidence is by chance
``anomaly_score``    in [0, 1], on every row; 0 where nothing can be said. 0.5 is the policy's limit
``is_anomaly``       whether it is one: ``True`` or ``False``
==================== ====================================================================================

Cells are empty where nothing is known. **Counts** are watched as a group's are (`anomaly.detection.learning`): all
series of a file are one group, with one policy. **Gauges** are scored one by one (`anomaly.detection.gauges`), by
simple looks at their own past; with ``--candidates`` also by how far they are from these networks' forecasts, after
three weeks, which takes a hundred times as long.

A row is judged by the rows up to it alone, whatever comes after: a longer file says the same of them. So the first fit
is made after a fixed time, ``--train``. A share of the file, ``--train-fraction``, would depend on its length: it only
says in which rows nothing is *called* an anomaly, and changes no number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from anomaly.cli.simulate import duration_of, zone_of
from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from anomaly.adapters.series_files import Gridded, SeriesFile
    from anomaly.detection.learning import Practice, Watched
    from anomaly.groups.model import Threshold

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

TRAIN, REFIT, SEED, FALSE_ALERTS = "21d", "1w", 20130101, 1.0
MERGE_GAP = timedelta(hours=12)
"""Anomalies at most this far apart are one incident in the summary, as in a group's."""
FORECAST_MIDDLE, FORECAST_SPREAD = 10_000.0, 100.0
"""Where a gauge is moved to be forecast: far from 0, and its noise far above half an event."""
SHOWN, NOTES = 30, 20
"""Series of which the summary has a row, and remarks that it ends with."""


class Kind(StrEnum):
    """What values are."""

    COUNTS = "counts"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class _Said:
    """Of R rows of a file, in its order. All (R,)."""

    predicted: Floats
    lower: Floats
    upper: Floats
    tail_probability: Floats
    score: Floats
    anomalous: Mask
    steps: tuple[timedelta, ...]
    """(V,) the interval of each series."""
    notes: tuple[str, ...] = ()
    """What the reader of the summary should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The options, understood."""

    kind: Kind
    step: timedelta | None
    train: int | timedelta | None
    fraction: float | None
    zone: ZoneInfo
    holidays: str | None
    candidates: tuple[str, ...]
    chosen: bool
    """Whether the candidates were named, or are a group's."""
    refit: timedelta
    seed: int
    policy: Threshold
    fill_zero: bool


def detect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.csv…", help="timestamp,value and perhaps series.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results; made where it is missing.")],
    kind: Annotated[Kind, typer.Option(help="Events per interval, or measurements such as a load.")] = Kind.COUNTS,
    interval: Annotated[
        str | None, typer.Option(metavar="DURATION", help="15min, 1h, 1d, … Default: from a file's first rows.")
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION|ROWS",
            help=f"History before the first row is judged. Default: {TRAIN} of counts; gauges begin when they can.",
        ),
    ] = None,
    train_fraction: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of each file in which nothing is called an anomaly; scores stay."),
    ] = None,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Whose days and weeks counts follow.")] = "UTC",
    holidays: Annotated[
        str | None, typer.Option(metavar="COUNTRY", help="Whose holidays are days unlike their kind: US, DE-BY, …")
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Architectures that compete, with commas. Default: a group's; gauges: none."
        ),
    ] = None,
    refit: Annotated[str, typer.Option(metavar="DURATION", help="How often counts are fitted again.")] = REFIT,
    seed: Annotated[int, typer.Option(min=0, help="Of the networks' first weights.")] = SEED,
    false_alerts_per_week: Annotated[
        float, typer.Option(help="How many false incidents you can bear, over all series of a file of counts.")
    ] = FALSE_ALERTS,
    fill_zero: Annotated[
        bool, typer.Option("--fill-zero", help="Counts that a file leaves out are 0; without it, unknown.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw each series, as PNG.")] = False,
) -> None:
    """Judges series in CSV files as the system would have done at the time, and writes what it says of each row.

    One file is one series, or many with a column `series`. A row is judged by the rows up to it alone. Timestamps are
    ISO 8601 with their offset or in UTC, or Unix seconds; dates are days as written. Needs no database.

    Example: `anomaly detect orders.csv --out judged --timezone Europe/Berlin --holidays DE --plot`
    """
    from anomaly.adapters.series_files import places, read_series

    asked = _asked(
        kind, interval, train, train_fraction, timezone, holidays, candidates, refit, seed, false_alerts_per_week,
        fill_zero=fill_zero,
    )  # fmt: skip
    targets = places(files, out)
    read = [_checked(read_series(path), asked) for path in files]
    _import_quietly(asked.candidates)
    lines: list[_Line] = []
    notes: list[str] = []
    for file, target in zip(read, targets, strict=True):
        with _progress(f"{file.path}") as told:
            said = _judged(file, asked, told)
        _write(target, file, said)
        lines += _lines(file, said, asked.zone, alone=len(read) == 1)
        notes += [f"{file.path}: {note}" for note in said.notes]
        if plot:
            _draw(target, file, said, asked)
    _tell(lines, notes)
    where = f"{targets[0]}" if len(targets) == 1 else f"{len(targets)} files in {out}"
    typer.echo(f"Written: {where}{', and a PNG for each series beside it' if plot else ''}")


def _import_quietly(candidates: Sequence[str]) -> None:
    """Before the first line is shown: networks bring libraries that write remarks to standard error."""
    from anomaly.detection.candidates import CANDIDATES

    if any(CANDIDATES[name].network is not None for name in candidates):
        from anomaly.detection import training

        training.load_quietly()


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """A line on standard error that says how far it is, where somebody looks on."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(escape(what)) as status:
        yield lambda told: status.update(escape(f"{what}: {told}"))


# --- what is asked for ------------------------------------------------------------------------------------------


def _asked(
    kind: Kind,
    interval: str | None,
    train: str | None,
    fraction: float | None,
    timezone: str,
    holidays: str | None,
    candidates: str | None,
    refit: str,
    seed: int,
    false_alerts: float,
    *,
    fill_zero: bool,
) -> _Asked:
    from anomaly.groups.model import Threshold

    if not 0 < false_alerts <= 1000:
        raise ConfigurationError(f"--false-alerts-per-week is {false_alerts:g}; expected more than 0, at most 1000")
    if kind is Kind.GAUGE:
        given = {
            "--holidays": holidays and not candidates,
            "--refit": refit != REFIT and not candidates,
            "--false-alerts-per-week": false_alerts != FALSE_ALERTS,
            "--fill-zero": fill_zero,
        }
        if named := [name for name, value in given.items() if value]:
            raise ConfigurationError(
                f"{', '.join(named)} with --kind gauge: that is for counts, or goes with --candidates; leave it out"
            )
    return _Asked(
        kind=kind,
        step=duration_of("--interval", interval),
        train=_train(train if train is not None or kind is Kind.GAUGE else TRAIN),
        fraction=fraction,
        zone=zone_of(timezone),
        holidays=_country(holidays),
        candidates=() if kind is Kind.GAUGE and candidates is None else _candidates(candidates),
        chosen=candidates is not None,
        refit=duration_of("--refit", refit) or timedelta(weeks=1),
        seed=seed,
        policy=Threshold(false_alerts_per_week=false_alerts),
        fill_zero=fill_zero,
    )


def _train(written: str | None) -> int | timedelta | None:
    if written is None or written.isdecimal():
        return None if written is None else int(written)
    return duration_of("--train", written)


def _country(written: str | None) -> str | None:
    from datetime import date

    from anomaly.detection.calendars import is_special

    if written is not None:
        try:
            is_special(date(2025, 1, 1), written)
        except (ValueError, NotImplementedError) as wrong:
            raise ConfigurationError(f"--holidays is {written!r}: {wrong}") from None
    return written


def _candidates(written: str | None) -> tuple[str, ...]:
    from anomaly.detection.candidates import CANDIDATES
    from anomaly.groups import Group

    if written is None:
        return tuple(Group.model_fields["candidates"].default)
    names = tuple(name.strip() for name in written.split(","))
    if unknown := [name for name in names if name not in CANDIDATES]:
        raise ConfigurationError(
            f"--candidates has {', '.join(map(repr, unknown))}; expected some of {', '.join(CANDIDATES)}, with commas"
        )
    return names


def _checked(file: SeriesFile, asked: _Asked) -> SeriesFile:
    from anomaly.adapters.series_files import (
        refuse_what_goes_back,
        refuse_what_is_no_count,
        refuse_what_is_not_in_time,
    )

    if asked.kind is Kind.GAUGE:
        refuse_what_goes_back(file)
        return file
    try:
        refuse_what_is_no_count(file)
    except ConfigurationError as wrong:
        raise ConfigurationError(f"{wrong}. Measurements are judged with --kind gauge") from None
    refuse_what_is_not_in_time(file)
    return file


# --- judging ----------------------------------------------------------------------------------------------------


def _judged(file: SeriesFile, asked: _Asked, told: Callable[[str], None]) -> _Said:
    """The rows before ``--train-fraction`` keep their scores and lose their anomalies."""
    import numpy as np

    said = _judged_counts(file, asked, told) if asked.kind is Kind.COUNTS else _judged_gauges(file, asked, told)
    if not asked.fraction:
        return said
    first, last = file.moments.min(), file.moments.max()
    until = first + np.timedelta64(int((last - first).astype(np.int64) * asked.fraction), "us")
    note = (
        f"nothing before {np.datetime_as_string(until, unit='s').replace('T', ' ')} UTC is called an anomaly, which is "
        f"{asked.fraction:.0%} of the file; no score depends on that"
    )
    return replace(said, anomalous=said.anomalous & (file.moments >= until), notes=(*said.notes, note))


def _judged_counts(file: SeriesFile, asked: _Asked, told: Callable[[str], None]) -> _Said:

    from anomaly.adapters.series_files import gridded
    from anomaly.detection.learning import Practice, watch
    from anomaly.stages.records import variable_seed

    grid = gridded(file, asked.step)
    first = asked.train if isinstance(asked.train, int) else (asked.train or timedelta(0)) // grid.step
    practice = Practice(
        step=grid.step,
        zone=_zone(grid, asked),
        candidates=_fitting(asked, grid.step, first),
        merge_gap=max(MERGE_GAP, grid.step),
        threshold=_shared(asked.policy, grid, first),
        holidays=asked.holidays,
        refit=max(asked.refit, grid.step),
        least=min(first * grid.step, Practice(step=grid.step, zone=asked.zone).least),
    )
    at = (file.series, grid.columns)
    if first >= len(grid.starts):
        note = f"all of its {len(grid.starts):,} intervals are history, {first:,} of which come before the first judged"
        return _unjudged(file, grid.step, note)
    seeds = [variable_seed(asked.seed, name) for name in file.names]
    watched = watch(_known(grid, asked), grid.starts, practice, first=first, seeds=seeds, told=told)
    score = _scores(watched, _limits(watched, practice, len(file.names)))
    return _Said(
        watched.predicted[at],
        watched.lower[at],
        watched.upper[at],
        watched.tail_probabilities[at],
        score[at],
        watched.kinds[at] != "",
        (grid.step,) * len(file.names),
        tuple(_never_judged(file, watched)),
    )


def _zone(grid: Gridded, asked: _Asked) -> ZoneInfo:
    """Dates are days as they are written: the zone's evening before would be another weekday."""
    dates = not grid.step % timedelta(days=1) and grid.starts[0] == grid.starts[0].astype("datetime64[D]")
    return ZoneInfo("UTC") if dates else asked.zone


def _never_judged(file: SeriesFile, watched: Watched) -> Iterator[str]:
    """Why, for each series of which nothing was said."""
    import numpy as np

    judgements = watched.learned[-1][1].judgements
    for which in np.flatnonzero(~np.isfinite(watched.evidence).any(axis=1)).tolist():
        yield f"series {file.names[which]} was not judged: {judgements[which].reason}"


def _unjudged(file: SeriesFile, step: timedelta, note: str) -> _Said:
    import numpy as np

    unknown, zero = np.full(len(file.numbers), np.nan), np.zeros(len(file.numbers))
    return _Said(unknown, unknown, unknown, unknown, zero, zero > 0, (step,) * len(file.names), (note,))


def _fitting(asked: _Asked, step: timedelta, first: int) -> tuple[str, ...]:
    """The candidates that can learn from the history before the first fit: the longest window delays them all."""
    from anomaly.detection.candidates import entered
    from anomaly.detection.contest import warm_up

    if asked.chosen:
        return asked.candidates
    return tuple(n for n, declared in entered(asked.candidates).items() if warm_up([declared], step) <= first)


def _shared(policy: Threshold, grid: Gridded, first: int) -> Threshold:
    """A policy is shared by the series that are there when judging begins: one that begins later must not change what
    was said before."""
    there = int(grid.present[:, : max(first, 1)].any(axis=1).sum())
    return policy.model_copy(update={"false_alerts_per_week": policy.false_alerts_per_week * len(grid.present) / there})


def _known(grid: Gridded, asked: _Asked) -> Floats:
    """Counts of intervals without a row: unknown, or 0 since the series' first row if so asked."""
    import numpy as np

    if not asked.fill_zero:
        return grid.values
    begun = np.logical_or.accumulate(grid.present, axis=1)
    return np.where(begun & ~grid.present, 0.0, grid.values)


def _limits(watched: Watched, practice: Practice, variables: int) -> Floats:
    """(V, T) evidence from which an interval was an anomaly."""
    import numpy as np

    from anomaly.detection.evidence import runs_per_excess
    from anomaly.detection.thresholds import in_intervals, limit, per_test_probability

    share = per_test_probability(practice.threshold, variables=variables, interval=practice.step)
    limits = np.full(watched.evidence.shape, np.nan)
    for begin, learned in watched.learned:
        for row, tests in enumerate(learned.tests):
            limits[row, begin:] = limit(in_intervals(share, runs_per_excess(tests)), practice.threshold.direction)
    return limits


def _scores(watched: Watched, limits: Floats) -> Floats:
    """(V, T): 1 - 2^(-evidence / limit): 0.5 at the limit, 0.75 at twice the evidence, 0 where nothing was said."""
    import numpy as np

    return np.asarray(np.nan_to_num(1 - np.exp2(-np.abs(watched.evidence) / limits)))


def _judged_gauges(file: SeriesFile, asked: _Asked, told: Callable[[str], None]) -> _Said:
    import numpy as np

    from anomaly.adapters.messages import duration_words
    from anomaly.adapters.series_files import is_regular, placed, refuse_too_large, usual_gap
    from anomaly.detection.gauges import score_gauge

    size = len(file.numbers)
    predicted, lower, upper, tail = (np.full(size, np.nan) for _ in range(4))
    score, anomalous = np.zeros(size), np.zeros(size, dtype=bool)
    steps, notes = [], []
    for which, name in enumerate(file.names):
        rows = file.rows_of(which)
        moments = file.moments[rows]
        steps.append(asked.step or usual_gap(file, which))
        at = placed(moments, steps[-1])
        refuse_too_large(1, int(at[-1]) + 1)
        words = duration_words(steps[-1])
        if not is_regular(moments, steps[-1]):
            notes.append(f"series {name} is not regular: each row is taken for one interval of {words}")
        if again := int((np.diff(moments) <= np.timedelta64(0)).sum()):
            notes.append(
                f"series {name} repeats its time or goes back {again}x; its rows are taken in the file's order"
            )
        values = np.full(int(at[-1]) + 1, np.nan)
        values[at] = file.numbers[rows]
        found = score_gauge(values, step=steps[-1])
        if asked.candidates:
            starts = moments[0].astype("datetime64[s]") + np.arange(len(values)) * np.timedelta64(steps[-1])
            forecast = _forecast(values, starts.astype("datetime64[s]"), steps[-1], asked, name)
            forecast = np.where(np.isfinite(forecast), forecast, found.predicted)
            found = score_gauge(values, step=steps[-1], predicted=forecast)
        predicted[rows], lower[rows], upper[rows] = found.predicted[at], found.lower[at], found.upper[at]
        begun = _begun(moments, asked.train)
        tail[rows] = np.where(begun, found.tail_probability[at], np.nan)
        score[rows] = np.where(begun, found.anomaly_score[at], 0.0)
        anomalous[rows] = begun & found.is_anomaly[at]
        told(f"{which + 1} of {len(file.names)} series")
    return _Said(predicted, lower, upper, tail, score, anomalous, tuple(steps), tuple(notes))


def _forecast(values: Floats, starts: NDArray[np.datetime64], step: timedelta, asked: _Asked, name: str) -> Floats:
    """(T,) what the candidates make of a gauge; NaN before the first fit.

    Networks, their scales and floors are made for counts: for them the gauge is moved to where most counts are, by its
    middle and its spread before the first fit.
    """
    import numpy as np

    from anomaly.detection.learning import Practice, watch
    from anomaly.groups.model import Transform
    from anomaly.stages.records import variable_seed

    practice = Practice(
        step=step,
        zone=asked.zone,
        transform=Transform.LINEAR,
        candidates=asked.candidates,
        holidays=asked.holidays,
        refit=max(asked.refit, step),
    )
    first = practice.least // step
    history = values[:first][np.isfinite(values[:first])]
    if first >= len(values) or not history.size:
        return np.full(len(values), np.nan)
    low, middle, high = np.quantile(history, [0.05, 0.5, 0.95])
    spread = (high - low) or 1.0
    moved = FORECAST_MIDDLE + FORECAST_SPREAD * (values - middle) / spread
    seeds = [variable_seed(asked.seed, name)]
    predicted = watch(moved[None], starts, practice, first=first, seeds=seeds).predicted[0]
    return np.asarray(middle + spread * (predicted - FORECAST_MIDDLE) / FORECAST_SPREAD)


def _begun(moments: NDArray[np.datetime64], train: int | timedelta | None) -> Mask:
    """(R,) of one series' rows, those that are not history."""
    import numpy as np

    if isinstance(train, timedelta):
        return np.asarray(moments - moments[0] >= np.timedelta64(train))
    return np.arange(len(moments)) >= (train or 0)


# --- files ------------------------------------------------------------------------------------------------------


def _write(target: Path, file: SeriesFile, said: _Said) -> None:
    from anomaly.adapters.series_files import write_columns

    labels = {"series": [file.names[which] for which in file.series]} if file.labelled else {}
    columns: dict[str, Iterable[Any]] = {
        **labels,
        "timestamp": file.timestamps,
        "value": file.written,
        "predicted": said.predicted,
        "lower": said.lower,
        "upper": said.upper,
        "residual": file.numbers - said.predicted,
        "tail_probability": said.tail_probability,
        "anomaly_score": said.score,
        "is_anomaly": said.anomalous,
    }
    write_columns(target, columns)


def _draw(target: Path, file: SeriesFile, said: _Said, asked: _Asked) -> None:
    from anomaly.adapters.series_charts import SeriesChart, series_chart

    taken: set[Path] = set()
    for which, name in enumerate(file.names):
        rows = file.rows_of(which)
        chart = SeriesChart(
            name=name,
            moments=file.moments[rows].astype("datetime64[s]"),
            step=said.steps[which],
            zone=asked.zone,
            observed=file.numbers[rows],
            predicted=said.predicted[rows],
            lower=said.lower[rows],
            upper=said.upper[rows],
            scores=said.score[rows],
            anomalous=said.anomalous[rows],
            incidents=_incidents(file.moments[rows], said.anomalous[rows], said.steps[which]),
            from_zero=asked.kind is Kind.COUNTS,
        )
        (_picture(target, name, taken) if file.labelled else target.with_suffix(".png")).write_bytes(
            series_chart(chart)
        )


def _picture(target: Path, name: str, taken: set[Path]) -> Path:
    """A place of its own for each series, whatever its name holds."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:80]
    path = target.with_name(f"{target.stem}.{safe}.png")
    while path in taken:
        path = path.with_name(f"{path.stem}_.png")
    taken.add(path)
    return path


# --- the summary ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    """The summary's row of a series."""

    name: str
    rows: int
    judged: int
    anomalies: int
    incidents: int
    worst_hours: float
    """Return period of its rarest anomaly, in hours; NaN without any."""
    worst_at: str


def _incidents(moments: NDArray[np.datetime64], anomalous: Mask, step: timedelta) -> int:
    """How many runs of anomalies with more than the merge gap between them."""
    import numpy as np

    told = np.sort(moments[anomalous])
    return 0 if not told.size else 1 + int((np.diff(told) > np.timedelta64(MERGE_GAP + step)).sum())


def _lines(file: SeriesFile, said: _Said, zone: ZoneInfo, *, alone: bool) -> list[_Line]:
    return [_line(file, said, which, zone, alone=alone) for which in range(len(file.names))]


def _line(file: SeriesFile, said: _Said, which: int, zone: ZoneInfo, *, alone: bool) -> _Line:
    import numpy as np

    from anomaly.detection.thresholds import return_period

    rows = file.rows_of(which)
    told = rows[said.anomalous[rows]]
    hours, at = math.nan, ""
    if told.size:
        rarest = told[np.lexsort((-said.score[told], np.nan_to_num(said.tail_probability[told], nan=1.0)))[0]]
        period = return_period(float(np.nan_to_num(said.tail_probability[rarest], nan=1.0)), said.steps[which])
        hours, at = period.total_seconds() / 3600, _moment(file, rarest, zone)
    name = file.names[which]
    return _Line(
        name if alone or not file.labelled else f"{file.path.stem}: {name}",
        rows.size,
        int(np.isfinite(said.tail_probability[rows]).sum()),
        told.size,
        _incidents(file.moments[rows], said.anomalous[rows], said.steps[which]),
        hours,
        at,
    )


def _moment(file: SeriesFile, row: int, zone: ZoneInfo) -> str:
    """As written, so that it can be searched for; Unix seconds say nothing to people."""
    if not file.timestamps[row].replace(".", "").isdecimal():
        return file.timestamps[row]
    moment: datetime = file.moments[row].item()
    return f"{moment.replace(tzinfo=UTC).astimezone(zone):%Y-%m-%d %H:%M %Z}"


def _tell(lines: Sequence[_Line], notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape

    # Into a pipe or a log nothing may be cut off; rich assumes 80 columns there.
    console = Console(width=None if os.isatty(1) else 200, highlight=False)
    console.print(_table(lines))
    for note in notes[:NOTES]:
        console.print(escape(note), style="dim")
    if len(notes) > NOTES:
        console.print(f"and {len(notes) - NOTES:,} more remarks of this kind", style="dim")


def _table(lines: Sequence[_Line]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from anomaly.adapters.messages import return_period_words

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("series", "rows", "judged", "anomalies", "incidents", "worst", "at"):
        table.add_column(column, justify="left" if column in {"series", "worst", "at"} else "right", overflow="fold")
    worst = sorted(lines, key=lambda line: -line.incidents)[:SHOWN] if len(lines) > SHOWN else lines
    for line in worst:
        words = "" if math.isnan(line.worst_hours) else return_period_words(line.worst_hours)
        numbers = (line.rows, line.judged, line.anomalies, line.incidents)
        table.add_row(escape(line.name), *(f"{number:,}" for number in numbers), words, escape(line.worst_at))
    if len(lines) > 1:
        table.add_section()
        sums = (sum(getattr(line, column) for line in lines) for column in ("rows", "judged", "anomalies", "incidents"))
        more = f", of which {SHOWN} are shown" if len(lines) > SHOWN else ""
        table.add_row(f"all {len(lines)}{more}", *(f"{number:,}" for number in sums), "", "")
    return table
