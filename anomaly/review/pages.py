"""The pages that people read: installation, group, incident, variable, fit.

Each route asks the stores, works out what is to be said, and hands plain values to its template. What is drawn by a
chart is not asked here: the chart asks for it (`anomaly.review.data`), so that a page is there at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse

from anomaly.adapters.messages import duration_words, headline, shared_words, state_words
from anomaly.exceptions import IncompleteFitError
from anomaly.groups import Group
from anomaly.ports import Fit, FittedVariable, Incident
from anomaly.ports.review import CompareOrder, GroupGlance, Page, RunLink, Stretch, VariableOrder, VariableRow
from anomaly.review import heatmaps, threads
from anomaly.review.desk import Visit
from anomaly.review.rendering import Rendering

ROWS = 40
"""Variables on a page."""
SPANS = (7, 28, 84)
"""Days that a heatmap can show."""
PARTS = 16
"""Variables of an incident on a page."""
SLACK_OF_SCHEDULE = timedelta(minutes=30)
"""So much later than the schedule says, a group is not called late yet."""

Level = Literal["good", "idle", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Health:
    level: Level
    words: str


def overviews(rendering: Rendering, visiting: Callable[..., Any]) -> APIRouter:
    """The routes of the installation and of a group.

    Args:
        rendering: the templates.
        visiting: a dependency that gives the `Visit`.
    """
    router = APIRouter(default_response_class=HTMLResponse)
    asking = Depends(visiting)

    @router.get("/")
    def home(visit: Visit = asking) -> RedirectResponse:
        return RedirectResponse(f"{visit.root}/groups")

    @router.get("/groups")
    def installation(
        q: str = "",
        days: int = 28,
        order: VariableOrder = "trouble",
        page: int = 1,
        visit: Visit = asking,
    ) -> HTMLResponse:
        groups = list(visit.groups.values())
        names = [group.name for group in groups]
        latest = visit.overviews.judged_until(names) or visit.now
        zone = heatmaps.zone_of(groups)
        step = max((group.interval for group in groups), default=timedelta(hours=1))
        since = latest - timedelta(days=_span(days))
        glances = visit.overviews.glances(names, since=since)
        stretch = heatmaps.stretch_of(
            _span(days),
            judged_from=min((g.judged_from for g in glances.values() if g.judged_from), default=None),
            end=latest + step,
            zone=zone,
            step=step,
        )
        runs = visit.desk.runs.latest(names) if visit.desk.runs and names else {}
        strips = visit.overviews.strips(names, stretch)
        champions = {group.name: visit.store.champion(group) for group in groups}
        shown = [
            {
                "group": group,
                "glance": glances[group.name],
                "health": health(group, glances[group.name], champions[group.name], runs.get(group.name), visit.now),
                "run": runs.get(group.name),
                "fit": champions[group.name],
                "marks": heatmaps.marks(
                    strips.get(group.name, ()), stretch, zone=zone, step=group.interval, what="variable"
                ),
                "band": _group_band(glances[group.name], stretch, group.interval),
            }
            for group in groups
        ]
        heat = _heat(visit, groups, stretch, q=q, order=order, page=page, champions=champions, troubled=not q)
        return rendering.page(
            "installation.html",
            visit,
            groups=shown,
            heat=heat | {"zone": zone, "days": days},
            incidents=visit.overviews.incidents(names, limit=8),
            open=sum(glance.open_incidents for glance in glances.values()),
            variables=sum(glance.variables for glance in glances.values()),
            q=q,
            days=days,
            order=order,
            weeks=_span_words(stretch),
        )

    @router.get("/groups/{name}")
    def group_page(
        name: str,
        q: str = "",
        days: int = 28,
        order: VariableOrder = "trouble",
        page: int = 1,
        older: int = 1,
        until: datetime | None = None,
        visit: Visit = asking,
    ) -> HTMLResponse:
        group = visit.group(name)
        latest = visit.overviews.judged_until([name])
        end = min(until, visit.now) if until is not None and until.tzinfo else None
        end = end or (latest + group.interval if latest else visit.now)
        glance = visit.overviews.glances([name], since=end - timedelta(days=_span(days)))[name]
        stretch = heatmaps.stretch_of(
            _span(days), judged_from=glance.judged_from, end=end, zone=group.zone, step=group.interval
        )
        champion = visit.store.champion(group)
        runs = visit.desk.runs.latest([name]) if visit.desk.runs else {}
        heat = _heat(visit, [group], stretch, q=q, order=order, page=page, champions={name: champion}, troubled=False)
        return rendering.page(
            "group.html",
            visit,
            group=group,
            glance=glance,
            health=health(group, glance, champion, runs.get(name), visit.now),
            run=runs.get(name),
            fit=champion,
            fits=visit.overviews.fits(name, limit=8),
            incidents=visit.overviews.incidents([name], limit=10, offset=10 * (max(1, older) - 1)),
            older=max(1, older),
            heat=heat | {"zone": group.zone, "days": days},
            snoozes=visit.labels.snoozes(group, at=visit.now),
            may_label=visit.may(name, "label"),
            blind=visit.world.detectability().blind(group, limit=10),
            q=q,
            days=days,
            order=order,
            weeks=_span_words(stretch),
        )

    return router


def details(rendering: Rendering, visiting: Callable[..., Any]) -> APIRouter:
    """The routes of an incident, a variable and a fit.

    Args:
        rendering: the templates.
        visiting: a dependency that gives the `Visit`.
    """
    router = APIRouter(default_response_class=HTMLResponse)
    asking = Depends(visiting)

    @router.get("/incidents/{incident_id}")
    def incident_page(incident_id: int, v: str = "", page: int = 1, visit: Visit = asking) -> HTMLResponse:
        group, glance = visit.glance(incident_id)
        incident = visit.incident(group, glance)
        thread = threads.lines(visit.overviews.thread(incident_id))
        if incident is None:
            return rendering.page("withdrawn.html", visit, group=group, glance=glance, thread=thread)
        names = [part.variable for part in incident.variables]
        chosen = v if v in names else (incident.departed or incident.variables)[0].variable
        page = max(1, page)
        before, after = visit.overviews.beside(glance)
        champions = visit.store.champions(group, group.range(group.floor(incident.start), _end(group, incident)))
        return rendering.page(
            "incident.html",
            visit,
            group=group,
            incident=incident,
            title=headline(incident).partition(": ")[2],
            state=state_words(incident),
            in_common=[shared_words(shared) for shared in incident.shared],
            chosen=next(part for part in incident.variables if part.variable == chosen),
            parts=Page(incident.variables[PARTS * (page - 1) : PARTS * page], len(names), PARTS * (page - 1)),
            part_page=page,
            part_size=PARTS,
            label=visit.labels.of_incidents([incident_id]).get(incident_id),
            snoozes=[s for s in visit.labels.snoozes(group, at=visit.now) if s.variable in {None, *names}],
            may_label=visit.may(group.name, "label"),
            fit=champions[0] if champions else None,
            run=visit.desk.runs.about(group.name, incident.start) if visit.desk.runs else None,
            thread=thread,
            before=before,
            after=after,
        )

    @router.get("/variables/{group_name}/{name:path}")
    def variable_page(
        group_name: str, name: str, days: int = 28, until: datetime | None = None, visit: Visit = asking
    ) -> HTMLResponse:
        group = visit.group(group_name)
        variable = next((v for v in visit.store.variables(group, left_out=True) if v.name == name), None)
        if variable is None:
            raise HTTPException(404, f"Group {group_name} has met no variable {name!r}.")
        fit = visit.store.champion(group)
        explained = _explained(visit, group, name)
        judged = visit.overviews.judged_until([group_name])
        runs = visit.desk.runs
        return rendering.page(
            "variable.html",
            visit,
            group=group,
            variable=variable,
            watched=group.watches(name),
            days=days,
            until=until,
            explained=explained,
            run=runs.about(group_name, judged) if runs and judged else None,
            fit_run=runs.of_fit(group_name, fit.id) if runs and fit else None,
            part=_part(explained.get("record")),
            incidents=visit.overviews.incidents([group_name], variable=name, limit=10),
            map=visit.world.detectability().of_variable(group, name),
            adjustments=[a for a in visit.labels.adjustments(group) if a.variable == name],
            snoozes=[s for s in visit.labels.snoozes(group, at=visit.now) if s.variable in {None, name}],
            may_label=visit.may(group_name, "label"),
            fit=fit,
            duration_words=duration_words,
        )

    @router.get("/fits/{fit_id}")
    def fit_page(
        fit_id: str, q: str = "", order: CompareOrder = "worse", page: int = 1, visit: Visit = asking
    ) -> HTMLResponse:
        found = visit.overviews.fit(fit_id)
        if found is None:
            raise HTTPException(404, f"There is no fit {fit_id!r}.")
        group = visit.group(found.group)
        fit = visit.store.fit(fit_id)
        page = max(1, page)
        champion = visit.store.champion(group)
        model_reviews = visit.world.reviews()
        return rendering.page(
            "fit.html",
            visit,
            group=group,
            glance=found,
            fit=fit,
            serves=champion is not None and champion.id == fit_id,
            total=visit.overviews.compared_sum(fit_id),
            rows=visit.overviews.compared(fit_id, search=q, order=order, limit=ROWS, offset=ROWS * (page - 1)),
            page=page,
            size=ROWS,
            run=visit.desk.runs.of_fit(group.name, fit_id) if visit.desk.runs else None,
            review=model_reviews.review(fit_id),
            charted=visit.world.diff_charts().names(fit_id),
            verdict=model_reviews.verdict(fit_id),
            others=[other for other in visit.overviews.fits(found.group, limit=12) if other.id != fit_id],
            q=q,
            order=order,
        )

    return router


# --- what is worked out -------------------------------------------------------------------------------------------


def health(group: Group, glance: GroupGlance, fit: Fit | None, run: RunLink | None, now: datetime) -> Health:
    """How a group is, the gravest first."""
    if run is not None and run.state == "failed":
        return Health("bad", "the last run failed")
    if glance.undelivered:
        return Health("bad", f"{glance.undelivered} message{'s' * (glance.undelivered != 1)} could not be delivered")
    if glance.counted_until is None:
        return Health("idle", "nothing counted yet")
    if fit is None:
        return Health("warn", "no model yet")
    over = group.schedule.end is not None and now >= group.schedule.end
    due = group.floor(now - group.schedule.delay - SLACK_OF_SCHEDULE)
    late = due - glance.counted_until
    if not over and late > 2 * group.interval:
        return Health("warn", f"{duration_words(late)} behind")
    judged = glance.judged_until + group.interval if glance.judged_until else None
    if judged is None or judged < glance.counted_until - group.lateness - 2 * group.interval:
        return Health("warn", "counted, but not judged up to there")
    return Health("idle", "schedule over") if over else Health("good", "up to date")


def _heat(
    visit: Visit,
    groups: Sequence[Group],
    stretch: Stretch,
    *,
    q: str,
    order: VariableOrder,
    page: int,
    champions: Mapping[str, Fit | None],
    troubled: bool,
) -> dict[str, Any]:
    """A heatmap's rows, axis and pages."""
    page = max(1, page)
    by_name = {group.name: group for group in groups}
    found = visit.overviews.variables(
        list(by_name),
        stretch,
        search=q.strip(),
        fits=[fit.id for fit in champions.values() if fit],
        order=order,
        troubled_only=troubled and order == "trouble",
        limit=ROWS,
        offset=ROWS * (page - 1),
    )
    zone = heatmaps.zone_of(groups)
    return {
        "rows": [_heat_row(row, by_name[row.group], stretch) for row in found.rows],
        "total": found.total,
        "page": page,
        "size": ROWS,
        "ticks": heatmaps.ticks(stretch, zone),
        "cell": heatmaps.cell_words(stretch),
    }


