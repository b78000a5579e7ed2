"""Review: what would change if the challenger served, before it does.

In: a registered fit, the champion that it would replace, the counts of the last weeks, and the group's golden
incidents. Out: `Review` in the store and, for people, on the model version's page in MLflow: forecasts compared, the
alerts that would appear and disappear, golden incidents that would be lost, with charts.

**How the alerts are compared.** Both fits judge the same stored counts of the last weeks by predict's own code, from
the same past, and their anomalies become incidents by the same policy. An alert of the one and an alert of the other
are the same when they overlap in time and share a variable.

**What is fair.** The challenger's networks were trained on the older part of these weeks, and usually the champion's
on most of them: a fit looks better on what it has learned. So each alert says whether it lies after the last interval
that either fit's networks were trained on, and counts are given for that part alone, too. Thresholds remain: each
fit's are calibrated on its whole history. What was anomalous in its time is masked when a fit learns, so a challenger
does not forget an incident by having seen it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

import numpy as np

from anomaly.detection.candidates import entered
from anomaly.detection.choosing import CHAMPION
from anomaly.detection.contest import warm_up
from anomaly.detection.incidents import Incident
from anomaly.detection.splits import TEST, VALIDATION
from anomaly.exceptions import ArtifactCorruptedError, ArtifactMissingError, IncompleteFitError
from anomaly.groups import Group, TimeRange
from anomaly.groups.golden import Golden
from anomaly.ports import ArtifactReader, Fit, FittedVariable, ForecasterLoader, ModelRegistry, Predictions, Store
from anomaly.ports.diff_charts import DiffCharts
from anomaly.ports.labels import Labels
from anomaly.ports.reviews import (
    AlertDiff,
    CardWriter,
    DiffChart,
    DiffVariable,
    Judged,
    JudgedAlert,
    Replayed,
    Review,
    ReviewCharts,
    ReviewLinks,
    Reviews,
    VariableErrors,
)
from anomaly.stages.promotion import BASELINE, compared, first_not_judged, objections, serving_at
from anomaly.stages.records import CHOSEN, measure_of
from anomaly.stages.supposed import Supposed

log = logging.getLogger(__name__)

CHARTS_PER_SIDE = 6
"""Appearing alerts that get a chart of their own, and disappearing ones; the worst."""
CHART_VARIABLES = 3
CHART_AROUND = timedelta(days=2)
GOLDEN_BEFORE = timedelta(days=2)
"""So long before a golden incident its judgement begins, for tests that add up several intervals."""

Suppose = Callable[[Fit, TimeRange], Supposed]


@dataclass(frozen=True, slots=True)
class ReviewReport:
    """What a review found."""

    fit_id: str
    model_version: int
    champion_version: int | None
    unplayed: bool
    """Whether that champion could not be replayed."""
    alerts: int
    appearing: int
    disappearing: int
    golden: int
    lost: int
    back: int
    objections: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"objections": list(self.objections)}

    def __str__(self) -> str:
        against = f"version {self.champion_version}" if self.champion_version else "nobody, there is no champion"
        against += ", which could not be replayed" if self.unplayed else ""
        said = (
            f"version {self.model_version} against {against}: {self.appearing} alerts appear, {self.disappearing} "
            f"disappear; of {self.golden} golden incidents {self.lost} are lost, {self.back} false alarms come back"
        )
        return said + (f". Against it: {'; '.join(self.objections)}" if self.objections else "")


def review(
    group: Group,
    fit_id: str,
    *,
    store: Store,
    reviews: Reviews,
    registry: ModelRegistry,
    artifacts: ArtifactReader,
    forecaster: ForecasterLoader,
    charts: ReviewCharts,
    card: CardWriter,
    golden: Sequence[Golden] = (),
    links: ReviewLinks | None = None,
    labels: Labels | None = None,
    diff_charts: DiffCharts | None = None,
    now: datetime,
) -> ReviewReport:
    """Compares a registered fit with the champion, and makes its model version say so.

    A fit that is decided already keeps the review that it was decided by.

    Args:
        diff_charts: keeps what the charts of the alert diff show, for the page of the fit.

    Raises:
        IncompleteFitError: there is no such fit, or it is not registered.
        ArtifactCorruptedError, ArtifactsUnavailableError: the challenger's networks cannot be loaded.
        RegistryUnavailableError: the review is stored, but not shown in MLflow yet.
    """
    fit = store.fit(fit_id)
    if fit is None or fit.model_version is None:
        raise IncompleteFitError(f"fit {fit_id} of {group.name!r} is not registered; run register first")
    known = reviews.review(fit.id)
    if known is not None and fit.state != "registered":
        return _report(group, fit, known, store)

    loaded = _Loaded(store, artifacts, forecaster)

    def suppose(which: Fit, within: TimeRange) -> Supposed:
        return Supposed(
            group, which, within, store=cast("Store", loaded), artifacts=loaded, forecaster=loaded.forecaster,
            labels=labels, now=now,
        )  # fmt: skip

    champion = serving_at(group, fit, first_not_judged(group, fit, store), store)
    fitted = store.fitted(fit.id)
    within = _weeks(group, fit)
    after = suppose(fit, within)
    played, before = _champions_view(group, champion, within, suppose)
    drawn = _Drawer(group, within, store, before, after)
    diff, pictures = drawn.charted(_diff(group, fit, played, within, before, after), charts)
    made = Review(
        fit_id=fit.id,
        group=group.name,
        champion=champion.id if champion else None,
        champion_version=champion.model_version if champion else None,
        made_at=now,
        comparison=compared(fitted),
        alerts=diff,
        golden=_replayed(group, golden, fit, played, within, before, after, store, suppose),
    )
    reviews.save(made)
    if diff_charts is not None:
        diff_charts.save(fit.id, drawn.charts)
    pictures = {
        "comparison.png": charts.comparison(_errors(fitted)),
        "alerts.png": charts.timeline(group, made),
        **pictures,
    }
    findings = [o.said for o in objections(group, fit, store, made)]
    written = card(group, fit, made, fitted, findings=findings, charts=pictures, links=links or ReviewLinks())
    registry.log_review(
        group,
        fit,
        fit.model_version,
        description=written.markdown,
        tags=_tags(fit, made),
        files={"review.html": written.html.encode(), "review.json": written.json.encode(), **pictures},
    )
    report = _report(group, fit, made, store)
    log.info("%s: %s", group.name, report)
    return report


class _Loaded:
    """Ports `Store`, `ArtifactReader` and `ForecasterLoader` that load each fit once, however often it judges.

    A golden file may name dozens of incidents, and each is judged in its own time by both fits.
    """

    def __init__(self, store: Store, artifacts: ArtifactReader, forecaster: ForecasterLoader) -> None:
        self._store = store
        self._artifacts = artifacts
        self.forecaster: ForecasterLoader = cache(forecaster)  # by the bytes, whose hash Python computes once
        self.network_files = cache(store.network_files)
        self._fitted = cache(store.fitted)
        self._read = cache(lambda uri, sha256: artifacts.read(uri, sha256=sha256))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def fitted(self, fit_id: str) -> tuple[FittedVariable, ...]:
        """As predict asks for it: all variables, without residuals."""
        return self._fitted(fit_id)

    def read(self, uri: str, *, sha256: str) -> bytes:
        content: bytes = self._read(uri, sha256)
        return content


def _champions_view(
    group: Group, champion: Fit | None, within: TimeRange, suppose: Suppose
) -> tuple[Fit | None, Supposed | None]:
    """What the champion says of the weeks; nothing, when its networks are damaged or gone.

    It serves all the same, and the review says so: what it would have told is unknown, which is not nothing.
    """
    if champion is None:
        return None, None
    try:
        return champion, suppose(champion, within)
    except (ArtifactCorruptedError, ArtifactMissingError) as damaged:
        log.warning("%s: version %s could not be replayed: %s", group.name, champion.model_version, damaged)
        return None, None


def _weeks(group: Group, fit: Fit) -> TimeRange:
    """The last weeks of the fit's history, which are complete, as far as its windows are full: of a group's first days
    nobody knows yet what they should be compared with, and what a fit tells of them nobody will ever be told."""
    full = min(group.first_interval() + _warm(group, fit), fit.history.end - group.interval)
    start = max(group.floor(fit.history.end - group.promotion.compare), fit.history.start, full)
    return TimeRange(start, fit.history.end, group.interval)


def _warm(group: Group, fit: Fit) -> timedelta:
    """Until each of the fit's candidates has a window that suffices it."""
    candidates = fit.configuration.get("candidates") or group.candidates
    return warm_up(entered(tuple(candidates)).values(), group.interval) * group.interval


