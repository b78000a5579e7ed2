"""The year of real flights against its real cancellations: every bad day found, and how few others told of.

In: hourly departures of all carriers and airports, 2013, and the flights cancelled per local day from
``shared/data/flights`` beside the checkout. The first 28 days are history.

* **found**: of the days on which at least 10 % of all flights were cancelled, those with an alarm of any variable.
* **false incidents** per week: alarms of all variables, merged over 12 hours, with at least three alarms each as a
  group's policy has it, none of them on a day on which that variable or all flights together had at least 5 %
  cancelled, nor within 12 hours after it.
* **average precision**: per variable with at least five flights a day, over local days; a day is positive when at
  least 10 % of the variable's flights were cancelled, its score the largest of its hours. Their mean. Two of the peers
  are scored the same way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from anomaly.groups import TimeRange
from tests.benchmarks.detection import peers
from tests.benchmarks.detection.data import GAP, HOUR, PER_DAY, flight_counts
from tests.benchmarks.detection.ours import ours
from tests.benchmarks.detection.reporting import Section
from tests.benchmarks.measuring import Figure

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

TRAIN_DAYS = 28
CANCELLED, SUSPICIOUS = 0.10, 0.05
LEAST_FLIGHTS = 5
LEAST_ALARMS = 3
ZONE = ZoneInfo("America/New_York")
TRUTH = "flights/nyc2013_cancelled_by_day.csv"


def labelled_data() -> Path:
    """The folder of labelled data: ``ANOMALY_BENCH_DATA``, or ``shared/data`` beside the checkout."""
    named = os.environ.get("ANOMALY_BENCH_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "data"


def flights_benchmark(seeds: Sequence[int]) -> Section:
    """Measured with the first seed: the year is the same for all."""
    path = labelled_data() / TRUTH
    if not path.exists():
        return Section("flights 2013", skipped=f"{path.name} is not in the folder of labelled data")
    within = TimeRange(datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2014, 1, 1, 5, tzinfo=UTC), HOUR)
    all_names, all_counts, _ = flight_counts(within)
    rows = [row for row, name in enumerate(all_names) if name.startswith(("dep_delay.", "dest."))]
    names, counts = [all_names[row] for row in rows], all_counts[rows]
    starts, train = within.starts(), TRAIN_DAYS * PER_DAY
    cancelled, scheduled = _cancelled(path, [*names, "*all*"])
    days = _local_days(starts)
    first_day = int(days[train])

    judged = ours(counts, starts, HOUR, ZONE, train, seeds[0])
    alarms = judged.kinds != ""
    alarms[:, :train] = False
    bad = np.flatnonzero(cancelled[-1] >= CANCELLED)
    bad = bad[bad >= first_day]
    found = np.array([alarms[:, days == day].any() for day in bad])
    incidents = _incidents(alarms)
    false = [span for span in incidents if not _explained(span, alarms, days, cancelled)]
    weeks = (len(starts) - train) / (7 * PER_DAY)

    large = [row for row in range(len(names)) if scheduled[row] >= LEAST_FLIGHTS]
    precision = {"ours": _average_precision(judged.scores, large, days, cancelled, first_day)}
    for peer in peers.PEERS[:2]:
        scores = peers.score(peer, counts, starts, HOUR, ZONE, train)
        precision[peer.name] = _average_precision(scores, large, days, cancelled, first_day)

    table = Table("figure", "value", title="Flights 2013, days of real cancellations")
    table.add_row(f"days with at least {CANCELLED:.0%} of all flights cancelled", f"{found.sum()} of {len(bad)} found")
    table.add_row("missed", ", ".join(str(_date(day)) for day in bad[~found].tolist()) or "none")
    table.add_row("incidents, and false ones", f"{len(incidents)}, {len(false)}")
    table.add_row("false incidents per week", f"{len(false) / weeks:.2f}")
    for name, value in precision.items():
        table.add_row(f"average precision, {name}, mean of {len(large)} variables", f"{value:.3f}")
    goals = [
        Figure("days found", float(found.mean()), 1, "at least", "", {}),
        Figure("average precision", precision["ours"], 0.85, "at least", "", {}),
        Figure("false incidents per week", len(false) / weeks, 1, "at most", "", {}),
    ]
    written = {
        "found": {str(_date(day)): bool(hit) for day, hit in zip(bad.tolist(), found, strict=True)},
        "incidents": len(incidents),
        "false": [str(_date(int(days[start]))) for start, _ in false],
        "average_precision": precision,
    }
    return Section("flights 2013", goals, [table], written)


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


def _date(day: int) -> np.datetime64:
    return np.datetime64("2013-01-01") + np.timedelta64(day, "D")


def _incidents(alarms: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last interval of each group incident with enough alarms."""
    at = np.flatnonzero(alarms.any(axis=0))
    breaks = np.flatnonzero(np.diff(at) > GAP) + 1
    spans = [(int(chain[0]), int(chain[-1])) for chain in np.split(at, breaks) if len(chain)]
    return [(start, end) for start, end in spans if alarms[:, start : end + 1].sum() >= LEAST_ALARMS]


def _explained(span: tuple[int, int], alarms: NDArray[np.bool_], days: NDArray[np.int64], cancelled: Floats) -> bool:
    """Whether one of the incident's alarms is on a day of cancellations, or in the 12 hours after it."""
    for row, at in zip(*np.nonzero(alarms[:, span[0] : span[1] + 1]), strict=True):
        near = days[[max(0, span[0] + at - GAP), span[0] + at]]
        if (np.maximum(cancelled[row, near], cancelled[-1, near]) >= SUSPICIOUS).any():
            return True
    return False


def _average_precision(
    scores: Floats, rows: Sequence[int], days: NDArray[np.int64], cancelled: Floats, first_day: int
) -> float:
    from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

    finite = np.where(np.isnan(scores), -1, np.minimum(scores, 1e300))
    each = []
    for row in rows:
        largest = np.array([finite[row, days == day].max() for day in range(first_day, 365)])
        positive = cancelled[row, first_day:] >= CANCELLED
        if positive.any():
            each.append(average_precision_score(positive, largest))
    return float(np.mean(each))
