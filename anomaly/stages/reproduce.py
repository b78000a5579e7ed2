"""Reproduce: derives an alert again from what is stored, and says whether it comes out equal.

In: an incident. Out: `Reproduction`, what was derived (predictions, residuals, tail probabilities, thresholds,
verdicts, the incident they make up) beside what is stored, number by number, and what has changed since.

The derivation takes the counts as they were when they were judged (kept beside each prediction), the networks under
the digests that their fit noted, and what predict noted it judged under (`anomaly.stages.circumstances`). It runs the
same code as predict and alert do; of earlier intervals it takes what was stored of them, as predict does. Because an
hour alone and a year at once agree to the last bit, so must this, however the intervals were handed over then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.completeness import Filling
from anomaly.detection.forecasts import needed_before
from anomaly.detection.grid import CountGrid
from anomaly.detection.incidents import Anomaly, Incident, gather
from anomaly.exceptions import (
    ArtifactCorruptedError,
    ArtifactsUnavailableError,
    ConfigurationError,
    IncompleteFitError,
)
from anomaly.groups import Group, TimeRange
from anomaly.ports import ArtifactReader, Fit, ForecasterLoader, NetworkFile, Predictions, RunRecord, Store, Variable
from anomaly.ports.judgements import Circumstances, Judgement, Judgements
from anomaly.stages import predict
from anomaly.stages.circumstances import filling_from, software
from anomaly.stages.explaining import explained

NUMBERS = ("predicted", "residuals", "tail_probabilities", "lower", "upper", "felt", "outlook")
WORDS = ("kinds", "tests")
NOT_NOTED = (
    "judged before it was noted under what; the configuration is taken as it was at the fit, and every count as "
    "complete"
)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""A moment at which no interval has an age: the ages are those that were noted."""
EXAMPLES = 12
"""Differences that are told one by one, the largest first; the others are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One stored value that was derived otherwise."""

    what: str
    """Such as ``predicted`` or ``incident.severity``."""
    variable: str
    """'' where it is the incident's."""
    start: datetime | None
    """Of the interval; None where it is the incident's."""
    stored: float | str
    derived: float | str

    @property
    def relative(self) -> float:
        """How far the derived value is from the stored one, as a share of it; infinite for words."""
        if isinstance(self.stored, str) or isinstance(self.derived, str):
            return math.inf
        if not (math.isfinite(self.stored) and math.isfinite(self.derived)):
            return math.inf
        return abs(self.derived - self.stored) / max(abs(self.stored), 1e-300)


@dataclass(frozen=True, slots=True)
class Recounted:
    """A count that is another now than when it was judged."""

    variable: str
    start: datetime
    judged: float
    now: float


