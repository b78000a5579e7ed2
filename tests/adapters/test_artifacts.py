"""Charts and networks in a folder and on S3: what is saved is read back, what was changed is refused."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.adapters.artifacts import Artifacts, safe_name
from anomaly.exceptions import ArtifactCorruptedError, ArtifactsUnavailableError, ConfigurationError

PNG = b"\x89PNG\r\n\x1a\n and some more"
ODD_NAMES = [
    "carriers/12-dep_delay.AA.png",
    'carriers/o\'hare "late" 🛬.png',
    "../../etc/passwd",
    "/absolute/path",
    "a//b/./c",
    "percent%2e%2e/question?mark#hash",
    "x" * 500,
]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def artifacts(artifact_root: tuple[str, str | None]) -> Artifacts:
    root, endpoint = artifact_root
    return Artifacts(root, s3_endpoint=endpoint)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_chart_of_any_name_is_read_back_from_its_uri_below_the_root(artifacts: Artifacts, name: str) -> None:
    uri = artifacts.save(name, PNG)

    assert uri.startswith(f"{artifacts.root}/charts/")
    assert uri.endswith(".png")
    assert artifacts.read(uri, sha256=digest(PNG)) == PNG


def test_saving_a_chart_again_replaces_it_under_the_same_uri(artifacts: Artifacts) -> None:
    first = artifacts.save("carriers/1", PNG)
    second = artifacts.save("carriers/1", PNG + b"redrawn")

    assert first == second
    assert artifacts.read(first, sha256=digest(PNG + b"redrawn")).endswith(b"redrawn")


def test_a_changed_artifact_is_refused_and_both_digests_are_named(artifacts: Artifacts) -> None:
    uri = f"{artifacts.root}/mlflow/serving.onnx"
    artifacts.write(uri, b"as it was")
    artifacts.write(uri, b"tampered with")

    with pytest.raises(ArtifactCorruptedError) as refused:
        artifacts.read(uri, sha256=digest(b"as it was"))

    for told in (uri, digest(b"as it was"), digest(b"tampered with"), "fit the group again"):
        assert told in str(refused.value)


def test_a_missing_artifact_is_unavailable_and_named(artifacts: Artifacts) -> None:
    uri = f"{artifacts.root}/mlflow/gone.onnx"
    with pytest.raises(ArtifactsUnavailableError, match=r"gone\.onnx is not there"):
        artifacts.read(uri, sha256=digest(b""))


def test_the_digest_may_be_written_in_capitals(artifacts: Artifacts) -> None:
    uri = artifacts.save("one", PNG)
    assert artifacts.read(uri, sha256=digest(PNG).upper()) == PNG


def test_an_s3_server_that_does_not_answer_is_unavailable(s3_endpoint: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        artifacts = Artifacts("s3://bucket/x", s3_endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ArtifactsUnavailableError, match="AWS_ENDPOINT_URL_S3"):
            artifacts.save("chart", PNG)


def test_a_bucket_that_does_not_exist_is_a_matter_of_configuration(s3_endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="NoSuchBucket"):
        Artifacts("s3://nobody-made-this/x", s3_endpoint=s3_endpoint).save("chart", PNG)


def test_nothing_half_written_is_left_beside_the_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = Artifacts(str(tmp_path))
    uri = artifacts.save("chart", PNG)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ArtifactsUnavailableError, match="No space left"):
        artifacts.save("chart", b"new")

    assert artifacts.read(uri, sha256=digest(PNG)) == PNG
    assert [p.name for p in (tmp_path / "charts").iterdir()] == ["chart.png"]


@pytest.mark.parametrize("root", ["gs://bucket/x", "s3://", "", "https://example.org"])
def test_a_root_of_an_unknown_kind_is_refused(root: str) -> None:
    with pytest.raises(ConfigurationError, match="artifact root"):
        Artifacts(root)


@pytest.mark.parametrize("uri", ["runs:/abc/model", "file://elsewhere/x", "s3://bucket", "/plain/path"])
def test_a_uri_that_is_no_file_and_no_object_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Artifacts(str(tmp_path)).read(uri, sha256="")


@given(st.text(max_size=300))
def test_no_name_leaves_the_root(name: str) -> None:
    parts = safe_name(name).split("/")
    assert all(part.strip(".") for part in parts)
    assert all(character.isascii() and (character.isalnum() or character in "._-") for character in "".join(parts))


@given(st.text(max_size=30), st.text(max_size=30))
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one.strip("/") == other.strip("/"))


@pytest.mark.parametrize("name", ["dense-16-mae", "0/lstm-16-mae", "carriers/12_AA.png", "serving.onnx"])
def test_a_harmless_name_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name
