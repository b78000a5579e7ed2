"""Connections by Airflow's convention: the same text means the same to us and to Airflow."""

from __future__ import annotations

import pytest

from anomaly.adapters.connections import environment_connection, parse_connection
from anomaly.adapters.settings import Settings
from anomaly.exceptions import ConfigurationError


def test_a_uri_with_escapes_and_extras_is_read() -> None:
    found = parse_connection("source", "postgres://me:p%40ss%2Fw@db.example:5433/shop?sslmode=require&colour=red")
    assert (found.type, found.host, found.port, found.login, found.password) == (
        "postgres",
        "db.example",
        5433,
        "me",
        "p@ss/w",
    )
    assert found.postgres_arguments() == {
        "host": "db.example",
        "port": "5433",
        "user": "me",
        "password": "p@ss/w",
        "dbname": "shop",
        "sslmode": "require",
    }


def test_a_unix_socket_is_a_host_among_the_extras() -> None:
    found = parse_connection("source", "postgres://me@/shop?host=%2Frun%2Fpg")
    assert found.postgres_arguments() == {"host": "/run/pg", "user": "me", "dbname": "shop"}


def test_json_is_read_with_extras_as_text_or_mapping() -> None:
    for extra in ('{"base_url": "http://x/"}', '"{\\"base_url\\": \\"http://x/\\"}"'):
        found = parse_connection("slack", f'{{"conn_type": "slack", "password": "xoxb", "extra": {extra}}}')
        assert (found.type, found.password, found.extra) == ("slack", "xoxb", {"base_url": "http://x/"})


@pytest.mark.parametrize("written", ["{broken", "just words"])
def test_what_is_neither_is_refused(written: str) -> None:
    with pytest.raises(ConfigurationError, match="connection 'source'"):
        parse_connection("source", written)


def test_a_missing_connection_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_FLIGHTS", raising=False)
    with pytest.raises(ConfigurationError, match="connection 'flights' is not defined; set AIRFLOW_CONN_FLIGHTS"):
        environment_connection("flights")


def test_a_connection_of_another_type_is_no_database() -> None:
    with pytest.raises(ConfigurationError, match="of type 'mysql'; expected 'postgres'"):
        parse_connection("source", "mysql://me@db/shop").postgres_arguments()


def test_a_password_is_not_in_the_representation() -> None:
    assert "secret" not in repr(parse_connection("source", "postgres://me:secret@db/shop"))


def test_settings_come_from_the_environment_with_stated_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANOMALY_GROUPS", "MLFLOW_TRACKING_URI", "ANOMALY_LINK_MLFLOW", "ANOMALY_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    assert str(Settings.from_environment().groups) == "dags/groups"
    assert Settings.from_environment().mlflow_tracking_uri is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert Settings.from_environment().link_mlflow == "http://mlflow:5000"
