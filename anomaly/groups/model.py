"""A variable group as the rest of the system sees it: frozen, typed, and already checked.

Units are in the types: durations are `timedelta`, moments are aware `datetime`. Every field's description is
what ``anomaly groups check`` and the documentation show; a new key is a new field here and nothing else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from anomaly.groups.calendar_rules import PlannedEvent, Quiet, TimeOfDay, Weekly, WeeklyMoment, quiet_until
from anomaly.groups.durations import Duration
from anomaly.groups.frozen import Frozen as _Frozen
from anomaly.groups.intervals import TimeRange, ceil_to, floor_to


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("an IANA time zone such as Europe/Berlin or UTC")
    return name


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as bad:
        raise ValueError(f"a regular expression; this one does not compile: {bad}") from None
    return pattern


def _cron(expression: str) -> str:
    if len(expression.split()) != 5:
        raise ValueError("a cron expression of five fields, such as '0 6 * * 1'")
    return expression


def _cron_or_never(expression: str) -> str:
    try:
        return _cron(expression)
    except ValueError as bad:
        raise ValueError(f"{bad}, or never") from None


def _or_never(written: Any) -> Any:
    return None if written is False or written == "never" else written


TimeZoneName = Annotated[str, AfterValidator(_known_zone)]
Name = Annotated[str, Field(min_length=1)]


DEFAULT_CANDIDATES = ("seasonal-naive", "seasonal-rate", "departure-linear", "departure-16-mae", "dense-16-mae")


class Direction(StrEnum):
    """Which departures from the prediction count."""

    BOTH = "both"
    DROP = "drop"
    SURGE = "surge"


class Transform(StrEnum):
    """In which space residuals are taken."""

    ANSCOMBE = "anscombe"
    LINEAR = "linear"


class Columns(_Frozen):
    """Names of the source's columns."""

    entity_id: Name = "entity_id"
    variable: Name = "variable"
    type: Name = "type"
    value: Name = "value"
    timestamp: Name = "timestamp"


class Source(_Frozen):
    """Where the events are read. Exactly one of `table` and `query`."""

    connection: Name
    """Airflow connection (or ``AIRFLOW_CONN_<ID>`` for the command line) of a role that may only read."""
    table: Name | None = None
    """``table`` or ``schema.table``."""
    query: Name | None = None
    """A SELECT whose result has the columns below."""
    columns: Columns = Field(default_factory=Columns)
    timezone: TimeZoneName | None = None
    """Zone of the timestamps, needed when and only when the column is ``timestamp without time zone``."""
    statement_timeout: Duration = timedelta(minutes=5)
    """The database ends a statement of ours that runs longer."""

    @model_validator(mode="after")
    def _table_or_query(self) -> Self:
        if (self.table is None) == (self.query is None):
            found = "neither" if self.table is None else "both"
            raise ValueError(f"exactly one of table and query; found {found}")
        return self


def _selection(written: Any) -> Any:
    if written == "all":
        return {}
    if isinstance(written, list):
        return {"names": written}
    if isinstance(written, dict | VariableSelection):
        return written
    raise ValueError("'all', a list of names, or a mapping with the key 'pattern'")


class VariableSelection(_Frozen):
    """Which of the source's variables belong to the group: a list, a pattern, or all found."""

    names: tuple[Name, ...] | None = None
    """Exactly these, found or not: a listed variable that is never written is padded with zeros."""
    pattern: Annotated[str, AfterValidator(_compilable)] | None = None
    """Regular expression that the whole name must match."""

    @cached_property
    def listed(self) -> frozenset[str]:
        """The names, to look one up among thousands at once."""
        return frozenset(self.names or ())

    def __contains__(self, name: str) -> bool:
        if self.names is not None:
            return name in self.listed
        return self.pattern is None or re.fullmatch(self.pattern, name) is not None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.names is not None and self.pattern is not None:
            raise ValueError("either a list of names or a pattern, not both")
        if self.names is not None and len(set(self.names)) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise ValueError(f"each name once; found twice: {', '.join(twice)}")
        if self.names == ():
            raise ValueError("at least one name, or 'all'")
        return self


TOTAL = "(total)"
"""Name of the variable that is the sum of all others of its group."""


