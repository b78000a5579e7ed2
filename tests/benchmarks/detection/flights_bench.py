"""The year of real flights against its real cancellations: every bad day found, and how few others told of.

In: the sample's two groups of flights of 2013, as their files have them (`carriers`: departures and arrivals of each
airline by the hour; `airports`: departures of each airport by the half hour; each with its total and the holidays of
the country), and the flights cancelled per local day from ``shared/data/flights`` beside the checkout. The first 28
days are history; fits are weekly.

* **found**: of the days on which at least 10 % of all flights were cancelled, those that an incident touches, the
  incidents made as alert makes them, with the groups' policy.
* **false incidents** per group and week: incidents that touch no day on which at least 5 % of all flights were
  cancelled, nor the 12 hours after it.
* **average precision of the group's days**: a day is positive where at least 10 % of all flights were cancelled; its
  score is how far the sum of `carriers` stays below its outlook, in the transform, between two midnights.
* **average precision of each carrier's days**: the same of each carrier's departures, positive where at least 10 % of
  its own were cancelled; the mean over the carriers with at least five flights a day. Two peers are scored alike, by
  the largest score of the day's hours. The ceiling is what a detector would have that knew the timetable.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from anomaly.detection import calendars
from anomaly.detection.incidents import Anomaly, Incident, gather
from anomaly.detection.learning import Practice, Watched, watch
from anomaly.groups import TimeRange
from anomaly.groups.model import TOTAL, Incidents
from tests.benchmarks.detection import peers
from tests.benchmarks.detection.data import HOUR, PER_DAY, flight_counts
from tests.benchmarks.detection.ours import CANDIDATES
from tests.benchmarks.detection.reporting import Section
from tests.benchmarks.measuring import Figure

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

TRAIN_DAYS = 28
CANCELLED, SUSPICIOUS = 0.10, 0.05
AFTER = timedelta(hours=12)
LEAST_FLIGHTS = 5
ZONE = ZoneInfo("America/New_York")
COUNTRY = "US"
TRUTH = "flights/nyc2013_cancelled_by_day.csv"
YEAR = datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2014, 1, 1, 5, tzinfo=UTC)
REFIT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Judged:
    """A group over the year."""

    group: str
    names: tuple[str, ...]
    counts: Floats
    within: TimeRange
    watched: Watched
    incidents: tuple[Incident, ...]

    @property
    def daily(self) -> Floats:
        """(V, 365) how far each local day's sum stays below its outlook, in Anscombe's transform."""
        w, starts = self.watched, self.within.starts()
        special = calendars.special(starts, ZONE, COUNTRY)
        felt = np.where(special, np.maximum(self.counts - w.predicted + w.outlook, 0), self.counts)
        known = np.isfinite(w.outlook) & np.isfinite(felt)
        sums = np.zeros((2, len(self.counts), 365))
        days = _local_days(starts)
        for at, values in enumerate((felt, w.outlook)):
            np.add.at(sums[at].T, days, np.where(known, values, 0.0).T)
        return np.asarray(2 * np.sqrt(sums[1] + 3 / 8) - 2 * np.sqrt(sums[0] + 3 / 8))


def labelled_data() -> Path:
    named = os.environ.get("ANOMALY_BENCH_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "data"


def judge(group: str, prefixes: tuple[str, ...], step: timedelta, seed: int) -> Judged:
    """Watches the year as the group's DAGs would, and gathers the incidents as alert would."""
    within = TimeRange(*YEAR, step)
    all_names, all_counts, _ = flight_counts(within)
    rows = [row for row, name in enumerate(all_names) if name.startswith(prefixes) and "/" not in name]
    names = (*(all_names[row] for row in rows), TOTAL)
    counts = all_counts[rows].astype(np.float64)
    counts = np.vstack([counts, counts.sum(axis=0)])
    practice = Practice(step=step, zone=ZONE, holidays=COUNTRY, refit=REFIT, candidates=CANDIDATES)
    first = TRAIN_DAYS * timedelta(days=1) // step
    seeds = [seed + row for row in range(len(names))]
    watched = watch(counts, within.starts(), practice, first=first, seeds=seeds, names=names)
    policy = Incidents()
    incidents = gather(
        group,
        _anomalies(names, counts, watched, within),
        step=step,
        merge_gap=policy.merge_gap,
        min_anomalies=policy.min_anomalies,
        until=within.end,
        min_duration=policy.min_duration,
        repeat_window=policy.repeat_window,
    )
    return Judged(group, names, counts, within, watched, incidents)


def _anomalies(names: Sequence[str], counts: Floats, watched: Watched, within: TimeRange) -> list[Anomaly]:
    return [
        Anomaly(
            variable=names[row],
            start=within.start + int(at) * within.step,
            kind=str(watched.kinds[row, at]),
            observed=float(counts[row, at]),
            predicted=float(watched.predicted[row, at]),
            residual=float(watched.residuals[row, at]),
            tail_probability=float(watched.tail_probabilities[row, at]),
            allowed=float(watched.allowed[row, at]),
            test=str(watched.tests[row, at]),
        )
        for row, at in zip(*np.nonzero(watched.kinds != ""), strict=True)
    ]


