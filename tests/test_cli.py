"""The command line, as a process of its own and in this one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from typer.testing import CliRunner

from anomaly.cli import PERMANENT, TEMPORARY, WRONG_GROUPS, app

REPOSITORY = Path(__file__).parent.parent
GROUP = """\
description: Orders of the shop.
owner: data
source: {connection: shop, table: events}
interval: 1h
timezone: America/New_York
variables: all
schedule: {start: 2026-01-01T00:00:00-05:00, end: 2026-02-01T00:00:00-05:00}
slack: {channel: "#alerts"}
"""

Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one good group, as ANOMALY_GROUPS; and no connections."""
    for name in [n for n in os.environ if n.startswith("AIRFLOW_CONN_")]:
        monkeypatch.delenv(name)
    groups = tmp_path / "groups"
    groups.mkdir()
    (groups / "orders.yaml").write_text(GROUP)
    monkeypatch.setenv("ANOMALY_GROUPS", str(groups))
    monkeypatch.setenv("ANOMALY_VALIDATIONS", str(tmp_path / "validations"))
    return groups


@pytest.fixture
def run(folder: Path) -> Run:
    return lambda *arguments: CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def uri(arguments: dict[str, str]) -> str:
    """Airflow's URI form of libpq arguments."""
    password = quote(arguments["password"], safe="")
    return f"postgres://{arguments['user']}:{password}@{arguments['host']}:{arguments['port']}/{arguments['dbname']}"


@pytest.fixture
def databases(
    database: dict[str, str], metadata_database: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> dict[str, str]:
    """A source with two hours of events at noon of 5 January in New York, and the metadata tables."""
    with psycopg2.connect(**database) as link, link.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamptz);"
            "CREATE INDEX ON events (timestamp);"
            "INSERT INTO events SELECT 'e' || n, 'order', 'numeric', '1', "
            "timestamptz '2026-01-05 12:00-05' + n * interval '1 minute' FROM generate_series(0, 119) n"
        )
    link.close()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri(database))
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", uri(metadata_database))
    return database


# --- help ---------------------------------------------------------------------------------------------------------


HEAVY = {
    "airflow", "great_expectations", "keras", "matplotlib", "mlflow", "numpy", "onnxruntime", "pandas", "psycopg2",
    "pydantic", "scipy", "slack_sdk", "sqlalchemy", "tensorflow",
}  # fmt: skip
HELP = """
import json, sys
from anomaly.cli import app
try:
    app(sys.argv[1:])
finally:
    print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)
"""


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, "--help"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert "Usage" in done.stdout
    imported = set(json.loads(done.stderr))
    assert "anomaly" in imported
    assert not imported & HEAVY


def test_help_names_every_stage_the_environment_and_the_exit_statuses(run: Run) -> None:
    text = run("--help").output
    for words in ("update", "fit", "predict", "alert", "status", "groups", "db"):
        assert re.search(rf"^│ {words} ", text, re.MULTILINE), words
    for words in ("AIRFLOW_CONN_ANOMALY_DB", "ANOMALY_GROUPS", "MLFLOW_TRACKING_URI", "75 not ready"):
        assert words in text


@pytest.mark.parametrize("command", ["update", "fit", "predict", "alert", "groups check"])
def test_every_command_shows_an_example(run: Run, command: str) -> None:
    assert f"Example: anomaly {command}" in run(*command.split(), "--help").output


# --- groups check -------------------------------------------------------------------------------------------------


def test_good_groups_are_listed(run: Run, folder: Path) -> None:
    result = run("groups", "check", str(folder))
    assert result.exit_code == 0
    assert "1 group, no mistakes" in result.output
    for words in ("orders", "events on shop", "1h", "#alerts", "dense-16-mae"):
        assert words in result.output


def test_every_mistake_of_every_file_is_reported_at_once(run: Run, folder: Path) -> None:
    (folder / "orders.yaml").write_text(GROUP.replace("owner: data", "ownr: data").replace("1h", "7min"))
    (folder / "payments.yaml").write_text(GROUP + "candidates: [dense-99]")
    result = run("groups", "check")
    assert result.exit_code == WRONG_GROUPS
    lines = result.stderr.splitlines()
    assert lines[0] == "4 mistakes in group files:"
    for start in (
        "  orders.yaml: owner: found nothing; expected",
        "  orders.yaml: interval: found '7min'; expected",
        "  orders.yaml: ownr: found an unknown key; expected 'owner'?",
        "  payments.yaml: candidates: found 'dense-99'; expected one of",
    ):
        assert any(line.startswith(start) for line in lines), start


def test_the_groups_of_the_sample_are_good(run: Run) -> None:
    assert run("groups", "check", str(REPOSITORY / "dags" / "groups")).exit_code == 0


