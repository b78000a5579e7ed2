"""CSV files of series: what is read from them, how it lies in time, and what is written beside them.

In: a file with the columns ``timestamp,value`` (one series, named after the file) or ``timestamp,series,value``; other
columns are left alone. Out: `SeriesFile`, checked, in the file's own order; its series on a common grid (`gridded`), or
one series placed row by row (`placed`); and CSV files with one line per line read.

Timestamps are ISO 8601, with their offset or in UTC, or Unix time in seconds or milliseconds. An empty value is an
unknown one. All that is wrong with a file is told with the row where it is first found, the header being row 1.

What is found out about a file, its interval above all, follows from its first rows: a longer file gives the same
answer.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anomaly.exceptions import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Moments = NDArray[np.datetime64]

MOST_CELLS = 200_000_000
"""Series times intervals: more would not fit into 8 GB of memory."""
LONGEST_STEP = timedelta(days=1)
FIRST_MOMENTS = 51
"""From whose gaps the interval follows."""
REGULAR_SHARE = 0.9
"""Of the first gaps: as many being one interval make a series regular."""
LARGEST_COUNT = 2**53
_UNKNOWN = frozenset({"", "nan", "na", "n/a", "null", "none"})
_UNIX_SECONDS, _UNIX_MILLISECONDS = (1e8, 1e10), (1e12, 1e13)
"""1973 to 2286, and 2001 to 2286: no date written in digits alone lies between these."""
_CLOCK_CHANGE = np.timedelta64(2, "h")
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """R rows of V series, in the file's order."""

    path: Path
    timestamps: tuple[str, ...]
    """(R,) as written."""
    written: tuple[str, ...]
    """(R,) values as written."""
    moments: Moments
    """(R,) datetime64[us], UTC."""
    numbers: Floats
    """(R,) the values; NaN where unknown."""
    names: tuple[str, ...]
    """(V,) by their first moments: a series that begins later comes later."""
    series: Indices
    """(R,) each row's series, among `names`."""
    labelled: bool
    """Whether the file has a column ``series``."""

    def rows_of(self, which: int) -> Indices:
        """The rows of one series, in the file's order."""
        return np.flatnonzero(self.series == which)


@dataclass(frozen=True, slots=True)
class Gridded:
    """V series over T intervals."""

    values: Floats
    """(V, T) NaN where unknown."""
    present: Mask
    """(V, T) where there is a row, be its value known or not."""
    starts: Moments
    """(T,) datetime64[s], UTC."""
    step: timedelta
    columns: Indices
    """(R,) each row's interval."""


# --- reading ----------------------------------------------------------------------------------------------------


def read_series(path: Path) -> SeriesFile:
    """One file, with every row's moment and value.

    Raises:
        ConfigurationError: it cannot be read, lacks a column, has no rows, or a row that cannot be understood.
    """
    frame = _read_csv(path)
    timestamps, written = (tuple(frame[column].tolist()) for column in ("timestamp", "value"))
    moments = _moments(frame["timestamp"])
    values, understood = _numbers(written)
    labelled = "series" in frame.columns
    labels = frame["series"].tolist() if labelled else [name_of(path)] * len(frame)
    refuse(
        path,
        np.isnat(moments),
        "timestamp",
        timestamps,
        "an ISO 8601 moment, with its offset or in UTC, or Unix seconds",
    )
    refuse(path, ~understood, "value", written, "a number, or nothing where it is unknown")
    refuse(path, np.array([not label for label in labels]), "series", labels, "a name")
    first: dict[str, np.datetime64] = {}
    for label, moment in zip(labels, moments, strict=True):
        first[label] = min(first.get(label, moment), moment)
    names = tuple(sorted(first, key=lambda name: (first[name], name)))
    numbers = {name: number for number, name in enumerate(names)}
    series = np.array([numbers[label] for label in labels], dtype=np.int64)
    return SeriesFile(path, timestamps, written, moments, values, names, series, labelled)


def name_of(path: Path) -> str:
    """A file's name without what says that it is a CSV file."""
    return Path(path.name.removesuffix(".gz")).stem


def refuse(path: Path, wrong: Mask, column: str, found: Sequence[str], expected: str) -> None:
    """Names the first wrong row, if there is one.

    Raises:
        ConfigurationError: there is.
    """
    if wrong.any():
        row = int(wrong.argmax())
        raise ConfigurationError(
            f"{path}, row {row + 2}: {column} is '{found[row]}'; expected {expected} ({int(wrong.sum())} such rows)"
        )


