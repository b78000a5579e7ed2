"""A group whose counts a test writes, judged by a champion without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.calibration import IDENTITY
from anomaly.detection.evidence import ANY, SINGLE, FittedTest
from anomaly.detection.grid import CountGrid
from anomaly.groups import Group, TimeRange
from anomaly.ports import DataChecks, Fit, FittedVariable, Forecaster, Predictions, Variable
from anomaly.ports.labels import Labels
from anomaly.stages.predict import PredictReport, predict
from tests.stages.conftest import HOUR, START

WEEK = 168
HISTORY = 5 * WEEK
TAIL = 1e-4
DEVIATIONS = 3.8906
"""Beyond so many on either side lies `TAIL` of a normal distribution."""


class NoNetworks:
    """Stands where artifacts and their loader would: these tests' forecasts have no weights."""

    def read(self, uri: str, *, sha256: str) -> bytes:
        raise AssertionError(f"nothing should be read, but {uri} was")

    def __call__(self, serving: bytes) -> Forecaster:
        raise AssertionError("no network should be loaded")


@dataclass
class Watched:
    """A group of variables with counts in the store and a champion without weights."""

    group: Group
    store: PostgresStore
    checks: DataChecks
    variables: tuple[Variable, ...]
    labels: Labels | None = None

    def predict(self, first: int, last: int) -> PredictReport:
        return predict(
            self.group,
            START + first * HOUR,
            START + last * HOUR,
            store=self.store,
            checks=self.checks,
            artifacts=NoNetworks(),
            forecaster=NoNetworks(),
            now=START,
            labels=self.labels,
        )

    def promote(
        self,
        name: str,
        serves_from: int,
        *,
        threshold: float = 4.0,
        version: int = 1,
        configuration: dict[str, str] | None = None,
        tests: Sequence[tuple[FittedTest, ...]] | None = None,
        month_days: Mapping[int, tuple[float, float]] | None = None,
    ) -> None:
        """A fit of the naive forecast, by default with the test of single intervals alone."""
        history = TimeRange(START, START + serves_from * HOUR, HOUR)
        self.store.save_fit(
            Fit(name, self.group.name, history, configuration or {}, 1, "promoted", "run", version, history.end)
        )
        given = tests or [judged_singly(threshold)] * len(self.variables)
        made = [
            fitted(v, threshold, tests=own, month_days=month_days or {})
            for v, own in zip(self.variables, given, strict=True)
        ]
        self.store.save_fitted(name, made, [])

    def predictions(self, first: int, last: int) -> Predictions:
        within = TimeRange(START + first * HOUR, START + last * HOUR, HOUR)
        found = self.store.read_predictions(self.group, self.variables, within)
        assert found is not None
        return found

    def rewrite(self, counts: NDArray[np.float64]) -> None:
        within = TimeRange(START, START + counts.shape[1] * HOUR, HOUR)
        grid = CountGrid(tuple(v.name for v in self.variables), within.starts(), counts)
        self.store.write_counts(self.group, self.variables, grid)
        self.store.mark_updated(self.group, within, rows_read=0, events=0, at=START)


def judged_singly(threshold: float) -> tuple[FittedTest, ...]:
    """Tests by which residuals of single intervals beyond the threshold, and nothing else, are anomalies."""
    single = FittedTest(SINGLE, "norm", (0.0, threshold / DEVIATIONS), IDENTITY, "")
    return single, FittedTest(ANY, "any", (), IDENTITY, "")


def fitted(variable: Variable, threshold: float = 4.0, **changes: object) -> FittedVariable:
    """A variable of the naive forecast whose residuals beyond the threshold are anomalies."""
    values: dict[str, object] = {
        "variable": variable,
        "status": "fitted",
        "status_reason": "",
        "candidate": "seasonal-naive",
        "slot": "",
        "position": 0,
        "seed": 1,
        "scaler_minimum": 1.2,
        "scaler_maximum": 9.0,
        "mae": {},
        "choice": "",
        "distribution": "norm",
        "parameters": (0.0, threshold / DEVIATIONS),
        "distribution_reason": "",
        "tail_probability": TAIL,
        "lower": -threshold,
        "upper": threshold,
        "residuals": np.linspace(-2, 2, 50, dtype=np.float32),
        "tests": judged_singly(threshold),
    }
    return FittedVariable(**(values | changes))  # type: ignore[arg-type]


def daily(hours: int, *, variables: int = 2, seed: int = 3) -> NDArray[np.float64]:
    """Counts with a daily pattern, quiet at night: (V, hours)."""
    rate = 20 * np.maximum(np.sin(np.arange(hours) / 24 * 2 * np.pi), 0)
    return np.random.default_rng(seed).poisson(rate, (variables, hours)).astype(float)