def flights_benchmark(seeds: Sequence[int]) -> Section:
    """Measured with the first seed: the year is the same for all."""
    path = labelled_data() / TRUTH
    if not path.exists():
        return Section("flights 2013", skipped=f"{path.name} is not in the folder of labelled data")
    groups = [
        judge("carriers", ("dep_delay.", "arr_delay."), HOUR, seeds[0]),
        judge("airports", ("dest.",), HOUR / 2, seeds[0]),
    ]
    carriers = groups[0]
    cancelled, scheduled = _cancelled(path, [*carriers.names[:-1], "*all*"])
    first_day = TRAIN_DAYS
    bad = [day for day in np.flatnonzero(cancelled[-1] >= CANCELLED).tolist() if day >= first_day]
    touched = {group.group: _touched(group) for group in groups}
    found = {day: [name for name, days in touched.items() if day in days] for day in bad}
    false = {group.group: [one for one in group.incidents if not _explained(one, cancelled[-1])] for group in groups}
    weeks = (365 - TRAIN_DAYS) / 7

    daily = carriers.daily
    large = [
        row
        for row, name in enumerate(carriers.names[:-1])
        if name.startswith("dep_delay.") and scheduled[row] >= LEAST_FLIGHTS
    ]
    of_group = _precision(daily[-1], cancelled[-1], first_day)
    of_carriers = float(np.mean([_precision(daily[row], cancelled[row], first_day) for row in large]))
    others = {}
    hours = TRAIN_DAYS * PER_DAY
    days = _local_days(carriers.within.starts())
    for peer in peers.PEERS[:2]:
        scores = peers.score(peer, carriers.counts.astype(np.int64), carriers.within.starts(), HOUR, ZONE, hours)
        largest = np.stack([np.nan_to_num(scores[:, days == day], nan=-1).max(axis=1) for day in range(365)], axis=1)
        others[peer.name] = (
            _precision(largest[-1], cancelled[-1], first_day),
            float(np.mean([_precision(largest[row], cancelled[row], first_day) for row in large])),
        )

    table = Table("figure", "value", title="Flights 2013, days of real cancellations")
    hit = sum(bool(names) for names in found.values())
    table.add_row(f"days with at least {CANCELLED:.0%} of all flights cancelled", f"{hit} of {len(bad)} found")
    table.add_row("missed", ", ".join(_date(day) for day, names in found.items() if not names) or "none")
    for group in groups:
        number = len(false[group.group])
        table.add_row(
            f"incidents of {group.group}, and false ones",
            f"{len(group.incidents)}, {number}: {number / weeks:.2f} a week",
        )
    table.add_row("average precision of the group's days", f"{of_group:.3f}")
    table.add_row(f"average precision of each carrier's days, mean of {len(large)}", f"{of_carriers:.3f}")
    for name, (group_days, carrier_days) in others.items():
        table.add_row(f"the two, {name}", f"{group_days:.3f}, {carrier_days:.3f}")
    goals = [
        Figure("days found", hit / len(bad), 1, "at least", "", {}),
        Figure("average precision, the group's days", of_group, 0.85, "at least", "", {}),
        Figure("average precision, each carrier's days", of_carriers, 0.85, "at least", "", {}),
        *(
            Figure(f"false incidents a week, {name}", len(ones) / weeks, 1, "at most", "", {})
            for name, ones in false.items()
        ),
    ]
    written = {
        "found": {_date(day): names for day, names in found.items()},
        "incidents": {
            group.group: [_told(one, cancelled[-1], one in false[group.group]) for one in group.incidents]
            for group in groups
        },
        "average_precision": {"group": of_group, "carriers": of_carriers, "peers": others},
    }
    return Section("flights 2013", goals, [table], written)


def _told(incident: Incident, cancelled: Floats, false: bool) -> dict[str, object]:  # noqa: FBT001
    return {
        "start": incident.start.astimezone(ZONE).isoformat(),
        "end": incident.end.astimezone(ZONE).isoformat(),
        "kind": incident.kind,
        "severity": incident.severity,
        "variables": [part.variable for part in incident.variables][:4],
        "of": len(incident.variables),
        "cancelled": [round(float(cancelled[day]), 3) for day in _days_of(incident.start, incident.end)],
        "false": false,
    }


def _days_of(start: datetime, end: datetime) -> list[int]:
    """Days of the year that the time touches, local."""
    first, last = (moment.astimezone(ZONE).timetuple().tm_yday - 1 for moment in (start, end - timedelta(seconds=1)))
    return list(range(first, min(last, 364) + 1)) if last >= first else [first]


def _touched(group: Judged) -> set[int]:
    return {day for one in group.incidents for day in _days_of(one.start, one.end)}


def _explained(incident: Incident, cancelled: Floats) -> bool:
    return bool((cancelled[_days_of(incident.start - AFTER, incident.end)] >= SUSPICIOUS).any())


def _precision(scores: Floats, cancelled: Floats, first_day: int) -> float:
    from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

    return float(average_precision_score(cancelled[first_day:] >= CANCELLED, scores[first_day:]))


def _cancelled(path: Path, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Share cancelled per variable and day of the year, (V, 365), 0 where nothing was scheduled; flights per day."""
    import pandas as pd

    told = pd.read_csv(path)
    day = pd.to_datetime(told["date"]).dt.dayofyear - 1
    told = told.assign(day=day)
    shares, scheduled = np.zeros((len(names), 365)), np.zeros(len(names))
    for row, name in enumerate(names):
        own: pd.DataFrame = told[told["variable"] == name]
        shares[row, own["day"].to_numpy()] = (own["cancelled"] / own["scheduled"].clip(lower=1)).to_numpy()
        scheduled[row] = own["scheduled"].sum() / 365
    return shares, scheduled


def _local_days(starts: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """(N,) day of the year, local, from 0."""
    import pandas as pd

    local = pd.DatetimeIndex(starts).tz_localize("UTC").tz_convert(str(ZONE))
    return local.dayofyear.to_numpy().astype(np.int64) - 1


def _date(day: int) -> str:
    return str(np.datetime64("2013-01-01") + np.timedelta64(day, "D"))