def refuse_what_is_no_count(file: SeriesFile) -> None:
    """Unknown values pass.

    Raises:
        ConfigurationError: a value is negative or not whole.
    """
    values = file.numbers
    wrong = (values < 0) | ((values % 1) > 0) | (values > LARGEST_COUNT)
    refuse(file.path, wrong, "value", file.written, "a whole number of events, 0 or more")


def refuse_what_is_not_in_time(file: SeriesFile) -> None:
    """Series may be mixed, or one after the other; each is in time.

    Raises:
        ConfigurationError: a row is earlier than the one before it of the same series.
    """
    order = np.argsort(file.series, kind="stable")
    moments, same = file.moments[order], np.diff(file.series[order]) == 0
    wrong = np.zeros(len(order), dtype=bool)
    wrong[order[1:]] = same & (moments[1:] < moments[:-1])
    expected = "none earlier than the row before it of the same series: sort the file by time"
    refuse(file.path, wrong, "timestamp", file.timestamps, expected)


def _read_csv(path: Path) -> pd.DataFrame:
    """All cells as text, empty where there is none."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; expected a CSV file of counts or gauges") from None
    frame.columns = [str(column).strip() for column in frame.columns]
    if missing := {"timestamp", "value"} - set(frame.columns):
        raise ConfigurationError(
            f"{path} has columns {', '.join(frame.columns)}; {', '.join(sorted(missing))} missing. "
            "Expected timestamp, value and, for several series, series"
        )
    if frame.empty:
        raise ConfigurationError(f"{path} has no rows; expected one for every interval")
    kept = [column for column in ("timestamp", "series", "value") if column in frame.columns]
    return pd.DataFrame({column: frame[column].fillna("").str.strip() for column in kept})


def _moments(written: pd.Series[str]) -> Moments:
    """(R,) datetime64[us], UTC; NaT where not understood."""
    import pandas as pd

    numbers = pd.to_numeric(written, errors="coerce").to_numpy(np.float64)
    seconds, milliseconds = ((numbers >= low) & (numbers < high) for low, high in (_UNIX_SECONDS, _UNIX_MILLISECONDS))
    texts = written.where(~(seconds | milliseconds))
    parsed = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601").dt.tz_localize(None)
    moments = parsed.to_numpy().astype("datetime64[us]")
    for unix, microseconds in ((seconds, 1e6), (milliseconds, 1e3)):
        moments[unix] = np.round(numbers[unix] * microseconds).astype(np.int64).astype("datetime64[us]")
    return np.asarray(moments)


def _numbers(written: Sequence[str]) -> tuple[Floats, Mask]:
    """(R,) values, NaN where unknown; and which were understood: numbers, and what stands for none."""
    values, understood = np.full(len(written), np.nan), np.ones(len(written), dtype=bool)
    for row, text in enumerate(written):
        if text.lower() not in _UNKNOWN:
            with suppress(ValueError):
                values[row] = float(text)
            understood[row] = math.isfinite(values[row])
    return values, understood


# --- in time ----------------------------------------------------------------------------------------------------


def gridded(file: SeriesFile, step: timedelta | None) -> Gridded:
    """The file's series on one grid that begins with its earliest row.

    Args:
        file: each interval of a series at most once.
        step: the interval; None for the gap that is most common among the first moments.

    Raises:
        ConfigurationError: an interval comes twice, a row is not on the grid, or the interval cannot be told.
    """
    refuse(file.path, _seen_before(file), "timestamp", file.timestamps, "each moment of a series once")
    step = step or _most_common_gap(file)
    size, offsets = step // _SECOND, (file.moments - file.moments.min()).astype(np.int64)
    expected = f"the start of an interval of {size} s counted from {file.moments.min()} UTC; give the right --interval"
    refuse(file.path, offsets % (size * 1_000_000) != 0, "timestamp", file.timestamps, expected)
    columns = offsets // (size * 1_000_000)
    shape = (len(file.names), int(columns.max()) + 1)
    refuse_too_large(*shape)
    values, present = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    values[file.series, columns] = file.numbers
    present[file.series, columns] = True
    starts = file.moments.min().astype("datetime64[s]") + np.arange(shape[1]) * np.timedelta64(size, "s")
    return Gridded(values, present, starts, step, columns)


def refuse_too_large(series: int, intervals: int) -> None:
    """Before memory is taken.

    Raises:
        ConfigurationError: it would be too much.
    """
    if series * intervals > MOST_CELLS:
        raise ConfigurationError(
            f"{series:,} series of {intervals:,} intervals are {series * intervals:,} counts; expected at most "
            f"{MOST_CELLS:,}. Choose fewer variables or days, or a longer --interval"
        )


def _seen_before(file: SeriesFile) -> Mask:
    """(R,) rows with the series and moment of an earlier row."""
    distinct, ranks = np.unique(file.moments, return_inverse=True)
    seen = np.ones(len(ranks), dtype=bool)
    seen[np.unique(file.series * len(distinct) + ranks, return_index=True)[1]] = False
    return seen


def _most_common_gap(file: SeriesFile) -> timedelta:
    gaps = np.diff(np.unique(file.moments)[:FIRST_MOMENTS]).astype(np.int64)
    if not gaps.size:
        raise ConfigurationError(
            f"{file.path} has a single moment, which says nothing of the interval; give --interval"
        )
    sizes, times = np.unique(gaps, return_counts=True)
    step = timedelta(microseconds=int(sizes[times.argmax()]))
    if step > LONGEST_STEP or step % _SECOND:
        raise ConfigurationError(
            f"{file.path} has intervals of {step.total_seconds():g} s; expected at most a day, in whole seconds. "
            "Give --interval"
        )
    return step


def usual_gap(file: SeriesFile, which: int) -> timedelta:
    """The middle one of the first gaps of one series that are more than nothing.

    Raises:
        ConfigurationError: there is none.
    """
    gaps = np.diff(file.moments[file.rows_of(which)][:FIRST_MOMENTS]).astype(np.int64)
    gaps = np.sort(gaps[gaps > 0])
    if not gaps.size:
        raise ConfigurationError(
            f"{file.path}: series {file.names[which]} has no two moments one after the other, which says nothing of "
            "the interval; give --interval"
        )
    return timedelta(microseconds=int(gaps[(len(gaps) - 1) // 2]))


def is_regular(moments: Moments, step: timedelta) -> bool:
    """Whether the first rows of one series, (T,) in the file's order, come one interval after the other."""
    gaps = np.diff(moments[:FIRST_MOMENTS])
    return bool(gaps.size) and float((gaps == np.timedelta64(step)).mean()) >= REGULAR_SHARE


