"""MLflow: one experiment and one registered model per group, one run per fit.

In: what a fit produces (networks as bytes, params, metrics, tables, charts). Out: a run that people can review,
and a version of ``anomaly.<group>`` that holds all of the group's networks, in training and in serving form.

How it lies in MLflow, below the experiment's artifact location (``<artifact root>/mlflow/<group>``)::

    <run id>/artifacts/tables/…  charts/…              the run of a fit: what people look at
    models/<model id>/artifacts/networks/<slot>/…      its logged model: the networks, stored once,
                               /MLmodel, …             and what makes them a model, written by `register`

Artifacts are written to the folder or to S3 from here, not through the server, and the URIs that come back are
direct ones: predict reads networks without MLflow. A logged model is begun together with its run, so networks
are stored where the version will have them, and registering copies nothing.

Every method can be repeated. Runs have no unique key on the server, but a param, once logged, never changes:
`start_run` uses the param ``model_id`` to let two that start the same fit agree on one run.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeVar

from anomaly.adapters.artifacts import Artifacts, safe_name
from anomaly.exceptions import ConfigurationError, RegistryUnavailableError
from anomaly.groups import Group
from anomaly.ports import Fit, NetworkFile

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature

CHAMPION = "champion"
CHALLENGER = "challenger"

FIT_TAG = "anomaly.fit_id"
GROUP_TAG = "anomaly.group"
MODEL_PARAM = "model_id"

MLFLOW_DEFAULTS = {
    # Nothing is sent or looked up outside.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down is known after seconds, so that the scheduler's retries decide; MLflow's own
    # defaults wait for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""What this process tells the MLflow client, unless the environment says otherwise."""

_WITHDRAWN = "none"
_TRANSIENT = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
_ROUNDS = 20
_MODEL_CODE = Path(__file__).with_name("mlflow_model.py")
_SERVED_WITH = ("mlflow", "numpy", "onnxruntime")
_PARAMS_PER_REQUEST = 100
_METRICS_PER_REQUEST = 1000
_LONGEST_PARAM = 6000
_LONGEST_TAG = 5000

T = TypeVar("T")
log = logging.getLogger(__name__)


def model_name(group: Group) -> str:
    """The registered model of a group."""
    return f"anomaly.{group.name}"


