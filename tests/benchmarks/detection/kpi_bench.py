"""A server's load with labelled anomalies: best F1 as Donut's authors count it, and incident by incident.

In: ``shared/data/kpi/cpu4.csv`` beside the checkout, one series of the AIOps challenge. The constants of
`anomaly.detection.gauges` were chosen on NAB; here only the choice of our own forecast was also looked at.

**Adjusted F1** counts every row of a labelled segment as found when any of it is flagged, and each flagged row outside
as false. It favours detectors that flag long segments somewhere: half of the labelled rows lie in two segments.
**Event-wise F1** counts each labelled segment once and each run of flagged rows outside of them once. Both at the best
threshold, and at the system's own.

Source of the adjustment: H. Xu et al., "Unsupervised Anomaly Detection via Variational Auto-Encoder for Seasonal KPIs
in Web Applications", WWW 2018 (Donut), section 4.2.

    python -m tests.benchmarks.detection.kpi_bench
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from anomaly.detection.gauges import ALERT_SCORE, score_gauge
from tests.benchmarks.detection.flights_bench import labelled_data
from tests.benchmarks.detection.reporting import Section, plain
from tests.benchmarks.measuring import Figure

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

GOAL = 0.90


def kpi_benchmark(_seeds: Sequence[int] = ()) -> Section:
    """The series is real: seeds change nothing."""
    import pandas as pd

    path = labelled_data() / "kpi" / "cpu4.csv"
    if not path.exists():
        return Section("KPI", skipped=f"{path.name} is not in the folder of labelled data")
    data = pd.read_csv(path)
    step = timedelta(seconds=int(np.median(np.diff(data["timestamp"].to_numpy()[:50]))))
    labels = data["label"].to_numpy() > 0
    scores = score_gauge(data["value"].to_numpy(np.float64), step=step).anomaly_score

    table = Table("F1", "threshold", "F1 measured", "precision", "recall", title=f"KPI {path.stem}")
    written = {}
    measures: dict[str, Callable[[Mask, Mask], tuple[float, float]]] = {
        "adjusted": adjusted,
        "event-wise": event_wise,
    }
    for name, measure in measures.items():
        best = max(np.unique(scores[scores > 0]).tolist(), key=lambda at: _f1(*measure(scores >= at, labels)))
        for which, threshold in (("best", best), ("own", ALERT_SCORE)):
            precision, recall = measure(scores >= threshold, labels)
            f1 = _f1(precision, recall)
            table.add_row(name, f"{which}, {threshold:.3f}", f"{f1:.3f}", f"{precision:.3f}", f"{recall:.3f}")
            written[f"{name}, {which} threshold"] = {"f1": f1, "precision": precision, "recall": recall}
    goal = Figure(
        "KPI cpu4, best F1 with Donut's adjustment",
        written["adjusted, best threshold"]["f1"],
        GOAL,
        "at least",
        "",
        {"event-wise": written["event-wise, best threshold"]["f1"]},
    )
    return Section("KPI", [goal], [table], written)


def segments(mask: Mask) -> list[tuple[int, int]]:
    """First row and first row after each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True))


def adjusted(flagged: Mask, labels: Mask) -> tuple[float, float]:
    """Precision and recall over rows, with a labelled segment found as a whole or not at all."""
    found = flagged.copy()
    for first, end in segments(labels):
        found[first:end] = flagged[first:end].any()
    true = int((found & labels).sum())
    return _share(true, int(found.sum())), _share(true, int(labels.sum()))


def event_wise(flagged: Mask, labels: Mask) -> tuple[float, float]:
    """Precision and recall over labelled segments and runs of flagged rows outside of them."""
    labelled = segments(labels)
    hit = sum(bool(flagged[first:end].any()) for first, end in labelled)
    return _share(hit, hit + len(segments(flagged & ~labels))), _share(hit, len(labelled))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def main() -> None:
    section = kpi_benchmark()
    console = Console(width=130)
    for table in section.tables:
        console.print(table)
    console.print(section.skipped or json.dumps(plain(section.written)))


if __name__ == "__main__":
    main()
