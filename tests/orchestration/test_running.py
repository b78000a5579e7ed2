"""How a stage is run: with which stores, and what is put on record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from anomaly.adapters.settings import Settings
from anomaly.exceptions import IncompleteFitError, SourceUnavailableError
from anomaly.groups import Group
from anomaly.groups.golden import golden_path
from anomaly.orchestration import running
from anomaly.ports import Fit
from anomaly.stages import alert, drifting, fit, predict, ranking, reviewing, telling, update

NOW = datetime(2026, 5, 1, 10, 20, tzinfo=UTC)
START, END = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 4, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Report:
    events: int = 1234

    def as_dict(self) -> dict[str, Any]:
        return {"events": self.events}

    def __str__(self) -> str:
        return "counted 1,234 events"


@dataclass
class Store:
    """Stands for the metadata store: knows one fit, and keeps what is recorded."""

    known: dict[str, Fit] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def fit(self, fit_id: str) -> Fit | None:
        return self.known.get(fit_id)

    def updated_until(self, group: Group) -> datetime:
        return END

    def record_run(self, group: Group, stage: str, within: Any, **said: Any) -> None:
        self.runs.append({"group": group.name, "stage": stage, "within": str(within), **said})


@dataclass
class World:
    """Every adapter is a word that says which one it is."""

    metadata: Store
    settings: Settings

    def store(self) -> Store:
        return self.metadata

    def source(self, group: Group) -> str:
        return f"source of {group.name}"

    def channel(self, group: Group) -> str:
        return f"channel of {group.name}"

    def __getattr__(self, name: str) -> Callable[[], str]:
        return lambda: name


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group()


@pytest.fixture
def begun(group: Group) -> Fit:
    return Fit("fit-1", group.name, group.range(START, END), {}, 2, "started")


@pytest.fixture
def world(begun: Fit, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ANOMALY_LINK_MLFLOW", "http://models")
    monkeypatch.setenv("ANOMALY_LINK_DATA_DOCS", "http://docs")
    return World(Store({begun.id: begun}), Settings.from_environment())


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Replaces a stage by one that takes the same arguments, no others, and returns a report."""

    def replaced(module: Any, name: str, result: Any = None) -> Any:
        stand_in = create_autospec(getattr(module, name), return_value=result or Report())
        monkeypatch.setattr(module, name, stand_in)
        return stand_in

    return replaced


def clock() -> datetime:
    return NOW


def test_update_is_given_the_source_the_store_the_checks_and_the_time(stage: Any, world: Any, group: Group) -> None:
    called = stage(update, "update")
    done = running.run_update(world, group, group.range(START, END), clock=clock)
    called.assert_called_once_with(
        group, START, END, source="source of orders", store=world.metadata, checks="checks", now=NOW
    )
    assert done.report == {"events": 1234}
    assert str(done).startswith("update for [2026-04-01 00:00, 2026-04-02 00:00) UTC took 0.0 s: counted 1,234 events")


def test_predict_is_given_the_serving_form_and_nothing_to_train_with(stage: Any, world: Any, group: Group) -> None:
    called = stage(predict, "predict")
    running.run_predict(world, group, group.range(START, END), clock=clock)
    called.assert_called_once_with(
        group,
        START,
        END,
        store=world.metadata,
        checks="checks",
        artifacts="artifacts",
        forecaster="forecaster",
        judgements="judgements",
        labels="labels",
        now=NOW,
    )


def test_alert_is_given_the_channel_of_the_group_and_the_addresses_for_its_messages(
    stage: Any, world: Any, group: Group
) -> None:
    called, ranks = stage(alert, "alert"), stage(ranking, "low_rank", "why not")
    running.run_alert(world, group, group.range(START, END), airflow_run="http://airflow/run", clock=clock)
    given = called.call_args.kwargs
    assert given["channel"] == "channel of orders"
    assert (given["charts"], given["chart_store"]) == ("charts", "chart_store")
    assert (given["labels"], given["posts"], given["low_rank"]) == ("labels", "posts", "why not")
    ranks.assert_called_once_with(group, labels="labels", rankings="rankings")
    links = given["links"]
    assert (links.airflow_run, links.data_docs) == ("http://airflow/run", "http://docs")
    assert links.model == "http://models/#/models/anomaly.orders"


def test_telling_is_given_what_alert_is_given_and_leaves_no_record(stage: Any, world: Any, group: Group) -> None:
    called, _ = stage(telling, "tell"), stage(ranking, "low_rank", "why not")
    running.run_tell(world, group, clock=clock)
    given = called.call_args.kwargs
    assert (given["channel"], given["labels"], given["posts"]) == ("channel of orders", "labels", "posts")
    assert (given["store"], given["now"], given["low_rank"]) == (world.metadata, NOW, "why not")
    assert world.metadata.runs == []


def test_review_pages_have_an_address_where_airflow_has_one() -> None:
    at = replace(Settings.from_environment(), link_airflow="http://airflow/")
    address = running.review_address(at, "incidents/7") or ""
    assert address.startswith("http://airflow/")
    assert address.endswith("/incidents/7")
    assert running.review_address(replace(at, link_airflow=None)) is None


