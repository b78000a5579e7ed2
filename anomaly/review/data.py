"""What charts ask for, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException

from anomaly.adapters.messages import called
from anomaly.groups import Group, TimeRange
from anomaly.ports import Store, Variable
from anomaly.review import drawing
from anomaly.review.desk import Visit

LONGEST = timedelta(days=400)
MULTIPLES = 12
UNAFFECTED = 4
"""Of the small multiples, relatives that took no part."""


def data(visiting: Callable[..., Any]) -> APIRouter:
    """The routes.

    Args:
        visiting: a dependency that gives the `Visit`.
    """
    router = APIRouter(prefix="/data")
    asking = Depends(visiting)

    @router.get("/incident/{incident_id}")
    def of_incident(incident_id: int, v: str, visit: Visit = asking) -> dict[str, Any]:
        """One variable of an incident, with the time around it."""
        group, glance = visit.glance(incident_id)
        latest = visit.store.predicted_until(group)
        within = drawing.stretch_around(group, glance.start, glance.end, latest=latest)
        found = _series(group, v, within, visit.store, at=glance.start)
        return found | {"spans": [[_seconds(glance.start), _seconds(glance.end)]]}

    @router.get("/incident/{incident_id}/others")
    def others(incident_id: int, v: str, visit: Visit = asking) -> dict[str, Any]:
        """The same intervals of related variables: the worst that took part, and relatives that took none."""
        group, glance = visit.glance(incident_id)
        incident = visit.incident(group, glance)
        if incident is None:
            raise HTTPException(404, f"Incident {incident_id} was withdrawn.")
        within = drawing.stretch_around(group, glance.start, glance.end, latest=visit.store.predicted_until(group))
        took_part = [part.variable for part in incident.variables]
        relatives = visit.overviews.relatives(group.name, took_part, v, limit=UNAFFECTED)
        affected = [name for name in took_part if name != v][: MULTIPLES - len(relatives)]
        by_name = {variable.name: variable for variable in visit.store.variables(group, left_out=True)}
        names = [name for name in (*affected, *relatives) if name in by_name]
        made = drawing.drawn(group, [by_name[name] for name in names], within, visit.store, points=drawing.SMALL_POINTS)
        return {
            "zone": group.timezone,
            "spans": [[_seconds(glance.start), _seconds(glance.end)]],
            "variables": [
                {"name": name, "called": called(name), "took_part": name in took_part, **one.as_dict()}
                for name, one in zip(names, made, strict=True)
            ],
        }

    @router.get("/fit/{fit_id}/alert/{name}")
    def of_diff(fit_id: str, name: str, visit: Visit = asking) -> dict[str, Any]:
        """Counts around an alert that only one of two fits would tell, with what both say."""
        fit = visit.overviews.fit(fit_id)
        if fit is None:
            raise HTTPException(404, f"There is no fit {fit_id!r}.")
        group = visit.group(fit.group)
        found = visit.world.diff_charts().chart(fit_id, name)
        if found is None:
            raise HTTPException(404, f"The review of fit {fit_id} has no chart {name!r}.")
        return {**found, "zone": group.timezone}

    @router.get("/variable/{group_name}/{name:path}")
    def of_variable(
        group_name: str,
        name: str,
        days: int = 28,
        until: datetime | None = None,
        visit: Visit = asking,
    ) -> dict[str, Any]:
        """A variable over its latest days, or those up to a moment, with its incidents."""
        group = visit.group(group_name)
        counted = visit.store.updated_until(group)
        end = group.floor(until) if until is not None and until.tzinfo else counted
        if end is None or counted is None:
            raise HTTPException(404, f"Nothing of group {group_name} is counted yet.")
        end = min(max(end, group.first_interval() + group.interval), counted)
        span = min(timedelta(days=max(1, days)), LONGEST)
        within = TimeRange(max(group.floor(end - span), group.first_interval()), end, group.interval)
        incidents = visit.overviews.incidents([group_name], within=(within.start, within.end), variable=name, limit=200)
        spans = [[_seconds(i.start), _seconds(i.end), i.id] for i in incidents.rows]
        return _series(group, name, within, visit.store, at=None) | {"spans": spans}

    return router


def _series(group: Group, name: str, within: TimeRange, store: Store, *, at: datetime | None) -> dict[str, Any]:
    variable = _variable(group, name, store)
    (one,) = drawing.drawn(group, [variable], within, store, points=drawing.MOST_POINTS)
    fit_id = one.fit_id
    if at is not None:  # the thresholds by which it was judged, not later ones
        begin = group.floor(at)
        serving = store.champions(group, TimeRange(begin, begin + group.interval, group.interval))
        fit_id = serving[0].id if serving else fit_id
    records = store.fitted(fit_id, residuals=True, names=[name]) if fit_id else ()
    shown = one.residuals[np.isfinite(one.residuals)]
    return {
        "name": name,
        "called": called(name),
        "zone": group.timezone,
        "step": int(group.interval.total_seconds()),
        **one.as_dict(),
        "thresholds": drawing.thresholds(records[0]) if records else [None, None],
        "histogram": drawing.histogram(records[0], shown) if records else None,
        "fit": fit_id,
    }


def _variable(group: Group, name: str, store: Store) -> Variable:
    found = next((v for v in store.variables(group, left_out=True) if v.name == name), None)
    if found is None:
        raise HTTPException(404, f"Group {group.name} has met no variable {name!r}.")
    return found


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
