"""Where the messages of a group lead, whoever edits them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from anomaly.adapters.settings import Settings
from anomaly.groups import Group
from anomaly.orchestration import running
from anomaly.stages import telling


class World:
    """Every adapter is nothing at all."""

    def __init__(self) -> None:
        self.settings = Settings.from_environment()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_: SimpleNamespace(serving=lambda _: None)


@pytest.mark.parametrize("address", ["http://airflow/base/", None])
def test_an_edit_outside_of_a_run_keeps_a_link_to_airflow(
    make_group: Callable[..., Group], monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address:
        monkeypatch.setenv("ANOMALY_LINK_AIRFLOW", address)
    else:
        monkeypatch.delenv("ANOMALY_LINK_AIRFLOW", raising=False)
    told = create_autospec(telling.tell)
    monkeypatch.setattr(telling, "tell", told)

    running.run_tell(World(), make_group())  # type: ignore[arg-type]

    expected = "http://airflow/base/dags/anomaly.orders/runs" if address else None
    assert told.call_args.kwargs["links"].airflow_run == expected
