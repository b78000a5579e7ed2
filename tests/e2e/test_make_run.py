"""The newcomer's commands, for real: the whole stack in a folder of its own, twice.

The first run is `make run` from nothing; the second is `make up` in the same folder, stopped by Ctrl-C.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from anomaly.adapters.slack_modals import Asked
from anomaly.local.airflow import signing_secret
from anomaly.local.airflow_api import AirflowApi
from anomaly.local.places import Places
from anomaly.local.postgres import Server
from tests.browsing import Seen
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NEW_YORK = ZoneInfo("America/New_York")
BLIZZARD = (datetime(2013, 2, 8, tzinfo=NEW_YORK), datetime(2013, 2, 10, tzinfo=NEW_YORK))
FREE_PORTS = {f"ANOMALY_PORT_{part}": "0" for part in ("AIRFLOW", "MLFLOW", "SLACK", "POSTGRES")}
COMMAND = [sys.executable, "-m", "anomaly.local.run"]


@dataclass(frozen=True)
class Finished:
    """A run that is over."""

    var: Path
    code: int
    printed: str
    summary: dict[str, Any]
    new_files: set[str]
    """What appeared in the checkout meanwhile."""

    @property
    def tables(self) -> str:
        """What is printed between the last line of progress of a group and the end."""
        _, last, rest = self.printed.rpartition(" done)\n")
        assert last, self.printed
        return rest

    def incidents(self, group: str) -> list[dict[str, Any]]:
        return [found for found in self.summary["incidents"] if found["group"] == group]


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / "var"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(var: Path, home: Path) -> dict[str, str]:
    """A bare one: no locale, and settings of ours that must not leak into the stack."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "POSIX",
        "PYTHONDONTWRITEBYTECODE": "1",  # as the Makefile has it
        "ANOMALY_VAR": str(var),
        "AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        **FREE_PORTS,
    }


@pytest.fixture(scope="module")
def run(var: Path, environment: dict[str, str]) -> Finished:
    """`make run`, from nothing."""
    before = _untracked()
    done = subprocess.run(
        COMMAND, cwd=REPOSITORY, env=environment, capture_output=True, encoding="utf-8", timeout=800, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((var / "summary.json").read_text(encoding="utf-8"))
    return Finished(var, done.returncode, done.stdout, summary, _untracked() - before)


@pytest.mark.parametrize("group", ["carriers", "airports"])
def test_the_blizzard_is_one_incident_that_names_the_variables_hit(run: Finished, group: str) -> None:
    during = [found for found in run.incidents(group) if _overlaps(found)]
    assert len(during) == 1
    (found,) = during
    assert found["kind"] in {"drop", "silent"}
    hours = (_moment(found["end"]) - _moment(found["start"])).total_seconds() / 3600
    assert 18 <= hours <= 48
    expected = {"carriers": {"dep_delay.UA", "arr_delay.UA"}, "airports": {"dest.EWR", "dest.JFK", "dest.LGA"}}
    assert expected[group] <= set(found["variables"])
    assert found["return_period_hours"] is None or found["return_period_hours"] > 24 * 365


def test_there_is_little_else(run: Finished) -> None:
    assert len(run.summary["incidents"]) <= 4


def test_every_incident_has_a_chart_and_a_message(run: Finished) -> None:
    for found in run.summary["incidents"]:
        chart = Path(found["chart"].removeprefix("file://"))
        assert chart.is_relative_to(run.var)
        assert chart.read_bytes().startswith(b"\x89PNG")
        assert re.fullmatch(r"\d+\.\d+", found["slack_ts"])


def test_the_summary_tells_what_was_done_per_group(run: Finished) -> None:
    groups = run.summary["groups"]
    assert set(groups) == {"airports", "carriers", "weather"}
    # 42 days from the first event on; the late intervals that are counted again do not count twice.
    for group, per_day in (("airports", 48), ("carriers", 24), ("weather", 24)):
        assert 41.5 * per_day <= groups[group]["intervals"] <= 42 * per_day
    assert groups["airports"]["variables"] == 3
    for of in groups.values():
        assert of["model_version"] == 1
        assert of["rows_quarantined"] == 0
        assert {"update", "predict", "alert"} <= set(of["seconds_per_stage"])
    assert groups["airports"]["events_counted"] > 30_000


def test_it_ends_with_the_incidents_where_to_look_at_each_and_the_groups(run: Finished) -> None:
    told = run.tables
    incidents = run.summary["incidents"]
    assert told.lstrip().startswith(f"{len(incidents)} incident")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines() if line.startswith("│")]
    for found in incidents:
        named = found["variables"][0]
        (row, *_) = [row for row in rows if [row[0], row[2]] == [found["group"], found["kind"]] and named in row[3]]
        assert "once in" in row[4]
        assert f"  chart    {found['chart'].removeprefix('file://')}\n" in told
        assert re.search(
            rf"^  message  http://127\.0\.0\.1:\d+/archives/\w+/p{found['slack_ts'].replace('.', '')}$",
            told,
            re.MULTILINE,
        )
    for group, of in run.summary["groups"].items():
        assert [group, str(of["variables"]), f"{of['intervals']:,}", f"{of['events_counted']:,}", "0", "v1"] in [
            row[:6] for row in rows
        ]
    for name in ("Messages", "Models", "Data Docs", "Airflow", "Summary"):
        assert re.search(rf"^{name} +\S+", told, re.MULTILINE), name


