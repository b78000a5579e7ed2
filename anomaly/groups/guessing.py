"""What a table looks like, turned into a group's file: guesses, each with its reason.

In: what was seen of a table (`TableFacts`: columns with a sample's values, bounds of time, counts per quarter of an
hour). Out: the text of a YAML file in which every key has a comment that says why it is so. Nothing here reads a
database (`anomaly.adapters.postgres.looking` does), and nothing is tuned to any table: names that people commonly give,
types, shares of nulls and of distinct values decide.

A table is *long* when one column says which variable a row writes; then it is counted as it is, or through a query that
adds the columns it lacks. Else it is *wide*: a row writes every column of it that is not null, and a query turns them
into rows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.groups.durations import format_duration

Floats = NDArray[np.float64]

BIN = timedelta(minutes=15)
"""In which counts are looked at."""
INTERVALS = (timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1), timedelta(days=1))
ENOUGH_EVENTS = 20 / 24
"""Events that the median variable should have in the mean interval: the longest test adds up 24 intervals, and twenty
events in them are enough to see a third of them missing."""
MANY_VARIABLES = 5_000
LATE_QUANTILE = 0.995
LONGEST_LATENESS = timedelta(days=2)
HISTORY_DAYS, MINIMUM_DAYS = 90, 21
EVENT_TYPES = ("numeric", "enum", "boolean", "date", "text")

_TIMES = ("timestamp with time zone", "timestamp without time zone")
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_TIME_NAMES = re.compile(
    r"(^|_)(timestamp|ts|time|event_?time|occurred|written|happened|created|datetime|at)($|_)", re.IGNORECASE
)
_ARRIVAL_NAMES = re.compile(r"arriv|receiv|ingest|load|insert|import|land|synced|etl|processed|stored", re.IGNORECASE)
_CHANGE_NAMES = re.compile(r"updat|modif|delet|expir|valid_(from|to)|birth", re.IGNORECASE)
_VARIABLE_NAMES = re.compile(
    r"^(variable|feature|metric|measure|signal|field|attribute|key|name|kind|topic|event|event_?name|event_?type|"
    r"variable_\w+|feature_\w+|metric_\w+|signal_\w+)$",
    re.IGNORECASE,
)
_ENTITY_NAMES = re.compile(
    r"^(entity|customer|user|client|account|policy|order|contract|device|person|member)", re.IGNORECASE
)
_KEY_NAMES = re.compile(r"(^|_)(id|uuid|key|no|number)$", re.IGNORECASE)
_VALUE_NAMES = re.compile(
    r"^(value|val|new_value|amount|reading|measurement|score|payload|content|\w+_value)$", re.IGNORECASE
)

Form = Literal["long", "wide"]


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What a sample says of one column."""

    name: str
    type: str
    """As PostgreSQL writes it."""
    nulls: float = 0.0
    """Share of the sample, in [0, 1]."""
    distinct: int = 0
    """Different values in the sample."""
    values: frozenset[str] = frozenset()
    """All different values, when they are few."""

    @property
    def textual(self) -> bool:
        return self.type in {"text", "name", "USER-DEFINED", "enum"} or self.type.startswith(("character", '"char"'))


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What was seen of a table."""

    table: str
    columns: tuple[ColumnFacts, ...]
    sampled: int
    """Rows of the sample."""
    rows: int | None
    """About how many there are; None when nobody knows."""
    indexed: frozenset[str] | None
    """Columns that an index begins with; None for a view, which has none of its own."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column plays which part."""

    timestamp: ColumnFacts
    entity: ColumnFacts | None
    variable: ColumnFacts | None
    """None in a wide table."""
    type: ColumnFacts | None
    value: ColumnFacts | None
    arrival: ColumnFacts | None
    """When the row came, beside when it happened."""
    written: tuple[ColumnFacts, ...] = ()
    """In a wide table, the columns that are variables."""

    @property
    def form(self) -> Form:
        return "wide" if self.variable is None else "long"

    @property
    def complete(self) -> bool:
        """Whether the table has all five columns, so that it needs no query."""
        return None not in (self.entity, self.variable, self.type, self.value)

    @property
    def naive(self) -> bool:
        return self.timestamp.type == _TIMES[1]


