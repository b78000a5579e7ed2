"""A group with real stores, in which a test writes counts and fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.adapters import charts, review_charts
from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.mlflow_registry import MlflowRegistry
from anomaly.adapters.model_cards import model_card
from anomaly.adapters.postgres.diff_charts import PostgresDiffCharts
from anomaly.adapters.postgres.reviews import PostgresReviews
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.serving import load_forecaster
from anomaly.detection.grid import CountGrid
from anomaly.groups import Group, TimeRange
from anomaly.groups.golden import Golden
from anomaly.ports import Fit, FittedVariable
from anomaly.stages import fit as stage
from anomaly.stages.predict import PredictReport, predict
from anomaly.stages.reviewing import ReviewReport, review
from tests.stages.conftest import HOUR, START

DAY = 24
FIRST_FIT = 24 * DAY


@dataclass
class Workplace:
    """A group with its stores, whose counts a test writes."""

    group: Group
    store: PostgresStore
    checks: GreatExpectationsChecks
    registry: MlflowRegistry
    artifacts: Artifacts

    def count(self, counts: dict[str, NDArray[np.float64]], first: int = 0) -> None:
        """Counts per variable from an hour on, as update would leave them."""
        start = START + first * HOUR
        end = start + len(next(iter(counts.values()))) * HOUR
        self.store.enrol(self.group, dict.fromkeys(counts, "numeric"), first_interval=start)
        variables = [v for v in self.store.variables(self.group) if v.name in counts]
        within = TimeRange(start, end, HOUR)
        table = np.array([counts[v.name] for v in variables])
        self.store.write_counts(self.group, variables, CountGrid(tuple(counts), within.starts(), table))
        self.store.mark_updated(self.group, within, rows_read=0, events=0, at=start)

    def prepare(self, hours: int, *, reason: str = "") -> Fit:
        return stage.prepare(
            self.group,
            START + hours * HOUR,
            store=self.store,
            checks=self.checks,
            registry=self.registry,
            now=START,
            reason=reason,
        )

    def train(self, fit: Fit, shard: int = 0) -> stage.TrainReport:
        return stage.train(
            self.group,
            fit.id,
            shard,
            store=self.store,
            registry=self.registry,
            artifacts=self.artifacts,
            forecaster=load_forecaster,
        )

    def register(self, fit: Fit) -> stage.RegisterReport:
        return stage.register(self.group, fit.id, store=self.store, registry=self.registry, charts=charts)

    def promote(self, fit: Fit) -> stage.PromoteReport:
        return stage.promote(self.group, fit.id, store=self.store, registry=self.registry)

    @property
    def reviews(self) -> PostgresReviews:
        return PostgresReviews(self.store._arguments)

    @property
    def diff_charts(self) -> PostgresDiffCharts:
        return PostgresDiffCharts(self.store._arguments)

    def reviewed(self, hours: int, *, golden: Sequence[Golden] = (), reason: str = "") -> Fit:
        """Every step of a fit up to its review, without a decision."""
        fit = self.prepare(hours, reason=reason)
        for shard in range(fit.shards):
            self.train(fit, shard)
        self.register(fit)
        self.review(fit, golden=golden)
        return self.saved(fit)

    def review(self, fit: Fit, *, golden: Sequence[Golden] = ()) -> ReviewReport:
        return review(
            self.group,
            fit.id,
            store=self.store,
            reviews=self.reviews,
            registry=self.registry,
            artifacts=self.artifacts,
            forecaster=load_forecaster,
            charts=review_charts,
            card=model_card,
            golden=golden,
            diff_charts=self.diff_charts,
            now=START,
        )

    def decide(self, fit: Fit, *, last_call: bool = False) -> stage.PromoteReport:
        """Promotes by the review, as the DAG does."""
        return stage.promote(
            self.group,
            fit.id,
            store=self.store,
            registry=self.registry,
            reviews=self.reviews,
            now=START,
            last_call=last_call,
        )

    def predict(self, first: int, last: int) -> PredictReport:
        return predict(
            self.group,
            START + first * HOUR,
            START + last * HOUR,
            store=self.store,
            checks=self.checks,
            artifacts=self.artifacts,
            forecaster=load_forecaster,
            now=START,
        )

    def all_steps(self, hours: int) -> Fit:
        fit = self.prepare(hours)
        for shard in range(fit.shards):
            self.train(fit, shard)
        self.register(fit)
        self.promote(fit)
        return self.saved(fit)

    def saved(self, fit: Fit) -> Fit:
        found = self.store.fit(fit.id)
        assert found is not None
        return found

    def fitted(self, fit: Fit) -> dict[str, FittedVariable]:
        return {f.variable.name: f for f in self.store.fitted(fit.id, residuals=True)}


def wavy(hours: int, *, level: float = 20, seed: int = 0) -> NDArray[np.float64]:
    """Counts that follow what was written an hour ago, with noise: a network can learn it, a calendar cannot."""
    rng = np.random.default_rng(seed)
    wave = np.zeros(hours)
    for hour in range(1, hours):
        wave[hour] = 0.98 * wave[hour - 1] + 0.2 * rng.standard_normal()
    return rng.poisson(level * np.exp(wave)).astype(float)


def regular(hours: int, *, level: float = 40) -> NDArray[np.float64]:
    """The same every day, hour by hour."""
    hour = np.arange(hours) % DAY
    return np.round(level * (1 + np.sin(hour / DAY * 2 * np.pi))) + hour % 3