def test_nothing_is_left_running(run: Finished) -> None:
    assert _running_in(run.var) == []


def test_all_it_writes_is_in_its_folder(run: Finished, home: Path) -> None:
    assert run.new_files == set()
    assert list(home.iterdir()) == []


@dataclass(frozen=True)
class Up:
    """`make up`, while it is up."""

    process: subprocess.Popen[str]
    printed: str

    def address(self, name: str) -> str:
        found = re.search(rf"^{name} +(http\S+)", self.printed, re.MULTILINE)
        assert found, f"no address of {name} in:\n{self.printed}"
        return found[1]


@pytest.fixture(scope="module")
def up(run: Finished, environment: dict[str, str]) -> Iterator[Up]:
    with subprocess.Popen(
        [*COMMAND, "--stay"], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Up, "):
                break
        try:
            yield Up(process, "".join(lines))
        finally:
            process.kill()


def test_a_second_run_reuses_what_is_there(run: Finished, up: Up) -> None:
    again = json.loads((run.var / "summary.json").read_text(encoding="utf-8"))
    assert again == run.summary  # the seconds per stage too: no stage ran again


@pytest.mark.parametrize(
    ("name", "text"), [("Airflow", "<html"), ("Models", "<html"), ("Data Docs", "carriers"), ("Messages", "carriers")]
)
def test_the_addresses_that_it_prints_answer(up: Up, name: str, text: str) -> None:
    with urllib.request.urlopen(up.address(name), timeout=30) as response:
        assert text in response.read().decode().lower()


def test_every_message_is_at_the_address_that_it_prints(run: Finished, up: Up) -> None:
    addresses = re.findall(r"^  message  (http\S+)$", up.printed, re.MULTILINE)
    assert len(addresses) == len(run.summary["incidents"])
    for address in addresses:
        with urllib.request.urlopen(address, timeout=30) as response:
            assert f'id="{address.rpartition("/")[2]}"' in response.read().decode()


def test_the_review_pages_load_in_airflows_frame(up: Up, seen: Seen) -> None:
    """From the navigation to an incident; its address leads there again, and its links lead out of the frame.

    The pictures of the docs are made here, with ``ANOMALY_PICTURES=docs/images``.
    """
    page = seen.page
    page.goto(up.address("Airflow"))
    page.locator("nav a, a", has_text="Anomalies").first.click()
    page.wait_for_url("**/plugin/anomaly/**", timeout=60_000)
    frame = _review_frame(page)
    frame.locator(".groups").wait_for()
    _picture(page, "review-groups")
    blizzard = frame.locator(".incident", has_text="carriers").locator("a", has_text="variables dropped")
    blizzard.first.click()
    page.wait_for_url("**/plugin/anomaly/anomaly/incidents/*", timeout=60_000)
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    frame = _review_frame(page)
    frame.locator('[data-chart][data-drawn="true"]').wait_for()
    frame.locator("[data-multiples]").scroll_into_view_if_needed()
    frame.locator('[data-multiples][data-drawn="true"]').wait_for()
    assert "variables dropped" in frame.locator("h1").inner_text()
    frame.locator("h1").scroll_into_view_if_needed()
    _picture(page, "review-incident")
    with page.context.expect_page() as opened:
        frame.locator("a.out", has_text="Airflow run").click()
    assert "/dags/anomaly." in opened.value.url
    opened.value.close()
    frame.locator("#chosen a").click()
    page.wait_for_url("**/plugin/anomaly/anomaly/variables/**", timeout=60_000)
    frame.locator('[data-chart][data-drawn="true"]').wait_for()
    _picture(page, "review-variable")
    frame.locator("a", has_text="Fit").first.click()
    page.wait_for_url("**/plugin/anomaly/anomaly/fits/**", timeout=60_000)
    frame.locator(".compared").wait_for()
    for diff in frame.locator("[data-diff]").all()[:1]:  # the worst alert that only this fit tells, if there is one
        diff.scroll_into_view_if_needed()
        frame.locator('[data-diff][data-drawn="true"]').first.wait_for()
        frame.locator("#sum").evaluate("heading => heading.scrollIntoView({ block: 'start', behavior: 'instant' })")
    _picture(page, "review-fit")
    assert seen.elsewhere() == []


def test_a_label_given_on_the_page_is_in_the_database_and_in_slacks_message(run: Finished, up: Up, seen: Seen) -> None:
    page = seen.page
    page.goto(f"{up.address('Airflow').rstrip('/')}/plugin/anomaly/anomaly/groups/carriers")
    frame = _review_frame(page)
    frame.locator(".incident a", has_text="variables dropped").first.click()
    frame.locator('[data-word="expected"]').click()
    frame.locator(".effect-words", has_text="alerts").wait_for(timeout=60_000)
    frame.locator(".effect input[name=reason]").fill("a blizzard was forecast")
    frame.locator(".effect .primary").click()
    frame.locator(".said").wait_for(timeout=60_000)
    with closing(psycopg2.connect(**_metadata(run.var))) as link, link.cursor() as cursor:
        cursor.execute("SELECT word, reason, via FROM labels WHERE replaced_at IS NULL")
        assert cursor.fetchall() == [("expected", "a blizzard was forecast", "page")]
    page.goto(up.address("Messages"))
    for _ in range(60):
        if "a blizzard was forecast" in page.inner_text("body"):
            break
        page.wait_for_timeout(1000)
        page.reload()
    assert "a blizzard was forecast" in page.inner_text("body")


def test_a_click_that_slack_has_signed_arrives_over_http_in_airflow_and_others_are_refused(
    run: Finished, up: Up
) -> None:
    with closing(psycopg2.connect(**_metadata(run.var))) as link, link.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM incidents WHERE id NOT IN (SELECT incident_id FROM labels WHERE incident_id IS NOT NULL) "
            "ORDER BY id LIMIT 1"
        )
        ((incident,),) = cursor.fetchall()
    submitted = {
        "type": "view_submission",
        "user": {"id": "U1", "username": "ada", "name": "ada"},
        "team": {"id": "T1"},
        "view": {
            "id": "V1",
            "type": "modal",
            "callback_id": "label",
            "private_metadata": Asked(incident, "C1", None, "real").written(),
            "state": {"values": {"reason": {"reason": {"value": "snow on the runways"}}}},
        },
    }
    secret = signing_secret(json.loads((run.var / "secrets.json").read_text(encoding="utf-8")))

    assert _clicked(up, submitted, secret="another") == 401
    assert _clicked(up, submitted, secret=secret) == 200

    for _ in range(60):
        with closing(psycopg2.connect(**_metadata(run.var))) as link, link.cursor() as cursor:
            cursor.execute("SELECT word, reason, author, via FROM labels WHERE incident_id = %s", (incident,))
            found = cursor.fetchall()
        if found:
            break
        time.sleep(0.5)
    assert found == [("real", "snow on the runways", "ada", "slack")]


