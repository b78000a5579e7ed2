"""The words of alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.adapters.messages import (
    departure_words,
    duration_words,
    escaped,
    return_period_words,
    shortened,
    span_words,
)

DASH = "\N{EN DASH}"
NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.5, "about once an hour"),
        (5, "once in 5 hours"),
        (30, "once in 30 hours"),
        (24 * 9, "once in 9 days"),
        (24 * 100, "once in 3.3 months"),
        (41_200, "once in 4.7 years"),
        (8766 * 2345, "once in 2,300 years"),
        (float("inf"), "less than once in 100,000 years"),
        (float("nan"), "rarity unknown"),
    ],
)
def test_a_return_period_is_told_in_the_unit_that_people_would_use(hours: float, words: str) -> None:
    assert return_period_words(hours) == words


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (datetime(2013, 2, 8, 19), datetime(2013, 2, 9, 20), f"8 Feb 2013 14:00 {DASH} 9 Feb 15:00 EST"),
        (datetime(2013, 2, 8, 19), datetime(2013, 2, 8, 20), f"8 Feb 2013 14:00 {DASH} 15:00 EST"),
        (datetime(2012, 12, 31, 17), datetime(2013, 1, 1, 17), f"31 Dec 2012 12:00 {DASH} 1 Jan 2013 12:00 EST"),
        (datetime(2013, 3, 10, 6), datetime(2013, 3, 10, 8), f"10 Mar 2013 01:00 EST {DASH} 04:00 EDT"),
    ],
)
def test_a_span_says_what_its_ends_share_once(start: datetime, end: datetime, words: str) -> None:
    assert span_words(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), NEW_YORK) == words


def test_a_zone_without_a_name_is_told_by_its_offset() -> None:
    noon = datetime(2026, 5, 1, 9, tzinfo=UTC)
    assert span_words(noon, noon + timedelta(hours=1), ZoneInfo("America/Sao_Paulo")).endswith("UTC-03")


@pytest.mark.parametrize(
    ("observed", "expected", "words"),
    [
        (312, 1240, "312 instead of 1,240 (\N{MINUS SIGN}75%)"),
        (150, 100, "150 instead of 100 (+50%)"),
        (4200, 12.5, "4,200 instead of 12 (336\N{MULTIPLICATION SIGN} as many)"),
        (3, 0.0, "3 instead of 0"),
        (3, float("nan"), "3 instead of unknown"),
    ],
)
def test_a_departure_says_both_numbers_and_their_relation(observed: float, expected: float, words: str) -> None:
    assert departure_words(observed, expected) == words


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(45, "45 min"), (60 * 25, "25 h"), (60 * 2 + 30, "2 h 30 min"), (60 * 72, "3 days"), (60 * 73, "3 days 1 h")],
)
def test_a_duration_has_at_most_two_units(minutes: int, words: str) -> None:
    assert duration_words(timedelta(minutes=minutes)) == words


@given(text=st.text(), limit=st.integers(9, 60))
def test_a_shortened_name_is_one_printable_line_within_the_limit(text: str, limit: int) -> None:
    line = shortened(text, limit)
    assert 0 < len(line) <= limit
    assert line.isprintable()


@given(st.text(alphabet=st.sampled_from("abc.&<>_ "), min_size=1, max_size=20))
def test_escaped_text_holds_no_control_character_and_loses_nothing(text: str) -> None:
    safe = escaped(text)
    assert not set("<>") & set(safe)
    assert safe.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
