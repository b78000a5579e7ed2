"""Fit: what is normal for each variable, learned from its history.

In: the counts of at most ``history.length`` before a moment. Out: one network (or simpler forecast) per variable
with its scaler, residual distribution and thresholds in the store, the networks with their SHA-256 under the fit's
MLflow run, and a model version that serves from that moment on, if it is not worse than the one before. The
seasonal-naive baseline takes part in every contest, also where a group's file does not name it: a network has to be
better than what anybody could say without one.

Four steps, one Airflow task each: `prepare`, `train` (once per shard), `register`, `promote`. Each can be run again:
a fit's id follows from its group, history and configuration, so what is done is found and left alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detection import calendars, months, transforms
from anomaly.detection.candidates import CANDIDATES, entered
from anomaly.detection.choosing import CHAMPION, choose
from anomaly.detection.contest import Entry, enter, open_contest, warm_up
from anomaly.detection.statuses import LEAST_WINDOWS, classify
from anomaly.detection.thresholds import probabilities
from anomaly.exceptions import CountsNotReadyError, IncompleteFitError, NotEnoughHistoryError
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import PromotionMode
from anomaly.ports import (
    ArtifactReader,
    DataChecks,
    Fit,
    FitCharts,
    FittedVariable,
    ForecasterLoader,
    HistorySummary,
    ModelRegistry,
    NetworkFile,
    Store,
    Variable,
)
from anomaly.ports.labels import Labels
from anomaly.ports.reviews import Review, Reviews, Verdict
from anomaly.stages.champions import champion_on
from anomaly.stages.judging import judging
from anomaly.stages.labelled import relearned, taught
from anomaly.stages.memory import departed_then, felt_counts
from anomaly.stages.placing import Outcome, placed, store_networks
from anomaly.stages.promotion import decide, first_not_judged, objections
from anomaly.stages.records import CHOSEN, contestant_records, fallback_record, measure_of, variable_seed
from anomaly.stages.serving import hand_over, said_in_registry, tell_registry, with_objections

log = logging.getLogger(__name__)

VARIABLES_PER_SHARD = 2500
"""So many train at once, in some gigabytes: their windows, and all that their tests learn from."""
SUMMARISED_AT_ONCE = 500
"""Variables whose whole history `prepare` holds in memory at a time."""
COUNTED_SOON = 2
"""Intervals beyond the group's lateness that may still be being counted when a fit begins."""
_NAMESPACE = uuid.UUID("5f0f3a3e-8a0a-5d0b-9f6e-3c1f5f3f2b11")

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]
Weights = tuple[Float32, ...]


# --- prepare ----------------------------------------------------------------------------------------------------


def prepare(
    group: Group,
    until: datetime,
    *,
    store: Store,
    checks: DataChecks,
    registry: ModelRegistry,
    now: datetime,  # noqa: ARG001  all stages are called alike
    reason: str = "",
) -> Fit:
    """Checks that the history is complete and opens the fit and its MLflow run.

    Args:
        group: whose variables to fit.
        until: end of the history, aware; floored to the grid.
        store, checks, registry: see the ports.
        now: unused; a fit looks at nothing but its history.
        reason: why it runs, in a sentence; a fit that is there already keeps its own.

    Raises:
        NotEnoughHistoryError: too short, not counted by update, or without variables.
        CountsNotReadyError: only the latest intervals are not counted yet.
        ExpectationFailedError: counts are missing or not finite.
    """
    history = _history(group, until)
    fit = _fit_of(group, history)
    known = store.fit(fit.id)
    if known is not None:
        log.info("%s: fit %s is there already (%s); nothing to prepare", group.name, known.id, known.state)
        return known

    _refuse_gaps(group, history, store)
    variables = _variables(group, history, store)
    if not variables:
        raise NotEnoughHistoryError(
            f"group {group.name!r} has no variables in {history}: update found no events of it in "
            f"{group.source.table or 'its query'}; check the group's key 'variables' against what the source holds"
        )
    constant = checks.training_windows(group, _summary(group, variables, history, store))
    fit = replace(
        fit, reason=reason, shards=min(group.max_shards, max(1, math.ceil(len(variables) / VARIABLES_PER_SHARD)))
    )
    fit = store.begin_fit(replace(fit, mlflow_run_id=registry.start_run(group, fit)))
    log.info(
        "%s: fit %s on %s: %d variables (%d constant) in %d shards",
        *(group.name, fit.id, history, len(variables), len(constant), fit.shards),
    )
    return fit


