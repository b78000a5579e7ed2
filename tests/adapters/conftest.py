"""A real MLflow server and a real S3 server (moto's, over HTTP), each for the whole session."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit

BUCKET = "anomaly-models"
# Test servers take any credentials, but clients refuse to start without.
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
STARTED_WITHIN = 120


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in AWS.items():
            environment.setenv(name, value)
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def mlflow_uri(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server that stores no artifacts itself."""
    home = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    log = home / "server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--no-serve-artifacts"]
    command += ["--default-artifact-root", str(home / "unused")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env={**os.environ, **AWS, **quiet, "MLFLOW_S3_ENDPOINT_URL": s3_endpoint},
            start_new_session=True,
        )
    try:
        _await_health(server, uri, log)
        yield uri
    finally:
        # The server's workers are in its process group, and can outlive it.
        os.killpg(server.pid, 15)
        server.wait(30)


def _await_health(server: subprocess.Popen[bytes], uri: str, log: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the MLflow server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(params=["folder", "s3"])
def artifact_root(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    """(root, S3 endpoint): a folder with a space in its name, or a prefix on S3."""
    if request.param == "folder":
        return str(tmp_path / "the artifacts"), None
    return f"s3://{BUCKET}/{tmp_path.name}", request.getfixturevalue("s3_endpoint")


@pytest.fixture
def named_group() -> Callable[[str], Group]:
    def make(name: str) -> Group:
        return Group.model_validate(
            {
                "name": name,
                "description": "Departures and arrivals of every airline.",
                "owner": "flight-data",
                "source": {"connection": "flights_source", "table": "events"},
                "interval": "1h",
                "timezone": "America/New_York",
                "variables": "all",
                "schedule": {"start": "2013-01-01T00:00:00-05:00"},
                "slack": {"channel": "#flight-data-alerts"},
            }
        )

    return make


@pytest.fixture
def make_fit() -> Callable[..., Fit]:
    def make(group: Group, fit_id: str, *, days: int = 33) -> Fit:
        start = datetime(2013, 1, 1, 5, tzinfo=UTC)
        history = TimeRange(start, start + timedelta(days=days), group.interval)
        return Fit(fit_id, group.name, history, group.model_dump(mode="json"), shards=1, state="started")

    return make
