"""Windows: what they hold, and that they never hold what they are to predict."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.detection.windows import (
    Recent,
    SameLocalTime,
    WindowSpec,
    gather,
    recent_and_seasonal,
    same_time_in_weeks,
)
from anomaly.groups.intervals import to_datetime64

HOUR = timedelta(hours=1)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago"]

steps = st.sampled_from([timedelta(minutes=15), timedelta(minutes=30), HOUR, timedelta(hours=6), timedelta(days=1)])
zones = st.sampled_from(ZONES).map(ZoneInfo)
MAKERS: list[Callable[[timedelta], WindowSpec]] = [recent_and_seasonal, same_time_in_weeks]
specs = st.sampled_from(MAKERS)


def to_datetime(moment: np.datetime64) -> datetime:
    """A datetime64[s] in UTC as an aware datetime."""
    return datetime.fromtimestamp(int(moment.astype("datetime64[s]").astype(np.int64)), UTC)


def starts_from(first: datetime, step: timedelta, number: int) -> NDArray[np.datetime64]:
    return to_datetime64(first) + np.arange(number) * np.timedelta64(int(step.total_seconds()), "s")


@st.composite
def stretches(draw: st.DrawFn) -> tuple[NDArray[np.datetime64], timedelta]:
    """Consecutive intervals anywhere in five years, on the grid."""
    step = draw(steps)
    first = datetime(2022, 1, 1, tzinfo=UTC) + draw(st.integers(0, int(timedelta(days=1800) / step))) * step
    return starts_from(first, step, draw(st.integers(1, 60))), step


@given(stretch=stretches(), zone=zones, make=specs)
def test_a_window_sees_nothing_at_or_after_the_interval_it_predicts(
    stretch: tuple[NDArray[np.datetime64], timedelta], zone: ZoneInfo, make: Callable[[timedelta], WindowSpec]
) -> None:
    starts, step = stretch
    spec = make(step)

    lags = spec.lags(starts, step, zone)

    assert lags.shape == (len(starts), *spec.shape)
    assert lags.min() >= 1
    series = np.arange(100_000.0)[None]
    at = 99_000 + np.arange(len(starts))
    assert (gather(series, at, lags).reshape(len(starts), -1).max(axis=1) < at).all()


@given(stretch=stretches(), zone=zones, make=specs)
def test_no_lag_reaches_further_back_than_the_window_says(
    stretch: tuple[NDArray[np.datetime64], timedelta], zone: ZoneInfo, make: Callable[[timedelta], WindowSpec]
) -> None:
    starts, step = stretch
    spec = make(step)

    lags = spec.lags(starts, step, zone)

    assert lags.max() * step <= spec.reach(step)
    assert lags.min() * step <= spec.nearest(step)


@given(stretch=stretches(), zone=zones, days=st.integers(1, 28))
def test_a_seasonal_lag_ends_at_the_same_local_time(
    stretch: tuple[NDArray[np.datetime64], timedelta], zone: ZoneInfo, days: int
) -> None:
    starts, step = stretch
    lags = SameLocalTime((days,)).lags(starts, step, zone)[:, 0]

    for start, lag in zip(starts, lags, strict=True):
        local = to_datetime(start).astimezone(zone)
        wanted = (local.replace(tzinfo=None) - timedelta(days=days)).replace(tzinfo=zone)
        unambiguous = wanted.utcoffset() == wanted.replace(fold=1).utcoffset()
        if unambiguous and (to_datetime(start) - wanted.astimezone(UTC)) % step == timedelta(0):
            assert to_datetime(start) - int(lag) * step == wanted.astimezone(UTC)
        assert abs(to_datetime(start) - int(lag) * step - wanted.astimezone(UTC)) <= timedelta(hours=1) + step / 2


@given(shift=st.integers(1, 50), zone=zones)
def test_shifting_the_series_and_the_intervals_together_changes_no_window(shift: int, zone: ZoneInfo) -> None:
    spec = recent_and_seasonal(HOUR)
    series = np.random.default_rng(1).random((2, 400))
    starts = starts_from(datetime(2026, 3, 20, tzinfo=UTC), HOUR, 100)
    lags, at = spec.lags(starts, HOUR, zone), 200 + np.arange(100)
    shifted = np.concatenate([np.zeros((2, shift)), series], axis=1)

    assert np.array_equal(gather(series, at, lags), gather(shifted, at + shift, lags))


def test_the_seed_window_holds_the_last_seven_intervals_and_the_same_hour_of_the_last_seven_days() -> None:
    spec = recent_and_seasonal(HOUR)
    lags = spec.lags(starts_from(datetime(2026, 1, 20, tzinfo=UTC), HOUR, 1), HOUR, ZoneInfo("UTC"))

    assert spec.shape == (7, 2)
    assert lags[0, :, 0].tolist() == [7, 6, 5, 4, 3, 2, 1]
    assert lags[0, :, 1].tolist() == [168, 144, 120, 96, 72, 48, 24]


def test_the_season_of_a_day_is_a_week() -> None:
    day = timedelta(days=1)
    lags = recent_and_seasonal(day).lags(starts_from(datetime(2026, 6, 1, tzinfo=UTC), day, 1), day, ZoneInfo("UTC"))

    assert lags[0, :, 1].tolist() == [49, 42, 35, 28, 21, 14, 7]


@pytest.mark.parametrize(
    ("moment", "hours"),
    [
        (datetime(2026, 3, 8, 16, tzinfo=UTC), 23),  # the clock went forward at 07:00 UTC
        (datetime(2026, 11, 1, 17, tzinfo=UTC), 25),  # and back at 06:00 UTC
        (datetime(2026, 6, 1, 16, tzinfo=UTC), 24),
    ],
)
def test_yesterday_at_noon_in_new_york_is_23_or_25_hours_ago_when_the_clock_changed(
    moment: datetime, hours: int
) -> None:
    lags = SameLocalTime((1,)).lags(starts_from(moment, HOUR, 1), HOUR, ZoneInfo("America/New_York"))

    assert lags.tolist() == [[hours]]


def test_a_daily_lag_stays_a_whole_day_over_a_change_of_the_clock() -> None:
    day = timedelta(days=1)
    starts = starts_from(datetime(2026, 3, 1, tzinfo=UTC), day, 20)

    assert (SameLocalTime((7,)).lags(starts, day, ZoneInfo("America/New_York")) == 7).all()


def test_what_lies_before_the_series_is_unknown() -> None:
    windows = gather(np.array([[5.0, 6.0]]), np.array([1]), np.array([[[1], [2]]]))

    assert windows[0, 0, 0, 0] == 5
    assert np.isnan(windows[0, 0, 1, 0])


def test_a_lag_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="a lag is 0; expected at least 1"):
        gather(np.zeros((1, 9)), np.array([5]), np.zeros((1, 1, 1), np.int64))


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]"):
        WindowSpec((Recent(2), SameLocalTime((1, 2, 3))))
