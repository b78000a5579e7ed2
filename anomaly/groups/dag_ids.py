"""What a group's DAGs are called: one word for who makes them and for who looks whether they are there."""

from __future__ import annotations

from anomaly.groups.model import Group

MEASURING = "detectability"


def watching(group: Group) -> str:
    """The DAG that updates, predicts and alerts."""
    return f"anomaly.{group.name}"


def fitting(group: Group) -> str:
    return f"anomaly.{group.name}.fit"


def measuring(group: Group) -> str:
    """The DAG that measures what the variables would notice, if the group wants it."""
    return f"anomaly.{group.name}.{MEASURING}"


def dag_ids(group: Group) -> tuple[str, ...]:
    """All that the group has."""
    ids = (watching(group), fitting(group))
    return ids if group.schedule.detectability is None else (*ids, measuring(group))
