"""The registry against a real MLflow server, with artifacts in a folder and on S3."""

from __future__ import annotations

import csv
import hashlib
import io
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.mlflow_registry import MlflowRegistry
from anomaly.exceptions import ArtifactCorruptedError, ConfigurationError, RegistryUnavailableError
from anomaly.groups import Group
from anomaly.ports import Fit, NetworkFile

LENGTH, FEATURES = 7, 2


def tiny_network(variables: int, seed: int) -> bytes:
    """ONNX: windows (V, B, L, F) times weights (V, L, F), summed to (V, B)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(size=(variables, 1, LENGTH, FEATURES)).astype(np.float32)
    source = helper.make_tensor_value_info("windows", TensorProto.FLOAT, [variables, "B", LENGTH, FEATURES])
    target = helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [variables, "B"])
    axes = numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes")
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["windows", "weights"], ["weighted"]),
            helper.make_node("ReduceSum", ["weighted", "axes"], ["predictions"], keepdims=0),
        ],
        "tiny",
        [source],
        [target],
        [numpy_helper.from_array(weights, "weights"), axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def directly(serving: bytes, windows: np.ndarray[Any, Any]) -> Any:
    import onnxruntime

    (answer,) = onnxruntime.InferenceSession(serving).run(None, {"windows": windows})
    return answer


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Place:
    """A registry, where its artifacts are, and a group of its own."""

    new_registry: Callable[[], MlflowRegistry]
    registry: MlflowRegistry
    artifacts: Artifacts
    group: Group
    fit: Callable[..., Fit]
    client: Any
    made: dict[str, bytes]

    def started(self, fit_id: str, **more: Any) -> Fit:
        fit = self.fit(self.group, fit_id, **more)
        return replace(fit, mlflow_run_id=self.registry.start_run(self.group, fit))

    def networks(self, fit: Fit, slots: Mapping[str, int]) -> list[NetworkFile]:
        stored = []
        for seed, (slot, variables) in enumerate(slots.items()):
            files = {"training.keras": f"keras {slot} {seed}".encode(), "serving.onnx": tiny_network(variables, seed)}
            self.made[slot] = files["serving.onnx"]
            uris = self.registry.log_network(fit, slot, files)
            stored.append(
                NetworkFile(
                    slot=slot,
                    candidate=slot.split("/")[-1],
                    variables=variables,
                    training_uri=uris["training.keras"],
                    training_sha256=digest(files["training.keras"]),
                    serving_uri=uris["serving.onnx"],
                    serving_sha256=digest(files["serving.onnx"]),
                )
            )
        return stored

    def afresh(self) -> Place:
        """The same place from another process: nothing is remembered."""
        return replace(self, registry=self.new_registry())

    def register(self, fit: Fit, networks: list[NetworkFile]) -> int:
        return self.registry.register(
            self.group, fit, networks, description="The **best** per variable.", tags={"variables": "5"}
        )


@pytest.fixture
def place(
    mlflow_uri: str,
    artifact_root: tuple[str, str | None],
    named_group: Callable[[str], Group],
    make_fit: Callable[..., Fit],
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    from mlflow import MlflowClient

    root, endpoint = artifact_root
    if endpoint:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)

    def new_registry() -> MlflowRegistry:
        return MlflowRegistry(mlflow_uri, root, s3_endpoint=endpoint)

    return Place(
        new_registry=new_registry,
        registry=new_registry(),
        artifacts=Artifacts(root, s3_endpoint=endpoint),
        group=named_group(f"g{time.time_ns()}"),
        fit=make_fit,
        client=MlflowClient(mlflow_uri, mlflow_uri),
        made={},
    )


# --- runs -------------------------------------------------------------------------------------------------------


def test_a_fit_has_one_run_however_often_it_is_started(place: Place) -> None:
    fit = place.fit(place.group, "f1")
    first = place.registry.start_run(place.group, fit)

    assert place.registry.start_run(place.group, fit) == first
    assert place.registry.start_run(place.group, replace(fit, id="f2")) != first
    run = place.client.get_run(first)
    assert run.info.run_name == f"2013-02-03 {place.group.name}"
    assert run.data.tags["anomaly.fit_id"] == "f1"
    assert run.info.artifact_uri.startswith(place.artifacts.root)


def test_processes_that_start_the_same_fit_at_once_agree_on_one_run(place: Place) -> None:
    fit = place.fit(place.group, "f1")

    def start(_: int) -> str:
        return place.afresh().registry.start_run(place.group, fit)

    with ThreadPoolExecutor(4) as pool:
        runs = set(pool.map(start, range(4)))

    assert len(runs) == 1
    experiment = place.client.get_experiment_by_name(f"anomaly/{place.group.name}")
    assert {run.info.run_id for run in place.client.search_runs([experiment.experiment_id])} == runs
    assert len(place.client.search_logged_models([experiment.experiment_id])) == 1


def test_a_run_that_was_begun_and_never_decided_is_taken_up(place: Place) -> None:
    fit = place.fit(place.group, "f1")
    experiment = place.registry._experiment(place.group)
    place.registry._create_run(place.group, fit, experiment)
    place.registry._create_run(place.group, fit, experiment)

    run_id = place.registry.start_run(place.group, fit)

    assert [run.info.run_id for run in place.client.search_runs([experiment])] == [run_id]


def test_networks_are_readable_without_mlflow(place: Place) -> None:
    fit = place.started("f1")
    uris = place.registry.log_network(fit, "0/dense-16-mae", {"serving.onnx": b"onnx", "training.keras": b"keras"})

    assert place.artifacts.read(uris["serving.onnx"], sha256=digest(b"onnx")) == b"onnx"
    assert place.artifacts.read(uris["training.keras"], sha256=digest(b"keras")) == b"keras"
    assert place.registry.log_network(fit, "0/dense-16-mae", {"serving.onnx": b"onnx"}).items() <= uris.items()


def test_what_a_fit_logs_is_in_its_run_once(place: Place) -> None:
    fit = place.started("f1")
    everything: dict[str, Any] = {
        "params": {"candidates": "dense-16-mae, lstm-16-mae", "seed": 20130101, "long": "x" * 9000},
        "metrics": {"mae/dense-16-mae": 0.25, "share, 🛬": 1.0, "unknown": float("nan")},
        "tables": {
            "variables": {
                "variable": ["a'\"b, c", "🛬"],
                "mae": np.array([1 / 3, np.nan]),
                "fits": np.array([7, 12345678]),
                "status": ["new", None],
            }
        },
        "charts": {"mae per candidate": b"\x89PNG"},
    }
    place.registry.log_fit(place.group, fit, **everything)
    place.registry.log_fit(place.group, fit, **everything)

    run = place.client.get_run(fit.mlflow_run_id)
    assert run.data.params["seed"] == "20130101"
    assert run.data.metrics["mae/dense-16-mae"] == 0.25
    assert np.isnan(run.data.metrics["unknown"])
    assert len(place.client.get_metric_history(fit.mlflow_run_id, "mae/dense-16-mae")) == 1
    table = place.artifacts._read(f"{run.info.artifact_uri}/tables/variables.csv").decode()
    assert list(csv.reader(io.StringIO(table))) == [
        ["variable", "mae", "fits", "status"],
        ["a'\"b, c", "0.333333", "7", "new"],
        ["🛬", "", "12345678", ""],
    ]
    assert {file.path for file in place.client.list_artifacts(fit.mlflow_run_id)} == {"charts", "tables"}


def test_a_changed_metric_gets_its_new_value_and_a_changed_param_is_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    fit = place.started("f1")
    nothing: dict[str, Any] = {"tables": {}, "charts": {}}
    place.registry.log_fit(place.group, fit, params={"seed": 1}, metrics={"mae": 0.5}, **nothing)
    place.registry.log_fit(place.group, fit, params={"seed": 2}, metrics={"mae": 0.25}, **nothing)

    run = place.client.get_run(fit.mlflow_run_id)
    assert run.data.metrics["mae"] == 0.25
    assert run.data.params["seed"] == "1"
    assert "param seed" in caplog.text


def test_tables_of_ten_thousand_rows_and_hundreds_of_params_fit(place: Place) -> None:
    fit = place.started("f1")
    table: dict[str, Any] = {"variable": [f"v{i}" for i in range(10_000)], "mae": np.linspace(0, 1, 10_000)}
    place.registry.log_fit(
        place.group,
        fit,
        params={f"p{i}": i for i in range(250)},
        metrics={f"m{i}": i for i in range(1500)},
        tables={"variables": table},
        charts={},
    )

    run = place.client.get_run(fit.mlflow_run_id)
    assert len(run.data.metrics) == 1500
    assert len(run.data.params) == 251  # and the id of its model
    stored = place.artifacts._read(f"{run.info.artifact_uri}/tables/variables.csv").decode()
    assert stored.count("\n") == 10_001


# --- versions ---------------------------------------------------------------------------------------------------


def test_a_version_holds_all_networks_and_predicts_like_them(place: Place, mlflow_uri: str) -> None:
    import mlflow

    fit = place.started("f1")
    networks = place.networks(fit, {"0/dense-16-mae": 3, "1/lstm-16-mae": 2})
    version = place.register(fit, networks)
    place.registry.promote(place.group, version)

    mlflow.set_tracking_uri(mlflow_uri)
    model = mlflow.pyfunc.load_model(f"models:/anomaly.{place.group.name}@champion")
    windows = {
        n.slot: np.random.default_rng(9).normal(size=(n.variables, 4, LENGTH, FEATURES)).astype(np.float32)
        for n in networks
    }
    predictions = model.predict(windows)

    assert set(predictions) == {"0/dense-16-mae", "1/lstm-16-mae"}
    for slot, given in windows.items():
        assert predictions[slot].shape == given.shape[:2]
        np.testing.assert_array_equal(predictions[slot], directly(place.made[slot], given))
    shapes = {spec.name: spec.shape for spec in model.metadata.signature.inputs.inputs}
    assert shapes == {"0/dense-16-mae": (3, -1, LENGTH, FEATURES), "1/lstm-16-mae": (2, -1, LENGTH, FEATURES)}
    with pytest.raises(mlflow.exceptions.MlflowException, match="schema"):
        model.predict({slot: given[:, :, :3] for slot, given in windows.items()})


def test_a_version_has_both_forms_no_pickle_and_no_second_copy(place: Place, tmp_path: Path) -> None:
    import mlflow

    fit = place.started("f1")
    version = place.register(fit, place.networks(fit, {"0/dense-16-mae": 3}))

    mlflow.set_tracking_uri(place.client.tracking_uri)
    uri = f"models:/anomaly.{place.group.name}/{version}"
    folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path / "downloaded")))
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert {name for name in files if name.endswith((".onnx", ".keras"))} == {
        "networks/0/dense-16-mae/serving.onnx",
        "networks/0/dense-16-mae/training.keras",
    }
    assert {"MLmodel", "mlflow_model.py", "requirements.txt"} <= set(files)
    assert b"cloudpickle" not in files["MLmodel"] + files["requirements.txt"]
    for name, content in files.items():
        assert not name.endswith((".pkl", ".pickle", ".joblib"))
        assert not content.startswith(b"\x80"), f"{name} begins like a pickle"


def test_a_version_tells_what_it_is(place: Place) -> None:
    fit = place.started("f1")
    version = place.register(fit, place.networks(fit, {"dense": 3}))

    found = place.client.get_model_version(f"anomaly.{place.group.name}", str(version))
    assert found.description == "The **best** per variable."
    assert found.tags == {"anomaly.fit_id": "f1", "variables": "5"}
    assert list(found.aliases) == ["challenger"]
    assert found.run_id == fit.mlflow_run_id
    assert place.client.get_run(fit.mlflow_run_id).info.status == "FINISHED"


def test_a_fit_that_is_registered_again_keeps_its_version(place: Place) -> None:
    fit = place.started("f1")
    networks = place.networks(fit, {"dense": 3})
    version = place.register(fit, networks)
    place.registry.promote(place.group, version)

    assert place.afresh().register(fit, networks) == version
    assert place.registry.champion_version(place.group) == version
    aliases = place.client.get_registered_model(f"anomaly.{place.group.name}").aliases
    assert {alias: int(number) for alias, number in aliases.items()} == {"champion": version}


def test_two_that_register_the_same_fit_at_once_get_one_version(place: Place) -> None:
    fit = place.started("f1")
    networks = place.networks(fit, {"dense": 3})

    def register(_: int) -> int:
        return place.afresh().register(fit, networks)

    with ThreadPoolExecutor(3) as pool:
        versions = set(pool.map(register, range(3)))

    kept = place.client.search_model_versions(f"name = 'anomaly.{place.group.name}'")
    assert {int(v.version) for v in kept} == versions
    assert len(versions) == 1


def test_the_champion_changes_only_when_one_is_promoted(place: Place) -> None:
    assert place.registry.champion_version(place.group) is None
    first = place.started("f1")
    v1 = place.register(first, place.networks(first, {"dense": 3}))
    assert place.registry.champion_version(place.group) is None
    place.registry.promote(place.group, v1)
    second = place.started("f2", days=40)
    v2 = place.register(second, place.networks(second, {"dense": 3}))

    assert v2 > v1
    assert place.registry.champion_version(place.group) == v1
    place.registry.promote(place.group, v2)
    place.registry.promote(place.group, v2)
    assert place.registry.champion_version(place.group) == v2
    place.registry.promote(place.group, v1)
    assert place.registry.champion_version(place.group) == v1


def test_a_group_whose_variables_need_no_network_has_versions_too(place: Place) -> None:
    fit = place.started("f1")
    version = place.register(fit, [])
    place.registry.promote(place.group, version)
    assert place.registry.champion_version(place.group) == version


def test_a_damaged_network_is_not_registered(place: Place) -> None:
    fit = place.started("f1")
    networks = place.networks(fit, {"dense": 3})
    place.artifacts.write(networks[0].training_uri, b"something else")

    with pytest.raises(ArtifactCorruptedError):
        place.register(fit, networks)
    assert place.client.search_model_versions(f"name = 'anomaly.{place.group.name}'") == []


def test_a_network_damaged_after_registration_is_not_loaded_through_mlflow(place: Place, mlflow_uri: str) -> None:
    import mlflow

    fit = place.started("f1")
    networks = place.networks(fit, {"dense": 3})
    version = place.register(fit, networks)
    place.artifacts.write(networks[0].serving_uri, tiny_network(3, seed=77))

    mlflow.set_tracking_uri(mlflow_uri)
    with pytest.raises(ValueError, match=networks[0].serving_sha256):
        mlflow.pyfunc.load_model(f"models:/anomaly.{place.group.name}/{version}")


# --- a server that is not there ---------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named_with_the_setting_that_points_to_it(
    tmp_path: Path, named_group: Callable[[str], Group], make_fit: Callable[..., Fit]
) -> None:
    group = named_group("carriers")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        registry = MlflowRegistry(uri, str(tmp_path))
        with pytest.raises(RegistryUnavailableError, match=f"{uri} did not answer.*MLFLOW_TRACKING_URI"):
            registry.start_run(group, make_fit(group, "f1"))


def test_a_server_that_fails_is_asked_three_times_and_then_left_to_the_scheduler(
    tmp_path: Path, named_group: Callable[[str], Group]
) -> None:
    asked: list[str] = []

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not onto the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        registry = MlflowRegistry(f"http://127.0.0.1:{server.server_port}", str(tmp_path))
        with pytest.raises(RegistryUnavailableError, match="champion of anomaly.carriers"):
            registry.champion_version(named_group("carriers"))
        server.shutdown()
    assert len(asked) == 3


def test_what_the_server_refuses_for_good_is_a_matter_of_configuration(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="promoting version 99"):
        place.registry.promote(place.group, 99)


def test_a_fit_without_a_run_is_told_to_start_one(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="start_run"):
        place.registry.log_network(place.fit(place.group, "f1"), "dense", {})


def test_a_deleted_experiment_is_told_with_the_way_out(place: Place) -> None:
    place.started("f1")
    experiment = place.client.get_experiment_by_name(f"anomaly/{place.group.name}")
    place.client.delete_experiment(experiment.experiment_id)
    with pytest.raises(ConfigurationError, match="restore"):
        place.started("f2")


def test_a_review_is_on_the_versions_page_and_with_its_run(place: Place) -> None:
    fit = place.started("reviewed")
    version = place.registry.register(place.group, fit, [], description="short", tags={"owner": "data"})

    for text in ("first", "second"):
        place.registry.log_review(
            place.group,
            fit,
            version,
            description=f"# {text}",
            tags={"golden_lost": text},
            files={"review.html": b"<p>"},
        )
    place.registry.tag(place.group, version, {"review": "approved"})

    found = place.client.get_model_version(f"anomaly.{place.group.name}", str(version))
    assert found.description == "# second"
    tags = place.registry.tags(place.group, version)
    assert (tags["owner"], tags["golden_lost"], tags["review"]) == ("data", "second", "approved")
    assert [f.path for f in place.client.list_artifacts(fit.mlflow_run_id, "review")] == ["review/review.html"]


def test_a_version_that_is_not_there_is_not_tagged(place: Place) -> None:
    place.started("another")
    with pytest.raises(ConfigurationError, match="tagging version 99"):
        place.registry.tag(place.group, 99, {"review": "approved"})
