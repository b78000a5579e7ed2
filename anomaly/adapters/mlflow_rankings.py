"""Rankings in MLflow: `anomaly.ports.rankings.RankingRegistry`.

One run in the group's experiment and one version of ``anomaly.<group>.ranking`` per ranking: its parameters, how well
it ranks what it does not know, and the trees as JSON beside the code that walks them (decision 11). Files are
written directly, as `anomaly.adapters.mlflow_registry` does, so that no MLflow server has to proxy them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from anomaly.adapters.mlflow_registry import CHAMPION, GROUP_TAG, MlflowRegistry, model_name
from anomaly.groups import Group

_CODE = Path(__file__).with_name("mlflow_ranking_model.py")
_SERVED_WITH = ("mlflow", "numpy", "pandas")


class MlflowRankings(MlflowRegistry):
    """Implements `anomaly.ports.rankings.RankingRegistry`: the same server, experiment and retries."""

    def register_ranking(
        self,
        group: Group,
        ranking: Mapping[str, Any],
        *,
        params: Mapping[str, str | int | float],
        metrics: Mapping[str, float],
        description: str,
    ) -> int:
        name = f"{model_name(group)}.ranking"
        with self._server(f"registering a version of {name}"):
            run = self._client.create_run(
                self._experiment(group), run_name="ranking", tags={GROUP_TAG: group.name, "anomaly.kind": "ranking"}
            )
            for key, value in params.items():
                self._client.log_param(run.info.run_id, key, value)
            for key, value in metrics.items():
                self._client.log_metric(run.info.run_id, key, value)
            source = f"{run.info.artifact_uri}/ranking"
        for path, content in _files(ranking).items():
            self._artifacts.write(f"{source}/{path}", content)
        with self._server(f"registering a version of {name}"):
            self._named(name, group)
            created = self._client.create_model_version(
                name, source=source, run_id=run.info.run_id, description=description, await_creation_for=0
            )
            self._client.set_registered_model_alias(name, CHAMPION, created.version)
            self._client.set_terminated(run.info.run_id)
        return int(created.version)

    def _named(self, name: str, group: Group) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(
                name,
                tags={GROUP_TAG: group.name, "owner": group.owner},
                description=f"Ranks incidents of {group.name} by what people said of earlier ones.",
            )
        except MlflowException as conflict:
            if conflict.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _files(ranking: Mapping[str, Any]) -> dict[str, bytes]:
    """MLmodel and its companions, by path."""
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = Schema([ColSpec("double", name) for name in ranking["trees"]["features"]])
    with tempfile.TemporaryDirectory() as folder:
        trees, at = Path(folder) / "ranking.json", Path(folder) / "model"
        trees.write_text(json.dumps(ranking), encoding="utf-8")
        pyfunc.save_model(
            str(at),
            python_model=str(_CODE),
            artifacts={"ranking": str(trees)},
            signature=ModelSignature(columns, Schema([ColSpec("double")])),
            pip_requirements=[f"{name}=={installed_version(name)}" for name in _SERVED_WITH],
        )
        return {str(p.relative_to(at)): p.read_bytes() for p in sorted(at.rglob("*")) if p.is_file()}