def _heat_row(row: VariableRow, group: Group, stretch: Stretch) -> dict[str, Any]:
    return {
        "row": row,
        "marks": heatmaps.marks(row.cells, stretch, zone=group.zone, step=group.interval, what="interval"),
        "band": heatmaps.band(row, stretch, group.interval),
        "words": heatmaps.summary(row),
        "zone": group.zone,
    }


def _group_band(glance: GroupGlance, stretch: Stretch, step: timedelta) -> heatmaps.Band | None:
    if glance.judged_from is None or glance.judged_until is None:
        return None
    return heatmaps.part_of(stretch, glance.judged_from, glance.judged_until + step)


def _explained(visit: Visit, group: Group, name: str) -> dict[str, Any]:
    """The rules behind the variable's thresholds, as ``anomaly explain`` has them; or why there are none."""
    from anomaly.adapters import explanation_words as words
    from anomaly.detection.explanations import asks
    from anomaly.stages.explain import explain

    try:
        found = explain(group, name, store=visit.store, labels=visit.labels)
    except IncompleteFitError as none:
        return {"missing": str(none)}
    errors = {k: e for k, e in found.record.mae.items() if k != "chosen" and math.isfinite(e)}
    return {
        "record": found.record,
        "learned": list(words.learned_from(found)),
        "policy": list(words.shared_out(found)),
        "forecast": list(words.forecast_by(found)),
        "errors": sorted(errors.items(), key=lambda pair: pair[1]),
        "together": list(words.tested_together(found)) if found.record.tests else [],
        "tests": [(limit.test, asks(limit.test), list(words.tested(found, limit))) for limit in found.limits],
        "stored": list(words.thresholds_stored(found)) if found.record.tests else [],
        "rate": found.rate,
    }


def _part(record: FittedVariable | None) -> int | None:
    """Which of the fit's mapped tasks trained the variable's network; None where it has none."""
    shard = record.slot.partition("/")[0] if record else ""
    return int(shard) if shard.isdecimal() else None


def _end(group: Group, incident: Incident) -> datetime:
    return max(group.floor(incident.end), group.floor(incident.start) + group.interval)


def _span(days: int) -> int:
    return days if days in SPANS else SPANS[1]


def _span_words(stretch: Stretch) -> str:
    days = round((stretch.end - stretch.start) / timedelta(days=1))
    return f"{days // 7} weeks" if days % 7 == 0 and days > 7 else f"{days} days"
