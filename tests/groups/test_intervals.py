"""Time on the grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.exceptions import InvalidRangeError
from anomaly.groups.intervals import TimeRange, ceil_to, floor_to, to_datetime64

HOUR = timedelta(hours=1)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))
STEPS = st.sampled_from([timedelta(minutes=m) for m in (1, 5, 15, 30, 60, 1440)])


def _at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, 1, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (_at(3), _at(2), "reversed"),
        (_at(3), _at(3), "empty"),
        (datetime(2026, 3, 1), _at(3), "has no time zone"),
        (_at(3, 10), _at(4), "not a boundary of 1:00:00 intervals; the nearest are 2026-03-01T03:00:00"),
    ],
)
def test_a_range_that_is_no_range_is_refused_with_the_reason(start: datetime, end: datetime, told: str) -> None:
    with pytest.raises(InvalidRangeError, match=told):
        TimeRange(start, end, HOUR)


def test_a_range_in_another_zone_is_the_same_range_in_utc() -> None:
    zone = ZoneInfo("America/New_York")
    local = TimeRange(datetime(2026, 1, 1, tzinfo=zone), datetime(2026, 1, 2, tzinfo=zone), HOUR)
    assert local == TimeRange(datetime(2026, 1, 1, 5, tzinfo=UTC), datetime(2026, 1, 2, 5, tzinfo=UTC), HOUR)
    assert len(local) == 24


@given(MOMENTS, STEPS)
def test_flooring_lands_on_the_grid_no_more_than_a_step_away(moment: datetime, step: timedelta) -> None:
    low, high = floor_to(moment, step), ceil_to(moment, step)
    assert low <= moment <= high
    assert high - low in (timedelta(0), step)
    assert floor_to(low, step) == low


@given(MOMENTS, STEPS, st.integers(1, 200), st.integers(1, 50))
def test_chunks_cover_a_range_without_gap_or_overlap(
    moment: datetime, step: timedelta, intervals: int, size: int
) -> None:
    start = floor_to(moment, step)
    whole = TimeRange(start, start + intervals * step, step)
    chunks = list(whole.chunks(size))
    np.testing.assert_array_equal(np.concatenate([c.starts() for c in chunks]), whole.starts())
    assert all(len(c) <= size for c in chunks)


@given(MOMENTS)
def test_moments_survive_numpy(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)
    assert to_datetime64(whole.astimezone(ZoneInfo("Asia/Kolkata"))).item() == whole.replace(tzinfo=None)