@dataclass(frozen=True, slots=True)
class Part:
    """Intervals of the incident that were judged under the same circumstances."""

    within: TimeRange
    fit: Fit
    files: tuple[NetworkFile, ...]
    """All of them read, and their SHA-256 as noted."""
    judged_at: datetime | None
    """When they were judged last; None where it was not noted."""
    circumstances: Circumstances | None
    """None where they were not noted: then the configuration is the fit's."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """An incident, stored and derived."""

    group: Group
    """As it was configured when the incident's last interval was judged."""
    incident: Incident
    derived: Incident | None
    """None when what is derived makes up no incident there."""
    runs: tuple[RunRecord, ...]
    """The last predict and the last alert over the incident's intervals, if they are on record."""
    parts: tuple[Part, ...]
    """In time."""
    compared: int
    """Stored values that were compared."""
    differing: int
    differences: tuple[Difference, ...]
    """The largest of each kind of value, at most `EXAMPLES`."""
    recounted: tuple[Recounted, ...]
    """Within the incident: late rows, or a backfill."""
    recounted_before: int
    """Counts of the intervals that the judgement looked back on and that are others now."""
    judged_again: tuple[datetime, ...]
    """Earlier intervals that were judged again after this incident's were."""
    changed: tuple[str, ...]
    """What is otherwise now, in sentences; it takes no part in the derivation."""
    libraries: tuple[str, ...]
    """Those that have another version now than when it was judged, in sentences."""
    assumed: tuple[str, ...]
    """What was not noted and is taken as it was at the fit, in sentences."""
    underived: tuple[str, ...]
    """Intervals that cannot be derived, and why, in sentences."""

    @property
    def equal(self) -> bool:
        return self.differing == 0 and not self.underived

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        plain: dict[str, Any] = _plain(
            {
                "incident": self.incident.id,
                "group": self.group.name,
                "start": self.incident.start,
                "end": self.incident.end,
                "equal": self.equal,
                "compared": self.compared,
                "differing": self.differing,
                "differences": [asdict(d) | {"relative": d.relative} for d in self.differences],
                "runs": [
                    {"stage": r.stage, "start": r.start, "end": r.end, "finished_at": r.finished_at} for r in self.runs
                ],
                "parts": [
                    {
                        "start": part.within.start,
                        "end": part.within.end,
                        "judged_at": part.judged_at,
                        "fit": part.fit.id,
                        "model_version": part.fit.model_version,
                        "mlflow_run_id": part.fit.mlflow_run_id,
                        "files": {file.serving_uri: file.serving_sha256 for file in part.files},
                        "circumstances": part.circumstances and asdict(part.circumstances),
                    }
                    for part in self.parts
                ],
                "counts_changed_since": [asdict(recounted) for recounted in self.recounted],
                "counts_changed_before": self.recounted_before,
                "judged_again_since": list(self.judged_again),
                "changed_since": list(self.changed),
                "libraries": list(self.libraries),
                "assumed": list(self.assumed),
                "underived": list(self.underived),
            }
        )
        return plain


def reproduce(
    group: Group,
    incident: Incident,
    *,
    store: Store,
    judgements: Judgements,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
) -> Reproduction:
    """Derives the incident again.

    Args:
        group: as its file is now; where it was noted how it was, that is taken.
        incident: a stored one.
        store, judgements, artifacts, forecaster: see the ports; nothing is written.

    Raises:
        IncompleteFitError: the fit that judged it is gone.
        ConfigurationError: nothing of it is judged, or its configuration cannot be read any more.
    """
    within = group.range(incident.start, incident.end)
    back = within.widened(before=needed_before([], group.interval))
    variables = store.variables(group, left_out=True)
    stored = store.read_predictions(group, variables, within)
    if stored is None:
        raise ConfigurationError(
            f"incident {incident.id} of group {group.name!r}: no predictions are stored for {within}; somebody has "
            "deleted them, or run predict again without a champion"
        )
    noted = {j.start: j for j in judgements.judgements(group, back)}
    derived: list[_Derived] = []
    lost: list[str] = []
    for piece in _pieces(group, within, noted, store):
        try:
            derived.append(_derived(group, piece, store=store, artifacts=artifacts, forecaster=forecaster))
        except (ArtifactCorruptedError, ArtifactsUnavailableError) as gone:
            lost.append(f"{piece.within} cannot be derived: {gone}")
    then = derived[-1].group if derived else group
    again = None if lost else _incident_again(then, incident, derived, store)
    compared, found = _compared(stored, derived, within)
    if not lost:
        more, others = _incident_compared(incident, again)
        compared, found = compared + more, [*found, *others]
    recounted = _recounted(group, back, variables, store)
    return Reproduction(
        group=then,
        incident=incident,
        derived=again,
        runs=_runs(group, within, store),
        parts=tuple(d.part for d in derived),
        compared=compared,
        differing=len(found),
        differences=_largest(found),
        recounted=tuple(r for r in recounted if r.start >= within.start),
        recounted_before=sum(r.start < within.start for r in recounted),
        judged_again=_judged_again(noted, within),
        changed=tuple(_changed(group, incident, [d.part for d in derived], within, store)),
        libraries=tuple(_libraries([d.part for d in derived])),
        assumed=tuple(f"{d.part.within}: {NOT_NOTED}" for d in derived if d.part.circumstances is None),
        underived=tuple(lost),
    )


