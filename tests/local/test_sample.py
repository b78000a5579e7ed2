"""The sample: real flights and weather as events, each at the moment that its data implies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anomaly.local import sample
from tests.conftest import SHARED_DATA

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = SHARED_DATA / "flights" / "nyc2013_cancelled_by_day.csv"


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return sample.sample_events()


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """The package's own rows, with the day that each flight really left, in New York."""
    import pandas as pd

    rows = pd.read_csv(sample._data_folder() / "flights.csv.zip")
    rows["date"] = pd.to_datetime(rows[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    return rows


def test_each_day_has_the_scheduled_departures_less_the_cancelled_ones(
    events: pd.DataFrame, flights: pd.DataFrame
) -> None:
    import pandas as pd

    planned = _published() if PUBLISHED.exists() else _counted(flights)
    flown = (planned["scheduled"] - planned["cancelled"]).rename("flown")

    # Events are on the day of the actual departure; late ones left after midnight of the scheduled day.
    local = events["timestamp"].dt.tz_convert(sample.HOME_ZONE).dt.strftime("%Y-%m-%d")
    departures = events["variable"].str.match(r"dep_delay\.|dest\.")
    found = events[departures].groupby([local[departures].rename("date"), "variable"]).size()
    late = flights[(flights["dep_delay"] > 0) & (flights["dep_time"] % 2400 < flights["sched_dep_time"])]
    for variable in ("dep_delay." + late["carrier"], "dest." + late["origin"]):
        for day, name in zip(late["date"], variable, strict=True):
            following = (pd.Timestamp(day) + pd.Timedelta(days=1)).strftime("%Y-%m-%d")
            found[day, name] = found.get((day, name), 0) + 1
            found[following, name] -= 1
    found = found[found != 0]
    pd.testing.assert_series_equal(
        found.sort_index(), flown[flown != 0].sort_index(), check_names=False, check_dtype=False
    )


def _published() -> pd.DataFrame:
    import pandas as pd

    table = pd.read_csv(PUBLISHED)
    return table[table["variable"] != "*all*"].set_index(["date", "variable"])


def _counted(flights: pd.DataFrame) -> pd.DataFrame:
    """The same table from the package's rows."""
    import pandas as pd

    cancelled = flights["dep_time"].isna()
    parts = [
        pd.DataFrame({"date": flights["date"], "variable": variable, "scheduled": 1, "cancelled": cancelled})
        for variable in ("dep_delay." + flights["carrier"], "dest." + flights["origin"])
    ]
    return pd.concat(parts).groupby(["date", "variable"]).sum()


def test_departures_show_the_clock_that_the_data_has(flights: pd.DataFrame) -> None:
    flown = flights[flights["dep_delay"].notna()].reset_index(drop=True)
    wall = sample.departures(flown).dt.tz_convert(sample.HOME_ZONE)
    assert (wall.dt.hour * 100 + wall.dt.minute == flown["dep_time"] % 2400).all()


def test_arrivals_show_the_destinations_clock_after_a_plausible_time_on_the_ground(flights: pd.DataFrame) -> None:
    import pandas as pd

    landed = flights[flights["arr_delay"].notna()].reset_index(drop=True)
    zones = sample._zones(pd.read_csv(sample._data_folder() / "airports.csv"))
    departure = sample.departures(landed)
    arrival = sample.arrivals(landed, departure, zones)

    on_ground = (arrival - departure).dt.total_seconds() / 60 - landed["air_time"]
    assert on_ground.between(3, 240).all()
    for zone, rows in landed.groupby(landed["dest"].map(zones)):
        wall = arrival[rows.index].dt.tz_convert(str(zone))
        skipped = (rows["dest"] == "PBI") & rows["arr_time"].between(200, 259) & (wall.dt.strftime("%m-%d") == "03-10")
        clock = (rows["arr_time"] + 100 * skipped) % 2400  # one landed at 2:03 that night, which was 3:03
        assert (wall.dt.hour * 100 + wall.dt.minute == clock).all()


@pytest.mark.parametrize(
    ("departure", "air_time", "arr_time", "dest", "expected"),
    [
        ("2013-01-01T10:17Z", 227, 830, "IAH", "2013-01-01T14:30Z"),  # Central, an hour behind
        ("2013-01-01T17:00Z", 630, 1845, "HNL", "2013-01-02T04:45Z"),  # five hours behind, the next day in UTC
        ("2013-07-01T00:10Z", 195, 2400, "SJU", "2013-07-01T04:00Z"),  # midnight ends the day; no summer time there
        ("2013-11-03T04:30Z", 20, 110, "BOS", "2013-11-03T05:10Z"),  # 1:10 occurs twice; still summer time
        ("2013-11-03T05:00Z", 75, 130, "BOS", "2013-11-03T06:30Z"),  # the second 1:30
        ("2013-03-10T06:30Z", 60, 355, "BOS", "2013-03-10T07:55Z"),  # 2:00 to 3:00 does not occur …
        ("2013-03-10T04:06Z", 141, 203, "BOS", "2013-03-10T07:03Z"),  # … except on clocks that nobody put forward
    ],
)
def test_an_arrival_is_the_moment_nearest_to_the_expected_one(
    departure: str, air_time: float, arr_time: float, dest: str, expected: str
) -> None:
    import pandas as pd

    landed = pd.DataFrame({"air_time": [air_time], "arr_time": [arr_time], "dest": [dest]})
    zones = {"IAH": "America/Chicago", "HNL": "Pacific/Honolulu", "BOS": "America/New_York", **sample.MISSING_ZONES}
    found = sample.arrivals(landed, pd.Series([pd.Timestamp(departure)]), zones)
    assert found[0] == pd.Timestamp(expected)


def test_cancelled_flights_write_nothing_and_diverted_ones_no_arrival(
    events: pd.DataFrame, flights: pd.DataFrame
) -> None:
    kinds = events["variable"].str.split(".").str[0].value_counts()
    assert kinds["dep_delay"] == kinds["dest"] == flights["dep_delay"].notna().sum()
    assert kinds["arr_delay"] == flights["arr_delay"].notna().sum() < kinds["dep_delay"]


def test_readings_are_in_utc_because_the_coldest_hour_is_the_one_before_dawn(events: pd.DataFrame) -> None:
    readings = events[events["variable"] == "temp.JFK"]
    july = readings["timestamp"].dt.tz_convert(sample.HOME_ZONE)
    july = july[july.dt.month == 7]
    by_hour = readings.loc[july.index, "value"].astype(float).groupby(july.dt.hour).mean()
    assert by_hour.idxmin() in {4, 5, 6}
    assert by_hour.idxmax() in {12, 13, 14, 15, 16}


def test_rows_are_complete_in_order_and_of_known_types(events: pd.DataFrame) -> None:
    assert list(events.columns) == list(sample.COLUMNS)
    assert events["timestamp"].is_monotonic_increasing
    assert not events.isna().any().any()
    assert dict(events.groupby("type")["variable"].agg(lambda names: names.str.split(".").str[0].nunique())) == {
        "enum": 1,
        "numeric": 2 + len(sample.MEASURES),
    }
