"""What the review pages' tests share: a group with incidents on a real PostgreSQL, and people with rights."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

from anomaly.adapters.connections import Connection, ConnectionLookup
from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.settings import Settings
from anomaly.adapters.world import World
from anomaly.detection.incidents import Incident, gather
from anomaly.groups import Group, TimeRange
from anomaly.ports.review import Action, Person, RunLink
from anomaly.review import create_app
from tests.conftest import Arguments, _database_like
from tests.fakes import PassingChecks
from tests.stages.conftest import HOUR, START
from tests.stages.watched import HISTORY, Watched

NOW = START + (HISTORY + 10 * 24) * HOUR
JUDGED = 9 * 24
OUTAGE = slice(40, 60)
BLIP = 200
NAMES = ("<b>bold</b>", "orders.DE", "orders.FR", "refunds.DE")
"""The first is one that nobody should take for markup."""
PREFIX = "/anomaly"
SECRET = b"only for tests"

RIGHTS: dict[str, frozenset[Action]] = {
    "ada": frozenset({"read", "label"}),
    "vera": frozenset({"read"}),
    "nemo": frozenset(),
}


class Doorkeeper:
    """Knows people by the header ``X-Who``, or by a cookie, and takes them at their word."""

    @property
    def person(self) -> Callable[..., Person]:
        def who(request: Request) -> Person:
            name = request.headers.get("x-who") or request.cookies.get("who")
            if name not in RIGHTS:
                raise HTTPException(401, "who are you?")
            return Person(id=name, name=name.title())

        return who

    def permitted(self, person: Person, groups: Any, action: Action) -> frozenset[str]:
        return frozenset(groups) if action in RIGHTS[person.id] else frozenset()


class OneRun:
    """Knows one run of every group."""

    def about(self, group: str, moment: Any) -> RunLink:
        return RunLink("run", "success", f"http://airflow.test/dags/anomaly.{group}/runs/run")

    def latest(self, groups: Any) -> dict[str, RunLink]:
        return {group: self.about(group, None) for group in groups}

    def of_fit(self, group: str, fit_id: str) -> RunLink | None:
        made = RunLink("of-fit-1", "success", f"http://airflow.test/dags/anomaly.{group}.fit/runs/of-fit-1")
        return made if fit_id == "fit-1" else None


@dataclass
class Site:
    """A group, its stores, and the pages about it."""

    group: Group
    world: World
    store: PostgresStore
    labels: PostgresLabels
    incidents: tuple[Incident, ...]
    """The outage of all variables, then the blip of one."""
    app: FastAPI
    told: list[str]
    """Groups whose channel was told."""
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        around = FastAPI()
        around.mount(PREFIX, self.app)
        self.client = TestClient(around, base_url="http://pages.test", headers={"x-who": "ada"})

    def get(self, path: str, *, who: str = "ada", **asked: Any) -> Any:
        return self.client.get(f"{PREFIX}{path}", headers={"x-who": who}, **asked)

    def token(self, who: str = "ada") -> str:
        page = self.get("/groups", who=who).text
        return str(page.partition('name="anomaly-token" content="')[2].partition('"')[0])

    def post(self, path: str, body: Any, *, who: str = "ada", **headers: str | None) -> Any:
        """As our own pages do it; a header that is given as None is left out."""
        ours: dict[str, str | None] = {
            "x-who": who,
            "content-type": "application/json",
            "origin": "http://pages.test",
            "x-anomaly-token": self.token(who),
        }
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in (ours | named).items() if value is not None}
        return self.client.post(f"{PREFIX}{path}", content=json.dumps(body), headers=sent)


def settings_for_tests(tmp_path: Path) -> Settings:
    return Settings(
        groups=tmp_path,
        expectations=tmp_path,
        validations=tmp_path,
        artifacts=str(tmp_path),
        mlflow_tracking_uri=None,
        s3_endpoint=None,
        link_airflow="http://airflow.test",
        link_mlflow="http://mlflow.test",
        link_data_docs="http://docs.test",
    )


def lookup(arguments: Arguments) -> ConnectionLookup:
    def connection(connection_id: str) -> Connection:
        return Connection(
            id=connection_id,
            type="postgres",
            host=arguments["host"],
            port=int(arguments["port"]),
            login=arguments["user"],
            password=arguments["password"],
            schema=arguments["dbname"],
            extra={},
        )

    return connection


@dataclass
class Prepared:
    """A database to copy, and what is in it."""

    name: str
    group: Group
    incidents: tuple[Incident, ...]


@pytest.fixture(scope="session")
def prepared(postgres: Arguments, _migrated: str) -> Prepared:
    """Nine judged days with an outage of all four variables, and a blip of one on the last day; made once."""
    counts = np.full((len(NAMES), HISTORY + JUDGED), 100.0)
    counts[:, HISTORY + OUTAGE.start : HISTORY + OUTAGE.stop] = 0
    counts[1, HISTORY + BLIP : HISTORY + BLIP + 3] = 160
    name = "template_review"
    with closing(psycopg2.connect(**postgres)) as admin:
        admin.autocommit = True
        admin.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {_migrated}")
    group = Group.model_validate(
        {
            "name": "orders",
            "owner": "data",
            "source": {"connection": "source", "table": "events"},
            "interval": "1h",
            "timezone": "Europe/Berlin",
            "variables": "all",
            "incidents": {"merge_gap": "2h", "min_anomalies": 1, "repeat_window": "0h"},
            "schedule": {"start": START},
            "slack": {"channel": "#alerts"},
        }
    )
    store = PostgresStore({**postgres, "dbname": name})
    variables = store.enrol(group, dict.fromkeys(NAMES, "numeric"), first_interval=START)
    watched = Watched(group, store, PassingChecks(), variables)
    watched.rewrite(counts)
    watched.promote("fit-1", HISTORY, threshold=4.2, version=3)
    watched.predict(HISTORY, HISTORY + JUDGED)
    within = TimeRange(START + HISTORY * HOUR, START + (HISTORY + JUDGED) * HOUR, HOUR)
    found = gather(
        group.name,
        store.anomalies(group, within),
        step=HOUR,
        merge_gap=timedelta(hours=2),
        min_anomalies=1,
        until=within.end,
    )
    return Prepared(name, group, store.save_incidents(group, found))


@pytest.fixture
def database_of_pages(postgres: Arguments, prepared: Prepared) -> Iterator[Arguments]:
    """A copy of the test's own."""
    with _database_like(postgres, prepared.name) as arguments:
        yield arguments


