"""Airflow runs in processes of its own here: importing it reads and writes AIRFLOW_HOME, which must not be ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
AirflowScript = Callable[..., Any]


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A new AIRFLOW_HOME on SQLite, with this repository's DAGs and plugins."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ANOMALY_", "MLFLOW_"))
    }
    return {
        **clean,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "ANOMALY_GROUPS": str(REPOSITORY / "dags" / "groups"),
        "PYTHONPATH": str(REPOSITORY),
    }


@pytest.fixture(scope="session")
def airflow_script(airflow_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AirflowScript:
    """Runs a script of this folder under Airflow; returns what it wrote as JSON to the file it was given."""

    def run(script: str, *arguments: str, **environment: str) -> Any:
        answer = tmp_path_factory.mktemp("answer") / "answer.json"
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parent / script), str(answer), *arguments],
            env={**airflow_environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert answer.exists(), f"{script} failed:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return json.loads(answer.read_text()) | {"log": done.stdout + done.stderr}

    return run


@pytest.fixture(scope="session")
def airflow_database(airflow_environment: dict[str, str]) -> None:
    """Airflow's metadata tables in the AIRFLOW_HOME."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=airflow_environment,
        capture_output=True,
        check=True,
        timeout=300,
    )
