"""Data Docs: a page per validation, an index that lists them, for people without a way to the internet."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.data_docs import KEPT, DataDocs
from anomaly.adapters.postgres.source import PostgresSource
from anomaly.detection.grid import CountGrid
from anomaly.exceptions import ExpectationFailedError
from anomaly.groups import Group, TimeRange

SUITES = Path(__file__).parents[2] / "expectations"
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def group_of(name: str = "orders") -> Group:
    return Group.model_validate(
        {
            "name": name,
            "owner": "data",
            "source": {"connection": "source", "table": "events"},
            "interval": "1h",
            "variables": "all",
            "schedule": {"start": START},
            "slack": {"channel": "#alerts"},
        }
    )


def validate(folder: Path, *, group: str = "orders", hour: int = 0, count: float = 1) -> None:
    within = TimeRange(START + hour * HOUR, START + (hour + 1) * HOUR, HOUR)
    grid = CountGrid(("balance",), within.starts(), np.array([[count]], dtype=float))
    GreatExpectationsChecks(SUITES, folder).counts(group_of(group), grid, within)


def pages(folder: Path) -> list[str]:
    """The validations that the index links to, the latest first; every one of them is there."""
    index = (folder / "data_docs" / "index.html").read_text()
    links = [unquote(link) for link in re.findall(r'href="(validations/[^"]+)"', index)]
    for link in links:
        assert (folder / "data_docs" / link).is_file()
    return links


def test_a_validation_has_a_page_that_the_index_lists(tmp_path: Path) -> None:
    validate(tmp_path)
    (link,) = pages(tmp_path)
    assert link.startswith("validations/counts/20260302T0000Z-20260302T0100Z/")
    page = (tmp_path / "data_docs" / link).read_text()
    assert "counts / orders / 2026-03-02 00:00 to 2026-03-02 01:00 UTC" in page
    assert "No count is negative." in page
    assert "Succeeded" in page
    suite = (tmp_path / "data_docs" / "expectations" / "counts.html").read_text()
    assert "No count is negative." in suite


def test_a_failed_validation_has_its_page_too(tmp_path: Path) -> None:
    with pytest.raises(ExpectationFailedError):
        validate(tmp_path, count=-1)
    (link,) = pages(tmp_path)
    assert "Failed" in (tmp_path / "data_docs" / link).read_text()
    assert "not met" in (tmp_path / "data_docs" / "index.html").read_text()


def test_no_page_needs_the_network(tmp_path: Path) -> None:
    validate(tmp_path)
    for page in (tmp_path / "data_docs").rglob("*.html"):
        assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', page.read_text()) == [], page


def test_a_suites_page_follows_its_file(tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    written = json.loads((SUITES / "counts.json").read_text())
    (suites / "counts.json").write_text(json.dumps(written))
    within = TimeRange(START, START + HOUR, HOUR)
    grid = CountGrid(("a",), within.starts(), np.ones((1, 1)))
    GreatExpectationsChecks(suites, tmp_path).counts(group_of(), grid, within)
    page = tmp_path / "data_docs" / "expectations" / "counts.html"
    os.utime(page, (1, 1))
    written["expectations"][0]["description"] = "Something new is expected."
    (suites / "counts.json").write_text(json.dumps(written))
    GreatExpectationsChecks(suites, tmp_path).counts(group_of(), grid, within)
    assert "Something new is expected." in page.read_text()


def test_only_the_latest_are_kept_of_each_suite_and_group_and_outcome(tmp_path: Path) -> None:
    with pytest.raises(ExpectationFailedError):
        validate(tmp_path, count=-1)
    validate(tmp_path, group="others")
    for hour in range(KEPT + 3):
        validate(tmp_path, hour=hour)
    links = pages(tmp_path)
    assert len(links) == KEPT + 2
    assert [link.split("/")[2][9:11] for link in links[:KEPT]] == [f"{h:02}" for h in range(KEPT + 2, 2, -1)]
    assert sum("_failed" in link for link in links) == 1
    assert sum("others" in link for link in links) == 1
    assert len(list((tmp_path / "results").rglob("*.json"))) == KEPT + 2
    assert len(list((tmp_path / "data_docs" / "validations").rglob("*.html"))) == KEPT + 2


def _validate_often(folder: Path, group: str) -> None:
    for hour in range(KEPT):
        validate(folder, group=group, hour=hour)


def test_tasks_that_publish_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    validate(tmp_path, group="first")  # imports the library, once for all
    fork = multiprocessing.get_context("fork")
    tasks = [fork.Process(target=_validate_often, args=(tmp_path, f"group_{n}")) for n in range(4)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(120)
    assert [task.exitcode for task in tasks] == [0] * 4
    assert len(pages(tmp_path)) == 4 * KEPT + 1


def test_the_suites_are_only_read(tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in SUITES.iterdir()}
    docs = DataDocs(SUITES, tmp_path)
    for name in ("source_rows", "counts", "training_windows", "predictions"):
        suite = docs.suite(name)
        assert suite.name == name
        assert suite.expectations
        assert all(expectation.description for expectation in suite.expectations), "people read these"
    assert {path.name: path.read_bytes() for path in SUITES.iterdir()} == before


def test_no_password_and_no_value_of_a_row_reaches_the_pages(database: dict[str, str], tmp_path: Path) -> None:
    import psycopg2

    connection = psycopg2.connect(**database)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamptz)"
        )
        cursor.execute("INSERT INTO events VALUES (NULL, 'a', 'text', 'salary 12,345.67', %s)", (START,))
        cursor.execute(
            "CREATE ROLE reader_of_docs LOGIN PASSWORD 'open$sesame'; GRANT SELECT ON events TO reader_of_docs"
        )
    group = group_of()
    source = PostgresSource(group, {**database, "user": "reader_of_docs", "password": "open$sesame"}, SUITES)
    try:
        rejected = GreatExpectationsChecks(SUITES, tmp_path).source_rows(
            group, source, TimeRange(START, START + HOUR, HOUR), read_at=START + HOUR
        )
    finally:
        with connection, connection.cursor() as cursor:
            cursor.execute("DROP OWNED BY reader_of_docs; DROP ROLE reader_of_docs")
        connection.close()
    assert [row.row["value"] for row in rejected] == ["salary 12,345.67"]
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            text = path.read_text()
            assert not any(secret in text for secret in ("sesame", "salary", "12,345.67")), path
