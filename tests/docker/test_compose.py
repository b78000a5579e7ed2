"""The production files, without a Docker engine: what they refer to is there, and nothing is left open."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
DOCKER = CHECKOUT / "docker"
REFERENCE = re.compile(r"(?<!\$)\$\{(\w+)(:[-?][^}]*)?\}")


@pytest.fixture(scope="module")
def written() -> str:
    return (DOCKER / "compose.yaml").read_text()


@pytest.fixture(scope="module")
def services(written: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(written)["services"]
    return found


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.removeprefix("#").split("=", 1) for line in lines if re.match(r"#?[A-Z_0-9]+=", line))


@pytest.fixture(scope="module")
def instructions() -> list[list[str]]:
    joined = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(line) for line in joined.splitlines() if line and not line.startswith("#")]


def test_every_variable_that_compose_reads_is_in_the_example(
    written: str, services: dict[str, dict[str, Any]], example: dict[str, str]
) -> None:
    read = {name for name, _ in REFERENCE.findall(written)}
    passed_on = {
        name for service in services.values() for name, value in service.get("environment", {}).items() if value is None
    }
    assert read | passed_on == set(example) - {"COMPOSE_PROFILES"}


def test_the_example_names_the_profile_of_the_slack_listener(
    services: dict[str, dict[str, Any]], example: dict[str, str]
) -> None:
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert profiles == {"slack-listener": [example["COMPOSE_PROFILES"]]}


def test_the_slack_listener_runs_a_command_that_there_is(services: dict[str, dict[str, Any]]) -> None:
    import typer

    from anomaly.cli import app

    program, *words = services["slack-listener"]["command"]
    assert program == "anomaly"
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    assert command.name == "listen"


def test_the_slack_listener_is_healthy_while_its_connection_stands(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    kind, test = services["slack-listener"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    heading = "  sl  local_address rem_address   st tx_queue rx_queue\n"
    standing = "   0: 0202A8C0:9C40 0A0B0C0D:01BB 01 00000000:00000000\n"
    serving = "   1: 0202A8C0:01BB 0A0B0C0D:9C40 01 00000000:00000000\n"
    closing = "   2: 0202A8C0:9C40 0A0B0C0D:01BB 06 00000000:00000000\n"
    for listed, healthy in ((standing, True), (serving + closing, False), ("", False)):
        for name in ("tcp", "tcp6"):
            (tmp_path / name).write_text(heading + (listed if name == "tcp" else ""))
        done = subprocess.run(["/bin/sh", "-c", test.replace("/proc/net", str(tmp_path))], check=False)
        assert (done.returncode == 0) == healthy, listed


def test_what_the_review_pages_and_the_clicks_need_is_in_the_image_and_told_to_the_server(
    services: dict[str, dict[str, Any]], instructions: list[list[str]]
) -> None:
    settings = " ".join(word for name, *words in instructions if name == "ENV" for word in words)
    assert "AIRFLOW__CORE__PLUGINS_FOLDER=/opt/anomaly/plugins" in settings
    assert {p.name for p in (CHECKOUT / "plugins").glob("anomaly_*.py")} >= {"anomaly_review.py", "anomaly_slack.py"}
    server = services["airflow-api-server"]
    assert {"AIRFLOW_CONN_ANOMALY_DB", "AIRFLOW_CONN_ANOMALY_SLACK", "ANOMALY_LINK_AIRFLOW"} <= set(
        server["environment"]
    )
    assert any(volume.endswith(":/opt/anomaly/dags/groups:ro") for volume in server["volumes"])


def test_a_secret_has_no_default_and_no_value(written: str, example: dict[str, str]) -> None:
    secrets = {n: d for n, d in REFERENCE.findall(written) if re.search("PASSWORD|SECRET|FERNET|SLACK", n)}
    assert len(secrets) >= 8
    for name, default in secrets.items():
        assert default == ":?", f"{name} is not required"
        assert example[name] in {"", """'{"conn_type": "slack", "password": "xoxb-..."}'"""}


def test_the_example_of_a_slack_connection_is_one(example: dict[str, str]) -> None:
    from anomaly.adapters.connections import parse_connection

    connection = parse_connection("anomaly_slack", shlex.split(example["SLACK_CONNECTION"])[0])
    assert (connection.type, connection.password) == ("slack", "xoxb-...")


def test_every_port_is_bound_to_loopback(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_everything_that_stays_up_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert ("healthcheck" in service) == (service["restart"] == "unless-stopped"), name


def test_services_wait_for_services_that_exist_and_can_be_waited_for(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for the health of {other}"
            else:
                assert services[other]["restart"] == "no", f"{name} waits for the end of {other}"


def test_volumes_are_declared_and_mounted_files_are_there(written: str, services: dict[str, dict[str, Any]]) -> None:
    declared = set(yaml.safe_load(written)["volumes"])
    used = set()
    for service in services.values():
        for volume in service.get("volumes", []):
            source = REFERENCE.sub(lambda found: (found.group(2) or "")[2:], volume).split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            else:
                used.add(source)
    assert used == declared


def test_tables_are_migrated_before_anything_uses_them(services: dict[str, dict[str, Any]]) -> None:
    assert services["migrations"]["command"] == ["anomaly", "db", "upgrade"]
    for name in ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor"):
        assert {"migrations", "airflow-tables", "mlflow"} <= set(services[name]["depends_on"])


def test_what_the_dockerfile_copies_is_there_and_reaches_the_builder(instructions: list[list[str]]) -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().split()
    copied = [
        source
        for instruction, *words in instructions
        if instruction == "COPY" and not words[0].startswith("--from")
        for source in [word for word in words if not word.startswith("--")][:-1]
    ]
    assert {"anomaly", "dags", "plugins", "expectations", "requirements.lock"} <= set(copied)
    for source in copied:
        assert (CHECKOUT / source).exists(), source
        assert f"!{source}" in ignored


def test_only_hashed_requirements_are_installed_and_nobody_is_root(instructions: list[list[str]]) -> None:
    installs = [" ".join(words) for name, *words in instructions if name == "RUN" and "pip" in words]
    assert len(installs) == 2
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert "--no-index" in installs[1]
    users = [words for name, *words in instructions if name == "USER"]
    assert users == [["anomaly"]]
    last_stage = max(at for at, (name, *_) in enumerate(instructions) if name == "FROM")
    assert any(name == "USER" for name, *_ in instructions[last_stage:])


def test_images_build_for_the_python_that_the_package_asks_for(instructions: list[list[str]]) -> None:
    bases = {words[0] for name, *words in instructions if name == "FROM"}
    assert bases == {"python:3.11-slim"}
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == "3.11"


def test_the_databases_and_roles_are_made_with_any_password(postgres: dict[str, str]) -> None:
    import psycopg2

    from anomaly.local.postgres import _programs

    programs = _programs()
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PGHOST": postgres["host"],
        "PGPORT": postgres["port"],
        "PGPASSWORD": postgres["password"],
        "AIRFLOW_DB_PASSWORD": "plain",
        "ANOMALY_DB_PASSWORD": "it's \\ $odd",
        "MLFLOW_DB_PASSWORD": '"quoted"',
    }
    link = psycopg2.connect(**postgres)
    link.autocommit = True
    with link.cursor() as cursor:
        for name in ("airflow", "anomaly", "mlflow"):  # the embedded stack's own, which no test uses
            cursor.execute(f"DROP DATABASE {name}")
        subprocess.run([DOCKER / "databases.sh"], env=environment, check=True)
        cursor.execute(
            "SELECT datname, rolname, rolpassword IS NOT NULL, rolsuper "
            "FROM pg_database JOIN pg_authid r ON datdba = r.oid "
            "WHERE datname IN ('airflow', 'anomaly', 'mlflow') ORDER BY datname"
        )
        made = cursor.fetchall()
        for name in ("airflow", "anomaly", "mlflow"):
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"DROP ROLE {name}")
    link.close()
    assert made == [(name, name, True, False) for name in ("airflow", "anomaly", "mlflow")]


def test_the_mlflow_server_answers_by_the_name_that_the_tasks_use(services: dict[str, dict[str, Any]]) -> None:
    from urllib.parse import urlsplit

    from mlflow.server.security_utils import is_allowed_host_header

    written_down = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    allowed = REFERENCE.sub(lambda found: (found.group(2) or "")[2:], written_down).split(",")
    tasks_use = urlsplit(services["airflow-scheduler"]["environment"]["MLFLOW_TRACKING_URI"]).netloc
    assert is_allowed_host_header(allowed, tasks_use)
    assert is_allowed_host_header(allowed, "127.0.0.1:5000")
    assert not is_allowed_host_header(allowed, "elsewhere.example:5000")


def test_the_admin_password_is_written_as_airflow_reads_it(
    services: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = services["airflow-api-server"]["command"][2].replace("$$", "$")
    written_to = tmp_path / "passwords.json"
    only_the_password = script[: script.index("exec airflow")]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "ADMIN_PASSWORD": 'a"b$c',
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(written_to),
    }
    subprocess.run(["/bin/sh", "-ec", only_the_password], env=environment, check=True)
    assert json.loads(written_to.read_text()) == {"admin": 'a"b$c'}
    assert written_to.stat().st_mode & 0o077 == 0
