"""``anomaly simulate``: the files it writes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from anomaly.cli import PERMANENT, app

Simulate = Callable[..., Any]
SMALL = ("--variables", "4", "--days", "30", "--rates", "2", "80", "--timezone", "Europe/Berlin")


@pytest.fixture
def simulate(tmp_path: Path) -> Simulate:
    def run(*options: str, into: str = "out") -> Any:
        arguments = ["simulate", "--out", str(tmp_path / into), *options]
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return run


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, parse_dates=["timestamp"])


def wide(path: Path) -> pd.DataFrame:
    return read(path).pivot_table(index="timestamp", columns="series", values="value")


def test_counts_are_a_complete_grid_from_a_local_midnight(simulate: Simulate, tmp_path: Path) -> None:
    result = simulate(*SMALL, "--start", "2025-03-20")

    assert result.exit_code == 0, result.output
    frame = read(tmp_path / "out" / "counts.csv")
    assert list(frame.columns) == ["timestamp", "series", "value"]
    assert frame["timestamp"].min() == pd.Timestamp("2025-03-20", tz="Europe/Berlin")
    assert frame["timestamp"].max() == pd.Timestamp("2025-04-18 23:00", tz="Europe/Berlin")
    assert frame.groupby("series").size().tolist() == [30 * 24 - 1] * 4
    assert read_names(tmp_path / "out" / "traits.csv") == sorted(frame["series"].unique())
    assert (tmp_path / "out" / "truth.csv").read_text() == "series,kind,start,end,magnitude\n"


def read_names(path: Path) -> list[str]:
    return [str(name) for name in pd.read_csv(path)["series"]]


def test_the_same_seed_writes_the_same_files_and_another_other_ones(simulate: Simulate, tmp_path: Path) -> None:
    for into, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        assert simulate(*SMALL, "--incidents", "1", "--seed", seed, into=into).exit_code == 0

    files = {into: {p.name: p.read_bytes() for p in (tmp_path / into).iterdir()} for into in ("one", "two", "three")}
    assert files["one"] == files["two"]
    assert set(files["one"]) == {"counts.csv", "traits.csv", "truth.csv"}
    assert all(files["three"][name] != content for name, content in files["one"].items())


def test_the_truth_says_where_counts_differ_from_those_without_incidents(simulate: Simulate, tmp_path: Path) -> None:
    simulate(*SMALL, into="clean")
    result = simulate(*SMALL, "--incidents", "2.5", "--clean", "1w", into="broken")

    truth = pd.read_csv(tmp_path / "broken" / "truth.csv", parse_dates=["start", "end"])
    clean, broken = (wide(tmp_path / name / "counts.csv") for name in ("clean", "broken"))
    assert 5 < len(truth) <= 10
    assert truth["start"].min() >= clean.index[0] + pd.Timedelta("7D")
    for incident in truth.itertuples():
        inside = (clean.index >= incident.start) & (clean.index < incident.end)
        name = str(incident.series)
        assert (clean[name] != broken[name])[inside].any()
        broken[name] = broken[name].mask(inside, clean[name])
    assert (clean == broken).to_numpy().all()
    assert f"{len(truth)} incidents" in result.output
    assert all(kind in result.output for kind in truth["kind"])


def test_events_are_exactly_those_that_the_counts_count(simulate: Simulate, tmp_path: Path) -> None:
    options = (*SMALL, "--incidents", "4", "--clean", "0d", "--seed", "3")
    simulate(*options, into="counts")
    simulate(*options, "--events", into="events")

    events = read(tmp_path / "events" / "events.csv")
    truth = pd.read_csv(tmp_path / "events" / "truth.csv", parse_dates=["start", "end"])
    hours = events["timestamp"].dt.floor("h")
    counted = pd.crosstab(hours, events["variable"])
    counts = wide(tmp_path / "counts" / "counts.csv").astype(int)
    assert list(events.columns) == ["entity_id", "variable", "type", "value", "timestamp"]
    assert (counted.reindex(counts.index, fill_value=0).to_numpy() == counts.to_numpy()).all()
    assert {"duplicates", "type-missing"} <= set(truth["kind"])
    for incident in truth.itertuples():
        inside = (events["variable"] == incident.series) & (hours >= incident.start) & (hours < incident.end)
        if incident.kind == "duplicates":
            assert (events[inside].groupby(list(events.columns)).size() % 2 == 0).all()
        elif incident.kind == "type-missing":
            assert events.loc[inside, "entity_id"].str.startswith("person-").all()
        elif inside.sum() > 50:
            assert events.loc[inside, "entity_id"].str.startswith("company-").any()


def test_real_counts_are_padded_and_broken(simulate: Simulate, tmp_path: Path) -> None:
    simulate(*SMALL, into="real")
    frame = read(tmp_path / "real" / "counts.csv")
    frame[frame["value"] > 0].to_csv(tmp_path / "sparse.csv", index=False)

    result = simulate("--from", str(tmp_path / "sparse.csv"), "--incidents", "2", "--timezone", "Europe/Berlin")

    assert result.exit_code == 0, result.output
    truth = pd.read_csv(tmp_path / "out" / "truth.csv", parse_dates=["start", "end"])
    before, after = wide(tmp_path / "real" / "counts.csv"), wide(tmp_path / "out" / "counts.csv")
    before = before.loc[after.index[0] : after.index[-1]]
    assert after.shape == before.shape
    assert len(truth) >= 4
    assert (after != before).to_numpy().sum() > 0
    assert set((after != before).any()[lambda differs: differs].index) == set(truth["series"])
    assert not (tmp_path / "out" / "traits.csv").exists()


def test_a_file_of_one_series_goes_by_its_own_name_and_naive_times_are_utc(simulate: Simulate, tmp_path: Path) -> None:
    moments = pd.date_range("2025-01-01", periods=400, freq="30min")
    path = tmp_path / "orders.csv"
    pd.DataFrame({"timestamp": moments, "value": [20 + n % 7 for n in range(400)]}).to_csv(path, index=False)

    result = simulate("--from", str(path), "--incidents", "1")

    frame = read(tmp_path / "out" / "counts.csv")
    assert result.exit_code == 0, result.output
    assert set(frame["series"]) == {"orders"}
    assert list(frame["timestamp"]) == list(moments.tz_localize("UTC"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--timezone", "Mars"), "--timezone is 'Mars'; expected a zone's name"),
        (("--interval", "hourly"), "--interval is 'hourly'; expected a duration"),
        (("--interval", "2d"), "--interval is 2d; expected more than nothing and at most a day"),
        (("--clean", "x"), "--clean is 'x'"),
        (("--start", "tomorrow"), "--start is 'tomorrow'"),
        (("--rates", "5", "1"), "--rates are 5 and 1; expected 0 < lowest <= highest"),
        (("--events", "--rates", "5000", "9000"), "expected at most 20,000,000 with --events"),
        (("--variables", "100000", "--days", "3650"), "Choose fewer variables or days"),
    ],
)
def test_options_that_make_no_sense_are_refused(simulate: Simulate, options: tuple[str, ...], message: str) -> None:
    result = simulate(*options)

    assert result.exit_code == PERMANENT
    assert message in result.output


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("time,value\n", (), "has columns time, value; timestamp missing"),
        ("timestamp,value\n", (), "has no rows"),
        ("", (), "cannot be read"),
        ("timestamp,value\n2025-01-01T00:00:00Z,1\n", (), "a single moment"),
        ("timestamp,value\n2025-01-01T00:00:00Z,1\n2025-01-01T01:00:00Z,1.5\n", (), "row 3: value is '1.5'"),
        ("timestamp,value\n2025-01-01T00:00:00Z,-1\n", (), "row 2: value is '-1'; expected a whole number"),
        ("timestamp,value\n2025-01-01T00:00:00Z,\n", (), "row 2: value is ''"),
        ("timestamp,value\nnoon,1\n", (), "row 2: timestamp is 'noon'; expected an ISO 8601 moment"),
        ("timestamp,value\n1469376000,1\n", (), "a single moment"),
        ("timestamp,value\n2025-01-01,1\n2025-01-01,1\n", (), "row 3: timestamp is '2025-01-01'; expected each"),
        (
            "timestamp,value\n2025-01-01,1\n2025-01-01T02:30:00Z,1\n",
            ("--interval", "1h"),
            "expected the start of an interval",
        ),
        ("timestamp,value\n2025-01-01,1\n2025-02-01,1\n", (), "expected at most a day"),
        ("timestamp,value\n2025-01-01,1\n", ("--days", "3"), "--days with --from"),
    ],
)
def test_files_of_counts_that_cannot_be_used_are_refused(
    simulate: Simulate, tmp_path: Path, content: str, options: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "real.csv"
    path.write_text(content)

    result = simulate("--from", str(path), "--incidents", "1", *options)

    assert result.exit_code == PERMANENT
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_real_counts_that_nothing_is_to_happen_to_are_refused(simulate: Simulate, tmp_path: Path) -> None:
    result = simulate("--from", str(tmp_path / "missing.csv"))

    assert result.exit_code == PERMANENT
    assert "--from without --incidents would only copy" in result.output
