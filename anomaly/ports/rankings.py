"""What ranks a group's incidents by what people said of earlier ones, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from anomaly.detection.ranking import Ranking
from anomaly.groups import Group


@dataclass(frozen=True, slots=True)
class KeptRanking:
    """A ranking that serves."""

    ranking: Ranking
    learned_at: datetime
    version: int | None = None
    """Of the registered model ``anomaly.<group>.ranking``; None while MLflow has not taken it."""


class Rankings(Protocol):
    """PostgreSQL: the serving copy, so that no alert waits for MLflow."""

    def serving(self, group: Group) -> KeptRanking | None: ...

    def serve(self, group: Group, kept: KeptRanking) -> None:
        """Takes the place of the one before."""


class RankingRegistry(Protocol):
    """MLflow: one run and one version of ``anomaly.<group>.ranking`` per ranking."""

    def register_ranking(
        self,
        group: Group,
        ranking: Mapping[str, Any],
        *,
        params: Mapping[str, str | int | float],
        metrics: Mapping[str, float],
        description: str,
    ) -> int:
        """A version whose alias is `champion`.

        Args:
            ranking: as `Ranking.as_json` writes it.

        Raises:
            RegistryUnavailableError, ArtifactsUnavailableError
        """
