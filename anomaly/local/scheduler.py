"""Airflow's scheduler, with the libraries of the tasks already imported.

`LocalExecutor` forks its workers from the scheduler, and each worker forks a process per task. What is imported
here is therefore shared by all of them; otherwise every task would spend seconds on the same imports. Only
libraries that start no threads at import are on the list (TensorFlow does, and only the fit needs it).

The stages are on it too, so `make up` has to be started again to see changes to the code.
"""

from __future__ import annotations

import importlib
import sys

SHARED = (
    "great_expectations",
    "matplotlib.figure",
    "mlflow",
    "pandas",
    "psycopg2",
    "scipy.stats",
    "slack_sdk",
    "airflow.sdk.execution_time.task_runner",
    "anomaly.adapters.charts",
    "anomaly.adapters.checks",
    "anomaly.adapters.mlflow_registry",
    "anomaly.adapters.postgres.store",
    "anomaly.adapters.serving",
    "anomaly.adapters.slack",
    "anomaly.orchestration.dags",
    "anomaly.stages.alert",
    "anomaly.stages.fit",
    "anomaly.stages.predict",
    "anomaly.stages.update",
)


def main() -> None:
    for module in SHARED:
        importlib.import_module(module)
    from airflow.__main__ import main as airflow

    # Without its log server: the API server reads the same files.
    sys.argv = ["airflow", "scheduler", "--skip-serve-logs"]
    airflow()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
