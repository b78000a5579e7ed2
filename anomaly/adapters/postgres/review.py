"""The review pages' questions to PostgreSQL: `anomaly.ports.review.Overviews`.

What makes a heatmap of 5,000 variables cheap is that anomalies are few: the partial index on them is read for the
stretch shown, grouped into cells by the server, and only then joined with the names. What is judged is asked by two
looks into the predictions' key per variable shown, never by counting predictions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.adapters.postgres.outbox import MESSAGE_GONE
from anomaly.groups.model import TOTAL
from anomaly.ports.review import (
    Cell,
    Compared,
    ComparedSum,
    CompareOrder,
    FitGlance,
    GroupGlance,
    IncidentGlance,
    LastRun,
    Page,
    Stretch,
    Utterance,
    VariableOrder,
    VariableRow,
)

_LEAST_PROBABILITY = 1e-12
"""Rarer than this adds no more to a variable's trouble."""
_MOST = 2**31
"""Nothing has so many rows; a larger offset is out of PostgreSQL's range."""
_MARGIN = 0.02
"""Errors that differ by less than this share are called equal."""

_GLANCES = """
SELECT g.name,
    (SELECT count(*) FROM variables v WHERE v.group_name = g.name AND v.name <> %(total)s),
    judged.first, judged.last,
    (SELECT max(range_end) FROM updated_ranges u WHERE u.group_name = g.name),
    i.open, i.worst, i.recent,
    (SELECT count(*) FROM outbox o JOIN incidents n ON n.id = o.incident_id
     WHERE o.delivered_at IS NULL AND o.attempts > 0 AND n.group_name = g.name)
FROM unnest(%(groups)s::text[]) AS g(name)
CROSS JOIN LATERAL (
    SELECT min(first.interval_start) AS first, max(last.interval_start) AS last FROM variables v
    CROSS JOIN LATERAL (SELECT interval_start FROM predictions
        WHERE variable_id = v.id ORDER BY interval_start LIMIT 1) AS first
    CROSS JOIN LATERAL (SELECT interval_start FROM predictions
        WHERE variable_id = v.id ORDER BY interval_start DESC LIMIT 1) AS last
    WHERE v.group_name = g.name
) AS judged
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE NOT resolved) AS open,
        (array_agg(severity ORDER BY array_position(ARRAY['critical', 'high', 'low'], severity))
         FILTER (WHERE NOT resolved))[1] AS worst,
        count(*) FILTER (WHERE starts >= %(since)s) AS recent
    FROM incidents WHERE group_name = g.name AND NOT withdrawn
) AS i
"""

_LAST_RUNS = """
WITH RECURSIVE stages AS (
    SELECT g.name, (SELECT min(stage) FROM stage_runs WHERE group_name = g.name) AS stage
    FROM unnest(%s::text[]) AS g(name)
    UNION ALL
    SELECT s.name, (SELECT min(stage) FROM stage_runs WHERE group_name = s.name AND stage > s.stage)
    FROM stages s WHERE s.stage IS NOT NULL
)
SELECT s.name, s.stage, run.range_end, run.seconds, run.finished_at FROM stages s
CROSS JOIN LATERAL (SELECT range_end, seconds, finished_at FROM stage_runs
    WHERE group_name = s.name AND stage = s.stage ORDER BY finished_at DESC LIMIT 1) AS run
"""
"""From each stage of a group to its next along the index, and of each the latest run: whatever number of runs there
are, one look-up per stage."""

_THREAD = """
SELECT kind, at, words, permalink, channel, author, word, holds, error, due_at FROM (
    SELECT CASE WHEN delivered_at IS NULL OR last_error IS NULL THEN action ELSE 'gone' END AS kind,
        delivered_at AS at, coalesce(words, '') AS words, permalink,
        CASE WHEN action = 'pointer' THEN said -> 'channels' ->> -1 END AS channel, NULL AS author, NULL AS word,
        true AS holds, CASE WHEN delivered_at IS NULL THEN last_error END AS error,
        CASE WHEN delivered_at IS NULL AND attempts > 0 THEN due_at END AS due_at, id
    FROM outbox WHERE incident_id = %(id)s AND (delivered_at IS NULL OR last_error IS NULL
        OR last_error = %(gone)s)
    UNION ALL
    SELECT 'digest', p.delivered_at, '', p.permalink, NULL, NULL, NULL, true, p.last_error, NULL, p.id
    FROM incidents i JOIN posts p ON p.id = i.digest_id WHERE i.id = %(id)s
    UNION ALL
    SELECT 'label', given_at, reason, NULL, NULL, author, word, replaced_at IS NULL, NULL, NULL, id
    FROM labels WHERE incident_id = %(id)s
    ORDER BY at DESC NULLS FIRST, id DESC LIMIT %(limit)s
) said ORDER BY at NULLS LAST, id
"""

