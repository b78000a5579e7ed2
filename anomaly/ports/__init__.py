"""What the stages need of the world, as protocols, and the small records that cross them.

Each protocol has one real adapter in `anomaly.adapters` (and a fake only where the real thing cannot run in a
test); both pass the same contract test. Arrays are numpy, `V` variables by `N` intervals; moments are aware
UTC; records are frozen. Nothing here imports anything heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.completeness import Filling
from anomaly.detection.evidence import FittedTest as FittedTest
from anomaly.detection.grid import CountGrid
from anomaly.detection.incidents import Anomaly as Anomaly
from anomaly.detection.incidents import Incident as Incident
from anomaly.detection.incidents import IncidentVariable as IncidentVariable
from anomaly.detection.incidents import Place as Place
from anomaly.detection.incidents import Said as Said
from anomaly.groups import Group, TimeRange
from anomaly.ports.posts import Digest, News, Remarks, Weekly

Floats = NDArray[np.float64]
Status = Literal["fitted", "new", "dead", "constant", "sparse"]


# --- update ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """Events counted by the source's own engine; intervals and variables without events do not occur.

    `cells[i]` = (index into `variables`, index of the interval in the range, events).
    """

    variables: tuple[str, ...]
    types: tuple[str | None, ...]
    cells: NDArray[np.int64]
    """(M, 3)"""
    rows_read: int
    """Rows in the range that were looked at, good and bad, of this group's variables or of none."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A source row that failed an expectation, as it was read (values as text), with the reason."""

    reason: str
    row: Mapping[str, str | None]


class EventSource(Protocol):
    """Reads the source: read-only transaction, statement timeout, along the timestamp index."""

    def check(self) -> None:
        """That the relation and its columns are there, with usable types.

        Raises:
            SourceSchemaError: naming what is missing and what is there instead.
            SourceUnavailableError: no connection, or a time-out.
        """

    def count(self, within: TimeRange, *, read_at: datetime) -> SourceCounts:
        """Good rows of the group's variables, per variable and interval."""

    def batch_query(self, within: TimeRange, *, read_at: datetime) -> str:
        """A SELECT of the rows that concern the range, under the canonical column names.

        Beside the five columns it carries ``range_start``, ``range_end`` and ``read_at``. It also finds, along
        the same index, the rows that belong to no range: a null timestamp, or one after `read_at`.
        """

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the read-only connection, for checks that run in the source's engine."""


class DataChecks(Protocol):
    """Great Expectations in place of asserts. A failing hard expectation raises, named.

    Every method raises `ExpectationFailedError`; only `source_rows` returns what failed, because single bad
    rows go to quarantine and the rest goes on.
    """

    def source_rows(
        self, group: Group, source: EventSource, within: TimeRange, *, read_at: datetime
    ) -> Sequence[RejectedRow]:
        """Suite ``source_rows`` on the batch query, in the source's engine."""

    def counts(self, group: Group, grid: CountGrid, within: TimeRange) -> None:
        """Suite ``counts``: the complete variables x intervals grid, unique, whole, non-negative."""

    def training_windows(self, group: Group, history: HistorySummary) -> Sequence[str]:
        """Suite ``training_windows``: no NaN, enough history. Returns the names of constant columns."""

    def predictions(self, group: Group, predictions: Predictions, within: TimeRange) -> None:
        """Suite ``predictions``: finite, thresholds ordered, probabilities in [0, 1]."""


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """One row per variable of what a fit would learn from. All arrays (V,)."""

    variables: tuple[str, ...]
    intervals: NDArray[np.int64]
    """Intervals between the variable's first interval and the end of the history."""
    missing: NDArray[np.int64]
    """Intervals without a count, or with one that is not finite."""
    distinct: NDArray[np.int64]
    """Different counts."""
    minimum: Floats
    maximum: Floats
    required: int
    """Intervals that the group's policy asks for."""


# --- the metadata store ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that the group has met. `first_interval` is when its counting (and padding) begins."""

    id: int
    name: str
    type: str | None
    first_interval: datetime


