"""Gauges on the Numenta Anomaly Benchmark: 29 series, one configuration, one threshold.

In: ``shared/data/nab`` beside the checkout. Constants of `anomaly.detection.gauges` were chosen on the series of even
place in the order of their names; the others are only tested.

Two figures are told apart. With **the best threshold** of the part that is scored, as on NAB's own board. With
**the system's own threshold**, which is what an alert channel would have seen: no label was used on the tested part.

NAB's windows cover a tenth of every labelled series, so that a flag costs little and flags at random are worth
something: the table has a detector that flags every 400th row whatever happens.

Where NAB's scorer lies in ``shared/tools``, it scores the same files, and both must agree.

    python -m tests.benchmarks.detection.nab_bench
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from anomaly.detection.gauges import ALERT_SCORE, score_gauge
from tests.benchmarks.detection.flights_bench import labelled_data
from tests.benchmarks.detection.nab import PROFILES, Labelled, best_threshold, nab_score
from tests.benchmarks.detection.reporting import Section, plain
from tests.benchmarks.measuring import Figure

Floats = NDArray[np.float64]

GOALS = {"standard": 72.0, "low FP": 66.0, "low FN": 77.0}
BLIND_ROWS = 400
AGREEMENT = 1e-4


def nab_benchmark(_seeds: Sequence[int] = ()) -> Section:
    """All series are real: seeds change nothing."""
    folder = labelled_data() / "nab"
    if not folder.exists():
        return Section("NAB", skipped="nab is not in the folder of labelled data")
    ours = _scored(folder)
    blind = {name: Labelled(_every(BLIND_ROWS, one.scores.size), one.windows) for name, one in ours.items()}
    names = sorted(ours)
    parts = {"tuned on": names[0::2], "only tested": names[1::2], "all": names}

    table = Table("part", "series", "windows", "detector", *(profile.name for profile in PROFILES), title="NAB")
    written: dict[str, object] = {}
    for part, members in parts.items():
        for detector, score in _figures([ours[name] for name in members], [blind[name] for name in members]).items():
            windows = sum(len(ours[name].windows) for name in members)
            table.add_row(part, str(len(members)), str(windows), detector, *(f"{value:.1f}" for value in score))
            written[f"{part}, {detector}"] = dict(zip(GOALS, score, strict=True))
    best = dict(zip(GOALS, _best([ours[name] for name in names]), strict=True))
    rows = sum(one.scores.size for one in ours.values())
    told = sum(int((one.scores >= ALERT_SCORE).sum()) for one in ours.values())
    written["alerts per 1,000 rows"] = 1000.0 * told / rows
    skipped = _disagreement(folder, ours, best)
    goals = [
        Figure(f"NAB {name}, all 29 series, best threshold", best[name], goal, "at least", "", {})
        for name, goal in GOALS.items()
    ]
    return Section("NAB", goals, [table], written, skipped)


def _figures(ours: Sequence[Labelled], blind: Sequence[Labelled]) -> dict[str, tuple[float, ...]]:
    return {
        "ours, best threshold": _best(ours),
        "ours, own threshold": tuple(nab_score(ours, profile, ALERT_SCORE) for profile in PROFILES),
        f"every {BLIND_ROWS}th row": tuple(nab_score(blind, profile, 0.5) for profile in PROFILES),
    }


def _best(series: Sequence[Labelled]) -> tuple[float, ...]:
    return tuple(best_threshold(series, profile)[0] for profile in PROFILES)


def _scored(folder: Path) -> dict[str, Labelled]:
    import pandas as pd

    labels: Mapping[str, list[list[str]]] = json.loads((folder / "combined_windows.json").read_text(encoding="utf-8"))
    scored = {}
    for name, spans in labels.items():
        data = pd.read_csv(folder / "data" / name, parse_dates=["timestamp"])
        moments = data["timestamp"].to_numpy().astype("datetime64[s]")
        rows = [np.flatnonzero(moments == np.datetime64(moment, "s"))[0] for span in spans for moment in span]
        scores = score_gauge(data["value"].to_numpy(np.float64), step=_step(moments)).anomaly_score
        scored[name] = Labelled(scores, tuple(zip(map(int, rows[0::2]), map(int, rows[1::2]), strict=True)))
    return scored


def _step(moments: NDArray[np.datetime64]) -> timedelta:
    """The usual time between the first rows: known before any row is scored."""
    return timedelta(seconds=int(np.median(np.diff(moments[:50]).astype(np.int64))))


def _every(rows: int, size: int) -> Floats:
    flags = np.zeros(size)
    flags[rows // 2 :: rows] = 1.0
    return flags


def _disagreement(folder: Path, ours: Mapping[str, Labelled], best: Mapping[str, float]) -> str:
    """Why our figures were not checked by NAB's own arithmetic; raises when they differ."""
    scorer = folder.parents[1] / "tools" / "score_nab.py"
    if not scorer.exists():
        return "the comparison with NAB's scorer: it is not beside the folder of labelled data"
    with tempfile.TemporaryDirectory() as place:
        for name, one in ours.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, one.scores, header="anomaly_score", comments="", fmt="%.17g")
        out = Path(place) / "scores.json"
        subprocess.run([sys.executable, scorer, place, "--json", out], check=True, capture_output=True)
        theirs = json.loads(out.read_text(encoding="utf-8"))["scores"].values()
    if not np.allclose(list(theirs), list(best.values()), atol=AGREEMENT, rtol=0.0):
        raise RuntimeError(f"NAB's scorer says {list(theirs)} and ours {list(best.values())}; they must be the same")
    return ""


def main() -> None:
    section = nab_benchmark()
    console = Console(width=130)
    for table in section.tables:
        console.print(table)
    console.print(section.skipped or json.dumps(plain(section.written)))


if __name__ == "__main__":
    main()
