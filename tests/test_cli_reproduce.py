"""``anomaly reproduce`` on a real store: what was alerted is derived again, and what was tampered with is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from typer.testing import CliRunner

from anomaly.adapters.postgres.judgements import PostgresJudgements
from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.cli import PERMANENT, app
from anomaly.detection.incidents import gather
from anomaly.groups import Group, TimeRange
from anomaly.groups.loading import load_groups
from anomaly.ports.labels import Adjustment
from anomaly.stages.explaining import explained
from anomaly.stages.predict import predict
from tests.conftest import Arguments, _database_like
from tests.fakes import PassingChecks
from tests.test_cli_explain import (
    GROUP,
    HISTORY,
    HOUR,
    OUTAGE,
    START,
    NoNetworks,
    counts,
    learn_and_judge,
    no_network,
    words,
)

LAST = OUTAGE + 14
"""Hour until which the incident is judged hour by hour; it goes on."""

Run = Callable[..., Any]


def judge(group: Group, arguments: Arguments, first: int, last: int, *, days_later: int = 0) -> None:
    predict(
        group,
        START + first * HOUR,
        START + last * HOUR,
        store=PostgresStore(arguments),
        checks=PassingChecks(),
        artifacts=NoNetworks(),
        forecaster=no_network,
        now=START + last * HOUR + timedelta(days=days_later),
        judgements=PostgresJudgements(arguments),
        labels=PostgresLabels(arguments),
    )


def gathered(group: Group, arguments: Arguments) -> int:
    """The incident as alert would store it, told under an address."""
    store = PostgresStore(arguments)
    end = START + LAST * HOUR
    anomalies = store.anomalies(group, TimeRange(START + HISTORY * HOUR, end, HOUR))
    policy = group.incidents
    found = gather(
        group.name,
        anomalies,
        step=HOUR,
        merge_gap=policy.merge_gap,
        min_anomalies=policy.min_anomalies,
        repeat_window=policy.repeat_window,
        until=end,
    )
    saved = store.save_incidents(group, [explained(group, i, anomalies, store) for i in found])
    assert saved[-1].id is not None
    with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
        cursor.execute(
            "UPDATE incidents SET channel = 'C0ALERTS', slack_ts = '1767225600.000100' WHERE id = %s", (saved[-1].id,)
        )
    link.close()
    return saved[-1].id


@pytest.fixture(scope="module")
def alerted(
    postgres: Arguments, _migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Arguments, Path, int]]:
    """A database in which group `shop` has judged an outage hour by hour, and the number of its incident."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "shop.yaml").write_text(GROUP)
    (group,) = load_groups(folder)
    with _database_like(postgres, _migrated) as arguments:
        learn_and_judge(group, PostgresStore(arguments), counts())
        with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
            cursor.execute("DELETE FROM predictions")
        link.close()
        judge(group, arguments, HISTORY, OUTAGE - 2)
        for hour in range(OUTAGE - 2, LAST):
            judge(group, arguments, hour, hour + 1)
        yield arguments, folder, gathered(group, arguments)


@pytest.fixture
def copied(alerted: tuple[Arguments, Path, int], tmp_path: Path) -> Iterator[tuple[Arguments, Path, int]]:
    """A copy to tamper with."""
    arguments, folder, number = alerted
    (tmp_path / "shop.yaml").write_text((folder / "shop.yaml").read_text())
    with _database_like({**arguments, "dbname": "postgres"}, arguments["dbname"]) as copy:
        yield copy, tmp_path, number


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def invoke(place: tuple[Arguments, Path, int], *given: str) -> Any:
        arguments, folder, number = place
        password = quote(arguments["password"], safe="")
        address = f"{arguments['user']}:{password}@{arguments['host']}:{arguments['port']}/{arguments['dbname']}"
        monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", f"postgres://{address}")
        monkeypatch.setenv("ANOMALY_GROUPS", str(folder))
        monkeypatch.setenv("COLUMNS", "120")
        return CliRunner().invoke(app, ["reproduce", *(given or [str(number)])], catch_exceptions=False)

    return invoke


def change(arguments: Arguments, statement: str, *values: Any) -> None:
    with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount > 0
    link.close()


def test_what_was_judged_hour_by_hour_is_derived_at_once_and_equal(
    alerted: tuple[Arguments, Path, int], run: Run
) -> None:
    result = run(alerted)
    page = words(result.output)
    assert result.exit_code == 0, page
    assert page.endswith("equal")
    assert "version 3, fit" in page
    assert "configuration SHA-256" in page
    assert "counts as they were judged, and they still are" in page
    told = json.loads(run(alerted, str(alerted[2]), "--json").output)
    assert told["equal"]
    assert told["compared"] > 100
    assert told["assumed"] == told["underived"] == told["changed_since"] == []


