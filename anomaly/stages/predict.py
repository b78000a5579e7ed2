"""Predict: what should have been written, how far reality is from it, and the verdict.

In: a range of intervals that update has counted. Out, in the store: prediction, residual, tail probability,
thresholds and verdict for every variable that is judged. Each interval is served by the champion of its time,
so a range that is run again later gives what it gave live, whoever labels or hands over while it runs
(`anomaly.stages.judging`). The networks run in their serving form; nothing of TensorFlow is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import calendars, completeness, months, transforms
from anomaly.detection.candidates import candidate
from anomaly.detection.evidence import Evidence
from anomaly.detection.forecasts import Panel, Past, looked_at, needed_before, walk
from anomaly.detection.scaling import Scaler
from anomaly.detection.thresholds import limit
from anomaly.exceptions import ArtifactCorruptedError, IncompleteCountsError
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import Transform
from anomaly.ports import (
    ArtifactReader,
    DataChecks,
    Fit,
    FittedVariable,
    ForecasterLoader,
    Predictions,
    Store,
)
from anomaly.ports.judgements import Judgement, Judgements
from anomaly.ports.labels import Labels
from anomaly.stages import circumstances
from anomaly.stages.judging import judging
from anomaly.stages.labelled import served_alike
from anomaly.stages.memory import departed_then, felt_counts

log = logging.getLogger(__name__)

CELLS_AT_ONCE = 1_000_000
"""Variables x intervals that are judged, checked and written at a time; what they look back on comes on top."""
UNADJUSTED: Mapping[str, float] = {}
"""Thresholds as the fit made them."""
CATCH_UP = timedelta(days=7)
"""So far back, intervals that failed runs left without predictions are judged with the next range."""


@dataclass(frozen=True, slots=True)
class PredictReport:
    """What one prediction did."""

    start: str
    end: str
    intervals: int
    variables: int
    not_judged: int
    """Variables that no champion judges: new, or met after the fit."""
    predictions: int
    unjudged: int
    """Counted intervals without a prediction, because their windows reach into a time without counts, or because they
    are so young that nothing can be said of them yet."""
    anomalies: int
    model_versions: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"model_versions": list(self.model_versions)}

    def __str__(self) -> str:
        if not self.model_versions:
            return "there is no champion for this range yet, so nothing was predicted; run a fit first"
        versions = ", ".join(str(v) for v in self.model_versions)
        return (
            f"{self.predictions:,} predictions for {self.variables} variables in {self.intervals} intervals by "
            f"version {versions}; {self.anomalies:,} anomalous; {self.not_judged} variables not judged"
            + (
                f"; {self.unjudged:,} intervals not judged, for want of history or of time to fill in"
                if self.unjudged
                else ""
            )
        )


def predict(
    group: Group,
    start: datetime,
    end: datetime,
    *,
    store: Store,
    checks: DataChecks,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
    now: datetime,
    judgements: Judgements | None = None,
    labels: Labels | None = None,
) -> PredictReport:
    """Judges the range ``[start, end)``, and again the late intervals before it, whose counts may have changed.

    Args:
        judgements: where it is noted under what each interval was judged; without it, no alert of the range can be
            derived again.
        labels: what people have said moves thresholds, from an interval on; without it, nobody has said anything.

    Raises:
        InvalidRangeError: empty, reversed, naive or off the grid.
        IncompleteCountsError: update has not counted all of it.
        ArtifactCorruptedError, ArtifactsUnavailableError: the champion cannot be loaded.
        ExpectationFailedError: a prediction is not finite, or thresholds are out of order.
    """
    requested = group.range(start, end)
    gap = store.first_gap(group, requested)
    if gap is not None:
        raise IncompleteCountsError(
            f"group {group.name!r} has no counts for {gap}; run update for it first: "
            f"anomaly update {group.name} --start {gap.start.isoformat()} --end {gap.end.isoformat()}"
        )
    within = _with_what_may_have_changed(group, requested, store)

    predictions = anomalies = unjudged = 0
    judged: set[str] = set()
    versions: list[int] = []
    champion: Champion | None = None
    todo: TimeRange | None = within
    while todo is not None and (stretch := _first_stretch(group, todo, store, labels)) is not None:
        if champion is None or champion.fit.id != stretch.fit.id:
            champion = load_champion(group, stretch.fit, store=store, artifacts=artifacts, forecaster=forecaster)
        piece = _begun(stretch, max(1, CELLS_AT_ONCE // max(1, len(champion.fitted))))
        made = judge(group, champion, piece.within, store, now, piece.factors)
        checks.predictions(group, made, piece.within)
        with judging(group, store):
            if not piece.is_like(_first_stretch(group, piece.within, store, labels)):
                log.info("%s: what %s is judged by has changed meanwhile; judging it again", group.name, piece.within)
                continue
            anomalies += store.write_predictions(group, made)
            if judgements is not None:
                judgements.note(group, _noted(group, champion, piece.within, store, now, piece.factors))
        if piece.within.start == stretch.fit.serves_from or not versions:
            versions.append(stretch.fit.model_version or 0)
        known = np.isfinite(made.predicted)
        predictions += int(known.sum())
        unjudged += int((np.isfinite(made.observed) & ~known).sum())
        judged |= {v.name for v, row in zip(made.variables, known, strict=True) if row.any()}
        todo = TimeRange(piece.within.end, todo.end, todo.step) if piece.within.end < todo.end else None

    report = PredictReport(
        start=within.start.isoformat(),
        end=within.end.isoformat(),
        intervals=len(within),
        variables=len(judged),
        not_judged=len(store.variables(group)) - len(judged),
        predictions=predictions,
        unjudged=unjudged,
        anomalies=anomalies,
        model_versions=tuple(versions),
    )
    log.info("%s %s: %s", group.name, within, report)
    return report


def _with_what_may_have_changed(group: Group, requested: TimeRange, store: Store) -> TimeRange:
    """The range, begun earlier: by the lateness, and where earlier runs failed, at the first interval that they
    left without predictions although it is counted."""
    begin = group.floor(requested.start - group.lateness)
    latest = store.predicted_until(group)
    if latest is not None and requested.start - CATCH_UP <= latest + group.interval < requested.start:
        missed = TimeRange(latest + group.interval, requested.start, group.interval)
        if store.first_gap(group, missed) is None:
            begin = min(begin, group.floor(missed.start - group.lateness))
    return TimeRange(max(begin, group.first_interval()), requested.end, requested.step)


def served_by(champions: Sequence[Fit], within: TimeRange) -> Iterator[tuple[Fit, TimeRange]]:
    """Which champion serves which part of the range. Of two that serve from the same moment, the later fit."""
    latest = {fit.serves_from: fit for fit in champions if fit.serves_from is not None}
    moments = [*sorted(latest), within.end]
    for serves_from, until in pairwise(moments):
        begin = max(serves_from, within.start)
        if begin < until:
            yield latest[serves_from], TimeRange(begin, until, within.step)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Intervals that are judged alike: by one champion and, in all of them, the same factors on its thresholds."""

    fit: Fit
    within: TimeRange
    factors: Mapping[str, float]

    def is_like(self, other: _Stretch | None) -> bool:
        """Whether both are the same intervals, judged by the same."""
        return other is not None and replace(self, fit=other.fit) == other and self.fit.id == other.fit.id


