"""Where the review pages are, and where a task's button leads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from anomaly.orchestration.review_addresses import framed_address, framed_path, sign_in_path
from anomaly.orchestration.review_links import page_of
from anomaly.orchestration.review_mount import MadeWhenAsked


@pytest.mark.parametrize(
    ("airflow", "address"),
    [
        ("https://airflow.test", "https://airflow.test/plugin/anomaly/anomaly/incidents/7"),
        ("https://airflow.test/", "https://airflow.test/plugin/anomaly/anomaly/incidents/7"),
        ("https://tools.test/flow/", "https://tools.test/flow/plugin/anomaly/flow/anomaly/incidents/7"),
    ],
)
def test_a_page_has_an_address_in_airflows_frame(airflow: str, address: str) -> None:
    assert framed_address(airflow, "incidents/7") == address
    assert framed_address(airflow, "/incidents/7") == address
    assert address.endswith(f"{framed_path(airflow)}/incidents/7")


def test_an_application_is_made_once_at_its_first_request() -> None:
    made: list[str] = []
    asked: list[Any] = []

    def make() -> Any:
        made.append("now")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            asked.append(scope)

        return app

    mounted = MadeWhenAsked(make)
    assert made == []
    asyncio.run(mounted({"n": 1}, None, None))  # type: ignore[arg-type]
    asyncio.run(mounted({"n": 2}, None, None))  # type: ignore[arg-type]
    assert made == ["now"]
    assert asked == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("airflow", "path"),
    [
        ("http://127.0.0.1:8080", "/api/v2/auth/login"),
        ("/", "/api/v2/auth/login"),
        ("https://tools.example/airflow/", "/airflow/api/v2/auth/login"),
    ],
)
def test_people_sign_in_below_airflows_base_path(airflow: str, path: str) -> None:
    assert sign_in_path(airflow) == path


@pytest.mark.parametrize(
    ("dag_id", "fit_id", "until", "path"),
    [
        ("anomaly.orders", None, "2026-01-01T00:00:00+00:00", "groups/orders?until=2026-01-01T00%3A00%3A00%2B00%3A00"),
        ("anomaly.orders.fit", "fit/1", None, "fits/fit%2F1"),
        ("anomaly.orders.fit", None, None, "groups/orders"),
        ("anomaly.orders.detectability", None, "2026-01-01T00:00:00+00:00", "groups/orders#blind"),
    ],
)
def test_a_tasks_button_leads_to_the_page_of_what_it_did(
    dag_id: str, fit_id: str | None, until: str | None, path: str
) -> None:
    assert page_of(dag_id, fit_id, until) == path
