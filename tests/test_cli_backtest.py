"""``anomaly backtest`` and ``anomaly detectability``: what they take, and what they say when something is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from anomaly.cli.backtest import changed_keys, other_policy, range_of
from anomaly.cli.detectability import csv_text, one_variable, size_words, whole_group
from anomaly.exceptions import ConfigurationError, InvalidGroupsError, InvalidRangeError
from anomaly.groups import Group
from anomaly.ports.detectability import Noticed, VariableDetectability

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

WRITTEN = {
    "owner": "data",
    "source": {"connection": "source", "table": "events"},
    "interval": "1h",
    "variables": "all",
    "threshold": {"false_alerts_per_week": 2, "min_absolute": 5},
    "schedule": {"start": "2026-01-01T00:00:00+00:00"},
    "slack": {"channel": "#alerts"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "orders.yaml").write_text(yaml.safe_dump(WRITTEN))
    return tmp_path / "groups"


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group(threshold=WRITTEN["threshold"])


def policy(folder: Path, written: Any) -> Path:
    path = folder.parent / "stricter.yaml"
    path.write_text(written if isinstance(written, str) else yaml.safe_dump(written))
    return path


def test_a_policy_of_some_keys_changes_these_and_no_others(folder: Path, group: Group) -> None:
    second = other_policy(group, folder, policy(folder, {"threshold": {"min_relative": 0.3}}))
    assert changed_keys(group, second) == {"threshold.min_relative": (0.0, 0.3)}
    assert second.threshold.min_absolute == 5


def test_a_policy_that_is_a_whole_file_stands_for_itself(folder: Path, group: Group) -> None:
    whole = {key: value for key, value in WRITTEN.items() if key != "threshold"} | {"name": "something_else"}
    second = other_policy(group, folder, policy(folder, whole))
    assert second.name == "orders"
    assert set(changed_keys(group, second)) == {"threshold.false_alerts_per_week", "threshold.min_absolute"}


def test_mistakes_of_a_policy_are_told_with_their_key(folder: Path, group: Group) -> None:
    with pytest.raises(InvalidGroupsError, match=r"threshold\.false_alerts_per_week: found -1"):
        other_policy(group, folder, policy(folder, {"threshold": {"false_alerts_per_week": -1}}))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("- a\n- b\n", "expected a mapping"),
        ("a: [", "expected valid YAML"),
        ({"interval": "30min"}, "interval differ from the group's"),
    ],
)
def test_a_policy_that_cannot_be_compared_is_refused(folder: Path, group: Group, written: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        other_policy(group, folder, policy(folder, written))


def test_a_policy_that_is_not_there_is_named(folder: Path, group: Group) -> None:
    with pytest.raises(ConfigurationError, match="nowhere.yaml: there is no such file"):
        other_policy(group, folder, Path("nowhere.yaml"))


class Counted:
    """Stands for a world whose store knows until when update has counted."""

    def __init__(self, until: datetime | None) -> None:
        self.until = until

    def store(self) -> Any:
        return self

    def updated_until(self, group: Group) -> datetime | None:
        return self.until


def test_days_end_where_update_has_counted_until_and_never_begin_before_the_group(group: Group) -> None:
    world: Any = Counted(START + 40 * DAY)
    assert range_of(world, group, 10, None) == group.range(START + 30 * DAY, START + 40 * DAY)
    assert range_of(world, group, 90, "2026-02-01") == group.range(START, START + 31 * DAY)


@pytest.mark.parametrize(
    ("counted", "until", "error"),
    [
        (None, None, ConfigurationError),
        (START + 40 * DAY, "2026-03-01", ConfigurationError),
        (START + 40 * DAY, "2026-02-01T00:00:00", InvalidRangeError),
        (START + 40 * DAY, "soon", InvalidRangeError),
    ],
)
def test_days_that_are_not_counted_or_not_moments_are_refused(
    group: Group, counted: datetime | None, until: str | None, error: type[Exception]
) -> None:
    world: Any = Counted(counted)
    with pytest.raises(error):
        range_of(world, group, 10, until)


# --- detectability ------------------------------------------------------------------------------------------------

SEES = VariableDetectability(
    "busy [b]", "fit", START, 7, 960.0, "",
    (Noticed("drop", 9, 0.4, timedelta(hours=3), 1.0), Noticed("silence", 9, 3.0, timedelta(hours=3), 1.0)),
)  # fmt: skip
BLIND = VariableDetectability(
    "rare", "fit", START, 7, 0.5, "too rare: 0.5 events in 24 h", (Noticed("drop", 9, None, None, 0.0),)
)


def shown(parts: Any) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    for part in parts:
        console.print(part)
    return console.export_text()


def test_sizes_are_told_in_the_unit_of_their_kind() -> None:
    assert size_words("drop", 0.4) == "\N{MINUS SIGN}40%"
    assert size_words("surge", 1.0) == "+100%"
    assert size_words("silence", 3.0) == "3 h"
    assert size_words("drop", None) == "\N{EN DASH}"


def test_the_table_names_who_sees_and_who_is_blind_and_why() -> None:
    text = shown(whole_group([SEES, BLIND]))
    assert "busy [b]" in text
    assert "\N{MINUS SIGN}40%" in text
    assert text.index("busy") < text.index("Blind") < text.index("too rare: 0.5 events in 24 h")
    assert "No variable is blind." in shown(whole_group([SEES]))


def test_one_variable_is_told_hour_by_hour() -> None:
    assert "\N{MINUS SIGN}40% after 3 h" in shown(one_variable(SEES))
    assert "Blind: too rare" in shown(one_variable(BLIND))


def test_csv_has_a_line_per_variable_kind_and_hour() -> None:
    unjudged = VariableDetectability("c", "fit", START, 0, 0.0, "no test judges it", ())
    lines = list(csv.DictReader(io.StringIO(csv_text([SEES, BLIND, unjudged]))))
    assert [(line["variable"], line["kind"], line["smallest"], line["after_hours"]) for line in lines] == [
        ("busy [b]", "drop", "0.4", "3"),
        ("busy [b]", "silence", "3", "3"),
        ("rare", "drop", "", ""),
        ("c", "", "", ""),
    ]
    assert lines[-1]["blind"] == "no test judges it"
