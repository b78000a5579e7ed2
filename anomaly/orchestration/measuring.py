"""A group in, its third DAG out: what each variable would notice, measured every night.

It is off where the group's file says ``schedule.detectability: never``; the command `anomaly detectability` measures at
any time. A group that nobody has fitted yet has nothing to ask, which is no failure: its run is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException

from anomaly.exceptions import IncompleteFitError
from anomaly.groups import Group, dag_ids
from anomaly.orchestration.connections import airflow_world
from anomaly.orchestration.pages import detectability_page
from anomaly.orchestration.retries import RETRIES
from anomaly.orchestration.timetables import FitTimetable


def detectability_dag(group: Group, cron: str, *, tags: Sequence[str]) -> DAG:
    """``anomaly.<group>.detectability``.

    Args:
        cron: when it is measured, in the group's zone.
        tags: of the group's DAGs.
    """
    with DAG(
        dag_id=dag_ids.measuring(group),
        description=f"Measures what the variables of {group.name} would notice.",
        doc_md=detectability_page(group, cron),
        schedule=FitTimetable(cron, timezone=group.timezone, end=group.schedule.end),
        start_date=group.schedule.start + group.history.minimum,
        catchup=False,
        max_active_runs=1,
        tags=[*tags, dag_ids.MEASURING],
        default_args={"owner": group.owner, **RETRIES},
    ) as dag:

        @task(multiple_outputs=False)
        def measure() -> dict[str, Any]:
            """Injects drops, surges, silence, frozen counts and delays into copies of the latest weeks and asks the
            champion's tests which they notice. Changes nothing but the map that the variables' pages show. Is skipped
            while the group has no champion."""
            from anomaly.orchestration.detectability import run_detectability  # the stage imports SciPy

            try:
                return run_detectability(airflow_world(), group).as_dict()
            except IncompleteFitError as none:
                raise AirflowSkipException(str(none)) from none

        measure()
    return dag
