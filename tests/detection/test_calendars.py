"""Special days: holidays, the days around them, and what is ordinary there."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.calendars import BUSIER, QUIETER, is_special, ordinary, special


@pytest.mark.parametrize(
    ("day", "country"),
    [
        (date(2013, 11, 28), "US"),  # Thanksgiving, a Thursday
        (date(2013, 11, 27), "US"),  # the day before it
        (date(2013, 11, 29), "US"),  # its Friday
        (date(2013, 11, 30), "US"),  # the weekend that it prolongs
        (date(2013, 12, 1), "US"),
        (date(2013, 12, 24), "US"),
        (date(2013, 12, 28), "US"),  # between Christmas and New Year
        (date(2013, 12, 31), "US"),
        (date(2013, 5, 25), "US"),  # the weekend before Memorial Day, a Monday
        (date(2013, 5, 26), "US"),
        (date(2013, 5, 27), "US"),
        (date(2026, 6, 4), "DE-BY"),  # Corpus Christi, in Bavaria only
    ],
)
def test_holidays_and_the_days_around_them_are_special(day: date, country: str) -> None:
    assert is_special(day, country)


@pytest.mark.parametrize(
    ("day", "country"),
    [
        (date(2013, 8, 14), "US"),
        (date(2013, 11, 26), "US"),
        (date(2013, 12, 2), "US"),
        (date(2013, 5, 24), "US"),
        (date(2013, 6, 1), "US"),
        (date(2026, 6, 4), "DE-BE"),
    ],
)
def test_ordinary_days_are_not(day: date, country: str) -> None:
    assert not is_special(day, country)


def test_a_day_begins_at_midnight_in_the_groups_zone() -> None:
    starts = np.datetime64("2013-11-27T03:00:00") + np.arange(6) * np.timedelta64(3600, "s")

    # 00:00 in New York is 05:00 UTC; the day before Thanksgiving is special, the one before that is not
    assert special(starts, ZoneInfo("America/New_York"), "US").tolist() == [False, False, True, True, True, True]
    assert special(starts, ZoneInfo("UTC"), "US").all()


def test_without_a_country_no_day_is_special() -> None:
    starts = np.array(["2013-12-25T12:00:00"], dtype="datetime64[s]")

    assert not special(starts, ZoneInfo("UTC"), None).any()
    assert special(starts[:0], ZoneInfo("UTC"), "US").shape == (0,)


@pytest.mark.parametrize("country", ["XX", "US-XX"])
def test_a_country_that_nobody_knows_is_refused_with_an_example(country: str) -> None:
    starts = np.array(["2013-12-25T12:00:00"], dtype="datetime64[s]")

    with pytest.raises(ValueError, match=f"country '{country}' is unknown .* such as US or DE-BY"):
        special(starts, ZoneInfo("UTC"), country)


@given(st.lists(st.one_of(st.floats(0, 1e6), st.just(float("nan"))), min_size=7, max_size=7))
def test_what_the_week_before_has_shown_is_ordinary_and_somewhat_beyond(seen: list[float]) -> None:
    low, high = ordinary(np.array([seen]))

    known = [value for value in seen if not np.isnan(value)]
    assert low[0] == (QUIETER * min(known) if known else 0)
    assert high[0] == (BUSIER * max(known) if known else np.inf)