# --- deriving -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """Intervals that were judged alike."""

    within: TimeRange
    fit_id: str
    judgements: tuple[Judgement, ...]
    """One per interval; empty where they were not noted."""


@dataclass(frozen=True, slots=True)
class _Derived:
    group: Group
    """As it was."""
    part: Part
    predictions: Predictions
    allowed: Mapping[str, float]
    """By variable, the tail probability behind its thresholds."""


def _pieces(group: Group, within: TimeRange, noted: Mapping[datetime, Judgement], store: Store) -> Iterator[_Piece]:
    """The range, cut where the fit or the circumstances change."""
    served = dict[datetime, str]()
    for fit, part in predict.served_by(store.champions(group, within), within):
        served |= dict.fromkeys(_starts(part), fit.id)
    keys = [
        (start, (noted[start].fit_id, noted[start].circumstances) if start in noted else (served.get(start), None))
        for start in _starts(within)
    ]
    for (fit_id, _), found in groupby(keys, key=lambda key: key[1]):
        starts = [start for start, _ in found]
        if fit_id is not None:
            own = tuple(noted[start] for start in starts if start in noted)
            yield _Piece(TimeRange(starts[0], starts[-1] + within.step, within.step), fit_id, own)


def _derived(
    group: Group, piece: _Piece, *, store: Store, artifacts: ArtifactReader, forecaster: ForecasterLoader
) -> _Derived:
    fit = store.fit(piece.fit_id)
    if fit is None:
        raise IncompleteFitError(f"fit {piece.fit_id}, which judged {piece.within}, is not in the metadata any more")
    under = piece.judgements[0].circumstances if piece.judgements else None
    then = _as_it_was(group, fit, under)
    view = cast("Store", _AsKnownThen(store, piece.judgements))
    champion = predict.load_champion(then, fit, store=view, artifacts=artifacts, forecaster=forecaster)
    slots = {f.slot for f in champion.fitted}
    factors = under.adjustments if under else {}
    return _Derived(
        then,
        Part(
            within=piece.within,
            fit=fit,
            files=tuple(file for file in store.network_files(fit.id) if file.slot in slots),
            judged_at=max((j.judged_at for j in piece.judgements), default=None),
            circumstances=under,
        ),
        predict.judge(then, champion, piece.within, view, LONG_AGO, factors),
        {f.variable.name: f.tail_probability * factors.get(f.variable.name, 1.0) for f in champion.fitted},
    )


def _as_it_was(group: Group, fit: Fit, under: Circumstances | None) -> Group:
    configuration = under.configuration if under else fit.configuration
    if not configuration:
        return group
    try:
        return Group.model_validate(configuration)
    except ValueError as other:
        raise ConfigurationError(
            f"the configuration that group {group.name!r} was judged under cannot be read by this version: {other}. "
            "Reproduce with the version that judged"
        ) from other


