"""The DAG files: three DAGs per group file, light to parse, and no group hurt by another's mistake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
GROUPS = REPOSITORY / "dags" / "groups"
AirflowScript = Callable[..., Any]

HEAVY = {
    "great_expectations", "keras", "matplotlib", "mlflow", "onnx", "onnxruntime", "pandas", "psycopg2", "scipy",
    "slack_sdk", "sqlalchemy", "tensorflow", "tf2onnx",
}  # fmt: skip


@pytest.fixture(scope="module")
def parsed(airflow_script: AirflowScript) -> Any:
    return airflow_script("count_imports.py")


@pytest.fixture(scope="module")
def spoiled(airflow_script: AirflowScript, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The sample's groups, one more that is good, and one file with two mistakes."""
    groups = tmp_path_factory.mktemp("groups")
    for path in GROUPS.glob("*.yaml"):
        shutil.copy(path, groups)
    carriers = (GROUPS / "carriers.yaml").read_text()
    assert "\nschedule:\n" in carriers
    (groups / "more.yaml").write_text(carriers.replace("\nschedule:\n", "\nschedule:\n  detectability: never\n"))
    (groups / "wrong.yaml").write_text(carriers.replace("owner: flight-data", "ownr: me").replace("1h", "7min"))
    return airflow_script("describe_dags.py", ANOMALY_GROUPS=str(groups))


def test_parsing_imports_nothing_heavy(parsed: Any) -> None:
    added = {module.partition(".")[0] for module in parsed["modules"]}
    assert not added & HEAVY
    assert "anomaly" in added


def test_every_group_file_makes_three_dags(parsed: Any) -> None:
    assert parsed["dags"] == 3 * len(list(GROUPS.glob("*.yaml")))


def test_adding_a_file_adds_its_dags_and_a_file_with_mistakes_costs_only_its_own(spoiled: Any) -> None:
    sample = {path.stem for path in GROUPS.glob("*.yaml")}
    wanted = {f"anomaly.{name}{part}" for name in sample for part in ("", ".fit", ".detectability")}
    assert set(spoiled["dags"]) == {*wanted, "anomaly.more", "anomaly.more.fit"}  # which never measures


def test_the_mistakes_of_a_group_file_are_an_import_error_that_lists_them_all(spoiled: Any) -> None:
    assert list(spoiled["errors"]) == ["group_files.py"]
    error = spoiled["errors"]["group_files.py"]
    assert "InvalidGroupsError: 3 mistakes in group files" in error
    assert "wrong.yaml: ownr: found an unknown key; expected 'owner'?" in error
    assert "wrong.yaml: owner: found nothing" in error
    assert "wrong.yaml: interval: found '7min'" in error
