"""What a label would change, shown before it is given.

In: an incident and a word. Out: `Effect`: how many of the last 90 days' alerts it would remove, and how many
confirmed ones it would lose.

The verdicts of the variables whose thresholds it moves, ten at most, are taken again from their stored tail
probabilities, and incidents are gathered twice: by the thresholds that the labels so far give, and with this one.
Everything else is as it was told, and costs nothing. That a verdict also changes what later intervals are compared
with is left out: it is a preview.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.evidence import FROZEN, LEVEL, SILENCE
from anomaly.detection.incidents import Anomaly, Incident, gather
from anomaly.detection.thresholds import limit
from anomaly.groups import Group, TimeRange
from anomaly.groups.intervals import to_datetime64
from anomaly.ports import Predictions, Store, Variable
from anomaly.ports.labels import Label, Labels, LabelWord
from anomaly.stages.labelled import drafted, factors_of, known_incident

LOOK_BACK = timedelta(days=90)
_LOGARITHMS = 1e-9
"""A threshold is met in evidence and kept as a probability; the last bits may differ."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """What the latest days would have looked like with a label, against what they look like with the labels so far."""

    word: LabelWord
    days: int
    alerts: int
    """Without the label."""
    removed: int
    added: int
    confirmed: int
    """Of those without the label, the ones that somebody has labelled real."""
    lost: int
    """Of these, the ones that it would remove."""
    factors: Mapping[str, tuple[float, float]]
    """Variables whose thresholds move: the factor on the probability behind them, before and after."""
    masked: int
    """Counts that no fit learns from any more."""

    def __str__(self) -> str:
        """``removes 7 of the last 90 days' alerts, loses 0 confirmed``."""
        said = []
        if self.added:
            said.append(f"brings back {self.added} of the last {self.days} days' alerts")
        if not self.added and not self.removed and self.word == "real":
            said.append(f"changes none of the last {self.days} days' alerts")
        elif self.removed or not self.added:
            said.append(f"removes {self.removed} of the last {self.days} days' alerts, loses {self.lost} confirmed")
        if self.masked:
            said.append(f"{self.masked:,} {'count teaches' if self.masked == 1 else 'counts teach'} nothing")
        return "; ".join(said)


def effect_of(
    group: Group, incident_id: int, word: LabelWord, *, store: Store, labels: Labels, now: datetime
) -> Effect:
    """What the label would change, worked out from what is stored.

    Raises:
        UnknownIncidentError: the group has no incident of this id, or it was withdrawn.
    """
    incident = known_incident(group, incident_id, store)
    label = drafted(group, incident, word, author="", via="page", now=now)
    so_far = labels.labels(group)
    with_it = [*(held for held in so_far if held.incident_id != incident_id), label]
    before, after = factors_of(so_far), factors_of(with_it)
    changed = {
        name: (before.get(name, 1.0), after.get(name, 1.0))
        for name in sorted(before.keys() | after.keys())
        if before.get(name, 1.0) != after.get(name, 1.0)
    }
    told, left = _gathered(group, changed, store=store, now=now)
    confirmed = [held for held in with_it if held.word == "real" and _holds(held, told)]
    return Effect(
        word=word,
        days=LOOK_BACK.days,
        alerts=len(told),
        removed=sum(not _overlaps(t, left) for t in told),
        added=sum(not _overlaps(one, told) for one in left),
        confirmed=len(confirmed),
        lost=sum(not _holds(held, left) for held in confirmed),
        factors=changed,
        masked=0 if word == "false_alarm" else _counts(label, group.interval),
    )


