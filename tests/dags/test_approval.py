"""The task that asks people for approval: it asks once, hears answers from elsewhere, and takes the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(airflow_script: Callable[..., Any]) -> Any:
    return airflow_script("ask_for_approval.py")


WAITS = {"waits": 300.0, "then": "execute_complete"}


def test_a_reviewed_group_is_asked_between_review_and_promotion(found: Any) -> None:
    assert found["downstream"]["review"] == ["approve"]
    assert found["downstream"]["approve"] == ["promote"]


def test_the_question_carries_the_review_and_no_default_answer(found: Any) -> None:
    assert found["asks"] == WAITS
    assert found["asked"] == [
        {
            "subject": "Shall version 7 of carriers serve?",
            "body": "**2 appear**",
            "options": ["Approve", "Reject"],
            "defaults": None,
        }
    ]


def test_while_nobody_answers_it_waits_on_and_asks_no_second_time(found: Any) -> None:
    assert found["nobody"] == WAITS
    assert len(found["asked"]) == 1


def test_an_answer_in_airflow_is_kept_with_who_and_why(found: Any) -> None:
    assert found["answers"] == [
        ["fit-1", {"approved": True, "who": "ada", "why": "seen"}],
        ["fit-1", {"approved": False, "who": "somebody in Airflow", "why": "seen"}],
    ]
    assert found["approve"] == "kept"


def test_an_answer_from_elsewhere_ends_the_waiting(found: Any) -> None:
    assert found["elsewhere"] == "cleo approved it (mlflow)"


def test_nobody_is_asked_about_what_is_decided(found: Any) -> None:
    assert found["nothing to ask"] == "cleo approved it (mlflow)"
