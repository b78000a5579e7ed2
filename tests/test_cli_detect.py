"""``anomaly detect``: what it writes, that it looks at no later row, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from anomaly.cli import PERMANENT, app
from anomaly.cli.detect import SHOWN, Kind, _asked, _fitting

Detect = Callable[..., Any]
COLUMNS = (
    "predicted", "lower", "upper", "residual", "tail_probability", "anomaly_score", "is_anomaly",
)  # fmt: skip
QUICK = ("--candidates", "seasonal-naive", "--train", "10d")
HOURS = 14 * 24
FIRST = 10 * 24


@pytest.fixture
def detect(tmp_path: Path) -> Detect:
    def run(*arguments: object, into: str = "out") -> Any:
        given = ["detect", *map(str, arguments), "--out", str(tmp_path / into)]
        return CliRunner().invoke(app, given, catch_exceptions=False)

    return run


def hourly(rate: float, *, seed: int = 1, hours: int = HOURS) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Counts with a day and a night."""
    means = rate * (1 + 0.6 * np.sin(2 * np.pi * np.arange(hours) / 24))
    return np.random.default_rng(seed).poisson(means)


def moments(number: int, frequency: str = "1h") -> list[str]:
    return pd.date_range("2025-01-01", periods=number, freq=frequency).strftime("%Y-%m-%d %H:%M:%S").tolist()


def write(path: Path, values: Any, timestamps: list[str] | None = None) -> Path:
    pd.DataFrame({"timestamp": timestamps or moments(len(values)), "value": values}).to_csv(path, index=False)
    return path


def write_many(path: Path, series: dict[str, Any]) -> Path:
    """Row by row in time, the series in turn; each begins so late that it ends with the others."""
    stamps = moments(max(map(len, series.values())))
    frames = [
        pd.DataFrame({"timestamp": stamps[-len(values) :], "series": name, "value": values})
        for name, values in series.items()
    ]
    pd.concat(frames).sort_values("timestamp", kind="stable").to_csv(path, index=False)
    return path


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def truncated(path: Path, rows: int) -> Path:
    shorter = path.with_name(f"{path.stem}-{rows}.csv")
    shorter.write_text("\n".join(lines(path)[: rows + 1]) + "\n", encoding="utf-8")
    return shorter


# --- what is written ----------------------------------------------------------------------------------------------


def test_every_row_comes_back_as_it_was_written_with_what_is_said_of_it(detect: Detect, tmp_path: Path) -> None:
    counts = hourly(60)
    counts[-6:] = 0
    path = write(tmp_path / "orders.csv", counts)

    result = detect(path, *QUICK)

    assert result.exit_code == 0, result.output
    judged = pd.read_csv(tmp_path / "out" / "orders.csv")
    assert tuple(judged.columns) == ("timestamp", "value", *COLUMNS)
    assert judged["timestamp"].tolist() == moments(HOURS)
    assert judged["value"].tolist() == counts.tolist()
    assert judged["is_anomaly"].dtype == bool
    assert judged["is_anomaly"].tail(6).all()
    assert judged["is_anomaly"].head(HOURS - 6).mean() < 0.02
    assert f"Written: {tmp_path / 'out' / 'orders.csv'}" in result.output.replace("\n", "")


def test_scores_are_zero_in_the_history_and_half_at_the_limit(detect: Detect, tmp_path: Path) -> None:
    counts = hourly(30)
    counts[-20:-10] //= 2

    detect(write(tmp_path / "orders.csv", counts), *QUICK, "--false-alerts-per-week", "3")

    judged = pd.read_csv(tmp_path / "out" / "orders.csv")
    history, later = judged.head(FIRST), judged.tail(-FIRST)
    assert (history["anomaly_score"] == 0).all()
    assert history["predicted"].isna().all()
    assert later["anomaly_score"].between(0, 1).all()
    assert later["is_anomaly"].any()
    assert (later["is_anomaly"] == (later["anomaly_score"] >= 0.5)).all()
    order = later.sort_values("tail_probability")["anomaly_score"]
    assert order.is_monotonic_decreasing
    assert np.allclose(later["residual"], later["value"] - later["predicted"])
    single = later[(later["value"] < later["lower"]) | (later["value"] > later["upper"])]
    assert single["is_anomaly"].all()