def _first_stretch(group: Group, within: TimeRange, store: Store, labels: Labels | None) -> _Stretch | None:
    """The first part of the range that is judged alike, by what serves now; None where nobody serves any of it."""
    adjustments = () if labels is None else labels.adjustments(group)
    for fit, part in served_by(store.champions(group, within), within):
        for alike, factors in served_alike(adjustments, part):
            return _Stretch(fit, alike, factors)
    return None


def _begun(stretch: _Stretch, intervals: int) -> _Stretch:
    """So many of its intervals at most, the first ones."""
    return replace(stretch, within=next(iter(stretch.within.chunks(intervals))))


@dataclass(frozen=True, slots=True)
class Champion:
    """A fit, loaded to serve: in the transform and the zone that it was fitted in, whatever the file says now."""

    fit: Fit
    fitted: tuple[FittedVariable, ...]
    panels: tuple[Panel, ...]
    transform: Transform
    zone: ZoneInfo

    def shards(self) -> Iterator[tuple[NDArray[np.int64], Champion]]:
        """The champion of each shard's variables, with their rows: shards share no network."""
        shard_of = np.array([f.variable.id % self.fit.shards for f in self.fitted], dtype=np.int64)
        for shard in np.unique(shard_of):
            rows = np.flatnonzero(shard_of == shard)
            panels = (_part_of(panel, rows) for panel in self.panels)
            yield (
                rows,
                replace(
                    self, fitted=tuple(self.fitted[row] for row in rows), panels=tuple(p for p in panels if len(p.rows))
                ),
            )