_HITS = """
SELECT p.variable_id, p.interval_start, p.kind, p.tail_probability,
    floor(extract(epoch FROM p.interval_start - %(start)s) / %(cell)s)::integer AS cell
FROM predictions p
WHERE p.kind <> '' AND p.interval_start >= %(start)s AND p.interval_start < %(end)s
"""

_STRIPS = f"""
SELECT v.group_name, h.cell, count(DISTINCT v.id), (array_agg(h.kind ORDER BY h.tail_probability))[1],
    min(h.tail_probability)
FROM ({_HITS}) h JOIN variables v ON v.id = h.variable_id
WHERE v.group_name = ANY(%(groups)s) AND v.name <> %(total)s
GROUP BY 1, 2 ORDER BY 1, 2
"""

# Logarithms as floats, which take a twentieth of numeric's time; rounded, so that the order in which they were added up
# puts no variable on two pages.
_VARIABLES = f"""
WITH cells AS (
    SELECT h.variable_id, h.cell, count(*) AS anomalies, max(h.interval_start) AS latest,
        (array_agg(h.kind ORDER BY h.tail_probability))[1] AS kind, min(h.tail_probability) AS tail,
        sum(-log(greatest(h.tail_probability, {_LEAST_PROBABILITY}))) AS trouble
    FROM ({_HITS}) h GROUP BY 1, 2
), troubled AS (
    SELECT variable_id, sum(anomalies)::integer AS anomalies, max(latest) AS latest,
        round(sum(trouble)::numeric, 6) AS trouble,
        json_agg(json_build_array(cell, anomalies, kind, tail) ORDER BY cell) AS cells
    FROM cells GROUP BY 1
), found AS (
    SELECT v.id, v.group_name, v.name, v.type, t.anomalies, t.latest, t.trouble, t.cells, count(*) OVER () AS total
    FROM variables v LEFT JOIN troubled t ON t.variable_id = v.id
    WHERE v.group_name = ANY(%(groups)s) AND (%(search)s = '' OR v.name ILIKE %(like)s)
        AND (NOT %(troubled_only)s OR t.variable_id IS NOT NULL)
    ORDER BY CASE WHEN %(by_trouble)s THEN t.trouble END DESC NULLS LAST, v.name COLLATE "C", v.group_name
    LIMIT %(limit)s OFFSET %(offset)s
)
SELECT f.group_name, f.name, f.type, fv.status, fv.candidate, coalesce(f.anomalies, 0), f.latest,
    (SELECT interval_start FROM predictions WHERE variable_id = f.id AND interval_start >= %(start)s
        AND interval_start < %(end)s ORDER BY interval_start LIMIT 1),
    (SELECT interval_start FROM predictions WHERE variable_id = f.id AND interval_start >= %(start)s
        AND interval_start < %(end)s ORDER BY interval_start DESC LIMIT 1),
    coalesce(f.cells, '[]'), f.total
FROM found f
LEFT JOIN fitted_variables fv ON fv.fit_id = ANY(%(fits)s::text[]) AND fv.variable_id = f.id
ORDER BY CASE WHEN %(by_trouble)s THEN f.trouble END DESC NULLS LAST, f.name COLLATE "C", f.group_name
"""

_INCIDENTS = """
SELECT i.id, i.group_name, i.kind, i.starts, i.ends, i.resolved, i.withdrawn, i.severity, i.return_period_hours,
    greatest(part.others, 1), coalesce(part.worst, ''), l.word, count(*) OVER ()
FROM incidents i
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE variable <> %(total)s) AS others,
        (array_agg(variable ORDER BY variable = %(total)s, rank))[1] AS worst
    FROM incident_variables WHERE incident_id = i.id
) AS part
LEFT JOIN labels l ON l.incident_id = i.id AND l.replaced_at IS NULL
WHERE {where}
ORDER BY i.resolved, i.starts DESC, i.id DESC LIMIT %(limit)s OFFSET %(offset)s
"""

_FITS = """
SELECT f.id, f.group_name, f.created_at, f.state, f.model_version, f.serves_from, f.history_start, f.history_end,
    (SELECT count(*) FROM fitted_variables WHERE fit_id = f.id), f.metrics
FROM fits f WHERE {where} ORDER BY f.history_end DESC, f.created_at DESC LIMIT %(limit)s
"""

_ERRORS = """
SELECT v.name, fv.status, fv.candidate, fv.distribution, fv.choice, (fv.mae ->> 'chosen')::float8 AS challenger,
    (fv.mae ->> 'champion')::float8 AS champion, (fv.mae ->> 'seasonal-naive')::float8 AS baseline
FROM fitted_variables fv JOIN variables v ON v.id = fv.variable_id WHERE fv.fit_id = %(fit)s
"""