@dataclass(frozen=True, slots=True)
class Seen:
    """How often the variables are written."""

    names: tuple[str, ...]
    counts: Floats
    """(V, B) events per `BIN` of the stretch that was looked at, whole days."""
    first: datetime
    """Earliest event that is known; aware."""
    last: datetime
    """Latest; aware, not in the future."""
    looked_from: datetime
    """Where the counts begin; aware, or wall-clock time read as UTC for naive timestamps."""
    share: float = 1.0
    """Of the rows that were counted, in (0, 1]; the counts are scaled up by it already."""
    delays: Floats = field(default_factory=lambda: np.empty(0))
    """(M,) seconds between an event and its arrival, where a column says so."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the person said."""

    name: str
    connection: str
    timezone: str | None
    """None when nobody said."""
    owner: str
    channel: str
    country: str | None = None
    """Where the zone lies, if one country only."""
    read_only: bool | None = None
    """Whether the role may only read; None when nobody knows."""


# --- which column is what ---------------------------------------------------------------------------------------


def time_columns(facts: TableFacts) -> list[ColumnFacts]:
    """Columns that may be the events' time, the likeliest first."""
    indexed = facts.indexed or frozenset()

    def likely(column: ColumnFacts) -> float:
        return (
            4 * (column.name in indexed)
            + 3 * bool(_TIME_NAMES.search(column.name))
            - 5 * bool(_ARRIVAL_NAMES.search(column.name))
            - 3 * bool(_CHANGE_NAMES.search(column.name))
            - 6 * column.nulls
        )

    return sorted((c for c in facts.columns if c.type in _TIMES), key=lambda c: (-likely(c), c.name))


def roles(facts: TableFacts, timestamp: str | None = None) -> Roles | None:
    """Which column plays which part; None when no column can be the time.

    Args:
        timestamp: the column of the time, where the person said it.
    """
    times = [c for c in time_columns(facts) if timestamp in (None, c.name)]
    if not times:
        return None
    time = times[0]
    others = [c for c in facts.columns if c.name != time.name]
    arrival = next((c for c in others if c.type in _TIMES and _ARRIVAL_NAMES.search(c.name)), None)
    left = [c for c in others if c is not arrival]
    kind = next((c for c in left if c.textual and c.values and c.values <= set(EVENT_TYPES)), None)
    variable = _best(
        (c for c in left if c is not kind and c.textual and 1 <= c.distinct <= MANY_VARIABLES and c.nulls < 0.5),
        lambda c: (
            (2 + bool(re.match(r"variable|feature|metric|event", c.name, re.IGNORECASE)))
            if _VARIABLE_NAMES.match(c.name) and c.distinct <= max(20, facts.sampled / 3)
            else 0
        ),
    )
    left = [c for c in left if c is not kind and c is not variable]
    entity = _best(
        left,
        lambda c: (
            3 * bool(_ENTITY_NAMES.match(c.name))
            + 2 * bool(_KEY_NAMES.search(c.name))
            - 2 * (c.name.lower() in {"id", "uuid"})
            + (c.distinct / max(facts.sampled, 1))
            - 6 * c.nulls
            - 1
        ),
    )
    left = [c for c in left if c is not entity]
    if variable is None:
        own_key = {c.name for c in left if c.name.lower() in {"id", "uuid"}}
        written = tuple(c for c in left if c.name not in own_key and c.type not in _TIMES and c.nulls < 1)
        return Roles(time, entity, None, None, None, arrival, written)
    value = _best(left, lambda c: bool(_VALUE_NAMES.match(c.name)) * (2 - (c.name.lower() != "value")))
    return Roles(time, entity, variable, kind, value, arrival)


def _best(columns: Iterable[ColumnFacts], score: Callable[[ColumnFacts], float]) -> ColumnFacts | None:
    """The one with the highest score above 0."""
    best = max(columns, key=score, default=None)
    return best if best is not None and score(best) > 0 else None


def event_type(column: ColumnFacts) -> str:
    """The type of the event that a wide table's column writes."""
    if column.type.startswith(_NUMBERS):
        return "numeric"
    if column.type == "boolean":
        return "boolean"
    if column.type == "date" or column.type in _TIMES:
        return "date"
    return "enum" if column.values else "text"


