"""The pages that people look at, in a real browser: pictures are there, nothing comes from elsewhere, no errors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from anomaly.adapters.charts import residual_overview
from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.slack import SlackChannel
from anomaly.detection.grid import CountGrid
from anomaly.groups import Group, TimeRange
from anomaly.local.slack_preview import create_app
from anomaly.ports import Incident, IncidentVariable, Links
from tests.browsing import Seen
from tests.conftest import REPOSITORY

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The preview with the Data Docs of ``tmp_path/validations``: its address."""
    app = create_app(tmp_path / "slack", data_docs=tmp_path / "validations" / "data_docs")
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group(timezone="America/New_York")


def incident_of(group: Group, **changes: Any) -> Incident:
    end = START + 25 * HOUR
    parts = tuple(IncidentVariable(name, "drop", START, end, 18, 12.0, 658.0, 1e-12) for name in ("<b>a</b>", "b"))
    return Incident(
        group=group.name,
        kind="drop",
        start=START,
        end=end,
        resolved=False,
        tail_probability=1e-9,
        return_period_hours=41_200.0,
        variables=parts,
        id=7,
        **changes,
    )


def test_an_incidents_message_shows_its_chart(seen: Seen, server: str, group: Group) -> None:
    chart = residual_overview({"a": np.arange(50.0)}, {"a": -4.0}, {"a": 60.0})
    posted = SlackChannel("xoxb-test", f"{server}/api/").post(
        group, incident_of(group), png=chart, links=Links(), key="k"
    )

    assert posted.permalink is not None
    seen.page.goto(posted.permalink, wait_until="load")

    message = seen.page.locator(".message:target")
    assert "orders: 2 variables dropped" in message.inner_text()
    assert "<b>a</b>" in message.inner_text()
    assert seen.pictures() == [1440]
    assert seen.elsewhere() == []
    assert seen.errors == []


def test_a_channel_fits_a_telephone(seen: Seen, server: str, group: Group) -> None:
    chart = residual_overview({"a": np.arange(50.0)}, {"a": -4.0}, {"a": 60.0})
    SlackChannel("xoxb-test", f"{server}/api/").post(group, incident_of(group), png=chart, links=Links(), key="k")

    seen.page.set_viewport_size({"width": 390, "height": 844})
    seen.page.goto(f"{server}/channels/alerts", wait_until="load")

    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.errors == []


def test_the_data_docs_list_a_validation_and_lead_to_its_page(
    seen: Seen, server: str, group: Group, tmp_path: Path
) -> None:
    within = TimeRange(START, START + HOUR, HOUR)
    grid = CountGrid(("a",), within.starts(), np.ones((1, 1)))
    GreatExpectationsChecks(REPOSITORY / "expectations", tmp_path / "validations").counts(group, grid, within)

    seen.page.goto(f"{server}/data-docs/index.html", wait_until="load")
    assert "orders" in seen.page.inner_text("body")
    seen.page.locator('a[href^="validations/"]').first.click()
    seen.page.wait_for_load_state("load")

    assert "No count is negative." in seen.page.inner_text("body")
    assert 0 not in seen.pictures()
    assert seen.elsewhere() == []
    assert seen.errors == []
