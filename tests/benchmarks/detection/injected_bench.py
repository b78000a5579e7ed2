"""Who finds injected incidents, and at what price in false ones? Ours, the oracle and the peers, on the same counts.

One table per slice of the variables, because a sparse or bursty variable hides what a regular one shows. Every
detector's threshold is swept over the same measure, so that nobody's default is held against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from anomaly.simulation.incidents import KINDS
from tests.benchmarks.detection import peers, plots
from tests.benchmarks.detection.data import GAP, PER_DAY, Source, Workload, workload
from tests.benchmarks.detection.measures import Curve, Point, average_precision, curve, point
from tests.benchmarks.detection.peers.oracle import SUMS, oracle_scores
from tests.benchmarks.detection.reporting import Section, mean, spread
from tests.benchmarks.detection.verdicts_of_ours import judged
from tests.benchmarks.measuring import Figure

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

LIMITS = (5, 20)
"""False incidents per 1,000 variable-days at which aims are set."""
LEVELS = (1, 2, 5, 10, 20, 50)
"""At which ours is compared with the peers."""
EASY_KINDS = ("zero", "frozen", "delay")
SUBSET_SEED = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of a workload's variables, and what is aimed at there."""

    name: str
    source: Source
    chosen: Callable[[Workload], NDArray[np.bool_]]
    aims: tuple[float, float]
    """Recall at the two limits."""
    easy: float | None = None
    """Recall of each easy kind at the higher limit."""
    delay: float | None = None
    """Median, intervals."""


