"""The review pages in Airflow: its access checks, its runs, its addresses.

Reading a group's pages needs what reading its DAG needs (``GET`` on the DAG ``anomaly.<group>``), labelling and
snoozing what editing it needs (``PUT``): a label moves thresholds and is learned from, so whoever may not change the
DAG may not change what it alerts. The person is whoever Airflow says it is, by token or by the session's cookie.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from fastapi import Depends

from anomaly.adapters.settings import Settings
from anomaly.groups import Group
from anomaly.orchestration.connections import airflow_world
from anomaly.orchestration.group_files import readable_groups
from anomaly.orchestration.ranges import parse_moment
from anomaly.orchestration.review_addresses import framed_path, sign_in_path
from anomaly.orchestration.running import run_tell
from anomaly.ports.review import Action, Person, RunLink

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

METHODS: Mapping[Action, Any] = {"read": "GET", "label": "PUT"}
LATEST_RUNS = 300
"""Among so many runs the one about an interval, or that made a fit, is looked for."""


def dag_of(group: str) -> str:
    return f"anomaly.{group}"


async def _person(user: BaseUser = Depends(get_user)) -> Person:  # noqa: B008 - FastAPI's way to ask for one
    return Person(id=str(user.get_id()), name=str(user.get_name()), known_as=user)


class AirflowAccess:
    """Implements `anomaly.review.Access` by Airflow's own checks."""

    @property
    def person(self) -> Callable[..., Any]:
        return _person

    def permitted(self, person: Person, groups: Collection[str], action: Action) -> frozenset[str]:
        from airflow.models.dag import DagModel

        teams = DagModel.get_dag_id_to_team_name_mapping([dag_of(group) for group in groups])
        manager = get_auth_manager()
        return frozenset(
            group
            for group in groups
            if manager.is_authorized_dag(
                method=METHODS[action],
                details=DagDetails(id=dag_of(group), team_name=teams.get(dag_of(group))),
                user=person.known_as,
            )
        )


class AirflowRuns:
    """Implements `anomaly.review.Runs` from Airflow's database, which the API server holds."""

    def about(self, group: str, moment: datetime) -> RunLink | None:
        found = _runs(dag_of(group), LATEST_RUNS, about=moment)
        return next((_link(run) for run in found if _is_about(run, moment)), None)

    def latest(self, groups: Sequence[str]) -> Mapping[str, RunLink]:
        found = {group: _runs(dag_of(group), 1) for group in groups}
        return {group: _link(runs[0]) for group, runs in found.items() if runs}

    def of_fit(self, group: str, fit_id: str) -> RunLink | None:
        run_id = _run_of_fit(f"{dag_of(group)}.fit", fit_id)
        found = _runs(f"{dag_of(group)}.fit", 1, run_id=run_id) if run_id else []
        return _link(found[0]) if found else None


def _runs(dag_id: str, limit: int, *, about: datetime | None = None, run_id: str | None = None) -> list[DagRun]:
    """The latest first.

    Args:
        about: only those that may be about this moment: by their own interval, or by a range given to them by hand.
        run_id: only this one.
    """
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType
    from sqlalchemy import select

    asked = select(DagRun).where(DagRun.dag_id == dag_id)
    if about is not None:
        own = (DagRun.data_interval_start <= about) & (DagRun.data_interval_end > about)
        asked = asked.where(own | (DagRun.run_type == DagRunType.MANUAL))
    if run_id is not None:
        asked = asked.where(DagRun.run_id == run_id)
    session: Session
    with create_session() as session:
        found = list(session.scalars(asked.order_by(DagRun.run_after.desc(), DagRun.id.desc()).limit(limit)))
        session.expunge_all()
    return found


def _run_of_fit(dag_id: str, fit_id: str) -> str | None:
    """Id of the latest run whose task prepare began the fit: it handed the fit's id to the tasks after it."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    asked = (
        select(XComModel.run_id, XComModel.value)
        .where(XComModel.dag_id == dag_id, XComModel.task_id == "prepare", XComModel.key == "fit")
        .order_by(XComModel.timestamp.desc())
        .limit(LATEST_RUNS)
    )
    session: Session
    with create_session() as session:
        # A value is kept as JSON, by some versions of the task runner as JSON within JSON.
        return next((run for run, value in session.execute(asked) if value in {fit_id, json.dumps(fit_id)}), None)


def _is_about(run: DagRun, moment: datetime) -> bool:
    """Whether the interval that begins at the moment is in the run's range: that of its params, or its own."""
    given = run.conf if isinstance(run.conf, dict) else json.loads(run.conf or "{}")
    start, end = run.data_interval_start, run.data_interval_end
    if given.get("start") and given.get("end"):
        start, end = parse_moment(given["start"]), parse_moment(given["end"])
    return start is not None and end is not None and start <= moment < end


def _link(run: DagRun) -> RunLink:
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    state = str(getattr(run.state, "value", run.state))
    return RunLink(run.run_id, state, f"{base}/dags/{run.dag_id}/runs/{quote(run.run_id, safe='')}")


def _groups() -> tuple[Group, ...]:
    folder = Settings.from_environment().groups
    files = sorted(folder.glob("*.y*ml"))
    return _groups_as_of(folder, tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=1)
def _groups_as_of(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> tuple[Group, ...]:  # noqa: ARG001
    """Read again when a file has changed, not at every request."""
    return readable_groups(folder)


def review_options() -> dict[str, Any]:
    """What `anomaly.review.create_app` takes, inside of Airflow's API server."""
    base = conf.get("api", "base_url", fallback="/")
    return {
        "world": airflow_world,
        "groups": _groups,
        "access": AirflowAccess(),
        # Derived, so that a token of the pages says nothing of what Airflow signs with the same key.
        "secret": hashlib.sha256(b"anomaly review " + conf.get("api", "secret_key").encode()).digest(),
        "runs": AirflowRuns(),
        "tell": lambda group: run_tell(airflow_world(), group),
        "addresses": [base, Settings.from_environment().link_airflow],
        "plugin_path": framed_path(base),
        "sign_in": sign_in_path(base),
    }
