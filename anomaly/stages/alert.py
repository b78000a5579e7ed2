"""Alert: anomalies become incidents, incidents become messages, each told once.

In: a range of intervals that predict has judged. Out: incidents in the store, and one message with a chart in
the group's channel for each. Messages go through the outbox: what was enqueued is delivered exactly once, also
when this is run twice, and later when Slack is down. While an incident goes on, and when it ends, its message
is edited; the channel hears of it once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from anomaly.detection.incidents import DELIVERY, Anomaly, Incident, gather
from anomaly.exceptions import AnomalyError, MessageGoneError, SlackRejectedError, SlackUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.ports import (
    Channel,
    ChartData,
    Charts,
    ChartStore,
    ChartVariable,
    FittedVariable,
    Links,
    OutboxEntry,
    Store,
)
from anomaly.stages.explaining import explained

log = logging.getLogger(__name__)

CHART_VARIABLES = 4
CHART_BEFORE = timedelta(days=4)
CHART_AFTER = timedelta(days=1)
LONGEST_WAIT = timedelta(hours=6)
FIRST_WAIT = timedelta(minutes=1)
MOST_DOUBLINGS = 9


@dataclass(frozen=True, slots=True)
class AlertReport:
    """What one run of alert did."""

    start: str
    end: str
    anomalies: int
    opened: int
    changed: int
    worse: int
    """Of the changed ones, those that the channel should hear of again."""
    resolved: int
    withdrawn: int
    posted: int
    edited: int
    waiting: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.anomalies:,} anomalous intervals; incidents: {self.opened} opened, {self.changed} changed, "
            f"{self.worse} clearly worse, {self.resolved} resolved, {self.withdrawn} withdrawn; "
            f"messages: {self.posted} posted, {self.edited} edited, {self.waiting} waiting"
        )


def alert(
    group: Group,
    start: datetime,
    end: datetime,
    *,
    store: Store,
    charts: Charts,
    chart_store: ChartStore,
    channel: Channel,
    links: Links,
    now: datetime,
) -> AlertReport:
    """Gathers the incidents that the range takes part in, and delivers what there is to say.

    Raises:
        InvalidRangeError: empty, reversed, naive or off the grid.
        SlackUnavailableError: a message could not be delivered; it stays in the outbox.
        SlackRejectedError: Slack refused a message for good; it stays in the outbox too, for after the mending.
    """
    within = group.range(start, end)
    with store.exclusively(group, "alert"):
        around = _around(group, within, store)
        before = store.incidents(group, TimeRange(around.begin, around.until, group.interval))
        gathered = gather(
            group.name,
            around.anomalies,
            step=group.interval,
            merge_gap=group.incidents.merge_gap,
            min_anomalies=group.incidents.min_anomalies,
            min_duration=group.incidents.min_duration,
            repeat_window=group.incidents.repeat_window,
            since=around.begin,
            until=around.until,
        )
        matched, withdrawn = _matched([explained(group, i, around.anomalies, store) for i in gathered], before)
        saved = store.save_incidents(group, matched, withdrawn=[w.id for w in withdrawn if w.id is not None])
        _enqueue([*saved, *(replace(w, withdrawn=True, resolved=True) for w in withdrawn)], store)

    posted, edited, failures = _deliver(
        group, store=store, charts=charts, chart_store=chart_store, channel=channel, links=links, now=now
    )
    known = {b.id: b for b in before}
    report = AlertReport(
        start=within.start.isoformat(),
        end=within.end.isoformat(),
        anomalies=sum(a.start >= around.begin for a in around.anomalies),
        opened=sum(s.id not in known for s in saved),
        changed=sum(s.id in known and not s.says_the_same_as(known[s.id]) for s in saved),
        worse=sum(s.clearly_worse for s in saved),
        resolved=sum(s.resolved and not (s.id in known and known[s.id].resolved) for s in saved),
        withdrawn=len(withdrawn),
        posted=posted,
        edited=edited,
        waiting=store.waiting(group),
    )
    log.info("%s %s: %s", group.name, within, report)
    if failures:
        raise _worst(failures)
    return report


@dataclass(frozen=True, slots=True)
class _Around:
    """What the range can touch."""

    anomalies: Sequence[Anomaly]
    """Those of every incident that the range can touch, and before them those that an incident can repeat."""
    begin: datetime
    """Incidents that started earlier are not made again."""
    until: datetime
    """End of the last judged interval."""


def _around(group: Group, within: TimeRange, store: Store) -> _Around:
    """What of the anomalies the incidents of the range follow from.

    Going back, the search does not end after the beginning of an incident that still goes on: a pause of the
    scheduler must not leave it open for ever. Going forward it takes all there is, so that running an old range
    again does not cut short what happened later.
    """
    latest = store.predicted_until(group)
    until = max(within.end, latest + group.interval) if latest else within.end
    going_on = [incident.start for incident in store.incidents(group) if not incident.resolved]
    begin = _after_quiet(group, min([group.floor(within.start - group.lateness), *going_on]), store)
    repeated = _after_quiet(group, group.floor(begin - group.incidents.repeat_window), store)
    return _Around(store.anomalies(group, TimeRange(repeated, until, group.interval)), begin, until)


def _after_quiet(group: Group, begin: datetime, store: Store) -> datetime:
    """The moment, or as much earlier as it takes to have a whole merge gap without anomalies before it."""
    gap = group.incidents.merge_gap + group.interval
    while earlier := store.anomalies(group, TimeRange(group.floor(begin - gap), begin, group.interval)):
        begin = earlier[0].start
    return begin


def _matched(gathered: Sequence[Incident], before: Sequence[Incident]) -> tuple[list[Incident], list[Incident]]:
    """Each gathered incident under the id of the stored one it continues; and those that are no more."""
    left = list(before)
    matched = []
    for incident in gathered:
        same = [old for old in left if old.start < incident.end and incident.start < old.end]
        if same:
            left = [old for old in left if old not in same[:1]]
            matched.append(replace(incident, **{name: getattr(same[0], name) for name in DELIVERY}))
        else:
            matched.append(incident)
    return matched, left


def _enqueue(incidents: Sequence[Incident], store: Store) -> None:
    """A message for each incident that has none, a notice for each that has become clearly worse since the channel was
    notified of it, an edit for each whose message says something else.

    All follow from what is stored, not from what this run changed: a run that died before it came here is made
    up for by the next one.
    """
    for incident in incidents:
        if incident.id is None:
            continue
        if incident.slack_ts is None:
            if not incident.withdrawn:
                store.enqueue(incident.id, "post")
        elif incident.clearly_worse:
            store.enqueue(incident.id, "notice")
        elif incident.told != digest(incident):
            store.enqueue(incident.id, "update")


_UNTOLD: dict[str, Any] = dict.fromkeys(DELIVERY)


def digest(incident: Incident) -> str:
    """Of what a message about the incident says; equal for incidents that read the same."""
    said = json.dumps(asdict(replace(incident, **_UNTOLD)), default=_as_text, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _as_text(time: datetime | timedelta) -> str:
    return time.astimezone(UTC).isoformat() if isinstance(time, datetime) else str(time)


def _deliver(
    group: Group,
    *,
    store: Store,
    charts: Charts,
    chart_store: ChartStore,
    channel: Channel,
    links: Links,
    now: datetime,
) -> tuple[int, int, list[AnomalyError]]:
    told: Counter[bool] = Counter()
    failures: list[AnomalyError] = []
    with store.due(group, at=now) as entries:
        for entry in entries:
            incident = entry.incident
            if incident.withdrawn and incident.slack_ts is None:
                store.dropped(entry, reason="withdrawn before it was told", at=now)
                continue
            try:
                posted = _tell(
                    group,
                    entry,
                    store=store,
                    charts=charts,
                    chart_store=chart_store,
                    channel=channel,
                    links=links,
                    now=now,
                )
                told[posted] += 1
            except MessageGoneError as gone:
                log.warning("the message of incident %s is gone; the next run posts a new one: %s", incident.id, gone)
                store.message_gone(entry, at=now)
            except (SlackUnavailableError, SlackRejectedError) as refused:
                wait = min(FIRST_WAIT * 2 ** min(entry.attempts, MOST_DOUBLINGS), LONGEST_WAIT)
                store.postponed(entry, error=str(refused), until=now + wait)
                log.warning("message %s was not delivered, next try in %s: %s", entry.key, wait, refused)
                failures.append(refused)
    return told[True], told[False], failures


def _tell(
    group: Group,
    entry: OutboxEntry,
    *,
    store: Store,
    charts: Charts,
    chart_store: ChartStore,
    channel: Channel,
    links: Links,
    now: datetime,
) -> bool:
    """Posts the incident's message, or edits the one it has; whether it was posted."""
    incident = entry.incident
    png, chart = (None, None) if incident.withdrawn else _drawn(group, incident, store, charts, chart_store)
    first = incident.slack_ts is None
    if first and png is not None:
        done = channel.post(group, incident, png=png, links=links, key=entry.key)
    else:
        done = channel.update(group, incident, links=links, png=png)
    store.delivered(
        entry,
        channel=done.channel,
        ts=done.ts,
        permalink=done.permalink,
        chart=chart,
        told=digest(incident),
        at=now,
    )
    return first


