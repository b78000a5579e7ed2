"""Looking after the model between fits: whether somebody moved it by hand, and whether it still fits.

In: the group's champion, what it said of the latest weeks, and the model registry. Out: a handover where the alias
``champion`` was moved (`anomaly.stages.serving`), and, once a day, a look at the residuals (`anomaly.detection.drift`).
When more variables have drifted than the group's policy bears, a fit is asked for: at most once in the time that the
policy says, so that a fit that does not help is not repeated every day.

**Asked for at least once, fitted once.** The look is kept before anybody has heard of it, and whoever passes it on can
die in between. So a question counts as asked only when a fit has begun that learns from what was looked at. Until
then, looking again at the same intervals within the hour (a task that is tried again) asks again, and so does the next
day's look. Later runs that find nothing new judged do not: each question starts a run of the fit, and where none can
begin, that run fails. The other way round, a fit that is asked for twice begins once: `still_asked` says so to the
second one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from anomaly.detection import calendars
from anomaly.detection.drift import drift
from anomaly.exceptions import RegistryUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit, ModelRegistry, Store
from anomaly.ports.reviews import DriftCheck, Reviews
from anomaly.stages.records import measure_of
from anomaly.stages.serving import follow

log = logging.getLogger(__name__)

EVERY = timedelta(days=1)
"""Two looks are at least so far apart."""
TRIED_AGAIN = timedelta(hours=1)
"""So long after a look whoever looks at the same again may be its own next try, of which Airflow makes three."""
VARIABLES_AT_ONCE = 1000
_NAMED = 3


@dataclass(frozen=True, slots=True)
class LookReport:
    """What looking after the model found."""

    model_version: int | None
    moved: bool
    """Whether another version serves because its alias was moved."""
    checked: bool
    """Whether it was looked for drift; the last time was less than a day ago otherwise."""
    variables: int
    drifted: int
    asks_for_fit: bool
    said: str
    until: str | None = None
    """End of what was looked at, if that asks for a fit: whoever begins it passes this to `still_asked`."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return self.said


def look_after(
    group: Group, *, store: Store, reviews: Reviews, registry: ModelRegistry | None, now: datetime
) -> LookReport:
    """Follows the registry, and looks for drift when a day has passed since the last look.

    Args:
        registry: None, or one that does not answer, is no reason to fail: judging does not need it.
    """
    said, moved, version = [], False, None
    if registry is None:
        said.append("MLFLOW_TRACKING_URI is not set, so nobody asked the model registry whether its alias was moved")
    else:
        try:
            handover = follow(group, store=store, reviews=reviews, registry=registry, now=now)
            moved, version = handover.changed, handover.model_version
            if moved:
                said.append(str(handover))
        except RegistryUnavailableError as unavailable:
            log.warning("%s: nobody asked the registry: %s", group.name, unavailable)
            said.append("the registry did not answer")
    champion = store.champion(group)
    check = _look(group, champion, store, reviews, now) if champion else None
    if check is not None:
        reviews.save_drift(check)
        said.append(check.said)
    asking = check if check is not None and check.asked else _asked_in_vain(group, store, reviews, now)
    if asking is not None and asking is not check:
        said.append(f"{asking.said}; no fit has begun since that was found")
    found = check or asking
    report = LookReport(
        model_version=champion.model_version if champion else version,
        moved=moved,
        checked=check is not None,
        variables=found.variables if found else 0,
        drifted=len(found.drifted) if found else 0,
        asks_for_fit=asking is not None,
        said="; ".join(said) or "nothing to do",
        until=asking.end.isoformat() if asking else None,
    )
    log.info("%s: %s", group.name, report)
    return report


def still_asked(group: Group, asked_until: datetime, until: datetime, *, reviews: Reviews) -> str:
    """'' if a fit that drift asks for is still wanted; else which other one has begun, in words.

    Args:
        asked_until: end of what was looked at.
        until: end of the history of the fit that would begin. Its own earlier try is no other fit.
    """
    others = [fit for fit in reviews.fits(group) if fit.history.end >= asked_until and fit.history.end != until]
    if not others:
        return ""
    return f"fit {others[0].id} has begun already for what drifted by {asked_until.isoformat()}: {others[0].reason}"


