"""Ranking on a real PostgreSQL and a real MLflow: learned from labels, served, and used by alert."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly.adapters.mlflow_rankings import MlflowRankings
from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.rankings import PostgresRankings
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.incidents import Incident, IncidentVariable, rated
from anomaly.detection.ranking import FEATURES, Memory, features
from anomaly.exceptions import RegistryUnavailableError
from anomaly.groups import Group
from anomaly.stages import label
from anomaly.stages.labelled import drafted
from anomaly.stages.ranking import learn_ranking, low_rank

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBER = 42


@pytest.fixture
def labels(metadata_database: dict[str, str]) -> PostgresLabels:
    return PostgresLabels(metadata_database)


@pytest.fixture
def rankings(metadata_database: dict[str, str]) -> PostgresRankings:
    return PostgresRankings(metadata_database)


@dataclass
class Registered:
    """Port `RankingRegistry`: notes what it is given, and can be down."""

    down: bool = False
    given: list[Mapping[str, Any]] = field(default_factory=list)

    def register_ranking(self, group: Group, ranking: Mapping[str, Any], **_: Any) -> int:
        if self.down:
            raise RegistryUnavailableError("MLflow is down")
        self.given.append(ranking)
        return len(self.given)


def incident(number: int, *, real: bool) -> Incident:
    """A large silence of one of several variables, or a small surge of one that cries wolf."""
    start, hours = START + number * 20 * HOUR, 30 if real else 3
    name, kind = (f"v{number % 4}", "silent") if real else ("wolf", "surge")
    rarest = 1e-9 if real else 5e-6
    part = IncidentVariable(name, kind, start, start + hours * HOUR, hours, 0.0 if real else 120.0, 100.0, rarest, 1e-5)
    whole = Incident(
        "orders", kind, start, part.end, resolved=True, tail_probability=rarest, return_period_hours=1.0,
        variables=(part,),
    )  # fmt: skip
    return rated(whole)


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group()


@pytest.fixture
def labelled(group: Group, store: PostgresStore, labels: PostgresLabels) -> tuple[Incident, ...]:
    saved = store.save_incidents(group, [incident(n, real=n % 3 == 0) for n in range(NUMBER)])
    drafts = [
        drafted(group, one, "real" if n % 3 == 0 else "false_alarm", author="Ada", via="csv", now=one.end + 5 * HOUR)
        for n, one in enumerate(saved)
    ]
    label.take_in(group, drafts, store=store, labels=labels, now=saved[-1].end)
    return saved


def test_what_people_called_false_alarms_goes_to_the_digest_and_what_they_called_real_does_not(
    group: Group,
    store: PostgresStore,
    labels: PostgresLabels,
    rankings: PostgresRankings,
    labelled: tuple[Incident, ...],
) -> None:
    registry = Registered()
    report = learn_ranking(group, store=store, labels=labels, rankings=rankings, registry=registry, now=START)
    assert (report.learned, report.labels, report.real, report.version) == (True, NUMBER, NUMBER // 3, 1)
    assert "labelled incidents" in str(report)
    why = low_rank(group, labels=labels, rankings=rankings)
    later = [why(group, incident(NUMBER + n, real=False)) for n in range(20)]
    assert sum("by what people said of 42 earlier ones" in said for said in later) >= 15
    assert [why(group, incident(NUMBER + n, real=True)) for n in range(20)] == [""] * 20


def test_a_ranking_serves_while_mlflow_is_down(
    group: Group,
    store: PostgresStore,
    labels: PostgresLabels,
    rankings: PostgresRankings,
    labelled: tuple[Incident, ...],
) -> None:
    down = Registered(down=True)
    report = learn_ranking(group, store=store, labels=labels, rankings=rankings, registry=down, now=START)
    assert (report.learned, report.version) == (True, None)
    kept = rankings.serving(group)
    assert kept is not None
    assert (kept.learned_at, kept.version) == (START, None)


def test_without_enough_labels_nothing_is_learned_and_nothing_is_sent_down(
    group: Group, store: PostgresStore, labels: PostgresLabels, rankings: PostgresRankings
) -> None:
    report = learn_ranking(group, store=store, labels=labels, rankings=rankings, registry=Registered(), now=START)
    assert not report.learned
    assert "too few to rank by" in str(report)
    assert low_rank(group, labels=labels, rankings=rankings)(group, incident(1, real=False)) == ""


def test_the_registered_model_ranks_as_we_do_where_only_mlflow_is(
    group: Group,
    store: PostgresStore,
    labels: PostgresLabels,
    rankings: PostgresRankings,
    labelled: tuple[Incident, ...],
    mlflow_database: str,
    tmp_path: Path,
) -> None:
    registry = MlflowRankings(mlflow_database, str(tmp_path / "artifacts"))
    report = learn_ranking(group, store=store, labels=labels, rankings=rankings, registry=registry, now=START)
    assert report.version == 1
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(mlflow_database)
    model = mlflow.pyfunc.load_model(f"models:/anomaly.{group.name}.ranking@champion")
    table = np.stack([features(one, Memory(), zone=group.zone) for one in labelled])
    kept = rankings.serving(group)
    assert kept is not None
    ours = kept.ranking.trees.rank(table)
    np.testing.assert_allclose(model.predict(pd.DataFrame(table, columns=list(FEATURES))), ours, rtol=1e-12)
    (found,) = (tmp_path / "artifacts").rglob("ranking.json")
    assert json.loads(found.read_text())["labels"] == NUMBER
    assert not list((tmp_path / "artifacts").rglob("*.pkl"))
