"""From anomalous intervals to incidents: what belongs together is told once.

In: the anomalies of a group, in time. Out: incidents, each a stretch of time with the variables that took part.

**What belongs together.** Anomalies of any variables belong to the same incident when no more than the group's
merge gap lies between one and the next: a snow storm that empties fourteen variables for a day is one incident, and
so is a pipeline that fails, recovers for an hour and fails again. After a merge gap of quiet it is resolved.

**What is enough.** An incident needs so many anomalous intervals, over all variables, and lasts so long, as the
group's policy says. An anomaly found over several intervals (``sum-24``) stands for all of them, and one that says
itself how long something has been wrong (``frozen``, ``silence``, ``level``) is always enough.

**What repeats must be clearer.** A variable with more than one earlier incident that ended within the group's
`repeat_window` has a higher threshold for opening the next: ten times rarer for each but the latest, fading evenly to
nothing at the window's end, a thousand times rarer at most. The second is told like the first. Anomalies below it open
no incident, but belong to one that others open. It follows from the anomalies of that window alone, opened or not.

**How bad it is.** The sum of these points; `low` up to 3, `high` from 4, `critical` from 8:

=================================  ============  ============  ============
points                             0             1             2
=================================  ============  ============  ============
kind                               surge, shift  drop, frozen  silent
events lost or added, of expected  under 25 %    from 25 %     from 50 %
variables                          1             2 to 4        from 5
duration                           under 6 h     from 6 h      from 24 h
beyond its threshold               < 10x rarer   10x rarer     1,000x rarer
=================================  ============  ============  ============

A group's total counts as five variables, and what it loses is counted once. A frozen count has no share of events:
its points are 1 there, because nobody knows what was lost. Rarity counts against the threshold, not by the return
period alone: of 5,000 variables one does something every week that it does itself once in a century.

**When it is told again.** An incident that goes on is told once; its message is edited as it changes. It gets one
more notice only when it is clearly worse than when it was told last: a severity higher, twice as many variables (and
three more at least), or a worst interval a thousand times rarer.

Everything depends only on the anomalies, not on how the intervals were handed over: hour by hour and a year at once
give the same incidents.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from anomaly.detection.causes import Shared
from anomaly.detection.lookback import ALWAYS_ENOUGH, lookback
from anomaly.detection.thresholds import return_period
from anomaly.groups.model import TOTAL

Severity = Literal["low", "high", "critical"]
Place = Literal["message", "waiting", "digest", "page"]
"""Where people find an incident: in a message of its own, soon in one, in the day's digest, on the review page only."""

SEVERITIES: tuple[Severity, ...] = ("low", "high", "critical")
DOWNWARDS = frozenset({"drop", "silent"})

HIGH_FROM, CRITICAL_FROM = 4, 8
KIND_POINTS = {"surge": 0, "shift": 0, "drop": 1, "frozen": 1, "silent": 2}
SHARES = (0.25, 0.5)
VARIABLES = (2, 5)
DURATIONS = (timedelta(hours=6), timedelta(hours=24))
DECADES = (1.0, 3.0)

DECADES_PER_REPEAT = 1.0
MOST_DECADES = 3.0
"""How many times rarer, in powers of ten, a repeated incident must be: per earlier one, and at most."""

GROWN = 2
"""How many times as long as before an incident must last to be another one to look at (`grown`)."""

WORSE_VARIABLES, MORE_VARIABLES = 2, 3
WORSE_PROBABILITY = 1e-3
"""What makes an incident clearly worse than when it was told."""


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
    allowed: float = 1.0
    """Tail probability behind the variable's thresholds: what is rarer is an anomaly. 1 where unknown."""
    test: str = "single"
    """What found it: ``single``, ``sum-3`` (over three intervals), …, ``frozen``, ``silence``, ``level``; or
    ``together``, for an interval that only the others' anomalies make one (`anomaly.detection.discoveries`)."""

    @property
    def decades(self) -> float:
        """How far beyond its threshold it is: powers of ten in probability, at least 0."""
        return _decades(self.allowed, self.tail_probability)


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
    """Events observed and expected, summed over the intervals that its tests looked at."""
    tail_probability: float
    """Of its worst interval."""
    allowed: float = 1.0
    """Tail probability behind the thresholds of that interval; 1 where unknown."""
    test: str = "single"
    """What found its worst interval."""
    stretch: timedelta | None = None
    """What that test looked at: the intervals summed, the time without a write, the time with the same count."""
    usual: timedelta | None = None
    """Of `silence`: the time without a write that is usual."""

    @property
    def decades(self) -> float:
        """How far beyond its threshold its worst interval is, as in `Anomaly.decades`."""
        return _decades(self.allowed, self.tail_probability)


