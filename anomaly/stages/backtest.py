"""Backtest: what would have been alerted over past days, had the group run then with this policy.

In: a group, a range of the past that update has counted, and a `Bench`: a place where the real stages run without a
trace. Out: `Outcome`, every incident with the moment at which the channel would have heard of it; and `Difference`
between two outcomes.

Nothing here judges anything: fit, predict and alert do, as they would have at the time. A fit learns from what was
before its moment; intervals are judged by the champion of their time; alert is replayed interval by interval and sees
no interval that was not over. That the range between two fits is predicted in one go changes nothing: predict gives
the same numbers hour by hour and a year at once. One thing is not as it was then: the counts are those known today.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np

from anomaly.detection.evidence import SINGLE, Evidence, runs_per_excess
from anomaly.detection.incidents import Anomaly, Incident
from anomaly.detection.thresholds import in_intervals, limit, probabilities
from anomaly.groups import Group, TimeRange
from anomaly.ports import FittedVariable, Store
from anomaly.ports.labels import Label

RUN_IN = timedelta(days=14)
"""So long before the range the replay begins, where history allows: incidents repeat, and past ones are left out of
what is learned."""
_WEEK = timedelta(weeks=1)

LEARNED_BY = (
    *("source", "interval", "timezone", "variables", "total", "lateness", "history", "holidays", "candidates"),
    *("transform", "distribution", "schedule", "seed", "max_shards"),
)
"""Keys of a group's file on which fits depend; and ``incidents.merge_gap``, by which runs of anomalies are told apart.
All others matter to predict and alert alone."""


@dataclass(frozen=True, slots=True)
class Refit:
    """A fit that the schedule asks for."""

    at: datetime
    """When its run would have started."""
    until: datetime
    """Where its history ends."""


@dataclass(frozen=True, slots=True)
class FitDone:
    """What became of it."""

    refit: Refit
    promoted: bool
    said: str
    """The stage's sentence, or why it did not run."""


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that the channel would have been told about an incident."""

    incident: int
    at: datetime
    how: Literal["post", "edit", "reply", "digest"]


class Bench(Protocol):
    """Where a backtest's stages run: stores of their own, a channel that only notes what it is told."""

    def fit(self, refit: Refit) -> FitDone:
        """All steps of a fit, as known at its moment."""

    def judge(self, within: TimeRange) -> Sequence[datetime]:
        """Predicts the range; returns the starts of its anomalous intervals, in order."""

    def tell(self, interval: TimeRange) -> bool:
        """Runs alert for one interval, right after it; whether something goes on or waits."""

    def incidents(self) -> Sequence[Incident]:
        """All there are, by start."""

    def messages(self) -> Sequence[Told]:
        """What the channel was told, in order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backtest does, in order."""

    within: TimeRange
    """What is reported."""
    refits: tuple[Refit, ...]
    """The first of them is the beginning of the replay."""

    def parts(self) -> Iterator[tuple[Refit, TimeRange | None]]:
        """Each refit, and the range until the next one; None where that is empty."""
        ends = [*(refit.until for refit in self.refits[1:]), self.within.end]
        for refit, end in zip(self.refits, ends, strict=False):  # without any there is nothing to end
            begin = refit.until
            yield refit, TimeRange(begin, end, self.within.step) if begin < end else None

    @property
    def intervals(self) -> int:
        """That are judged, the run-in included."""
        return sum(len(part) for _, part in self.parts() if part is not None)


def plan(group: Group, within: TimeRange, scheduled: Sequence[Refit], *, run_in: timedelta = RUN_IN) -> Plan:
    """Which fits serve the range: those that the schedule asks for in it, and before it as many as the run-in takes.

    Args:
        group: whose schedule it is.
        within: to be reported.
        scheduled: all runs of the fit's schedule before the range's end, by time.
        run_in: replayed before the range.
    """
    able = [r for r in scheduled if _has_history(group, r) and r.until < within.end]
    early = [r for r in able if r.until <= within.start - run_in]
    first = next(iter(early[-1:] or able[:1]), None)
    return Plan(within, tuple(r for r in able if first is not None and r.until >= first.until))


