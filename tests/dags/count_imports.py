"""Run under Airflow: writes which modules the DAG files add to those of any DAG."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

from airflow import settings
from airflow.sdk import DAG, Asset, ExceptionRetryPolicy, Param, task
from airflow.timetables.trigger import CronTriggerTimetable

with DAG("any", schedule=CronTriggerTimetable("@daily", timezone="UTC"), params={"some": Param(None)}):

    @task(outlets=[Asset("any")], retry_policy=ExceptionRetryPolicy([]))
    def some() -> None:
        """What Airflow itself imports for a DAG with a task."""

    some()

before = set(sys.modules)
dags = 0
for path in sorted(Path(settings.DAGS_FOLDER).glob("*.py")):
    dags += sum(isinstance(value, DAG) for name, value in runpy.run_path(str(path)).items() if "." in name)
Path(sys.argv[1]).write_text(json.dumps({"dags": dags, "modules": sorted(set(sys.modules) - before)}))
