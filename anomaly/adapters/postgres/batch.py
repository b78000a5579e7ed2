"""The SQL that selects and counts a group's source rows: text in, text out, no connection.

In: a group, a range, the moment of reading, and the rejection rules of the suite ``source_rows``. Out: the
batch (the rows that concern the range, under canonical names) and the counting query on top of the very same
batch. Both Great Expectations and the counting use this one batch and these rules, so a row is either counted
or rejected, never both and never neither.

Four decisions, and why:

- **One branch per reason, glued by UNION ALL.** Rows in the range, rows in the future, rows without timestamp
  and rows at minus infinity are each one condition on the timestamp column alone, which a B-tree index on it
  answers; an OR over them is left to the planner's mood. The branches do not overlap.
- **Naive timestamps are compared as they are.** Converting the column to UTC would hide it from its index, so
  the bounds are converted to the source's zone instead, widened by what the zone's offset changes around the
  range, and the exact comparison is made on the few rows left. In the hour that a zone repeats in autumn a naive
  timestamp is ambiguous; PostgreSQL reads it as standard time, and so do we: the first of the two hours then
  counts nothing and the second counts both. Only a ``timestamptz`` column avoids that.
- **Which variables belong to the group is decided in Python**, by ``name in group.variables``. The condition in
  the SQL only spares reading: it may let through too many, never too few. PostgreSQL's and Python's regular
  expressions differ, so a pattern becomes a condition only if it is written in what both read alike.
- **Literals are written into the text**, because the batch travels through Great Expectations, which takes text
  and no parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from anomaly.exceptions import ConfigurationError
from anomaly.groups import Group, Source, TimeRange, VariableSelection

SUITE = "source_rows"
COLUMNS = ("entity_id", "variable", "type", "value", "timestamp")
CONSTANTS = ("range_start", "range_end", "read_at")

_RULE = re.compile(r"\s*SELECT\s.+?\sFROM\s+\{batch\}\s+WHERE\s+(?P<condition>.+?)\s*", re.DOTALL | re.IGNORECASE)
_NAME_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
_TABLE = re.compile(rf"(?:{_NAME_PART.pattern})(?:\.(?:{_NAME_PART.pattern}))?")


# --- the rules, from the suite ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to reject a row: an SQL condition over the batch's columns, true for bad rows."""

    reason: str
    condition: str


def rejection_rules(suites: Path) -> tuple[Rule, ...]:
    """The rules of ``<suites>/source_rows.json``: one per expectation of unexpected rows, in its order.

    Read as plain JSON, so that counting does not pay for importing Great Expectations.

    Raises:
        ConfigurationError: no such file, no JSON, or an expectation that is not of the one supported form.
    """
    path = suites / f"{SUITE}.json"
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist; set ANOMALY_EXPECTATIONS to the folder with the Great Expectations suites"
        ) from None
    except ValueError as bad:
        raise ConfigurationError(f"{path} is not valid JSON: {bad}") from None
    return tuple(
        _rule(expectation, path)
        for expectation in written.get("expectations", [])
        if expectation.get("type") == "unexpected_rows_expectation"
    )


def _rule(expectation: dict[str, Any], path: Path) -> Rule:
    query = expectation.get("kwargs", {}).get("unexpected_rows_query")
    match = _RULE.fullmatch(query) if isinstance(query, str) else None
    if match is None:
        raise ConfigurationError(
            f"{path.name}: found the query {query!r}; expected SELECT … FROM {{batch}} WHERE <condition>, "
            "because counting leaves out the rows for which the condition is true"
        )
    condition = match["condition"]
    if set(condition) & set("%:{}"):
        raise ConfigurationError(
            f"{path.name}: found one of % : {{ }} in the condition {condition!r}, which Great Expectations and "
            "SQLAlchemy read as something else; write CAST(x AS type), mod(x, y) or another operator"
        )
    reason = expectation.get("meta", {}).get("reason")
    if not reason:
        raise ConfigurationError(
            f"{path.name}: the expectation {condition!r} has no meta.reason; expected a sentence for the quarantine"
        )
    return Rule(reason, condition)


