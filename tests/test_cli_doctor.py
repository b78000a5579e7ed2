"""``anomaly doctor``: real databases and files, a server that answers as Slack, MLflow and Airflow do where it asks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
from typer.testing import CliRunner

from anomaly.adapters.doctor import Check, Finding, examined, versions
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.cli import app
from anomaly.exceptions import StoreUnavailableError
from anomaly.groups import TimeRange
from anomaly.groups.loading import load_groups
from tests.conftest import Arguments

GROUP = """\
owner: data
source: {connection: shop, table: events}
interval: 1h
variables: all
schedule: {start: 2026-01-01T00:00:00+00:00}
slack: {channel: "#alerts", connection: team}
"""
SCOPES = "chat:write,files:write,channels:read,channels:history"


@dataclass
class Servers:
    """Answers of every server by path: (status, JSON or text, more headers)."""

    address: str = ""
    ahead: timedelta = timedelta(0)
    answers: dict[str, tuple[int, Any, dict[str, str]]] = field(default_factory=dict)

    def well(self) -> None:
        channel = {"id": "C01234567", "name": "alerts", "is_member": True}
        self.answers |= {
            "/health": (200, "OK", {}),
            "/version": (200, "3.17.0", {}),
            "/api/auth.test": (200, {"ok": True, "user": "bot", "team": "team"}, {"x-oauth-scopes": SCOPES}),
            "/api/conversations.list": (200, {"ok": True, "channels": [channel]}, {}),
            "/api/v2/monitor/health": (200, {"scheduler": {"status": "healthy"}, "triggerer": {"status": None}}, {}),
            "/auth/token": (200, {"access_token": "t"}, {}),
            "/api/v2/importErrors": (200, {"import_errors": []}, {}),
            "/api/v2/dags/anomaly.shop": (200, {"is_paused": False}, {}),
            "/api/v2/dags/anomaly.shop.fit": (200, {"is_paused": False}, {}),
            "/api/v2/dags/anomaly.shop.detectability": (200, {"is_paused": False}, {}),
        }


@pytest.fixture
def servers() -> Iterator[Servers]:
    state = Servers()
    state.well()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            status, body, headers = state.answers.get(urlsplit(self.path).path, (404, {"detail": "no"}, {}))
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Date", format_datetime(datetime.now(UTC) + state.ahead, usegmt=True))
            self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - http.server calls it so

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Place:
    """An installation in which everything is well, until a test changes something."""

    metadata: Arguments
    source: Arguments
    folder: Path
    servers: Servers

    def sql(self, arguments: Arguments, statement: str) -> None:
        link = psycopg2.connect(**arguments)
        with link, link.cursor() as cursor:
            cursor.execute(statement)
        link.close()

    def run(self, *given: str) -> tuple[int, list[Finding]]:
        result = CliRunner().invoke(app, ["doctor", *given, "--json"], catch_exceptions=False)
        return result.exit_code, [Finding(**found) for found in json.loads(result.stdout)]

    def page(self) -> str:
        return " ".join(CliRunner().invoke(app, ["doctor"], catch_exceptions=False).output.split())


def address(arguments: Arguments, user: str | None = None) -> str:
    password = quote(arguments["password"], safe="")
    server = f"{arguments['host']}:{arguments['port']}/{arguments['dbname']}"
    return f"postgres://{user or arguments['user']}:{password}@{server}"


@pytest.fixture
def place(
    metadata_database: Arguments,
    database: Arguments,
    tmp_path: Path,
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    groups = tmp_path / "groups"
    groups.mkdir()
    (groups / "shop.yaml").write_text(GROUP)
    made = Place(metadata_database, database, tmp_path, servers)
    role = f"reader_{database['dbname']}"
    made.sql(
        database,
        "CREATE TABLE events (entity_id text, variable text, type text, value text, timestamp timestamptz);"
        "CREATE INDEX ON events (timestamp);"
        f"CREATE ROLE {role} LOGIN PASSWORD '{database['password']}'; GRANT SELECT ON events TO {role}",
    )
    (group,) = load_groups(groups)
    now = group.floor(datetime.now(UTC))
    PostgresStore(metadata_database).mark_updated(
        group, TimeRange(now - timedelta(days=1), now, group.interval), rows_read=0, events=0, at=now
    )
    slack = {"conn_type": "slack", "password": "xoxb-1", "extra": {"base_url": f"{servers.address}/api/"}}
    for name, value in {
        "AIRFLOW_CONN_ANOMALY_DB": address(metadata_database),
        "AIRFLOW_CONN_SHOP": address(database, role),
        "AIRFLOW_CONN_TEAM": json.dumps(slack),
        "ANOMALY_GROUPS": str(groups),
        "ANOMALY_ARTIFACTS": str(tmp_path / "artifacts"),
        "ANOMALY_VALIDATIONS": str(tmp_path / "validations"),
        "MLFLOW_TRACKING_URI": servers.address,
        "ANOMALY_LINK_AIRFLOW": servers.address,
        "COLUMNS": "160",
    }.items():
        monkeypatch.setenv(name, value)
    yield made
    made.sql(database, f"DROP OWNED BY {role}; DROP ROLE {role}")


def of(found: list[Finding], check: str, state: str) -> list[Finding]:
    return [finding for finding in found if finding.check == check and finding.state == state]


def test_where_everything_is_well_nothing_fails_and_only_the_missing_model_is_warned_of(place: Place) -> None:
    status, found = place.run()
    wrong = [finding for finding in found if finding.state != "ok" and finding.check != "versions"]
    assert status == 0, wrong
    assert [finding.found for finding in wrong] == ["it has no model yet, so nothing is judged"]
    said = " | ".join(finding.found for finding in found)
    for expected in (
        "1 group in",
        "tables are at revision",
        "its role may read and write",
        "a file was written, read and deleted",
        "answers, MLflow 3.17.0",
        "healthy",
        "has the DAGs of 1 group",
        "signed in as bot of team",
        "has the scopes it needs",
        "messages have no buttons",
        "is in #alerts",
        "its role may only read",
        "an index begins with timestamp",
        "no message is stuck",
    ):
        assert expected in said, expected
    assert not [path for path in (place.folder / "artifacts").rglob("*") if path.is_file()]


def test_every_failure_says_what_to_do_and_none_stops_the_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", "postgres://nobody:x@127.0.0.1:9/none")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    place.servers.answers["/api/auth.test"] = (200, {"ok": False, "error": "invalid_auth"}, {})
    status, found = place.run()
    assert status == 1
    assert all(finding.do for finding in found if finding.state != "ok")
    assert "could not be reached" in of(found, "metadata database", "failed")[0].found
    assert "MLFLOW_TRACKING_URI" in of(found, "MLflow", "failed")[0].found
    assert "invalid_auth" in of(found, "Slack", "failed")[0].found
    assert of(found, "Airflow", "ok")
    assert of(found, "source", "ok")
    page = place.page()
    assert "→ set it to the server's address" in page


def test_a_role_that_may_write_and_a_missing_index_are_warned_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", address(place.source))
    place.sql(place.source, "DROP INDEX events_timestamp_idx")
    status, found = place.run("shop")
    assert status == 0
    said = [finding.found + finding.do for finding in of(found, "source", "warning")]
    assert "superuser" in said[0]
    assert 'CREATE INDEX CONCURRENTLY ON "events" ("timestamp")' in said[1]


def test_a_role_that_may_insert_is_named_with_the_table(place: Place) -> None:
    role = f"reader_{place.source['dbname']}"
    place.sql(place.source, f"GRANT INSERT ON events TO {role}")
    _, found = place.run("shop")
    assert "may also write (events)" in of(found, "source", "warning")[0].found


def test_tables_of_an_older_version_ask_for_an_upgrade(place: Place) -> None:
    place.sql(place.metadata, "UPDATE anomaly_revision SET version_num = '0003'")
    status, found = place.run()
    assert status == 1
    assert of(found, "metadata database", "failed")[0].do == "run: anomaly db upgrade"


def test_clocks_apart_are_warned_of_at_every_server(place: Place) -> None:
    place.servers.ahead = timedelta(seconds=90)
    status, found = place.run()
    assert status == 0
    for server in ("MLflow", "Airflow", "Slack"):
        assert "its clock is" in of(found, server, "warning")[0].found, server
        assert "ahead of" in of(found, server, "warning")[0].found


@pytest.mark.parametrize(
    ("path", "answer", "check", "said"),
    [
        ("/api/auth.test", (200, {"ok": True, "user": "b"}, {"x-oauth-scopes": "chat:write"}), "Slack", "files:write"),
        (
            "/api/conversations.list",
            (200, {"ok": True, "channels": [{"id": "C01234567", "name": "alerts", "is_member": False}]}, {}),
            "Slack",
            "the bot is not in #alerts",
        ),
        ("/api/conversations.list", (200, {"ok": True, "channels": []}, {}), "Slack", "there is no channel #alerts"),
        ("/health", (500, "", {}), "MLflow", "HTTP 500"),
        ("/api/v2/dags/anomaly.shop", (404, {}, {}), "Airflow", "it has no DAG anomaly.shop"),
        (
            "/api/v2/dags/anomaly.shop.detectability",
            (404, {}, {}),
            "Airflow",
            "it has no DAG anomaly.shop.detectability",
        ),
        (
            "/api/v2/importErrors",
            (200, {"import_errors": [{"filename": "g.py", "stack_trace": "a\nSyntaxError: no"}]}, {}),
            "Airflow",
            "g.py cannot be imported: SyntaxError: no",
        ),
        (
            "/api/v2/monitor/health",
            (200, {"scheduler": {"status": "unhealthy"}}, {}),
            "Airflow",
            "unhealthy: scheduler",
        ),
    ],
)
def test_what_a_server_says_is_wrong_fails(
    place: Place, path: str, answer: tuple[int, Any, dict[str, str]], check: str, said: str
) -> None:
    place.servers.answers[path] = answer
    status, found = place.run()
    assert status == 1
    assert said in " | ".join(finding.found for finding in of(found, check, "failed"))


@pytest.mark.parametrize("dag", ["anomaly.shop", "anomaly.shop.fit", "anomaly.shop.detectability"])
def test_a_dag_that_is_paused_is_warned_of(place: Place, dag: str) -> None:
    place.servers.answers[f"/api/v2/dags/{dag}"] = (200, {"is_paused": True}, {})
    _, found = place.run()
    assert [finding.found for finding in of(found, "Airflow", "warning")] == [f"DAG {dag} is paused"]


def test_a_group_that_never_measures_needs_no_dag_for_it(place: Place) -> None:
    del place.servers.answers["/api/v2/dags/anomaly.shop.detectability"]
    schedule = "schedule: {start: 2026-01-01T00:00:00+00:00"
    file = place.folder / "groups" / "shop.yaml"
    file.write_text(file.read_text().replace(schedule, f"{schedule}, detectability: never"))
    _, found = place.run()
    assert not of(found, "Airflow", "failed")


def test_a_group_that_is_behind_its_fit_unfinished_and_its_message_stuck_are_found(place: Place) -> None:
    place.sql(
        place.metadata,
        "UPDATE updated_ranges SET range_end = range_end - interval '20 hours';"
        "INSERT INTO fits (id, group_name, history_start, history_end, step_seconds, configuration, shards, state, "
        " created_at) VALUES ('f1', 'shop', now(), now(), 3600, '{}', 1, 'started', now() - interval '3 days');"
        "INSERT INTO incidents (group_name, kind, starts, ends, resolved, tail_probability, return_period_hours) "
        " VALUES ('shop', 'drop', now(), now() + interval '1 hour', false, 0.1, 10);"
        "INSERT INTO outbox (key, incident_id, action, last_error) SELECT 'k', id, 'post', 'channel_not_found' "
        " FROM incidents",
    )
    status, found = place.run()
    assert status == 1
    warned = " | ".join(finding.found for finding in of(found, "group", "warning"))
    assert "intervals of 1h ago" in warned
    assert "fit f1 was started and never finished" in warned
    assert "channel_not_found" in of(found, "group", "failed")[0].found


def test_a_token_that_socket_mode_refuses_fails_and_a_good_one_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"base_url": f"{place.servers.address}/api/", "app_token": "xapp-1"}
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", json.dumps({"conn_type": "slack", "password": "xoxb-1", "extra": extra}))
    place.servers.answers["/api/apps.connections.open"] = (200, {"ok": False, "error": "invalid_auth"}, {})
    status, found = place.run()
    assert status == 1
    assert "Socket Mode is refused: invalid_auth" in of(found, "Slack", "failed")[0].found
    place.servers.answers["/api/apps.connections.open"] = (200, {"ok": True, "url": "wss://x"}, {})
    status, found = place.run()
    assert status == 0
    assert any("over Socket Mode" in finding.found for finding in of(found, "Slack", "ok"))


def test_a_group_file_with_a_mistake_is_a_finding(place: Place) -> None:
    (place.folder / "groups" / "other.yaml").write_text("owner: me\n")
    status, found = place.run()
    assert status == 1
    assert any("other.yaml: interval" in finding.found for finding in of(found, "group files", "failed"))
    assert of(found, "source", "ok")


def test_a_check_that_hangs_or_breaks_costs_the_others_nothing() -> None:
    def hangs() -> list[Finding]:
        time.sleep(3)
        return []

    def breaks() -> list[Finding]:
        raise ZeroDivisionError("oops")

    def refuses() -> list[Finding]:
        raise StoreUnavailableError("it is away; bring it back")

    def works() -> list[Finding]:
        return [Finding("d", "", "ok", "fine")]

    checks = [Check("a", "", hangs), Check("b", "", breaks), Check("c", "", refuses), Check("d", "", works)]
    a, b, c, d = examined(checks, timeout=timedelta(seconds=0.5))
    assert (a.state, b.state, c.state, d.state) == ("failed", "failed", "failed", "ok")
    assert "no answer within 0.5 s" in a.found
    assert "ZeroDivisionError: oops" in b.found
    assert (c.found, c.do) == ("it is away", "bring it back")


def test_libraries_of_other_versions_than_locked_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1 \\\n    --hash=sha256:00\nnot-installed==1.0\n")
    found = list(versions(lock))
    assert any("numpy" in finding.found and "instead of 0.0.1" in finding.found for finding in found)
    assert not any("not-installed" in finding.found for finding in found)
