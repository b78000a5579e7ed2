"""What every page needs at hand: the groups, the stores, the person who asks and what they may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from fastapi import HTTPException, Request

from anomaly.adapters.world import World
from anomaly.groups import Group
from anomaly.ports import Incident, Store
from anomaly.ports.labels import Labels
from anomaly.ports.review import Access, Action, IncidentGlance, Overviews, Person, Runs
from anomaly.review.access import WriteGuard


@dataclass(frozen=True, slots=True)
class Desk:
    """What the application was made with."""

    world: Callable[[], World]
    groups: Callable[[], Sequence[Group]]
    access: Access
    guard: WriteGuard
    runs: Runs | None
    clock: Callable[[], datetime]
    tell: Callable[[Group], None]
    """Tells the channel what a label or a snooze has changed."""


class Visit:
    """One request of one person. Whatever it hands out, the person may read."""

    def __init__(self, desk: Desk, request: Request, person: Person) -> None:
        self.desk = desk
        self.request = request
        self.person = person

    @property
    def root(self) -> str:
        """The path under which the pages are mounted, without a slash at its end."""
        return str(self.request.scope.get("root_path", "")).rstrip("/")

    @cached_property
    def now(self) -> datetime:
        return self.desk.clock()

    @cached_property
    def world(self) -> World:
        return self.desk.world()

    @cached_property
    def store(self) -> Store:
        return self.world.store()

    @cached_property
    def overviews(self) -> Overviews:
        return self.world.overviews()

    @cached_property
    def labels(self) -> Labels:
        return self.world.labels()

    @cached_property
    def token(self) -> str:
        return self.desk.guard.token(self.person, now=self.now)

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Those that the person may read, by name."""
        every = {group.name: group for group in self.desk.groups()}
        permitted = self.desk.access.permitted(self.person, list(every), "read")
        return {name: group for name, group in sorted(every.items()) if name in permitted}

    def group(self, name: str, action: Action = "read") -> Group:
        """
        Raises:
            HTTPException: 404 for a group that is not there, 403 for one that the person may not read or label.
        """
        every = {group.name: group for group in self.desk.groups()}
        if name not in every:
            raise HTTPException(404, f"There is no group {name!r}.")
        if not self.may(name, action):
            doing = "read" if action == "read" else "label anything of"
            right = "read" if action == "read" else "edit"
            raise HTTPException(
                403, f"You may not {doing} group {name}: you lack the right to {right} the DAG anomaly.{name}."
            )
        return every[name]

    def may(self, name: str, action: Action) -> bool:
        return name in self.desk.access.permitted(self.person, [name], action)

    def glance(self, incident_id: int, action: Action = "read") -> tuple[Group, IncidentGlance]:
        """
        Raises:
            HTTPException: 404, 403.
        """
        found = self.overviews.incident(incident_id)
        if found is None:
            raise HTTPException(404, f"There is no incident {incident_id}.")
        return self.group(found.group, action), found

    def incident(self, group: Group, glance: IncidentGlance) -> Incident | None:
        """The whole of it; None when it was withdrawn."""
        within = group.range(group.floor(glance.start), max(glance.end, group.floor(glance.start) + group.interval))
        return next((found for found in self.store.incidents(group, within) if found.id == glance.id), None)
