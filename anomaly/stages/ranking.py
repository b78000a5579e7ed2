"""Rank: what people said of earlier incidents decides which new ones are told at once.

In: the group's incidents and labels. Out: a ranking in the store and in MLflow, when there are enough labels; and
for alert, why an incident goes to the digest. What is learned and what keeps confirmed incidents safe is in
`anomaly.detection.ranking`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from anomaly.detection.incidents import Incident
from anomaly.detection.ranking import (
    EXPECTED_WEIGHT,
    LEAST_LABELS,
    LEAST_OF_EACH,
    TOLD_ANYWAY,
    Memory,
    Ranking,
    Said,
    features,
    learn,
    ranked,
    remembered,
)
from anomaly.exceptions import TransientError
from anomaly.groups import Group
from anomaly.ports import Store
from anomaly.ports.labels import Label, Labels
from anomaly.ports.rankings import KeptRanking, RankingRegistry, Rankings

log = logging.getLogger(__name__)

LowRank = Callable[[Group, Incident], str]


@dataclass(frozen=True, slots=True)
class RankReport:
    """What learning did."""

    labels: int
    real: int
    learned: bool
    bar: float | None
    auc: float | None
    version: int | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if not self.learned:
            return (
                f"{self.labels} labelled incidents, {self.real} of them real: too few to rank by, which takes "
                f"{LEAST_LABELS} with {LEAST_OF_EACH} of either kind"
            )
        well = "" if self.auc is None else f", of a real one and another the real one ranked higher {self.auc:.0%}"
        version = "not in MLflow yet" if self.version is None else f"version {self.version}"
        return (
            f"ranks by {self.labels} labelled incidents, {self.real} of them real ({version}); in their time{well}; "
            f"ranks below {self.bar:.2g} go to the digest"
        )


def learn_ranking(
    group: Group, *, store: Store, labels: Labels, rankings: Rankings, registry: RankingRegistry, now: datetime
) -> RankReport:
    """Learns from all labelled incidents, and serves what it learned.

    MLflow may be down: the ranking serves all the same, and the next one is registered.
    """
    held = [label for label in labels.labels(group) if label.incident_id is not None]
    by_id = {incident.id: incident for incident in store.incidents(group)}
    pairs = sorted(
        ((by_id[label.incident_id], label) for label in held if label.incident_id in by_id),
        key=lambda pair: (pair[0].start, pair[1].id or 0),
    )
    ranking = _learned(group, pairs) if pairs else None
    real = sum(label.word == "real" for _, label in pairs)
    if ranking is None:
        report = RankReport(len(pairs), real, learned=False, bar=None, auc=None, version=None)
        log.info("%s: %s", group.name, report)
        return report
    auc = None if math.isnan(ranking.auc) else ranking.auc
    version = _registered(group, ranking, registry)
    rankings.serve(group, KeptRanking(ranking, now, version))
    report = RankReport(len(pairs), real, learned=True, bar=ranking.bar, auc=auc, version=version)
    log.info("%s: %s", group.name, report)
    return report


def _learned(group: Group, pairs: Sequence[tuple[Incident, Label]]) -> Ranking | None:
    said = said_in([label for _, label in pairs])
    memory, waiting, rows = Memory(), list(said), []
    for incident, _ in pairs:  # by start, so that one memory goes along
        while waiting and waiting[0].at < incident.start:
            memory.take(waiting.pop(0))
        rows.append(features(incident, memory, zone=group.zone))
    real = np.array([label.word == "real" for _, label in pairs])
    weights = np.array([_weight(label) for _, label in pairs])
    return learn(np.stack(rows), real, weights, digest_below=group.slack.digest_below, seed=group.seed)


def _registered(group: Group, ranking: Ranking, registry: RankingRegistry) -> int | None:
    try:
        return registry.register_ranking(
            group,
            ranking.as_json(),
            params={"labels": ranking.labels, "real": ranking.real, "digest_below": group.slack.digest_below},
            metrics={
                name: value
                for name, value in (("bar", ranking.bar), ("auc", ranking.auc), ("lowest_real", ranking.lowest_real))
                if math.isfinite(value)
            },
            description=f"Learned from {ranking.labels} labelled incidents, {ranking.real} of them real.",
        )
    except TransientError as failure:
        log.warning("%s: the ranking serves without being in MLflow: %s", group.name, failure)
        return None


def low_rank(group: Group, *, labels: Labels, rankings: Rankings) -> LowRank:
    """For alert: why an incident goes to the digest, in words; '' if it does not, or nothing was learned."""
    kept = rankings.serving(group)
    if kept is None or kept.ranking.bar <= 0:
        return lambda _, __: ""
    said = said_in(labels.labels(group))

    def why(_: Group, incident: Incident) -> str:
        memory = remembered(said, incident.start)
        found = ranked(kept.ranking, incident, memory, zone=group.zone, seed=group.seed)
        if not found.to_digest:
            return ""
        return (
            f"ranked {found.rank:.2f} by what people said of {kept.ranking.labels} earlier ones; below "
            f"{kept.ranking.bar:.2f}, all but one in {1 / TOLD_ANYWAY:.0f} go to the digest"
        )

    return why


def said_in(held: Sequence[Label]) -> list[Said]:
    """Labels as the ranking remembers them, by the time they were given."""
    said = [Said(h.given_at, h.moved, h.word == "real", _weight(h)) for h in held]
    return sorted(said, key=lambda each: each.at)


def _weight(label: Label) -> float:
    return EXPECTED_WEIGHT if label.word == "expected" else 1.0
