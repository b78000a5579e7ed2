"""Days of the month on which a variable is always busier, or quieter: paydays, the first, the last.

In: the counts of V variables over their history, in the group's zone. Out: per variable a table with one entry for
each day counted from the first of the month and one for each counted from the last; from a table, by how much each
interval of a range departs, or may depart.

A history of 60 to 90 days holds each day of the month two or three times. That is too little for a network, and
enough for one number: a day's departure from the same weekday of the weeks around it, in the logarithm (of gauges:
in their unit). It is believed only when the day departed in every month of the history, to the same side, by about as
much, and each time beyond `CLEARLY` times what days of this variable usually depart. What happened on the same date
twice by chance is rare at that size; what departs by less is lost in the scatter of a single interval anyway. Where a
day has been anomalous, an incident may have been the reason, and it must have departed in `MONTHS_IF_ANOMALOUS` months.

A day beside those of which nothing is known yet, because all of its dates fell on holidays, on days off (or on days on
which next to nothing was written), or on labelled incidents, may depart like its neighbours, and may not: there, all
between the two, and somewhat beyond, is ordinary.

The departure is taken out of the counts before anything is learned from them, and put back into predictions: neither
baselines nor networks ever see it.

Source of the idea: trading-day and moving-holiday regressors of D. F. Findley et al., "New capabilities and methods
of the X-12-ARIMA seasonal-adjustment program", 1998, which remove calendar effects before the season is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.medians import nan_median
from anomaly.detection.windows import utc_offsets
from anomaly.groups.model import Transform

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

LONGEST = 31
DAYS = 2 * LONGEST
"""Entries of a table: 31 days counted from the first of the month (0 is the first), then 31 from the last."""
CLEARLY = 3.0
ALIKE = 1 / 3
"""Of the month in which it departed most: a day that departs by less in another month met an incident in the one."""
LEAST_DEPARTURE = 0.02
"""Of the logarithm: what departs by less is not worth an entry."""
MONTHS, MONTHS_IF_ANOMALOUS = 2, 3
DAYS_OFF = 2
"""Days beside each other that may be unknown in all months."""
POSSIBLY = 1.2
"""Of its neighbours' departure: counts scatter around what may be expected, too."""
WEEKS_AROUND = 3
LEAST_DAYS = 21
"""A variable that is known for fewer days has no table."""
LEAST_PER_DAY = 20.0
"""Events: the logarithms of smaller days say more about chance than about the month."""
LEAST_OF_USUAL = 0.2
"""Of the middle day: what is written on days off is too little to compare."""
_DAY = 86_400
_NORMAL = 1.4826


def departures(table: Floats, starts: NDArray[np.datetime64], zone: ZoneInfo) -> Floats:
    """(2, V, T) by how much intervals depart, and by how much others may, in the logarithm or the gauge's unit; 0 on
    ordinary days.

    Args:
        table: (2, V, DAYS), as `learned`; 0 where a day does not stand out.
        starts: (T,) datetime64[s], UTC.
        zone: for what day it is.
    """
    _, first, last = _days(starts, zone)
    from_last = table[..., LONGEST + last]
    found = np.where(from_last != 0, from_last, table[..., first])
    found[1, found[0] != 0] = 0.0
    return found


def without(counts: Floats, departed: Floats, transform: Transform) -> Floats:
    """Counts, or a gauge's values, as they would be on ordinary days: arguments broadcast."""
    return np.asarray(counts - departed if transform is Transform.LINEAR else counts * np.exp(-departed))


def with_them(counts: Floats, departed: Floats, transform: Transform) -> Floats:
    """The way back."""
    return np.asarray(counts + departed if transform is Transform.LINEAR else counts * np.exp(departed))


def renewed(observed: Floats, felt: Floats, more: Floats, transform: Transform) -> Floats:
    """What later intervals see, (V, T), with what is known of days of the month now: what stands in for a count is what
    was to be expected then, when the day may have been known less, or otherwise.

    Args:
        observed, felt: (V, T) as written, and with stand-ins; NaN where unknown.
        more: (V, T) by how much more the day is known to depart than it was to the fit that judged it.
        transform: of the group.
    """
    return np.where((more != 0) & (felt != observed), with_them(felt, more, transform), felt)