class Threshold(_Frozen):
    """When an interval is an anomaly, in people's units."""

    false_alerts_per_week: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Incidents the channel accepts per week by chance, over all variables of the group together."""
    direction: Direction = Direction.BOTH
    min_absolute: Annotated[float, Field(ge=0)] = 0.0
    """Departures of fewer events than this, over the intervals that a test adds up, never count."""
    min_relative: Annotated[float, Field(ge=0)] = 0.0
    """Departures smaller than this share of what was expected of these intervals never count. Neither floor holds for
    frozen values."""


class Incidents(_Frozen):
    """How anomalies become incidents."""

    merge_gap: Duration = timedelta(hours=12)
    """Anomalies at most this far apart belong to the same incident; after it, the incident is resolved."""
    min_anomalies: Annotated[int, Field(ge=1)] = 3
    """Fewer anomalous intervals than this, over all variables, open no incident. An anomaly found over several
    intervals counts for all of them; a frozen value, a silence and a new level are enough by themselves."""
    min_duration: Duration = timedelta(0)
    """What is over in less time than this opens no incident; 0h for no such rule."""
    repeat_window: Duration = timedelta(days=7)
    """Within this time after two incidents of a variable to the same side, its next one must be clearer to open: ten
    times rarer for each but the latest, fading with time. 0h for no such rule."""


class Schedule(_Frozen):
    """When the DAGs run."""

    start: AwareDatetime
    """Nothing before this moment is counted or scheduled."""
    end: AwareDatetime | None = None
    """No run is scheduled after this moment. Ranges can still be run by hand."""
    catchup: bool = False
    """Whether the scheduler runs every interval since `start`."""
    fit: Annotated[str, AfterValidator(_cron)] = "0 6 * * 1"
    """Cron expression, in the group's time zone, for fitting."""
    detectability: Annotated[Annotated[str, AfterValidator(_cron_or_never)] | None, BeforeValidator(_or_never)] = (
        "30 3 * * *"
    )
    """Cron expression, in the group's time zone, for measuring what each variable would notice; ``never`` for none."""
    delay: Duration = timedelta(minutes=5)
    """How long after the end of an interval it is first counted."""

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"an end after the start; found {self.start.isoformat()} to {self.end.isoformat()}")
        return self


class History(_Frozen):
    """What a fit learns from."""

    length: Duration = timedelta(days=90)
    """At most this much history before the moment of the fit."""
    minimum: Duration = timedelta(days=21)
    """A fit with less than this much history fails."""


_CHANNEL = r"(#[\w-]+|[CG][A-Z0-9]{8,})"


_Route = Annotated[str, Field(pattern=f"^(digest|page|{_CHANNEL})$")]


class Routes(_Frozen):
    """By severity: another channel, ``digest`` for one message a day that lists them, ``page`` for the review page
    alone."""

    low: _Route | None = None
    high: _Route | None = None
    critical: _Route | None = None


class PromotionMode(StrEnum):
    """Who decides that a challenger serves."""

    AUTOMATIC = "automatic"
    REVIEWED = "reviewed"


class FalseAlarms(StrEnum):
    """What follows when a known false alarm would come back."""

    REPORT = "report"
    BLOCK = "block"


class Promotion(_Frozen):
    """When a challenger takes the champion's place."""

    mode: PromotionMode = PromotionMode.AUTOMATIC
    """``automatic``: when it is not worse and loses nothing. ``reviewed``: when somebody approves it, in the task
    ``approve`` of the fit's DAG, in MLflow (alias ``champion``, or tag ``review=approved``), or by
    ``anomaly models promote``; whichever comes first."""
    wait: Duration = timedelta(days=7)
    """So long a review may take. Then the challenger is rejected, and the next fit can begin."""
    margin: Annotated[float, Field(ge=0, le=1)] = 0.02
    """A challenger whose errors are larger than the champion's by more than this share, in the median over the
    variables, is worse."""
    lost_variables: Annotated[float, Field(ge=0, le=1)] = 0.05
    """A challenger that leaves more than this share of the champion's variables without judgement is worse."""
    compare: Duration = timedelta(days=56)
    """So far back the alerts of champion and challenger are compared."""
    golden_false_alarms: FalseAlarms = FalseAlarms.REPORT
    """What a known false alarm that comes back does. A confirmed incident that is lost always blocks."""


class Retraining(_Frozen):
    """When a group is fitted beside its schedule."""

    on_drift: bool = True
    """Whether residuals that have changed their distribution ask for a fit."""
    window: Duration = timedelta(days=14)
    """The latest residuals that are compared with those that the thresholds were made of."""
    at_most_every: Duration = timedelta(days=7)
    """So long after a fit, or after asking for one, drift asks for none."""
    drifted_variables: Annotated[float, Field(gt=0, le=1)] = 0.1
    """A fit is asked for when more than this share of the variables has drifted."""


