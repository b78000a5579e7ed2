"""Run under Airflow: asks the review pages as several people, through Airflow's own checks; writes the answers."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.plugins_manager import get_fastapi_plugins
from fastapi import FastAPI
from fastapi.testclient import TestClient

from anomaly.orchestration.reviewing import AirflowAccess, AirflowRuns

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
answers["runs"] = {"latest": dict(AirflowRuns().latest(["carriers"]))}
Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")
