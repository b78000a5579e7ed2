"""The measures say what they claim to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.benchmarks.detection.measures import (
    average_precision,
    calibrate,
    curve,
    forecast_error,
    incident_starts,
    point,
)

GAP, PER_DAY = 12, 24


@dataclass(frozen=True)
class Incident:
    row: int
    kind: str
    start: int
    end: int


def all_of(scores: np.ndarray) -> np.ndarray:
    return np.ones(scores.shape, dtype=bool)


def test_alarms_within_the_gap_are_one_incident_and_beyond_it_two() -> None:
    alarms = np.zeros((2, 60), dtype=bool)
    alarms[0, [3, 15, 28]] = True
    alarms[1, 16] = True
    assert incident_starts(alarms, GAP).tolist() == [[0, 3], [0, 28], [1, 16]]


def test_false_incidents_are_counted_per_thousand_days_in_which_they_could_be() -> None:
    scores = np.zeros((1, 240))
    scores[0, 200] = 9
    truth = [Incident(0, "zero", 24, 36)]
    swept = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    assert swept.variable_days == 9  # 10 days less 12 hours of incident and 12 after it
    at_nine = np.flatnonzero(swept.thresholds == 9)[0]
    assert swept.false_incidents[at_nine] == pytest.approx(1000 / 9)


def test_alarms_during_and_soon_after_an_injected_incident_are_not_false() -> None:
    scores = np.zeros((1, 240))
    scores[0, 50:72] = 9
    truth = [Incident(0, "zero", 50, 60)]
    swept = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    assert swept.thresholds[0] < 9
    assert swept.false_incidents[0] == 0
    assert point(swept, scores, truth, all_of(scores), 9).recall == 1


def test_an_alarm_only_after_the_end_finds_nothing() -> None:
    scores = np.zeros((1, 240))
    scores[0, 60] = 9
    truth = [Incident(0, "zero", 50, 60)]
    swept = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    assert point(swept, scores, truth, all_of(scores), 9).recall == 0


def test_delay_is_counted_from_the_start_to_the_first_alarm() -> None:
    scores = np.zeros((2, 240))
    scores[0, 54:60] = 9
    scores[1, 100] = 9
    truth = [Incident(0, "drop", 50, 60), Incident(1, "drop", 98, 110), Incident(1, "zero", 200, 210)]
    swept = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    at = point(swept, scores, truth, all_of(scores), 9)
    assert at.median_delay == 3
    assert at.recall_by_kind == {"drop": 1.0, "zero": 0.0}


def test_a_detector_that_always_cries_gains_nothing_from_its_alarms_merging() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((20, 1440))
    truth = [Incident(row, "zero", 700, 724) for row in range(20)]
    swept = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    # At a threshold of 0 each variable has two incidents in 60 days, which is 34 per 1,000 days, and finds everything.
    assert swept.threshold_at(40) > 0.9


def test_intervals_that_are_not_judged_count_nowhere() -> None:
    scores = np.zeros((1, 240))
    scores[0, [20, 100]] = 9, 5
    judged = all_of(scores)
    judged[0, :48] = False
    swept = curve(scores, [], judged, gap=GAP, per_day=PER_DAY)
    assert swept.variable_days == 8
    assert swept.thresholds.max() < 9


def test_scores_without_bound_are_alarms_at_every_threshold_but_never() -> None:
    scores = np.zeros((1, 240))
    scores[0, 50] = np.inf
    truth = [Incident(0, "zero", 50, 60)]
    swept = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    assert point(swept, scores, truth, all_of(scores), swept.threshold_at(5)).recall == 1
    assert point(swept, scores, truth, all_of(scores), np.inf).recall == 0


@given(arrays(np.int64, (3, 96), elements=st.integers(0, 6)), st.integers(0, 40))
def test_more_false_incidents_allowed_never_find_less(whole: np.ndarray, allowed: int) -> None:
    scores = whole.astype(np.float64)
    truth = [Incident(0, "zero", 10, 20), Incident(2, "drop", 60, 80)]
    swept = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    assert swept.threshold_at(allowed) >= swept.threshold_at(allowed + 10)
    counted = swept.false_incidents[swept.thresholds >= swept.threshold_at(allowed)]
    assert (counted <= allowed).all()


@given(arrays(np.int64, (2, 96), elements=st.integers(0, 4)))
def test_order_is_all_that_counts_of_scores(whole: np.ndarray) -> None:
    scores = whole.astype(np.float64)
    truth = [Incident(0, "zero", 10, 20), Incident(1, "drop", 60, 80)]
    first = curve(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    second = curve(np.exp(scores), truth, all_of(scores), gap=GAP, per_day=PER_DAY)
    assert first.false_incidents.tolist() == second.false_incidents.tolist()
    assert first.recall.tolist() == second.recall.tolist()


def test_average_precision_is_one_when_the_incidents_days_score_highest() -> None:
    scores = np.zeros((2, 96))
    scores[0, 30] = 3
    truth = [Incident(0, "zero", 30, 34)]
    assert average_precision(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY) == 1
    scores[1, 80] = 4
    assert average_precision(scores, truth, all_of(scores), gap=GAP, per_day=PER_DAY) == pytest.approx(0.5)


def test_probabilities_that_mean_what_they_say_are_calibrated_at_one() -> None:
    uniform = np.random.default_rng(1).random((400, 1440))
    rows = calibrate(uniform, np.full(400, 5.0), all_of(uniform), levels=(1e-2, 1e-3))
    for row in rows:
        assert row.low < 1 < row.high
        assert row.ratio == pytest.approx(1, abs=0.15)


def test_probabilities_ten_times_too_small_are_calibrated_at_ten() -> None:
    uniform = np.random.default_rng(2).random((200, 1440))
    (row,) = (one for one in calibrate(uniform / 10, np.full(200, 0.5), all_of(uniform), levels=(1e-3,)))
    assert row.rate_class == "< 1"
    assert row.ratio == pytest.approx(10, rel=0.1)


def test_one_bad_variable_widens_the_interval_and_shows_as_the_worst() -> None:
    tails = np.ones((50, 1000))
    tails[7] = 1e-9
    (overall,) = (
        one for one in calibrate(tails, np.full(50, 5.0), all_of(tails), levels=(1e-3,)) if "all" in one.rate_class
    )
    assert overall.worst == pytest.approx(1000)
    assert overall.low == 0
    assert overall.high > overall.ratio > 0


def test_what_is_not_judged_is_said_and_not_counted() -> None:
    tails = np.full((2, 100), 0.5)
    tails[0, :40] = np.nan
    rows = calibrate(tails, np.array([2.0, 2.0]), all_of(tails), levels=(1e-3,))
    assert {(one.judged, one.not_judged) for one in rows} == {(160, 40)}


def test_forecast_error_is_in_roots_of_the_mean() -> None:
    counts = np.full((1, 100), 4)
    judged = np.ones((1, 100), dtype=bool)
    assert forecast_error(np.full((1, 100), 5.0), counts, judged)[0] == pytest.approx(1 / np.sqrt(4.1))


def test_a_forecast_with_gaps_is_refused() -> None:
    predicted = np.full((1, 10), 5.0)
    predicted[0, 3] = np.nan
    with pytest.raises(ValueError, match="1 judged intervals have no prediction"):
        forecast_error(predicted, np.full((1, 10), 5), np.ones((1, 10), dtype=bool))
