"""What the detectors are measured on: simulated and real counts, clean and with injected incidents.

In: a seed. Out: a `Workload`: 120 days of hours, of which the first 60 are for training and are clean; the incidents
lie in the other 60, 3 per variable on average.

**Simulated**: 200 variables of all families, 0.2 to 100,000 events per hour, from `anomaly.simulation`. The range
holds the beginning of summer time. Another seed means other variables, counts and incidents.

**Flights**: 52 real series, made of the same rows by the same functions as the sample source: departures and arrivals
of each of the 16 carriers, departures of each of the 3 airports, and departures of the 17 busiest pairs of airport
and carrier. Another seed means other incidents in the same counts. Real cancellations are real incidents without a
label, so local days on which at least 5 % of all flights were cancelled are not judged, nor the 12 hours after them;
injected incidents that touch such a time are taken back. What is left is not quite clean: fog that delays a morning,
and a small carrier's single cancelled flight, count as false incidents for every detector alike.

Constants are tuned on the tuning workloads only, and figures are reported from the reporting ones. For flights these
are different halves of the year.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.groups import TimeRange
from anomaly.simulation.incidents import Injected
from anomaly.simulation.variables import Simulated

if TYPE_CHECKING:
    import pandas as pd

TUNING_SEED = 1
REPORTING_SEEDS = (101, 102, 103)
HOUR = timedelta(hours=1)
PER_DAY = 24
GAP = 12
"""Intervals. Alarms at most this far apart are one incident, as a group's policy has it by default."""
DAYS, TRAIN_DAYS = 120, 60
TRAIN = TRAIN_DAYS * PER_DAY
INCIDENTS_PER_VARIABLE = 3
VARIABLES = 200
FLIGHT_SERIES = 52
CANCELLED_SHARE = 0.05
REGULAR_FAMILIES = ("poisson", "negative-binomial", "scheduled")

_SIMULATED_ZONE = ZoneInfo("Europe/Berlin")
_SIMULATED_START = datetime(2026, 1, 5, tzinfo=UTC)
_REPORTED_FLIGHTS = datetime(2013, 2, 18, 5, tzinfo=UTC)
"""After the blizzard of 8 and 9 February. Midnight in New York."""
_TUNING_FLIGHTS = datetime(2013, 8, 1, 4, tzinfo=UTC)

Source = Literal["simulated", "flights"]
SOURCES: tuple[Source, ...] = ("simulated", "flights")


@dataclass(frozen=True, slots=True)
class Workload:
    """Counts of V variables in N intervals, clean and with incidents, and everything known about them."""

    source: Source
    seed: int
    names: tuple[str, ...]
    clean: NDArray[np.int64]
    """(V, N)"""
    injected: NDArray[np.int64]
    """(V, N), the same with incidents at and after `train`."""
    truth: tuple[Injected, ...]
    starts: NDArray[np.datetime64]
    """(N,) datetime64[s], UTC."""
    step: timedelta
    zone: ZoneInfo
    train: int
    """Intervals of history before the first that is judged."""
    judged: NDArray[np.bool_]
    """(V, N)"""
    regular: NDArray[np.bool_]
    """(V,) whether the variable is neither sparse nor bursty by design; real series all count as regular."""
    simulated: Simulated | None
    """What an oracle knows."""

    @property
    def rates(self) -> NDArray[np.float64]:
        """(V,) mean events per hour of the clean counts."""
        rates: NDArray[np.float64] = self.clean.mean(axis=1) / (self.step / HOUR)
        return rates

    def counts(self, form: Literal["clean", "injected"]) -> NDArray[np.int64]:
        return self.clean if form == "clean" else self.injected


def workload(source: Source, seed: int) -> Workload:
    """The workload of a seed; `TUNING_SEED` gives those that constants may be tuned on."""
    return simulated_workload(seed) if source == "simulated" else flights_workload(seed)


@lru_cache(maxsize=8)
def simulated_workload(seed: int, variables: int = VARIABLES) -> Workload:
    from anomaly.simulation.incidents import inject
    from anomaly.simulation.variables import draw_traits, simulate

    within = TimeRange(_SIMULATED_START, _SIMULATED_START + timedelta(days=DAYS), HOUR)
    drawn = simulate(draw_traits(variables, seed=seed), within, zone=_SIMULATED_ZONE, seed=seed)
    injected, truth = inject(
        drawn.counts,
        drawn.starts,
        step=HOUR,
        zone=drawn.zone,
        seed=seed,
        per_variable=INCIDENTS_PER_VARIABLE,
        begin=TRAIN,
        expected=drawn.expected,
        names=drawn.names,
    )
    judged = np.zeros(injected.shape, dtype=bool)
    judged[:, TRAIN:] = True
    regular = np.array([one.family in REGULAR_FAMILIES for one in drawn.traits])
    return Workload(
        source="simulated",
        seed=seed,
        names=drawn.names,
        clean=drawn.counts,
        injected=injected,
        truth=truth,
        starts=drawn.starts,
        step=HOUR,
        zone=drawn.zone,
        train=TRAIN,
        judged=judged,
        regular=regular,
        simulated=drawn,
    )