def test_a_file_of_many_series_keeps_its_rows_and_their_order(detect: Detect, tmp_path: Path) -> None:
    path = write_many(tmp_path / "many.csv", {"b, with a comma": hourly(5), "a": hourly(80, seed=2)})

    result = detect(path, *QUICK)

    assert result.exit_code == 0, result.output
    given, judged = pd.read_csv(path), pd.read_csv(tmp_path / "out" / "many.csv")
    assert tuple(judged.columns) == ("series", "timestamp", "value", *COLUMNS)
    assert judged[given.columns.tolist()].equals(given)
    assert judged.groupby("series")["predicted"].mean().tolist() == pytest.approx([80, 5], rel=0.2)
    assert "all 2" in result.output


def test_series_one_after_the_other_are_judged_as_series_in_turn(detect: Detect, tmp_path: Path) -> None:
    path = write_many(tmp_path / "turn.csv", {"a": hourly(20), "b": hourly(80, seed=2)})
    pd.read_csv(path).sort_values("series", kind="stable").to_csv(tmp_path / "after.csv", index=False)

    detect(path, tmp_path / "after.csv", *QUICK)

    turn, after = (pd.read_csv(tmp_path / "out" / name, dtype=str) for name in ("turn.csv", "after.csv"))
    key = ["series", "timestamp"]
    assert turn.sort_values(key, ignore_index=True).equals(after.sort_values(key, ignore_index=True))


