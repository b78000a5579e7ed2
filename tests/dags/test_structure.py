"""The DAGs of a group, as Airflow stores them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(airflow_script: Callable[..., Any]) -> Any:
    return airflow_script("describe_dags.py")


@pytest.fixture(scope="module")
def watch(found: Any) -> Any:
    return found["dags"]["anomaly.carriers"]


@pytest.fixture(scope="module")
def fit(found: Any) -> Any:
    return found["dags"]["anomaly.carriers.fit"]


def test_a_group_is_updated_predicted_and_alerted_in_this_order(watch: Any) -> None:
    assert {task: has["downstream"] for task, has in watch["tasks"].items()} == {
        "update": ["predict"],
        "predict": ["alert", "follow"],
        "alert": [],
        "follow": [],
    }
    assert watch["max_active_runs"] == 1
    assert all(task["at_a_time"] == 1 for task in watch["tasks"].values())


def test_a_fit_prepares_trains_in_few_mapped_shards_registers_and_promotes(fit: Any) -> None:
    downstream = {task: has["downstream"] for task, has in fit["tasks"].items()}
    assert downstream == {
        "prepare": ["promote", "register", "review", "train"],  # the fit's id goes to all of them
        "train": ["register"],
        "register": ["review"],
        "review": ["promote"],
        "promote": [],
    }
    assert [task for task, has in fit["tasks"].items() if has["mapped"]] == ["train"]
    assert fit["tasks"]["train"]["at_a_time"] == 2
    assert fit["max_active_runs"] == 1


def test_tags_owner_and_pages_come_from_the_group_file(found: Any) -> None:
    assert found["dags"]["anomaly.carriers"]["tags"] == ["anomaly", "flights", "sample"]
    assert found["dags"]["anomaly.weather.fit"]["tags"] == ["anomaly", "fit", "sample", "weather"]
    owners = {dag_id: {task["owner"] for task in dag["tasks"].values()} for dag_id, dag in found["dags"].items()}
    assert owners["anomaly.weather"] == owners["anomaly.weather.fit"] == {"weather-data"}
    assert owners["anomaly.carriers"] == {"flight-data"}


def test_a_page_says_what_is_watched_where_and_how_to_run_a_range(watch: Any, fit: Any) -> None:
    for words in (
        "`(dep_delay\\|arr_delay)\\..+`",
        "table `events` on connection `flights_source`",
        "`#flight-data-alerts`",
        "America/New_York",
        "airflow dags trigger anomaly.carriers",
        '--conf \'{"start": "2013-01-01T00:00:00-05:00", "end": "2013-01-02T00:00:00-05:00"}\'',
        "airflow backfill create --dag-id anomaly.carriers",
        "1 per week",
    ):
        assert words in watch["doc"]
    for words in ("`0 6 * * 1`", "`dense-16-mae`", "At most 8 shards", '--conf \'{"until": '):
        assert words in fit["doc"]


def test_what_would_be_noticed_is_measured_every_night_in_the_zone_of_the_group(found: Any) -> None:
    measuring = found["dags"]["anomaly.carriers.detectability"]
    assert list(measuring["tasks"]) == ["measure"]
    assert measuring["tags"] == ["anomaly", "detectability", "flights", "sample"]
    assert (measuring["catchup"], measuring["max_active_runs"]) == (False, 1)
    assert "Runs at `30 3 * * *` (America/New_York)" in measuring["doc"]
    assert found["next"]["measured"]["run_after"] == "2013-02-12T08:30:00+00:00"
    assert found["next"]["measured, ended"] is None


def test_every_task_explains_itself(found: Any) -> None:
    for dag in found["dags"].values():
        for name, task in dag["tasks"].items():
            assert len(task["doc"] or "") > 60, name


def test_retries_follow_the_exceptions_and_back_off(found: Any) -> None:
    for dag in found["dags"].values():
        for task in dag["tasks"].values():
            assert task["policy"]
            assert (task["retries"], task["retry_delay"], task["backoff"]) == (3, 60.0, 2.0)


def test_params_take_nothing_or_a_moment_with_its_offset(watch: Any, fit: Any) -> None:
    """Of: nothing, a moment with its offset, one as the UI's picker writes it, one without, a word, a number."""
    accepts = [True, True, True, False, False, False]
    assert watch["params"] == {"start": accepts, "end": accepts}
    assert fit["params"] == {"until": accepts, "reason": [True, True, True, True, True, False]}


def test_the_asset_graph_shows_what_the_tasks_hand_to_each_other(watch: Any, fit: Any) -> None:
    tasks = watch["tasks"] | fit["tasks"]
    flow = {name: (task["inlets"], task["outlets"]) for name, task in tasks.items()}
    counts, model, predictions, incidents = (
        f"anomaly.carriers.{what}" for what in ("counts", "model", "predictions", "incidents")
    )
    assert flow["update"] == ([], [counts])
    assert flow["predict"] == ([counts, model], [predictions])
    assert flow["alert"] == ([predictions], [incidents])
    assert flow["prepare"] == ([counts], [])
    assert flow["promote"] == ([], [model])
    assert flow["follow"] == (sorted([predictions, model]), ["anomaly.carriers.drift.looked"])


def test_a_fit_runs_on_its_schedule_and_when_residuals_have_drifted(fit: Any) -> None:
    assert fit["timetable"] == "AssetOrTimeSchedule"
    assert fit["assets"] == ["anomaly.carriers.drift"]


def test_a_run_starts_after_the_delay_and_keeps_its_interval_on_the_grid(found: Any) -> None:
    assert found["next"]["catch-up"] == {
        "start": "2013-02-08T10:00:00+00:00",
        "end": "2013-02-08T11:00:00+00:00",
        "run_after": "2013-02-08T11:05:00+00:00",
        "run_id": "scheduled__2013-02-08T10:00:00+00:00",
    }
    assert found["next"]["first of all"]["start"] == "2013-01-01T05:00:00+00:00"
    assert found["next"]["first of all"]["run_after"] == "2013-01-01T05:35:00+00:00"


def test_the_end_of_a_schedule_stops_the_scheduler_but_is_no_end_date_that_blocks_runs_by_hand(found: Any) -> None:
    assert found["next"]["ended"] is None
    assert found["next"]["ended, no catch-up"] is None
    assert found["next"]["fit, ended"] is None
    assert all(dag["end"] is None for dag in found["dags"].values())
    assert found["by hand"]["after the end"] == ["2014-01-01T04:00:00+00:00", "2014-01-01T05:00:00+00:00"]


def test_a_run_by_hand_takes_the_latest_complete_interval(found: Any) -> None:
    assert found["by hand"]["inside"] == ["2013-02-08T09:00:00+00:00", "2013-02-08T10:00:00+00:00"]


def test_a_backfill_makes_one_run_per_interval(found: Any) -> None:
    assert found["backfill"] == [
        "2013-02-08T10:00:00+00:00",
        "2013-02-08T10:30:00+00:00",
        "2013-02-08T11:00:00+00:00",
        "2013-02-08T11:30:00+00:00",
        "2013-02-08T12:00:00+00:00",
    ]


def test_a_fit_runs_weekly_in_the_zone_of_the_group(found: Any) -> None:
    """Monday 06:00 in New York, in winter."""
    assert found["next"]["fit"]["run_after"] == "2013-02-18T11:00:00+00:00"
    assert re.search("06:00.*Monday", found["dags"]["anomaly.carriers.fit"]["schedule"])