@dataclass(frozen=True, slots=True)
class Said:
    """What the thread of an incident has said of it so far, its first message included."""

    severity: Severity
    variables: tuple[str, ...]
    """Those that departed, sorted."""
    tail_probability: float
    resolved: bool
    withdrawn: bool
    channels: tuple[str, ...] = ()
    """Channels of the group's policy that have heard of it."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Anomalies that belong together."""

    group: str
    kind: str
    start: datetime
    end: datetime
    """Exclusive: the end of its last anomalous interval."""
    resolved: bool
    """Whether the merge gap has passed, and with it the last interval whose anomaly would have belonged here."""
    tail_probability: float
    """Of the worst interval of the worst variable."""
    return_period_hours: float
    variables: tuple[IncidentVariable, ...]
    """The worst first."""
    severity: Severity = "low"
    shared: tuple[Shared, ...] = ()
    """What its variables have in common, the clearest first."""
    id: int | None = None
    channel: str | None = None
    slack_ts: str | None = None
    permalink: str | None = None
    chart: str | None = None
    withdrawn: bool = False
    """Nothing is left of it: late rows explained it, or it has grown together with an older one."""
    told: str | None = None
    """Digest of what its message says."""
    told_severity: Severity | None = None
    told_variables: int | None = None
    told_tail_probability: float | None = None
    """What it was when the channel was last notified of it, by its post or by a later notice; edits notify nobody."""
    place: Place = "message"
    place_reason: str = ""
    """Why it is not, or not yet, in a message: ``planned: stock-taking``."""
    digest_id: int | None = None
    """The digest that lists it."""
    thread: Said | None = None
    """None while it has no message."""

    def says_the_same_as(self, other: Incident) -> bool:
        """Whether a message about either would read the same."""
        return replace(other, **{name: getattr(self, name) for name in DELIVERY}) == self

    @property
    def departed(self) -> tuple[IncidentVariable, ...]:
        """Its variables, the worst first; the group's total only when it stands alone, for it is the sum of others."""
        return tuple(v for v in self.variables if v.variable != TOTAL) or self.variables

    @property
    def clearly_worse(self) -> bool:
        """Whether it goes on and has become clearly worse since the channel was last notified."""
        if self.resolved or self.withdrawn or self.told_severity is None:
            return False
        variables = len(self.departed)
        before = variables if self.told_variables is None else self.told_variables
        rarest = self.tail_probability if self.told_tail_probability is None else self.told_tail_probability
        return (
            SEVERITIES.index(self.severity) > SEVERITIES.index(self.told_severity)
            or variables >= max(WORSE_VARIABLES * before, before + MORE_VARIABLES)
            or self.tail_probability <= WORSE_PROBABILITY * rarest
        )


DELIVERY = (
    *("id", "channel", "slack_ts", "permalink", "chart"),
    *("told", "told_severity", "told_variables", "told_tail_probability"),
    *("place", "place_reason", "digest_id", "thread"),
)
"""Fields about telling an incident, not about the incident."""


def gather(
    group: str,
    anomalies: Sequence[Anomaly],
    *,
    step: timedelta,
    merge_gap: timedelta,
    min_anomalies: int,
    until: datetime,
    min_duration: timedelta = timedelta(0),
    repeat_window: timedelta = timedelta(0),
    since: datetime | None = None,
) -> tuple[Incident, ...]:
    """The incidents that the anomalies make up, by start.

    Args:
        group: the group's name.
        anomalies: in any order.
        step: length of an interval.
        merge_gap: longest stretch without anomalies inside one incident.
        min_anomalies: fewer anomalous intervals than this, over all variables, make no incident.
        until: end of the last interval that was judged; decides what is resolved.
        min_duration: what is over in less makes no incident.
        repeat_window: so long after a variable's incidents to one side, its next must be clearer; 0 for no such rule.
        since: only incidents that start at this moment or later; earlier anomalies are there to be repeated.
    """
    enough = _Enough(step, min_anomalies, min_duration)
    found = []
    for chain, clear in _clear(anomalies, enough, merge_gap=merge_gap, repeat_window=repeat_window):
        if (since is None or chain[0].start >= since) and enough(clear):
            resolved = _end(chain, step) + merge_gap < until
            found.append(_incident(group, chain, step=step, resolved=resolved))
    return tuple(found)


