"""Which variables a network can learn, and what the others get instead.

In: counts (V, T), NaN before a variable's first interval. Out: a status and its reason per variable.

===========  ==============================================  =================================================
status       when                                            what it gets
===========  ==============================================  =================================================
``new``      less history than the policy asks for           no judgement until the next fit that finds enough
``dead``     never written in its whole history              a forecast of 0, judged for surges only
``constant`` the same count in every interval                that count as the forecast
``sparse``   fewer than `SPARSE_RATE` events per interval    its mean rate as the forecast
``fitted``   all others                                      the best candidate
===========  ==============================================  =================================================

Thresholds of the fallbacks come from the same policy; their residuals are degenerate, so the distribution is the
guarded one with its floor (`anomaly.detection.residuals`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Status = Literal["fitted", "new", "dead", "constant", "sparse"]

RARE_RATE = 3.0
"""Events per interval. Below, single intervals say little, the median hardly anything: such variables are forecast by
their mean and judged by the distribution of their counts (`anomaly.detection.evidence`)."""
SPARSE_RATE = 0.01
"""Events per interval. Below one event in a hundred intervals, there is no pattern to learn."""
LEAST_WINDOWS = 20
"""Windows without which there is nothing to learn from."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`constant`: what a fallback forecasts, in events per interval; NaN for fitted and new variables."""

    status: Status
    reason: str
    constant: float = float("nan")


def classify(counts: NDArray[np.float64], *, required: int, warm_up: int) -> tuple[Judgement, ...]:
    """What each variable gets.

    Args:
        counts: (V, T), NaN where there is none; may hold stand-ins, which are rounded.
        required: intervals of history that the policy asks for.
        warm_up: intervals that the longest window needs before it can predict one.
    """
    return tuple(_judge(np.round(row[np.isfinite(row)], 6), required, warm_up) for row in counts)


def _judge(known: NDArray[np.float64], required: int, warm_up: int) -> Judgement:
    if known.size < required:
        return Judgement("new", f"{known.size} intervals of history; the policy asks for {required}")
    if not known.any():
        return Judgement("dead", f"no event in {known.size} intervals", 0.0)
    if known.min() == known.max():
        return Judgement("constant", f"{known[0]:g} events in each of {known.size} intervals", float(known[0]))
    rate = float(known.mean())
    if rate < SPARSE_RATE:
        return Judgement("sparse", f"{rate:.2g} events per interval, fewer than {SPARSE_RATE:g}", rate)
    if known.size < warm_up + LEAST_WINDOWS:
        return Judgement(
            "new", f"{known.size} intervals of history; windows need {warm_up} before the first of {LEAST_WINDOWS}"
        )
    return Judgement("fitted", f"{rate:.3g} events per interval in {known.size} intervals")
