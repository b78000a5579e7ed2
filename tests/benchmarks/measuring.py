"""What benchmarks share: the record of a figure, cold processes, synthetic counts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Figure:
    """One ratio, its goal if it has one, and what it was made of."""

    name: str
    value: float
    goal: float | None
    sense: Literal["at least", "at most"]
    unit: str
    details: Mapping[str, float | int | str]

    @property
    def reached(self) -> bool:
        if self.goal is None:
            return True
        return self.value >= self.goal if self.sense == "at least" else self.value <= self.goal


def cold_seconds(code: str, *arguments: str) -> float:
    """Wall time of a new Python process that runs the code and ends, in seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "TF_CPP_MIN_LOG_LEVEL": "3"},  # noqa: PTH109
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr[-3000:]}")
    return seconds


def in_turns(codes: Mapping[str, Sequence[str]], *, rounds: int) -> dict[str, float]:
    """Median cold seconds of each, measured in turns so that a busy minute falls on all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, (code, *arguments) in codes.items():
            seconds[name].append(cold_seconds(code, *arguments))
    return {name: median(measured) for name, measured in seconds.items()}


def hourly_counts(variables: int, days: int, *, seed: int = 1) -> NDArray[np.int64]:
    """Poisson counts (V, T) with a day, a week and slow drift of each variable's own."""
    rng = np.random.default_rng(seed)
    hour = np.arange(days * 24)
    level = rng.lognormal(3, 1, (variables, 1))
    day = 1 + rng.uniform(0.3, 0.9, (variables, 1)) * np.sin((hour + rng.uniform(0, 24, (variables, 1))) * np.pi / 12)
    week = 1 + rng.uniform(0, 0.3, (variables, 1)) * np.sin(hour * np.pi / 84)
    drift = np.exp(np.cumsum(0.01 * rng.standard_normal((variables, len(hour))), axis=1))
    counts: NDArray[np.int64] = rng.poisson(level * day * week * np.clip(drift, 0.3, 3))
    return counts
