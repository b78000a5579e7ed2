"""What is learned of days of the month, and what is not."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.detection import months
from anomaly.detection.months import DAYS, as_mappings, as_table, departures, learned, renewed, with_them, without
from anomaly.groups.model import Transform

HOUR = timedelta(hours=1)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
HOURS = 70 * 24
ANSCOMBE = Transform.ANSCOMBE

Floats = NDArray[np.float64]


def starts(hours: int = HOURS, begin: str = "2026-01-04T23:00") -> NDArray[np.datetime64]:
    """From the local midnight of Monday, 5 January, in Berlin."""
    return np.datetime64(begin, "s") + np.arange(hours) * np.timedelta64(3600, "s")


def local_dates(at: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Of Berlin's winter, in which these tests live."""
    return (at + np.timedelta64(3600, "s")).astype("datetime64[D]")


def counts(rate: float = 200.0, *, seed: int = 0, hours: int = HOURS) -> Floats:
    """(1, hours), quieter at weekends."""
    at = starts(hours)
    weekend = (local_dates(at).astype(np.int64) + 3) % 7 >= 5
    daily = 1 + 0.5 * np.sin(np.arange(hours) / 24 * 2 * np.pi)
    return np.random.default_rng(seed).poisson(rate * daily * np.where(weekend, 0.6, 1.0))[None].astype(np.float64)


def on(*dates: str, hours: int = HOURS) -> NDArray[np.bool_]:
    return np.isin(local_dates(starts(hours)), np.array(dates, dtype="datetime64[D]"))


def table_of(values: Floats, **changes: object) -> dict[int, float]:
    """What departs for certain."""
    return {day: most for day, (least, most) in all_of(values, **changes).items() if least == most}


def perhaps_of(values: Floats, **changes: object) -> dict[int, float]:
    """What may depart."""
    return {day: most or least for day, (least, most) in all_of(values, **changes).items() if least != most}


def all_of(values: Floats, **changes: object) -> dict[int, tuple[float, float]]:
    hours = values.shape[1]
    known = {
        "teaches": np.isfinite(values),
        "anomalous": np.zeros(values.shape, dtype=bool),
        "starts": starts(hours),
        "step": HOUR,
        "zone": BERLIN,
        "transform": ANSCOMBE,
    }
    return as_mappings(learned(values, **known | changes))[0]  # type: ignore[arg-type]


PAYDAYS = ("2026-01-25", "2026-01-26", "2026-01-27", "2026-02-25", "2026-02-26", "2026-02-27")
LAST_DAYS = ("2026-01-29", "2026-01-30", "2026-01-31", "2026-02-26", "2026-02-27", "2026-02-28")


def test_days_that_are_busier_in_every_month_are_learned_by_their_date() -> None:
    values = counts()
    values[:, on(*PAYDAYS)] *= 1.5

    table = table_of(values)

    assert set(table) == {25, 26, 27}
    assert list(table.values()) == pytest.approx([np.log(1.5)] * 3, abs=0.05)


