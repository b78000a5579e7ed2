"""Run under Airflow: runs the DAGs of the sample for real, tasks, XCom, retries and asset events, with stages
that only note how they were called; writes what Airflow has on record afterwards."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow import settings
from airflow.models import Connection as StoredConnection
from airflow.models.asset import AssetEvent
from airflow.models.xcom import XComModel
from sqlalchemy import select

import anomaly.stages
from anomaly.adapters.settings import Settings
from anomaly.exceptions import ConfigurationError, IncompleteFitError, SourceUnavailableError
from anomaly.groups import load_group
from anomaly.orchestration import dags, measuring
from anomaly.orchestration.connections import airflow_connection
from anomaly.ports import Fit

calls: list[list[Any]] = []
failures: dict[str, list[Exception]] = {}
lookups: dict[str, str] = {}
shards = 3


class Report:
    def __init__(self, **figures: Any) -> None:
        self.figures = figures

    def as_dict(self) -> dict[str, Any]:
        return self.figures

    def __str__(self) -> str:
        return f"noted {len(self.figures)} figures"


def noted(stage: str, **figures: Any) -> Any:
    def run(_group: Any, *arguments: Any, **stores: Any) -> Report:
        calls.append([stage, *(a.isoformat() if isinstance(a, datetime) else a for a in arguments)])
        if stage == "alert":
            calls[-1].append(stores["links"].airflow_run)
        if failures.get(stage):
            raise failures[stage].pop(0)
        return Report(**figures)

    return run


def prepared(group: Any, until: datetime, *, reason: str, **_: Any) -> Fit:
    calls.append(["prepare", until.isoformat(), reason])
    history = group.range(until - timedelta(days=30), until)
    return Fit("fit-1", group.name, history, {}, shards, "started")


def looked_up(connection_id: str) -> str:
    try:
        return repr(airflow_connection(connection_id))
    except ConfigurationError as missing:
        return str(missing)


def looked_up_first(_group: Any, *_arguments: Any, **_stores: Any) -> Report:
    lookups.update({name: looked_up(name) for name in ("in_the_database", "in_the_environment", "nowhere")})
    return Report()


stubs: Any = anomaly.stages
stubs.update = SimpleNamespace(update=noted("update", events=12))
stubs.predict = SimpleNamespace(predict=noted("predict", anomalies=2))
stubs.alert = SimpleNamespace(alert=noted("alert", posted=1))
stubs.fit = SimpleNamespace(
    prepare=prepared,
    train=noted("train", trained=4),
    register=noted("register", version=7),
    promote=noted("promote", promoted=True),
)
stubs.reviewing = SimpleNamespace(review=noted("review", appearing=1))


def looked(_group: Any, **_: Any) -> Report:
    calls.append(["follow"])
    return Report(asks_for_fit=drifted, drifted=3, variables=9)


stubs.ranking = SimpleNamespace(learn_ranking=lambda *_, **__: Report(), low_rank=lambda *_, **__: None)
drifted = False
stubs.drifting = SimpleNamespace(look_after=looked)


class Store:
    def record_run(self, *_: Any, **__: Any) -> None:
        """The real one is tested elsewhere."""

    def updated_until(self, _group: Any) -> datetime:
        return datetime(2013, 2, 3, 5, tzinfo=UTC)

    def fit(self, fit_id: str) -> Fit:
        until = datetime(2013, 2, 3, 5, tzinfo=UTC)
        return Fit(fit_id, "carriers", group.range(until - timedelta(days=30), until), {}, shards, "started")


def nothing(*_: Any) -> None:
    """Stands for adapters that the noting stages do not touch."""


world = SimpleNamespace(
    settings=Settings.from_environment(),
    store=Store,
    **dict.fromkeys(
        (
            *("source", "checks", "artifacts", "forecaster", "registry", "charts", "fit_charts", "chart_store"),
            *("channel", "reviews", "labels", "judgements", "posts", "rankings", "ranking_registry"),
            *("diff_charts", "detectability"),
        ),
        nothing,
    ),
)
vars(dags)["airflow_world"] = vars(measuring)["airflow_world"] = lambda: world

group = load_group(Settings.from_environment().groups / "carriers.yaml")


def made(dag_id: str) -> Any:
    """A new DAG each time: Airflow's test run leaves the params that it was given behind in the DAG."""
    dag = next(dag for dag in dags.group_dags(group) if dag.dag_id == dag_id)
    dag.fileloc = str(Path(settings.DAGS_FOLDER) / "group_dags.py")
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
    return dag


