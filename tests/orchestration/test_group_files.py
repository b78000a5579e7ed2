"""Which group files the DAGs and the command line take."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly.exceptions import ConfigurationError, InvalidGroupsError
from anomaly.orchestration.group_files import checked_group, checked_groups, readable_groups

GOOD = """\
owner: data
source: {connection: source, table: events}
interval: 1h
variables: all
schedule: {start: 2026-01-01T00:00:00+00:00}
slack: {channel: "#alerts"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "payments.yaml").write_text(GOOD)
    (tmp_path / "orders.yaml").write_text(GOOD)
    return tmp_path


def test_a_file_with_mistakes_leaves_the_other_groups_readable(folder: Path) -> None:
    (folder / "wrong.yaml").write_text(GOOD.replace("1h", "7min"))
    assert [group.name for group in readable_groups(folder)] == ["orders", "payments"]
    with pytest.raises(InvalidGroupsError, match="found '7min'"):
        checked_groups(folder)


def test_two_files_of_one_group_make_neither_readable(folder: Path) -> None:
    (folder / "orders.yml").write_text(GOOD)
    assert [group.name for group in readable_groups(folder)] == ["payments"]
    with pytest.raises(InvalidGroupsError, match="found 'orders' in two files"):
        checked_groups(folder)


@pytest.mark.parametrize("line", ["candidates: [dense-99]", "distribution: zipf"])
def test_a_name_that_no_registry_knows_is_a_mistake(folder: Path, line: str) -> None:
    (folder / "orders.yaml").write_text(GOOD + line)
    assert [group.name for group in readable_groups(folder)] == ["payments"]
    with pytest.raises(InvalidGroupsError, match="orders.yaml: .*found .*; expected one of "):
        checked_group(folder, "orders")


def test_one_group_is_taken_whatever_is_wrong_with_the_others(folder: Path) -> None:
    (folder / "wrong.yaml").write_text("nonsense")
    assert checked_group(folder, "orders").name == "orders"


def test_an_unknown_group_is_told_which_there_are(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no group 'order' in .*: there are orders, payments. ANOMALY_GROUPS"):
        checked_group(folder, "order")
    with pytest.raises(ConfigurationError, match="it holds no group files"):
        checked_group(tmp_path / "none", "order")


def test_no_folder_makes_no_groups_and_says_so_once(tmp_path: Path) -> None:
    assert readable_groups(tmp_path / "none") == ()
    with pytest.raises(ConfigurationError, match="is not a folder; set ANOMALY_GROUPS"):
        checked_groups(tmp_path / "none")
