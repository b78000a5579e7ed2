"""One run of one stage: real adapters in, what it did out, timed and put on record.

The Airflow tasks and the command line both call these functions and nothing of the stages directly: how a
stage is given its stores, what is logged of it and what is recorded is written here once. Each returns the
stage's report as a small dictionary that JSON can hold.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from anomaly.adapters.settings import Settings
from anomaly.adapters.world import World
from anomaly.exceptions import ConfigurationError
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit, Links, Store

log = logging.getLogger(__name__)

Report = dict[str, Any]
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def run_update(world: World, group: Group, within: TimeRange, *, clock: Clock = utc_now) -> Report:
    """Counts the range's events in the source."""
    began = _begin(group, "update", within)
    from anomaly.stages import update

    store = world.store()
    done = update.update(
        group, within.start, within.end, source=world.source(group), store=store, checks=world.checks(), now=clock()
    )
    return _record(store, group, "update", within, done.as_dict(), began=began, at=clock())


def run_predict(world: World, group: Group, within: TimeRange, *, clock: Clock = utc_now) -> Report:
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
    )
    return _record(store, group, "predict", within, done.as_dict(), began=began, at=clock())


def run_alert(
    world: World, group: Group, within: TimeRange, *, airflow_run: str | None = None, clock: Clock = utc_now
) -> Report:
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
    )
    return _record(store, group, "alert", within, done.as_dict(), began=began, at=clock())


def run_prepare(world: World, group: Group, until: datetime, *, clock: Clock = utc_now) -> tuple[Fit, Report]:
    """Begins a fit: checks that the history up to `until` is complete, and says how many shards it takes."""
    began = _begin(group, "fit.prepare")
    from anomaly.stages import fit

    store = world.store()
    begun = fit.prepare(group, until, store=store, checks=world.checks(), registry=world.registry(), now=clock())
    report = {"fit": begun.id, "intervals": len(begun.history), "shards": begun.shards}
    return begun, _record(store, group, "fit.prepare", begun.history, report, began=began, at=clock())


def run_train(world: World, group: Group, fit_id: str, shard: int, *, clock: Clock = utc_now) -> Report:
    """Trains every candidate for the shard's variables and picks the best of each."""
    store = world.store()
    history = _history(store, fit_id)
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
    )
    return _record(store, group, "fit.train", history, done.as_dict(), began=began, at=clock())


def run_register(world: World, group: Group, fit_id: str, *, clock: Clock = utc_now) -> Report:
    """Makes the trained networks a version of the group's registered model, as challenger."""
    store = world.store()
    history = _history(store, fit_id)
    began = _begin(group, "fit.register", history)
    from anomaly.stages import fit

    done = fit.register(group, fit_id, store=store, registry=world.registry())
    return _record(store, group, "fit.register", history, done.as_dict(), began=began, at=clock())


def run_promote(world: World, group: Group, fit_id: str, *, clock: Clock = utc_now) -> Report:
    """Makes the challenger the champion."""
    store = world.store()
    history = _history(store, fit_id)
    began = _begin(group, "fit.promote", history)
    from anomaly.stages import fit

    done = fit.promote(group, fit_id, store=store, registry=world.registry())
    return _record(store, group, "fit.promote", history, done.as_dict(), began=began, at=clock())


def links(settings: Settings, group: Group, *, airflow_run: str | None = None) -> Links:
    """Addresses for the messages of a group."""
    model = f"{settings.link_mlflow}/#/models/anomaly.{group.name}" if settings.link_mlflow else None
    return Links(airflow_run=airflow_run, model=model, data_docs=settings.link_data_docs)


def airflow_run_address(settings: Settings, dag_id: str, run_id: str) -> str | None:
    """Address of a run in the Airflow UI, when `ANOMALY_LINK_AIRFLOW` is set."""
    if settings.link_airflow is None:
        return None
    return f"{settings.link_airflow.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id, safe='')}"


def sentence(report: Mapping[str, Any]) -> str:
    """A report as people read it: ``3 variables, 1,440 events, silent: a, b``."""
    return ", ".join(_phrase(key.replace("_", " "), value) for key, value in report.items())


def _phrase(words: str, value: Any) -> str:
    match value:
        case bool():
            return words if value else f"not {words}"
        case int():
            return f"{value:,} {words.removesuffix('s') if value == 1 else words}"
        case float():
            return f"{words} {value:,.4g}"
        case Mapping():
            return f"{words}: {'; '.join(_phrase(str(k), v) for k, v in value.items()) or 'none'}"
        case Sequence() if not isinstance(value, str):
            return f"{words}: {', '.join(map(str, value)) or 'none'}"
        case None:
            return f"no {words}"
        case _:
            return f"{words} {value}"


def _history(store: Store, fit_id: str) -> TimeRange:
    fit = store.fit(fit_id)
    if fit is None:
        raise ConfigurationError(f"there is no fit {fit_id!r} in the metadata database; start with prepare")
    return fit.history


def _begin(group: Group, stage: str, within: TimeRange | None = None) -> float:
    log.info("%s of group %s begins%s.", stage, group.name, f" for {within}" if within else "")
    return time.perf_counter()


def _record(
    store: Store,
    group: Group,
    stage: str,
    within: TimeRange,
    report: Mapping[str, Any],
    *,
    began: float,
    at: datetime,
) -> Report:
    """Puts a stage that went well on record. One that raised leaves none: the scheduler has its story."""
    seconds = time.perf_counter() - began
    store.record_run(group, stage, within, seconds=seconds, report=report, at=at)
    done = sentence(report) or "nothing to do"
    log.info("%s of group %s for %s took %.1f s: %s.", stage, group.name, within, seconds, done)
    return dict(report)
