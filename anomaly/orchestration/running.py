"""One run of one stage: real adapters in, what it did out, timed and put on record.

The Airflow tasks and the command line both call these functions and nothing of the stages directly: how a
stage is given its stores, and what is recorded of it, is written here once. A stage that raises leaves no record:
the scheduler and the terminal have its story.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

from anomaly.adapters.settings import Settings
from anomaly.adapters.world import World
from anomaly.exceptions import AnomalyError, IncompleteFitError
from anomaly.groups import Group, TimeRange
from anomaly.orchestration.review_addresses import framed_address
from anomaly.ports import Fit, Incident, Links, Store
from anomaly.ports.reviews import Decided, ReviewLinks

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class Report(Protocol):
    """What every stage returns: a sentence as text, and a small dictionary that JSON can hold."""

    def as_dict(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Done:
    """A stage that went well."""

    stage: str
    within: TimeRange
    report: dict[str, Any]
    said: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.stage} for {self.within} took {self.seconds:.1f} s: {self.said}"


@dataclass(frozen=True, slots=True)
class _Begun:
    """The report of prepare, which returns the fit that it began."""

    fit: Fit

    def as_dict(self) -> Mapping[str, Any]:
        return {"fit": self.fit.id, "intervals": len(self.fit.history), "shards": self.fit.shards}

    def __str__(self) -> str:
        return (
            f"began fit {self.fit.id} on {len(self.fit.history):,} intervals, to be trained in "
            f"{self.fit.shards} {'shard' if self.fit.shards == 1 else 'shards'}"
        )


def utc_now() -> datetime:
    return datetime.now(UTC)


def run_update(world: World, group: Group, within: TimeRange, *, clock: Clock = utc_now) -> Done:
    """Counts the range's events in the source."""
    began = _begin(group, "update", within)
    from anomaly.stages import update

    store = world.store()
    done = update.update(
        group, within.start, within.end, source=world.source(group), store=store, checks=world.checks(), now=clock()
    )
    return _record(store, group, "update", within, done, began=began, at=clock())


def run_predict(world: World, group: Group, within: TimeRange, *, clock: Clock = utc_now) -> Done:
    """Judges the range's counts by the champion."""
    began = _begin(group, "predict", within)
    from anomaly.stages import predict

    store = world.store()
    done = predict.predict(
        group,
        within.start,
        within.end,
        store=store,
        checks=world.checks(),
        artifacts=world.artifacts(),
        forecaster=world.forecaster(),
        now=clock(),
        judgements=world.judgements(),
        labels=world.labels(),
    )
    return _record(store, group, "predict", within, done, began=began, at=clock())


def run_alert(
    world: World, group: Group, within: TimeRange, *, airflow_run: str | None = None, clock: Clock = utc_now
) -> Done:
    """Gathers the range's anomalies into incidents and tells the channel.

    Args:
        airflow_run: address of the run that this is part of, for the message.
    """
    began = _begin(group, "alert", within)
    from anomaly.stages import alert

    store = world.store()
    done = alert.alert(
        group,
        within.start,
        within.end,
        store=store,
        charts=world.charts(),
        chart_store=world.chart_store(),
        channel=world.channel(group),
        links=links(world.settings, group, airflow_run=airflow_run),
        now=clock(),
        labels=world.labels(),
        posts=world.posts(),
        low_rank=_low_rank(world, group),
    )
    return _record(store, group, "alert", within, done, began=began, at=clock())


def run_tell(world: World, group: Group, *, clock: Clock = utc_now) -> str:
    """Delivers what there is to say now, without looking for incidents; in words, what that was.

    Of no range of intervals, so no record is left of it.
    """
    from anomaly.stages import telling

    done = telling.tell(
        group,
        store=world.store(),
        charts=world.charts(),
        chart_store=world.chart_store(),
        channel=world.channel(group),
        links=links(world.settings, group, airflow_run=airflow_runs_address(world.settings, group)),
        now=clock(),
        labels=world.labels(),
        posts=world.posts(),
        low_rank=_low_rank(world, group),
    )
    return str(done)


def run_prepare(
    world: World, group: Group, until: datetime, *, reason: str = "", clock: Clock = utc_now
) -> tuple[Fit, Done]:
    """Begins a fit: checks that the history up to `until` is complete, and says how many shards it takes.

    Args:
        reason: why it runs, in a sentence.
    """
    began = _begin(group, "fit.prepare")
    from anomaly.stages import fit

    store = world.store()
    begun = fit.prepare(
        group, until, store=store, checks=world.checks(), registry=world.registry(), now=clock(), reason=reason
    )
    return begun, _record(store, group, "fit.prepare", begun.history, _Begun(begun), began=began, at=clock())


