"""What the DAGs of a group hand to each other, as Airflow assets: Airflow's asset graph shows the flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow.sdk import Asset, Context

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

    @classmethod
    def of(cls, group: Group) -> GroupAssets:
        def asset(what: str) -> Asset:
            # By name alone: for a URI, Airflow loads every provider to ask what it makes of the scheme.
            return Asset(f"anomaly.{group.name}.{what}", group="anomaly")

        return cls(asset("counts"), asset("model"), asset("predictions"), asset("incidents"))


def tell(context: Context | dict[str, Any], asset: Asset, done: Done) -> dict[str, Any]:
    """Puts what was done on the asset event that this task emits when it succeeds; returns the report."""
    covered = {"start": done.within.start.isoformat(), "end": done.within.end.isoformat()}
    context["outlet_events"][asset].extra = {**done.report, **covered, "seconds": round(done.seconds, 1)}
    return done.report