def _has_history(group: Group, refit: Refit) -> bool:
    begin = max(group.floor(refit.until - group.history.length), group.first_interval())
    return refit.until - begin >= group.history.minimum


# --- running ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alert:
    """An incident as it would have ended, and when the channel would have heard of it."""

    incident: Incident
    told_at: datetime | None
    """None when policy gave it no message of its own: planned, snoozed, for the digest or the review page alone."""
    listed_at: datetime | None = None
    """When a digest named it."""
    edits: int = 0
    replies: int = 0
    """To its message, and in its thread."""

    @property
    def waited(self) -> timedelta | None:
        """From the incident's first anomalous interval to its post."""
        return None if self.told_at is None else self.told_at - self.incident.start


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy would have said."""

    group: Group
    within: TimeRange
    fits: tuple[FitDone, ...]
    alerts: tuple[Alert, ...]
    """Incidents that begin in the range, by start."""

    @property
    def weeks(self) -> float:
        return (self.within.end - self.judged_from) / _WEEK if self.judged_from < self.within.end else 0.0

    @property
    def judged_from(self) -> datetime:
        """Since when there was a champion, or the range's beginning."""
        serving = [done.refit.until for done in self.fits if done.promoted]
        return max(min(serving, default=self.within.end), self.within.start)

    @property
    def told(self) -> tuple[Alert, ...]:
        """Those of which the channel would have heard."""
        return tuple(alert for alert in self.alerts if alert.told_at is not None)

    @property
    def heard(self) -> tuple[Alert, ...]:
        """These, and those that a digest would have named."""
        return tuple(alert for alert in self.alerts if alert.told_at is not None or alert.listed_at is not None)

    @property
    def per_week(self) -> float:
        """Alerts that the channel would have heard of."""
        return len(self.told) / self.weeks if self.weeks else 0.0

    def severities(self) -> Mapping[str, int]:
        """Told alerts by severity, all three named."""
        found = Counter(alert.incident.severity for alert in self.told)
        return {severity: found[severity] for severity in ("critical", "high", "low")}


def replay(group: Group, planned: Plan, bench: Bench, *, told: Callable[[int, str], None]) -> Outcome:
    """Runs the plan.

    Args:
        group: with the policy to be tried.
        planned: what to run.
        bench: where.
        told: progress: intervals that are done since last time, and what comes next, in words.
    """
    fits = []
    for refit, part in planned.parts():
        told(0, f"fit up to {refit.until.astimezone(group.zone):%Y-%m-%d %H:%M}")
        fits.append(bench.fit(refit))
        if part is not None:
            _through(group, part, bench, told=told)
    return outcome(group, planned, bench, fits)


def retell(
    group: Group, planned: Plan, bench: Bench, fits: Sequence[FitDone], *, told: Callable[[int, str], None]
) -> Outcome:
    """The same with fits that are there already: another policy's, with this one's thresholds."""
    for _, part in planned.parts():
        if part is not None:
            _through(group, part, bench, told=told)
    return outcome(group, planned, bench, fits)


def _through(group: Group, part: TimeRange, bench: Bench, *, told: Callable[[int, str], None]) -> None:
    """Predicts a range, and tells of it interval by interval; where nothing is anomalous, goes on or waits, alert has
    nothing to do."""
    local = f"{part.start.astimezone(group.zone):%Y-%m-%d}"
    told(0, f"predict from {local}")
    anomalous = set(bench.judge(part))
    busy, done = True, 0
    for interval in part.chunks(1):
        done += 1
        if busy or interval.start in anomalous:
            busy = bench.tell(interval)
            told(done, f"alert from {local}")
            done = 0
    told(done, f"alert from {local}")


def outcome(group: Group, planned: Plan, bench: Bench, fits: Sequence[FitDone]) -> Outcome:
    """What is on the bench, as far as it begins in the range."""
    first: dict[tuple[int, str], datetime] = {}
    number: Counter[tuple[int, str]] = Counter()
    for message in bench.messages():
        number[message.incident, message.how] += 1
        first.setdefault((message.incident, message.how), message.at)
    ended = [i for i in bench.incidents() if i.start in planned.within and not i.withdrawn]
    alerts = [
        Alert(
            i,
            first.get((i.id or 0, "post")),
            first.get((i.id or 0, "digest")),
            number[i.id or 0, "edit"],
            number[i.id or 0, "reply"],
        )
        for i in ended
    ]
    return Outcome(group, planned.within, tuple(fits), tuple(alerts))


