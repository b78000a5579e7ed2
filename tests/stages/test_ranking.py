"""Ranking on a real PostgreSQL and a real MLflow: learned from labels, served, and used by alert."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from anomaly.adapters.mlflow_rankings import MlflowRankings
from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.rankings import PostgresRankings
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.incidents import Incident, IncidentVariable, gather, grown, rated
from anomaly.detection.ranking import FEATURES, Memory, features
from anomaly.exceptions import RegistryUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit, Predictions, RareIntervals
from anomaly.stages import label
from anomaly.stages.explaining import explained, explained_as_it_grew
from anomaly.stages.labelled import drafted
from anomaly.stages.ranking import learn_ranking, low_rank, seen

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBER = 42
NUMBERS = {
    "observed": 10.0,
    "predicted": 100.0,
    "lower": 60.0,
    "upper": 140.0,
    "residuals": -9.0,
    "tail_probabilities": 1e-9,
    "felt": 100.0,
    "outlook": 100.0,
}


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


def test_what_is_learned_from_is_what_alert_saw_when_it_opened_an_incident_and_as_it_grew(
    group: Group, store: PostgresStore
) -> None:
    hours = 9
    variables = store.enrol(group, {"a": "numeric", "b": "numeric"}, first_interval=START)
    within = TimeRange(START, START + hours * HOUR, HOUR)
    store.save_fit(Fit("f1", group.name, within, {}, 1, "promoted", "run", 1, START))
    kinds = np.full((2, hours), "drop", dtype="<U16")
    kinds[1, :6] = ""
    numbers = {name: np.full((2, hours), value) for name, value in NUMBERS.items()}
    store.write_predictions(
        group,
        Predictions("f1", variables, within.starts(), kinds=kinds, tests=np.full((2, hours), "single"), **numbers),
    )
    (whole,) = gather(
        group.name, store.anomalies(group, within), step=HOUR, merge_gap=group.incidents.merge_gap,
        min_anomalies=group.incidents.min_anomalies, until=within.end,
    )  # fmt: skip
    (known,) = store.save_incidents(group, [whole])
    gone = replace(known, start=START + 100 * HOUR, end=START + 101 * HOUR)

    found = seen(group, [known, gone], store)

    states = found[known.start]
    lasted = [int((state.end - state.start) / HOUR) for state in states]
    assert lasted[0] == group.incidents.min_anomalies < lasted[-1] == hours
    assert [[v.variable for v in state.variables] for state in (states[0], states[-1])] == [["a"], ["a", "b"]]
    assert found[gone.start] == (gone,)


@dataclass
class Asked:
    """A store that notes how many intervals it was asked for what was rare in."""

    store: PostgresStore
    intervals: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def rare(self, group: Group, starts: Sequence[datetime], *, at_most: float) -> RareIntervals:
        self.intervals.append(len(starts))
        return self.store.rare(group, starts, at_most=at_most)


@pytest.mark.parametrize(("first_of_the_last", "asked"), [(0, [1, 20]), (7, [1, 1, 2, 4, 8, 16, 20])])
def test_what_was_rare_is_asked_once_per_incident_where_the_same_variables_were_judged_throughout(
    group: Group, store: PostgresStore, first_of_the_last: int, asked: list[int]
) -> None:
    """And the numbers are those of asking for each state."""
    hours, names = 20, "abcdefghijkl"
    variables = store.enrol(group, dict.fromkeys(names, "numeric"), first_interval=START)
    within = TimeRange(START, START + hours * HOUR, HOUR)
    store.save_fit(Fit("f1", group.name, within, {}, 1, "promoted", "run", 1, START))
    shape = (len(names), hours)
    kinds = np.full(shape, "drop", dtype="<U16")
    kinds[8:] = ""
    numbers = {name: np.full(shape, value) for name, value in NUMBERS.items()}
    numbers["tail_probabilities"][8:] = 1e-3
    numbers["tail_probabilities"][9:, :5] = 0.5
    numbers["predicted"][-1, :first_of_the_last] = np.nan
    store.write_predictions(
        group,
        Predictions("f1", variables, within.starts(), kinds=kinds, tests=np.full(shape, "single"), **numbers),
    )
    anomalies = store.anomalies(group, within)
    (states,) = grown(
        group.name, anomalies, step=HOUR, merge_gap=group.incidents.merge_gap,
        min_anomalies=group.incidents.min_anomalies, of=[START],
    ).values()  # fmt: skip
    noted = Asked(store)

    found = explained_as_it_grew(group, states, anomalies, cast("Any", noted))

    assert len(states) >= 3
    assert found == tuple(explained(group, state, anomalies, store) for state in states)
    assert len({len(state.variables) for state in found}) > 1
    assert sorted(noted.intervals) == asked


def test_a_ranking_that_was_learned_from_other_features_is_left_aside_and_that_is_said(
    group: Group,
    store: PostgresStore,
    labels: PostgresLabels,
    rankings: PostgresRankings,
    labelled: tuple[Incident, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    learn_ranking(group, store=store, labels=labels, rankings=rankings, registry=Registered(), now=START)
    kept = rankings.serving(group)
    assert kept is not None
    shifted = replace(kept.ranking.trees, features=("something", *FEATURES[:-1]))
    rankings.serve(group, replace(kept, ranking=replace(kept.ranking, trees=shifted)))

    why = low_rank(group, labels=labels, rankings=rankings)

    assert [why(group, incident(NUMBER + n, real=False)) for n in range(10)] == [""] * 10
    assert "was learned from other features than today's and is left aside" in caplog.text


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