def _history(group: Group, until: datetime) -> TimeRange:
    end = group.floor(until)
    start = max(group.floor(end - group.history.length), group.first_interval())
    if end - start < group.history.minimum:
        raise NotEnoughHistoryError(
            f"group {group.name!r} has a history of {max(end - start, end - end)} before {end.isoformat()} (counting "
            f"starts at {group.first_interval().isoformat()}); its policy asks for {group.history.minimum}. Fit later, "
            "set schedule.start earlier, or lower history.minimum"
        )
    warm = warm_up(entered(group.candidates).values(), group.interval)
    needed = (warm + LEAST_WINDOWS) * group.interval
    if end - start < needed:
        raise NotEnoughHistoryError(
            f"group {group.name!r} has a history of {end - start} before {end.isoformat()} (history.length is "
            f"{group.history.length}, counting starts at {group.first_interval().isoformat()}); its candidates need "
            f"{needed}: windows reach back {warm} intervals, and {LEAST_WINDOWS} are the least to learn from. Raise "
            "history.length, set schedule.start earlier, or fit later"
        )
    return group.range(start, end)


def _refuse_gaps(group: Group, history: TimeRange, store: Store) -> None:
    gap = store.first_gap(group, history)
    if gap is None:
        return
    command = f"anomaly update {group.name} --start {gap.start.isoformat()} --end {gap.end.isoformat()}"
    if gap.end == history.end and len(gap) <= group.lateness // group.interval + COUNTED_SOON:
        raise CountsNotReadyError(
            f"group {group.name!r} has no counts for {gap} yet, the end of the history {history}; update may be at "
            f"it. Try again; if it stays so, run: {command}"
        )
    raise NotEnoughHistoryError(
        f"group {group.name!r} has no counts for {gap}, which is part of the history {history}; fill it with: {command}"
    )


def _fit_of(group: Group, history: TimeRange) -> Fit:
    configuration = group.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()
    name = f"{group.name} {history.start.isoformat()} {history.end.isoformat()} {digest}"
    return Fit(
        id=str(uuid.uuid5(_NAMESPACE, name)),
        group=group.name,
        history=history,
        configuration=configuration,
        shards=1,
        state="started",
    )


def _variables(group: Group, history: TimeRange, store: Store) -> tuple[Variable, ...]:
    return tuple(v for v in store.variables(group) if v.first_interval < history.end)


