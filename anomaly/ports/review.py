"""What the review pages ask of the metadata: aggregated and in pages, whatever the size of a group.

A page shows some fifty of perhaps 5,000 variables. So every question here takes a limit and an offset, and what
comes back is already counted up per row. Moments are aware UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of more."""

    rows: tuple[Row, ...]
    total: int
    """Rows that there are in all."""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in cells of equal length, as a heatmap draws it."""

    start: datetime
    cells: int
    cell: timedelta

    @property
    def end(self) -> datetime:
        return self.start + self.cells * self.cell


@dataclass(frozen=True, slots=True)
class Cell:
    """What was out of the ordinary in one cell of a heatmap's row."""

    at: int
    """Index of the cell, from 0."""
    anomalies: int
    """Anomalous intervals of a variable, or anomalous variables of a group."""
    kind: str
    """Of its rarest interval."""
    tail_probability: float
    """Of its rarest interval."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The latest run of a stage."""

    stage: str
    end: datetime
    """End of the range that it was about."""
    seconds: float
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class GroupGlance:
    """A group in one row."""

    group: str
    variables: int
    judged_from: datetime | None
    """Start of the first interval that has a prediction."""
    judged_until: datetime | None
    """Start of the latest interval that has one."""
    counted_until: datetime | None
    """End of the latest interval that update has counted."""
    open_incidents: int
    worst_open: str | None
    """The highest severity among the open ones."""
    recent_incidents: int
    """Those that began within the stretch that was asked about."""
    undelivered: int
    """Messages that were refused at least once and still wait."""
    runs: Mapping[str, LastRun] = field(default_factory=dict)
    """By stage."""


@dataclass(frozen=True, slots=True)
class VariableRow:
    """A variable in one row of a heatmap."""

    group: str
    name: str
    type: str | None
    status: str | None
    """Of the fit that was asked for; None when that has not met it."""
    candidate: str | None
    anomalies: int
    """Anomalous intervals within the stretch."""
    latest: datetime | None
    """Start of the latest of them."""
    judged_from: datetime | None
    """Within the stretch, start of the first interval that has a prediction."""
    judged_until: datetime | None
    """The latest one's."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class IncidentGlance:
    """An incident in one row."""

    id: int
    group: str
    kind: str
    start: datetime
    end: datetime
    resolved: bool
    withdrawn: bool
    severity: str
    return_period_hours: float
    variables: int
    """How many took part, the group's total not counted unless it stands alone."""
    worst: str
    """Name of the worst variable."""
    word: str | None
    """Of its label, if it has one."""


@dataclass(frozen=True, slots=True)
class FitGlance:
    """A fit in one row."""

    id: str
    group: str
    created_at: datetime
    state: str
    model_version: int | None
    serves_from: datetime | None
    history_start: datetime
    history_end: datetime
    variables: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """One variable of a fit: what the challenger and the champion before it got wrong on the test period."""

    name: str
    status: str
    candidate: str
    distribution: str
    choice: str
    challenger: float | None
    """Error on the test period, in the transform; None where there was no contest."""
    champion: float | None
    """Of the champion at that time, on the same intervals."""
    baseline: float | None
    """Of the seasonal-naive forecast."""


@dataclass(frozen=True, slots=True)
class ComparedSum:
    """A fit's comparison over all its variables."""

    variables: int
    judged: int
    compared: int
    """Variables for which both have an error."""
    better: int
    worse: int
    """By more than two percent each."""
    challenger: float | None
    champion: float | None
    """Medians over those compared."""
    candidates: Mapping[str, int]
    """Variables by the candidate that they got."""
    statuses: Mapping[str, int]


Uttered = Literal["post", "update", "reply", "notice", "pointer", "digest", "gone", "label"]
"""An outbox entry that is out or waits, a digest that lists the incident, that somebody deleted its message, and what
a person said of it."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing that was said of an incident, or waits to be."""

    kind: Uttered
    at: datetime | None
    """When it was sent or given; None while it waits."""
    words: str
    """'' where they were not kept; of a label, the reason."""
    permalink: str | None = None
    channel: str | None = None
    """Of a pointer: where it is, as the policy names it."""
    author: str | None = None
    """Of a label."""
    word: str | None = None
    """Of a label."""
    holds: bool = True
    """Whether a label was not replaced or taken back."""
    error: str | None = None
    """Of what waits: why the latest try failed."""
    due_at: datetime | None = None
    """Of what waits and was tried: when it is tried again."""


