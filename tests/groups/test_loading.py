"""Group files: everything wrong is said at once, with file, key, found and expected."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from anomaly.exceptions import ConfigurationError, InvalidGroupsError
from anomaly.groups import Group, load_group, load_groups
from tests.conftest import REPOSITORY

GOOD = """
owner: data
source: {connection: warehouse, table: events}
interval: 1h
variables: all
schedule: {start: 2026-01-01T00:00:00+00:00}
slack: {channel: "#alerts"}
"""


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _problems(folder: Path, **known: list[str]) -> list[str]:
    with pytest.raises(InvalidGroupsError) as caught:
        load_groups(folder, **known)
    return list(caught.value.problems)


def test_the_groups_of_the_sample_are_valid() -> None:
    groups = load_groups(REPOSITORY / "dags" / "groups")
    assert [(g.name, g.interval) for g in groups] == [
        ("airports", timedelta(minutes=30)),
        ("carriers", timedelta(hours=1)),
        ("weather", timedelta(hours=1)),
    ]


def test_a_group_is_named_after_its_file_and_has_defaults(tmp_path: Path) -> None:
    group = load_group(_write(tmp_path, "orders.yaml", GOOD))
    assert group.name == "orders"
    assert group.lateness == timedelta(hours=3)
    assert group.schedule.start == datetime(2026, 1, 1, tzinfo=UTC)
    assert "anything" in group.variables


def test_every_mistake_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    _write(tmp_path, "one.yaml", GOOD.replace("interval: 1h", "interval: 7min\ntimezone: Mars/Olympus"))
    _write(tmp_path, "two.yaml", GOOD.replace("table: events", "tabel: events") + "colour: red\n")
    problems = _problems(tmp_path)
    assert len(problems) == 4
    assert problems[0].startswith("one.yaml: interval: found '7min'; expected")
    assert "one.yaml: timezone: found 'Mars/Olympus'; expected an IANA time zone" in problems[1]
    assert any(p == "two.yaml: source.tabel: found an unknown key; expected 'table'?" for p in problems)
    assert any(p.startswith("two.yaml: colour: found an unknown key; expected one of ") for p in problems)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("owner: data\n", ""), "owner: found nothing; expected a value"),
        (("table: events", "table: events, query: select 1"), "source: expected exactly one of table and query"),
        (("variables: all", "variables: some"), "variables: found 'some'; expected 'all', a list of names"),
        (("variables: all", "variables: {pattern: '('}"), "variables.pattern: found '('; expected a regular expr"),
        (("variables: all", "variables: [a, b, a]"), "variables: expected each name once; found twice: a"),
        (("interval: 1h", "interval: 2d"), "interval: found '2d'; expected between 1min and 1d"),
        (("+00:00", ""), "schedule.start: found"),
        (
            ("+00:00}", "+00:00, detectability: none}"),
            (
                "schedule.detectability: found 'none'; expected a cron expression of five fields, such as '0 6 * * 1', "
                "or never"
            ),
        ),
        (('"#alerts"', "alerts"), "slack.channel: found 'alerts'; expected"),
        (
            ('"#alerts"', '"#alerts", weekly: {day: Mon}'),
            "slack.weekly: expected a day of the week",
        ),
        (
            ('"#alerts"', '"#alerts", weekly: [Mon, Tue]'),
            "slack.weekly: found ['Mon', 'Tue']; expected a day of the week",
        ),
    ],
)
def test_a_mistake_is_told_with_its_key_and_what_was_found(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    _write(tmp_path, "orders.yaml", GOOD.replace(*change))
    (problem,) = _problems(tmp_path)
    assert problem.startswith(f"orders.yaml: {told}")


@pytest.mark.parametrize("written", ["never", "false"])
def test_the_weekly_post_can_be_left_out(tmp_path: Path, written: str) -> None:
    group = load_group(_write(tmp_path, "orders.yaml", GOOD.replace('"#alerts"', f'"#alerts", weekly: {written}')))
    assert group.slack.weekly is None


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    _write(tmp_path, "orders.yaml", "owner: [data\nsource: {")
    (problem,) = _problems(tmp_path)
    assert problem.startswith("orders.yaml: line ")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "42"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    _write(tmp_path, "orders.yaml", text)
    (problem,) = _problems(tmp_path)
    assert "expected a mapping of keys" in problem


def test_unknown_candidates_and_distributions_are_named_with_the_known_ones(tmp_path: Path) -> None:
    _write(tmp_path, "orders.yaml", GOOD + "candidates: [dense-99]\ndistribution: cauchy\n")
    problems = _problems(tmp_path, candidates=["dense-16-mae", "seasonal-naive"], distributions=["nct"])
    assert problems == [
        "orders.yaml: candidates: found 'dense-99'; expected one of dense-16-mae, seasonal-naive",
        "orders.yaml: distribution: found 'cauchy'; expected one of nct",
    ]


@pytest.mark.parametrize(
    ("country", "expected"),
    [
        ("XX", "a country that the package holidays knows, such as US or DE-BY"),
        ("DE-XX", "DE alone, or with one of BB, BE, BW, BY"),
        ("MC-01", "MC alone"),
    ],
)
def test_a_country_whose_holidays_nobody_knows_is_refused(tmp_path: Path, country: str, expected: str) -> None:
    _write(tmp_path, "orders.yaml", GOOD + f"holidays: {country}\n")
    (problem,) = _problems(tmp_path)
    assert problem.startswith(f"orders.yaml: holidays: found {country!r}; expected {expected}")


@pytest.mark.parametrize("country", ["US", "DE-BY", "US-NY"])
def test_a_country_with_or_without_its_part_has_holidays(tmp_path: Path, country: str) -> None:
    assert load_group(_write(tmp_path, "orders.yaml", GOOD + f"holidays: {country}\n")).holidays == country


@pytest.mark.parametrize(("line", "imported"), [("", "False"), ("holidays: US\n", "True")])
def test_the_package_of_holidays_is_imported_for_those_who_name_some(tmp_path: Path, line: str, imported: str) -> None:
    path = _write(tmp_path, "orders.yaml", GOOD + line)
    code = (
        "import sys; from pathlib import Path; from anomaly.groups import load_group; "
        f"load_group(Path({str(path)!r})); print('holidays' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == imported


def test_a_name_that_differs_from_the_file_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "orders.yaml", GOOD + "name: invoices\n")
    with pytest.raises(InvalidGroupsError, match="found 'invoices'; expected the file's name, 'orders'"):
        load_groups(tmp_path)


def test_a_missing_folder_says_which_setting_to_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ANOMALY_GROUPS"):
        load_groups(tmp_path / "nowhere")


def test_a_group_survives_the_way_through_json(tmp_path: Path) -> None:
    group = load_group(_write(tmp_path, "orders.yaml", GOOD))
    assert Group.model_validate_json(group.model_dump_json()) == group