@pytest.fixture
def site(prepared: Prepared, database_of_pages: Arguments, tmp_path: Path) -> Site:
    world = World(settings_for_tests(tmp_path), lookup(database_of_pages))
    told: list[str] = []
    app = create_app(
        lambda: world,
        lambda: [prepared.group],
        Doorkeeper(),
        secret=SECRET,
        tell=lambda group: told.append(group.name),
        runs=OneRun(),
        sign_in="/login",
        plugin_path="/plugin/anomaly/anomaly",
        clock=lambda: NOW,
    )
    store, labels = PostgresStore(database_of_pages), PostgresLabels(database_of_pages)
    return Site(prepared.group, world, store, labels, prepared.incidents, app, told)


@pytest.fixture
def served(site: Site) -> Iterator[str]:
    """The pages on a port of this machine, for a browser that says who it is by a cookie: their address."""
    around = FastAPI()
    around.mount(PREFIX, site.app)

    @around.get("/frame/{path:path}")
    def frame(path: str) -> Any:
        """A page that frames ours as Airflow does."""
        from fastapi.responses import HTMLResponse

        sandbox = "allow-scripts allow-same-origin allow-forms allow-downloads"
        style = "position:fixed;inset:0;width:100%;height:100%;border:0"
        frame = f'<iframe sandbox="{sandbox}" src="{PREFIX}/{path}" style="{style}"></iframe>'
        return HTMLResponse(f'<html class="dark"><link rel="icon" href="data:,">{frame}</html>')

    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(around, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        listener.close()
