"""Rank: what people said of earlier incidents decides which new ones are told at once.

In: the group's incidents and labels. Out: a ranking in the store and in MLflow, when there are enough labels; and
for alert, why an incident goes to the digest. What is learned and what keeps confirmed incidents safe is in
`anomaly.detection.ranking`.

Alert ranks an incident when it opens, with what is known of it then, and again as it grows, until it is told. So what
is learned from is not what an incident was in the end, but what alert saw: gathered again from the stored anomalies up
to then, and explained as alert explains it.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from anomaly.detection.incidents import Incident, grown
from anomaly.detection.ranking import (
    EXPECTED_WEIGHT,
    LEAST_LABELS,
    LEAST_OF_EACH,
    TOLD_ANYWAY,
    Memory,
    Ranking,
    Said,
    enough,
    features,
    learn,
    ranked,
    remembered,
)
from anomaly.exceptions import TransientError
from anomaly.groups import Group, TimeRange
from anomaly.ports import Store
from anomaly.ports.labels import Label, Labels
from anomaly.ports.rankings import KeptRanking, RankingRegistry, Rankings
from anomaly.stages.explaining import explained_as_it_grew

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
        well = "" if self.auc is None else f"; of a real one and another the real one opens higher in {self.auc:.0%}"
        version = "not in MLflow yet" if self.version is None else f"version {self.version}"
        return (
            f"ranks by {self.labels} labelled incidents, {self.real} of them real ({version}){well}; "
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
    ranking = _learned(group, pairs, store) if enough([label.word == "real" for _, label in pairs]) else None
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


def _learned(group: Group, pairs: Sequence[tuple[Incident, Label]], store: Store) -> Ranking | None:
    said = said_in([label for _, label in pairs])
    memory, waiting, rows = Memory(), list(said), []
    states = seen(group, [incident for incident, _ in pairs], store)
    for incident, _ in pairs:  # by start, so that one memory goes along
        while waiting and waiting[0].at < incident.start:
            memory.take(waiting.pop(0))
        rows.append(np.stack([features(state, memory, zone=group.zone) for state in states[incident.start]]))
    real = np.array([label.word == "real" for _, label in pairs])
    weights = np.array([_weight(label) for _, label in pairs])
    return learn(rows, real, weights, digest_below=group.slack.digest_below, seed=group.seed)


def seen(group: Group, incidents: Sequence[Incident], store: Store) -> dict[datetime, tuple[Incident, ...]]:
    """What alert saw of incidents, by their start: each as it opened, as it grew, and as it is.

    An incident whose anomalies are not stored any more, or have become others, is all that is known of it.
    """
    found: dict[datetime, tuple[Incident, ...]] = {incident.start: (incident,) for incident in incidents}
    policy = group.incidents
    for within in _times(group, incidents):
        anomalies = store.anomalies(group, within)
        states = grown(
            group.name,
            anomalies,
            step=group.interval,
            merge_gap=policy.merge_gap,
            min_anomalies=policy.min_anomalies,
            min_duration=policy.min_duration,
            repeat_window=policy.repeat_window,
            of=found.keys(),
        )
        starts = [anomaly.start for anomaly in anomalies]
        for start, own in states.items():
            part = anomalies[bisect_left(starts, start) : bisect_left(starts, own[-1].end)]
            found[start] = explained_as_it_grew(group, own, part, store)
    return found


def _times(group: Group, incidents: Sequence[Incident]) -> list[TimeRange]:
    """The incidents' times, each begun early enough to know what it repeats; those that overlap in one."""
    found: list[TimeRange] = []
    for incident in sorted(incidents, key=lambda one: one.start):
        begin = group.floor(incident.start - group.incidents.repeat_window - group.incidents.merge_gap)
        end = group.floor(incident.end - timedelta(microseconds=1)) + group.interval
        if found and begin <= found[-1].end:
            begin, end = found[-1].start, max(found.pop().end, end)
        found.append(TimeRange(begin, end, group.interval))
    return found


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
    if not kept.ranking.of_today:
        log.warning(
            "%s: the ranking of %s, version %s, was learned from other features than today's and is left aside; the "
            "next fit learns another, until then nothing is ranked",
            *(group.name, kept.learned_at.isoformat(timespec="minutes"), kept.version),
        )
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