class MlflowRegistry:
    """The tracking server and model registry behind one address.

    Args:
        tracking_uri: ``http://…`` of the MLflow server.
        artifact_root: folder or ``s3://bucket/prefix``; artifacts go under its ``mlflow/``.
        s3_endpoint: another S3 server than Amazon's.

    Every method raises `RegistryUnavailableError` when the server does not answer or fails, `ConfigurationError`
    when it refuses for good, and what `Artifacts` raises when artifacts cannot be stored.
    """

    def __init__(self, tracking_uri: str, artifact_root: str, *, s3_endpoint: str | None = None) -> None:
        self._tracking_uri = tracking_uri
        self._artifacts = Artifacts(artifact_root, s3_endpoint=s3_endpoint)
        self._models: dict[str, LoggedModel] = {}

    # --- one run per fit ------------------------------------------------------------------------------------------

    def start_run(self, group: Group, fit: Fit) -> str:
        """The run of this fit, made if it is not there yet; returns its id. Two at once get the same one."""
        with self._server(f"starting the run of fit {fit.id}"):
            experiment_id = self._experiment(group)
            for _ in range(_ROUNDS):
                run_id = self._agree_on_run(group, fit, experiment_id)
                if run_id is not None:
                    return run_id
        raise RegistryUnavailableError(f"too many processes start the run of fit {fit.id} at once; try again")

    def log_network(self, fit: Fit, slot: str, files: Mapping[str, bytes]) -> Mapping[str, str]:
        """Stores a network's files in the logged model of the fit's run.

        Args:
            slot: key of the network, such as ``0/dense-16-mae``.
            files: content per file name, such as ``serving.onnx``.

        Returns:
            The URI of each, ``file://`` or ``s3://``, readable without MLflow.
        """
        with self._server(f"storing network {slot!r} of fit {fit.id}"):
            folder = f"{self._logged_model(_run_id(fit)).artifact_location}/networks/{safe_name(slot)}"
        uris = {name: f"{folder}/{safe_name(name)}" for name in files}
        for name, content in files.items():
            self._artifacts.write(uris[name], content)
        return uris

    def log_fit(
        self,
        group: Group,
        fit: Fit,
        *,
        params: Mapping[str, str | int | float],
        metrics: Mapping[str, float],
        tables: Mapping[str, Mapping[str, Sequence[Any]]],
        charts: Mapping[str, bytes],
    ) -> None:
        """Params, metrics, per-variable tables (by columns) and charts (PNG) of a fit.

        Tables are kept as ``tables/<name>.csv`` (MLflow's pages show and sort the first 500 rows at once; its own
        JSON tables block the page for a minute with 10,000), charts as ``charts/<name>.png``. Logging the same
        again changes nothing; a metric that changed gets its new value; a param that changed keeps its first
        value, with a warning (MLflow has no other way).
        """
        run_id = _run_id(fit)
        with self._server(f"logging fit {fit.id}"):
            run = self._client.get_run(run_id)
            self._log_params(run, params)
            self._log_metrics(run, metrics)
        root = str(run.info.artifact_uri)
        for name, columns in tables.items():
            self._artifacts.write(f"{root}/tables/{safe_name(name)}.csv", _csv(columns))
        for name, png in charts.items():
            self._artifacts.write(f"{root}/charts/{safe_name(name)}.png", png)
        log.info(
            "fit %s of %s: %d params, %d metrics, %d tables, %d charts in run %s",
            *(fit.id, group.name, len(params), len(metrics), len(tables), len(charts), run_id),
        )

    # --- one registered model per group ---------------------------------------------------------------------------

    def register(
        self, group: Group, fit: Fit, networks: Sequence[NetworkFile], *, description: str, tags: Mapping[str, str]
    ) -> int:
        """A version of ``anomaly.<group>`` with the whole group's networks and a signature, as `challenger`.

        Registering the same fit again returns the version it has.

        Raises:
            ArtifactCorruptedError: a network is not what the metadata says; nothing is registered.
        """
        with self._server(f"registering fit {fit.id} as {model_name(group)}"):
            registered = self._repeated(lambda: self._register(group, fit, networks, description, tags))
            self._repeated(lambda: self._challenge(group, registered))
            self._client.set_terminated(_run_id(fit))
        return registered

    def promote(self, group: Group, version: int) -> None:
        """Makes the version the `champion`; it challenges no longer.

        Raises:
            ConfigurationError: there is no such version.
        """
        with self._server(f"promoting version {version} of {model_name(group)}"):
            name = model_name(group)
            self._client.set_registered_model_alias(name, CHAMPION, str(version))
            if self._aliases(group).get(CHALLENGER) == version:
                self._client.delete_registered_model_alias(name, CHALLENGER)

    def champion_version(self, group: Group) -> int | None:
        """The version that the alias `champion` points to; None without one."""
        with self._server(f"looking up the champion of {model_name(group)}"):
            return self._aliases(group).get(CHAMPION)

    def log_review(
        self,
        group: Group,
        fit: Fit,
        version: int,
        *,
        description: str,
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None:
        """Keeps the files under ``review/`` of the fit's run, and makes the version's page say what the review says.

        Doing it again replaces both.
        """
        run_id = _run_id(fit)
        with self._server(f"logging the review of version {version} of {model_name(group)}"):
            root = str(self._client.get_run(run_id).info.artifact_uri)
            for name, content in files.items():
                self._artifacts.write(f"{root}/review/{safe_name(name)}", content)
            self._client.update_model_version(model_name(group), str(version), description)
        self.tag(group, version, tags)

    def tag(self, group: Group, version: int, tags: Mapping[str, str]) -> None:
        """Sets tags of a version; others stay.

        Raises:
            ConfigurationError: there is no such version.
        """
        with self._server(f"tagging version {version} of {model_name(group)}"):
            for name, value in tags.items():
                self._client.set_model_version_tag(model_name(group), str(version), name, value[:_LONGEST_TAG])

    def tags(self, group: Group, version: int) -> Mapping[str, str]:
        """All tags of a version."""
        with self._server(f"reading version {version} of {model_name(group)}"):
            return dict(self._client.get_model_version(model_name(group), str(version)).tags)

    # --- experiments, runs, logged models -------------------------------------------------------------------------

    def _experiment(self, group: Group) -> str:
        """Id of the group's experiment, made if it is not there yet."""
        from mlflow.exceptions import MlflowException

        name = f"anomaly/{group.name}"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(
                    self._client.create_experiment(
                        name,
                        artifact_location=f"{self._artifacts.root}/mlflow/{group.name}",
                        tags={
                            GROUP_TAG: group.name,
                            "mlflow.note.content": _about_group(group),
                            # Else its pages are those for language models.
                            "mlflow.experimentKind": "custom_model_development",
                        },
                    )
                )
            except MlflowException as conflict:
                if conflict.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise ConfigurationError(
                f"the MLflow experiment {name!r} was deleted; restore it (mlflow experiments restore) or delete it "
                "for good (mlflow gc)"
            )
        return str(found.experiment_id)

    def _agree_on_run(self, group: Group, fit: Fit, experiment_id: str) -> str | None:
        """One round of agreeing on the fit's run; None when another process came between.

        A run is decided once its param ``model_id`` is logged, which only one process can do: with a logged
        model's id the run is the fit's, with 'none' it is withdrawn. A process keeps a run only after it has
        withdrawn every other one that it sees, so of any two runs at most one is kept.
        """
        runs = self._client.search_runs([experiment_id], f"tags.`{FIT_TAG}` = '{fit.id}'")
        decided = {run.info.run_id: run.data.params.get(MODEL_PARAM) for run in runs}
        kept = [run_id for run_id, model_id in decided.items() if model_id not in {None, _WITHDRAWN}]
        undecided = sorted(run_id for run_id, model_id in decided.items() if model_id is None)
        first = kept or undecided[:1]
        if not first:
            self._create_run(group, fit, experiment_id)
            return None
        others = [run_id for run_id in undecided if run_id not in first]
        if not all(self._withdraw(run_id) for run_id in others):
            return None
        return first[0] if kept or self._keep(group, fit, experiment_id, first[0]) else None

    def _create_run(self, group: Group, fit: Fit, experiment_id: str) -> None:
        self._client.create_run(
            experiment_id,
            run_name=f"{_day(group, fit)} {group.name}",
            tags={
                FIT_TAG: fit.id,
                GROUP_TAG: group.name,
                "mlflow.user": group.owner,
                "mlflow.source.name": "anomaly fit",
                "mlflow.source.type": "JOB",
                "mlflow.note.content": _about_fit(group, fit),
            },
        )

    def _withdraw(self, run_id: str) -> bool:
        if not self._decide(run_id, _WITHDRAWN):
            return False
        self._client.delete_run(run_id)
        return True

    def _keep(self, group: Group, fit: Fit, experiment_id: str, run_id: str) -> bool:
        from mlflow.entities import LoggedModelOutput

        model = self._client.create_logged_model(
            experiment_id,
            name=f"{group.name} {_day(group, fit)}",
            source_run_id=run_id,
            tags={FIT_TAG: fit.id, GROUP_TAG: group.name},
            model_type="anomaly networks",
        )
        if self._decide(run_id, str(model.model_id)):
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            return True
        self._client.delete_logged_model(model.model_id)
        return False

    def _decide(self, run_id: str, model_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_param(run_id, MODEL_PARAM, model_id)
        except MlflowException as refused:
            if refused.error_code != "INVALID_PARAMETER_VALUE":
                raise
            return False
        return True

    def _logged_model(self, run_id: str) -> LoggedModel:
        if run_id not in self._models:
            model_id = self._client.get_run(run_id).data.params.get(MODEL_PARAM)
            if model_id in {None, _WITHDRAWN}:
                raise ConfigurationError(f"run {run_id} was not started by this system; start the fit again")
            self._models[run_id] = self._client.get_logged_model(model_id)
        return self._models[run_id]

    def _log_params(self, run: Run, params: Mapping[str, str | int | float]) -> None:
        from mlflow.entities import Param

        written = {_key(name): str(value)[:_LONGEST_PARAM] for name, value in params.items()}
        there = run.data.params
        for name in sorted(name for name, value in written.items() if there.get(name, value) != value):
            log.warning(
                "param %s of run %s stays %r; this time it was %r", name, run.info.run_id, there[name], written[name]
            )
        new = [Param(name, value) for name, value in written.items() if name not in there]
        for batch in _batches(new, _PARAMS_PER_REQUEST):
            self._client.log_batch(run.info.run_id, params=batch)

    def _log_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        moment = time.time_ns() // 1_000_000
        model_id = self._logged_model(run.info.run_id).model_id
        written = {_key(name): float(value) for name, value in metrics.items()}
        new = [
            # With the model's id, so that the model's page shows them too.
            Metric(name, value, moment, 0, model_id=model_id)
            for name, value in written.items()
            if not _same(run.data.metrics.get(name), value)
        ]
        for batch in _batches(new, _METRICS_PER_REQUEST):
            self._client.log_batch(run.info.run_id, metrics=batch)

    # --- versions -------------------------------------------------------------------------------------------------

    def _registered_model(self, group: Group) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(
                model_name(group),
                tags={GROUP_TAG: group.name, "owner": group.owner},
                description=_about_group(group),
            )
        except MlflowException as conflict:
            if conflict.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _register(
        self, group: Group, fit: Fit, networks: Sequence[NetworkFile], description: str, tags: Mapping[str, str]
    ) -> int:
        self._registered_model(group)
        registered = self._version_of(group, _run_id(fit))
        if registered is None:
            model = self._logged_model(_run_id(fit))
            self._write_model(model, fit, networks)
            registered = self._create_version(group, fit, model, description=description, tags=tags)
        return registered

    def _version_of(self, group: Group, run_id: str) -> int | None:
        """The first version made of this run. Numbers are given out one after the other, so of two processes
        that register at once both see the smaller one."""
        found = self._client.search_model_versions(f"name = '{model_name(group)}' and run_id = '{run_id}'")
        return min((int(v.version) for v in found), default=None)

    def _create_version(
        self, group: Group, fit: Fit, model: LoggedModel, *, description: str, tags: Mapping[str, str]
    ) -> int:
        run_id = _run_id(fit)
        created = self._client.create_model_version(
            model_name(group),
            source=model.artifact_location,
            run_id=run_id,
            model_id=model.model_id,
            description=description,
            tags={FIT_TAG: fit.id, **tags},
            await_creation_for=0,  # its files are complete already
        )
        mine = int(created.version)
        first = self._version_of(group, run_id) or mine
        if first != mine:
            self._client.delete_model_version(model_name(group), str(mine))
        return first

    def _challenge(self, group: Group, registered: int) -> None:
        """Points `challenger` to the version, unless it, or a later one, already challenges or serves."""
        aliases = self._aliases(group)
        if registered > max(aliases.get(CHAMPION, 0), aliases.get(CHALLENGER, 0)):
            self._client.set_registered_model_alias(model_name(group), CHALLENGER, str(registered))

    def _aliases(self, group: Group) -> dict[str, int]:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_registered_model(model_name(group)).aliases
        except MlflowException as unknown:
            if unknown.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {alias: int(number) for alias, number in found.items()}

    def _write_model(self, model: LoggedModel, fit: Fit, networks: Sequence[NetworkFile]) -> None:
        """Writes what makes the stored networks a model: MLmodel, the code, requirements."""
        from mlflow.models import Model

        served = {n.slot: self._artifacts.read(n.serving_uri, sha256=n.serving_sha256) for n in networks}
        trained = {n.slot: self._artifacts.read(n.training_uri, sha256=n.training_sha256) for n in networks}
        location = str(model.artifact_location)
        described = Model(
            artifact_path=location, model_uuid=model.model_id, run_id=_run_id(fit), model_id=model.model_id
        )
        size = sum(map(len, (*served.values(), *trained.values())))
        for path, content in _model_files(described, fit, networks, served, location=location, size=size).items():
            self._artifacts.write(f"{location}/{path}", content)
        self._client.finalize_logged_model(model.model_id, "READY")

    # --- the server -----------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> MlflowClient:
        for name, value in MLFLOW_DEFAULTS.items():
            os.environ.setdefault(name, value)
        # It asks for an example to try the signature on; ours is read from the network itself.
        warnings.filterwarnings("ignore", message=".*input example was not provided", category=UserWarning)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._tracking_uri, registry_uri=self._tracking_uri)

    def _repeated(self, step: Callable[[], T]) -> T:
        """Does a step that can be repeated; again when the server's database saw two at once do the same."""
        from mlflow.exceptions import MlflowException

        for _ in range(_ROUNDS):
            try:
                return step()
            except MlflowException as clash:
                if not _is_clash(clash):
                    raise
        return step()

    @contextmanager
    def _server(self, doing: str) -> Iterator[None]:
        """Turns MLflow's one exception into ours: whether trying again helps."""
        self._client  # noqa: B018  (settings before the first import of mlflow)
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as failed:
            what = f"{doing}: the MLflow server at {self._tracking_uri}"
            if failed.error_code in _TRANSIENT or _is_clash(failed):
                raise RegistryUnavailableError(
                    f"{what} did not answer or failed: {failed.message}; check that it runs and that "
                    "MLFLOW_TRACKING_URI is its address"
                ) from failed
            raise ConfigurationError(f"{what} refused with {failed.error_code}: {failed.message}") from failed


def _is_clash(failed: MlflowException) -> bool:
    """Whether two wrote the same row at once: MLflow passes its database's complaint on as a bad request."""
    return "IntegrityError" in failed.message


def _model_files(
    described: Any, fit: Fit, networks: Sequence[NetworkFile], served: Mapping[str, bytes], *, location: str, size: int
) -> dict[str, bytes]:
    """MLmodel and its companions, by path, for networks of `size` bytes that are already at `location`."""
    from mlflow import pyfunc

    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "model"
        pyfunc.save_model(
            str(at),
            python_model=str(_MODEL_CODE),
            mlflow_model=described,
            signature=_signature(networks, served),
            # Without them MLflow loads the model in a new process to find out: 15 seconds.
            pip_requirements=[f"{name}=={installed_version(name)}" for name in _SERVED_WITH],
            metadata={"fit_id": fit.id, "group": fit.group},
            model_config={
                "networks": {
                    n.slot: {
                        "candidate": n.candidate,
                        "variables": n.variables,
                        "training": f"{n.slot}/training",
                        "training_sha256": n.training_sha256,
                        "serving": f"{n.slot}/serving",
                        "serving_sha256": n.serving_sha256,
                    }
                    for n in networks
                }
            },
        )
        described.model_size_bytes = size
        flavor = described.flavors[pyfunc.FLAVOR_NAME]
        flavor["model_code_path"] = _MODEL_CODE.name  # not where it lies on this machine
        del flavor["cloudpickle_version"]  # nothing is pickled
        flavor["artifacts"] = {
            f"{n.slot}/{form}": {"path": _below(location, uri), "uri": uri}
            for n in networks
            for form, uri in (("training", n.training_uri), ("serving", n.serving_uri))
        }
        described.save(str(at / "MLmodel"))
        return {str(p.relative_to(at)): p.read_bytes() for p in sorted(at.rglob("*")) if p.is_file()}


def _below(location: str, uri: str) -> str:
    if not uri.startswith(f"{location}/"):
        raise ConfigurationError(
            f"{uri} is not among the networks of this fit, which are below {location}; store it with log_network first"
        )
    return uri.removeprefix(f"{location}/")


def _signature(networks: Sequence[NetworkFile], served: Mapping[str, bytes]) -> ModelSignature | None:
    """Per slot a tensor of windows (V, B, L, F) to a tensor of predictions (V, B); B is free."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if not networks:
        return None
    kind = np.dtype(np.float32)
    shapes = {n.slot: (n.variables, -1, *_window_shape(served[n.slot])) for n in networks}
    return ModelSignature(
        inputs=Schema([TensorSpec(kind, shape, slot) for slot, shape in shapes.items()]),
        outputs=Schema([TensorSpec(kind, shape[:2], slot) for slot, shape in shapes.items()]),
    )


def _window_shape(serving: bytes) -> tuple[int, int]:
    """(L, F) that a serving form takes; -1 where it takes any."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (source,) = onnxruntime.InferenceSession(serving, options, providers=["CPUExecutionProvider"]).get_inputs()
    length, features = (size if isinstance(size, int) else -1 for size in source.shape[2:])
    return length, features


def _csv(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """A table by columns as CSV in UTF-8; what is unknown is empty."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    # Six digits, for people to read: the exact numbers are in the metadata.
    if isinstance(value, SupportsFloat) and not isinstance(value, SupportsIndex):
        return f"{float(value):.6g}" if math.isfinite(value) else ""
    return "" if value is None else value


def _key(name: str) -> str:
    """A param's or metric's name with what MLflow takes."""
    return re.sub(r"[^\w./ :-]", "_", name)


def _same(there: float | None, value: float) -> bool:
    return there is not None and (there == value or (math.isnan(there) and math.isnan(value)))


def _batches(entries: list[Any], size: int) -> Iterator[list[Any]]:
    for at in range(0, len(entries), size):
        yield entries[at : at + size]


def _run_id(fit: Fit) -> str:
    if fit.mlflow_run_id is None:
        raise ConfigurationError(f"fit {fit.id} has no MLflow run yet; start_run comes first")
    return fit.mlflow_run_id


def _day(group: Group, fit: Fit) -> str:
    return f"{fit.history.end.astimezone(group.zone):%Y-%m-%d}"


def _about_group(group: Group) -> str:
    return (
        f"{group.description or f'Variable group {group.name}.'}\n\nHow often each variable of the group "
        f"**{group.name}** is written, every {_readable(group)}, predicted by a network of its own. "
        f"Owner: {group.owner}. Alerts: {group.slack.channel}."
    )


def _about_fit(group: Group, fit: Fit) -> str:
    start, end = (moment.astimezone(group.zone) for moment in (fit.history.start, fit.history.end))
    return (
        f"Fit of the group **{group.name}** on {len(fit.history):,} intervals, one every {_readable(group)}, "
        f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({group.timezone}).\n\n"
        f"Fit `{fit.id}`. Tables and charts: under *Artifacts*. Networks: in the logged model."
    )


def _readable(group: Group) -> str:
    minutes = int(group.interval.total_seconds()) // 60
    for size, unit in ((1440, "day"), (60, "hour")):
        if minutes % size == 0:
            return unit if minutes == size else f"{minutes // size} {unit}s"
    return f"{minutes} minutes"