def as_mappings(table: Floats) -> list[dict[int, tuple[float, float]]]:
    """(2, V, DAYS) as V mappings from the number people give the day, 1 for the first of a month and -1 for its last,
    to the least and the most that it departs; the same number twice where it is certain."""
    certain, possible = table
    found: list[dict[int, tuple[float, float]]] = [{} for _ in certain]
    for row, entry in np.argwhere(table.any(axis=0)).tolist():
        by = float(certain[row, entry]) or float(possible[row, entry])
        ends = (by, by) if certain[row, entry] else (min(by, 0.0), max(by, 0.0))
        found[row][entry + 1 if entry < LONGEST else LONGEST - 1 - entry] = ends
    return found


def as_table(mappings: Sequence[Mapping[int, tuple[float, float]]]) -> Floats:
    """(2, V, DAYS) of V mappings."""
    table = np.zeros((2, len(mappings), DAYS))
    for row, mapping in enumerate(mappings):
        for day, (least, most) in mapping.items():
            table[int(least != most), row, day - 1 if day > 0 else LONGEST - 1 - day] = most or least
    return table


def learned(
    counts: Floats,
    teaches: Mask,
    anomalous: Mask,
    starts: NDArray[np.datetime64],
    *,
    step: timedelta,
    zone: ZoneInfo,
    transform: Transform,
) -> Floats:
    """(2, V, DAYS) the departures that can be believed, and those that cannot be excluded; 0 elsewhere.

    Args:
        counts: (V, T) as written; NaN where unknown.
        teaches: (V, T) intervals that may teach what is normal; holidays and labelled incidents may not.
        anomalous: (V, T) intervals that were anomalous in their time.
        starts: (T,) datetime64[s], UTC.
        step: length of an interval; tables of intervals longer than a day are empty.
        zone: for what day it is.
        transform: of the group.
    """
    table = np.zeros((2, len(counts), DAYS))
    if not counts.size or step.total_seconds() > _DAY:
        return table
    day, first, last = _days(starts, zone)
    day = day - day[0]
    begins = np.flatnonzero(np.diff(day, prepend=-1))
    whole = np.add.reduceat(np.ones(len(day)), begins) >= 0.9 * _DAY / step.total_seconds()  # 23 hours, too
    complete = np.add.reduceat(teaches & np.isfinite(counts), begins, axis=1) == np.diff([*begins, len(day)])
    known = complete & whole
    totals = np.where(known, np.add.reduceat(np.nan_to_num(counts), begins, axis=1), np.nan)
    departed = _departed(totals, np.diff([*begins, len(day)]), transform)
    struck = np.logical_or.reduceat(anomalous, begins, axis=1)
    scatter = _NORMAL * nan_median(np.abs(departed - nan_median(departed)[:, None]))
    least = np.maximum(CLEARLY * scatter, LEAST_DEPARTURE if transform is Transform.ANSCOMBE else 0.0)
    enough = np.isfinite(departed).sum(axis=1) >= LEAST_DAYS
    certain, possible = table
    parts = ((slice(LONGEST), first[begins]), (slice(LONGEST, DAYS), last[begins]))
    for part, number in parts:
        certain[:, part] = _believed(departed, struck, number, least, enough)
    for row in np.flatnonzero(certain[:, :LONGEST].any(axis=1) & certain[:, LONGEST:].any(axis=1)):
        certain[row] = _told_apart(certain[row], first[begins], last[begins])
    for part, number in parts:
        possible[:, part] = _beside(certain[:, part], np.isfinite(departed), number)
    return table


def _beside(certain: Floats, known: Mask, number: Integers) -> Floats:
    """(V, 31) what days that nobody has seen would bring if they were like those beside them, `DAYS_OFF` away at most.

    Args:
        certain: (V, 31)
        known: (V, D) days that say something.
        number: (D,) of the day, from the first of the month or from the last.
    """
    unseen = np.ones(certain.shape, dtype=bool)
    for n in np.unique(number):
        unseen[:, n] = ~known[:, number == n].any(axis=1)
    found = certain.copy()
    for _ in range(DAYS_OFF):
        neighbours = np.pad(found, ((0, 0), (1, 1)))
        before, after = neighbours[:, :-2], neighbours[:, 2:]
        found = np.where((found == 0) & unseen, np.where(before != 0, before, after), found)
    return np.where(certain == 0, POSSIBLY * found, 0.0)


