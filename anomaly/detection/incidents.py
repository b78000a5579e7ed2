"""From anomalous intervals to incidents: what belongs together is told once.

In: the anomalies of a group, in time. Out: incidents, each a stretch of time with the variables that took part.

Anomalies of any variables belong to the same incident when no more than the group's merge gap lies between one
and the next: a snow storm that empties fourteen variables for a day is one incident, and so is a pipeline that
fails, recovers for an hour and fails again. The result depends only on the anomalies, not on how the intervals
were handed over, so that hour by hour and a year at once give the same incidents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from anomaly.detection.thresholds import return_period

DOWNWARDS = frozenset({"drop", "silent"})


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One variable, one interval, out of the ordinary."""

    variable: str
    start: datetime
    kind: str
    observed: float
    predicted: float
    residual: float
    tail_probability: float


@dataclass(frozen=True, slots=True)
class IncidentVariable:
    """How one variable took part in an incident."""

    variable: str
    kind: str
    start: datetime
    end: datetime
    """Exclusive: the end of its last anomalous interval."""
    anomalies: int
    observed: float
    expected: float
    """Events observed and expected, summed over its anomalous intervals."""
    tail_probability: float
    """Of its worst interval."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Anomalies that belong together."""

    group: str
    kind: str
    start: datetime
    end: datetime
    """Exclusive: the end of its last anomalous interval."""
    resolved: bool
    """Whether the merge gap has passed without another anomaly."""
    tail_probability: float
    """Of the worst interval of the worst variable."""
    return_period_hours: float
    variables: tuple[IncidentVariable, ...]
    """The worst first."""
    id: int | None = None
    channel: str | None = None
    slack_ts: str | None = None
    permalink: str | None = None
    chart: str | None = None
    withdrawn: bool = False
    """Nothing is left of it: late rows explained it, or it has grown together with an older one."""
    told: str | None = None
    """Digest of what its message says."""

    def says_the_same_as(self, other: Incident) -> bool:
        """Whether a message about either would read the same."""
        return replace(other, **{name: getattr(self, name) for name in _DELIVERY}) == self


_DELIVERY = ("id", "channel", "slack_ts", "permalink", "chart", "told")


def gather(
    group: str,
    anomalies: Sequence[Anomaly],
    *,
    step: timedelta,
    merge_gap: timedelta,
    min_anomalies: int,
    until: datetime,
) -> tuple[Incident, ...]:
    """The incidents that the anomalies make up, by start.

    Args:
        group: the group's name.
        anomalies: in any order.
        step: length of an interval.
        merge_gap: longest stretch without anomalies inside one incident.
        min_anomalies: fewer anomalous intervals than this, over all variables, make no incident.
        until: end of the last interval that was judged; decides what is resolved.
    """
    return tuple(
        _incident(group, together, step=step, resolved=_end(together, step) + merge_gap <= until)
        for together in _chains(anomalies, step=step, merge_gap=merge_gap)
        if len(together) >= min_anomalies
    )


def _chains(anomalies: Sequence[Anomaly], *, step: timedelta, merge_gap: timedelta) -> Iterator[list[Anomaly]]:
    chain: list[Anomaly] = []
    for anomaly in sorted(anomalies, key=lambda a: (a.start, a.variable)):
        if chain and anomaly.start - _end(chain, step) > merge_gap:
            yield chain
            chain = []
        chain.append(anomaly)
    if chain:
        yield chain


def _end(chain: Sequence[Anomaly], step: timedelta) -> datetime:
    return chain[-1].start + step


def _incident(group: str, chain: Sequence[Anomaly], *, step: timedelta, resolved: bool) -> Incident:
    by_variable: dict[str, list[Anomaly]] = {}
    for anomaly in chain:
        by_variable.setdefault(anomaly.variable, []).append(anomaly)
    variables = sorted(
        (_part(name, own, step) for name, own in by_variable.items()),
        key=lambda v: (v.tail_probability, -abs(v.observed - v.expected), v.variable),
    )
    worst = variables[0].tail_probability
    return Incident(
        group=group,
        kind=_kind(chain),
        start=chain[0].start,
        end=_end(chain, step),
        resolved=resolved,
        tail_probability=worst,
        return_period_hours=return_period(worst, step) / timedelta(hours=1),
        variables=tuple(variables),
    )


def _part(name: str, own: Sequence[Anomaly], step: timedelta) -> IncidentVariable:
    return IncidentVariable(
        variable=name,
        kind=_kind(own),
        start=own[0].start,
        end=own[-1].start + step,
        anomalies=len(own),
        observed=sum(a.observed for a in own),
        expected=sum(a.predicted for a in own),
        tail_probability=min(a.tail_probability for a in own),
    )


def _kind(anomalies: Sequence[Anomaly]) -> str:
    """``silent`` when nothing at all was written, else the direction that most intervals went."""
    kinds = Counter(a.kind for a in anomalies)
    if set(kinds) == {"silent"}:
        return "silent"
    downwards = sum(number for kind, number in kinds.items() if kind in DOWNWARDS)
    return "drop" if 2 * downwards >= len(anomalies) else kinds.most_common(1)[0][0]
