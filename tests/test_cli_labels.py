"""The commands about labels, on a real PostgreSQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.cli import PERMANENT
from anomaly.groups import Group
from anomaly.ports import Incident, IncidentVariable
from tests.test_cli import Run, folder, run, uri

__all__ = ["folder", "run"]

START = datetime(2026, 1, 10, 6, tzinfo=UTC)


@pytest.fixture
def group(make_group: object) -> Group:
    return make_group()  # type: ignore[operator, no-any-return]


@pytest.fixture
def number(group: Group, metadata_database: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Of an incident of group orders, which the commands find."""
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", uri(metadata_database))
    monkeypatch.setenv("COLUMNS", "200")
    store = PostgresStore(metadata_database)
    store.enrol(group, {"a": "numeric", "b": "numeric"}, first_interval=START)
    part = IncidentVariable("a", "drop", START, START + timedelta(hours=3), 3, 1.0, 30.0, 1e-7)
    incident = Incident(
        group.name, "drop", START, part.end, resolved=True, tail_probability=1e-7, return_period_hours=1e7,
        variables=(part,),
    )  # fmt: skip
    (saved,) = store.save_incidents(group, [incident])
    assert saved.id is not None
    return saved.id


def test_a_label_is_given_shown_and_taken_back(
    run: Run, number: int, group: Group, metadata_database: dict[str, str]
) -> None:
    given = run("labels", "give", "orders", str(number), "false_alarm", "--as", "Ada", "--reason", "a test")
    assert given.exit_code == 0, given.output
    assert "Removes 0 of the last 90 days' alerts, loses 0 confirmed." in given.output
    assert "a: alarms 3 times as rare as fitted, 1 so far" in given.output
    (label,) = PostgresLabels(metadata_database).labels(group)
    assert (label.word, label.author, label.via) == ("false_alarm", "Ada", "cli")

    shown = run("labels", "list", "orders").output
    assert re.search(rf"{number} .*orders: a dropped .*false_alarm +Ada +a test", shown)
    assert "a dropped" not in run("labels", "list", "orders", "--unlabelled").output
    back = run("labels", "take-back", "orders", str(number))
    assert f"Incident {number} of orders is not labelled false_alarm any more." in back.output
    assert "has no label" in run("labels", "take-back", "orders", str(number)).output


def test_a_word_that_is_none_and_an_incident_that_is_not_there_are_refused(run: Run, number: int) -> None:
    assert run("labels", "give", "orders", str(number), "nonsense").exit_code == PERMANENT
    unknown = run("labels", "give", "orders", "999", "real")
    assert (unknown.exit_code, "no incident 999" in unknown.output) == (PERMANENT, True)
    needless = run("labels", "give", "orders", str(number), "expected")
    assert (needless.exit_code, "needs a reason" in needless.output) == (PERMANENT, True)


def test_labels_go_out_and_come_in_and_a_file_that_is_read_twice_changes_nothing(
    run: Run, number: int, group: Group, metadata_database: dict[str, str], tmp_path: Path
) -> None:
    run("labels", "give", "orders", str(number), "false_alarm", "--as", "Ada")
    file = tmp_path / "labels.csv"
    assert f"1 labels in {file}" in run("labels", "export", "--to", str(file)).output
    labels = PostgresLabels(metadata_database)
    before, moved = labels.labels(group), labels.adjustments(group)
    assert "orders: 0 new of 1 labels" in run("labels", "import", str(file)).output
    assert (labels.labels(group), labels.adjustments(group)) == (before, moved)

    file.write_text(
        "group,start,end,variables,word,reason,author,given_at\n"
        "orders,2026-01-12T06:00:00Z,2026-01-12T09:00:00Z,b,expected,inventory,Bob,2026-01-13T00:00:00Z\n"
    )
    assert "orders: 1 new of 1 labels" in run("labels", "import", str(file)).output
    assert "orders: 0 new of 1 labels" in run("labels", "import", str(file)).output
    assert [held.word for held in labels.labels(group)] == ["false_alarm", "expected"]
    assert {a.variable for a in labels.adjustments(group)} == {"a", "b"}
    assert "Labels of no incident" in run("labels", "list", "orders").output


def test_a_label_from_a_file_is_of_the_incident_of_its_time(
    run: Run, number: int, group: Group, metadata_database: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        "group,start,end,variables,word,incident\norders,2026-01-10T06:00:00Z,2026-01-10T08:00:00Z,a;b,real,4711\n"
    )
    assert run("labels", "import", str(file)).exit_code == 0
    assert PostgresLabels(metadata_database).of_incidents([number])[number].word == "real"


def test_a_number_in_a_file_is_of_no_incident_whose_variables_are_others(
    run: Run, number: int, group: Group, metadata_database: dict[str, str], tmp_path: Path
) -> None:
    """Another installation numbered its incidents differently; at that time it was about b, ours is about a."""
    file = tmp_path / "labels.csv"
    file.write_text(
        "group,start,end,variables,word,incident\n"
        f"orders,2026-01-10T06:00:00Z,2026-01-10T08:00:00Z,b,false_alarm,{number}\n"
    )
    assert run("labels", "import", str(file)).exit_code == 0
    labels = PostgresLabels(metadata_database)
    assert labels.of_incidents([number]) == {}
    assert [(held.incident_id, held.variables) for held in labels.labels(group)] == [(None, ("b",))]
    assert {a.variable for a in labels.adjustments(group)} == {"b"}


def test_a_file_with_a_mistake_leaves_everything_as_it_was(
    run: Run, number: int, group: Group, metadata_database: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    good = "orders,2026-01-10T06:00:00Z,2026-01-10T08:00:00Z,a,real\n"
    file.write_text("group,start,end,variables,word\n" + good + good.replace("real", "rael"))
    refused = run("labels", "import", str(file))
    assert (refused.exit_code, f"{file}:3: word: found 'rael'" in refused.output) == (PERMANENT, True)
    assert PostgresLabels(metadata_database).labels(group) == ()


def test_a_snooze_is_kept_listed_and_ended(
    run: Run, number: int, group: Group, metadata_database: dict[str, str]
) -> None:
    kept = run("snooze", "orders", "a", "--for", "1d", "--as", "Ada", "--reason", "migration")
    assert "a is snoozed until" in kept.output
    assert re.search(r"a +\d{4}-.* Ada +migration", run("snooze", "orders").output)
    assert "1 snoozes ended" in run("snooze", "orders", "a", "--end").output
    assert PostgresLabels(metadata_database).snoozes(group, at=datetime.now(UTC)) == ()
    assert run("snooze", "orders", "--for", "soon").exit_code == PERMANENT
    assert run("snooze", "orders", "--for", "1d", "--until", "2030-01-01").exit_code == PERMANENT


def test_listening_without_an_app_level_token_says_where_it_belongs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_SLACK", '{"conn_type": "slack", "password": "xoxb-1"}')
    refused = run("slack", "listen")
    assert (refused.exit_code, '{"app_token": "xapp-' in refused.output) == (PERMANENT, True)
