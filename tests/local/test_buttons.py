"""The buttons of a message, pressed in a real browser: the dialog, the label in the database, the edited message."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn

from anomaly.adapters.connections import Connection
from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.settings import Settings
from anomaly.adapters.slack_actions import SlackActions, listener
from anomaly.adapters.world import World
from anomaly.groups import Group
from anomaly.local.slack_preview import create_app
from anomaly.orchestration.running import run_tell
from anomaly.ports import Incident, IncidentVariable

if TYPE_CHECKING:
    from playwright.sync_api import Page

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    app = create_app(tmp_path / "slack")
    socket_ = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, args=([socket_],))
    thread.start()
    yield f"http://127.0.0.1:{socket_.getsockname()[1]}"
    running.should_exit = True
    thread.join()
    socket_.close()


@pytest.fixture
def world(server: str, metadata_database: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Everything real, the preview in Slack's place."""
    monkeypatch.setenv("ANOMALY_ARTIFACTS", str(tmp_path / "artifacts"))

    def connection(name: str) -> Connection:
        if name == "anomaly_db":
            given = metadata_database
            return Connection(
                name, "postgres", given["host"], int(given["port"]), given["user"], given["password"], given["dbname"]
            )
        extra = {"base_url": f"{server}/api/", "app_token": "xapp-test"}
        return Connection(name, "slack", password="xoxb-test", extra=extra)  # any will do

    return World(Settings.from_environment(), connection)


@pytest.fixture
def incident(world: World, make_group: Callable[..., Group]) -> Incident:
    """Told in the channel."""
    group = make_group()
    store = PostgresStore(world.connection("anomaly_db").postgres_arguments())
    store.enrol(group, {"a": "numeric"}, first_interval=START)
    part = IncidentVariable("a", "drop", START, START + 3 * HOUR, 3, 1.0, 30.0, 1e-7, allowed=1e-4)
    told = Incident(
        group.name, "drop", START, part.end, resolved=True, tail_probability=1e-7, return_period_hours=1e7,
        variables=(part,),
    )  # fmt: skip
    (saved,) = store.save_incidents(group, [told])
    assert saved.id is not None
    store.enqueue(saved.id, "post")
    run_tell(world, group)
    return saved


@pytest.fixture
def page(server: str) -> Iterator[Page]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} is on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        opened = browser.new_page()
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def test_a_label_given_by_a_button_is_in_the_database_and_in_the_message(
    page: Page, server: str, world: World, incident: Incident, make_group: Callable[..., Group]
) -> None:
    group = make_group()
    actions = SlackActions(
        token="xoxb-test",
        groups=lambda: (group,),
        store=world.store(),
        labels=world.labels(),
        tell=lambda one: run_tell(world, one),
        base_url=f"{server}/api/",
    )
    handler = listener(actions, "xapp-test")
    handler.connect()  # type: ignore[no-untyped-call]
    try:
        page.goto(f"{server}/channels/alerts")
        page.click("button:has-text('Expected')")
        dialog = page.locator("[role=dialog]")
        dialog.wait_for()
        assert "of the last 90 days' alerts" in dialog.inner_text()
        page.click("[role=dialog] .primary")
        assert "complete this required field" in page.locator("[role=alert]").inner_text()
        page.fill("[role=dialog] textarea", "inventory night")
        page.click("[role=dialog] .primary")
        dialog.wait_for(state="detached")
        for _ in range(10):  # the page shows what was there when it was loaded
            if "Labelled expected" in page.content():
                break
            page.wait_for_timeout(500)
            page.goto(f"{server}/channels/alerts")
        assert "Labelled expected by you: inventory night" in page.inner_text("main")
    finally:
        handler.close()  # type: ignore[no-untyped-call]
    (label,) = PostgresLabels(world.connection("anomaly_db").postgres_arguments()).labels(group)
    assert (label.word, label.author, label.reason, label.incident_id) == (
        "expected", "you", "inventory night", incident.id,
    )  # fmt: skip