@lru_cache(maxsize=8)
def flights_workload(seed: int) -> Workload:
    from anomaly.local.sample import HOME_ZONE
    from anomaly.simulation.incidents import inject

    begin = _TUNING_FLIGHTS if seed == TUNING_SEED else _REPORTED_FLIGHTS
    within = TimeRange(begin, begin + timedelta(days=DAYS), HOUR)
    starts, zone = within.starts(), ZoneInfo(HOME_ZONE)
    names, counts, _ = flight_counts(within)
    usual = usual_intervals(starts, zone)
    usual[:TRAIN] = False
    drawn, incidents = inject(
        counts,
        starts,
        step=HOUR,
        zone=zone,
        seed=seed,
        per_variable=INCIDENTS_PER_VARIABLE,
        begin=TRAIN,
        names=names,
    )
    truth = tuple(one for one in incidents if usual[one.start : one.end].all())
    injected = counts.copy()
    for one in truth:
        injected[one.row, one.start : one.end] = drawn[one.row, one.start : one.end]
    return Workload(
        source="flights",
        seed=seed,
        names=names,
        clean=counts,
        injected=injected,
        truth=truth,
        starts=starts,
        step=HOUR,
        zone=zone,
        train=TRAIN,
        judged=np.broadcast_to(usual, counts.shape).copy(),
        regular=np.ones(len(counts), dtype=bool),
        simulated=None,
    )


def flight_counts(within: TimeRange) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.bool_]]:
    """Hourly counts of the 52 series: names, (V, N), and (V,) whether a series is the departures of one carrier."""
    writes = _flight_writes()
    names = tuple(writes)
    edges = np.append(within.starts(), np.datetime64(within.end.replace(tzinfo=None), "s"))
    counts = np.array([np.diff(np.searchsorted(writes[name], edges)) for name in names], dtype=np.int64)
    return names, counts, np.array([name.startswith("dep_delay.") for name in names])


@lru_cache(maxsize=1)
def _flight_writes() -> dict[str, NDArray[np.datetime64]]:
    """The sorted moments at which each of the 52 series is written, UTC."""
    import pandas as pd

    from anomaly.local import sample

    folder = sample._data_folder()
    flights = pd.read_csv(folder / "flights.csv.zip")
    airports = pd.read_csv(folder / "airports.csv")
    flown = flights[flights["dep_delay"].notna()].reset_index(drop=True)
    departure = sample.departures(flown)
    landed = flown["arr_delay"].notna()
    arrived = flown[landed].reset_index(drop=True)
    arrival = sample.arrivals(arrived, departure[landed].reset_index(drop=True), sample._zones(airports))
    pairs = flown["origin"] + "." + flown["carrier"]
    columns = [
        ("dep_delay." + flown["carrier"], departure),
        ("arr_delay." + arrived["carrier"], arrival),
        ("dest." + flown["origin"], departure),
    ]
    series = {name: moments for by, at in columns for name, moments in _moments(by, at)}
    busiest = pairs.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    kept = busiest.index[: FLIGHT_SERIES - len(series)]
    chosen = pairs.isin(kept)
    return series | dict(_moments("departures." + pairs[chosen], departure[chosen]))


def _moments(by: pd.Series[str], at: pd.Series[pd.Timestamp]) -> list[tuple[str, NDArray[np.datetime64]]]:
    moments = at.dt.tz_localize(None).astype("datetime64[s]")
    return [(str(name), np.sort(group.to_numpy())) for name, group in moments.groupby(by)]


def usual_intervals(starts: NDArray[np.datetime64], zone: ZoneInfo) -> NDArray[np.bool_]:
    """(N,) False on local days with at least 5 % of all flights cancelled, and in the 12 hours after them."""
    import pandas as pd

    local = pd.DatetimeIndex(starts).tz_localize("UTC").tz_convert(str(zone)).normalize().tz_localize(None)
    cancelled = np.asarray(local.isin(_days_of_cancellations()))
    reach = np.convolve(cancelled, np.ones(GAP + 1))[: len(cancelled)] > 0
    usual: NDArray[np.bool_] = ~reach
    return usual


@lru_cache(maxsize=1)
def _days_of_cancellations() -> pd.DatetimeIndex:
    """Local midnights."""
    import pandas as pd

    from anomaly.local import sample

    flights = pd.read_csv(sample._data_folder() / "flights.csv.zip", usecols=["year", "month", "day", "dep_time"])
    day = pd.to_datetime(flights[["year", "month", "day"]])
    share = flights["dep_time"].isna().groupby(day).mean()
    return pd.DatetimeIndex(share.index[share >= CANCELLED_SHARE])