def any_of(rules: Sequence[Rule]) -> str:
    """The condition that a row is rejected by at least one rule; never NULL."""
    return "(" + " OR ".join(f"({rule.condition})" for rule in rules) + ") IS TRUE" if rules else "FALSE"


# --- quoting ----------------------------------------------------------------------------------------------------


def identifier(name: str) -> str:
    """An SQL identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string literal, whatever ``standard_conforming_strings`` says."""
    quoted = text.replace("'", "''")
    return " E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def moment(at: datetime) -> str:
    """A literal of type ``timestamptz``."""
    return f"{literal(at.astimezone(UTC).isoformat(sep=' '))}::timestamptz"


def _wall(at: datetime) -> str:
    return f"{literal(at.isoformat(sep=' '))}::timestamp"


def table_parts(table: str) -> tuple[str, ...]:
    """``schema.table`` or ``table`` in its parts; double quotes keep a dot inside a name.

    Raises:
        ConfigurationError: it is neither.
    """
    if _TABLE.fullmatch(table) is None:
        raise ConfigurationError(
            f"source.table: found {table!r}; expected table or schema.table, with double quotes around a part "
            "that holds a dot or a double quote"
        )
    return tuple(quoted.replace('""', '"') if quoted else plain for quoted, plain in _NAME_PART.findall(table))


def relation(source: Source) -> str:
    """What stands after FROM: the quoted table, or the query in parentheses."""
    if source.table is not None:
        return ".".join(identifier(part) for part in table_parts(source.table)) + " AS source_table"
    query = (source.query or "").strip().rstrip(";").rstrip()
    # A line break, lest a closing comment of the query swallow the parenthesis.
    return f"(\n{query}\n) AS source_query"


# --- the batch --------------------------------------------------------------------------------------------------


def batch_query(group: Group, within: TimeRange, *, read_at: datetime) -> str:
    """A SELECT of the rows that concern the range: those in it, and those that belong to no range.

    Its columns are `COLUMNS` (all text, but ``timestamp``, which is ``timestamptz``) and `CONSTANTS`
    (``timestamptz``). Rows of variables outside the group's selection may occur.
    """
    columns = group.source.columns
    zone = ZoneInfo(group.source.timezone) if group.source.timezone else None
    when = identifier(columns.timestamp)
    aware = when if zone is None else f"({when} AT TIME ZONE {literal(zone.key)})"
    selected = ", ".join(
        [f"{identifier(getattr(columns, name))}::text AS {name}" for name in COLUMNS[:-1]]
        + [f'{aware} AS "timestamp"']
        + [f"{moment(at)} AS {name}" for name, at in zip(CONSTANTS, (within.start, within.end, read_at), strict=True)]
    )
    spared = selection_condition(group.variables, f"{identifier(columns.variable)}::text")
    return "\nUNION ALL\n".join(
        f"SELECT {selected}\nFROM {relation(group.source)}\nWHERE {stretch} AND {spared}"
        for stretch in _stretches(when, aware, zone, within, read_at)
    )


def counting_query(group: Group, within: TimeRange, rules: Sequence[Rule], *, read_at: datetime) -> str:
    """Counts of the batch: (variable, type, start of the interval in epoch seconds, good rows, all rows).

    Rows without a good row in their group have a NULL start.
    """
    bad = any_of(rules)
    step = f"{literal(f'{int(within.step.total_seconds())} seconds')}::interval"
    origin = moment(datetime(1970, 1, 1, tzinfo=UTC))
    start = f'CASE WHEN NOT bad THEN extract(epoch FROM date_bin({step}, "timestamp", {origin}))::bigint END'
    return (
        f"SELECT variable, max(type) FILTER (WHERE NOT bad), {start} AS start,\n"
        "  count(*) FILTER (WHERE NOT bad), count(*)\n"
        f"FROM (SELECT *, {bad} AS bad FROM (\n{batch_query(group, within, read_at=read_at)}\n) AS batch) AS judged\n"
        "GROUP BY variable, start"
    )


