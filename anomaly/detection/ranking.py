"""Which incidents people care for, learned from what they said of earlier ones.

In: features of labelled incidents, (K, F) each, and whether each was real. Out: `Trees`, gradient-boosted, which give
a new incident a rank in [0, 1]: the probability that people would call it real. Training is scikit-learn's; the trees
are plain arrays, so that ranking needs NumPy alone and nothing is ever unpickled.

**What is learned is what is ranked.** An incident is ranked when it opens, with a variable or two and an hour behind
it, and again as it grows. What it was in the end would teach that real incidents are long and wide, and at the opening
none is. So each is learned in its K states (`anomaly.detection.incidents.grown`), which share its weight.

**Nothing that was confirmed may go unseen.** A rank below the group's `digest_below` sends an incident to the digest.
Before that is believed, every labelled incident is ranked by trees that do not know it: five blocks in time, each by
trees of the four others. A confirmed one is seen as soon as any of its states ranks high enough, so its highest rank
counts. The bar is lowered below the lowest of these, by half. People press the wrong button: one in twenty of the
confirmed ones, the lowest, is taken for that, or a few slips would keep every alarm in the channel. Critical incidents
are never sent down, and the digest is read, too.

**And back up.** What is sent down is hardly labelled any more, and a model that only sees its own choices confirms
itself. So one in ten of the low-ranked is told anyway, drawn by a seed; and what people said fades with a half-life of
60 days in the features, so that a variable's old false alarms weigh ever less.

Sources:
    J. H. Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 29 (2001).
    Sharing out a few decisions at random so that what was decided can be learned from: J. Langford, T. Zhang, "The
    epoch-greedy algorithm for multi-armed bandits with side information", NIPS 2007.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.evidence import FROZEN, LEVEL, SILENCE, SINGLE
from anomaly.detection.incidents import SEVERITIES, Incident, severity_points
from anomaly.groups.model import TOTAL

Floats = NDArray[np.float64]

LEAST_LABELS, LEAST_OF_EACH = 40, 8
"""Labelled incidents without which nothing is learned, and how many must be real and how many must not be."""
EXPECTED_WEIGHT = 0.5
"""An expected incident was rightly found, and yet nobody needed to be told: half a false alarm."""
HALF_LIFE = timedelta(days=60)
BLOCKS = 5
SAFETY = 0.5
"""Of the lowest rank that a confirmed incident had by trees that did not know it."""
SLIPS = 0.05
"""Share of the confirmed incidents that may be slips of the finger; so many of the lowest are left out of account."""
TOLD_ANYWAY = 0.1
PRIOR = 1.0
"""Of a variable without labels: as if one incident had been real and one had not."""

KINDS = ("drop", "silent", "surge", "frozen", "shift")
TESTS = (SINGLE, "sum", FROZEN, SILENCE, LEVEL)
FEATURES = (
    *("severity points", "decades", "log variables", "log hours", "share lost", "log expected", "total"),
    *(f"kind {kind}" for kind in KINDS),
    *(f"test {test}" for test in TESTS),
    *("hour sin", "hour cos", "weekend"),
    *("real share", "worst's real share", "labels"),
)


# --- features ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said of an earlier incident."""

    at: datetime
    variables: tuple[str, ...]
    real: bool
    weight: float = 1.0


@dataclass
class Memory:
    """What was said of each variable, until a moment; fading. Take labels in by the time they were given."""

    real: dict[str, float] = field(default_factory=dict)
    all: dict[str, float] = field(default_factory=dict)
    _at: dict[str, datetime] = field(default_factory=dict)

    def take(self, said: Said) -> None:
        for name in said.variables:
            fade = self._fade(name, said.at)
            self.real[name] = fade * self.real.get(name, 0.0) + said.weight * said.real
            self.all[name] = fade * self.all.get(name, 0.0) + said.weight
            self._at[name] = said.at

    def share(self, name: str, at: datetime) -> tuple[float, float]:
        """(share of its incidents that were real, how much was said), of a variable."""
        fade = self._fade(name, at)
        much = fade * self.all.get(name, 0.0)
        return (fade * self.real.get(name, 0.0) + PRIOR) / (much + 2 * PRIOR), much

    def _fade(self, name: str, at: datetime) -> float:
        return float(0.5 ** (max(at - self._at.get(name, at), timedelta(0)) / HALF_LIFE))