def run_train(world: World, group: Group, fit_id: str, shard: int, *, clock: Clock = utc_now) -> Done:
    """Trains every candidate for the shard's variables and picks the best of each."""
    store = world.store()
    history = _history(group, store, fit_id)
    began = _begin(group, "fit.train", history)
    from anomaly.stages import fit

    done = fit.train(
        group,
        fit_id,
        shard,
        store=store,
        registry=world.registry(),
        artifacts=world.artifacts(),
        forecaster=world.forecaster(),
        labels=world.labels(),
    )
    return _record(store, group, "fit.train", history, done, began=began, at=clock())


def run_register(world: World, group: Group, fit_id: str, *, clock: Clock = utc_now) -> Done:
    """Makes the trained networks a version of the group's registered model, as challenger."""
    store = world.store()
    history = _history(group, store, fit_id)
    began = _begin(group, "fit.register", history)
    from anomaly.stages import fit

    done = fit.register(group, fit_id, store=store, registry=world.registry(), charts=world.fit_charts())
    return _record(store, group, "fit.register", history, done, began=began, at=clock())


def run_review(world: World, group: Group, fit_id: str, *, clock: Clock = utc_now) -> Done:
    """Compares the challenger with the champion: forecasts, alerts, golden incidents."""
    store = world.store()
    history = _history(group, store, fit_id)
    began = _begin(group, "fit.review", history)
    from anomaly.adapters import review_charts
    from anomaly.adapters.model_cards import model_card
    from anomaly.groups.golden import load_golden
    from anomaly.stages import reviewing

    done = reviewing.review(
        group,
        fit_id,
        store=store,
        reviews=world.reviews(),
        registry=world.registry(),
        artifacts=world.artifacts(),
        forecaster=world.forecaster(),
        charts=review_charts,
        card=model_card,
        golden=load_golden(world.settings.groups, group.name),
        links=review_links(world.settings, store.fit(fit_id)),
        labels=world.labels(),
        diff_charts=world.diff_charts(),
        now=clock(),
    )
    return _record(store, group, "fit.review", history, done, began=began, at=clock())


def run_promote(world: World, group: Group, fit_id: str, *, last_call: bool = False, clock: Clock = utc_now) -> Done:
    """Makes the challenger the champion, rejects it, or lets it wait for a person.

    Args:
        last_call: whether a challenger that nobody has approved by now is rejected.
    """
    store = world.store()
    history = _history(group, store, fit_id)
    began = _begin(group, "fit.promote", history)
    from anomaly.stages import fit

    done = fit.promote(
        group,
        fit_id,
        store=store,
        registry=world.registry(),
        reviews=world.reviews(),
        now=clock(),
        last_call=last_call,
    )
    run_rank(world, group, clock=clock)
    return _record(store, group, "fit.promote", history, done, began=began, at=clock())


def run_rank(world: World, group: Group, *, clock: Clock = utc_now) -> str:
    """Learns from people's labels which incidents they care for, if there are enough; in words, what came of it.

    Goes along with every fit. Whatever goes wrong, the ranking before serves on, and nothing else waits for it.
    """
    from anomaly.stages import ranking

    try:
        done = ranking.learn_ranking(
            group,
            store=world.store(),
            labels=world.labels(),
            rankings=world.rankings(),
            registry=world.ranking_registry(),
            now=clock(),
        )
    except AnomalyError as failure:
        log.warning("%s: incidents are ranked as before: %s", group.name, failure)
        return f"incidents are ranked as before: {failure}"
    return str(done)


