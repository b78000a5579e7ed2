"""Golden incidents as files that people review."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from anomaly.exceptions import InvalidGroupsError
from anomaly.groups import load_groups
from anomaly.groups.golden import Golden, dump_golden, golden_path, load_golden

START = datetime(2026, 1, 1, tzinfo=UTC)


def golden(day: int, word: str = "real") -> Golden:
    begin = START + timedelta(days=day)
    return Golden.model_validate(
        {"start": begin, "end": begin + timedelta(hours=6), "variables": ["a", "b"], "word": word, "reason": "ü: storm"}
    )


def write(folder: Path, text: str) -> None:
    path = golden_path(folder, "orders")
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")


def test_what_is_written_is_read_again_in_time(tmp_path: Path) -> None:
    write(tmp_path, dump_golden((golden(3), golden(1, "false_alarm"))))
    assert load_golden(tmp_path, "orders") == (golden(1, "false_alarm"), golden(3))


def test_a_group_without_a_file_has_no_golden_incidents(tmp_path: Path) -> None:
    assert load_golden(tmp_path, "orders") == ()


def test_a_golden_file_is_not_taken_for_a_group(tmp_path: Path) -> None:
    write(tmp_path, dump_golden((golden(1),)))
    assert load_groups(tmp_path) == ()


def test_every_mistake_of_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    write(
        tmp_path,
        "incidents:\n- {start: 2026-01-01, end: 2026-01-02T00:00:00Z, variables: [], word: true}\n",
    )
    with pytest.raises(InvalidGroupsError) as wrong:
        load_golden(tmp_path, "orders")
    told = "\n".join(wrong.value.problems)
    assert all(f"golden/orders.yaml: incidents.0.{key}" in told for key in ("start", "variables", "word"))


def test_an_incident_is_the_same_when_it_overlaps_and_shares_a_variable() -> None:
    one = golden(1)
    inside = one.start + timedelta(hours=5)
    assert one.is_same(inside, inside + timedelta(days=1), frozenset({"b", "c"}))
    assert not one.is_same(inside, inside + timedelta(days=1), frozenset({"c"}))
    assert not one.is_same(one.end, one.end + timedelta(days=1), frozenset({"a"}))