def _told_apart(row: Floats, first: Integers, last: Integers) -> Floats:
    """A variable's table without what the other way to count explains better: the 25th to 27th of two months of 31 and
    30 days are the sixth and fifth from the end, too. The longer run of days wins; of two that are equal, the one that
    ends the month, and else the date.

    Args:
        row: (DAYS,)
        first, last: (D,) days of the history, by both counts.
    """
    by_date, from_end = row[:LONGEST] != 0, row[LONGEST:] != 0
    runs = _runs(by_date), _runs(from_end)
    ends = np.logical_and.accumulate(from_end)  # the run that ends the month
    kept = row.copy()
    for n in np.flatnonzero(from_end):
        rivals = first[last == n]
        if rivals.size and by_date[rivals].all() and (runs[0][rivals].max(), not ends[n]) > (runs[1][n], False):
            kept[LONGEST + n] = 0.0
    for n in np.flatnonzero(by_date):
        rivals = last[first == n]
        if (
            rivals.size
            and (kept[LONGEST + rivals] != 0).all()
            and (runs[1][rivals].max(), ends[rivals].all()) > (runs[0][n], False)
        ):
            kept[n] = 0.0
    return kept


def _runs(there: Mask) -> Integers:
    """(31,) how many entries side by side each one is part of; 0 where there is none."""
    edges = np.flatnonzero(np.diff(there, prepend=False, append=False))
    found = np.zeros(len(there), dtype=np.int64)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        found[begin:end] = end - begin
    return found


def _believed(departed: Floats, struck: Mask, number: Integers, least: Floats, enough: Mask) -> Floats:
    """(V, 31) departures that recurred.

    Args:
        departed: (V, D) of days; NaN where unknown.
        struck: (V, D) days with anomalies.
        number: (D,) of the day, from the first of the month or from the last.
        least: (V,) departure that is clear.
        enough: (V,) variables that are known well enough.
    """
    middle, weakest, strongest = np.zeros((3, len(departed), LONGEST))
    times, needed = np.zeros((2, len(departed), LONGEST), dtype=np.int64)
    for n in np.unique(number):
        found = departed[:, number == n]
        there = np.isfinite(found)
        times[:, n] = there.sum(axis=1)
        low, high = (np.where(there, found, edge) for edge in (np.inf, -np.inf))
        lowest, highest = low.min(axis=1), high.max(axis=1)
        nearest = np.where(lowest > 0, lowest, np.where(highest < 0, highest, 0.0))
        weakest[:, n] = np.where(there.any(axis=1), nearest, 0.0)
        strongest[:, n] = np.where(there, np.abs(found), 0.0).max(axis=1)
        middle[:, n] = np.where(there, found, 0.0).sum(axis=1) / np.maximum(times[:, n], 1)
        needed[:, n] = np.where((struck[:, number == n] & there).any(axis=1), MONTHS_IF_ANOMALOUS, MONTHS)
    clear = enough[:, None] & (np.abs(weakest) > least[:, None]) & (np.abs(weakest) >= ALIKE * strongest)
    believed = clear & (times >= needed)
    for _ in range(2):  # beside a day that recurs, once is enough
        side = np.sign(middle) * believed
        beside = np.pad(side, ((0, 0), (1, 1)))
        alike = (beside[:, :-2] == np.sign(middle)) | (beside[:, 2:] == np.sign(middle))
        believed |= clear & alike & (times >= needed - 1)
    return np.where(believed, middle, 0.0)


def _departed(totals: Floats, intervals: Integers, transform: Transform) -> Floats:
    """(V, D) of days, from the middle of the same weekdays in the weeks around; NaN where unknown."""
    if transform is Transform.LINEAR:
        levels = totals / intervals
    else:
        least = np.fmax(LEAST_OF_USUAL * nan_median(totals), LEAST_PER_DAY)[:, None]
        with np.errstate(divide="ignore"):
            levels = np.where(totals >= least, np.log(totals), np.nan)
    beside = [7 * n for n in range(-WEEKS_AROUND, WEEKS_AROUND + 1) if n]
    at = np.arange(totals.shape[1])[:, None] + beside
    inside = (at >= 0) & (at < totals.shape[1])
    around = np.where(inside, levels[:, np.clip(at, 0, totals.shape[1] - 1)], np.nan)
    return np.asarray(levels - nan_median(around))


def _days(starts: NDArray[np.datetime64], zone: ZoneInfo) -> tuple[Integers, Integers, Integers]:
    """(T,) each: local days since 1970, days from the first of their month, and days to its last."""
    seconds = starts.astype("datetime64[s]").astype(np.int64)
    days = (seconds + utc_offsets(seconds, zone)) // _DAY
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[D]").astype(np.int64)
    return days, days - first, after - 1 - days
