"""Gauges: rows are scored by their past alone, what never happened stands out, and it is told once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.detection.gauges import GaugeScores, score_gauge

Floats = NDArray[np.float64]

STEP = timedelta(hours=1)
PER_ROW = (
    "anomaly_score",
    "is_anomaly",
    "evidence",
    "tail_probability",
    "predicted",
    "lower",
    "upper",
    "strongest",
)


def _noise(size: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(50.0, 2.0, size)


def _days(size: int, seed: int = 1) -> Floats:
    return _noise(size, seed) + 20.0 * np.sin(np.arange(size) * np.pi / 12)


def _scored(values: Floats, predicted: Floats | None = None, step: timedelta = STEP) -> GaugeScores:
    return score_gauge(values, step=step, predicted=predicted)


def _assert_same_prefix(short: GaugeScores, long: GaugeScores, rows: int) -> None:
    for name in PER_ROW:
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:rows], err_msg=name)


@st.composite
def _gauges(draw: st.DrawFn) -> Floats:
    """Noise, days, jumps, flat stretches, missing rows, at scales from thousandths to billions."""
    size = draw(st.integers(0, 400))
    values = draw(st.sampled_from([_noise, _days]))(size, draw(st.integers(0, 99)))
    for _ in range(draw(st.integers(0, 3))):
        start, length = draw(st.integers(0, 400)), draw(st.integers(1, 100))
        values[start : start + length] = draw(st.sampled_from([np.nan, np.inf, 0.0, 50.0, 1e4]))
    scaled: Floats = values * draw(st.sampled_from([1e-3, 1.0, 1e9])) + draw(st.sampled_from([0.0, -1e6]))
    return scaled


@settings(max_examples=25, deadline=None)
@given(values=_gauges(), share=st.floats(0.0, 1.0), given_forecast=st.booleans())
def test_a_truncated_series_gets_the_same_scores_to_the_last_bit(
    values: Floats, share: float, *, given_forecast: bool
) -> None:
    rows = int(share * values.size)
    forecast = np.roll(values, 1) if given_forecast else None
    whole = _scored(values, forecast)
    part = _scored(values[:rows], None if forecast is None else forecast[:rows])
    _assert_same_prefix(part, whole, rows)


@settings(max_examples=25, deadline=None)
@given(values=_gauges())
def test_scores_and_probabilities_stay_in_their_ranges(values: Floats) -> None:
    scores = _scored(values)
    assert np.all((scores.anomaly_score >= 0) & (scores.anomaly_score < 1))
    judged = np.isfinite(scores.tail_probability)
    assert np.all((scores.tail_probability[judged] >= 1e-6) & (scores.tail_probability[judged] <= 1))
    assert np.all(scores.anomaly_score[~np.isfinite(values)] == 0)
    assert not judged[~np.isfinite(values)].any()
    assert np.all((scores.strongest >= -1) & (scores.strongest < len(scores.looks)))


@pytest.mark.parametrize("level", [0.0, 1e-300, 0.1, 45.0, -1e12])
def test_a_series_that_never_changes_has_no_anomaly(level: float) -> None:
    scores = _scored(np.full(1500, level))
    assert not scores.is_anomaly.any()
    assert scores.evidence.max() < 1.0


@pytest.mark.parametrize("level", [0.0, 45.0])
def test_the_first_change_of_a_constant_is_told_at_once(level: float) -> None:
    values = np.full(600, level)
    values[400:] = level + 1.0
    scores = _scored(values)
    assert np.flatnonzero(scores.is_anomaly)[0] == 400


def test_a_spike_is_told_on_its_row_and_not_again_while_it_lasts() -> None:
    values = _noise(1000)
    values[700:710] = 90.0
    scores = _scored(values)
    assert scores.is_anomaly[700]
    assert scores.is_anomaly[700:800].sum() <= 3


def test_a_spike_that_grows_is_told_again() -> None:
    values = _noise(1000)
    values[700], values[740:] = 61.0, 90.0
    told = np.flatnonzero(_scored(values).is_anomaly)
    assert told[told >= 740].size


def test_a_day_without_its_peak_stands_out_though_each_of_its_values_is_ordinary() -> None:
    values = _days(24 * 40)
    values[24 * 30 : 24 * 31] = 50.0
    scores = _scored(values)
    day = slice(24 * 30, 24 * 31 + 6)
    assert scores.evidence[day].max() > np.delete(scores.evidence, np.r_[day, np.arange(24 * 31, 24 * 40)]).max()
    assert scores.is_anomaly[day].any()


@pytest.mark.parametrize("ordinary", [_noise, _days])
def test_of_ordinary_rows_less_than_one_in_a_thousand_is_an_anomaly(ordinary: Callable[[int, int], Floats]) -> None:
    told = [int(_scored(ordinary(1500, seed)).is_anomaly.sum()) for seed in range(4)]
    assert sum(told) <= 6


def test_tail_probabilities_happen_about_as_often_as_they_say() -> None:
    probability = _scored(_noise(4000, seed=5)).tail_probability
    judged = probability[np.isfinite(probability)]
    for promised in (0.1, 0.01):
        assert 0.4 < np.mean(judged <= promised) / promised < 2.0


def test_a_missing_stretch_is_not_judged_and_its_end_is_no_anomaly() -> None:
    told = 0
    for seed in range(4):
        values = _noise(1000, seed)
        values[600:680] = np.nan
        scores = _scored(values)
        assert np.all(np.isnan(scores.tail_probability[600:680]))
        told += int(scores.is_anomaly[600:760].sum())
    assert told <= 1


def test_rows_before_the_first_measured_one_change_nothing_but_their_number() -> None:
    values = _noise(400)
    values[300] = 90.0
    late = _scored(np.r_[np.full(37, np.nan), values])
    np.testing.assert_array_equal(late.anomaly_score[37:], _scored(values).anomaly_score)


def test_a_forecast_that_knows_the_pattern_finds_what_breaks_it() -> None:
    expected = 50.0 + 20.0 * np.random.default_rng(3).normal(size=1500)  # a pattern that no calendar explains
    values = expected + np.random.default_rng(4).normal(size=1500)
    values[1200] = expected[1200] + 12.0
    with_forecast, without = _scored(values, expected), _scored(values)
    assert with_forecast.looks[with_forecast.strongest[1200]] == "above the forecast"
    assert with_forecast.evidence[1200] > without.evidence[1200] + 2.0
    assert values[1200] > with_forecast.upper[1200]


def test_a_forecast_worse_than_the_median_has_no_say() -> None:
    values = _noise(1500)
    wild = values + np.random.default_rng(2).normal(0.0, 1000.0, 1500)
    no_forecast = np.full(1500, np.nan)
    np.testing.assert_array_equal(_scored(values, wild).evidence, _scored(values, no_forecast).evidence)


def test_what_cannot_be_scored_is_refused_with_what_was_found() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        score_gauge(np.zeros((2, 3)), step=STEP)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        score_gauge(np.zeros(3), step=STEP, predicted=np.zeros(4))
    with pytest.raises(ValueError, match="step"):
        score_gauge(np.zeros(3), step=timedelta(0))