def _clicked(up: Up, payload: dict[str, Any], *, secret: str) -> int:
    """Sends what Slack would send, and returns the status."""
    body, stamp = urlencode({"payload": json.dumps(payload)}), str(int(time.time()))
    signature = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(
        f"{up.address('Airflow').rstrip('/')}/anomaly-slack/actions",
        data=body.encode(),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={signature}",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except HTTPError as refused:
        return refused.code


def test_each_task_has_a_button_that_leads_to_its_review_page(up: Up) -> None:
    api = AirflowApi(up.address("Airflow").rstrip("/"))
    for dag_id, path in (("anomaly.carriers", "groups/carriers?until="), ("anomaly.carriers.fit", "fits/")):
        found = api._call("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=1&order_by=-run_after")["dag_runs"][0]
        run_id = quote(found["dag_run_id"], safe="")
        task = "predict" if dag_id == "anomaly.carriers" else "register"
        links = api._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/links")["extra_links"]
        assert f"/plugin/anomaly/anomaly/{path}" in links["Anomalies"]


def test_ctrl_c_ends_every_child(run: Finished, up: Up) -> None:
    assert len(_running_in(run.var)) > 5
    os.kill(up.process.pid, signal.SIGINT)
    assert up.process.wait(90) == 0
    assert _running_in(run.var) == []


def test_a_failing_task_shows_the_end_of_its_log_and_the_way_on(
    run: Finished, environment: dict[str, str], tmp_path: Path
) -> None:
    sample = (REPOSITORY / "dags" / "groups" / "airports.yaml").read_text(encoding="utf-8")
    (tmp_path / "broken.yaml").write_text(sample.replace("table: events", "table: no_such_table"), encoding="utf-8")
    done = subprocess.run(
        COMMAND,
        cwd=REPOSITORY,
        env={**environment, "ANOMALY_GROUPS": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "anomaly.broken failed (2013-01-01 to 2013-02-02)" in done.stdout
    assert "no_such_table" in done.stdout.partition("The end of the log of its task update:")[2]
    assert "run the same command again" in done.stdout
    assert _running_in(run.var) == []


def _review_frame(page: Page) -> Frame:
    """The review pages' frame inside of Airflow's page."""
    page.locator('iframe[title="Anomalies"]').wait_for(timeout=60_000)
    for _ in range(240):
        found = [frame for frame in page.frames if frame.parent_frame and "/anomaly/" in frame.url]
        if found:
            return found[0]
        page.wait_for_timeout(250)
    raise AssertionError(f"no review page is framed: {[frame.url for frame in page.frames]}")


def _picture(page: Page, name: str) -> None:
    """A picture for the docs, when ``ANOMALY_PICTURES`` names a folder for them."""
    folder = os.environ.get("ANOMALY_PICTURES")
    if folder:
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def _metadata(var: Path) -> dict[str, str]:
    """libpq arguments of the running stack's metadata database."""
    places = Places(var)
    port = int((places.postgres / "postmaster.pid").read_text(encoding="ascii").splitlines()[3])
    secrets = places.secrets()
    return Server(port, secrets["postgres"], secrets["reader"]).arguments("anomaly")


def _untracked() -> set[str]:
    """Files and folders of the checkout that git does not know, or is told to ignore."""
    listing = subprocess.run(
        ["git", "status", "--porcelain", "--ignored"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return {line for line in listing.stdout.splitlines() if line.startswith(("??", "!!"))}


def _moment(written: str) -> datetime:
    moment = datetime.fromisoformat(written)
    assert moment.tzinfo is not None
    return moment


def _overlaps(found: dict[str, Any]) -> bool:
    return _moment(found["start"]) < BLIZZARD[1] and BLIZZARD[0] < _moment(found["end"])


def _running_in(var: Path) -> list[str]:
    """Command lines of processes that were told of the folder, after a moment to leave."""
    deadline = time.monotonic() + 5
    while True:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if str(var).encode() in told and state != "Z":
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
