"""Explain: why a variable is judged as it is, and why an interval was.

In: the name of a variable. Out: `Explanation`, every rule between the group's policy and its thresholds, in the order
in which they follow from each other; with a moment, what each test said of that interval. Everything is read from the
store; what follows from other numbers there is worked out again and compared, so that a threshold that no rule leads
to would show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from anomaly.detection import calendars, months
from anomaly.detection.choosing import MARGIN
from anomaly.detection.evidence import ANY, Evidence, unsettled
from anomaly.detection.explanations import Judged, Looked, Share, TestLimit, looked_again, share, test_limits
from anomaly.detection.forecasts import needed_before
from anomaly.exceptions import ConfigurationError, IncompleteCountsError, IncompleteFitError, InvalidRangeError
from anomaly.groups import Group, TimeRange
from anomaly.groups.model import Threshold, Transform
from anomaly.ports import Fit, FittedVariable, NetworkFile, Predictions, Store, Variable
from anomaly.ports.labels import Adjustment, Labels
from anomaly.stages.memory import departed_then, felt_counts

_SAME = 1e-9
"""Relative difference between a stored number and the same one worked out again: a few last bits."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A number as it is stored, and as its rule gives it."""

    stored: float
    worked_out: float

    @property
    def agrees(self) -> bool:
        both_unknown = math.isnan(self.stored) and math.isnan(self.worked_out)
        return both_unknown or math.isclose(self.stored, self.worked_out, rel_tol=_SAME, abs_tol=_SAME)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one interval, and why."""

    start: datetime
    end: datetime
    kind: str
    """'' for normal."""
    observed: float
    """As it was judged."""
    counted: float
    """As it is counted now: late rows may have come since."""
    predicted: float
    lower: float
    upper: float
    """Counts outside [lower, upper] are anomalies by themselves."""
    residual: float
    tail_probability: Compared
    """Of all tests together."""
    decided: str
    """The test that was stored as the one with the strongest evidence."""
    special: bool
    """A day unlike its kind: more is ordinary there."""
    day_of_month: float
    """What the day of the month brings, in the logarithm or the gauge's unit; 0 on most days."""
    perhaps: float
    """What it may bring: all between is ordinary."""
    judged_by: str
    """The fit that judged it."""
    looked: Looked
    """What the tests of the explained fit say."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a variable comes to its thresholds."""

    group: Group
    variable: Variable
    fit: Fit
    changed: tuple[str, ...]
    """Keys of the group's file that differ from the fit's; they take effect with the next fit."""
    record: FittedVariable
    network: NetworkFile | None
    share: Share
    probability: Compared
    """Of one interval being called anomalous by chance."""
    transform: Transform
    """In which residuals are taken."""
    rate: float
    """Events per interval in the history; NaN where nothing is counted."""
    intervals: int
    """Counted ones of the variable in the history."""
    limits: tuple[TestLimit, ...]
    lower: Compared
    upper: Compared
    """Residuals of single intervals outside of these are anomalies; infinite where it depends on what is expected."""
    verdict: Verdict | None
    said: tuple[Adjustment, ...] = ()
    """What labels have done to the probability behind the thresholds, until the interval or until now; by
    `serves_from`. Tests' limits and the verdict are with it, what is compared with the fit is without."""

    @property
    def factor(self) -> float:
        """By which labels multiply the probability there; 1 without any."""
        return self.said[-1].factor if self.said else 1.0

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold: no file of the group, no residuals; infinite and unknown numbers as null."""
        record = asdict(self.record)
        del record["residuals"], record["variable"]
        together = next((t for t in self.record.tests if t.test == ANY), None)
        plain: dict[str, Any] = _plain(
            {
                "group": self.group.name,
                "variable": asdict(self.variable),
                "fit": _fit_dict(self.fit),
                "changed_since_fit": list(self.changed),
                "policy": asdict(self.share),
                "tail_probability": _compared(self.probability),
                "labels": [{"serves_from": a.serves_from, "factor": a.factor, "reason": a.reason} for a in self.said],
                "status": {"status": self.record.status, "reason": self.record.status_reason},
                "choice": {
                    "candidate": self.record.candidate,
                    "errors": dict(self.record.mae),
                    "margin": MARGIN,
                    "reason": self.record.choice,
                    "seed": self.record.seed,
                    "network": asdict(self.network) | {"position": self.record.position} if self.network else None,
                },
                "transform": str(self.transform),
                "scaler": {"minimum": self.record.scaler_minimum, "maximum": self.record.scaler_maximum},
                "history": {"rate": self.rate, "intervals": self.intervals},
                "tests": [asdict(found) | {"reachable": found.reachable} for found in self.limits],
                "together": {"knee": together.calibration.knee, "slope": together.calibration.slope}
                if together
                else None,
                "lower": _compared(self.lower),
                "upper": _compared(self.upper),
                "verdict": self.verdict and _verdict_dict(self.verdict),
            }
        )
        return plain


def explain(
    group: Group,
    name: str,
    *,
    store: Store,
    at: datetime | None = None,
    fit_id: str | None = None,
    labels: Labels | None = None,
) -> Explanation:
    """Traces a variable's thresholds to their rules.

    Args:
        group: one that has met the variable.
        name: the variable's.
        store: see the ports.
        at: aware; the interval that holds it is explained too.
        fit_id: of the fit, or the version of its model; without one, the fit that judged the interval, or else the
            one that serves now.
        labels: without it, nobody has said anything.

    Raises:
        ConfigurationError: no such variable, or no such fit.
        IncompleteFitError: nothing is fitted yet, or not this variable.
        IncompleteCountsError: the interval is not judged.
        InvalidRangeError: the moment has no time zone.
    """
    variable = next((v for v in store.variables(group, left_out=True) if v.name == name), None)
    if variable is None:
        raise ConfigurationError(
            f"group {group.name!r} has met no variable {name!r}; `anomaly status` says what it has"
        )
    judged = None if at is None else _interval(group, at)
    before = None if judged is None else store.read_predictions(group, [variable], judged)
    if judged is not None and (before is None or not np.isfinite(before.predicted).any()):
        raise _not_judged(group, variable, judged, store)
    fit = _fit(group, store, fit_id or (before.fit_id if before else None))
    record = _record(group, fit, variable, store)
    transform = Transform(fit.configuration.get("transform", group.transform))
    policy = Threshold.model_validate(fit.configuration.get("threshold", group.threshold.model_dump()))
    names = [f.variable.name for f in store.fitted(fit.id)]
    own = share(policy, names, name, record.tests, interval=fit.history.step)
    rate, intervals = _rate(group, variable, fit, store)
    lower, upper = _thresholds(record, own, transform, fit)
    said = _said(group, name, labels, judged)
    needed = own.limit - math.log(said[-1].factor if said else 1.0)
    limits = test_limits(
        record.tests, needed, rate=rate, step=fit.history.step, transform=transform, direction=policy.direction
    )
    return Explanation(
        group=group,
        variable=variable,
        fit=fit,
        changed=_changed(group, fit),
        record=record,
        network=next((file for file in store.network_files(fit.id) if file.slot == record.slot != ""), None),
        share=own,
        probability=Compared(record.tail_probability, own.probability),
        transform=transform,
        rate=rate,
        intervals=intervals,
        limits=limits,
        lower=Compared(record.lower, lower),
        upper=Compared(record.upper, upper),
        verdict=None
        if judged is None
        else _verdict(group, fit, record, judged, replace(own, limit=needed), transform, store),
        said=said,
    )


# --- what is looked up ------------------------------------------------------------------------------------------


def _said(group: Group, name: str, labels: Labels | None, judged: TimeRange | None) -> tuple[Adjustment, ...]:
    moved = () if labels is None else labels.adjustments(group)
    return tuple(a for a in moved if a.variable == name and (judged is None or a.serves_from <= judged.start))


def _interval(group: Group, at: datetime) -> TimeRange:
    if at.tzinfo is None:
        written = at.isoformat()
        raise InvalidRangeError(
            f"the moment is {written}, which has no time zone; write it with an offset, for example {written}+00:00"
        )
    start = group.floor(at)
    return TimeRange(start, start + group.interval, group.interval)


def _not_judged(group: Group, variable: Variable, judged: TimeRange, store: Store) -> IncompleteCountsError:
    what = f"{variable.name!r} of group {group.name!r} was not judged in {judged}"
    if store.first_gap(group, judged) is not None:
        return IncompleteCountsError(
            f"{what}: it is not counted; run: anomaly update {group.name} --start {judged.start.isoformat()} "
            f"--end {judged.end.isoformat()}, and then predict"
        )
    champions = store.champions(group, judged)
    if not champions:
        return IncompleteCountsError(f"{what}: no fit serves there; the first one serves from the end of its history")
    record = next(iter(store.fitted(champions[-1].id, names=[variable.name])), None)
    if record is None or not record.tests:
        why = record.choice if record else "its fit had not met it"
        return IncompleteCountsError(f"{what}: {why}")
    return IncompleteCountsError(
        f"{what}; run: anomaly predict {group.name} --start {judged.start.isoformat()} --end {judged.end.isoformat()}. "
        "If it stays so, its windows reach into a time without counts, or it is still filling in"
    )


def _fit(group: Group, store: Store, wanted: str | None) -> Fit:
    if wanted is None:
        champion = store.champion(group)
        if champion is None:
            raise IncompleteFitError(
                f"group {group.name!r} has no fit that serves yet, so it has no thresholds; run: "
                f"anomaly fit {group.name}"
            )
        return champion
    known = store.fit(wanted)
    if known is not None and known.group == group.name:
        return known
    serving = _all_champions(group, store)
    by_version = next((fit for fit in serving if str(fit.model_version) == wanted.removeprefix("v")), None)
    if by_version is None:
        there = ", ".join(f"{fit.model_version} ({fit.id})" for fit in serving) or "none"
        raise ConfigurationError(f"group {group.name!r} has no fit {wanted!r}; versions that served: {there}")
    return by_version


def _all_champions(group: Group, store: Store) -> Sequence[Fit]:
    latest = store.champion(group)
    if latest is None or latest.serves_from is None:
        return ()
    end = max(latest.serves_from, group.first_interval()) + group.interval
    return store.champions(group, TimeRange(group.first_interval(), end, group.interval))


def _record(group: Group, fit: Fit, variable: Variable, store: Store) -> FittedVariable:
    record = next(iter(store.fitted(fit.id, names=[variable.name])), None)
    if record is None:
        raise IncompleteFitError(
            f"fit {fit.id} of group {group.name!r} does not have {variable.name!r}: it was first counted at "
            f"{variable.first_interval.isoformat()}, and the fit learned from {fit.history}. The next fit will have it"
        )
    return record


def _changed(group: Group, fit: Fit) -> tuple[str, ...]:
    now = group.model_dump(mode="json")
    return tuple(
        sorted(key for key in now.keys() | fit.configuration.keys() if now.get(key) != fit.configuration.get(key))
    )


def _rate(group: Group, variable: Variable, fit: Fit, store: Store) -> tuple[float, int]:
    counts = store.read_counts(group, [variable], fit.history).counts
    known = counts[np.isfinite(counts)]
    return (float(known.mean()) if known.size else math.nan), int(known.size)


def _thresholds(record: FittedVariable, own: Share, transform: Transform, fit: Fit) -> tuple[float, float]:
    if not record.tests:
        return -math.inf, math.inf
    evidence = Evidence([record.tests], step=fit.history.step, transform=transform)
    lower, upper = evidence.thresholds(np.array([own.limit]), own.direction)
    return float(lower[0]), float(upper[0])


# --- one interval -----------------------------------------------------------------------------------------------


def _verdict(
    group: Group,
    fit: Fit,
    record: FittedVariable,
    judged: TimeRange,
    own: Share,
    transform: Transform,
    store: Store,
) -> Verdict:
    """What the tests of this fit say of the interval, beside what was said of it."""
    within = judged.widened(before=needed_before([], group.interval))
    stored = store.read_predictions(group, [record.variable], within)
    if stored is None:  # only if somebody deleted it since
        raise _not_judged(group, record.variable, judged, store)
    counts = store.read_counts(group, [record.variable], within).counts
    zone = ZoneInfo(fit.configuration.get("timezone", group.timezone))
    special = calendars.special(within.starts(), zone, group.holidays)
    departed, perhaps = months.departures(months.as_table([record.month_days]), within.starts(), zone)[:, 0]
    looked = looked_again(
        Judged(
            observed=_as_judged(counts, stored)[0],
            felt=felt_counts(counts, stored)[0],
            expected=stored.predicted[0],
            starts=within.starts(),
            step=group.interval,
            zone=zone,
            transform=transform,
            special=special,
            departed=departed,
            perhaps=perhaps,
            then=departed_then(group, [record.variable], within, zone, store)[0],
            turn=bool(calendars.turn_of_month(within.starts()[-1:], zone)[0]),
            loose=bool(unsettled(stored.kinds[:, :-1] != "", group.interval)[0]),
            replaced=str(stored.kinds[0, -1]) != "",
        ),
        record.tests,
        own.limit,
        group.threshold.direction,
    )
    return Verdict(
        start=judged.start,
        end=judged.end,
        kind=str(stored.kinds[0, -1]),
        observed=float(stored.observed[0, -1]),
        counted=float(counts[0, -1]),
        predicted=float(stored.predicted[0, -1]),
        lower=float(stored.lower[0, -1]),
        upper=float(stored.upper[0, -1]),
        residual=float(stored.residuals[0, -1]),
        tail_probability=Compared(float(stored.tail_probabilities[0, -1]), looked.tail_probability),
        decided=str(stored.tests[0, -1]),
        special=bool(special[-1]),
        day_of_month=float(departed[-1]),
        perhaps=float(perhaps[-1]),
        judged_by=stored.fit_id,
        looked=looked,
    )


def _as_judged(counts: Any, stored: Predictions) -> Any:
    """Counts, of the last interval as it was judged."""
    observed = counts.copy()
    observed[:, -1] = stored.observed[:, -1]
    return observed


# --- for machines -----------------------------------------------------------------------------------------------


def _fit_dict(fit: Fit) -> dict[str, Any]:
    return {
        "id": fit.id,
        "state": fit.state,
        "model_version": fit.model_version,
        "mlflow_run_id": fit.mlflow_run_id,
        "serves_from": fit.serves_from,
        "history_start": fit.history.start,
        "history_end": fit.history.end,
    }


def _compared(numbers: Compared) -> dict[str, Any]:
    return asdict(numbers) | {"agrees": numbers.agrees}


def _verdict_dict(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {
        "tail_probability": _compared(verdict.tail_probability),
        "looked": asdict(verdict.looked) | {"tail_probability": verdict.looked.tail_probability},
    }


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
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _plain(asdict(value))
        case _:
            return value
