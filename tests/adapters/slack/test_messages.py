"""The words of alerts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.adapters.messages import (
    departure_words,
    duration_words,
    escaped,
    fallback_text,
    headline,
    incident_blocks,
    observed_words,
    return_period_words,
    shared_words,
    shortened,
    span_words,
    state_words,
)
from anomaly.detection.causes import Shared
from anomaly.groups import Group
from anomaly.ports import Incident, IncidentVariable, Links

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


def _part(**changes: Any) -> IncidentVariable:
    start = datetime(2013, 2, 8, 19, tzinfo=UTC)
    part = IncidentVariable("dep_delay.UA", "drop", start, start + timedelta(hours=4), 4, 312.0, 420.0, 1e-7)
    return replace(part, **changes)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (_part(), "312 instead of 420 (\N{MINUS SIGN}26%)"),
        (
            _part(test="sum-24", stretch=timedelta(hours=24)),
            "312 instead of 420 (\N{MINUS SIGN}26%), found over 24 h",
        ),
        (
            _part(test="silence", stretch=timedelta(hours=9), usual=timedelta(hours=2)),
            "nothing for 9 h; usually at most 2 h",
        ),
        (_part(test="silence", stretch=timedelta(days=3), usual=None), "nothing for 3 days"),
        (_part(test="frozen", stretch=timedelta(hours=9)), "the same count for 9 h"),
        (
            _part(test="level", observed=525.0, stretch=timedelta(days=3)),
            "525 instead of 420 (+25%), another level over 3 days",
        ),
        (_part(test="together"), "312 instead of 420 (\N{MINUS SIGN}26%), odd only together with the others"),
    ],
    ids=lambda value: value.test if isinstance(value, IncidentVariable) else "",
)
def test_what_was_observed_is_told_as_the_test_saw_it(part: IncidentVariable, words: str) -> None:
    assert observed_words(part) == words


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        (
            Shared("prefix", "dep_delay.", 14, 16, 0, 16, "arr_delay."),
            "14 of 16 variables under dep_delay., 0 of 16 under arr_delay.",
        ),
        (Shared("suffix", ".UA", 3, 3, 1, 40), "3 of 3 variables ending in .UA, 1 of 40 others"),
        (Shared("type", "date", 6, 6, 0, 34, "numeric"), "6 of 6 variables of type date, 0 of 34 of type numeric"),
        (Shared("everything", "", 28, 28), "all 28 variables of the group"),
    ],
    ids=["prefix", "suffix", "type", "everything"],
)
def test_what_variables_share_is_told_with_its_support(shared: Shared, words: str) -> None:
    assert shared_words(shared) == words


@pytest.mark.parametrize(
    ("kind", "words"), [("frozen", "froze"), ("shift", "shifted"), ("silent", "fell silent"), ("surge", "surged")]
)
def test_every_kind_has_its_verb(incident: Incident, kind: str, words: str) -> None:
    assert headline(replace(incident, kind=kind)) == f"carriers: 3 variables {words}"


def test_the_message_says_how_bad_it_is_and_what_is_in_common(group: Group, incident: Incident) -> None:
    shared = (Shared("prefix", "dep_<delay>.", 2, 16, 0, 16), Shared("type", "date", 2, 2))
    told = replace(incident, severity="critical", shared=shared)
    texts = str(incident_blocks(group, told, links=Links(), file_id=None))
    assert "*Severity*\\nCritical drop" in texts
    assert "*Probable common cause:* 2 of 16 variables under `dep_&lt;delay&gt;.`, 0 of 16 others; 2 of 2" in texts
    assert fallback_text(group, told).startswith("Critical: carriers: 3 variables dropped")
    assert "(once in 4.7 years)" in fallback_text(group, told)


def test_an_incident_that_became_worse_says_what_it_was_when_it_was_told(incident: Incident) -> None:
    told = replace(incident, severity="critical", told_severity="high", told_variables=1, told_tail_probability=1e-9)
    assert state_words(told).endswith("; worse than when it was told (high, 1 variable)")
    assert "worse" not in state_words(replace(told, told_severity="critical"))
    assert "worse" not in state_words(replace(told, resolved=True))


def test_frozen_counts_are_not_added_up(group: Group, incident: Incident) -> None:
    part = replace(incident.variables[0], kind="frozen", test="frozen", stretch=timedelta(hours=9))
    frozen = replace(incident, kind="frozen", variables=(part, replace(part, variable="b")))
    assert "*Observed*\\nThe same count for 9 h" in str(incident_blocks(group, frozen, links=Links(), file_id=None))


def test_variables_beyond_the_listed_ones_say_how_many_joined_only_together(group: Group, incident: Incident) -> None:
    strong = tuple(_part(variable=f"a{n}") for n in range(9))
    weak = tuple(_part(variable=f"b{n}", test="together") for n in range(5))
    texts = str(incident_blocks(group, replace(incident, variables=strong + weak), links=Links(), file_id=None))
    assert "_and 6 more, 5 of them odd only together with the others:_" in texts


def _with_total(incident: Incident, *variables: IncidentVariable) -> Incident:
    total = _part(variable="(total)", test="sum-6", stretch=timedelta(hours=6), observed=1000.0, expected=9000.0)
    return replace(incident, variables=(*variables, total))


def test_the_worst_variable_comes_first_and_the_total_has_a_sentence_of_its_own(
    group: Group, incident: Incident
) -> None:
    told = _with_total(incident, *incident.variables)
    alone = incident_blocks(group, incident, links=Links(), file_id=None)
    blocks = incident_blocks(group, told, links=Links(), file_id=None)
    assert headline(told) == "carriers: 3 variables dropped"
    assert blocks[1:3] == alone[1:3]  # facts and list are of the variables, the worst first
    said = blocks[3]["text"]["text"]
    assert said == "All variables together: 1,000 instead of 9,000 (\N{MINUS SIGN}89%), found over 6 h."
    assert "(total)" not in str(blocks)


def test_the_total_takes_no_line_of_another_variable(group: Group, incident: Incident) -> None:
    parts = [_part(variable=f"a{n}") for n in range(10)]
    texts = str(incident_blocks(group, _with_total(incident, *parts), links=Links(), file_id=None))
    assert "`a7`" in texts
    assert "_and 2 more:_ `a8`, `a9`" in texts


def test_one_variable_and_the_total_are_both_in_the_headline(group: Group, incident: Incident) -> None:
    assert headline(_with_total(incident, _part())) == "carriers: dep_delay.UA and all variables together dropped"
    both = str(incident_blocks(group, _with_total(incident, _part()), links=Links(), file_id=None))
    assert "*Observed*\\n312 instead of 420" in both
    assert "All variables together: 1,000 instead of 9,000" in both
    assert both.count("312 instead of 420") == 1
    alone = _with_total(incident)
    assert headline(alone) == "carriers: all variables together dropped"
    assert "*Observed*\\n1,000 instead of 9,000" in str(incident_blocks(group, alone, links=Links(), file_id=None))
