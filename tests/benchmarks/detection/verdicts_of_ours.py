"""Our detector's answers on the workloads, each asked for once in a run: several sections look at them."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from tests.benchmarks.detection.data import Source, workload
from tests.benchmarks.detection.ours import Judged, ours


@lru_cache(maxsize=16)
def judged(source: Source, seed: int, form: Literal["clean", "injected"]) -> Judged:
    """What ours says of a workload."""
    load = workload(source, seed)
    return ours(load.counts(form), load.starts, load.step, load.zone, load.train, seed)