SLICES = (
    Slice(
        "simulated, regular, at least 10 per hour",
        "simulated",
        lambda load: load.regular & (load.rates >= 10),
        (0.80, 0.90),
        easy=0.98,
        delay=1,
    ),
    Slice("flights, at least 1 per hour", "flights", lambda load: load.rates >= 1, (0.70, 0.88)),
    Slice("simulated, all", "simulated", lambda load: np.ones(len(load.clean), dtype=bool), (0.50, 0.60)),
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One detector on one slice of one workload."""

    curve: Curve
    points: Mapping[int, Point]
    """By limit."""
    average_precision: float

    def recall_at(self, level: float) -> float:
        found = self.curve.best >= self.curve.threshold_at(level)
        return float(found.mean()) if len(found) else math.nan


def evaluate(scores: Floats, load: Workload, rows: Rows) -> Evaluation:
    """Scores (V, N) of the whole workload, measured on the variables `rows`."""
    place = {int(row): at for at, row in enumerate(rows)}
    truth = [replace(one, row=place[one.row]) for one in load.truth if one.row in place]
    own, counted = scores[rows], load.judged[rows]
    swept = curve(own, truth, counted, gap=GAP, per_day=PER_DAY)
    points = {limit: point(swept, own, truth, counted, swept.threshold_at(limit)) for limit in LIMITS}
    return Evaluation(swept, points, average_precision(own, truth, counted, gap=GAP, per_day=PER_DAY))


def injected_benchmark(seeds: Sequence[int]) -> Section:
    """Ours and the oracle: recall, per kind, and delay."""
    goals, tables, written = [], [], {}
    for part in SLICES:
        of_seeds = {name: _of_seeds(name, part, seeds) for name in ("ours", "oracle")}
        detectors = {name: found for name, found in of_seeds.items() if found}
        tables += [_overview(f"{part.name} ({_incidents(detectors['ours'])} injected)", detectors), _kinds(detectors)]
        written[part.name] = {name: _summary(found) for name, found in detectors.items()}
        goals += _goals(part, detectors["ours"])
        plots.recall_curves({name: [one.curve for one in found] for name, found in detectors.items()}, part.name)
    return Section("injected incidents", goals, tables, written)


def peers_benchmark(seeds: Sequence[int]) -> Section:
    """Ours beside every peer that can run here."""
    return _compared("peers", peers.PEERS, seeds)


def prophet_benchmark(seeds: Sequence[int]) -> Section:
    """Ours beside the slow peers, both on the same random subset of the series, and with the first seed only."""
    return _compared("prophet", peers.SLOW_PEERS, seeds[:1])


def _compared(title: str, others: Sequence[peers.Peer], seeds: Sequence[int]) -> Section:
    goals, tables, written, reasons = [], [], {}, {}
    most = max(other.most for other in others)
    for part in SLICES:
        detectors = {name: _of_seeds(name, part, seeds, most=most) for name in ("ours", "oracle")}
        for other in others:
            try:
                detectors[other.name] = _of_seeds(other.name, part, seeds, other, most=most)
            except peers.PeerMissingError as error:
                reasons[other.name] = str(error)
        measured = {name: found for name, found in detectors.items() if found}
        subset = f", {most} series drawn at random" if most else ""
        tables.append(_overview(part.name + subset, measured))
        written[part.name] = {name: _summary(found) for name, found in measured.items()}
        ahead, closest = _lead_over_peers(measured)
        goals.append(Figure(f"{part.name}: ahead of {closest} by", ahead, 0, "at least", "recall", {"most": most}))
        plots.recall_curves(
            {name: [one.curve for one in found] for name, found in measured.items()}, f"{part.name}, {title}"
        )
    skipped = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return Section(title, goals, tables, written, skipped)


def _of_seeds(
    name: str, part: Slice, seeds: Sequence[int], peer: peers.Peer | None = None, *, most: int = 0
) -> list[Evaluation]:
    """One evaluation per seed; none where the oracle knows nothing."""
    loads = [workload(part.source, seed) for seed in seeds]
    if name == "oracle" and loads[0].simulated is None:
        return []
    return [evaluate(_scores(name, load, peer, most=most), load, _rows(part, load, most=most)) for load in loads]


def _rows(part: Slice, load: Workload, *, most: int) -> Rows:
    rows = np.flatnonzero(part.chosen(load))
    if not most:
        return rows
    drawn = _subset(load, most)
    return np.intersect1d(rows, drawn)


def _subset(load: Workload, most: int) -> Rows:
    rows = np.random.default_rng(SUBSET_SEED).choice(len(load.clean), size=min(most, len(load.clean)), replace=False)
    return np.sort(rows)


def _scores(name: str, load: Workload, peer: peers.Peer | None, *, most: int) -> Floats:
    if peer is not None:
        return _peer_scores(peer, load.source, load.seed, most)
    if name == "oracle":
        assert load.simulated is not None
        return _oracle(load.seed)
    return judged(load.source, load.seed, "injected").scores


@lru_cache(maxsize=4)
def _oracle(seed: int) -> Floats:
    load = workload("simulated", seed)
    assert load.simulated is not None
    return oracle_scores(load.simulated, load.injected, first=load.train - max(SUMS))


@lru_cache(maxsize=64)
def _peer_scores(peer: peers.Peer, source: Source, seed: int, most: int) -> Floats:
    load = workload(source, seed)
    rows = _subset(load, most) if most else np.arange(len(load.clean))
    scores = np.full(load.injected.shape, np.nan)
    scores[rows] = peers.score(peer, load.injected[rows], load.starts, load.step, load.zone, load.train)
    return scores


def _overview(title: str, detectors: Mapping[str, Sequence[Evaluation]]) -> Table:
    table = Table(
        "detector", *(f"recall at {limit}" for limit in LIMITS), "average precision", "median delay at 5, 20",
        title=title,
    )  # fmt: skip
    ordered = sorted(detectors.items(), key=lambda item: -mean([one.recall_at(LIMITS[1]) for one in item[1]]))
    for name, found in ordered:
        delays = (f"{mean([one.points[limit].median_delay for one in found]):.1f}" for limit in LIMITS)
        recalls = (spread([one.points[limit].recall for one in found]) for limit in LIMITS)
        table.add_row(name, *recalls, spread([one.average_precision for one in found]), ", ".join(delays))
    return table


def _kinds(detectors: Mapping[str, Sequence[Evaluation]]) -> Table:
    columns = [f"{name} at {limit}" for name in detectors for limit in LIMITS]
    table = Table("kind", "injected", *columns)
    for kind in KINDS:
        recalls = [spread(_of_kind(found, kind, limit)) for found in detectors.values() for limit in LIMITS]
        number = sum(one.curve.kinds.count(kind) for one in next(iter(detectors.values())))
        table.add_row(kind, str(number), *recalls)
    return table


def _of_kind(found: Sequence[Evaluation], kind: str, limit: int) -> list[float]:
    return [one.points[limit].recall_by_kind.get(kind, math.nan) for one in found]


def _summary(found: Sequence[Evaluation]) -> dict[str, object]:
    return {
        "recall": {level: [one.recall_at(level) for one in found] for level in LEVELS},
        "recall_by_kind": {limit: {kind: mean(_of_kind(found, kind, limit)) for kind in KINDS} for limit in LIMITS},
        "median_delay": {limit: [one.points[limit].median_delay for one in found] for limit in LIMITS},
        "average_precision": [one.average_precision for one in found],
        "injected": [len(one.curve.kinds) for one in found],
        "variable_days": [one.curve.variable_days for one in found],
    }


def _goals(part: Slice, found: Sequence[Evaluation]) -> list[Figure]:
    goals = []
    for limit, aim in zip(LIMITS, part.aims, strict=True):
        recalls = [one.points[limit].recall for one in found]
        details = {"lowest": min(recalls), "highest": max(recalls)}
        goals.append(Figure(f"{part.name}: recall at {limit}", mean(recalls), aim, "at least", "", details))
    if part.easy is not None:
        easy = {kind: mean(_of_kind(found, kind, LIMITS[1])) for kind in EASY_KINDS}
        name = f"{part.name}: least of {', '.join(EASY_KINDS)} at {LIMITS[1]}"
        goals.append(Figure(name, min(easy.values()), part.easy, "at least", "", easy))
    if part.delay is not None:
        delay = mean([one.points[LIMITS[1]].median_delay for one in found])
        name = f"{part.name}: median delay at {LIMITS[1]}"
        goals.append(Figure(name, delay, part.delay, "at most", "intervals", {}))
    return goals


def _lead_over_peers(detectors: Mapping[str, Sequence[Evaluation]]) -> tuple[float, str]:
    """The smallest lead of ours over any peer at any level, and over whom and where."""
    leads = {
        f"{name} at {level}": mean([one.recall_at(level) for one in detectors["ours"]])
        - mean([one.recall_at(level) for one in found])
        for name, found in detectors.items()
        if name not in {"ours", "oracle"}
        for level in LEVELS
    }
    if not leads:
        return math.nan, "nobody"
    closest = min(leads, key=leads.__getitem__)
    return leads[closest], closest


def _incidents(found: Sequence[Evaluation]) -> int:
    return sum(len(one.curve.kinds) for one in found)