def _low_rank(world: World, group: Group) -> Callable[[Group, Incident], str]:
    from anomaly.stages import ranking

    return ranking.low_rank(group, labels=world.labels(), rankings=world.rankings())


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask about a challenger, or why there is nothing to ask."""

    answered: bool
    said: str
    """The question in a sentence, or the answer."""
    body: str = ""
    """Markdown: what there is to know."""


def question(world: World, group: Group, fit_id: str, *, clock: Clock = utc_now) -> Question:
    """Whether somebody still has to say what becomes of a challenger; hears what was said in the registry.

    Nothing is to be asked of one that is decided, that something speaks against which no approval overrules, or that
    has waited as long as the group's policy bears.
    """
    from anomaly.adapters.model_cards import approval_body
    from anomaly.stages.promotion import objections
    from anomaly.stages.serving import said_in_registry, with_objections

    store, reviews, now = world.store(), world.reviews(), clock()
    fit, review = store.fit(fit_id), reviews.review(fit_id)
    if fit is None or review is None:
        raise IncompleteFitError(f"fit {fit_id!r} of group {group.name!r} has no review yet; run its task review first")
    if fit.state != "registered":
        return Question(answered=True, said=f"version {fit.model_version} is {fit.state} already")
    verdict, against = reviews.verdict(fit.id), objections(group, fit, store, review)
    if verdict is None:
        heard = said_in_registry(group, fit, registry=world.registry(), now=now)
        verdict = reviews.decide(with_objections(heard, against)) if heard else None
    if verdict is not None:
        return Question(answered=True, said=f"{verdict.who} {verdict.word} it ({verdict.via})")
    final = [o.said for o in against if o.final]
    if final:
        return Question(answered=True, said=f"no approval helps: {'; '.join(final)}")
    if now - review.made_at >= group.promotion.wait:
        return Question(answered=True, said="nobody answered in time")
    body = approval_body(
        group, fit, review, findings=[o.said for o in against], links=review_links(world.settings, fit)
    )
    return Question(answered=False, said=f"Shall version {fit.model_version} of {group.name} serve?", body=body)


def answer(
    world: World, group: Group, fit_id: str, *, approved: bool, who: str, why: str, clock: Clock = utc_now
) -> str:
    """Keeps what somebody said in Airflow, unless somebody was first; returns what holds."""
    from anomaly.ports.reviews import Verdict

    word: Decided = "approved" if approved else "rejected"
    verdict = world.reviews().decide(Verdict(fit_id, word, who, "airflow", clock(), why))
    log.info("%s: %s %s fit %s", group.name, verdict.who, verdict.word, fit_id)
    return f"{verdict.who} {verdict.word} it ({verdict.via})"


def run_follow(world: World, group: Group, *, clock: Clock = utc_now) -> Done:
    """Lets serve what somebody moved the registry's alias to, and looks once a day whether residuals have drifted.

    Without an address of MLflow nobody can be asked about the alias; that is said, and residuals are looked at.
    """
    began = _begin(group, "follow")
    from anomaly.stages import drifting

    store, now = world.store(), clock()
    registry = world.registry() if world.settings.mlflow_tracking_uri is not None else None
    done = drifting.look_after(group, store=store, reviews=world.reviews(), registry=registry, now=now)
    until = store.updated_until(group) or group.floor(now)
    within = TimeRange(until - group.interval, until, group.interval)
    return _record(store, group, "follow", within, done, began=began, at=clock())


def answered_already(world: World, group: Group, asked_until: datetime, until: datetime) -> str:
    """Which other fit has begun already for what drifted up to `asked_until`, in words; '' if none has.

    Args:
        until: end of the history of the fit that would begin now.
    """
    from anomaly.stages import drifting

    return drifting.still_asked(group, asked_until, until, reviews=world.reviews())


def review_links(settings: Settings, fit: Fit | None) -> ReviewLinks:
    """Addresses for the card of a model version."""
    run = None
    if settings.link_mlflow and fit is not None and fit.mlflow_run_id is not None:
        run = f"{settings.link_mlflow.rstrip('/')}/#/runs/{fit.mlflow_run_id}"
    page = review_address(settings, f"fits/{fit.id}") if fit else None
    return ReviewLinks(run=run, data_docs=settings.link_data_docs, page=page)


def links(settings: Settings, group: Group, *, airflow_run: str | None = None) -> Links:
    """Addresses for the messages of a group."""
    model = f"{settings.link_mlflow}/#/models/anomaly.{group.name}" if settings.link_mlflow else None
    return Links(
        airflow_run=airflow_run,
        model=model,
        data_docs=settings.link_data_docs,
        review=review_address(settings),
    )


def review_address(settings: Settings, path: str = "") -> str | None:
    """Address of a review page, such as ``incidents/7``, in Airflow's frame, when `ANOMALY_LINK_AIRFLOW` is set."""
    if settings.link_airflow is None:
        return None
    return framed_address(settings.link_airflow, path)


def airflow_run_address(settings: Settings, dag_id: str, run_id: str) -> str | None:
    """Address of a run in the Airflow UI, when `ANOMALY_LINK_AIRFLOW` is set."""
    if settings.link_airflow is None:
        return None
    return f"{settings.link_airflow.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id, safe='')}"


def airflow_runs_address(settings: Settings, group: Group) -> str | None:
    """Address of the runs of a group's DAG, for what is said outside of one: an edit must not lose its message's link
    to Airflow."""
    if settings.link_airflow is None:
        return None
    return f"{settings.link_airflow.rstrip('/')}/dags/anomaly.{group.name}/runs"


def _history(group: Group, store: Store, fit_id: str) -> TimeRange:
    fit = store.fit(fit_id)
    if fit is None:
        raise IncompleteFitError(f"there is no fit {fit_id!r} of group {group.name!r}; run: anomaly fit {group.name}")
    return fit.history


def _begin(group: Group, stage: str, within: TimeRange | None = None) -> float:
    log.info("%s of group %s begins%s.", stage, group.name, f" for {within}" if within else "")
    return time.perf_counter()


def _record(
    store: Store, group: Group, stage: str, within: TimeRange, report: Report, *, began: float, at: datetime
) -> Done:
    seconds = time.perf_counter() - began
    store.record_run(group, stage, within, seconds=seconds, report=report.as_dict(), at=at)
    done = Done(stage, within, dict(report.as_dict()), str(report), seconds)
    log.info("%s of group %s took %.1f s.", stage, group.name, seconds)  # what it did, the stage has logged
    return done