def test_folders_of_files_with_equal_names_are_kept(detect: Detect, tmp_path: Path) -> None:
    for folder in ("north", "south/far"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write(tmp_path / "in" / folder / "load.csv", np.arange(60.0))

    result = detect(
        tmp_path / "in" / "north" / "load.csv", tmp_path / "in" / "south" / "far" / "load.csv", "--kind", "gauge"
    )

    assert result.exit_code == 0, result.output
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.csv"))
    assert written == ["north/load.csv", "south/far/load.csv"]


def test_unix_seconds_and_offsets_are_the_same_moments(detect: Detect, tmp_path: Path) -> None:
    counts, stamps = hourly(40), pd.date_range("2025-01-01", periods=HOURS, freq="1h", tz="UTC")
    write(tmp_path / "utc.csv", counts)
    write(tmp_path / "unix.csv", counts, [str(int(stamp.timestamp())) for stamp in stamps])
    write(tmp_path / "local.csv", counts, [stamp.isoformat() for stamp in stamps.tz_convert("Asia/Tokyo")])

    detect(*(tmp_path / f"{name}.csv" for name in ("utc", "unix", "local")), *QUICK, "--seed", "3")

    judged = [pd.read_csv(tmp_path / "out" / f"{name}.csv")[list(COLUMNS)] for name in ("utc", "unix", "local")]
    assert judged[0]["predicted"].notna().sum() == HOURS - FIRST
    assert judged[0].equals(judged[1])
    assert judged[0].equals(judged[2])


def test_dates_are_days_as_they_are_written(detect: Detect, tmp_path: Path) -> None:
    weekend = np.array([50, 48, 53, 51, 49, 4, 3] * 12)
    counts = weekend + np.random.default_rng(8).integers(-2, 3, size=len(weekend))
    monday = pd.date_range("2025-01-06", periods=len(counts), freq="1D").strftime("%Y-%m-%d").tolist()
    path = write(tmp_path / "days.csv", counts, monday)

    options = (path, "--candidates", "seasonal-naive", "--train", "56d", "--holidays", "US")
    assert detect(*options, into="utc").exit_code == 0
    assert detect(*options, "--timezone", "America/New_York", into="new-york").exit_code == 0

    utc, new_york = (pd.read_csv(tmp_path / into / "days.csv") for into in ("utc", "new-york"))
    assert utc["predicted"].notna().sum() >= 21
    assert utc.equals(new_york)


def test_counts_that_are_left_out_are_unknown_or_zero_as_asked(detect: Detect, tmp_path: Path) -> None:
    counts = hourly(40)
    counts[-30:-18] = 0
    write(tmp_path / "full.csv", counts)
    holes = pd.read_csv(tmp_path / "full.csv")
    holes[holes["value"] > 0].to_csv(tmp_path / "holes.csv", index=False)

    detect(tmp_path / "full.csv", *QUICK, into="full")
    write(tmp_path / "empty.csv", [count or "" for count in counts.tolist()])
    detect(tmp_path / "holes.csv", tmp_path / "empty.csv", *QUICK, into="unknown")
    detect(tmp_path / "holes.csv", *QUICK, "--fill-zero", into="zero")

    full = pd.read_csv(tmp_path / "full" / "full.csv")
    unknown, zero = (pd.read_csv(tmp_path / into / "holes.csv") for into in ("unknown", "zero"))
    empty = pd.read_csv(tmp_path / "unknown" / "empty.csv")
    assert full["is_anomaly"].tail(30).sum() >= 12
    assert zero.equals(full[full["value"] > 0].reset_index(drop=True))
    known = empty[empty["value"].notna()].reset_index(drop=True)
    assert known[list(COLUMNS)].equals(unknown[list(COLUMNS)])
    assert unknown["is_anomaly"].sum() <= full["is_anomaly"].sum() - 12


def test_the_prediction_is_missing_where_a_count_is_unknown_and_nothing_is_said(detect: Detect, tmp_path: Path) -> None:
    counts = [str(count) for count in hourly(40)]
    counts[-5] = ""

    result = detect(write(tmp_path / "holes.csv", counts), *QUICK)

    judged = pd.read_csv(tmp_path / "out" / "holes.csv")
    assert result.exit_code == 0, result.output
    assert judged["anomaly_score"].iloc[-5] == 0
    assert np.isnan(judged["tail_probability"].iloc[-5])
    assert judged["tail_probability"].iloc[-4] > 0


def test_each_series_is_drawn_into_a_picture_of_its_own(detect: Detect, tmp_path: Path) -> None:
    path = write_many(tmp_path / "many.csv", {"a/b": hourly(5), "a_b": hourly(80, seed=2)})

    result = detect(path, *QUICK, "--plot")
    alone = detect(write(tmp_path / "load.csv", np.sin(np.arange(300))), "--kind", "gauge", "--plot")

    assert result.exit_code == alone.exit_code == 0, result.output
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert [picture.name for picture in pictures] == ["load.png", "many.a_b.png", "many.a_b_.png"]
    contents = [picture.read_bytes() for picture in pictures]
    assert all(content.startswith(b"\x89PNG") for content in contents)
    assert len(set(contents)) == 3


def test_the_summary_counts_rows_anomalies_and_incidents(detect: Detect, tmp_path: Path) -> None:
    counts = hourly(60)
    counts[FIRST + 40 : FIRST + 44] = 0
    counts[-4:] = 0

    result = detect(write(tmp_path / "orders.csv", counts), *QUICK)

    judged = pd.read_csv(tmp_path / "out" / "orders.csv")
    told = np.flatnonzero(judged["is_anomaly"])
    (row,) = [line.split() for line in result.output.splitlines() if line.strip().startswith("orders")]
    assert row[1:4] == [f"{HOURS}", f"{HOURS - FIRST}", f"{len(told)}"]
    assert int(row[4]) == 1 + int((np.diff(told) > 13).sum()) >= 2
    assert "once in" in result.output


def test_a_row_of_anomalous_days_is_one_incident(detect: Detect, tmp_path: Path) -> None:
    counts = np.random.default_rng(9).poisson(900, size=84)
    counts[-4:] = 0
    path = write(tmp_path / "days.csv", counts, moments(84, "1D"))

    result = detect(path, "--candidates", "seasonal-naive", "--train", "70d", "--false-alerts-per-week", "0.01")

    (row,) = [line.split() for line in result.output.splitlines() if line.strip().startswith("days")]
    assert row[1:5] == ["84", "14", "4", "1"]


def test_a_summary_of_many_series_shows_those_with_most_incidents(detect: Detect, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    gauges = {f"calm {n}": rng.normal(size=400) for n in range(SHOWN)}
    wild = rng.normal(size=400)
    wild[350] += 1e6
    path = write_many(tmp_path / "many.csv", {**gauges, "wild": wild})

    result = detect(path, "--kind", "gauge")

    assert f"all {SHOWN + 1}, of which {SHOWN} are shown" in result.output
    assert " wild " in result.output


# --- nothing of what comes later ----------------------------------------------------------------------------------


def test_of_a_shorter_file_of_counts_the_same_is_said(detect: Detect, tmp_path: Path) -> None:
    counts = [str(count) for count in hourly(12)]
    counts[FIRST + 30 : FIRST + 40] = ["0"] * 10
    counts[FIRST + 50] = ""
    path = write(tmp_path / "orders.csv", counts)
    shorter = [truncated(path, rows) for rows in (FIRST - 1, FIRST + 1, FIRST + 35, FIRST + 48, HOURS - 1)]

    result = detect(path, *shorter, *QUICK, "--refit", "2d")

    assert result.exit_code == 0, result.output
    whole = lines(tmp_path / "out" / "orders.csv")
    assert any(",True" in line for line in whole)
    for file in shorter:
        part = lines(tmp_path / "out" / file.name)
        assert len(part) == len(lines(file))
        assert part == whole[: len(part)]


def test_a_series_that_begins_later_changes_nothing_that_was_said_of_the_others(detect: Detect, tmp_path: Path) -> None:
    series = {"z": hourly(12), "y": hourly(90, seed=3), "a new one": hourly(50, seed=4)[-40:]}
    path = write_many(tmp_path / "many.csv", series)
    rows = 2 * (HOURS - 40)

    for file in (path, truncated(path, rows)):
        assert detect(file, *QUICK).exit_code == 0

    assert lines(tmp_path / "out" / f"many-{rows}.csv") == lines(tmp_path / "out" / "many.csv")[: rows + 1]


@pytest.mark.parametrize("frequency", ["5min", "37min"])
@pytest.mark.parametrize("rows", [60, 333, 799])
def test_of_a_shorter_file_of_a_gauge_the_same_is_said(
    detect: Detect, tmp_path: Path, frequency: str, rows: int
) -> None:
    rng = np.random.default_rng(5)
    values = np.cumsum(rng.normal(size=800)) - 20
    values[500:] += 40
    stamps = pd.Series(pd.date_range("2025-01-01", periods=830, freq=frequency)).drop(index=range(100, 130))
    path = write(tmp_path / "load.csv", values, stamps.astype(str).tolist())

    for file in (path, truncated(path, rows)):
        assert detect(file, "--kind", "gauge", "--train", "100").exit_code == 0

    whole, part = (lines(tmp_path / "out" / name) for name in ("load.csv", f"load-{rows}.csv"))
    assert part == whole[: rows + 1]
    assert any(",True" in line for line in whole[500:510])


def test_a_fraction_of_the_file_silences_its_first_rows_and_changes_no_number(detect: Detect, tmp_path: Path) -> None:
    counts = hourly(60)
    counts[[FIRST + 20, -10]] = 0
    path = write(tmp_path / "orders.csv", counts)

    detect(path, *QUICK, into="plain")
    result = detect(path, *QUICK, "--train-fraction", "0.85", into="silenced")
    detect(truncated(path, HOURS - 50), *QUICK, "--train-fraction", "0.85", into="silenced")

    plain, silenced, shorter = (
        pd.read_csv(tmp_path / place)
        for place in ("plain/orders.csv", "silenced/orders.csv", f"silenced/orders-{HOURS - 50}.csv")
    )
    assert plain["is_anomaly"].iloc[FIRST + 20]
    assert not silenced["is_anomaly"].iloc[FIRST + 20]
    assert silenced["is_anomaly"].iloc[-10]
    numbers = [column for column in plain.columns if column != "is_anomaly"]
    assert plain[numbers].equals(silenced[numbers])
    assert shorter[numbers].equals(silenced[numbers].head(len(shorter)))
    assert "is called an anomaly, which is 85% of the file" in result.output


def test_candidates_that_would_delay_judging_take_part_only_when_named() -> None:
    def competing(named: str | None, step: timedelta) -> tuple[str, ...]:
        asked = _asked(Kind.COUNTS, None, None, None, "UTC", None, named, "1w", 1, 1.0, fill_zero=False)
        return _fitting(asked, step, timedelta(days=21) // step)

    assert "dense-16-mae" in competing(None, timedelta(hours=1))
    assert "departure-linear" in competing(None, timedelta(days=1))
    assert "dense-16-mae" not in competing(None, timedelta(days=1))
    assert competing("dense-16-mae", timedelta(days=1)) == ("dense-16-mae",)


# --- gauges -------------------------------------------------------------------------------------------------------


def test_a_gauge_may_be_negative_and_its_spike_is_found(detect: Detect, tmp_path: Path) -> None:
    values = np.random.default_rng(6).normal(-50, 1, size=400)
    values[300] = -10

    result = detect(write(tmp_path / "load.csv", values), "--kind", "gauge")

    judged = pd.read_csv(tmp_path / "out" / "load.csv")
    assert result.exit_code == 0, result.output
    assert np.flatnonzero(judged["is_anomaly"]).tolist() == [300]
    assert judged["upper"].iloc[300] < -40


def test_a_gauge_is_forecast_by_candidates_where_they_are_named(detect: Detect, tmp_path: Path) -> None:
    hours = np.arange(24 * 25)
    values = -0.02 + 0.001 * np.sin(2 * np.pi * hours / 24) + 1e-5 * np.random.default_rng(7).normal(size=len(hours))
    path = write(tmp_path / "load.csv", values)

    detect(path, "--kind", "gauge", into="own")
    result = detect(path, truncated(path, 24 * 24), "--kind", "gauge", *QUICK[:2], into="forecast")

    assert result.exit_code == 0, result.output
    own, forecast = (pd.read_csv(tmp_path / into / "load.csv") for into in ("own", "forecast"))
    assert own["predicted"].head(504).equals(forecast["predicted"].head(504))
    errors = [frame["residual"].tail(-504).abs().mean() for frame in (own, forecast)]
    assert errors[1] < errors[0] / 5
    shorter = lines(tmp_path / "forecast" / f"load-{24 * 24}.csv")
    assert shorter == lines(tmp_path / "forecast" / "load.csv")[: len(shorter)]


def test_rows_of_a_gauge_that_share_a_moment_are_taken_in_turn(detect: Detect, tmp_path: Path) -> None:
    stamps = moments(200)
    stamps[100] = stamps[99]
    stamps[150], stamps[151] = stamps[151], stamps[150]

    result = detect(write(tmp_path / "load.csv", np.sin(np.arange(200)), stamps), "--kind", "gauge")

    assert result.exit_code == 0, result.output
    assert "repeats its time or goes back 2x" in result.output
    assert pd.read_csv(tmp_path / "out" / "load.csv")["timestamp"].tolist() == stamps


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("time,value\n", (), "has columns time, value; timestamp missing"),
        ("timestamp;value\n2025-01-01;1\n", (), "has columns timestamp;value; timestamp, value missing"),
        ("timestamp,value\n", (), "has no rows"),
        ("", (), "cannot be read"),
        ("timestamp,value\n2025-01-01,1\nnoon,1\n", (), "row 3: timestamp is 'noon'; expected an ISO 8601 moment"),
        ("timestamp,value\n2025-01-01,many\n", (), "row 2: value is 'many'; expected a number"),
        ("timestamp,value\n2025-01-01,inf\n", (), "row 2: value is 'inf'; expected a number"),
        ("timestamp,series,value\n2025-01-01,,1\n", (), "row 2: series is ''; expected a name"),
        ("timestamp,value\n2025-01-01,-1\n", (), "expected a whole number of events, 0 or more (1 such rows). Measure"),
        ("timestamp,value\n2025-01-01,1.5\n", (), "Measurements are judged with --kind gauge"),
        ("timestamp,value\n2025-01-01,1\n", (), "single moment, which says nothing of the interval; give --interval"),
        (
            "timestamp,value\n2025-01-02,1\n2025-01-01,1\n",
            (),
            "row 3: timestamp is '2025-01-01'; expected none earlier",
        ),
        ("timestamp,value\n2025-01-01,1\n2025-01-01,1\n", (), "row 3: timestamp is '2025-01-01'; expected each moment"),
        (
            "timestamp,value\n2025-01-01T00:00Z,1\n2025-01-01T01:00Z,1\n2025-01-01T02:00Z,1\n2025-01-01T02:20Z,1\n",
            (),
            "row 5: timestamp is '2025-01-01T02:20Z'; expected the start of an interval of 3600 s",
        ),
        ("timestamp,value\n2025-01-02,1\n2025-01-01,1\n", ("--kind", "gauge"), "row 3: timestamp is '2025-01-01'"),
        ("timestamp,value\n2025-01-02,1\n", ("--kind", "gauge"), "which says nothing of the interval"),
    ],
)
def test_files_that_cannot_be_judged_are_refused_with_the_row(
    detect: Detect, tmp_path: Path, content: str, options: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)

    result = detect(path, *options)

    assert result.exit_code == PERMANENT
    assert message in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--timezone", "Mars"), "--timezone is 'Mars'"),
        (("--interval", "hourly"), "--interval is 'hourly'"),
        (("--train", "long"), "--train is 'long'"),
        (("--holidays", "XX"), "--holidays is 'XX'"),
        (("--candidates", "tcn,prophet"), "--candidates has 'prophet'; expected some of seasonal-naive"),
        (("--false-alerts-per-week", "0"), "expected more than 0, at most 1000"),
        (("--kind", "gauge", "--fill-zero"), "--fill-zero with --kind gauge"),
        (("--kind", "gauge", "--holidays", "US"), "--holidays with --kind gauge"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    detect: Detect, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = detect(write(tmp_path / "orders.csv", [1, 2, 3]), *options)

    assert result.exit_code == PERMANENT
    assert message in result.output


def test_no_file_is_written_over(detect: Detect, tmp_path: Path) -> None:
    path = write(tmp_path / "load.csv", np.arange(60.0))

    onto = detect(path, "--kind", "gauge", into=".")
    twice = detect(path, path, "--kind", "gauge")

    assert onto.exit_code == twice.exit_code == PERMANENT
    assert "would be written over" in onto.output
    assert "would both be written to" in twice.output


def test_a_file_that_is_all_history_is_said_to_be(detect: Detect, tmp_path: Path) -> None:
    result = detect(write(tmp_path / "orders.csv", hourly(9, hours=100)), "--train", "21d")

    assert result.exit_code == 0
    assert "all of its 100 intervals are history, 504 of which come before the first judged" in result.output
    assert (pd.read_csv(tmp_path / "out" / "orders.csv")["anomaly_score"] == 0).all()


def test_a_series_that_cannot_be_learned_from_says_why_it_was_not_judged(detect: Detect, tmp_path: Path) -> None:
    path = write_many(tmp_path / "many.csv", {"old": hourly(9), "young": hourly(9)[-100:]})

    result = detect(path, *QUICK)

    assert "series young was not judged: 4 intervals of history; the policy asks for 240" in result.output
    assert "series old was not" not in result.output