class StoreAsOf:
    """A store that does not know what came after a moment: alert, replayed, is to see what it saw then.

    Everything else is the store's own.
    """

    def __init__(self, store: Store, interval: TimeRange) -> None:
        self._store, self._interval = store, interval

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def predicted_until(self, group: Group) -> datetime | None:
        """Start of the latest interval that had a prediction."""
        found = self._store.predicted_until(group)
        return None if found is None else min(found, self._interval.end - self._interval.step)

    def anomalies(self, group: Group, within: TimeRange) -> Sequence[Anomaly]:
        """By start and variable, of intervals that were over."""
        if within.start >= self._interval.end:
            return ()
        return self._store.anomalies(group, replace(within, end=min(within.end, self._interval.end)))


@dataclass(frozen=True, slots=True)
class LateRows:
    """How much of the counts was not there when they were counted first, as far as that is still known."""

    counts: int
    """Of which it is known."""
    changed: int

    def words(self) -> str:
        """A sentence for the report."""
        if not self.counts:
            return "How many that were is not known for these days."
        share = self.changed / self.counts
        said = f"Of the {self.counts:,} counts of which the first look is still known, {share:.1%} were completed later"
        return f"{said}; live, young counts are judged by how they usually fill in." if self.changed else f"{said}."


def late_rows(group: Group, within: TimeRange, store: Store) -> LateRows:
    """What the real store still knows of first looks."""
    variables = store.variables(group)
    first = store.read_count_ages(group, variables, within, 0)
    now = store.read_counts(group, variables, within).counts
    known = np.isfinite(first) & np.isfinite(now)
    return LateRows(int(known.sum()), int((known & (first != now)).sum()))


# --- two policies -------------------------------------------------------------------------------------------------


def same_fits(one: Group, other: Group) -> bool:
    """Whether two policies differ only in what predict and alert use."""
    return one.incidents.merge_gap == other.incidents.merge_gap and all(
        getattr(one, key) == getattr(other, key) for key in LEARNED_BY
    )


def with_policy(group: Group, fitted: Sequence[FittedVariable]) -> tuple[FittedVariable, ...]:
    """A fit's variables with the thresholds that a group's policy gives; their tests stay as they were learned."""
    shares = probabilities(group.threshold, [f.variable.name for f in fitted], interval=group.interval)
    return tuple(_with_share(group, f, float(share)) for f, share in zip(fitted, shares, strict=True))


def _with_share(group: Group, fitted: FittedVariable, share: float) -> FittedVariable:
    probability = in_intervals(share, runs_per_excess(fitted.tests))
    lower, upper = float("-inf"), float("inf")
    if any(test.test == SINGLE for test in fitted.tests):
        limits = np.array([limit(probability, group.threshold.direction)])
        evidence = Evidence([fitted.tests], step=group.interval, transform=group.transform)
        lower, upper = (float(side[0]) for side in evidence.thresholds(limits, group.threshold.direction))
    return replace(fitted, tail_probability=probability, lower=lower, upper=upper)


@dataclass(frozen=True, slots=True)
class Difference:
    """One incident under two policies."""

    how: Literal["disappears", "appears", "changes", "stays"]
    before: Alert | None
    after: Alert | None
    what: tuple[str, ...] = ()
    """What changes, in words."""


def differences(before: Outcome, after: Outcome) -> tuple[Difference, ...]:
    """What the second policy makes of the first one's alerts, by start. Only what the channel hears of counts.

    An alert stays when one of the other's overlaps it in time and shares a variable; of several, the first.
    """
    left = list(after.told)
    found = []
    for alert in before.told:
        same = next((other for other in left if _alike(alert.incident, other.incident)), None)
        if same is None:
            found.append(Difference("disappears", alert, None, _instead(alert, after)))
            continue
        left.remove(same)
        what = tuple(_changes(before.group, alert, same))
        found.append(Difference("changes" if what else "stays", alert, same, what))
    found += [Difference("appears", None, alert, _before(alert, before)) for alert in left]
    return tuple(sorted(found, key=lambda d: (d.before or d.after).incident.start))  # type: ignore[union-attr]