session = settings.Session()  # type: ignore[misc]
session.add(
    StoredConnection(conn_id="in_the_database", conn_type="postgres", host="db", port=5433, login="me", password="pw-1",
                     schema="events", extra='{"sslmode": "require"}')
)  # fmt: skip
session.commit()


def run(dag_id: str, conf: dict[str, Any], logical_date: datetime | None = None) -> dict[str, Any]:
    calls.clear()
    done = made(dag_id).test(run_conf=conf, logical_date=logical_date)
    tasks = {
        f"{ti.task_id}[{ti.map_index}]" if ti.map_index >= 0 else ti.task_id: {
            "state": str(ti.state),
            "tries": ti.try_number,
            "name": ti.rendered_map_index,
        }
        for ti in done.get_task_instances()
    }
    pushed = session.scalars(select(XComModel).where(XComModel.run_id == done.run_id))
    events = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == done.run_id))
    return {
        "state": str(done.state),
        "run_id": done.run_id,
        "calls": list(calls),
        "tasks": tasks,
        "xcom": {f"{x.task_id}.{x.key}": XComModel.deserialize_value(x) for x in pushed if x.map_index < 0},
        "events": {e.asset.name: e.extra for e in events},
    }


found: dict[str, Any] = {}
conf = {"start": "2013-01-01T00:00:00-05:00", "end": "2013-02-03T00:00:00-05:00"}
found["a range"] = run("anomaly.carriers", conf)
found["an interval"] = run("anomaly.carriers", {}, datetime(2013, 2, 8, 11, tzinfo=UTC))
found["after the end"] = run("anomaly.carriers", {}, datetime.now(UTC))
failures["update"] = [SourceUnavailableError("the source is away")]
failures["predict"] = [ConfigurationError("somebody has to mend this")] * 4
found["failures"] = run("anomaly.carriers", conf)
failures["update"] = [SourceUnavailableError("the source stays away")] * 9
found["long failure"] = run("anomaly.carriers", conf)
failures.clear()
found["half a range"] = run("anomaly.carriers", {"start": conf["start"]})
drifted = True
found["a drift"] = run("anomaly.carriers", conf)
drifted = False
found["a fit for a reason"] = run(
    "anomaly.carriers.fit", {"until": "2013-02-03T00:00:00-05:00", "reason": "a new airline"}
)
found["a fit"] = run("anomaly.carriers.fit", {"until": "2013-02-03T00:00:00-05:00"})
found["a fit after the end"] = run("anomaly.carriers.fit", {})
asked_until = vars(dags)["asked_until"]
told = {"an asset": [SimpleNamespace(extra={"until": "2013-02-03T04:00:00+00:00", "said": "drift"})]}
found["asked until"] = {
    kind: asked_until({"dag_run": SimpleNamespace(run_type=kind), "triggering_asset_events": told})
    for kind in ("asset_triggered", "scheduled")
}
vars(dags)["asked_until"] = lambda _context: datetime(2013, 2, 3, 4, tzinfo=UTC)
stubs.drifting.still_asked = lambda *_, **__: "fit fit-0 has begun already"
found["a fit that drift asks for again"] = run("anomaly.carriers.fit", {"until": "2013-02-03T00:00:00-05:00"})
vars(dags)["asked_until"] = asked_until
stubs.fit.promote = noted("promote", promoted=False)
found["a rejected fit"] = run("anomaly.carriers.fit", {"until": "2013-02-03T00:00:00-05:00"})
stubs.update.update = looked_up_first

within = group.range(datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2013, 2, 3, 5, tzinfo=UTC))


def measured(_group: Any, *, days: int, **_: Any) -> Any:
    calls.append(["measure", days])
    if failures.get("measure"):
        raise failures["measure"].pop(0)
    report = Report(variables=9, blind=1)
    vars(report)["within"] = within
    return report


stubs.detectability = SimpleNamespace(measure=measured, DAYS=28, DetectabilityReport=Report)
found["a measurement"] = run("anomaly.carriers.detectability", {})
failures["measure"] = [IncompleteFitError("group 'carriers' has no champion to ask")]
found["a measurement without a champion"] = run("anomaly.carriers.detectability", {})
found["connections"] = run("anomaly.carriers", conf) | {"lookups": lookups}
logging.shutdown()
Path(sys.argv[1]).write_text(json.dumps(found, default=str))
