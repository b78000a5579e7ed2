"""What the DAGs of a group hand to each other, as Airflow assets: Airflow's asset graph shows the flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow.sdk import Asset, AssetAlias, Context

from anomaly.groups import Group
from anomaly.orchestration.running import Done


@dataclass(frozen=True, slots=True)
class GroupAssets:
    counts: Asset
    """Events per variable and interval, in the metadata database."""
    model: Asset
    """The champion: a version of the registered model of the same name without its last part."""
    predictions: Asset
    incidents: Asset
    drift: Asset
    """That residuals have drifted: there is an event only when a fit is asked for."""

    @classmethod
    def of(cls, group: Group) -> GroupAssets:
        def asset(what: str) -> Asset:
            # By name alone: for a URI, Airflow loads every provider to ask what it makes of the scheme.
            return Asset(f"anomaly.{group.name}.{what}", group="anomaly")

        return cls(asset("counts"), asset("model"), asset("predictions"), asset("incidents"), asset("drift"))

    @property
    def drift_alias(self) -> AssetAlias:
        """Outlet of the task that looks for drift: an asset as outlet would have an event each time the task runs."""
        return AssetAlias(f"{self.drift.name}.looked", group="anomaly")


def tell(context: Context | dict[str, Any], asset: Asset, done: Done) -> dict[str, Any]:
    """Puts what was done on the asset event that this task emits when it succeeds; returns the report."""
    covered = {"start": done.within.start.isoformat(), "end": done.within.end.isoformat()}
    context["outlet_events"][asset].extra = {**done.report, **covered, "seconds": round(done.seconds, 1)}
    return done.report