def placed(moments: Moments, step: timedelta) -> Indices:
    """(T,) the interval of each row of one series, so that what is missing between two rows leaves room.

    A regular series' row is put into the interval nearest to it, or after the row before where that is taken; of one
    that is not regular, each row is an interval.
    """
    order = np.arange(len(moments))
    if not is_regular(moments, step):
        return order
    nearest = np.rint((moments - moments[0]) / np.timedelta64(step)).astype(np.int64)
    return np.maximum.accumulate(nearest - order) + order


def refuse_what_goes_back(file: SeriesFile) -> None:
    """For measurements, which are taken in the file's order: a clock that was set back passes, and so do two rows with
    one moment, because sensors write both.

    Raises:
        ConfigurationError: a row lies more than two hours before an earlier one of the same series.
    """
    wrong = np.zeros(len(file.moments), dtype=bool)
    for which in range(len(file.names)):
        rows = file.rows_of(which)
        own = file.moments[rows]
        wrong[rows] = np.maximum.accumulate(own) - own > _CLOCK_CHANGE
    expected = "a moment after the rows before it of the same series: sort the file by time"
    refuse(file.path, wrong, "timestamp", file.timestamps, expected)


# --- writing ----------------------------------------------------------------------------------------------------


def places(files: Sequence[Path], out: Path) -> list[Path]:
    """Where what is said of each file goes: folders below the files' common one are kept.

    Raises:
        ConfigurationError: two files would go to one place, or a file would be written over.
    """
    inputs = [file.resolve() for file in files]
    common = Path(os.path.commonpath([file.parent for file in inputs]))
    chosen: dict[Path, Path] = {}
    for file in inputs:
        place = out / file.parent.relative_to(common) / f"{name_of(file)}.csv"
        if place in chosen:
            raise ConfigurationError(f"{chosen[place]} and {file} would both be written to {place}; rename one")
        if place.resolve() in inputs:
            raise ConfigurationError(f"{file} would be written over; choose another folder than {out} with --out")
        chosen[place] = file
    return list(chosen)


def write_columns(path: Path, columns: Mapping[str, Iterable[Any]]) -> None:
    """A CSV file. Numbers are written so that reading them gives the same bits; what is not finite is left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(_cells(column) for column in columns.values()), strict=True))


def _cells(column: Iterable[Any]) -> list[Any]:
    cells = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return ["" if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells]
