"""Makes no Airflow DAG: its import fails, visibly in the UI, with every mistake of every group file.

It stands apart from `group_dags.py` because Airflow drops all the DAGs of a file whose import fails.
"""

from __future__ import annotations

from anomaly.adapters.settings import Settings
from anomaly.orchestration.group_files import checked_groups

checked_groups(Settings.from_environment().groups)