def test_a_fit_is_prepared_trained_registered_and_promoted(stage: Any, world: Any, group: Group, begun: Fit) -> None:
    prepared = stage(fit, "prepare", begun)
    trained, registered, promoted = (stage(fit, name) for name in ("train", "register", "promote"))
    stage(ranking, "learn_ranking")
    made, done = running.run_prepare(world, group, END, clock=clock)
    running.run_train(world, group, made.id, 1, clock=clock)
    running.run_register(world, group, made.id, clock=clock)
    running.run_promote(world, group, made.id, clock=clock)
    assert prepared.call_args.args == (group, END)
    assert trained.call_args.args == (group, "fit-1", 1)
    assert registered.call_args.kwargs["charts"] == "fit_charts"
    assert registered.call_args.args == promoted.call_args.args == (group, "fit-1")
    assert done.report == {"fit": "fit-1", "intervals": 24, "shards": 2}
    assert "began fit fit-1 on 24 intervals, to be trained in 2 shards" in str(done)
    assert [run["stage"] for run in world.metadata.runs] == ["fit.prepare", "fit.train", "fit.register", "fit.promote"]
    assert {run["within"] for run in world.metadata.runs} == {str(begun.history)}


@pytest.mark.parametrize(("address", "registry"), [(None, None), ("http://mlflow", "registry")])
def test_the_registry_is_followed_where_its_address_is_known(
    stage: Any, world: Any, group: Group, address: str | None, registry: str | None
) -> None:
    called = stage(drifting, "look_after")
    world.settings = replace(world.settings, mlflow_tracking_uri=address)
    running.run_follow(world, group, clock=clock)
    assert called.call_args.kwargs["registry"] == registry


def test_a_fit_says_why_it_runs(stage: Any, world: Any, group: Group, begun: Fit) -> None:
    prepared = stage(fit, "prepare", begun)
    running.run_prepare(world, group, END, reason="on drift: a and b", clock=clock)
    assert prepared.call_args.kwargs["reason"] == "on drift: a and b"


def test_a_review_is_given_the_golden_incidents_of_the_group(
    stage: Any, world: Any, group: Group, tmp_path: Path
) -> None:
    called = stage(reviewing, "review")
    golden = golden_path(tmp_path, group.name)
    golden.parent.mkdir()
    golden.write_text(
        "incidents: [{start: 2026-04-01T00:00:00Z, end: 2026-04-01T02:00:00Z, variables: [a], word: real}]"
    )
    world.settings = replace(world.settings, groups=tmp_path, link_airflow="http://airflow")
    running.run_review(world, group, "fit-1", clock=clock)
    given = called.call_args.kwargs
    assert [g.variables for g in given["golden"]] == [("a",)]
    assert (given["reviews"], given["labels"], given["registry"]) == ("reviews", "labels", "registry")
    assert given["links"].page.endswith("/fits/fit-1")


def test_a_promotion_is_given_the_reviews_and_whether_it_is_the_last_call(stage: Any, world: Any, group: Group) -> None:
    called, _ = stage(fit, "promote"), stage(ranking, "learn_ranking")
    running.run_promote(world, group, "fit-1", last_call=True, clock=clock)
    given = called.call_args.kwargs
    assert (given["reviews"], given["last_call"], given["now"]) == ("reviews", True, NOW)


def test_a_promotion_is_followed_by_learning_how_to_rank(stage: Any, world: Any, group: Group) -> None:
    stage(fit, "promote")
    learned = stage(ranking, "learn_ranking")
    running.run_promote(world, group, "fit-1", clock=clock)
    learned.assert_called_once_with(
        group,
        store=world.metadata,
        labels="labels",
        rankings="rankings",
        registry="ranking_registry",
        now=NOW,
    )


def test_a_promotion_is_on_record_even_where_nothing_can_be_learned_from_labels(
    stage: Any, world: Any, group: Group
) -> None:
    stage(fit, "promote")
    stage(ranking, "learn_ranking").side_effect = SourceUnavailableError("away")
    assert running.run_promote(world, group, "fit-1", clock=clock).stage == "fit.promote"
    assert [run["stage"] for run in world.metadata.runs] == ["fit.promote"]
    assert running.run_rank(world, group, clock=clock) == "incidents are ranked as before: away"


def test_a_run_is_recorded_once_with_its_report_and_time(stage: Any, world: Any, group: Group) -> None:
    stage(update, "update")
    running.run_update(world, group, group.range(START, END), clock=clock)
    (run,) = world.metadata.runs
    assert 0 <= run.pop("seconds") < 60
    assert run == {
        "group": "orders",
        "stage": "update",
        "within": "[2026-04-01 00:00, 2026-04-02 00:00) UTC",
        "report": {"events": 1234},
        "at": NOW,
    }


def test_a_stage_that_raises_leaves_no_record(stage: Any, world: Any, group: Group) -> None:
    stage(update, "update").side_effect = SourceUnavailableError("away")
    with pytest.raises(SourceUnavailableError):
        running.run_update(world, group, group.range(START, END), clock=clock)
    assert world.metadata.runs == []


def test_a_fit_that_nobody_prepared_is_refused(world: Any, group: Group) -> None:
    with pytest.raises(IncompleteFitError, match="there is no fit 'fit-2'.*anomaly fit orders"):
        running.run_register(world, group, "fit-2", clock=clock)


def test_links_that_are_not_set_are_left_out(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANOMALY_LINK_AIRFLOW", "ANOMALY_LINK_MLFLOW", "ANOMALY_LINK_DATA_DOCS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings.from_environment()
    made = running.links(settings, group)
    assert (made.airflow_run, made.model, made.data_docs) == (None, None, None)
    assert running.airflow_run_address(settings, "anomaly.orders", "manual__2026") is None


def test_a_run_with_a_plus_in_its_name_has_an_address_that_a_browser_understands() -> None:
    settings: Any = SimpleNamespace(link_airflow="http://airflow/")
    address = running.airflow_run_address(settings, "anomaly.orders", "manual__2026-04-01T00:00:00+00:00")
    assert address == "http://airflow/dags/anomaly.orders/runs/manual__2026-04-01T00%3A00%3A00%2B00%3A00"
