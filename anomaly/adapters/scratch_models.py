"""Models of a backtest: a registry in memory, networks in a temporary folder, charts that nobody draws.

In: what fit hands to a registry. Out: version numbers in order, and networks that can be read back. Everything that
is kept for people (params, tables, descriptions, charts of a fit) is dropped: a backtest's fits are looked at by
their alerts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anomaly.adapters.artifacts import Artifacts, safe_name
from anomaly.groups import Group
from anomaly.ports import ChartData, Fit, Floats, NetworkFile

_NO_PICTURE = b"none"
"""Stands for a chart where one must be handed on; empty bytes would mean that there is none."""


class ScratchRegistry:
    """Implements `anomaly.ports.ModelRegistry` for the length of a backtest.

    Args:
        artifacts: where networks go: below its root.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._versions: dict[str, int] = {}
        self._champions: dict[str, int] = {}

    def start_run(self, group: Group, fit: Fit) -> str:  # noqa: ARG002
        return fit.id

    def log_network(self, fit: Fit, slot: str, files: Mapping[str, bytes]) -> Mapping[str, str]:
        uris = {name: f"{self._artifacts.root}/{fit.id}/{safe_name(slot)}/{name}" for name in files}
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
        """Nobody looks at it."""

    def register(
        self,
        group: Group,  # noqa: ARG002
        fit: Fit,
        networks: Sequence[NetworkFile],  # noqa: ARG002
        *,
        description: str,  # noqa: ARG002
        tags: Mapping[str, str],  # noqa: ARG002
    ) -> int:
        return self._versions.setdefault(fit.id, len(self._versions) + 1)

    def promote(self, group: Group, version: int) -> None:
        self._champions[group.name] = version

    def champion_version(self, group: Group) -> int | None:
        return self._champions.get(group.name)

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
        """Nobody looks at it."""

    def tag(self, group: Group, version: int, tags: Mapping[str, str]) -> None:
        """Nobody reads them."""

    def tags(self, group: Group, version: int) -> Mapping[str, str]:  # noqa: ARG002
        return {}


class NoCharts:
    """Implements `anomaly.ports.Charts` and `FitCharts`, and `ChartStore`, without drawing anything."""

    def incident(self, data: ChartData) -> bytes:  # noqa: ARG002
        return _NO_PICTURE

    def candidate_errors(self, mae_by_candidate: Mapping[str, Floats]) -> bytes:  # noqa: ARG002
        return _NO_PICTURE

    def residual_overview(
        self,
        residuals: Mapping[str, Floats],  # noqa: ARG002
        lower: Mapping[str, float],  # noqa: ARG002
        upper: Mapping[str, float],  # noqa: ARG002
    ) -> bytes:
        return _NO_PICTURE

    def save(self, name: str, png: bytes) -> str:  # noqa: ARG002
        return ""