# --- alerts -----------------------------------------------------------------------------------------------------


def trained_until(group: Group, fit: Fit) -> datetime:
    """End of what a fit's networks were trained on: validation and test are its latest windows."""
    windows = (fit.history.end - fit.history.start - _warm(group, fit)) // group.interval
    return fit.history.end - int(np.ceil(windows * (VALIDATION + TEST))) * group.interval


def _diff(
    group: Group, fit: Fit, champion: Fit | None, within: TimeRange, before: Supposed | None, after: Supposed
) -> AlertDiff:
    ours = after.incidents()
    theirs = before.incidents() if before else ()
    fair_from = max(trained_until(group, f) for f in (fit, champion) if f is not None)
    appearing = [i for i in ours if not any(_same(i, other) for other in theirs)]
    disappearing = [i for i in theirs if not any(_same(i, other) for other in ours)]
    return AlertDiff(
        start=within.start,
        end=within.end,
        champion=len(theirs) if before else None,
        challenger=len(ours),
        kept=len(theirs) - len(disappearing),
        appearing=tuple(_alert(i, fair_from) for i in appearing),
        disappearing=tuple(_alert(i, fair_from) for i in disappearing),
        fair_from=min(max(fair_from, within.start), within.end),
    )


def _same(one: Incident, other: Incident) -> bool:
    shared = {v.variable for v in one.variables} & {v.variable for v in other.variables}
    return bool(shared) and one.start < other.end and other.start < one.end


