"""Labels and snoozes from the pages: what would a label change, and the writes themselves.

Every write passes `WriteGuard` and needs the right to label. The author is whoever is signed in; nobody can sign for
somebody else. Once the answer is sent, the channel is told; what cannot be delivered then waits in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from anomaly.exceptions import LabelRefusedError, UnknownIncidentError
from anomaly.ports.labels import LabelWord
from anomaly.review.desk import Visit

LONGEST_REASON = 2000


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GiveLabel(_Asked):
    word: LabelWord
    reason: str = Field(default="", max_length=LONGEST_REASON)


class GiveSnooze(_Asked):
    variable: str | None = None
    """None for the whole group."""
    hours: float = Field(gt=0, le=24 * 366)
    reason: str = Field(default="", max_length=LONGEST_REASON)


class EndSnooze(_Asked):
    id: int


def writing(visiting: Callable[..., Any], writer: Callable[..., Any]) -> APIRouter:
    """The routes.

    Args:
        visiting: a dependency that gives the `Visit`.
        writer: the same, of one whose request may write.
    """
    router = APIRouter()
    asking = Depends(visiting)
    telling = Depends(writer)

    @router.get("/data/effect/{incident_id}")
    def effect(incident_id: int, word: LabelWord, visit: Visit = asking) -> dict[str, Any]:
        """What a label would change, before it is given."""
        from anomaly.stages.effects import effect_of

        group, _ = visit.glance(incident_id, "label")
        with _refused():
            found = effect_of(group, incident_id, word, store=visit.store, labels=visit.labels, now=visit.now)
        return {"said": str(found)}

    @router.post("/incidents/{incident_id}/label")
    def label(incident_id: int, asked: GiveLabel, later: BackgroundTasks, visit: Visit = telling) -> dict[str, Any]:
        from anomaly.stages.label import give

        group, _ = visit.glance(incident_id, "label")
        with _refused():
            given = give(
                group,
                incident_id,
                asked.word,
                reason=asked.reason,
                author=visit.person.name,
                via="page",
                store=visit.store,
                labels=visit.labels,
                now=visit.now,
            )
        later.add_task(visit.desk.tell, group)
        return {"word": given.word, "author": given.author}

    @router.post("/incidents/{incident_id}/take-back")
    def take_back(incident_id: int, later: BackgroundTasks, visit: Visit = telling) -> dict[str, Any]:
        from anomaly.stages.label import take_back as take

        group, _ = visit.glance(incident_id, "label")
        with _refused():
            held = take(
                group,
                incident_id,
                author=visit.person.name,
                store=visit.store,
                labels=visit.labels,
                now=visit.now,
            )
        later.add_task(visit.desk.tell, group)
        return {"taken_back": held.word if held else None}

    @router.post("/groups/{name}/snooze")
    def snooze(name: str, asked: GiveSnooze, later: BackgroundTasks, visit: Visit = telling) -> dict[str, Any]:
        from anomaly.stages.label import snooze as stage

        group = visit.group(name, "label")
        with _refused():
            made = stage(
                group,
                asked.variable,
                visit.now + timedelta(hours=asked.hours),
                reason=asked.reason,
                author=visit.person.name,
                via="page",
                labels=visit.labels,
                now=visit.now,
            )
        later.add_task(visit.desk.tell, group)
        return {"until": made.end.isoformat()}

    @router.post("/groups/{name}/snooze/end")
    def end_snooze(name: str, asked: EndSnooze, later: BackgroundTasks, visit: Visit = telling) -> dict[str, Any]:
        group = visit.group(name, "label")
        held = next((s for s in visit.labels.snoozes(group, at=visit.now) if s.id == asked.id), None)
        if held is None:
            raise HTTPException(404, f"Group {name} has no such snooze any more.")
        visit.labels.end_snooze(held, at=visit.now)
        later.add_task(visit.desk.tell, group)
        return {"ended": held.id}

    return router


@contextmanager
def _refused() -> Iterator[None]:
    """Refusals of the stage are the asker's mistakes."""
    try:
        yield
    except (LabelRefusedError, UnknownIncidentError) as refused:
        raise HTTPException(422, str(refused)) from refused