class Slack(_Frozen):
    """Where incidents are told, and when."""

    channel: Annotated[str, Field(pattern=f"^{_CHANNEL}$")]
    """``#name`` or a channel's id."""
    connection: Name = "anomaly_slack"
    """Airflow connection of type Slack API."""
    routes: Routes = Field(default_factory=Routes)
    """Where incidents of a severity go instead. One that becomes worse moves up."""
    quiet_hours: tuple[Quiet, ...] = ()
    """Ranges of the group's wall clock (``mon-fri 22:00-07:00``) in which the channel hears of nothing below
    `quiet_below`: such incidents wait until the range ends, and are then told once."""
    quiet_below: Literal["high", "critical", "never"] = "critical"
    """Incidents less severe than this keep the quiet hours; ``never``: all of them do."""
    digest: TimeOfDay = time(8)
    """When the digest is posted, on the group's wall clock, on days that have something for it."""
    weekly: Annotated[Weekly | None, BeforeValidator(_or_never)] = WeeklyMoment(day=0, at=time(9))
    """When the week's account of what was promised and observed is posted; ``never`` for none."""
    digest_below: Annotated[float, Field(ge=0, le=1)] = 0.2
    """With enough labels, new incidents get a rank in [0, 1]: how likely people would call them real. Lower ranks than
    this go to the digest, never critical ones, and none near a rank that a confirmed incident had; 0 for none."""
    buttons: bool = True
    """Whether messages have buttons to label and to snooze. They are shown only where clicks can arrive: where the
    connection's extra has an ``app_token`` (Socket Mode) or a ``signing_secret`` (HTTP)."""

    @model_validator(mode="after")
    def _never_quiet_for_ever(self) -> Self:
        monday = datetime(2026, 1, 5, tzinfo=UTC)
        ends = quiet_until(self.quiet_hours, monday, ZoneInfo("UTC"))
        if ends is not None and ends - monday > timedelta(days=8):
            raise ValueError("quiet_hours that end at some time of the week")
        return self

    def route(self, severity: str) -> str:
        """Where an incident of this severity goes: a channel, ``digest`` or ``page``."""
        return str(getattr(self.routes, severity) or self.channel)


def _whole_steps(interval: timedelta) -> timedelta:
    day = timedelta(days=1)
    if not timedelta(minutes=1) <= interval <= day or day % interval:
        raise ValueError("between 1min and 1d, and dividing a day without remainder, such as 15min, 30min, 1h or 1d")
    return interval


class Group(_Frozen):
    """A named set of variables with one source, one interval, one owner and one policy."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
    """Lower case letters, digits and underscores; the name of the file."""
    description: str = ""
    owner: Name
    tags: tuple[str, ...] = ()
    source: Source
    interval: Annotated[Duration, AfterValidator(_whole_steps)]
    timezone: TimeZoneName = "UTC"
    """For calendar features and for what people read. Storage is in UTC."""
    variables: Annotated[VariableSelection, BeforeValidator(_selection)]
    total: bool = False
    """Whether the sum of all variables is watched too, as the variable ``(total)``: what takes a tenth of each is
    invisible in every one of them, and plain in their sum. Half of the policy's false alerts are its own."""
    lateness: Duration = timedelta(hours=3)
    """Intervals this old are counted again on every update, for rows that arrive late."""
    history: History = Field(default_factory=History)
    holidays: Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")] | None = None
    """Country, with a subdivision if it matters (``US``, ``DE-BY``), whose public holidays are days unlike their kind:
    nothing is learned from them, and more is ordinary on them."""
    candidates: Annotated[tuple[Name, ...], Field(min_length=1)] = DEFAULT_CANDIDATES
    """Architectures that compete, by their names in `anomaly.detection.candidates`. The seasonal-naive baseline
    competes, and may win, whether it is named or not: without it nobody could tell what the networks are worth."""
    transform: Transform = Transform.ANSCOMBE
    distribution: Name = "nct"
    """Family of single residuals that is tried first, by its name in `anomaly.detection.families`: ``nct`` and other
    names of ``scipy.stats``, ``genpareto-tails``, or ``working-hours`` for two, of busy and of quiet intervals. A
    variable whose residuals do not pass its gate gets t. Rare variables are judged by the law of their counts."""
    threshold: Threshold = Field(default_factory=Threshold)
    incidents: Incidents = Field(default_factory=Incidents)
    planned: tuple[PlannedEvent, ...] = ()
    """Events that are known to disturb the counts: incidents wholly inside one are kept, and told to nobody."""
    schedule: Schedule
    promotion: Promotion = Field(default_factory=Promotion)
    retraining: Retraining = Field(default_factory=Retraining)
    slack: Slack
    seed: Annotated[int, Field(ge=0)] = 20130101
    max_shards: Annotated[int, Field(ge=1, le=64)] = 8
    """A fit runs in at most this many mapped tasks, however many variables there are."""

    @model_validator(mode="after")
    def _merge_gap_reaches_over_an_interval(self) -> Self:
        if self.incidents.merge_gap < self.interval:
            raise ValueError("incidents.merge_gap of at least one interval")
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def watches(self, name: str) -> bool:
        """Whether a variable of this name belongs to the group."""
        return self.total if name == TOTAL else name in self.variables

    def range(self, start: datetime, end: datetime) -> TimeRange:
        """The half-open range on this group's grid.

        Raises:
            InvalidRangeError: naive, reversed, empty, or off the grid.
        """
        return TimeRange(start, end, self.interval)

    def first_interval(self) -> datetime:
        """Start of the first interval that is ever counted, UTC."""
        return ceil_to(self.schedule.start, self.interval).astimezone(UTC)

    def floor(self, moment: datetime) -> datetime:
        """The latest boundary of this group's grid at or before an aware moment, UTC."""
        return floor_to(moment, self.interval).astimezone(UTC)