def _alert(incident: Incident, fair_from: datetime) -> JudgedAlert:
    return JudgedAlert(
        start=incident.start,
        end=incident.end,
        kind=incident.kind,
        severity=incident.severity,
        variables=tuple(v.variable for v in incident.variables),
        observed=sum(v.observed for v in incident.departed),
        expected=sum(v.expected for v in incident.departed),
        return_period_hours=incident.return_period_hours,
        out_of_sample=incident.start >= fair_from,
    )


# --- golden incidents -------------------------------------------------------------------------------------------


def _replayed(
    group: Group,
    golden: Sequence[Golden],
    fit: Fit,
    champion: Fit | None,
    within: TimeRange,
    before: Supposed | None,
    after: Supposed,
    store: Store,
    suppose: Suppose,
) -> tuple[Replayed, ...]:
    """Whether each golden incident would be told, by both."""
    found: list[Replayed] = []
    in_weeks = after.incidents(), before.incidents() if before else None
    for one in golden:
        stretch = _around(group, one)
        if within.start <= stretch.start and one.end <= within.end:
            ours, theirs = in_weeks
        elif stretch.start < group.first_interval() or store.first_gap(group, stretch) is not None:
            found.append(Replayed(one, None, None))
            continue
        else:
            ours = suppose(fit, stretch).incidents()
            theirs = suppose(champion, stretch).incidents() if champion else None
        found.append(Replayed(one, _told(one, ours), None if theirs is None else _told(one, theirs)))
    return tuple(found)


def _around(group: Group, golden: Golden) -> TimeRange:
    """The golden incident's time, begun a little earlier."""
    start = max(group.floor(golden.start - GOLDEN_BEFORE), group.first_interval())
    end = group.floor(golden.end - timedelta(microseconds=1)) + group.interval
    return TimeRange(min(start, end - group.interval), end, group.interval)


def _told(golden: Golden, incidents: Sequence[Incident]) -> bool:
    return any(golden.is_same(i.start, i.end, frozenset(v.variable for v in i.variables)) for i in incidents)


# --- charts -----------------------------------------------------------------------------------------------------