_ORDERS: Mapping[CompareOrder, str] = {
    "worse": "challenger / nullif(champion, 0) DESC NULLS LAST, challenger / nullif(baseline, 0) DESC NULLS LAST,",
    "better": "challenger / nullif(champion, 0) NULLS LAST, challenger / nullif(baseline, 0) NULLS LAST,",
    "name": "",
}


class PostgresOverviews:
    """Implements `anomaly.ports.review.Overviews`.

    Args:
        arguments: libpq keyword arguments of a role that may read the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute(query, values)
            return cast("list[tuple[Any, ...]]", cursor.fetchall())

    # --- groups and their variables -----------------------------------------------------------------------------

    def glances(self, groups: Sequence[str], *, since: datetime | None) -> Mapping[str, GroupGlance]:
        runs: dict[str, dict[str, LastRun]] = {}
        for group, *run in self._rows(_LAST_RUNS, (list(groups),)):
            runs.setdefault(group, {})[run[0]] = LastRun(*run)
        values = {"groups": list(groups), "total": TOTAL, "since": since}
        return {row[0]: GroupGlance(*[*row, runs.get(row[0], {})]) for row in self._rows(_GLANCES, values)}

    def judged_until(self, groups: Sequence[str]) -> datetime | None:
        ((until,),) = self._rows(
            "SELECT max(p.interval_start) FROM variables v CROSS JOIN LATERAL (SELECT interval_start FROM predictions "
            "WHERE variable_id = v.id ORDER BY interval_start DESC LIMIT 1) p WHERE v.group_name = ANY(%s)",
            (list(groups),),
        )
        return cast("datetime | None", until)

    def strips(self, groups: Sequence[str], stretch: Stretch) -> Mapping[str, tuple[Cell, ...]]:
        found: dict[str, list[Cell]] = {}
        for group, *cell in self._rows(_STRIPS, _stretched(stretch) | {"groups": list(groups), "total": TOTAL}):
            found.setdefault(group, []).append(Cell(*cell))
        return {group: tuple(cells) for group, cells in found.items()}

    def variables(
        self,
        groups: Sequence[str],
        stretch: Stretch,
        *,
        search: str = "",
        fits: Collection[str] = (),
        order: VariableOrder = "trouble",
        troubled_only: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> Page[VariableRow]:
        values = _stretched(stretch) | {
            "groups": list(groups),
            "search": search,
            "like": _like(search),
            "fits": list(fits),
            "troubled_only": troubled_only,
            "by_trouble": order == "trouble",
            "limit": limit,
            "offset": min(offset, _MOST),
        }
        found = self._rows(_VARIABLES, values)
        rows = tuple(VariableRow(*[*row[:9], tuple(Cell(*cell) for cell in row[9])]) for row in found)
        return Page(rows, found[0][10] if found else 0, offset)

    # --- incidents ----------------------------------------------------------------------------------------------

    def incidents(
        self,
        groups: Sequence[str],
        *,
        open_only: bool = False,
        within: tuple[datetime, datetime] | None = None,
        variable: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> Page[IncidentGlance]:
        where = "i.group_name = ANY(%(groups)s) AND NOT i.withdrawn"
        where += " AND NOT i.resolved" if open_only else ""
        where += " AND i.starts < %(until)s AND i.ends > %(since)s" if within else ""
        if variable is not None:
            where += " AND EXISTS (SELECT FROM incident_variables WHERE incident_id = i.id AND variable = %(variable)s)"
        since, until = within or (None, None)
        values = {"groups": list(groups), "since": since, "until": until, "variable": variable, "total": TOTAL}
        found = self._rows(_INCIDENTS.format(where=where), values | {"limit": limit, "offset": min(offset, _MOST)})
        return Page(tuple(IncidentGlance(*row[:-1]) for row in found), found[0][-1] if found else 0, offset)

    def incident(self, incident_id: int) -> IncidentGlance | None:
        values = {"id": incident_id, "total": TOTAL, "limit": 1, "offset": 0}
        found = self._rows(_INCIDENTS.format(where="i.id = %(id)s"), values)
        return IncidentGlance(*found[0][:-1]) if found else None

    def beside(self, incident: IncidentGlance) -> tuple[int | None, int | None]:
        values = {"group": incident.group, "start": incident.start, "id": incident.id}
        place, others = "(starts, id)", "FROM incidents WHERE group_name = %(group)s AND NOT withdrawn AND"
        ((before, after),) = self._rows(
            f"SELECT (SELECT id {others} {place} < (%(start)s, %(id)s) ORDER BY starts DESC, id DESC LIMIT 1), "
            f"(SELECT id {others} {place} > (%(start)s, %(id)s) ORDER BY starts, id LIMIT 1)",
            values,
        )
        return before, after

    def thread(self, incident_id: int, *, limit: int = 500) -> tuple[Utterance, ...]:
        found = self._rows(_THREAD, {"id": incident_id, "gone": MESSAGE_GONE, "limit": limit})
        return tuple(Utterance(*row) for row in found)

    def relatives(self, group: str, names: Collection[str], variable: str, *, limit: int) -> tuple[str, ...]:
        begins, ends = _begins(variable), _ends(variable)
        found = self._rows(
            "SELECT name FROM variables WHERE group_name = %(group)s AND name <> ALL(%(names)s) AND name <> %(total)s "
            "AND (%(begins)s <> '' AND starts_with(name, %(begins)s) OR %(ends)s <> '' AND right(name, %(size)s) = "
            '%(ends)s) ORDER BY right(name, %(size)s) = %(ends)s DESC, name COLLATE "C" LIMIT %(limit)s',
            {
                "group": group,
                "names": [*names, variable],
                "begins": begins,
                "ends": ends,
                "size": len(ends),
                "total": TOTAL,
                "limit": limit,
            },
        )
        return tuple(name for (name,) in found)

    # --- fits ---------------------------------------------------------------------------------------------------

    def fits(self, group: str, *, limit: int = 20) -> tuple[FitGlance, ...]:
        found = self._rows(_FITS.format(where="f.group_name = %(group)s"), {"group": group, "limit": limit})
        return tuple(FitGlance(*row) for row in found)

    def fit(self, fit_id: str) -> FitGlance | None:
        found = self._rows(_FITS.format(where="f.id = %(fit)s"), {"fit": fit_id, "limit": 1})
        return FitGlance(*found[0]) if found else None

    def compared(
        self, fit_id: str, *, search: str = "", order: CompareOrder = "worse", limit: int = 50, offset: int = 0
    ) -> Page[Compared]:
        found = self._rows(
            f"SELECT *, count(*) OVER () FROM ({_ERRORS}) e WHERE %(search)s = '' OR name ILIKE %(like)s "
            f'ORDER BY {_ORDERS[order]} name COLLATE "C" LIMIT %(limit)s OFFSET %(offset)s',
            {"fit": fit_id, "search": search, "like": _like(search), "limit": limit, "offset": min(offset, _MOST)},
        )
        return Page(tuple(Compared(*row[:-1]) for row in found), found[0][-1] if found else 0, offset)

    def compared_sum(self, fit_id: str) -> ComparedSum:
        both = "challenger IS NOT NULL AND champion IS NOT NULL"
        median = f"percentile_cont(0.5) WITHIN GROUP (ORDER BY {{}}) FILTER (WHERE {both})"
        (counts,) = self._rows(
            f"SELECT count(*), count(*) FILTER (WHERE distribution <> ''), count(*) FILTER (WHERE {both}), "
            f"count(*) FILTER (WHERE challenger < champion * {1 - _MARGIN}), "
            f"count(*) FILTER (WHERE challenger > champion * {1 + _MARGIN}), "
            f"{median.format('challenger')}, {median.format('champion')} FROM ({_ERRORS}) e",
            {"fit": fit_id},
        )
        kinds = {}
        for column in ("candidate", "status"):
            found = self._rows(
                f"SELECT {column}, count(*) FROM fitted_variables WHERE fit_id = %s GROUP BY 1 ORDER BY 2 DESC, 1",
                (fit_id,),
            )
            kinds[column] = dict(found)
        return ComparedSum(*[*counts, kinds["candidate"], kinds["status"]])


def _stretched(stretch: Stretch) -> dict[str, Any]:
    return {"start": stretch.start, "end": stretch.end, "cell": stretch.cell.total_seconds()}


def _like(search: str) -> str:
    """A pattern that finds the text as it is, anywhere."""
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _begins(name: str) -> str:
    """The name up to and with its first separator, ``dep_delay.`` of ``dep_delay.UA``; '' without one.

    A dot or a slash separates before an underscore does: those are used inside of words, too.
    """
    for separator in (".", "/", ":", "-", "_"):
        head, found, _ = name.partition(separator)
        if found and head:
            return head + separator
    return ""


def _ends(name: str) -> str:
    """The name from its last separator on, ``.UA`` of ``dep_delay.UA``; '' without one."""
    for separator in (".", "/", ":", "-", "_"):
        _, found, tail = name.rpartition(separator)
        if found and tail:
            return separator + tail
    return ""