def features(incident: Incident, memory: Memory, *, zone: ZoneInfo) -> Floats:
    """(F,), as known when it had got this far; see `FEATURES`.

    Args:
        memory: of what was said before it began.
        zone: the group's.
    """
    departed = incident.departed
    observed, expected = sum(v.observed for v in departed), sum(v.expected for v in departed)
    begins = incident.start.astimezone(zone)
    turn = 2 * math.pi * (begins.hour + begins.minute / 60) / 24
    shares = [memory.share(v.variable, incident.start) for v in departed]
    worst = departed[0]
    test = "sum" if worst.test.startswith("sum-") else worst.test
    return np.array(
        [
            severity_points(incident),
            max(v.decades for v in incident.variables),
            math.log(len(departed)),
            math.log(max((incident.end - incident.start) / timedelta(hours=1), 0.1)),
            float(np.clip((observed - expected) / max(expected, 1.0), -1.0, 5.0)),
            math.log1p(max(expected, 0.0)),
            any(v.variable == TOTAL for v in incident.variables),
            *(incident.kind == kind for kind in KINDS),
            *(test == name for name in TESTS),
            math.sin(turn),
            math.cos(turn),
            begins.weekday() >= 5,
            sum(share for share, _ in shares) / len(shares),
            shares[0][0],
            math.log1p(sum(much for _, much in shares)),
        ],
        dtype=np.float64,
    )


