"""The DAGs, run for real by Airflow; the stages only note how they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def ran(airflow_script: Callable[..., Any], airflow_database: None) -> Any:
    return airflow_script(
        "run_dags.py",
        AIRFLOW_CONN_IN_THE_ENVIRONMENT="postgres://you:pw-2@elsewhere:5434/other",
        ANOMALY_LINK_AIRFLOW="http://airflow.example/",
    )


def states(run: Any) -> dict[str, tuple[str, int]]:
    return {name: (task["state"], task["tries"]) for name, task in run["tasks"].items()}


def test_a_range_given_as_params_runs_in_one_go_through_all_three_stages(ran: Any) -> None:
    run = ran["a range"]
    assert run["state"] == "success"
    within = ["2013-01-01T05:00:00+00:00", "2013-02-03T05:00:00+00:00"]
    stages = [call[:3] for call in run["calls"] if call != ["follow"]]
    assert stages == [["update", *within], ["predict", *within], ["alert", *within]]
    assert ["follow"] in run["calls"]


def test_the_message_gets_the_address_of_its_run(ran: Any) -> None:
    run = ran["a range"]
    (address,) = [call[3] for call in run["calls"] if call[0] == "alert"]
    assert address.startswith("http://airflow.example/dags/anomaly.carriers/runs/manual__")
    assert "+" not in address


def test_tasks_hand_on_only_their_report(ran: Any) -> None:
    pushed = {name: value for name, value in ran["a range"]["xcom"].items() if not name.endswith(".review_page")}
    assert pushed == {
        "update.return_value": {"events": 12},
        "predict.return_value": {"anomalies": 2},
        "alert.return_value": {"posted": 1},
        "follow.return_value": {"asks_for_fit": False, "drifted": 3, "variables": 9},
    }


def test_every_stage_emits_an_asset_event_that_says_what_was_done(ran: Any) -> None:
    events = ran["a range"]["events"]
    assert set(events) == {f"anomaly.carriers.{what}" for what in ("counts", "predictions", "incidents")}
    counts = events["anomaly.carriers.counts"]
    assert counts.pop("seconds") >= 0
    assert counts == {"start": "2013-01-01T05:00:00+00:00", "end": "2013-02-03T05:00:00+00:00", "events": 12}


def test_a_run_without_params_takes_its_data_interval(ran: Any) -> None:
    within = ["2013-02-08T10:00:00+00:00", "2013-02-08T11:00:00+00:00"]
    assert ran["an interval"]["calls"][0] == ["update", *within]
    assert ran["an interval"]["state"] == "success"


def test_a_group_whose_schedule_has_ended_still_runs_by_hand(ran: Any) -> None:
    assert ran["after the end"]["state"] == "success"
    assert ran["after the end"]["calls"][0][1:] == ["2014-01-01T04:00:00+00:00", "2014-01-01T05:00:00+00:00"]
    assert ran["a fit after the end"]["calls"][0][:2] == ["prepare", "2014-01-01T05:00:00+00:00"]


def test_a_transient_error_is_tried_again_and_a_permanent_one_is_not(ran: Any) -> None:
    assert states(ran["failures"]) == {
        "update": ("success", 2),
        "predict": ("failed", 1),
        "alert": ("upstream_failed", 0),
        "follow": ("upstream_failed", 0),
    }
    assert ran["failures"]["state"] == "failed"


def test_a_transient_error_that_stays_fails_after_three_retries(ran: Any) -> None:
    assert states(ran["long failure"])["update"] == ("failed", 4)


def test_half_a_range_fails_at_once_and_says_what_is_missing(ran: Any) -> None:
    assert states(ran["half a range"])["update"] == ("failed", 1)
    assert ran["half a range"]["calls"] == []
    assert "found start without end; give both" in ran["log"]


def test_a_fit_trains_its_shards_as_named_mapped_tasks_and_promotes(ran: Any) -> None:
    run = ran["a fit"]
    assert run["state"] == "success"
    assert run["calls"][0][:2] == ["prepare", "2013-02-03T05:00:00+00:00"]
    assert sorted(run["calls"][1:4]) == [["train", "fit-1", shard] for shard in range(3)]
    assert run["calls"][4:] == [["register", "fit-1"], ["review", "fit-1"], ["promote", "fit-1"]]
    assert [run["tasks"][f"train[{n}]"]["name"] for n in range(3)] == [f"shard {n} of 3" for n in (1, 2, 3)]
    assert run["xcom"]["prepare.report"]["shards"] == 3
    assert run["events"]["anomaly.carriers.model"]["promoted"] is True


def test_a_fit_is_told_why_it_runs(ran: Any) -> None:
    assert ran["a fit for a reason"]["calls"][0][2] == "on demand by dag_test: a new airline"
    assert ran["a fit"]["calls"][0][2] == "on demand by dag_test"


def test_drift_is_an_asset_event_of_its_own_and_only_then(ran: Any) -> None:
    assert ran["a drift"]["events"]["anomaly.carriers.drift"]["drifted"] == 3
    assert "anomaly.carriers.drift" not in ran["a range"]["events"]


def test_a_fit_that_drift_asks_for_again_after_it_has_begun_does_nothing(ran: Any) -> None:
    assert ran["asked until"] == {"asset_triggered": "2013-02-03 04:00:00+00:00", "scheduled": None}
    run = ran["a fit that drift asks for again"]
    assert run["state"] == "success"
    assert run["calls"] == []
    assert run["tasks"]["prepare"]["state"] == "skipped"
    assert "fit fit-0 has begun already" in ran["log"]


def test_a_rejected_challenger_is_no_new_model(ran: Any) -> None:
    run = ran["a rejected fit"]
    assert run["state"] == "success"
    assert run["tasks"]["promote"]["state"] == "skipped"
    assert run["xcom"]["promote.report"] == {"promoted": False}
    assert run["events"] == {}


def test_connections_come_from_any_of_airflows_backends(ran: Any) -> None:
    lookups = ran["connections"]["lookups"]
    assert (
        "host='db', port=5433, login='me', schema='events', extra={'sslmode': 'require'}" in lookups["in_the_database"]
    )
    assert "host='elsewhere', port=5434, login='you', schema='other'" in lookups["in_the_environment"]
    assert "pw-" not in str(lookups)


def test_a_missing_connection_names_what_to_define(ran: Any) -> None:
    missing = ran["connections"]["lookups"]["nowhere"]
    assert missing.startswith("Airflow has no connection 'nowhere'; add it under Admin > Connections")
    assert "AIRFLOW_CONN_NOWHERE" in missing


def test_the_log_tells_what_was_done(ran: Any) -> None:
    assert "update of group carriers begins for [2013-01-01 05:00, 2013-02-03 05:00) UTC." in ran["log"]
    assert "update of group carriers took 0.0 s." in ran["log"]
    assert "Trying again cannot help until somebody changes something." in ran["log"]


def test_what_would_be_noticed_is_measured_over_four_weeks(ran: Any) -> None:
    run = ran["a measurement"]
    assert (run["state"], run["calls"]) == ("success", [["measure", 28]])
    assert run["xcom"]["measure.return_value"] == {"variables": 9, "blind": 1}
    assert run["xcom"]["measure.review_page"].endswith("/groups/carriers#blind")


def test_a_group_that_nobody_has_fitted_yet_is_not_measured_and_that_is_no_failure(ran: Any) -> None:
    assert states(ran["a measurement without a champion"]) == {"measure": ("skipped", 1)}
    assert "has no champion to ask" in ran["log"]
