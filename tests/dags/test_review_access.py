"""The review pages behind Airflow's own checks: real tokens, real roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def answers(airflow_script: Callable[..., Any], airflow_database: None) -> Any:
    return airflow_script(
        "review_access.py",
        AIRFLOW__API_AUTH__JWT_SECRET="for tests, of sixty-four characters or so, as Airflow wants them",
        AIRFLOW__API__SECRET_KEY="for tests",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="False",
        AIRFLOW_CONN_ANOMALY_DB="postgres://nobody:nothing@127.0.0.1:1/nowhere",
    )


def test_nobody_gets_in_without_a_token_of_airflows(answers: Any) -> None:
    assert answers["nobody"] == {"page": 401, "forged": 403}


def test_a_token_or_the_sessions_cookie_let_those_in_who_may_read_the_dag(answers: Any) -> None:
    let_in = 503  # past the checks, to a database that is not there
    assert {name: answers[name]["group"] for name in ("ada", "vera", "nemo")} == {
        "ada": let_in,
        "vera": let_in,
        "nemo": 403,
    }
    assert all(answers[name]["by cookie"] == answers[name]["group"] for name in ("ada", "vera", "nemo"))


def test_reading_needs_the_right_to_read_the_dag_and_labelling_the_right_to_edit_it(answers: Any) -> None:
    both = ["carriers", "weather"]
    assert [answers[name]["read"] for name in ("ada", "vera", "nemo")] == [both, both, []]
    assert [answers[name]["label"] for name in ("ada", "vera", "nemo")] == [both, [], []]


def test_airflows_token_alone_writes_nothing(answers: Any) -> None:
    assert {answers[name]["write without a token of the page"] for name in ("ada", "vera", "nemo")} <= {403, 415}


def test_the_application_is_made_when_it_is_asked_for(answers: Any) -> None:
    assert answers["made before it was asked"] == {"": False}
    assert answers["runs"] == {"latest": {}, "of a fit": None}


def test_the_run_that_judged_an_interval_or_made_a_fit_is_found_among_many(answers: Any) -> None:
    found = {what: address and address.partition("/dags/")[2] for what, address in answers["addresses"].items()}
    assert found == {
        "of the first hour": "anomaly.carriers/runs/hour%2B0",
        "of a range by hand": "anomaly.carriers/runs/by%2Bhand",
        "of no run": None,
        "of a fit": "anomaly.carriers.fit/runs/first",
        "of another fit": "anomaly.carriers.fit/runs/again",
        "of an unknown fit": None,
    }
