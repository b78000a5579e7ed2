"""Airflow's scheduler, with the libraries of the tasks already imported.

`LocalExecutor` forks its workers from the scheduler, and each worker forks a process per task. What is imported
here is therefore shared by all of them; otherwise every task would spend seconds on the same imports. Only
libraries that start no threads at import are on the list (TensorFlow does, and only the fit needs it).
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
