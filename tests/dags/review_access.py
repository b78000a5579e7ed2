"""Run under Airflow: asks the review pages as several people, through Airflow's own checks; writes the answers."""

from __future__ import annotations

import json
import sys
import types
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.plugins_manager import get_fastapi_plugins
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import insert, select, text

from anomaly.orchestration.reviewing import LATEST_RUNS, AirflowAccess, AirflowRuns
from anomaly.ports.review import RunLink

HOUR = timedelta(hours=1)

PEOPLE = {"ada": "USER", "vera": "VIEWER", "nemo": None}

manager: Any = init_auth_manager()
around = FastAPI()
(mounted,) = [app for app in get_fastapi_plugins()[0] if app["url_prefix"] == "/anomaly"]
made_before = "anomaly.review" in sys.modules
around.mount(mounted["url_prefix"], mounted["app"])
client = TestClient(around)

answers: dict[str, dict[str, Any]] = {}
tokens = {name: manager.generate_jwt(SimpleAuthManagerUser(username=name, role=role)) for name, role in PEOPLE.items()}


def asked(path: str, method: str = "GET", **headers: str) -> int:
    return int(client.request(method, f"/anomaly{path}", headers=headers).status_code)


answers["nobody"] = {"page": asked("/groups/carriers"), "forged": asked("/groups", Authorization="Bearer nonsense")}
for name, token in tokens.items():
    by_token = {"Authorization": f"Bearer {token}"}
    answers[name] = {
        "group": asked("/groups/carriers", **by_token),
        "by cookie": asked("/groups/carriers", cookie=f"_token={token}"),
        "write without a token of the page": asked("/groups/carriers/snooze", "POST", **by_token),
    }

access = AirflowAccess()
for name, role in PEOPLE.items():
    user = SimpleAuthManagerUser(username=name, role=role)
    person: Any = types.SimpleNamespace(known_as=user)
    for action in ("read", "label"):
        answers[name][action] = sorted(access.permitted(person, ["carriers", "weather"], action))

answers["made before it was asked"] = {"": made_before}


def begun(dag_id: str, run_id: str, run_type: str, first: datetime, last: datetime, **conf: str) -> DagRun:
    return DagRun(
        dag_id, run_id, run_type=run_type, logical_date=first, run_after=last, data_interval=(first, last), conf=conf,
        state=DagRunState.SUCCESS,
    )  # fmt: skip


def address(run: RunLink | None) -> str | None:
    return None if run is None else run.address


runs = AirflowRuns()
answers["runs"] = {"latest": dict(runs.latest(["carriers"])), "of a fit": runs.of_fit("carriers", "fit-1")}
first = datetime(2026, 1, 1, tzinfo=UTC)
with create_session() as session:
    session.execute(text("PRAGMA foreign_keys = OFF"))
    dag = "anomaly.carriers"
    session.add(
        begun(dag, "by+hand", "manual", first - HOUR, first, start="2025-01-01T00:00Z", end="2025-02-01T00:00Z")
    )
    for n in range(LATEST_RUNS + 5):
        session.add(begun(dag, f"hour+{n}", "scheduled", first + n * HOUR, first + (n + 1) * HOUR))
    for name in ("first", "again"):
        session.add(begun(f"{dag}.fit", name, "manual", first + (name == "again") * HOUR, first + 2 * HOUR))
    session.flush()
    for name, value in (("first", "fit-1"), ("again", '"fit-2"')):
        number = session.scalar(select(DagRun.id).where(DagRun.run_id == name))
        told = {"task_id": "prepare", "key": "fit", "dag_id": f"{dag}.fit", "timestamp": first}
        session.execute(insert(XComModel).values(dag_run_id=number, run_id=name, value=value, map_index=-1, **told))
answers["addresses"] = {
    "of the first hour": address(runs.about("carriers", first)),
    "of a range by hand": address(runs.about("carriers", datetime(2025, 1, 15, tzinfo=UTC))),
    "of no run": address(runs.about("carriers", datetime(2024, 1, 1, tzinfo=UTC))),
    "of a fit": address(runs.of_fit("carriers", "fit-1")),
    "of another fit": address(runs.of_fit("carriers", "fit-2")),
    "of an unknown fit": address(runs.of_fit("carriers", "fit-3")),
}
Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")