def _instead(alert: Alert, after: Outcome) -> tuple[str, ...]:
    """What becomes of an incident that gets no message of its own any more; nothing where it is none."""
    same = next((other for other in after.alerts if _alike(alert.incident, other.incident)), None)
    return () if same is None else ("a digest names it" if same.listed_at else "policy keeps it from the channel",)


def _before(alert: Alert, before: Outcome) -> tuple[str, ...]:
    """What was there of an incident that now gets a message of its own."""
    same = next((other for other in before.alerts if _alike(alert.incident, other.incident)), None)
    return () if same is None else ("a digest named it" if same.listed_at else "policy kept it from the channel",)


def _alike(one: Incident, other: Incident) -> bool:
    names = {v.variable for v in one.variables}
    return one.start < other.end and other.start < one.end and any(v.variable in names for v in other.variables)


def _changes(group: Group, one: Alert, other: Alert) -> Iterator[str]:
    a, b = one.incident, other.incident
    if a.severity != b.severity:
        yield f"{b.severity} instead of {a.severity}"
    if a.kind != b.kind:
        yield f"{b.kind} instead of {a.kind}"
    if (a.start, a.end) != (b.start, b.end):
        begin, end = (b.start - a.start), (b.end - a.end)
        moved = [f"begins {_moved(begin)}" if begin else "", f"ends {_moved(end)}" if end else ""]
        yield " and ".join(filter(None, moved))
    more = len({v.variable for v in b.variables} - {v.variable for v in a.variables})
    fewer = len({v.variable for v in a.variables} - {v.variable for v in b.variables})
    if more or fewer:
        said = [
            f"{more} {'variable' if more == 1 else 'variables'} more" if more else "",
            f"{fewer} fewer" if fewer else "",
        ]
        yield " and ".join(filter(None, said))
    if one.told_at and other.told_at and one.told_at != other.told_at:
        yield f"told {_moved(other.told_at - one.told_at)}"
    if group.slack.route(a.severity) != group.slack.route(b.severity) and a.severity == b.severity:
        yield f"goes to {group.slack.route(b.severity)}"


def _moved(by: timedelta) -> str:
    hours = abs(by) / timedelta(hours=1)
    return f"{hours:,.3g} h {'later' if by > timedelta(0) else 'earlier'}"


# --- what people said ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Confirmed:
    """How an outcome does by what people have said of the range."""

    labelled: Mapping[int, Label] = field(default_factory=dict)
    """By the id of an outcome's incident."""
    words: Mapping[str, int] = field(default_factory=dict)
    """Told alerts per word; ``''`` for those of which nobody said anything."""
    kept: tuple[Label, ...] = ()
    lost: tuple[Label, ...] = ()
    """Confirmed incidents of the range that the channel would have heard of, by a digest at least, and others."""


def confirmed(found: Outcome, labels: Sequence[Label]) -> Confirmed:
    """Compares alerts with labels: they belong together when they overlap and share a variable."""
    labelled = {}
    for alert in found.told:
        match = next((label for label in labels if _speaks_of(label, alert.incident)), None)
        if match is not None and alert.incident.id is not None:
            labelled[alert.incident.id] = match
    real = [label for label in labels if label.word == "real" and label.start in found.within]
    hit = [label for label in real if any(_speaks_of(label, alert.incident) for alert in found.heard)]
    words = Counter(labelled[i].word if (i := a.incident.id or 0) in labelled else "" for a in found.told)
    return Confirmed(
        labelled,
        {word: words[word] for word in ("real", "expected", "false_alarm", "")},
        tuple(hit),
        tuple(label for label in real if label not in hit),
    )


def _speaks_of(label: Label, incident: Incident) -> bool:
    names = {v.variable for v in incident.variables}
    return label.start < incident.end and incident.start < label.end and bool(names.intersection(label.variables))