def test_last_days_are_learned_from_the_end_of_the_month_however_long_it_is() -> None:
    values = counts()
    values[:, on(*LAST_DAYS)] *= 0.5

    table = table_of(values)

    assert set(table) == {-1, -2, -3}
    assert list(table.values()) == pytest.approx([-np.log(2)] * 3, abs=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_counts_without_such_days_have_no_table(seed: int) -> None:
    assert table_of(counts(seed=seed)) == {}


def test_one_departure_is_an_incident_and_teaches_nothing() -> None:
    values = counts()
    values[:, on("2026-01-20")] *= 3
    values[:, on("2026-02-10")] = 0

    assert table_of(values) == {}


def test_days_that_departed_to_both_sides_teach_nothing() -> None:
    values = counts()
    values[:, on("2026-01-20")] *= 2
    values[:, on("2026-02-20")] *= 0.5

    assert table_of(values) == {}


def test_a_day_seen_once_is_believed_beside_one_that_recurs() -> None:
    values = counts()
    values[:, on(*PAYDAYS)] *= 1.5
    values[:, on("2026-01-25")] = np.nan  # a day without counts

    assert set(table_of(values)) == {25, 26, 27}


def test_days_that_were_anomalous_must_recur_once_more() -> None:
    at = 100 * 24
    values = counts(hours=at)
    dates = ("2026-01-20", "2026-02-20", "2026-03-20")
    values[:, on(*dates, hours=at)] *= 2
    struck = on(*dates, hours=at)[None]

    assert 20 in table_of(values, anomalous=struck)
    assert 20 in table_of(values[:, :HOURS])
    assert table_of(values[:, :HOURS], anomalous=struck[:, :HOURS]) == {}


def test_what_may_not_teach_is_left_out() -> None:
    values = counts()
    values[:, on("2026-01-20", "2026-02-20")] *= 2

    assert set(table_of(values)) == {20}
    assert table_of(values, teaches=~on("2026-02-20")[None]) == {}


def test_short_histories_rare_events_and_long_intervals_have_no_table() -> None:
    values = counts()
    values[:, on(*PAYDAYS)] *= 1.5
    rare = np.minimum(values, 1.0) * (np.arange(HOURS) % 48 == 0)
    weeks = np.array([[100.0, 300.0, 100.0]])

    assert table_of(values[:, : 20 * 24]) == {}
    assert table_of(rare) == {}
    assert table_of(weeks, starts=starts(3), step=timedelta(days=7)) == {}
    assert table_of(np.empty((1, 0)), starts=starts(0)) == {}


def test_gauges_depart_in_their_own_unit() -> None:
    values = np.random.default_rng(1).normal(-50, 1, (1, HOURS))
    values[:, on(*PAYDAYS)] += 20

    table = table_of(values, transform=Transform.LINEAR)

    assert set(table) == {25, 26, 27}
    assert list(table.values()) == pytest.approx([20.0] * 3, abs=1.0)


def test_a_day_that_fell_on_days_off_in_all_months_may_be_like_those_beside_it() -> None:
    values = counts()
    weekend = (local_dates(starts()).astype(np.int64) + 3) % 7 >= 5
    values[:, on(*LAST_DAYS)] *= 1.5  # 31 January and 28 February are Saturdays
    off = np.where(weekend, 0.0, values)

    assert set(table_of(values)) == {-1, -2, -3}
    assert perhaps_of(values) == {}
    assert set(table_of(off)) == {-2, -3}
    assert perhaps_of(off) == {-1: pytest.approx(months.POSSIBLY * np.log(1.5), abs=0.05)}


def test_a_day_that_was_seen_to_be_ordinary_cannot_be_like_those_beside_it() -> None:
    values = counts()
    values[:, on(*PAYDAYS)] *= 1.5

    assert perhaps_of(values) == {}


def test_a_day_departs_for_certain_or_perhaps_and_never_both() -> None:
    table = as_table([{31: (0.2, 0.2), -1: (0.0, 0.5)}, {30: (-0.4, 0.0)}])
    at = np.array(["2026-01-30T12:00", "2026-01-31T12:00", "2026-02-28T12:00"], "datetime64[s]")

    certain, possible = departures(table, at, BERLIN)

    assert certain.tolist() == [[0.0, 0.2, 0.0], [0.0, 0.0, 0.0]]
    assert possible.tolist() == [[0.0, 0.0, 0.5], [-0.4, 0.0, 0.0]]


def test_the_date_is_that_of_the_zone() -> None:
    table = as_table([{1: (0.3, 0.3), -1: (0.7, 0.7)}])
    at = np.array(["2026-01-31T22:30", "2026-01-31T23:30", "2026-02-01T04:30", "2026-02-01T05:30"], "datetime64[s]")

    assert departures(table, at, BERLIN)[0].tolist() == [[0.7, 0.3, 0.3, 0.3]]
    assert departures(table, at, NEW_YORK)[0].tolist() == [[0.7, 0.7, 0.7, 0.3]]


def test_what_is_learned_from_the_end_goes_before_what_is_learned_from_the_beginning() -> None:
    table = as_table([{31: (0.2, 0.2), -1: (0.5, 0.5)}])
    at = np.array(["2026-01-31T12:00", "2026-02-28T12:00"], "datetime64[s]")

    assert departures(table, at, BERLIN)[0].tolist() == [[0.5, 0.5]]


def test_dates_are_told_from_days_before_the_end_even_by_months_that_are_as_long() -> None:
    hours = 62 * 24
    at = np.datetime64("2025-11-30T23:00", "s") + np.arange(hours) * np.timedelta64(3600, "s")
    assert (local_dates(at)[[0, -1]] == np.array(["2025-12-01", "2026-01-31"], "datetime64[D]")).all()
    day = (local_dates(at) - local_dates(at).astype("datetime64[M]").astype("datetime64[D]")).astype(int) + 1
    ordinary = np.random.default_rng(5).poisson(200.0, (1, hours)).astype(np.float64)

    def found(days: set[int]) -> set[int]:
        return set(table_of(np.where(np.isin(day, list(days)), 1.5, 1.0) * ordinary, starts=at))

    assert found({29, 30, 31}) == {-1, -2, -3}
    assert found({14, 15}) == {14, 15}


@given(st.integers(0, 2**31), st.integers(28, 90), st.sampled_from(["2025-11-30T23:00", "2026-01-04T23:00"]))
def test_a_day_that_two_ways_to_count_explain_is_explained_by_one_of_them_still(
    seed: int, days: int, begin: str
) -> None:
    at = np.datetime64(begin, "s") + np.arange(days) * np.timedelta64(86_400, "s")
    _, first, last = months._days(at, BERLIN)
    rng = np.random.default_rng(seed)
    row = np.zeros(DAYS)
    for _ in range(rng.integers(1, 4)):
        start = rng.integers(0, DAYS - 4)
        row[start : start + rng.integers(1, 5)] = 0.5

    kept = months._told_apart(row, first, last)

    covered, still = (table[first].astype(bool) | table[months.LONGEST + last].astype(bool) for table in (row, kept))
    np.testing.assert_array_equal(still, covered)


def test_of_two_ways_to_count_the_one_that_explains_more_days_is_right() -> None:
    values = counts()
    values[:, on("2026-01-25", "2026-01-26", "2026-01-27", "2026-02-25", "2026-02-26", "2026-02-27")] *= 1.5
    april = np.datetime64("2026-03-31T22:00", "s") + np.arange(61 * 24) * np.timedelta64(3600, "s")  # 30 and 31 days
    paydays = np.isin(
        (april + np.timedelta64(7200, "s")).astype("datetime64[D]").astype(str).astype("<U10"),
        [f"2026-{month}-{day}" for month in ("04", "05") for day in (25, 26, 27)],
    )
    ordinary = np.random.default_rng(6).poisson(200.0, (1, len(april))).astype(np.float64)

    assert set(table_of(values)) == {25, 26, 27}
    assert set(table_of(np.where(paydays, 1.5, 1.0) * ordinary, starts=april)) == {25, 26, 27}


def test_what_stands_in_for_a_count_becomes_what_it_would_be_with_what_is_known_now() -> None:
    departed = np.log([[2.0, 2.0, 1.0, 2.0, 2.0, 1.0]])
    then = np.log([[1.0, 1.0, 1.0, 1.0, 2.0, 2.0]])
    observed = np.array([[200.0, 200.0, 400.0, np.nan, 0.0, 0.0]])
    # Of a fit that knew nothing, a count, of an ordinary day, nothing, of one that knew as much, of one that knew more.
    felt = np.array([[100.0, 200.0, 100.0, np.nan, 200.0, 200.0]])

    found = renewed(observed, felt, departed - then, ANSCOMBE)

    np.testing.assert_allclose(found, [[200.0, 200.0, 100.0, np.nan, 200.0, 100.0]])
    np.testing.assert_allclose(without(found, departed, ANSCOMBE), [[100.0, 100.0, 100.0, np.nan, 100.0, 100.0]])


numbers = st.floats(-3, 3, allow_nan=False).filter(bool)
ranges = st.builds(lambda by, sure: (by, by) if sure else (min(by, 0.0), max(by, 0.0)), numbers, st.booleans())


@given(
    st.dictionaries(st.integers(-31, 31).filter(bool), ranges, max_size=8),
    st.sampled_from(list(Transform)),
    st.floats(0, 1e6),
)
def test_tables_and_counts_go_there_and_back(
    mapping: dict[int, tuple[float, float]], transform: Transform, count: float
) -> None:
    table = as_table([mapping])

    assert table.shape == (2, 1, DAYS)
    assert as_mappings(table) == [mapping]
    departed, _ = departures(table, starts(40 * 24), BERLIN)
    there = without(np.array([[count]]), departed, transform)
    np.testing.assert_allclose(with_them(there, departed, transform), count, rtol=1e-9, atol=1e-9)


def test_ordinary_days_keep_every_bit() -> None:
    drawn = np.random.default_rng(3).gamma(2.0, 30.0, (2, 50))

    for transform in Transform:
        np.testing.assert_array_equal(without(drawn, np.zeros(drawn.shape), transform), drawn)
        np.testing.assert_array_equal(with_them(drawn, np.zeros(drawn.shape), transform), drawn)


def test_one_row_does_not_depend_on_the_others() -> None:
    first, second = counts(seed=1), counts(50.0, seed=2)
    first[:, on(*PAYDAYS)] *= 1.4
    both = np.concatenate([first, second])
    known = {"anomalous": np.zeros((2, HOURS), dtype=bool), "starts": starts(), "step": HOUR, "zone": BERLIN}

    together = months.learned(both, np.isfinite(both), transform=ANSCOMBE, **known)  # type: ignore[arg-type]

    assert as_mappings(together) == [all_of(first), all_of(second)]
