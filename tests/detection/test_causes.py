"""Causes: what the hit variables share and the others have not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.causes import Part, Shared, parts, shared

CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
FLIGHTS: dict[str, str | None] = {
    f"{what}_delay.{carrier}": "numeric" for what in ("dep", "arr") for carrier in CARRIERS
}


def test_a_name_is_shared_by_its_beginnings_and_its_ends() -> None:
    assert parts("dep_delay.UA", "numeric") == {
        Part("prefix", "dep_"),
        Part("prefix", "dep_delay."),
        Part("suffix", "_delay.UA"),
        Part("suffix", ".UA"),
        Part("type", "numeric"),
    }
    assert parts("a/b", None) == {Part("prefix", "a/"), Part("suffix", "/b")}
    assert parts("plain", None) == parts("_plain", None) == parts("plain.", None) == frozenset()


def test_fourteen_of_sixteen_departures_and_no_arrival() -> None:
    hit = {f"dep_delay.{carrier}" for carrier in CARRIERS[:14]}
    assert shared(FLIGHTS, hit) == (
        Shared("prefix", "dep_delay.", hit=14, total=16, others_hit=0, others=16, contrast="arr_delay."),
    )


def test_the_end_of_a_name_is_found_as_well_as_its_beginning() -> None:
    variables = {f"{what}.{place}": "numeric" for what in "abcdefgh" for place in ("EWR", "JFK", "LGA")}
    (found,) = shared(variables, {f"{what}.JFK" for what in "abcdefgh"})
    assert (found.place, found.value, found.hit, found.total, found.others) == ("suffix", ".JFK", 8, 8, 16)
    assert found.contrast == ""


def test_the_event_type_is_shared_too() -> None:
    variables = {f"v{n}": "date" if n < 6 else "numeric" for n in range(40)}
    (found,) = shared(variables, {f"v{n}" for n in range(6)})
    assert (found.place, found.value, found.contrast) == ("type", "date", "numeric")


def test_two_causes_at_once_are_both_told() -> None:
    variables = {f"{team}.{n}": None for team in ("pay", "risk", "web", "crm") for n in range(12)}
    found = shared(variables, {f"{team}.{n}" for team in ("pay", "risk") for n in range(12)})
    assert {f.value for f in found} == {"pay.", "risk."}


def test_all_variables_of_the_group_are_told_as_all() -> None:
    assert shared(FLIGHTS, set(FLIGHTS)) == (Shared("everything", "", 32, 32),)


@pytest.mark.parametrize("hit", [[], ["dep_delay.UA"], ["dep_delay.UA", "dep_delay.DL"]])
def test_one_or_two_variables_share_nothing(hit: list[str]) -> None:
    assert shared(FLIGHTS, set(hit)) == ()


def test_names_without_a_pattern_share_nothing() -> None:
    hit = {name for at, name in enumerate(FLIGHTS) if at % 3 == 0}
    assert shared(FLIGHTS, hit) == ()


def test_chance_is_seldom_told_as_a_cause() -> None:
    random = np.random.default_rng(5)
    names = [f"{random.integers(20)}.{random.integers(20)}.{n}" for n in range(400)]
    draws = 200
    told = sum(bool(shared(dict.fromkeys(names), set(random.choice(names, 25, replace=False)))) for _ in range(draws))
    assert told <= 0.03 * draws


@given(st.sets(st.sampled_from(sorted(FLIGHTS)), max_size=32), st.randoms())
def test_supports_are_counts_and_the_order_of_names_does_not_matter(hit: set[str], random: object) -> None:
    names = list(FLIGHTS)
    random.shuffle(names)  # type: ignore[attr-defined]
    found = shared(FLIGHTS, hit)
    assert shared({name: FLIGHTS[name] for name in names}, hit) == found
    for part in found:
        assert part.hit + part.others_hit == len(hit)
        assert part.total + part.others == len(FLIGHTS)
        assert part.hit <= part.total
