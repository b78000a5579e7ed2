"""How the embedded Airflow is set up, and which of its components run: all by environment variables.

Loopback only, so everybody who reaches it is an administrator. Settings differ from Airflow's defaults where
two cores and a person who waits ask for it: short loops, few processes, no examples.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

from anomaly.local.addresses import HOST, Addresses
from anomaly.local.places import CHECKOUT, Places, Secrets
from anomaly.local.postgres import Server

PARALLEL_TASKS = (os.cpu_count() or 2) + 1
"""One more than cores: tasks also wait for MLflow, the database and Airflow itself."""

PROGRAM = [sys.executable, "-m", "airflow"]
COMPONENTS = {
    "airflow-api-server": [*PROGRAM, "api-server"],
    "airflow-scheduler": [sys.executable, "-m", "anomaly.local.scheduler"],
    "airflow-dag-processor": [*PROGRAM, "dag-processor"],
}


def airflow_environment(places: Places, addresses: Addresses, server: Server, secrets: Secrets) -> dict[str, str]:
    """Airflow's settings, as ``AIRFLOW__SECTION__KEY``."""
    settings: dict[str, dict[str, str]] = {
        "core": {
            "dags_folder": str(CHECKOUT / "dags"),
            "plugins_folder": str(CHECKOUT / "plugins"),
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            "executor": "LocalExecutor",
            "parallelism": str(PARALLEL_TASKS),
            "simple_auth_manager_all_admins": "True",
            "fernet_key": secrets["fernet"],
            "execution_api_server_url": f"{addresses.url('airflow')}/execution/",
            "hostname_callable": "anomaly.local.airflow.hostname",
            "min_serialized_dag_update_interval": "5",
        },
        "database": {
            "sql_alchemy_conn": server.url("airflow", scheme="postgresql+psycopg2"),
            "sql_alchemy_conn_async": server.url("airflow", scheme="postgresql+asyncpg"),
        },
        "api": {
            "host": HOST,
            "port": str(addresses.airflow),
            "base_url": addresses.url("airflow"),
            "workers": "1",
            "secret_key": secrets["session"],
            "instance_name": "anomaly",
            "expose_config": "False",
        },
        "api_auth": {"jwt_secret": secrets["jwt"], "jwt_issuer": "anomaly"},
        # Every task starts a little over two loops after the one before it.
        "scheduler": {
            "scheduler_heartbeat_sec": "2",
            "scheduler_idle_sleep_time": "0.3",
            "enable_health_check": "False",
        },
        "dag_processor": {
            "refresh_interval": "30",
            "min_file_process_interval": "30",
            "parsing_processes": "1",
            "bundle_refresh_check_interval": "1",
        },
        "workers": {"execution_api_timeout": "30"},
        "logging": {"base_log_folder": str(places.logs / "tasks"), "colored_console_log": "False"},
        "usage_data_collection": {"enabled": "False"},
    }
    settings["logging"]["dag_processor_child_process_log_directory"] = str(places.logs / "parsing")
    environment = {
        f"AIRFLOW__{section}__{key}".upper(): value for section, keys in settings.items() for key, value in keys.items()
    }
    return environment | {"AIRFLOW_HOME": str(places.airflow)} | _connections(addresses, server, secrets)


def signing_secret(secrets: Secrets) -> str:
    """Of clicks that arrive over HTTP, in hexadecimal; it follows from the folder's own secrets."""
    return hashlib.sha256(f"slack {secrets['session']}".encode()).hexdigest()


def _connections(addresses: Addresses, server: Server, secrets: Secrets) -> dict[str, str]:
    slack = {
        "conn_type": "slack",
        "password": "xoxb-preview",
        "extra": {
            "base_url": f"{addresses.url('slack')}/api/",
            "app_token": "xapp-preview",
            "signing_secret": signing_secret(secrets),
        },
    }
    return {
        "AIRFLOW_CONN_ANOMALY_DB": server.url("anomaly", scheme="postgres"),
        "AIRFLOW_CONN_FLIGHTS_SOURCE": server.url("flights", user="flights_reader", scheme="postgres"),
        "AIRFLOW_CONN_ANOMALY_SLACK": json.dumps(slack),
    }


def hostname() -> str:
    """For Airflow: looking up the machine's own name can take seconds where DNS is slow or absent."""
    return "localhost"
