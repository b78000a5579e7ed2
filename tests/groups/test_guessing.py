"""What rates and columns say of a group's file, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.groups.durations import parse_duration
from anomaly.groups.guessing import (
    BIN,
    ENOUGH_EVENTS,
    INTERVALS,
    ColumnFacts,
    Seen,
    TableFacts,
    interval,
    lateness,
    relation_query,
    roles,
    seasons,
)

AWARE, NAIVE = "timestamp with time zone", "timestamp without time zone"
DAY = timedelta(days=1)


def seen(counts: NDArray[np.float64], **changes: Any) -> Seen:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    names = tuple(f"v{n}" for n in range(len(counts)))
    values: dict[str, Any] = {"first": start, "last": start + counts.shape[1] * BIN, "looked_from": start}
    return Seen(names, counts, **(values | changes))


def table(*columns: ColumnFacts, indexed: frozenset[str] | None = frozenset()) -> TableFacts:
    return TableFacts("t", columns, 1000, 5000, indexed)


@given(st.floats(0.01, 500))
def test_the_interval_is_the_shortest_in_which_the_median_variable_has_events_enough(rate: float) -> None:
    counts = np.full((3, 96 * 2), rate)
    found = interval(seen(counts))
    shorter = [step for step in INTERVALS if step < found]
    assert all(rate * (step / BIN) < ENOUGH_EVENTS for step in shorter)
    assert rate * (found / BIN) >= ENOUGH_EVENTS or found == INTERVALS[-1]


def test_what_follows_the_clock_and_what_follows_the_week_are_told_apart() -> None:
    hours = np.arange(6 * 168)
    daily = 50 + 30 * np.sin(hours / 24 * 2 * np.pi)
    weekday = np.where(hours // 24 % 7 < 5, 1.0, 0.3)
    rng = np.random.default_rng(2)
    only_daily = seasons(seen(np.repeat(rng.poisson(daily), 4)[None].astype(float)))
    both = seasons(seen(np.repeat(rng.poisson(daily * weekday), 4)[None].astype(float)))
    none = seasons(seen(np.repeat(rng.poisson(50, len(hours)), 4)[None].astype(float)))
    assert only_daily.daily > 0.8
    assert only_daily.weekly < 0.02
    assert both.weekly > 0.3
    assert none.daily < 0.05
    assert np.isnan(seasons(seen(np.ones((1, 10)))).daily)


@given(st.lists(st.floats(-3600, 10 * 86400), min_size=1, max_size=50))
def test_lateness_is_whole_intervals_that_cover_nearly_every_delay(delays: list[float]) -> None:
    found = lateness(seen(np.ones((1, 96)), delays=np.array(delays)), timedelta(hours=1))
    assert found is not None
    assert found % timedelta(hours=1) == timedelta(0)
    assert timedelta(hours=1) <= found <= 2 * DAY
    if found < 2 * DAY:
        assert found.total_seconds() >= np.quantile(delays, 0.995) - 1


def test_without_arrivals_nothing_is_said_of_lateness() -> None:
    assert lateness(seen(np.ones((1, 96))), BIN) is None


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("created_at", "updated_at"), "created_at"),
        (("inserted_at", "event_time"), "event_time"),
        (("birth", "ts"), "ts"),
    ],
)
def test_the_time_is_the_column_that_is_called_like_one(columns: tuple[str, ...], expected: str) -> None:
    found = roles(table(*(ColumnFacts(name, AWARE) for name in columns), ColumnFacts("amount", "numeric")))
    assert found is not None
    assert found.timestamp.name == expected


def test_an_index_says_more_than_a_name() -> None:
    columns = ColumnFacts("a", AWARE), ColumnFacts("ts", AWARE)
    found = roles(table(*columns, indexed=frozenset({"a"})))
    assert found is not None
    assert found.timestamp.name == "a"


def test_a_customers_name_is_not_which_variable_is_written() -> None:
    found = roles(
        table(
            ColumnFacts("id", "bigint", distinct=1000),
            ColumnFacts("customer_name", "text", distinct=300),
            ColumnFacts("ts", NAIVE),
        )
    )
    assert found is not None
    assert found.form == "wide"
    assert found.naive
    assert "id" not in {column.name for column in found.written}


def test_names_with_quotes_in_them_stay_names() -> None:
    facts = TableFacts(
        "s.Odd", (ColumnFacts("ts", AWARE), ColumnFacts("it's", "text"), ColumnFacts('a"b', "integer")), 10, 10, None
    )
    found = roles(facts)
    assert found is not None
    query = relation_query(facts, found)
    assert 's."Odd"' in query
    assert "'it''s'" in query
    assert '"a""b"' in query


def test_every_guessed_interval_can_be_written_and_read_back() -> None:
    from anomaly.groups.durations import format_duration

    assert [parse_duration(format_duration(step)) for step in INTERVALS] == list(INTERVALS)
