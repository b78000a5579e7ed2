"""Run under Airflow: writes which modules the DAG files add to those of any DAG, and how long they take."""

from __future__ import annotations

import json
import runpy
import sys
import time
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
began = time.perf_counter()
for path in sorted(Path(settings.DAGS_FOLDER).glob("*.py")):
    dags += sum(isinstance(value, DAG) for name, value in runpy.run_path(str(path)).items() if "." in name)
seconds = time.perf_counter() - began
Path(sys.argv[1]).write_text(
    json.dumps({"dags": dags, "seconds": seconds, "modules": sorted(set(sys.modules) - before)})
)