class _Drawer:
    """Charts of alerts that only one of the two would tell."""

    def __init__(self, group: Group, within: TimeRange, store: Store, before: Supposed | None, after: Supposed) -> None:
        self._group, self._within, self._store = group, within, store
        self._before, self._after = before, after
        self.charts: dict[str, DiffChart] = {}
        """What was drawn, by the picture's name."""
        self._by_name = {v.name: v for v in store.variables(group, left_out=True)}

    def charted(self, diff: AlertDiff, charts: ReviewCharts) -> tuple[AlertDiff, dict[str, bytes]]:
        """The diff with the names of its charts, and the charts."""
        pictures: dict[str, bytes] = {}

        def drawn(alerts: Sequence[JudgedAlert], *, appears: bool) -> tuple[JudgedAlert, ...]:
            worst = sorted(range(len(alerts)), key=lambda at: -alerts[at].return_period_hours)[:CHARTS_PER_SIDE]
            named = list(alerts)
            for number, at in enumerate(sorted(worst), start=1):
                name = f"{'appears' if appears else 'disappears'}-{number}.png"
                self.charts[name] = self._chart(alerts[at], appears=appears)
                pictures[name] = charts.alert(self.charts[name])
                named[at] = replace(alerts[at], chart=name)
            return tuple(named)

        appearing = drawn(diff.appearing, appears=True)
        return replace(diff, appearing=appearing, disappearing=drawn(diff.disappearing, appears=False)), pictures

    def _chart(self, alert: JudgedAlert, *, appears: bool) -> DiffChart:
        group = self._group
        shown = TimeRange(
            max(group.floor(alert.start - CHART_AROUND), self._within.start),
            min(group.floor(alert.end + CHART_AROUND), self._within.end),
            group.interval,
        )
        variables = [self._by_name[n] for n in alert.variables if n in self._by_name][:CHART_VARIABLES]
        counts = self._store.read_counts(group, variables, shown).counts
        before = self._before.read(variables, shown) if self._before else None
        after = self._after.read(variables, shown)
        return DiffChart(
            group=group,
            alert=alert,
            appears=appears,
            within=shown,
            variables=tuple(
                DiffVariable(
                    variable=v.name,
                    starts=shown.starts(),
                    observed=counts[row],
                    champion=_judged(before, row),
                    challenger=_judged(after, row),
                )
                for row, v in enumerate(variables)
            ),
        )


def _judged(predictions: Predictions | None, row: int) -> Judged | None:
    if predictions is None or not np.isfinite(predictions.predicted[row]).any():
        return None
    p = predictions
    return Judged(p.predicted[row], p.lower[row], p.upper[row], p.kinds[row] != "")


# --- words ------------------------------------------------------------------------------------------------------


def _errors(fitted: Sequence[FittedVariable]) -> list[VariableErrors]:
    return [
        VariableErrors(f.variable.name, measure_of(f), f.mae[CHOSEN], f.mae.get(CHAMPION), f.mae.get(BASELINE))
        for f in fitted
        if CHOSEN in f.mae
    ]


def _tags(fit: Fit, review: Review) -> Mapping[str, str]:
    alerts = review.alerts
    tags = {
        "reason": fit.reason or "not said",
        "champion_then": _champion_then(review),
        "alerts_appear": str(len(alerts.appearing)),
        "alerts_disappear": str(len(alerts.disappearing)),
        "golden_lost": str(sum(g.lost for g in review.golden)),
        "golden_false_alarms_back": str(sum(g.back for g in review.golden)),
    }
    if review.comparison.ratio is not None:
        tags["errors_of_champions"] = f"{review.comparison.ratio:.3f}"
    return tags


def _champion_then(review: Review) -> str:
    version = f"version {review.champion_version}" if review.champion_version else "none"
    return f"{version}, could not be replayed" if review.unplayed else version


def _report(group: Group, fit: Fit, made: Review, store: Store) -> ReviewReport:
    return ReviewReport(
        fit_id=fit.id,
        model_version=fit.model_version or 0,
        champion_version=made.champion_version,
        unplayed=made.unplayed,
        alerts=made.alerts.challenger,
        appearing=len(made.alerts.appearing),
        disappearing=len(made.alerts.disappearing),
        golden=len(made.golden),
        lost=sum(g.lost for g in made.golden),
        back=sum(g.back for g in made.golden),
        objections=tuple(o.said for o in objections(group, fit, store, made)) if fit.state == "registered" else (),
    )