@dataclass(frozen=True, slots=True)
class FittedVariable:
    """All that is needed to judge one variable and to rebuild why, except the network's weights.

    Scaler, residuals and thresholds are in the group's transform (Anscombe or linear).
    """

    variable: Variable
    status: Status
    status_reason: str
    candidate: str
    slot: str
    """Key of the network file in the model version, or '' for candidates without weights."""
    position: int
    """Index of this variable's network along the leading axis of that file."""
    seed: int
    scaler_minimum: float
    scaler_maximum: float
    mae: Mapping[str, float]
    """Mean absolute error on the test period, per candidate (``champion`` too), in the transform."""
    choice: str
    """Why this candidate, in a sentence."""
    distribution: str
    parameters: tuple[float, ...]
    """Shape parameters, then location and scale, as ``scipy.stats`` takes them; of the residual itself."""
    distribution_reason: str
    """Why this distribution, in a sentence: what the gate said."""
    tail_probability: float
    """Two-sided probability per interval behind the thresholds."""
    lower: float
    upper: float
    """Residuals outside [lower, upper] are anomalies."""
    residuals: NDArray[np.float32]
    """Those that the distribution was fitted to, oldest first."""
    tests: tuple[FittedTest, ...] = ()
    """All tests that judge the variable; distribution and thresholds above are those of single intervals."""
    month_days: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """The least and the most by which days of the month depart that always do, in the logarithm or the gauge's unit;
    1 is the first day, -1 the last (`anomaly.detection.months`)."""


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """One batched network of a model version, in both forms."""

    slot: str
    candidate: str
    variables: int
    training_uri: str
    training_sha256: str
    serving_uri: str
    serving_sha256: str


@dataclass(frozen=True, slots=True)
class Fit:
    """One fit of a group. It serves intervals from `serves_from` on, until the next promoted fit's."""

    id: str
    group: str
    history: TimeRange
    configuration: Mapping[str, Any]
    """The group as it was, ``Group.model_dump(mode='json')``."""
    shards: int
    state: Literal["started", "trained", "registered", "promoted", "rejected"]
    mlflow_run_id: str | None = None
    model_version: int | None = None
    serves_from: datetime | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    """Why it ran: on schedule, on drift, or on demand, in a sentence."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """What stands in for a count."""

    variable_id: int
    start: datetime
    month_days: Mapping[int, tuple[float, float]]
    """What the fit that judged it knew (`FittedVariable`)."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What predict writes: arrays (V, N), NaN where a variable is not judged."""

    fit_id: str
    variables: tuple[Variable, ...]
    starts: NDArray[np.datetime64]
    """(N,)"""
    observed: Floats
    predicted: Floats
    """In events per interval."""
    lower: Floats
    upper: Floats
    """Counts outside [lower, upper] are anomalies; in events per interval."""
    residuals: Floats
    """In the group's transform."""
    tail_probabilities: Floats
    felt: Floats
    """What later intervals see of each: as observed, or a stand-in where it was anomalous or a special day."""
    outlook: Floats
    """What was expected before the day began; sums over several intervals are compared with it."""
    kinds: NDArray[np.str_]
    """(V, N): '' for normal and for not judged, else the kind."""
    tests: NDArray[np.str_]
    """(V, N): the test with the strongest evidence."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What later intervals and fits need of what was judged: arrays (V, N)."""

    observed: Floats
    """Counts as they were judged; NaN where nothing was, or where it is long past and was ordinary."""
    felt: Floats
    """As `Predictions.felt`, where `observed` is known."""
    predicted: Floats
    """In events per interval; NaN as `observed`."""
    anomalous: NDArray[np.bool_]

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Remembered:
        """Of (V, N) intervals that nobody has judged."""
        observed, felt, predicted = (np.full(shape, np.nan) for _ in range(3))
        return cls(observed, felt, predicted, np.zeros(shape, dtype=bool))