# --- trees ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trees:
    """A boosted ensemble as arrays: nodes of all trees behind each other, (M,)."""

    features: tuple[str, ...]
    baseline: float
    """Log odds before any tree."""
    roots: NDArray[np.int64]
    """(K,) first node of each tree."""
    feature: NDArray[np.int64]
    threshold: Floats
    """Values up to it go left."""
    left: NDArray[np.int64]
    """Of a leaf, the node itself."""
    right: NDArray[np.int64]
    value: Floats
    """Log odds that a leaf adds."""

    def rank(self, x: Floats) -> Floats:
        """(N,) probabilities in [0, 1] of incidents (N, F)."""
        at = np.repeat(self.roots[None], len(x), axis=0)
        rows = np.arange(len(x))[:, None]
        while True:
            below = np.where(x[rows, self.feature[at]] <= self.threshold[at], self.left[at], self.right[at])
            if (below == at).all():
                odds = self.baseline + self.value[at].sum(axis=1)
                return np.asarray(1 / (1 + np.exp(-odds)))
            at = below

    def as_json(self) -> dict[str, Any]:
        """For a file or a store."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {"features": list(self.features), "baseline": self.baseline, **arrays}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Trees:
        """What `as_json` wrote."""
        arrays = {name: np.array(stored[name], dtype=kind) for name, kind in _ARRAYS.items()}
        return cls(tuple(stored["features"]), float(stored["baseline"]), **arrays)


_ARRAYS: Mapping[str, Any] = {
    "roots": np.int64,
    "feature": np.int64,
    "threshold": np.float64,
    "left": np.int64,
    "right": np.int64,
    "value": np.float64,
}


def fit_trees(x: Floats, real: NDArray[np.bool_], weights: Floats, *, seed: int) -> Trees:
    """Trees of (N, F) incidents; small ones, because labels are few.

    Args:
        real: (N,) of both kinds.
        weights: (N,)
        seed: of nothing but ties; equal data and seed give equal trees.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

    model = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=80,
        max_leaf_nodes=6,
        min_samples_leaf=5,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    ).fit(x, real, sample_weight=weights)
    nodes = [predictors[0].nodes for predictors in model._predictors]  # noqa: SLF001  # it has no public form
    roots = np.cumsum([0, *(len(tree) for tree in nodes[:-1])])
    whole = np.concatenate(nodes)
    offset = np.repeat(roots, [len(tree) for tree in nodes])
    itself, leaf = np.arange(len(whole)), whole["is_leaf"].astype(bool)
    return Trees(
        features=FEATURES,
        baseline=float(np.ravel(model._baseline_prediction)[0]),  # noqa: SLF001
        roots=roots.astype(np.int64),
        feature=np.where(leaf, 0, whole["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf, 0.0, whole["num_threshold"]).astype(np.float64),
        left=np.where(leaf, itself, whole["left"] + offset).astype(np.int64),
        right=np.where(leaf, itself, whole["right"] + offset).astype(np.int64),
        value=np.where(leaf, whole["value"], 0.0).astype(np.float64),
    )


# --- the bar ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ranking:
    """What ranks a group's incidents."""

    trees: Trees
    bar: float
    """Lower ranks go to the digest: the group's `digest_below`, or `SAFETY` times `lowest_real` where that is less."""
    labels: int
    real: int
    lowest_real: float
    """The lowest of the confirmed incidents' highest ranks, without slips, each by trees that did not know it; NaN
    where none was ranked so."""
    auc: float
    """How often, of a real one and another, the real one ranked higher when they opened; NaN where there were none."""

    @property
    def of_today(self) -> bool:
        """Whether its trees know an incident by the features of today, in their order."""
        return self.trees.features == FEATURES

    def as_json(self) -> dict[str, Any]:
        numbers = {"labels": self.labels, "real": self.real}
        return {
            "trees": self.trees.as_json(),
            "bar": self.bar,
            **numbers,
            "lowest_real": None if math.isnan(self.lowest_real) else self.lowest_real,
            "auc": None if math.isnan(self.auc) else self.auc,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Ranking:
        """What `as_json` wrote."""
        lowest, auc = (math.nan if stored[name] is None else float(stored[name]) for name in ("lowest_real", "auc"))
        return cls(Trees.from_json(stored["trees"]), stored["bar"], stored["labels"], stored["real"], lowest, auc)


def enough(real: Sequence[bool]) -> bool:
    """Whether anything can be learned from labels, of which each is of a real incident or not."""
    return len(real) >= LEAST_LABELS and LEAST_OF_EACH <= sum(real) <= len(real) - LEAST_OF_EACH


def learn(
    x: Sequence[Floats], real: NDArray[np.bool_], weights: Floats, *, digest_below: float, seed: int
) -> Ranking | None:
    """Ranks by what I incidents were when they were ranked; None when there are too few labels, or nearly all say the
    same.

    Args:
        x: by start, each (K, F): an incident as it opened and as it grew (`anomaly.detection.incidents.grown`). All of
            an incident's states weigh as much together as one of another's that has no more.
        real, weights: (I,)
        digest_below: the group's, in [0, 1].
    """
    if not enough(real.tolist()):
        return None
    states = _States(np.concatenate(x), np.repeat(np.arange(len(x)), [len(own) for own in x]), real, weights)
    ranks = _out_of_fold(states, seed)
    begins = np.searchsorted(states.of, np.arange(len(x)))
    first, best = ranks[begins], np.maximum.reduceat(ranks, begins)
    known = np.isfinite(best)
    confirmed = np.sort(best[known & real])
    lowest = float(confirmed[int(SLIPS * confirmed.size)]) if confirmed.size else math.inf
    bar = min(digest_below, SAFETY * lowest) if math.isfinite(lowest) else 0.0
    return Ranking(
        trees=states.trees(np.ones(len(states.of), dtype=bool), seed),
        bar=bar,
        labels=len(x),
        real=int(real.sum()),
        lowest_real=lowest if math.isfinite(lowest) else math.nan,
        auc=auc(first[known], real[known]),
    )


@dataclass(frozen=True, slots=True)
class _States:
    """All states of I incidents, those of one behind each other."""

    x: Floats
    """(N, F)"""
    of: NDArray[np.int64]
    """(N,) the number of its incident, by start."""
    real: NDArray[np.bool_]
    """(I,)"""
    weights: Floats
    """(I,)"""

    def trees(self, rows: NDArray[np.bool_], seed: int) -> Trees:
        """Trees of some of the states, (N,)."""
        of = self.of[rows]
        weights = (self.weights / np.bincount(self.of, minlength=len(self.real)))[of]
        return fit_trees(self.x[rows], self.real[of], weights, seed=seed)


def _out_of_fold(states: _States, seed: int) -> Floats:
    """(N,) each state's rank by trees of the other blocks of incidents, in time; NaN where these teach nothing.

    Of the others, not of the earlier ones alone: the first blocks would be ranked by so few labels that their lowest
    confirmed incident says more of the want of labels than of what the trees of all of them would miss.
    """
    ranks = np.full(len(states.of), np.nan)
    edges = np.linspace(0, len(states.real), BLOCKS + 1).astype(int)
    for begin, end in pairwise(edges.tolist()):
        inside = (states.of >= begin) & (states.of < end)
        known = states.real[states.of[~inside]]
        if 0 < known.sum() < known.size:
            ranks[inside] = states.trees(~inside, seed).rank(states.x[inside])
    return ranks


def auc(ranks: Floats, real: NDArray[np.bool_]) -> float:
    """Share of pairs of a real and another incident in which the real one ranks higher; ties count half."""
    above, below = ranks[real], ranks[~real]
    if not above.size or not below.size:
        return math.nan
    pairs = np.sign(above[:, None] - below[None])
    return float((pairs + 1).mean() / 2)


@dataclass(frozen=True, slots=True)
class Ranked:
    """What an incident's rank means for it."""

    rank: float
    low: bool
    """Below the bar, and not critical."""
    told_anyway: bool
    """Low, but drawn to be told, so that its label can teach that it was ranked too low."""

    @property
    def to_digest(self) -> bool:
        return self.low and not self.told_anyway


def ranked(ranking: Ranking, incident: Incident, memory: Memory, *, zone: ZoneInfo, seed: int) -> Ranked:
    """An incident's rank; the same incident is drawn the same, however often it is asked for.

    Args:
        memory: of what was said before it began.
        seed: the group's.
    """
    rank = float(ranking.trees.rank(features(incident, memory, zone=zone)[None])[0])
    low = rank < ranking.bar and incident.severity != SEVERITIES[-1]
    # Its beginning alone: an incident that grows keeps its draw.
    key = f"{seed} {incident.group} {incident.start.astimezone(ZoneInfo('UTC')).isoformat()}"
    drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return Ranked(rank, low, low and drawn < TOLD_ANYWAY)


def remembered(said: Sequence[Said], until: datetime) -> Memory:
    """What was said before a moment."""
    memory = Memory()
    for each in sorted((s for s in said if s.at < until), key=lambda s: s.at):
        memory.take(each)
    return memory