# --- the query, where one is needed ------------------------------------------------------------------------------


def relation_query(facts: TableFacts, found: Roles) -> str:
    """A SELECT that gives the five columns under their canonical names, by which the time's index is still used."""
    time = f"t.{quoted(found.timestamp.name)}"
    entity = f"t.{quoted(found.entity.name)}::text" if found.entity else "'(all)'"
    source = ".".join(map(quoted, facts.table.split(".")))
    if found.variable is not None:
        kind = f"t.{quoted(found.type.name)}" if found.type else "NULL::text"
        value = f"t.{quoted(found.value.name)}::text" if found.value else "NULL::text"
        return (
            f"SELECT {entity} AS entity_id, t.{quoted(found.variable.name)}::text AS variable,\n"
            f'       {kind} AS type, {value} AS value, {time} AS "timestamp"\n'
            f"FROM {source} AS t"
        )
    rows = ",\n".join(
        f"  ('{c.name.replace(chr(39), 2 * chr(39))}', '{event_type(c)}', t.{quoted(c.name)}::text)"
        for c in found.written
    )
    return (
        f'SELECT {entity} AS entity_id, w.variable, w.type, w.value, {time} AS "timestamp"\n'
        f"FROM {source} AS t CROSS JOIN LATERAL (VALUES\n{rows}\n) AS w (variable, type, value)\n"
        "WHERE w.value IS NOT NULL"
    )


