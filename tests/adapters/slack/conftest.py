"""The Slack preview over real HTTP, with a way to make it fail as Slack does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.request import Request, urlopen

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from anomaly.groups import Group
from anomaly.local.slack_preview import create_app
from anomaly.ports import Incident, IncidentVariable


@dataclass
class Fault:
    """What the next call of a method gets instead of its answer."""

    status: int
    body: str
    headers: dict[str, str]
    carried_out: bool


class Faulty:
    """ASGI middleware: the preview, and the faults that a test has ordered."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self.faults: dict[str, list[Fault]] = {}
        self.calls: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["path"].removeprefix("/api/")
        self.calls.append(method)
        waiting = self.faults.get(method) or next(
            (faults for path, faults in self.faults.items() if path.startswith("/") and method.startswith(path)), []
        )
        if not waiting:
            await self._app(scope, receive, send)
            return
        fault = waiting.pop(0)
        if fault.carried_out:
            await self._app(scope, receive, _nowhere)
        media = "application/json" if fault.body.startswith("{") else "text/html"
        await Response(fault.body, fault.status, fault.headers, media)(scope, receive, send)


async def _nowhere(_: Message) -> None:
    return None


@dataclass(frozen=True)
class Preview:
    origin: str
    transport: Faulty

    @property
    def api(self) -> str:
        return f"{self.origin}/api/"

    def fail(
        self,
        method: str,
        body: dict[str, Any] | str,
        *,
        status: int = 200,
        headers: Mapping[str, str] = MappingProxyType({}),
        times: int = 1,
        carried_out: bool = False,
    ) -> None:
        """Answers the next calls of a method with this instead; `carried_out`: after doing what was asked."""
        written = body if isinstance(body, str) else json.dumps(body)
        fault = Fault(status, written, dict(headers), carried_out)
        self.transport.faults.setdefault(method, []).extend([fault] * times)

    def fail_path(self, path: str, body: str, *, status: int, headers: Mapping[str, str]) -> None:
        """Answers the next request whose path begins so with this instead."""
        self.transport.faults.setdefault(path, []).append(Fault(status, body, dict(headers), carried_out=False))

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """An API call without the code under test."""
        headers = {"Content-Type": "application/json", "Authorization": "Bearer xoxb-test"}
        with urlopen(Request(f"{self.api}{method}", json.dumps(arguments).encode(), headers)) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def messages(self, channel: str = "#alerts") -> list[dict[str, Any]]:
        """Of the channel, newest first; none while it does not exist."""
        history = self.call("conversations.history", channel=channel, include_all_metadata=True)
        found: list[dict[str, Any]] = history.get("messages", [])
        return found


@pytest.fixture
def preview(tmp_path: Path) -> Iterator[Preview]:
    """An empty preview on a free port of the loopback interface."""
    transport = Faulty(create_app(tmp_path / "slack"))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(transport, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield Preview(f"http://127.0.0.1:{listener.getsockname()[1]}", transport)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group(name="carriers", owner="flight-data", timezone="America/New_York")


@pytest.fixture
def incident() -> Incident:
    """Three variables over a day and an hour, the worst first, still going on."""
    start, end = datetime(2013, 2, 8, 19, tzinfo=UTC), datetime(2013, 2, 9, 20, tzinfo=UTC)
    part = IncidentVariable("dep_delay.UA", "drop", start, end, 18, 12.0, 658.0, 1e-12)
    return Incident(
        group="carriers",
        kind="drop",
        start=start,
        end=end,
        resolved=False,
        tail_probability=1e-9,
        return_period_hours=41_200.0,
        variables=(
            part,
            replace(part, variable="arr_delay.UA", observed=36.0, expected=618.0),
            replace(part, variable="dep_delay.B6", kind="silent", observed=0.0, expected=400.0),
        ),
        id=7,
    )
