"""Ports of the embedded stack: busy ones are named, free ones are found."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from anomaly.exceptions import ConfigurationError
from anomaly.local.addresses import Addresses
from tests.local.conftest import FREE_PORTS


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_busy_port_is_reported_with_the_variable_that_names_another(busy_port: int) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Addresses.from_environment({**FREE_PORTS, "ANOMALY_PORT_AIRFLOW": str(busy_port)})
    message = str(refused.value)
    assert message.startswith(f"port {busy_port} (Airflow) is in use")
    offered = int(message.rpartition("ANOMALY_PORT_AIRFLOW=")[2])
    with socket.create_server(("127.0.0.1", offered)):
        pass  # what the message offers can be had


def test_all_problems_with_ports_are_reported_at_once(busy_port: int) -> None:
    given = {**FREE_PORTS, "ANOMALY_PORT_MLFLOW": str(busy_port), "ANOMALY_PORT_SLACK": "eighty"}
    with pytest.raises(ConfigurationError) as refused:
        Addresses.from_environment(given)
    first, second = str(refused.value).splitlines()
    assert f"port {busy_port} (MLflow) is in use" in first
    assert "ANOMALY_PORT_SLACK is 'eighty'" in second


def test_two_servers_cannot_share_a_port() -> None:
    free = str(Addresses.from_environment(FREE_PORTS).slack)
    with pytest.raises(ConfigurationError, match="Airflow's port too"):
        Addresses.from_environment({**FREE_PORTS, "ANOMALY_PORT_AIRFLOW": free, "ANOMALY_PORT_MLFLOW": free})


def test_zero_takes_free_ports_that_differ() -> None:
    found = Addresses.from_environment(FREE_PORTS)
    ports = {found.airflow, found.mlflow, found.slack, found.postgres}
    assert len(ports) == 4
    assert 0 not in ports