def _asked_in_vain(group: Group, store: Store, reviews: Reviews, now: datetime) -> DriftCheck | None:
    """The look at what is judged up to now, if it just asked for a fit and none has begun; None if there is none."""
    latest = store.predicted_until(group)
    if latest is None or not group.retraining.on_drift:
        return None
    end = latest + group.interval
    checks = reviews.drift_checks(group, limit=1)
    same = [c for c in checks if c.asked and c.end == end and now - c.at <= TRIED_AGAIN]
    return same[0] if same and same[0].answered_by(reviews.fits(group)) is None else None


def _look(group: Group, champion: Fit, store: Store, reviews: Reviews, now: datetime) -> DriftCheck | None:
    """A look at the latest residuals; None when it is not time for one."""
    latest = store.predicted_until(group)
    if not group.retraining.on_drift or latest is None:
        return None
    end = latest + group.interval
    checks = reviews.drift_checks(group)
    if checks and end - checks[0].end < EVERY:
        return None
    since = champion.serves_from or champion.history.end
    start = group.floor(end - group.retraining.window)
    if max(since, start) > start:  # others' residuals, measured against other forecasts
        return None
    within = TimeRange(start, end, group.interval)
    names, looked_at = _drifted(group, champion, within, store)
    asked = len(names) > group.retraining.drifted_variables * looked_at and not _asked_lately(
        group, champion, checks, reviews.fits(group), end
    )
    return DriftCheck(
        group=group.name,
        fit_id=champion.id,
        start=within.start,
        end=within.end,
        variables=looked_at,
        drifted=tuple(names),
        asked=asked,
        said=_sentence(names, looked_at, within),
        at=now,
    )


def _drifted(group: Group, champion: Fit, within: TimeRange, store: Store) -> tuple[list[str], int]:
    """Names of the variables that have drifted, the farthest first, and how many could be looked at."""
    fitted = [
        f
        for f in store.fitted(champion.id)
        # A rare variable's residual is nearly always the same; its rate is what its tests of silence and sums watch.
        if f.status == "fitted" and measure_of(f) == "MAE" and group.watches(f.variable.name)
    ]
    special = calendars.special(within.starts(), group.zone, group.holidays)
    before: list[Any] = []
    after: list[Any] = []
    for first in range(0, len(fitted), VARIABLES_AT_ONCE):
        block = fitted[first : first + VARIABLES_AT_ONCE]
        known = {
            f.variable.name: f.residuals
            for f in store.fitted(champion.id, residuals=True, names=[f.variable.name for f in block])
        }
        predictions = store.read_predictions(group, [f.variable for f in block], within)
        if predictions is None:
            return [], 0
        residuals = np.where(special, np.nan, predictions.residuals)
        before += [_whole_weeks(known[f.variable.name].astype(np.float64), group) for f in block]
        after += list(residuals)
    found = drift(before, after)
    rows = sorted(np.flatnonzero(found.drifted), key=lambda row: -found.distances[row])
    return [fitted[row].variable.name for row in rows], int(np.isfinite(found.distances).sum())


def _whole_weeks(residuals: Any, group: Group) -> Any:
    """The latest residuals that make up whole weeks, or all when there is less than one."""
    week = timedelta(days=7) // group.interval
    return residuals[-(len(residuals) // week) * week :] if len(residuals) >= week else residuals


def _asked_lately(
    group: Group, champion: Fit, checks: Sequence[DriftCheck], fits: Sequence[Fit], end: datetime
) -> bool:
    asked = [check.end for check in checks if check.asked and check.answered_by(fits)]
    return end - max([champion.history.end, *asked]) < group.retraining.at_most_every


def _sentence(names: list[str], looked_at: int, within: TimeRange) -> str:
    if not names:
        return f"none of {looked_at} variables has drifted"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"the residuals of {len(names)} of {looked_at} variables have drifted since the fit "
        f"({', '.join(names[:_NAMED])}{more}), by the intervals of {within}"
    )