def grown(
    group: str,
    anomalies: Sequence[Anomaly],
    *,
    step: timedelta,
    merge_gap: timedelta,
    min_anomalies: int,
    min_duration: timedelta = timedelta(0),
    repeat_window: timedelta = timedelta(0),
    of: Collection[datetime],
) -> dict[datetime, tuple[Incident, ...]]:
    """How incidents grew, by their start: as each was when it opened, whenever it had lasted twice as long, and as it
    is. Each is what `gather` gives of the anomalies up to then.

    Args:
        of: starts of the incidents that are asked for. The others are as in `gather`.
    """
    enough = _Enough(step, min_anomalies, min_duration)
    found = {}
    for chain, clear in _clear(anomalies, enough, merge_gap=merge_gap, repeat_window=repeat_window):
        start = chain[0].start
        states: list[Incident] = []
        for at in sorted({a.start for a in chain}) if start in of else ():
            long_enough = not states or at + step - start >= GROWN * (states[-1].end - start)
            if (long_enough or at == chain[-1].start) and enough([a for a in clear if a.start <= at]):
                until = [a for a in chain if a.start <= at]
                states.append(_incident(group, until, step=step, resolved=False))
        if states:
            found[start] = tuple(states)
    return found


def joined(incident: Incident, weaker: Sequence[Anomaly], step: timedelta) -> Incident:
    """The incident with variables that only the others' anomalies make part of it.

    Args:
        weaker: of variables that are not in the incident yet, within its time.
    """
    variables = _worst_first((*incident.variables, *_parts(sorted(weaker, key=_in_time), step)))
    return rated(replace(incident, variables=variables))


def rated(incident: Incident) -> Incident:
    """The incident with its severity, after the table above."""
    points = severity_points(incident)
    level = 2 if points >= CRITICAL_FROM else 1 if points >= HIGH_FROM else 0
    return replace(incident, severity=SEVERITIES[level])


def severity_points(incident: Incident) -> int:
    """0 to 10, after the table above."""
    observed = sum(v.observed for v in incident.departed)
    expected = sum(v.expected for v in incident.departed)
    everywhere = any(v.variable == TOTAL for v in incident.variables)
    share = SHARES[0] if incident.kind == "frozen" else abs(observed - expected) / max(expected, 1.0)
    lasted = max([incident.end - incident.start, *(v.stretch for v in incident.variables if v.stretch)])
    return (
        KIND_POINTS.get(incident.kind, 1)
        + sum(share >= least for least in SHARES)
        + (len(VARIABLES) if everywhere else sum(len(incident.departed) >= least for least in VARIABLES))
        + sum(lasted >= least for least in DURATIONS)
        + sum(max(v.decades for v in incident.variables) >= least for least in DECADES)
    )


@dataclass(frozen=True, slots=True)
class _Enough:
    """Whether anomalies are enough for an incident."""

    step: timedelta
    min_anomalies: int
    min_duration: timedelta

    def __call__(self, anomalies: Sequence[Anomaly]) -> bool:
        if not anomalies:
            return False
        begins = [a.start + self.step - lookback(a.test, self.step) for a in anomalies]
        alone = any(a.test in ALWAYS_ENOUGH for a in anomalies)
        long = anomalies[-1].start + self.step - min(begins) >= self.min_duration
        return (alone or self._intervals(anomalies) >= self.min_anomalies) and (long or alone)

    def _intervals(self, anomalies: Sequence[Anomaly]) -> int:
        """Intervals that the anomalies stand for, over all variables."""
        seen: dict[str, datetime] = {}
        total = 0
        for anomaly in anomalies:
            end = anomaly.start + self.step
            begin = end - lookback(anomaly.test, self.step)
            total += (end - max(begin, seen.get(anomaly.variable, begin))) // self.step
            seen[anomaly.variable] = end
        return total


def _decades(allowed: float, tail_probability: float) -> float:
    """A little is given, so that a thousand times is three decades whatever the last bits say."""
    return max(0.0, math.log10(allowed / max(tail_probability, 1e-300)) + 1e-9)