VariableOrder = Literal["trouble", "name"]
CompareOrder = Literal["worse", "better", "name"]


class Overviews(Protocol):
    """PostgreSQL. Reads only; every method may raise `StoreUnavailableError`."""

    def glances(self, groups: Sequence[str], *, since: datetime | None) -> Mapping[str, GroupGlance]:
        """By group. A group that has done nothing yet has a glance too."""

    def judged_until(self, groups: Sequence[str]) -> datetime | None:
        """Start of the latest interval that any of the groups has a prediction of."""

    def strips(self, groups: Sequence[str], stretch: Stretch) -> Mapping[str, tuple[Cell, ...]]:
        """By group, how many of its variables were out of the ordinary in each cell."""

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
        """The groups' variables with their cells, those with most trouble first or by name.

        Args:
            fits: ids of the fits, one per group at most, whose status and candidate are told.
            search: a part of the name, in any case.
            troubled_only: leaves out those without an anomaly in the stretch.
        """

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
        """Open ones first, then the latest first; withdrawn ones are left out."""

    def incident(self, incident_id: int) -> IncidentGlance | None:
        """Also a withdrawn one."""

    def beside(self, incident: IncidentGlance) -> tuple[int | None, int | None]:
        """Ids of the group's incident before it and of the one after it, in time."""

    def thread(self, incident_id: int, *, limit: int = 500) -> tuple[Utterance, ...]:
        """What was said of an incident, the earliest first, then what waits; the latest of more than `limit`."""

    def relatives(self, group: str, names: Collection[str], variable: str, *, limit: int) -> tuple[str, ...]:
        """Other variables of the group whose name begins or ends like this one's, those not in `names`, by name."""

    def fits(self, group: str, *, limit: int = 20) -> tuple[FitGlance, ...]:
        """The latest first."""

    def fit(self, fit_id: str) -> FitGlance | None: ...

    def compared(
        self, fit_id: str, *, search: str = "", order: CompareOrder = "worse", limit: int = 50, offset: int = 0
    ) -> Page[Compared]: ...

    def compared_sum(self, fit_id: str) -> ComparedSum: ...


# --- who asks, and what the scheduler knows ----------------------------------------------------------------------

Action = Literal["read", "label"]


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks."""

    id: str
    name: str
    """Under which labels are signed."""
    known_as: Any = None
    """What the access checks know them by."""


class Access(Protocol):
    """The access checks of whoever shows the pages."""

    @property
    def person(self) -> Callable[..., Any]:
        """A FastAPI dependency that gives the `Person`, or raises `HTTPException` 401 or 403."""

    def permitted(self, person: Person, groups: Collection[str], action: Action) -> frozenset[str]:
        """Those of the groups that the person may read, or label."""


@dataclass(frozen=True, slots=True)
class RunLink:
    """A run of one of a group's DAGs."""

    id: str
    state: str
    address: str

    def task(self, name: str) -> str:
        """Address of one of its task instances."""
        return f"{self.address}/tasks/{name}"

    def parts(self, name: str, part: int | None = None) -> str:
        """Address of a mapped task: of one of its instances, or with None of all of them."""
        return f"{self.task(name)}/mapped" + ("" if part is None else f"/{part}")


class Runs(Protocol):
    """The runs of the groups' DAGs, as the scheduler knows them."""

    def about(self, group: str, moment: datetime) -> RunLink | None:
        """The latest run that was about the interval that begins at a moment."""

    def latest(self, groups: Sequence[str]) -> Mapping[str, RunLink]:
        """The latest run of each group."""

    def of_fit(self, group: str, fit_id: str) -> RunLink | None:
        """The run that made a fit; None when it was made elsewhere, or its run is forgotten."""