def _counts(label: Label, step: timedelta) -> int:
    return len(label.variables) * -((label.start - label.end) // step)


def _overlaps(incident: Incident, others: Iterable[Incident]) -> bool:
    """Within one gathering no two incidents overlap, so those of two that do are the same one."""
    return any(other.start < incident.end and incident.start < other.end for other in others)


def _holds(label: Label, incidents: Iterable[Incident]) -> bool:
    """Whether what was labelled is still told: something of its time in which one of its variables takes part."""
    names = set(label.variables)
    return any(
        i.start < label.end and label.start < i.end and any(v.variable in names for v in i.variables) for i in incidents
    )


# --- gathering again --------------------------------------------------------------------------------------------


def _gathered(
    group: Group, changed: Mapping[str, tuple[float, float]], *, store: Store, now: datetime
) -> tuple[Sequence[Incident], Sequence[Incident]]:
    """The incidents of the last 90 days that were judged, by the thresholds before and after."""
    latest = store.predicted_until(group)
    end = None if latest is None else min(latest, group.floor(now)) + group.interval
    if end is None or end <= group.first_interval():
        return (), ()
    within = TimeRange(max(group.floor(end - LOOK_BACK), group.first_interval()), end, group.interval)
    known = within.widened(before=group.incidents.repeat_window)  # what incidents of the range may repeat
    others = [a for a in store.anomalies(group, known) if a.variable not in changed]
    touched = _Touched.read(
        group, [v for v in store.variables(group, left_out=True) if v.name in changed], known, store
    )
    before, after = (
        gather(
            group.name,
            [*others, *touched.anomalies({name: moved[side] for name, moved in changed.items()})],
            step=group.interval,
            merge_gap=group.incidents.merge_gap,
            min_anomalies=group.incidents.min_anomalies,
            min_duration=group.incidents.min_duration,
            repeat_window=group.incidents.repeat_window,
            since=within.start,
            until=within.end,
        )
        for side in (0, 1)
    )
    return before, after


@dataclass(frozen=True, slots=True)
class _Touched:
    """Variables whose verdicts are taken again. Arrays (V, N)."""

    group: Group
    variables: Sequence[Variable]
    within: TimeRange
    predictions: Predictions | None
    base: Floats
    """Probability behind the thresholds without any label; NaN where no champion judged."""

    @classmethod
    def read(cls, group: Group, variables: Sequence[Variable], within: TimeRange, store: Store) -> _Touched:
        base = np.full((len(variables), len(within)), np.nan)
        if not variables:
            return cls(group, variables, within, None, base)
        starts = within.starts()
        row = {v.name: at for at, v in enumerate(variables)}
        for fit in store.champions(group, within):  # by `serves_from`: a later one replaces the earlier
            if fit.serves_from is not None:
                for fitted in store.fitted(fit.id, names=list(row)):
                    serves = starts >= to_datetime64(fit.serves_from)
                    base[row[fitted.variable.name], serves] = fitted.tail_probability if fitted.tests else np.nan
        return cls(group, variables, within, store.read_predictions(group, variables, within), base)

    def anomalies(self, factors: Mapping[str, float]) -> list[Anomaly]:
        """Those that the variables would have with these factors on their probabilities."""
        if self.predictions is None:
            return []
        p, allowed = self.predictions, self.base * np.array([[factors[v.name]] for v in self.variables])
        one_way = limit(0.25, self.group.threshold.direction) - limit(0.25, type(self.group.threshold.direction).BOTH)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = -np.log(p.tail_probabilities) >= -np.log(allowed) + one_way - _LOGARITHMS
        kinds = _kinds(self.group, p)
        rows, columns = np.nonzero(beyond & (kinds != ""))
        return [
            Anomaly(
                variable=self.variables[row].name,
                start=self.within.start + column * self.within.step,
                kind=str(kinds[row, column]),
                observed=float(p.observed[row, column]),
                predicted=float(p.predicted[row, column]),
                residual=float(p.residuals[row, column]),
                tail_probability=float(p.tail_probabilities[row, column]),
                allowed=float(allowed[row, column]),
                test=str(p.tests[row, column]),
            )
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ]


def _kinds(group: Group, p: Predictions) -> NDArray[np.str_]:
    """As stored; of what was not anomalous, the kind that it would have had, or '' below the policy's floors."""
    distance = np.abs(p.observed - p.predicted)
    with np.errstate(invalid="ignore"):
        far = (distance >= group.threshold.min_absolute) & (distance >= group.threshold.min_relative * p.predicted)
        waited = np.isin(p.tests, (FROZEN, SILENCE))
        below = p.residuals < 0
    would = np.select(
        [p.tests == FROZEN, p.tests == LEVEL, below & ((p.observed == 0) | (p.tests == SILENCE)), below],
        ["frozen", "shift", "silent", "drop"],
        default="surge",
    )
    return np.where(p.kinds != "", p.kinds, np.where(far | waited, would, ""))
