"""CSV files of series: how moments, numbers and places are understood."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.adapters.series_files import (
    gridded,
    is_regular,
    placed,
    places,
    read_series,
    usual_gap,
    write_columns,
)
from anomaly.exceptions import ConfigurationError

HOUR = timedelta(hours=1)
GAPS = st.lists(st.integers(-3600, 6 * 3600), min_size=1, max_size=120)


def wrote(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def moments_after(gaps: list[int]) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    seconds = np.cumsum([0, *gaps])
    return np.datetime64("2025-01-01", "us") + seconds.astype("timedelta64[s]")


@pytest.mark.parametrize(
    "written",
    [
        "2025-03-01T12:30:00Z",
        "2025-03-01 12:30",
        "2025-03-01T14:30:00+02:00",
        "20250301T123000",
        "1740832200",
        "1740832200.0",
        "1740832200000",
    ],
)
def test_a_moment_is_understood_however_it_is_written(tmp_path: Path, written: str) -> None:
    file = read_series(wrote(tmp_path / "one.csv", "timestamp,value", f"{written},1"))

    assert file.moments.tolist() == [np.datetime64("2025-03-01T12:30", "us").item()]
    assert file.timestamps == (written,)


def test_a_date_in_digits_alone_is_a_date(tmp_path: Path) -> None:
    file = read_series(wrote(tmp_path / "one.csv", "timestamp,value", "20250301,1"))

    assert file.moments[0] == np.datetime64("2025-03-01")


def test_values_that_are_not_known_are_told_from_those_that_are(tmp_path: Path) -> None:
    rows = [f"2025-01-0{day},{value}" for day, value in enumerate(["1", "", "NaN", "null", "-2.5e3", " 7 "], start=1)]

    file = read_series(wrote(tmp_path / "one.csv", "timestamp,value", *rows))

    assert np.array_equal(file.numbers, [1, np.nan, np.nan, np.nan, -2500, 7], equal_nan=True)


def test_other_columns_spaces_a_mark_at_the_start_and_compression_are_no_obstacle(tmp_path: Path) -> None:
    import gzip

    content = "\ufefflabel, value ,timestamp\n0,3,2025-01-01\n1,4,2025-01-02\n"
    (tmp_path / "load.csv.gz").write_bytes(gzip.compress(content.encode()))

    file = read_series(tmp_path / "load.csv.gz")

    assert file.names == ("load",)
    assert not file.labelled
    assert file.numbers.tolist() == [3, 4]


def test_series_are_named_as_text_and_come_in_the_order_of_their_beginnings(tmp_path: Path) -> None:
    rows = ["2025-01-02,007,1", "2025-01-01,NA,2", "2025-01-01,b,3", "2025-01-03,007,4"]

    file = read_series(wrote(tmp_path / "many.csv", "timestamp,series,value", *rows))

    assert file.names == ("NA", "b", "007")
    assert file.series.tolist() == [2, 0, 1, 2]


def test_series_share_a_grid_that_begins_with_the_earliest_row(tmp_path: Path) -> None:
    rows = ["2025-01-01T00:10,a,1", "2025-01-01T01:10,a,", "2025-01-01T02:10,b,5", "2025-01-01T04:10,a,2"]

    grid = gridded(read_series(wrote(tmp_path / "many.csv", "timestamp,series,value", *rows)), None)

    assert grid.step == HOUR
    assert np.array_equal(
        grid.values, [[1, np.nan, np.nan, np.nan, 2], [np.nan, np.nan, 5, np.nan, np.nan]], equal_nan=True
    )
    assert grid.present.tolist() == [[True, True, False, False, True], [False, False, True, False, False]]
    assert grid.starts[-1] == np.datetime64("2025-01-01T04:10")
    assert grid.columns.tolist() == [0, 1, 2, 4]


def test_a_file_that_would_not_fit_into_memory_is_refused_before_it_is_laid_out(tmp_path: Path) -> None:
    file = read_series(wrote(tmp_path / "far.csv", "timestamp,value", "1980-01-01T00:00:00,1", "2025-01-01T00:00:00,1"))

    with pytest.raises(ConfigurationError, match="expected at most 200,000,000"):
        gridded(file, timedelta(seconds=1))


@given(gaps=GAPS, cut=st.integers(52, 120))
def test_where_a_row_is_placed_follows_from_the_rows_before_it(gaps: list[int], cut: int) -> None:
    moments = moments_after(gaps)

    at = placed(moments, HOUR)

    assert at[0] == 0
    assert (np.diff(at) >= 1).all()
    if len(moments) > cut:
        assert placed(moments[:cut], HOUR).tolist() == at[:cut].tolist()


@given(
    left_out=st.sets(st.integers(60, 200), max_size=40),
    jitter=st.lists(st.integers(-1500, 1500), min_size=201, max_size=201),
)
def test_rows_of_a_regular_series_are_placed_by_their_time(left_out: set[int], jitter: list[int]) -> None:
    hours = np.array([hour for hour in range(201) if hour not in left_out])
    late = np.where(hours < 60, 0, np.array(jitter)[hours])
    moments = np.datetime64("2025-01-01", "us") + (hours * 3600 + late).astype("timedelta64[s]")

    assert placed(moments, HOUR).tolist() == hours.tolist()


def test_rows_of_a_series_without_rhythm_are_placed_in_turn() -> None:
    moments = moments_after([600, 1300, 600, 4000, 250] * 20)

    assert not is_regular(moments, timedelta(minutes=10))
    assert placed(moments, timedelta(minutes=10)).tolist() == list(range(101))


def test_the_usual_gap_is_the_middle_one_of_the_first_rows(tmp_path: Path) -> None:
    minutes = [0, 5, 5, 10, 20, 25, *range(1000, 5000, 40)]
    rows = [f"{np.datetime64('2025-01-01') + np.timedelta64(minute, 'm')},1" for minute in minutes]

    file = read_series(wrote(tmp_path / "load.csv", "timestamp,value", *rows))
    early = read_series(wrote(tmp_path / "early.csv", "timestamp,value", *rows[:6]))

    assert usual_gap(file, 0) == timedelta(minutes=40)
    assert usual_gap(early, 0) == timedelta(minutes=5)


def test_files_in_one_folder_go_to_one_folder_and_others_keep_theirs(tmp_path: Path) -> None:
    out = tmp_path / "out"

    assert places([tmp_path / "in" / "a.csv", tmp_path / "in" / "b.csv.gz"], out) == [out / "a.csv", out / "b.csv"]
    assert places([tmp_path / "x" / "a.csv", tmp_path / "a.csv"], out) == [out / "x" / "a.csv", out / "a.csv"]
    assert places([tmp_path / "x" / "a.txt"], out) == [out / "a.csv"]


@given(numbers=st.lists(st.floats(), min_size=1))
def test_numbers_are_written_to_the_last_bit_and_what_is_not_finite_is_left_empty(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    write_columns(path, {"row": [str(row) for row in range(len(numbers))], "number": np.array(numbers)})

    cells = [line.split(",")[1] for line in path.read_text().splitlines()[1:]]
    assert [float(cell) if cell else None for cell in cells] == [
        number if math.isfinite(number) else None for number in numbers
    ]
