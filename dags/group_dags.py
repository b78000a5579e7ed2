"""The Airflow DAGs of every group file that can be read; `group_files.py` reports those that cannot."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from anomaly.adapters.settings import Settings
from anomaly.orchestration.dags import group_dags, is_of
from anomaly.orchestration.group_files import readable_groups

# A task needs only its own DAG; the DAG processor asks for none in particular and gets all.
wanted = get_parsing_context().dag_id

for group in readable_groups(Settings.from_environment().groups):
    if wanted is None or is_of(wanted, group):
        for dag in group_dags(group):
            globals()[dag.dag_id] = dag
