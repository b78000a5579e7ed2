"""Measuring what a group's variables would notice: the stage with real adapters, put on record like the others.

In: a `World` and a group. Out: what was found, in a sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anomaly.adapters.world import World
from anomaly.groups import Group
from anomaly.orchestration.running import Clock, utc_now
from anomaly.stages import detectability as stage


def run_detectability(
    world: World,
    group: Group,
    *,
    days: int = stage.DAYS,
    told: Callable[[int, int], None] = lambda done, of: None,  # noqa: ARG005
    clock: Clock = utc_now,
) -> stage.DetectabilityReport:
    """Measures all variables of the group. See `anomaly.stages.detectability.measure`."""
    began = time.perf_counter()
    store = world.store()
    report = stage.measure(
        group,
        days=days,
        store=store,
        detectability=world.detectability(),
        artifacts=world.artifacts(),
        forecaster=world.forecaster(),
        now=clock(),
        labels=world.labels(),
        told=told,
    )
    store.record_run(
        group,
        "detectability",
        report.within,
        seconds=time.perf_counter() - began,
        report=report.as_dict(),
        at=clock(),
    )
    return report