def test_a_folder_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    result = run("groups", "check", str(tmp_path / "none"))
    assert result.exit_code == PERMANENT
    assert "none is not a folder; set ANOMALY_GROUPS" in result.stderr


# --- what is wrong with what was asked for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["update", "nothing"], "there is no group 'nothing'"),
        (["update", "orders", "--start", "2026-01-05T00:00", "--end", "2026-01-06"], "which has no time zone"),
        (["update", "orders", "--start", "2026-01-06", "--end", "2026-01-05"], "is reversed"),
        (["predict", "orders", "--start", "2026-01-05", "--end", "2026-01-05"], "is empty"),
        (["alert", "orders", "--start", "2026-01-05"], "found start without end"),
        (["update", "orders", "--start", "soon", "--end", "2026-01-05"], "found 'soon'; expected a date such as"),
        (["fit", "orders", "--until", "2026-01-05T00:00"], "until is 2026-01-05T00:00:00, which has no time zone"),
        (["update", "orders"], "connection 'anomaly_db' is not defined; set AIRFLOW_CONN_ANOMALY_DB"),
        (["db", "upgrade"], "connection 'anomaly_db' is not defined"),
    ],
)
def test_what_somebody_has_to_change_is_said_without_a_traceback(run: Run, arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == PERMANENT
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_database_that_is_away_is_worth_another_try(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", "postgres://nobody@127.0.0.1:1/none")
    for arguments in (["db", "upgrade"], ["status"]):
        result = run(*arguments)
        assert result.exit_code == TEMPORARY
        assert "127.0.0.1" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_metadata_database_without_tables_names_the_command_that_makes_them(
    run: Run, database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", uri(database))
    result = run("status")
    assert result.exit_code == PERMANENT
    assert "run: anomaly db upgrade" in result.stderr


# --- the stages ---------------------------------------------------------------------------------------------------


def test_upgrading_makes_the_tables_and_can_be_run_again(
    run: Run, database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", uri(database))
    first, again = run("db", "upgrade"), run("db", "upgrade")
    assert first.exit_code == again.exit_code == 0
    assert first.stdout == again.stdout
    assert re.fullmatch(r"The metadata database is at revision \w+\.\n", first.stdout)
    assert "Groups" in run("status").stdout


def test_a_day_given_as_dates_is_counted_in_the_zone_of_the_group(run: Run, databases: Any) -> None:
    result = run("update", "orders", "--start", "2026-01-05", "--end", "2026-01-06")
    assert result.exit_code == 0
    assert result.stdout.startswith("update for [2026-01-05 05:00, 2026-01-06 05:00) UTC took ")
    assert "counted 120 events of 1 variables" in result.stdout

    table = run("status", "orders").stdout
    assert "2026-01-06 00:00 EST" in table
    assert re.search(r"orders +1 +2026-01-06 00:00 EST +none yet +never +0 +0 +update, ", table)
    assert "events 120" in table


def test_without_a_range_an_ended_group_updates_its_last_interval(run: Run, databases: Any) -> None:
    result = run("update", "orders")
    assert result.stdout.startswith("update for [2026-02-01 04:00, 2026-02-01 05:00) UTC took ")


def test_predicting_what_was_not_counted_names_the_update_that_is_missing(run: Run, databases: Any) -> None:
    result = run("predict", "orders", "--start", "2026-01-05", "--end", "2026-01-06")
    assert result.exit_code == PERMANENT
    assert "anomaly update orders --start 2026-01-05T05:00:00+00:00 --end 2026-01-06T05:00:00+00:00" in result.stderr


def test_the_status_tells_the_champion_the_incidents_and_the_messages_that_wait(
    run: Run, databases: Any, metadata_database: dict[str, str], folder: Path
) -> None:
    from anomaly.adapters.postgres.store import PostgresStore
    from anomaly.detection.incidents import Incident
    from anomaly.groups import load_group
    from anomaly.ports import Fit

    group, store = load_group(folder / "orders.yaml"), PostgresStore(metadata_database)
    start, end = datetime(2026, 1, 2, 5, tzinfo=UTC), datetime(2026, 1, 6, 5, tzinfo=UTC)
    history = group.range(start, end)
    store.save_fit(Fit("fit-1", "orders", history, {}, 1, "promoted", "run-1", 7, serves_from=end))
    (saved,) = store.save_incidents(
        group,
        [
            Incident(
                "orders",
                "drop",
                start,
                end,
                resolved=False,
                tail_probability=1e-9,
                return_period_hours=9e4,
                variables=(),
            )
        ],
    )
    assert saved.id is not None
    store.enqueue(saved.id, "post")
    result = run("status")
    assert re.search(r"orders +0 +never +version 7 +2026-01-06 00:00 EST +1 +1 +never", result.stdout)