def quoted(name: str) -> str:
    """An SQL identifier, in quotes where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in {"timestamp", "time", "user", "order", "table", "type"}:
        return name
    return '"' + name.replace('"', '""') + '"'


# --- what the rates say -------------------------------------------------------------------------------------------


def per_interval(seen: Seen) -> Floats:
    """(V,) mean events per `BIN`."""
    return seen.counts.mean(axis=1) if seen.counts.size else np.zeros(len(seen.names))


def interval(seen: Seen) -> timedelta:
    """The shortest interval in which a usual variable has enough events; a day if none has."""
    rates = per_interval(seen)
    usual = float(np.median(rates[rates > 0])) if (rates > 0).any() else 0.0
    return next((step for step in INTERVALS if usual * (step / BIN) >= ENOUGH_EVENTS), INTERVALS[-1])


@dataclass(frozen=True, slots=True)
class Seasons:
    """Shares of the variance of the hourly total, in [0, 1]; NaN where too little was seen."""

    daily: float
    """That the hour of the day explains."""
    weekly: float
    """That the hour of the week explains beyond it."""


def seasons(seen: Seen) -> Seasons:
    """How much of what the total does follows the clock and the day of the week."""
    per_hour = int(timedelta(hours=1) / BIN)
    total = seen.counts.sum(axis=0)
    hours = total[: len(total) // per_hour * per_hour].reshape(-1, per_hour).sum(axis=1)
    variance = float(hours.var())
    if len(hours) < 3 * 24 or variance <= 0:
        return Seasons(math.nan, math.nan)
    daily = _explained(hours, 24)
    return Seasons(daily, max(0.0, _explained(hours, 168) - daily) if len(hours) >= 3 * 168 else math.nan)


def _explained(series: Floats, period: int) -> float:
    """Share of the variance between the phases of a period, without what chance alone would explain."""
    phase = np.arange(len(series)) % period
    means = np.bincount(phase, series) / np.bincount(phase)
    left = float(((series - means[phase]) ** 2).sum()) / (len(series) - period)
    return float(np.clip(1 - left / series.var(ddof=1), 0, 1))


def lateness(seen: Seen, step: timedelta) -> timedelta | None:
    """How long to go on counting an interval again, in whole intervals; None where nothing says."""
    if not seen.delays.size:
        return None
    late = timedelta(seconds=float(np.quantile(np.maximum(seen.delays, 0), LATE_QUANTILE)))
    return min(max(1, math.ceil(late / step)) * step, max(LONGEST_LATENESS, step))


# --- the file -----------------------------------------------------------------------------------------------------


def group_file(facts: TableFacts, found: Roles, seen: Seen, asked: Request) -> str:
    """The YAML text."""
    step = interval(seen)
    zone = ZoneInfo(asked.timezone or "UTC")
    lines = [*_heading(facts, seen, asked), *_source(facts, found, asked), *_time(seen, step, asked)]
    lines += _variables(seen)
    lines += _calendar(asked)
    lines += _late(found, seen, step)
    lines += _history(seen, zone, step)
    lines += [
        ("threshold:", ""),
        ("  false_alerts_per_week: 1", "incidents by chance that the channel bears, over all variables together"),
        *_incidents(step),
        ("slack:", ""),
        (f"  channel: {_scalar(asked.channel)}", "the bot must be a member of it"),
    ]
    return _aligned(lines)


Line = tuple[str, str]
"""YAML, and the comment beside it."""


def _heading(facts: TableFacts, seen: Seen, asked: Request) -> list[Line]:
    rows = "an unknown number of rows" if facts.rows is None else f"about {facts.rows:,} rows"
    days = seen.counts.shape[1] * BIN / timedelta(days=1)
    looked = f"{days:.0f} {'day' if round(days) == 1 else 'days'}"
    part = "" if seen.share == 1 else f", from a sample of {seen.share:.2%} of the rows"
    return [
        (f"# Written by `anomaly init {asked.connection} {facts.table}`: guesses, each with its reason beside it.", ""),
        (f"# The table has {rows}; rates are those of the last {looked}{part}.", ""),
        ("# Then: anomaly groups check, anomaly doctor " + asked.name + ".", ""),
        (f"description: {_scalar(_described(facts))}", "what people read about the group; say it in your words"),
        (f"owner: {_scalar(asked.owner)}", "who answers for these variables"),
    ]


def _described(facts: TableFacts) -> str:
    return f"How often each variable of {facts.table} is written."


def _source(facts: TableFacts, found: Roles, asked: Request) -> Iterator[Line]:
    writes = "" if asked.read_only is not False else "; ITS ROLE MAY WRITE: give it SELECT alone"
    yield "source:", ""
    yield f"  connection: {_scalar(asked.connection)}", f"an Airflow connection{writes}"
    indexed = _index_said(facts, found)
    if found.complete:
        yield f"  table: {_scalar(facts.table)}", indexed
        yield from _columns(found)
    else:
        yield "  query: |", f"{_why_query(found)}; {indexed}"
        yield from ((f"    {line}", "") for line in relation_query(facts, found).splitlines())
    if found.naive:
        yield (
            f"  timezone: {_scalar(asked.timezone or 'UTC')}",
            f"{found.timestamp.name} has no zone; it is read in this",
        )


def _index_said(facts: TableFacts, found: Roles) -> str:
    if facts.indexed is None:
        return "a view: see that its table has an index that begins with the time"
    if found.timestamp.name in facts.indexed:
        return f"an index begins with {found.timestamp.name}, so an update reads what is new and no more"
    table = ".".join(map(quoted, facts.table.split(".")))
    return f"NO INDEX on the time: every update reads it all; CREATE INDEX ON {table} ({quoted(found.timestamp.name)})"


def _why_query(found: Roles) -> str:
    if found.form == "wide":
        return f"no column says which variable a row writes, so each of {len(found.written)} columns is one"
    named = (("entity", found.entity), ("type", found.type), ("value", found.value))
    lacks = ", ".join(name for name, column in named if column is None)
    return f"the table has no {lacks}"


def _columns(found: Roles) -> Iterator[Line]:
    yield "  columns:", ""
    pairs = {
        "entity_id": (found.entity, "whom the row is about"),
        "variable": (found.variable, "which variable it writes"),
        "type": (found.type, "its values are types of events"),
        "value": (found.value, "what is written; only whether there is a row is counted"),
        "timestamp": (found.timestamp, f"when; {found.timestamp.type}"),
    }
    for key, (column, why) in pairs.items():
        if column is not None:
            shown = f", {column.distinct:,} different in the sample" if key == "entity_id" else ""
            yield f"    {key}: {_scalar(column.name)}", why + shown


def _time(seen: Seen, step: timedelta, asked: Request) -> Iterator[Line]:
    rates = per_interval(seen) * (step / BIN)
    usual = float(np.median(rates[rates > 0])) if (rates > 0).any() else 0.0
    shortest = "the shortest in which" if usual >= ENOUGH_EVENTS or step != INTERVALS[-1] else "even in a day"
    yield f"interval: {format_duration(step)}", f"{shortest} a usual variable has {usual:.3g} events"
    said = _seasons_said(seasons(seen))
    if asked.timezone is None:
        yield "timezone: UTC", f"SAY YOURS: the zone in which people work; {said}"
    else:
        yield f"timezone: {_scalar(asked.timezone)}", said


def _seasons_said(found: Seasons) -> str:
    if math.isnan(found.daily):
        return "too little was seen to tell days and weeks"
    said = f"the hour of the day explains {found.daily:.0%} of what the total does"
    return said if math.isnan(found.weekly) else f"{said}, the day of the week {found.weekly:.0%} more"


def _variables(seen: Seen) -> Iterator[Line]:
    rates = per_interval(seen) * (timedelta(days=1) / BIN)
    written = rates[rates > 0]
    what = (
        f"{len(seen.names):,} were seen, written {_span(written.min(), written.max())} times a day"
        if written.size
        else "none was seen"
    )
    yield "variables: all", f"{what}; or a list, or {{pattern: '…'}}"
    several = len(seen.names) >= 3
    yield (
        f"total: {str(several).lower()}",
        "their sum is watched too: what takes a tenth of each shows there"
        if several
        else "too few variables for their sum to say more than they do",
    )


def _span(least: float, most: float) -> str:
    return _rate(most) if _rate(least) == _rate(most) else f"{_rate(least)} to {_rate(most)}"


def _incidents(step: timedelta) -> Iterator[Line]:
    if step > timedelta(hours=12):
        yield "incidents:", ""
        yield f"  merge_gap: {format_duration(step)}", "quiet for so long ends an incident; at least one interval"


def _rate(per_day: float) -> str:
    return f"{per_day:,.0f}" if per_day >= 10 else f"{per_day:.2g}"


def _calendar(asked: Request) -> Iterator[Line]:
    if asked.country:
        yield (
            f"# holidays: {asked.country}",
            "from the zone; with it, public holidays teach nothing and more is ordinary on them",
        )


def _late(found: Roles, seen: Seen, step: timedelta) -> Iterator[Line]:
    late = lateness(seen, step)
    if late is None or found.arrival is None:
        yield (
            f"lateness: {format_duration(max(timedelta(hours=3), step))}",
            "no column says when rows arrive; the default",
        )
    else:
        quantile = timedelta(seconds=round(float(np.quantile(np.maximum(seen.delays, 0), LATE_QUANTILE))))
        yield (
            f"lateness: {format_duration(late)}",
            f"{LATE_QUANTILE:.1%} of rows have arrived after {quantile} ({found.arrival.name})",
        )


def _history(seen: Seen, zone: ZoneInfo, step: timedelta) -> Iterator[Line]:
    days = (seen.last - seen.first) / timedelta(days=1)
    begin = max(seen.first, seen.last - timedelta(days=HISTORY_DAYS))
    midnight = begin.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    if midnight + step < seen.first.astimezone(zone):  # its first day is not a whole one
        midnight = (midnight + timedelta(days=1)).replace(tzinfo=zone)
    yield "schedule:", ""
    fits = (
        f"there are {days:,.0f} days of events"
        if days >= MINIMUM_DAYS
        else f"there are {days:.0f} days of events, and a fit needs {MINIMUM_DAYS}: wait, or lower history.minimum"
    )
    yield f"  start: {midnight.isoformat()}", f"{fits}; nothing before this is counted"


def _scalar(text: str) -> str:
    """A YAML scalar, in quotes where it needs them."""
    return (
        text
        if re.fullmatch(r"[A-Za-z_][\w./ -]*[\w.]|[A-Za-z_]", text) and text.lower() not in _WORDS
        else json.dumps(text)
    )


_WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}


def _aligned(lines: Sequence[Line]) -> str:
    """Comments in one column, as far as that stays readable; longer lines have theirs above."""
    width = 44
    out = []
    for written, comment in lines:
        if not comment:
            out.append(written)
        elif len(written) > width or width + 3 + len(comment) > 120 or written.endswith("|"):
            indent = " " * (len(written) - len(written.lstrip()))
            out += [f"{indent}# {comment}", written]
        else:
            out.append(f"{written:<{width}} # {comment}")
    return "\n".join(out) + "\n"
