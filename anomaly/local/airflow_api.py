"""Airflow's REST API, as far as the sample's runs need it: trigger a DAG, see how it goes, read a task's log."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from anomaly.exceptions import AnomalyError

RunState = Literal["queued", "running", "success", "failed"]


class AirflowApiError(AnomalyError):
    """Airflow's API answered with an error, or not at all."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a run, or one of its mapped parts."""

    id: str
    map_index: int
    state: str | None
    tries: int
    seconds: float | None


class AirflowApi:
    """A client of the embedded Airflow, which takes everybody on loopback for an administrator."""

    def __init__(self, base_url: str) -> None:
        self._base = base_url
        self._token: str | None = None

    def dags(self) -> set[str]:
        """The ids of all DAGs that are parsed and can be run."""
        found = self._call("GET", "/api/v2/dags?limit=100&tags=anomaly")
        return {dag["dag_id"] for dag in found["dags"] if not dag.get("is_stale", False)}

    def import_errors(self) -> list[str]:
        """What is wrong with DAG files."""
        found = self._call("GET", "/api/v2/importErrors")
        return [f"{error['filename']}: {error['stack_trace']}" for error in found["import_errors"]]

    def state(self, dag_id: str, run_id: str) -> RunState | None:
        """How a run goes, None when there is no such run."""
        try:
            found: RunState = self._call("GET", f"{_run(dag_id, run_id)}")["state"]
        except AirflowApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found

    def trigger(self, dag_id: str, run_id: str, params: Mapping[str, str]) -> None:
        """Starts a run."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(params)}
        self._call("POST", f"/api/v2/dags/{quote(dag_id)}/dagRuns", body)

    def delete(self, dag_id: str, run_id: str) -> None:
        """Forgets a run."""
        self._call("DELETE", _run(dag_id, run_id))

    def tasks(self, dag_id: str, run_id: str) -> list[Task]:
        """The tasks of a run."""
        found = self._call("GET", f"{_run(dag_id, run_id)}/taskInstances?limit=100")
        return [
            Task(task["task_id"], task["map_index"], task["state"], task["try_number"], task["duration"])
            for task in found["task_instances"]
        ]

    def log(self, dag_id: str, run_id: str, task: Task) -> list[str]:
        """The log of a task's last try, a line each."""
        place = f"{_run(dag_id, run_id)}/taskInstances/{quote(task.id)}/logs/{task.tries}"
        found = self._call("GET", f"{place}?full_content=true&map_index={task.map_index}")
        return [_log_line(entry) for entry in found["content"]]

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if self._token is None:
            self._token = self._request("GET", "/auth/token", None, {})["access_token"]
        return self._request(method, path, body, {"Authorization": f"Bearer {self._token}"})

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None, headers: dict[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - an http address of our own
            self._base + path, data=data, method=method, headers={"Content-Type": "application/json", **headers}
        )
        for attempt in range(3):
            try:
                with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                    written = response.read()
                    return json.loads(written) if written else None
            except urllib.error.HTTPError as error:
                detail = error.read().decode(errors="replace")[:500]
                raise AirflowApiError(f"{method} {path}: HTTP {error.code}: {detail}", error.code) from None
            except (urllib.error.URLError, OSError) as error:
                if method != "GET" or attempt == 2:
                    raise AirflowApiError(f"{method} {path}: {error}") from None
                time.sleep(1)
        raise AssertionError("unreachable")


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _log_line(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    lines = [str(entry.get("event", ""))]
    lines += [f"{error.get('exc_type')}: {error.get('exc_value')}" for error in entry.get("error_detail") or []]
    return "\n".join(lines)