def test_the_address_of_its_message_finds_the_alert(alerted: tuple[Arguments, Path, int], run: Run) -> None:
    address = "https://example.slack.com/archives/C0ALERTS/p1767225600000100?thread_ts=1"
    assert words(run(alerted, address).output).startswith(f"Incident {alerted[2]} of shop")
    for wrong, said in (("999", "there is no incident 999"), ("C0ALERTS", "expected an incident's number")):
        refused = run(alerted, wrong)
        assert refused.exit_code == PERMANENT
        assert said in refused.output


def test_counts_that_changed_since_are_told_and_the_derivation_takes_those_of_then(
    copied: tuple[Arguments, Path, int], run: Run
) -> None:
    change(
        copied[0],
        "UPDATE counts SET events = events + 9 WHERE interval_start IN (%s, %s) AND variable_id = "
        "(SELECT id FROM variables WHERE name = 'orders.web')",
        START + (OUTAGE + 2) * HOUR,
        START + (HISTORY + 1) * HOUR,
    )
    result = run(copied)
    page = words(result.output)
    assert result.exit_code == 0, page
    assert "counts as they were judged; 1 of them are others now" in page
    assert "was 0 when judged, is 9" in page


def test_a_changed_configuration_is_told_and_takes_no_part(copied: tuple[Arguments, Path, int], run: Run) -> None:
    file = copied[1] / "shop.yaml"
    file.write_text(file.read_text() + "threshold: {false_alerts_per_week: 0.1}\nholidays: US\n")
    result = run(copied)
    page = words(result.output)
    assert result.exit_code == 0, page
    assert "shop.yaml: holidays was None, is 'US'" in page
    assert "shop.yaml: threshold was" in page


def test_a_number_that_was_tampered_with_is_named_with_what_it_should_be(
    copied: tuple[Arguments, Path, int], run: Run
) -> None:
    change(
        copied[0],
        "UPDATE predictions SET predicted = predicted * 1.5 WHERE interval_start = %s AND kind <> ''",
        START + (LAST - 2) * HOUR,
    )
    result = run(copied)
    page = words(result.output)
    assert result.exit_code == 1
    assert "predicted orders.web" in page
    assert "nothing that is known has changed" in page
    found = json.loads(run(copied, str(copied[2]), "--json").output)
    differing = [d for d in found["differences"] if d["what"] == "predicted" and d["variable"] == "orders.web"]
    assert differing[0]["stored"] == pytest.approx(1.5 * differing[0]["derived"])
    assert differing[0]["relative"] == pytest.approx(1 / 3)


def test_earlier_intervals_that_were_judged_again_since_are_named_as_the_reason(
    copied: tuple[Arguments, Path, int], run: Run
) -> None:
    (group,) = load_groups(copied[1])
    store = PostgresStore(copied[0])
    change(
        copied[0],
        "UPDATE counts SET events = events + 60 WHERE interval_start >= %s AND interval_start < %s",
        START + HISTORY * HOUR,
        START + (HISTORY + 8) * HOUR,
    )
    judge(group, copied[0], HISTORY, HISTORY + 8, days_later=5)
    assert store.predicted_until(group) == START + (LAST - 1) * HOUR
    result = run(copied)
    assert result.exit_code == 1
    assert "earlier intervals were judged again after it" in words(result.output)


def test_what_labels_had_moved_then_is_part_of_the_derivation_also_when_it_is_taken_back(
    copied: tuple[Arguments, Path, int], run: Run
) -> None:
    (group,) = load_groups(copied[1])
    labels = PostgresLabels(copied[0])
    moved = Adjustment(group.name, "orders.fax", START + (OUTAGE + 3) * HOUR, 0.1, "a false alarm")
    labels.adjust([moved])
    judge(group, copied[0], OUTAGE + 3, LAST)
    change(copied[0], "DELETE FROM adjustments")
    result = run(copied)
    page = words(result.output)
    assert result.exit_code == 0, page
    assert "labels had moved the thresholds of orders.fax" in page


def test_what_was_judged_before_anything_was_noted_is_derived_under_the_fits_configuration(
    copied: tuple[Arguments, Path, int], run: Run
) -> None:
    change(copied[0], "DELETE FROM judgements")
    result = run(copied)
    page = words(result.output)
    assert result.exit_code == 0, page
    assert "judged before it was noted under what" in page


def test_the_same_judgement_again_keeps_what_it_was_made_under_once(copied: tuple[Arguments, Path, int]) -> None:
    (group,) = load_groups(copied[1])
    arguments = copied[0]
    number = "SELECT count(*) FROM circumstances"

    def kept() -> int:
        with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
            cursor.execute(number)
            (found,) = cursor.fetchone()
        link.close()
        return int(found)

    before = kept()
    judge(group, arguments, LAST - 1, LAST)
    assert kept() == before
    (file,) = copied[1].glob("*.yaml")
    file.write_text(file.read_text() + "lateness: 4h\n")
    (other,) = load_groups(copied[1])
    judge(other, arguments, LAST - 1, LAST)
    assert kept() == before + 1
