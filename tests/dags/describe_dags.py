"""Run under Airflow: writes what the DAG folder holds, after a round trip through Airflow's serialization."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow import settings
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.utils.types import DagRunType

answer = Path(sys.argv[1])
bag = DagBag(settings.DAGS_FOLDER)


def described_task(task: Any) -> dict[str, Any]:
    return {
        "owner": task.owner,
        "retries": task.retries,
        "retry_delay": task.retry_delay.total_seconds(),
        "backoff": task.retry_exponential_backoff,
        "policy": task.has_retry_policy,
        "downstream": sorted(task.downstream_task_ids),
        "at_a_time": task.max_active_tis_per_dag,
        "mapped": task.is_mapped,
        "inlets": sorted(asset.name for asset in task.inlets),
        "outlets": sorted(asset.name for asset in task.outlets),
        "doc": task.doc_md,
        "trigger_rule": str(getattr(task.trigger_rule, "value", task.trigger_rule)),
    }


def accepted(param: Any, value: Any) -> bool:
    try:
        param.resolve(value)
    except ParamValidationError:
        return False
    return True


def described_dag(dag: Any) -> dict[str, Any]:
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    tries = [None, "2013-02-03T00:00:00-05:00", "2013-02-03T05:00:00.000Z", "2013-02-03T00:00:00", "yesterday", 7]
    return {
        "tags": sorted(stored.tags),
        "doc": stored.doc_md,
        "description": stored.description,
        "end": str(stored.end_date) if stored.end_date else None,
        "catchup": stored.catchup,
        "max_active_runs": stored.max_active_runs,
        "timetable": type(stored.timetable).__name__,
        "assets": [key.name for key, _ in stored.timetable.asset_condition.iter_assets()],
        "schedule": stored.timetable.description,
        "params": {name: [accepted(dag.params.get_param(name), value) for value in tries] for name in dag.params},
        "tasks": {task.task_id: described_task(task) for task in stored.tasks},
    }


def scheduled(dag_id: str, last: pendulum.DateTime | None, *, catchup: bool) -> dict[str, str] | None:
    """What the scheduler would make next, by the stored timetable."""
    dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(bag.dags[dag_id]))
    interval = timedelta(minutes=30) if "airports" in dag_id else timedelta(hours=1)
    before = DataInterval(last - interval, last) if last else None
    found = dag.timetable.next_dagrun_info(
        last_automated_data_interval=before,
        restriction=TimeRestriction(
            earliest=pendulum.instance(dag.start_date) if dag.start_date else None, latest=None, catchup=catchup
        ),
    )
    if found is None or found.data_interval is None:
        return None
    return {
        "run_after": found.run_after.isoformat(),
        "start": found.data_interval.start.isoformat(),
        "end": found.data_interval.end.isoformat(),
        "run_id": dag.timetable.generate_run_id(
            run_type=DagRunType.SCHEDULED, run_after=found.run_after, data_interval=found.data_interval
        ),
    }


def backfilled(dag_id: str, start: pendulum.DateTime, end: pendulum.DateTime) -> list[str]:
    dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(bag.dags[dag_id]))
    return [
        str(info.logical_date and info.logical_date.isoformat()) for info in dag.iter_dagrun_infos_between(start, end)
    ]


def by_hand(dag_id: str, moment: pendulum.DateTime) -> list[str]:
    dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(bag.dags[dag_id]))
    return [m.isoformat() for m in dag.timetable.infer_manual_data_interval(run_after=moment)]


def moment(text: str) -> pendulum.DateTime:
    return pendulum.instance(datetime.fromisoformat(text))


found: dict[str, Any] = {
    "errors": {Path(name).name: text for name, text in bag.import_errors.items()},
    "dags": {dag_id: described_dag(dag) for dag_id, dag in bag.dags.items()},
}
if "anomaly.carriers" in bag.dags and "anomaly.airports" in bag.dags:
    found |= {
        "next": {
            "catch-up": scheduled("anomaly.carriers", moment("2013-02-08T10:00Z"), catchup=True),
            "first of all": scheduled("anomaly.airports", None, catchup=True),
            "ended": scheduled("anomaly.carriers", moment("2014-01-01T05:00Z"), catchup=True),
            "ended, no catch-up": scheduled("anomaly.carriers", None, catchup=False),
            "fit": scheduled("anomaly.carriers.fit", moment("2013-02-11T11:00Z"), catchup=True),
            "measured": scheduled("anomaly.carriers.detectability", moment("2013-02-11T08:30Z"), catchup=True),
            "measured, ended": scheduled("anomaly.carriers.detectability", moment("2014-01-01T08:30Z"), catchup=True),
            "fit, ended": scheduled("anomaly.carriers.fit", moment("2014-01-01T05:00Z"), catchup=True),
        },
        "backfill": backfilled("anomaly.airports", moment("2013-02-08T10:00Z"), moment("2013-02-08T12:00Z")),
        "by hand": {
            "inside": by_hand("anomaly.carriers", moment("2013-02-08T10:59Z")),
            "after the end": by_hand("anomaly.carriers", moment("2026-02-08T10:59Z")),
        },
    }
answer.write_text(json.dumps(found))