def _summary(group: Group, variables: Sequence[Variable], history: TimeRange, store: Store) -> HistorySummary:
    known, distinct, minimum, maximum = (np.empty(len(variables), kind) for kind in (int, int, float, float))
    for first in range(0, len(variables), SUMMARISED_AT_ONCE):
        block = slice(first, first + SUMMARISED_AT_ONCE)
        counts = store.read_counts(group, variables[block], history).counts
        finite = np.isfinite(counts)
        known[block] = finite.sum(axis=1)
        distinct[block] = [len(np.unique(row[there])) for row, there in zip(counts, finite, strict=True)]
        minimum[block] = np.where(finite, counts, np.inf).min(axis=1)
        maximum[block] = np.where(finite, counts, -np.inf).max(axis=1)
    own = np.array([(history.end - max(v.first_interval, history.start)) // history.step for v in variables])
    return HistorySummary(
        variables=tuple(v.name for v in variables),
        intervals=own,
        missing=own - known,
        distinct=distinct,
        minimum=minimum,
        maximum=maximum,
        required=group.history.minimum // group.interval,
    )


# --- train ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What training one shard did."""

    fit_id: str
    shard: int
    variables: int
    statuses: Mapping[str, int]
    """Variables per status."""
    winners: Mapping[str, int]
    """Fitted variables per candidate; `champion` for those that keep their network."""
    networks: int
    """Files, each with all variables of one candidate."""
    median_mae: Mapping[str, float]
    """On the test period, per candidate, in the transform; of variables that are not rare."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        winners = ", ".join(f"{name} {number}" for name, number in self.winners.items()) or "none"
        statuses = ", ".join(f"{number} {status}" for status, number in self.statuses.items())
        return f"shard {self.shard}: {self.variables} variables ({statuses}); won by: {winners}"


def train(
    group: Group,
    fit_id: str,
    shard: int,
    *,
    store: Store,
    registry: ModelRegistry,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
    labels: Labels | None = None,
) -> TrainReport:
    """Trains every candidate for the shard's variables, lets the champion compete, and keeps the best of each.

    Args:
        labels: what people have said of the history; without it, nobody has said anything.

    Raises:
        IncompleteFitError: there is no such fit.
        ArtifactCorruptedError, ArtifactsUnavailableError: the champion cannot be loaded.
    """
    fit = _known_fit(store, fit_id)
    variables = _shard(_variables(group, fit.history, store), fit, shard)
    done = _of_shard(store.fitted(fit.id), fit, shard)
    if done or fit.state != "started" or not variables:
        log.info("%s: shard %d of fit %s is trained already", group.name, shard, fit.id)
        return _train_report(fit, shard, done, store)

    known = _history_of(group, variables, fit.history, store, labels)
    counts, ordinary = known.felt, known.ordinary
    candidates = entered(group.candidates)
    warm = warm_up(candidates.values(), group.interval)
    required = group.history.minimum // group.interval
    judgements = classify(counts, required=required, warm_up=warm)
    everyone = [v.name for v in _variables(group, fit.history, store)]
    shares = probabilities(group.threshold, everyone, interval=group.interval)
    probability = dict(zip(everyone, shares.tolist(), strict=True))

    able = np.array([row for row, j in enumerate(judgements) if j.status == "fitted"], dtype=np.int64)
    fitted = [
        fallback_record(
            group, variables[row], judgements[row], counts[row], ordinary[row], probability[variables[row].name]
        )
        for row in range(len(variables))
        if row not in able
    ]
    files: list[NetworkFile] = []
    if able.size:
        contestants = [variables[row] for row in able]
        starts = fit.history.starts()
        month_days = months.learned(
            known.observed[able], known.teaches[able], known.anomalous[able], starts,
            step=group.interval, zone=group.zone, transform=group.transform,
        )  # fmt: skip
        departed, _ = months.departures(month_days, starts, group.zone)
        then = departed_then(group, contestants, fit.history, group.zone, store)
        felt = months.renewed(known.observed[able], counts[able], departed - then, group.transform)
        contest = open_contest(
            transforms.forward(months.without(felt, departed, group.transform), group.transform),
            ordinary[able],
            starts=starts,
            step=group.interval,
            zone=group.zone,
            transform=group.transform,
            warm=warm,
            departed=departed,
        )
        champion = champion_on(
            group, fit, contestants, contest, store=store, artifacts=artifacts, forecaster=forecaster
        )
        seeds = [variable_seed(group.seed, v.name) for v in contestants]
        entries: dict[str, Entry] = {}
        for name, declared in candidates.items():
            entries[name] = enter(declared, contest, seeds=seeds, order_seed=group.seed)
            log.info("%s: %s done, %.0f epochs on average", group.name, name, entries[name].epochs)
        choices = choose({name: e.mae for name, e in entries.items()} | {CHAMPION: champion.contending_mae})
        outcome = Outcome(contest, entries, champion, choices, placed(entries, champion, choices, shard))
        files = store_networks(group, fit, outcome, registry=registry, artifacts=artifacts)
        fitted += contestant_records(
            group,
            contestants,
            [judgements[row] for row in able],
            outcome,
            observed=known.observed[able],
            felt=felt,
            ordinary=ordinary[able],
            month_days=months.as_mappings(month_days),
            probabilities=[probability[v.name] for v in contestants],
        )
    if _known_fit(store, fit.id).state != "started":
        log.warning("%s: shard %d of fit %s was trained by another attempt meanwhile", group.name, shard, fit.id)
        return _train_report(fit, shard, _of_shard(store.fitted(fit.id), fit, shard), store)
    store.save_fitted(fit.id, fitted, files)
    report = _train_report(fit, shard, fitted, store)
    log.info("%s: %s", group.name, report)
    return report


def _shard(variables: Sequence[Variable], fit: Fit, shard: int) -> tuple[Variable, ...]:
    """By id, so that a variable that is enrolled meanwhile moves no other."""
    return tuple(v for v in variables if v.id % fit.shards == shard)


def _of_shard(fitted: Sequence[FittedVariable], fit: Fit, shard: int) -> list[FittedVariable]:
    return [f for f in fitted if f.variable.id % fit.shards == shard]


@dataclass(frozen=True, slots=True)
class _History:
    """V variables over the T intervals that a fit learns from. People have the last word on all of it."""

    observed: Floats
    """(V, T) counts as they are."""
    felt: Floats
    """(V, T) with stand-ins where an interval was anomalous, so that an incident does not teach itself as normal."""
    anomalous: NDArray[np.bool_]
    """(V, T) where an anomaly of the time stands that nobody has explained."""
    teaches: NDArray[np.bool_]
    """(V, T) what may show how days of the month differ: anomalies too, but no holidays and no confirmed incidents."""
    ordinary: NDArray[np.bool_]
    """(V, T) which intervals stand for what is ordinary."""


def _history_of(
    group: Group, variables: Sequence[Variable], history: TimeRange, store: Store, labels: Labels | None
) -> _History:
    counts = store.read_counts(group, variables, history).counts
    judged = store.remembered(group, variables, history, whole_from=history.end)
    told = judged.anomalous
    special = calendars.special(history.starts(), group.zone, group.holidays)
    felt = felt_counts(counts, judged)
    held = () if labels is None else labels.labels(group, history)
    if held:
        said = taught(held, [v.name for v in variables], history, store.incidents(group, history))
        felt = relearned(counts, felt, said, group.interval)
        stands_in, unlike, told = (mask & ~said.ordinary for mask in (felt != counts, said.unlike, told))
    else:
        stands_in, unlike = felt != counts, np.zeros(counts.shape, dtype=bool)
    teaches = np.isfinite(counts) & ~special & ~unlike
    return _History(counts, felt, told, teaches, teaches & ~stands_in)


def _train_report(fit: Fit, shard: int, fitted: Sequence[FittedVariable], store: Store) -> TrainReport:
    files = [f for f in store.network_files(fit.id) if f.slot.startswith(f"{shard}/")]
    return TrainReport(
        fit_id=fit.id,
        shard=shard,
        variables=len(fitted),
        statuses=_counted(f.status for f in fitted),
        winners=_counted(f.candidate for f in fitted if f.status == "fitted"),
        networks=len(files),
        median_mae=_median_mae(fitted),
    )


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _median_error(fitted: Sequence[FittedVariable], measure: str) -> dict[str, float]:
    """Per candidate, `champion` and `chosen`: the median over the variables of this measure that have one."""
    own = [f for f in fitted if measure_of(f) == measure]
    names = sorted({name for f in own for name in f.mae})
    return {name: float(np.median([f.mae[name] for f in own if name in f.mae])) for name in names}


def _median_mae(fitted: Sequence[FittedVariable]) -> dict[str, float]:
    return _median_error(fitted, "MAE")


# --- register ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegisterReport:
    """What registering did."""

    fit_id: str
    model_version: int
    variables: int
    networks: int
    statuses: Mapping[str, int]
    winners: Mapping[str, int]
    median_mae: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        winners = ", ".join(f"{name} {number}" for name, number in self.winners.items()) or "none"
        return (
            f"version {self.model_version}: {self.variables} variables, {self.networks} network files; "
            f"won by: {winners}"
        )


def register(group: Group, fit_id: str, *, store: Store, registry: ModelRegistry, charts: FitCharts) -> RegisterReport:
    """Logs the whole fit for review and makes it a version of the group's model, as challenger.

    Raises:
        IncompleteFitError: there is no such fit, or one of its shards is not trained.
    """
    fit = _known_fit(store, fit_id)
    fitted, files = store.fitted(fit.id, residuals=True), store.network_files(fit.id)
    _refuse_missing_shards(group, fit, fitted, store)
    report = RegisterReport(
        fit_id=fit.id,
        model_version=fit.model_version or 0,
        variables=len(fitted),
        networks=len(files),
        statuses=_counted(f.status for f in fitted),
        winners=_counted(f.candidate for f in fitted if f.status == "fitted"),
        median_mae=_median_mae(fitted),
    )
    if fit.state not in {"started", "trained"}:
        log.info("%s: fit %s is registered already", group.name, fit.id)
        return report

    metrics = {f"median_mae/{name}": value for name, value in report.median_mae.items()}
    metrics |= {f"median_deviance/{n}": value for n, value in _median_error(fitted, "Poisson deviance").items()}
    metrics |= {f"variables/{status}": number for status, number in report.statuses.items()}
    metrics |= {f"won/{name}": number for name, number in report.winners.items()}
    registry.log_fit(
        group,
        fit,
        params=_params(group, fit),
        metrics=metrics,
        tables={"variables": _table(fitted)},
        charts=fit_charts(fitted, charts),
    )
    version = registry.register(
        group,
        fit,
        files,
        description=(
            f"{group.description or group.name}: {len(fitted)} variables, learned from {fit.history}"
            f"{f', {fit.reason}' if fit.reason else ''}. Its review follows."
        ),
        tags={
            "group": group.name,
            "owner": group.owner,
            "fit_id": fit.id,
            "history_end": fit.history.end.isoformat(),
            "reason": fit.reason or "not said",
        },
    )
    store.save_fit(replace(fit, state="registered", model_version=version, metrics=metrics))
    report = replace(report, model_version=version)
    log.info("%s: %s", group.name, report)
    return report


def _known_fit(store: Store, fit_id: str) -> Fit:
    fit = store.fit(fit_id)
    if fit is None:
        raise IncompleteFitError(f"there is no fit {fit_id}; prepare it first")
    return fit


def _refuse_missing_shards(group: Group, fit: Fit, fitted: Sequence[FittedVariable], store: Store) -> None:
    there = {f.variable.id % fit.shards for f in fitted}
    missing = sorted({v.id % fit.shards for v in _variables(group, fit.history, store)} - there)
    if missing:
        raise IncompleteFitError(
            f"fit {fit.id} of {group.name!r} has {fit.shards} shards, of which {', '.join(map(str, missing))} "
            "are not trained; run train for them first"
        )


def _params(group: Group, fit: Fit) -> dict[str, str | int | float]:
    return {
        "reason": fit.reason or "not said",
        "history_start": fit.history.start.isoformat(),
        "history_end": fit.history.end.isoformat(),
        "interval_minutes": group.interval.total_seconds() / 60,
        "timezone": group.timezone,
        "candidates": ", ".join(entered(group.candidates)),
        "transform": str(group.transform),
        "distribution": group.distribution,
        "false_alerts_per_week": group.threshold.false_alerts_per_week,
        "direction": str(group.threshold.direction),
        "seed": group.seed,
        "shards": fit.shards,
    }


def _table(fitted: Sequence[FittedVariable]) -> dict[str, list[Any]]:
    """One row per variable, by columns; the worst forecast first."""
    rows = sorted(fitted, key=lambda f: (-f.mae.get(CHOSEN, -1.0), f.variable.name))
    columns: dict[str, list[Any]] = {
        "variable": [f.variable.name for f in rows],
        "status": [f.status for f in rows],
        "candidate": [f.candidate for f in rows],
        "distribution": [f.distribution for f in rows],
        "lower": [_finite(f.lower) for f in rows],
        "upper": [_finite(f.upper) for f in rows],
        "choice": [f.choice for f in rows],
        "distribution_reason": [f.distribution_reason for f in rows],
    }
    columns["measure"] = [measure_of(f) if f.mae else "" for f in rows]
    for name in sorted({name for f in fitted for name in f.mae}):
        columns[f"error_{name}"] = [f.mae.get(name) for f in rows]
    return columns


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def fit_charts(fitted: Sequence[FittedVariable], charts: FitCharts) -> dict[str, bytes]:
    """The charts of a fit, PNG by name, from what the store keeps of it (with residuals) alone."""
    judged = [f for f in fitted if f.status == "fitted"]
    if not judged:
        return {}
    usual = [f for f in judged if measure_of(f) == "MAE"]
    known = _median_mae(usual)
    names = [*(n for n in CANDIDATES if n in known), *(n for n in (CHAMPION, CHOSEN) if n in known)]
    return {
        "mae_per_candidate": charts.candidate_errors(
            {name: np.array([f.mae.get(name, np.nan) for f in usual]) for name in names}
        ),
        "residuals": charts.residual_overview(
            {f.variable.name: f.residuals.astype(np.float64) for f in judged},
            {f.variable.name: f.lower for f in judged},
            {f.variable.name: f.upper for f in judged},
        ),
    }


# --- promote ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PromoteReport:
    """Whether the fit serves, and why."""

    fit_id: str
    model_version: int
    promoted: bool
    serves_from: str | None
    reason: str
    waits: bool = False
    """For a person's word; then nothing is decided."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        what = "serves" if self.promoted else "is not decided" if self.waits else "was rejected"
        return f"version {self.model_version} {what}: {self.reason}"


def promote(
    group: Group,
    fit_id: str,
    *,
    store: Store,
    registry: ModelRegistry,
    reviews: Reviews | None = None,
    now: datetime | None = None,
    last_call: bool = False,
) -> PromoteReport:
    """Makes the challenger the champion from the end of its history on, rejects it, or lets it wait for a person.

    What speaks against it is in `anomaly.stages.promotion`. Intervals that are judged already keep the champion that
    judged them.

    Args:
        reviews: where reviews and people's verdicts are; without it, forecasts and coverage alone decide.
        now: of the decision; needed with `reviews`.
        last_call: whether a challenger that nobody has approved by now is rejected.

    Raises:
        IncompleteFitError: there is no such fit, or it is not registered.
        RegistryUnavailableError: nothing is decided, or it serves and the registry does not say so yet; calling again
            completes it.
    """
    fit = _known_fit(store, fit_id)
    if fit.model_version is None:
        raise IncompleteFitError(f"fit {fit.id} of {group.name!r} has no model version; run register first")
    reason, waits = "that was decided before", False
    if fit.state == "registered":
        at = now or fit.history.end
        review = reviews.review(fit.id) if reviews else None
        verdict = _verdict(group, fit, review, store, registry, reviews, at)
        decision = decide(group, fit, store, review=review, verdict=verdict)
        reason, waits = decision.reason, decision.waits and not last_call
        if decision.serves_from is not None:
            begin = _hand_over(group, fit, reason, verdict, store, registry, reviews, at)
            fit = replace(fit, state="promoted", serves_from=begin)
        elif not waits:
            reason = f"nobody approved it in time; {reason}" if decision.waits else reason
            fit = replace(fit, state="rejected")
            store.save_fit(fit)
            if reviews:
                registry.tag(group, fit.model_version or 0, {"decision": f"rejected: {reason}"})
    elif reviews is not None:
        tell_registry(group, reviews=reviews, registry=registry)  # where an earlier try could not
    else:
        _point_alias(group, fit, store, registry)
    report = PromoteReport(
        fit_id=fit.id,
        model_version=fit.model_version or 0,
        promoted=fit.state == "promoted",
        serves_from=fit.serves_from.isoformat() if fit.serves_from else None,
        reason=reason,
        waits=waits,
    )
    log.info("%s: %s", group.name, report)
    return report


def _verdict(
    group: Group,
    fit: Fit,
    review: Review | None,
    store: Store,
    registry: ModelRegistry,
    reviews: Reviews | None,
    at: datetime,
) -> Verdict | None:
    """What a person has said, here or in the registry; the first word holds."""
    if reviews is None:
        return None
    known = reviews.verdict(fit.id)
    if known is None and group.promotion.mode is PromotionMode.REVIEWED:
        found = said_in_registry(group, fit, registry=registry, now=at)
        if found is not None:
            known = reviews.decide(with_objections(found, objections(group, fit, store, review)))
    return known


def _hand_over(
    group: Group,
    fit: Fit,
    reason: str,
    verdict: Verdict | None,
    store: Store,
    registry: ModelRegistry,
    reviews: Reviews | None,
    at: datetime,
) -> datetime:
    """Makes the fit serve; returns from which interval on. What was decided of an hour ago may be judged by now."""
    if reviews is not None:
        who, via = (verdict.who, verdict.via) if verdict else ("policy", "policy")
        serving = hand_over(
            group, fit, lambda: first_not_judged(group, fit, store), why=reason, who=who, via=via, store=store,
            reviews=reviews, registry=registry, now=at,
        )  # fmt: skip
        registry.tag(group, fit.model_version or 0, {"decision": f"promoted: {reason}"})
        return serving.serves_from
    with judging(group, store):
        begin = first_not_judged(group, fit, store)
        store.save_fit(replace(fit, state="promoted", serves_from=begin))
    _point_alias(group, fit, store, registry)
    return begin


def _point_alias(group: Group, fit: Fit, store: Store, registry: ModelRegistry) -> None:
    """The alias to the fit, if nobody serves after it."""
    champion = store.champion(group)
    if champion is not None and champion.id == fit.id and fit.model_version:
        registry.promote(group, fit.model_version)