def _stretches(when: str, aware: str, zone: ZoneInfo | None, within: TimeRange, read_at: datetime) -> Iterator[str]:
    yield _between(when, aware, zone, within.start, within.end)
    if read_at >= within.end:
        yield _between(when, aware, zone, read_at, None, after=True)
    else:
        yield _between(when, aware, zone, within.end, None)
        if read_at < within.start:
            yield _between(when, aware, zone, read_at, within.start, after=True)
    yield f"{when} IS NULL"
    yield f"{when} = '-infinity'"


def _between(
    when: str, aware: str, zone: ZoneInfo | None, low: datetime, high: datetime | None, *, after: bool = False
) -> str:
    """From `low` on (or, with `after`, from just after it) until before `high`."""
    from_low = ">" if after else ">="
    exact = f"{aware} {from_low} {moment(low)}" + (f" AND {aware} < {moment(high)}" if high else "")
    if zone is None:
        return f"({exact})"
    smallest, largest = _offsets(zone, low, high or low)
    wall_low = low.astimezone(UTC).replace(tzinfo=None) + smallest
    indexed = f"{when} >= {_wall(wall_low)}"
    if high:
        indexed += f" AND {when} < {_wall(high.astimezone(UTC).replace(tzinfo=None) + largest)}"
    return f"({indexed} AND {exact})"


def _offsets(zone: ZoneInfo, low: datetime, high: datetime) -> tuple[timedelta, timedelta]:
    """The smallest and the largest UTC offset of a zone around a range; a day on either side is looked at."""
    day = timedelta(days=1)
    at, last = low - day, high + day
    seen = {last.astimezone(zone).utcoffset() or timedelta(0)}
    while at < last:
        seen.add(at.astimezone(zone).utcoffset() or timedelta(0))
        at += day
    return min(seen), max(seen)


# --- the selection ----------------------------------------------------------------------------------------------


def selection_condition(selection: VariableSelection, variable: str) -> str:
    """A condition that is true for every selected name and for rows without a name, and for little else.

    Args:
        variable: the SQL expression of the variable's name, of type text.
    """
    if selection.names is not None:
        wanted = f"{variable} = ANY (ARRAY[{', '.join(literal(name) for name in selection.names)}])"
    elif selection.pattern is not None and (posix := posix_superset(selection.pattern)) is not None:
        wanted = f"{variable} ~ {literal(posix)}"
    else:
        return "TRUE"
    return f"({wanted} OR {variable} IS NULL OR {variable} = '')"


_TOKEN = re.compile(
    r"""
      (?P<plain>[A-Za-z0-9_ \-/=,;:<>@!&~'"#%]|[^\x00-\x7f])
    | (?P<escaped>\\[.\-+*?()\[\]{}|^$/\\ ])
    | (?P<kind>\\[dws])
    | (?P<set>\[\^?-?(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9_ ./=,;<>@!&~#%+*?()|])+-?\])
    | (?P<dot>\.)
    | (?P<close>\))
    | (?P<open>\((?:\?:)?)
    | (?P<either>\|)
    | (?P<repeat>[*+?]\??|\{\d{1,2}(?:,\d{0,2})?\})
    """,
    re.VERBOSE,
)
_REPEATABLE = {"plain", "escaped", "kind", "set", "dot", "close"}
# Beyond printable ASCII the two engines disagree on what is a digit, a letter or a space: let all of it through.
_KINDS = {r"\d": "(?:[0-9]|[^ -~])", r"\w": "(?:[A-Za-z0-9_]|[^ -~])", r"\s": "(?:[ ]|[^ -~])"}


def posix_superset(pattern: str) -> str | None:
    """A PostgreSQL regular expression that matches every name that Python's fullmatch does, or None.

    Anything beyond what the two read alike (look-ahead, back-references, flags, …) gives None.
    """
    # Python's fullmatch makes these two superfluous.
    pattern = pattern.removeprefix("^")
    if re.search(r"(?<!\\)(?:\\\\)*\$\Z", pattern):
        pattern = pattern[:-1]
    written: list[str] = []
    before: str | None = None
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None or (token["repeat"] and before not in _REPEATABLE):
            return None
        before = token.lastgroup
        written.append("(?:" if before == "open" else _KINDS.get(token[0], token[0]))
        at = token.end()
    return f"^(?:{''.join(written)})$"
