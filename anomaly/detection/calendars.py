"""Days that are unlike their kind: public holidays and the days around them, and the turn of the month.

In: starts of intervals, the group's zone, and its country. Out: which intervals are special, and what is ordinary
there: anything between the quietest and the busiest of the seven days before at the same local time, and somewhat
beyond. A holiday on a Thursday looks like no Thursday, and a year of history holds it once: no model can learn it,
and nobody wants to be told about it.

Dates come from the package ``holidays``, which people keep who do nothing else.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.windows import SameLocalTime, utc_offsets

Floats = NDArray[np.float64]

QUIETER, BUSIER = 0.7, 1.25
"""Of the quietest and the busiest day before: how far a holiday may go beyond what the week has shown."""
TURN_FROM, TURN_UNTIL = 25, 5
"""Days of the month."""
BETWEEN = 6
"""Days: the time between Christmas and New Year, and other weeks that two holidays enclose."""
_DAY = 86_400
_THURSDAY, _SATURDAY, _SUNDAY = 3, 5, 6

days_before = SameLocalTime((7, 6, 5, 4, 3, 2, 1))


def special(starts: NDArray[np.datetime64], zone: ZoneInfo, country: str | None) -> NDArray[np.bool_]:
    """Which intervals, (N,), lie on a holiday of the country, beside one, or between one and a weekend.

    Args:
        starts: (N,) datetime64[s], UTC.
        zone: for what day it is.
        country: ISO 3166 code, with a subdivision after a hyphen (``US``, ``DE-BY``); None for no holidays.

    Raises:
        ValueError: the package knows no such country.
    """
    if country is None or not len(starts):
        return np.zeros(len(starts), dtype=bool)
    seconds = starts.astype("datetime64[s]").astype(np.int64)
    days = (seconds + utc_offsets(seconds, zone)) // _DAY
    distinct, back = np.unique(days, return_inverse=True)
    return np.array([is_special(date(1970, 1, 1) + timedelta(days=int(day)), country) for day in distinct])[back]


@cache
def is_special(day: date, country: str) -> bool:
    """Whether this day is a holiday, the day before or after one, part of the weekend that one prolongs, or one of few
    days between two holidays."""
    near = [day + timedelta(days=n) for n in range(-3, 4) if _is_holiday(day + timedelta(days=n), country)]
    if any(abs((holiday - day).days) <= 1 for holiday in near):
        return True
    if _holiday_within(day, range(-BETWEEN, 0), country) and _holiday_within(day, range(1, BETWEEN + 1), country):
        return True
    weekend = day.weekday() in {_SATURDAY, _SUNDAY}
    return weekend and any(_prolongs(holiday, day) for holiday in near)


def _holiday_within(day: date, days: range, country: str) -> bool:
    return any(_is_holiday(day + timedelta(days=n), country) for n in days)


def _prolongs(holiday: date, day: date) -> bool:
    """Thursday and Friday prolong the weekend after them, Monday and Tuesday the one before."""
    between = (day - holiday).days
    return 0 < between <= 3 if holiday.weekday() >= _THURSDAY else -3 <= between < 0


def _is_holiday(day: date, country: str) -> bool:
    return day in _holidays(country, day.year)


@cache
def _holidays(country: str, year: int) -> frozenset[date]:
    import holidays

    code, _, subdivision = country.partition("-")
    try:
        return frozenset(holidays.country_holidays(code, subdiv=subdivision or None, years=year))
    except NotImplementedError:
        raise ValueError(
            f"country {country!r} is unknown to the package holidays; expected a code such as US or DE-BY"
        ) from None


def turn_of_month(starts: NDArray[np.datetime64], zone: ZoneInfo) -> NDArray[np.bool_]:
    """Which intervals, (N,), lie on the last or first days of a month, when wages, rents and reports are due."""
    seconds = starts.astype("datetime64[s]").astype(np.int64)
    days = ((seconds + utc_offsets(seconds, zone)) // _DAY).astype("datetime64[D]")
    day = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    return np.asarray((day >= TURN_FROM) | (day <= TURN_UNTIL))


def ordinary(seen: Floats) -> tuple[Floats, Floats]:
    """The range of counts that is ordinary on a special day, (V,) each.

    Args:
        seen: (V, 7) counts at the same local time on the seven days before; NaN where unknown.
    """
    known = np.isfinite(seen)
    low = np.where(known, seen, np.inf).min(axis=1)
    high = np.where(known, seen, -np.inf).max(axis=1)
    return np.where(np.isfinite(low), QUIETER * low, 0.0), np.where(np.isfinite(high), BUSIER * high, np.inf)