def _part_of(panel: Panel, rows: NDArray[np.int64]) -> Panel:
    """The panel's variables among these rows of all, which are in order, by their place there."""
    mine = np.isin(panel.rows, rows)
    return replace(
        panel,
        rows=np.searchsorted(rows, panel.rows[mine]),
        positions=None if panel.positions is None else panel.positions[mine],
        scaler=panel.scaler.take(mine),
    )


def load_champion(
    group: Group, fit: Fit, *, store: Store, artifacts: ArtifactReader, forecaster: ForecasterLoader
) -> Champion:
    """The champion's networks, each file checked against its digest."""
    fitted = tuple(f for f in store.fitted(fit.id) if f.tests and group.watches(f.variable.name))
    files = {file.slot: file for file in store.network_files(fit.id)}
    panels = []
    for (slot, name), rows in _rows_by(fitted, lambda f: (f.slot, f.candidate)).items():
        declared, members = candidate(name), [fitted[row] for row in rows]
        forecast, positions, size = declared.forecast, None, len(rows)
        if slot:
            file = files[slot]
            forecast = forecaster(artifacts.read(file.serving_uri, sha256=file.serving_sha256)).predict
            positions, size = np.array([m.position for m in members]), file.variables
        if forecast is None:
            raise ArtifactCorruptedError(f"fit {fit.id}: candidate {name!r} needs a network, but the fit notes no file")
        minimum, maximum = (np.array([getattr(m, f"scaler_{end}") for m in members]) for end in ("minimum", "maximum"))
        panels.append(
            Panel(
                rows=np.array(rows),
                positions=positions,
                network_variables=size,
                scaler=Scaler(minimum, maximum),
                window=declared.window(group.interval),
                relative=declared.relative,
                predict=forecast,
            )
        )
    return Champion(
        fit,
        fitted,
        tuple(panels),
        Transform(fit.configuration.get("transform", group.transform)),
        ZoneInfo(fit.configuration.get("timezone", group.timezone)),
    )


def judge(
    group: Group,
    champion: Champion,
    within: TimeRange,
    store: Store,
    now: datetime,
    factors: Mapping[str, float] = UNADJUSTED,
) -> Predictions:
    """Judges the range, from the history that windows and tests look back to; one shard after the other, so that
    memory follows the largest shard and not the group.

    Args:
        factors: by variable, on the probability behind its thresholds, in all of the range; 1 where it has none.
    """
    if champion.fit.shards == 1 or not champion.fitted:
        return _judged(group, champion, within, store, now, factors)
    shards = list(champion.shards())
    parts = [_judged(group, part, within, store, now, factors) for _, part in shards]
    order = np.argsort(np.concatenate([rows for rows, _ in shards]))
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])[order]
        for field in fields(Predictions)
        if field.name not in {"fit_id", "variables", "starts"}
    }
    return replace(parts[0], variables=tuple(f.variable for f in champion.fitted), **arrays)