def _raised(ends: Sequence[datetime], start: datetime, window: timedelta) -> float:
    """Powers of ten by which a variable's threshold is raised, after incidents that ended at `ends`. What happens a
    second time is told like the first: two storms in a week are two storms."""
    fresh = sorted(1 - (start - end) / window for end in ends if start - end < window)
    return min(DECADES_PER_REPEAT * sum(fresh[:-1]), MOST_DECADES)


def _clear(
    anomalies: Sequence[Anomaly], enough: _Enough, *, merge_gap: timedelta, repeat_window: timedelta
) -> Iterator[tuple[list[Anomaly], list[Anomaly]]]:
    """Anomalies that belong together, and those of them that are clear enough to open an incident after others of the
    same variables to the same side; both in time."""
    ended: dict[tuple[str, str], list[datetime]] = {}
    for chain in _chains(anomalies, step=enough.step, merge_gap=merge_gap):
        start = chain[0].start
        raised = {_thing(a): _raised(ended.get(_thing(a), ()), start, repeat_window) for a in chain}
        yield chain, [a for a in chain if a.decades >= raised[_thing(a)]]
        if enough(chain):
            for thing in raised:
                ended.setdefault(thing, []).append(_end(chain, enough.step))


def _thing(anomaly: Anomaly) -> tuple[str, str]:
    """What can happen again: a surge after a drop is something else."""
    if anomaly.kind == "frozen":
        return anomaly.variable, "frozen"
    down = anomaly.kind in DOWNWARDS or (anomaly.kind == "shift" and anomaly.observed < anomaly.predicted)
    return anomaly.variable, "down" if down else "up"


def _in_time(anomaly: Anomaly) -> tuple[datetime, str]:
    return anomaly.start, anomaly.variable


def _chains(anomalies: Sequence[Anomaly], *, step: timedelta, merge_gap: timedelta) -> Iterator[list[Anomaly]]:
    chain: list[Anomaly] = []
    for anomaly in sorted(anomalies, key=_in_time):
        if chain and anomaly.start - _end(chain, step) > merge_gap:
            yield chain
            chain = []
        chain.append(anomaly)
    if chain:
        yield chain


def _end(chain: Sequence[Anomaly], step: timedelta) -> datetime:
    return chain[-1].start + step


def _incident(group: str, chain: Sequence[Anomaly], *, step: timedelta, resolved: bool) -> Incident:
    variables = _worst_first(_parts(chain, step))
    worst = variables[0].tail_probability
    return rated(
        Incident(
            group=group,
            kind=_kind(chain),
            start=chain[0].start,
            end=_end(chain, step),
            resolved=resolved,
            tail_probability=worst,
            return_period_hours=return_period(worst, step) / timedelta(hours=1),
            variables=variables,
        )
    )


def _worst_first(parts: Sequence[IncidentVariable]) -> tuple[IncidentVariable, ...]:
    return tuple(sorted(parts, key=lambda v: (v.tail_probability, -abs(v.observed - v.expected), v.variable)))


def _parts(anomalies: Sequence[Anomaly], step: timedelta) -> list[IncidentVariable]:
    """Each variable's part. The anomalies are in time."""
    by_variable: dict[str, list[Anomaly]] = {}
    for anomaly in anomalies:
        by_variable.setdefault(anomaly.variable, []).append(anomaly)
    return [_part(name, own, step) for name, own in by_variable.items()]


def _part(name: str, own: Sequence[Anomaly], step: timedelta) -> IncidentVariable:
    worst = min(own, key=lambda a: (a.tail_probability, a.start))
    length = lookback(worst.test, step)
    return IncidentVariable(
        variable=name,
        kind=_kind(own),
        start=own[0].start,
        end=own[-1].start + step,
        anomalies=len(own),
        observed=sum(a.observed for a in own),
        expected=sum(a.predicted for a in own),
        tail_probability=worst.tail_probability,
        allowed=worst.allowed,
        test=worst.test,
        stretch=length if length > step else None,
    )


def _kind(anomalies: Sequence[Anomaly]) -> str:
    """``silent`` when nothing at all was written, else what most intervals say; downwards when in doubt."""
    kinds = Counter(a.kind for a in anomalies)
    if set(kinds) == {"silent"}:
        return "silent"
    downwards = sum(number for kind, number in kinds.items() if kind in DOWNWARDS)
    others = sorted((-number, kind) for kind, number in kinds.items() if kind not in DOWNWARDS)
    return "drop" if not others or 2 * downwards >= len(anomalies) else others[0][1]
