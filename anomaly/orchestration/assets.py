"""What the DAGs of a group hand to each other, as Airflow assets: Airflow's asset graph shows the flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk import Asset, Context

from anomaly.groups import Group, TimeRange


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
            return Asset(
                name=f"anomaly.{group.name}.{what}", uri=f"anomaly://{group.name}/{what}", group="anomaly"
            )

        return cls(asset("counts"), asset("model"), asset("predictions"), asset("incidents"))


def tell(context: Context, asset: Asset, report: Mapping[str, Any], within: TimeRange | None = None) -> None:
    """Puts the report on the asset event that this task emits when it succeeds."""
    covered = {"start": within.start.isoformat(), "end": within.end.isoformat()} if within else {}
    context["outlet_events"][asset].extra = {**covered, **report}