OutboxAction = Literal["post", "update", "reply", "notice", "pointer"]
"""A post is an incident's message, an update edits it. A reply goes to its thread, a notice to the thread and the
channel (the incident has become clearly worse), a pointer to another channel that it has become bad enough for."""


@dataclass(frozen=True, slots=True)
class RareIntervals:
    """What a group's variables did in some intervals, as far as it was rare."""

    judged: Mapping[str, str | None]
    """The variables that were judged in at least one of the intervals, with their event type."""
    anomalies: tuple[Anomaly, ...]
    """The intervals that are rare enough, anomalous or not (then their kind is ''), by start and variable."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message to be delivered exactly once. `key` is unique; writing it again is a no-op."""

    id: int
    key: str
    incident: Incident
    action: OutboxAction
    attempts: int
    said: Said | None = None
    """Of a reply, a notice, a pointer: what the thread has said once it is out. Fixed when it was enqueued."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a stage, for people and for the summary."""

    stage: str
    start: datetime
    end: datetime
    seconds: float
    report: Mapping[str, Any]
    finished_at: datetime


class Store(Protocol):
    """The metadata: PostgreSQL. Every write is an upsert in one transaction; every method may raise
    `StoreUnavailableError`."""

    # variables and counts
    def enrol(
        self, group: Group, found: Mapping[str, str | None], *, first_interval: datetime | Mapping[str, datetime]
    ) -> tuple[Variable, ...]:
        """Adds the variables not met before, and returns all of the group's, by name.

        Args:
            found: type by name.
            first_interval: of all, or of each by name. An earlier one moves a known variable's beginning.
        """

    def variables(self, group: Group, *, left_out: bool = False) -> tuple[Variable, ...]:
        """Those that were met and that the group selects, by name; if asked, also those it has left out since."""

    def write_counts(self, group: Group, variables: Sequence[Variable], grid: CountGrid) -> int:
        """Upserts by COPY; returns how many cells were new or changed."""

    def read_counts(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> CountGrid:
        """Counts as stored; NaN where there is none.

        Raises:
            ConfigurationError: the group was counted in intervals of another length, as in the methods below.
        """

    # how counts fill in
    def write_count_ages(
        self, group: Group, variables: Sequence[Variable], grid: CountGrid, ages: Sequence[int], *, keep_from: datetime
    ) -> None:
        """Keeps counts (V, N) as they stand at `ages` (N,), each at least 0; the same age again replaces them.

        What was kept of intervals that begin before `keep_from` is forgotten.
        """

    def read_count_ages(self, group: Group, variables: Sequence[Variable], within: TimeRange, age: int) -> Floats:
        """(V, N) counts as they stood at an age; NaN where nobody looked."""

    def counted_ages(self, group: Group, within: TimeRange) -> NDArray[np.int64]:
        """(N,) the latest age at which each interval was counted while it was young; -1 for never."""

    def save_filling(self, variables: Sequence[Variable], filling: Filling, *, at: datetime) -> None:
        """Replaces what was learned of these variables."""

    def filling(self, variables: Sequence[Variable], ages: int) -> Filling:
        """(V, A) as learned last; complete where nothing was learned."""

    def filling_learned(self, group: Group) -> datetime | None:
        """When the group's filling was learned last."""

    def quarantine(self, group: Group, rows: Sequence[RejectedRow], *, at: datetime) -> int:
        """Keeps the rows; returns how many were not there yet."""

    def mark_updated(self, group: Group, within: TimeRange, *, rows_read: int, events: int, at: datetime) -> None: ...

    def first_gap(self, group: Group, within: TimeRange) -> TimeRange | None:
        """The first stretch of the range that update has not counted, if any."""

    def first_uncounted(self, group: Group, before: datetime) -> datetime | None:
        """Where the gap directly before a moment begins: the end of the latest counted stretch before it.

        None when there is no such stretch (what was never counted is no gap), or when it reaches the moment.
        """

    def exclusively(self, group: Group, stage: str) -> AbstractContextManager[None]:
        """Inside the block nobody else is in a block of the same group and stage; waits for its turn.

        The turn ends with the block, also on exceptions, and when the process dies.
        """

    # fits
    def begin_fit(self, fit: Fit) -> Fit:
        """Saves it unless there is a fit of this id; returns what is there then. A late second start resets nothing."""

    def save_fit(self, fit: Fit) -> None: ...

    def fit(self, fit_id: str) -> Fit | None: ...

    def save_fitted(self, fit_id: str, fitted: Sequence[FittedVariable], files: Sequence[NetworkFile]) -> None: ...

    def fitted(
        self, fit_id: str, *, residuals: bool = False, names: Sequence[str] | None = None
    ) -> tuple[FittedVariable, ...]:
        """What the fit learned, by variable name: of all its variables, or of those named.

        Without `residuals`, which are most of what is stored, the records hold empty arrays in their place.
        """

    def network_files(self, fit_id: str) -> tuple[NetworkFile, ...]: ...

    def champions(self, group: Group, within: TimeRange) -> Sequence[Fit]:
        """Promoted fits that serve any of the range, by `serves_from`; one that serves again is there twice."""

    def champion(self, group: Group) -> Fit | None:
        """The promoted fit with the latest `serves_from`."""

    # predictions and anomalies
    def write_predictions(self, group: Group, predictions: Predictions) -> int:
        """Replaces what was there for these variables and intervals; returns the number of anomalies."""

    def read_predictions(
        self, group: Group, variables: Sequence[Variable], within: TimeRange
    ) -> Predictions | None: ...

    def remembered(
        self, group: Group, variables: Sequence[Variable], within: TimeRange, *, whole_from: datetime
    ) -> Remembered:
        """From `whole_from` on all that was judged; before it only what was anomalous or felt as another count, which
        is little of it."""

    def stand_ins(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> Sequence[StandIn]:
        """Intervals of which later ones see something else than was written, where the fit that judged them knew of
        days of the month."""

    def anomalies(self, group: Group, within: TimeRange) -> Sequence[Anomaly]:
        """By start and variable."""

    def rare(self, group: Group, starts: Sequence[datetime], *, at_most: float) -> RareIntervals:
        """What was judged in the intervals that begin at `starts`, with a tail probability of `at_most`."""

    def predicted_until(self, group: Group) -> datetime | None:
        """Start of the latest interval that has a prediction."""

    # incidents and the outbox
    def incidents(self, group: Group, within: TimeRange | None = None) -> tuple[Incident, ...]:
        """Those that overlap the range, or all, by start."""

    def incident(self, incident_id: int) -> Incident | None:
        """Of any group, also one that was withdrawn."""

    def save_incidents(
        self, group: Group, incidents: Sequence[Incident], *, withdrawn: Iterable[int] = ()
    ) -> tuple[Incident, ...]:
        """Upserts by id (None inserts); marks the withdrawn ones; returns them with ids."""

    def unsettled(self, group: Group) -> tuple[Incident, ...]:
        """Those of which something may have to be told though nothing new is found: they go on, wait for the end of
        quiet hours, have no message yet, or ended without their thread having heard of it. By start."""

    def place(self, incident_id: int, place: Place, *, reason: str, at: datetime) -> None:
        """Where people find the incident, and why not in a message."""

    def enqueue(self, incident_id: int, action: OutboxAction, *, said: Said | None = None) -> bool:
        """False when a message about the incident is waiting already: it will tell what is new by then, too. The same
        holds for replies of any kind among themselves; what is new by then is told by the next.

        Args:
            said: of a reply, a notice, a pointer: what the thread will have said.
        """

    def due(self, group: Group, *, at: datetime) -> AbstractContextManager[Sequence[OutboxEntry]]:
        """Undelivered entries whose time has come, oldest first; inside the block no second sender gets them."""

    def delivered(
        self,
        entry: OutboxEntry,
        *,
        channel: str,
        ts: str,
        permalink: str | None,
        chart: str | None,
        told: str | None,
        at: datetime,
        said: Said | None = None,
        words: str = "",
    ) -> None:
        """Notes that it is out, and in what words. Of a post and an update: where the message is, and the digest of
        what it says (None when that is unknown: it is edited next). Of all but updates, what the thread has said now;
        of a post and a notice, and of the first delivery of an old incident, also how bad the incident was then."""

    def dropped(self, entry: OutboxEntry, *, reason: str, at: datetime) -> None:
        """Takes the entry out of the queue: there is nothing left to tell."""

    def message_gone(self, entry: OutboxEntry, *, at: datetime) -> None:
        """Somebody deleted the message: all that waits about the incident is done, and it has no message."""

    def postponed(self, entry: OutboxEntry, *, error: str, until: datetime) -> None: ...

    # bookkeeping
    def record_run(
        self, group: Group, stage: str, within: TimeRange, *, seconds: float, report: Mapping[str, Any], at: datetime
    ) -> None: ...

    def runs(self, group: Group, *, limit: int = 1000) -> tuple[RunRecord, ...]:
        """What the stages did, latest first."""

    def totals(self, group: Group) -> Mapping[str, int]:
        """``variables``, ``intervals`` counted, ``events`` counted, source rows ``quarantined``."""

    def updated_until(self, group: Group) -> datetime | None:
        """End of the latest interval that update has counted."""

    def waiting(self, group: Group) -> int:
        """Undelivered messages, replies and posts."""


# --- models -----------------------------------------------------------------------------------------------------


class ModelRegistry(Protocol):
    """MLflow: one run per fit, one registered model per group."""

    def start_run(self, group: Group, fit: Fit) -> str:
        """The run of this fit, made if it is not there yet; returns its id."""

    def log_network(self, fit: Fit, slot: str, files: Mapping[str, bytes]) -> Mapping[str, str]:
        """Stores a network's files under the run; returns the URI of each (``file://`` or ``s3://``)."""

    def log_fit(
        self,
        group: Group,
        fit: Fit,
        *,
        params: Mapping[str, str | int | float],
        metrics: Mapping[str, float],
        tables: Mapping[str, Mapping[str, Sequence[Any]]],
        charts: Mapping[str, bytes],
    ) -> None:
        """Params, metrics, per-variable tables (by columns) and charts (PNG) of a fit."""

    def register(
        self, group: Group, fit: Fit, networks: Sequence[NetworkFile], *, description: str, tags: Mapping[str, str]
    ) -> int:
        """A version of ``anomaly.<group>`` with the whole group's networks and a signature, as `challenger`.

        Registering the same fit again returns the version it has.
        """

    def promote(self, group: Group, version: int) -> None:
        """Makes the version the `champion`."""

    def champion_version(self, group: Group) -> int | None:
        """The version that the alias `champion` points to."""

    def log_review(
        self,
        group: Group,
        fit: Fit,
        version: int,
        *,
        description: str,
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None:
        """Keeps the files under ``review/`` of the fit's run, and makes the version's page say what the review says."""

    def tag(self, group: Group, version: int, tags: Mapping[str, str]) -> None:
        """Sets tags of a version; others stay.

        Raises:
            ConfigurationError: there is no such version.
        """

    def tags(self, group: Group, version: int) -> Mapping[str, str]:
        """All tags of a version."""


class ArtifactReader(Protocol):
    """Reads stored artifacts by URI, from a folder or S3."""

    def read(self, uri: str, *, sha256: str) -> bytes:
        """The bytes.

        Raises:
            ArtifactCorruptedError: their SHA-256 is another.
            ArtifactsUnavailableError: not reachable, or not there.
        """


class Forecaster(Protocol):
    """The serving form of one batched network."""

    @property
    def features(self) -> int:
        """Of the windows that it was made for."""

    def predict(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(V, B, L, F) scaled windows to (V, B) scaled predictions.

        Of windows with more features than it was made for it sees the first ones: new ones are added at the end, so
        that a champion goes on serving after an upgrade.
        """


class ForecasterLoader(Protocol):
    def __call__(self, serving: bytes) -> Forecaster: ...


# --- people -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChartVariable:
    """What one variable's part of a chart shows. Arrays (N,), NaN where unknown."""

    variable: str
    starts: NDArray[np.datetime64]
    observed: Floats
    predicted: Floats
    lower: Floats
    upper: Floats
    residuals: Floats
    anomalous: NDArray[np.bool_]
    fitted_residuals: Floats
    """(M,) those that the distribution was fitted to."""
    distribution: str
    parameters: tuple[float, ...]
    residual_lower: float
    residual_upper: float


@dataclass(frozen=True, slots=True)
class ChartData:
    """A whole incident's chart: its worst variables, in the group's time zone."""

    group: Group
    incident: Incident
    variables: tuple[ChartVariable, ...]


class Charts(Protocol):
    def incident(self, data: ChartData) -> bytes:
        """PNG with the three panels: observed and predicted; residuals over time; their histogram with the
        fitted distribution and the thresholds. Equal data gives equal bytes."""


class FitCharts(Protocol):
    """Charts of a whole fit, for reviews of the model."""

    def candidate_errors(self, mae_by_candidate: Mapping[str, Floats]) -> bytes:
        """PNG: errors on the test period, (V,) per candidate."""

    def residual_overview(
        self, residuals: Mapping[str, Floats], lower: Mapping[str, float], upper: Mapping[str, float]
    ) -> bytes:
        """PNG: per variable, the residuals that its distribution was fitted to and its thresholds."""


class ChartStore(Protocol):
    def save(self, name: str, png: bytes) -> str:
        """Keeps the chart; returns its URI (``file://`` or ``s3://``)."""


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses that a message points to; None leaves the link out."""

    airflow_run: str | None = None
    model: str | None = None
    data_docs: str | None = None
    review: str | None = None
    """Of the review pages, without a slash at the end."""

    def incident(self, incident: Incident) -> str | None:
        """The incident's review page."""
        return f"{self.review}/incidents/{incident.id}" if self.review and incident.id is not None else None

    def group(self, group: Group) -> str | None:
        """The group's review page."""
        return f"{self.review}/groups/{group.name}" if self.review else None


@dataclass(frozen=True, slots=True)
class Posted:
    channel: str
    ts: str
    permalink: str | None
    found: bool = field(default=False, compare=False)
    """Whether it was there already, posted by a run that died before it could note that."""
    words: str = field(default="", compare=False)
    """What it says, in plain text on a line or a few: for those who read of it elsewhere."""


NO_REMARKS = Remarks()


class Channel(Protocol):
    """Slack, or whatever takes its Web API calls.

    `key` travels in the metadata of what is posted: posting the same key again finds what is there and returns it.
    Every method raises `SlackUnavailableError` or `SlackRejectedError`.
    """

    def post(
        self,
        group: Group,
        incident: Incident,
        *,
        png: bytes,
        links: Links,
        key: str,
        channel: str | None = None,
        remarks: Remarks = NO_REMARKS,
    ) -> Posted:
        """One message with the chart.

        Args:
            channel: another than the group's.
        """

    def update(
        self,
        group: Group,
        incident: Incident,
        *,
        links: Links,
        png: bytes | None = None,
        remarks: Remarks = NO_REMARKS,
    ) -> Posted:
        """Edits the incident's message to what the incident is now; the chart stays unless there is a new one.

        Raises:
            MessageGoneError: somebody deleted the message.
        """

    def reply(self, group: Group, incident: Incident, news: News, *, key: str, broadcast: bool = False) -> Posted:
        """One reply in the thread of the incident's message.

        Args:
            broadcast: whether the channel sees it too.

        Raises:
            MessageGoneError: somebody deleted the message.
        """

    def point(self, group: Group, incident: Incident, *, channel: str, links: Links, key: str) -> Posted:
        """One short message in another channel that leads to the incident's thread."""

    def digest(self, group: Group, digest: Digest, *, links: Links, key: str) -> Posted:
        """One message that lists incidents."""

    def weekly(self, group: Group, weekly: Weekly, *, links: Links, key: str) -> Posted:
        """One message with what was promised and observed."""