class _AsKnownThen:
    """The store, as it was when a piece was judged; only what judging asks for is otherwise, the rest is the store's.

    Counts are those that the predictions beside them were made from. Where there is no prediction (before the first
    champion), they are as they are now.
    """

    def __init__(self, store: Store, judgements: Sequence[Judgement]) -> None:
        self._store, self._judgements = store, judgements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read_counts(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> CountGrid:
        grid = self._store.read_counts(group, variables, within)
        judged = self._store.read_predictions(group, variables, within)
        if judged is None:
            return grid
        return replace(grid, counts=np.where(np.isfinite(judged.observed), judged.observed, grid.counts))

    def filling(self, variables: Sequence[Variable], ages: int) -> Filling:
        noted = self._judgements[0].circumstances.filling if self._judgements else {}
        return filling_from(noted, variables, ages)

    def counted_ages(self, group: Group, within: TimeRange) -> NDArray[np.int64]:  # noqa: ARG002
        ages = {j.start: j.age for j in self._judgements}
        return np.array([ages.get(start, -1) for start in _starts(within)])


def _incident_again(group: Group, incident: Incident, derived: Sequence[_Derived], store: Store) -> Incident | None:
    """The incident that the derived anomalies make up, among the stored ones around it."""
    policy, step = group.incidents, group.interval
    begin = group.floor(incident.start - policy.repeat_window)
    while earlier := store.anomalies(group, TimeRange(group.floor(begin - policy.merge_gap - step), begin, step)):
        begin = earlier[0].start
    # One that goes on had not been looked at beyond its end.
    end = incident.end + (policy.merge_gap // step + 2) * step if incident.resolved else incident.end
    around = store.anomalies(group, TimeRange(begin, end, step))
    known = {(a.variable, a.start): a for a in around}
    own = [a for d in derived for a in _anomalies(d, known)]
    inside = [d.part.within for d in derived]
    anomalies = [*(a for a in around if not any(r.start <= a.start < r.end for r in inside)), *own]
    gathered = gather(
        group.name,
        anomalies,
        step=step,
        merge_gap=policy.merge_gap,
        min_anomalies=policy.min_anomalies,
        min_duration=policy.min_duration,
        repeat_window=policy.repeat_window,
        since=incident.start,
        until=end,
    )
    found = next((g for g in gathered if g.start < incident.end and incident.start < g.end), None)
    view = cast("Store", _AsKnownThen(store, ()))
    return None if found is None else explained(group, found, anomalies, view)


def _anomalies(derived: _Derived, known: Mapping[tuple[str, datetime], Anomaly]) -> Iterator[Anomaly]:
    p, starts = derived.predictions, _starts(derived.part.within)
    for row, column in zip(*np.nonzero(p.kinds != ""), strict=True):
        name, start = p.variables[row].name, starts[column]
        if not np.isfinite(p.predicted[row, column]):
            continue
        stored = known.get((name, start))
        yield Anomaly(
            variable=name,
            start=start,
            kind=str(p.kinds[row, column]),
            observed=float(p.observed[row, column]),
            predicted=float(p.predicted[row, column]),
            residual=float(p.residuals[row, column]),
            tail_probability=float(p.tail_probabilities[row, column]),
            allowed=stored.allowed if stored else derived.allowed[name],
            test=str(p.tests[row, column]),
        )


# --- comparing ----------------------------------------------------------------------------------------------------


def _compared(stored: Predictions, derived: Sequence[_Derived], within: TimeRange) -> tuple[int, list[Difference]]:
    """How many values were compared, and those that differ."""
    compared, found = 0, list[Difference]()
    row_of = {variable.id: row for row, variable in enumerate(stored.variables)}
    for one in derived:
        p, starts = one.predictions, _starts(one.part.within)
        rows = np.array([row_of[v.id] for v in p.variables], dtype=np.int64)
        first = (one.part.within.start - within.start) // within.step
        columns = slice(first, first + len(starts))
        there = np.isfinite(stored.predicted[rows, columns]) | np.isfinite(p.predicted)
        for what in (*NUMBERS, *WORDS):
            before, now = getattr(stored, what)[rows, columns], getattr(p, what)
            same = before == now if what in WORDS else (before == now) | (np.isnan(before) & np.isnan(now))
            compared += int(there.sum())
            for row, column in zip(*np.nonzero(there & ~same), strict=True):
                values = (before[row, column].item(), now[row, column].item())
                found.append(Difference(what, p.variables[row].name, starts[column], *values))
    return compared, found


INCIDENT_FIELDS = ("kind", "start", "end", "severity", "tail_probability", "return_period_hours", "shared")
VARIABLE_FIELDS = (
    *("kind", "start", "end", "anomalies", "observed", "expected"),
    *("tail_probability", "allowed", "test", "stretch", "usual"),
)


def _incident_compared(stored: Incident, derived: Incident | None) -> tuple[int, list[Difference]]:
    if derived is None:
        return 1, [Difference("incident", "", None, f"{stored.kind} in {len(stored.variables)} variables", "none")]
    pairs = [("", name, getattr(stored, name), getattr(derived, name)) for name in INCIDENT_FIELDS]
    names = [v.variable for v in stored.variables], [v.variable for v in derived.variables]
    pairs.append(("", "variables", ", ".join(names[0]), ", ".join(names[1])))
    again = {v.variable: v for v in derived.variables}
    for part in stored.variables:
        if part.variable in again:
            other = again[part.variable]
            pairs += [(part.variable, name, getattr(part, name), getattr(other, name)) for name in VARIABLE_FIELDS]
    return len(pairs), [
        Difference(f"incident.{name}", variable, None, _comparable(before), _comparable(now))
        for variable, name, before, now in pairs
        if before != now
    ]


def _comparable(value: Any) -> float | str:
    return float(value) if isinstance(value, int | float) else str(value)


def _largest(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """At most `EXAMPLES`: words and the incident's before numbers, the largest first."""
    return tuple(sorted(found, key=lambda d: (d.start is not None, -d.relative))[:EXAMPLES])


# --- what has changed since -----------------------------------------------------------------------------------------


def _recounted(group: Group, back: TimeRange, variables: Sequence[Variable], store: Store) -> list[Recounted]:
    """Counts that are others now than when they were judged."""
    judged = store.read_predictions(group, variables, back)
    if judged is None:
        return []
    now, starts = store.read_counts(group, variables, back).counts, _starts(back)
    other = np.isfinite(judged.observed) & (judged.observed != now)
    return [
        Recounted(variables[row].name, starts[column], float(judged.observed[row, column]), float(now[row, column]))
        for row, column in sorted(zip(*np.nonzero(other), strict=True), key=lambda cell: (cell[1], cell[0]))
    ]


def _judged_again(noted: Mapping[datetime, Judgement], within: TimeRange) -> tuple[datetime, ...]:
    """Intervals that were judged later than one of the incident's that follows them and looked back on them."""
    found, earliest = [], None
    for judgement in sorted(noted.values(), key=lambda j: j.start, reverse=True):
        if earliest is not None and judgement.judged_at > earliest:
            found.append(judgement.start)
        if judgement.start >= within.start:
            earliest = judgement.judged_at if earliest is None else min(earliest, judgement.judged_at)
    return tuple(reversed(found))


def _changed(group: Group, incident: Incident, parts: Sequence[Part], within: TimeRange, store: Store) -> Iterator[str]:
    if incident.withdrawn:
        yield "the incident was withdrawn: nothing was left of it, or it grew together with an older one"
    now = group.model_dump(mode="json")
    told = set[str]()
    for part in parts:
        before = part.circumstances.configuration if part.circumstances else part.fit.configuration
        for key in sorted(now.keys() | before.keys() if before else ()):
            if now.get(key) != before.get(key):
                told.add(f"{group.name}.yaml: {key} was {before.get(key)!r}, is {now.get(key)!r}")
        for fit, served in predict.served_by(store.champions(group, within), within):
            if fit.id != part.fit.id and served.start < part.within.end and part.within.start < served.end:
                told.add(f"version {fit.model_version} serves {served} now; version {part.fit.model_version} judged it")
    yield from sorted(told)


def _libraries(parts: Sequence[Part]) -> list[str]:
    then = {pair for part in parts if part.circumstances for pair in part.circumstances.software.items()}
    now = software()
    return sorted(f"{name} was {version}, is {now.get(name)}" for name, version in then if now.get(name) != version)


def _runs(group: Group, within: TimeRange, store: Store) -> tuple[RunRecord, ...]:
    """Of predict and of alert, the last on record that took part in the range."""
    last: dict[str, RunRecord] = {}
    for run in store.runs(group):
        if run.stage in {"predict", "alert"} and run.start < within.end and within.start < run.end:
            last.setdefault(run.stage, run)
    return tuple(last[stage] for stage in ("predict", "alert") if stage in last)


def _starts(within: TimeRange) -> list[datetime]:
    return [within.start + n * within.step for n in range(len(within))]


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            return value