def _drawn(
    group: Group, incident: Incident, store: Store, charts: Charts, chart_store: ChartStore
) -> tuple[bytes, str]:
    """The chart, and where it is kept; drawing it again replaces it."""
    png = charts.incident(chart_data(group, incident, store))
    return png, chart_store.save(f"{group.name}/{incident.start:%Y-%m-%dT%H%M}Z-{incident.id}.png", png)


def _worst(failures: Sequence[AnomalyError]) -> AnomalyError:
    """What trying again cannot mend comes first."""
    return next((f for f in failures if isinstance(f, SlackRejectedError)), failures[0])


def chart_data(group: Group, incident: Incident, store: Store) -> ChartData:
    """What an incident's chart shows, from the metadata alone."""
    latest = store.predicted_until(group) or incident.end
    shown = TimeRange(
        max(group.floor(incident.start - CHART_BEFORE), group.first_interval()),
        max(min(group.floor(incident.end + CHART_AFTER), latest + group.interval), incident.end),
        group.interval,
    )
    by_name = {v.name: v for v in store.variables(group, left_out=True)}
    names = [part.variable for part in incident.variables if part.variable in by_name][:CHART_VARIABLES]
    variables = [by_name[name] for name in names]
    counts = store.read_counts(group, variables, shown).counts
    predictions = store.read_predictions(group, variables, shown)
    fitted: dict[str, FittedVariable] = {}
    # The first that judged the incident: a later one has other thresholds.
    for fit in store.champions(group, group.range(incident.start, incident.end))[:1]:
        fitted = {f.variable.name: f for f in store.fitted(fit.id, residuals=True, names=names) if f.distribution}

    unknown = np.full(counts.shape, np.nan)
    parts = []
    for row, name in enumerate(names):
        judged = fitted.get(name)
        p = predictions
        parts.append(
            ChartVariable(
                variable=name,
                starts=shown.starts(),
                observed=counts[row],
                predicted=p.predicted[row] if p else unknown[row],
                lower=p.lower[row] if p else unknown[row],
                upper=p.upper[row] if p else unknown[row],
                residuals=p.residuals[row] if p else unknown[row],
                anomalous=p.kinds[row] != "" if p else np.zeros(len(shown), dtype=bool),
                fitted_residuals=judged.residuals.astype(np.float64) if judged else np.empty(0),
                distribution=judged.distribution if judged else "",
                parameters=judged.parameters if judged else (),
                residual_lower=judged.lower if judged else float("-inf"),
                residual_upper=judged.upper if judged else float("inf"),
            )
        )
    return ChartData(group=group, incident=incident, variables=tuple(parts))