def _judged(
    group: Group, champion: Champion, within: TimeRange, store: Store, now: datetime, factors: Mapping[str, float]
) -> Predictions:
    fitted, transform = champion.fitted, champion.transform
    variables = tuple(f.variable for f in fitted)
    known = within.widened(before=needed_before([panel.window for panel in champion.panels], group.interval))
    first = len(known) - len(within)
    observed = store.read_counts(group, variables, known).counts
    evidence = Evidence([f.tests for f in fitted], step=group.interval, transform=transform)
    direction = group.threshold.direction
    limits = np.array([limit(f.tail_probability * factors.get(f.variable.name, 1.0), direction) for f in fitted])
    past = _past(group, champion, known, observed, first, store, now)
    walked = walk(past, champion.panels, evidence, limits, group.threshold)
    counted = np.isfinite(observed[:, first:])
    whole = np.where(counted, transforms.inverse(walked.predicted, transform), np.nan)
    predicted = walked.young.now(whole)
    beside = (walked.outlook, walked.season)
    low, high = walked.young.bounds(whole, *evidence.bounds(predicted, limits, direction, beside=beside))
    return Predictions(
        fit_id=champion.fit.id,
        variables=variables,
        starts=within.starts(),
        observed=observed[:, first:],
        predicted=predicted,
        lower=low,
        upper=high,
        residuals=walked.residuals,
        tail_probabilities=walked.tail_probabilities,
        felt=walked.felt,
        outlook=walked.outlook,
        kinds=walked.kinds,
        tests=walked.tests,
    )


def _noted(
    group: Group, champion: Champion, within: TimeRange, store: Store, now: datetime, factors: Mapping[str, float]
) -> list[Judgement]:
    variables = [f.variable for f in champion.fitted]
    return circumstances.judgements(
        group,
        [within.start + n * within.step for n in range(len(within))],
        _ages(group, within, store, now),
        fit_id=champion.fit.id,
        variables=variables,
        filling=store.filling(variables, completeness.ages(group.lateness, group.interval)),
        adjustments=factors,
        at=now,
    )


def _past(
    group: Group,
    champion: Champion,
    known: TimeRange,
    observed: NDArray[np.float64],
    first: int,
    store: Store,
    now: datetime,
) -> Past:
    """Counts of the whole range, and how those before the first interval were judged in their time."""
    shape, variables = (len(observed), first), [f.variable for f in champion.fitted]
    felt, expected, anomalous = observed[:, :first], np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    days = months.as_table([f.month_days for f in champion.fitted])
    then = np.zeros(shape)
    if first:
        history = TimeRange(known.start, known.start + first * known.step, known.step)
        before = store.remembered(group, variables, history, whole_from=history.end - looked_at(group.interval))
        felt, expected, anomalous = felt_counts(felt, before), before.predicted, before.anomalous
        then = departed_then(group, variables, history, champion.zone, store)
    return Past(
        observed=observed,
        felt=felt,
        expected=expected,
        anomalous=anomalous,
        starts=known.starts(),
        step=known.step,
        zone=champion.zone,
        transform=champion.transform,
        special=calendars.special(known.starts(), champion.zone, group.holidays),
        filling=store.filling(variables, completeness.ages(group.lateness, group.interval)),
        departed=months.departures(days, known.starts(), champion.zone) if days.any() else None,
        then=then,
        ages=_ages(group, TimeRange(known.start + first * known.step, known.end, known.step), store, now),
    )


def _ages(group: Group, within: TimeRange, store: Store, now: datetime) -> NDArray[np.int64]:
    """(N,) how old the intervals were when they were counted last; -1 for complete.

    Update notes the ages of young intervals only, so one that is not young any more has been counted since.
    """
    noted = store.counted_ages(group, within)
    by_now = (now - within.start) // within.step - 1 - np.arange(len(within))
    return np.where(noted >= 0, np.maximum(noted, by_now), -1)


def _rows_by(fitted: Sequence[FittedVariable], key: Any) -> dict[Any, list[int]]:
    order = sorted(range(len(fitted)), key=lambda row: (key(fitted[row]), row))
    return {found: list(rows) for found, rows in groupby(order, key=lambda row: key(fitted[row]))}
