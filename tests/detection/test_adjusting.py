"""How far labels move thresholds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.adjusting import LEAST, MOST_MOVED, STEP, STEPS, factors, moves

WORDS = st.sampled_from(sorted(STEPS))
SAID = st.lists(st.tuples(WORDS, st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True)), max_size=30)


def test_a_false_alarm_of_one_variable_asks_for_evidence_three_times_as_rare() -> None:
    assert factors([("false_alarm", ["a"])]) == {"a": pytest.approx(1 / 3)}


def test_a_confirmed_incident_undoes_a_false_alarm_and_never_makes_alarms_more_frequent_than_at_first() -> None:
    assert factors([("false_alarm", ["a"]), ("real", ["a"])]) == {"a": pytest.approx(1.0)}
    assert factors([("real", ["a"]), ("false_alarm", ["a"])]) == {"a": pytest.approx(1 / 3)}


def test_what_was_expected_moves_less_than_a_false_alarm() -> None:
    assert 1 > factors([("expected", ["a"])])["a"] > factors([("false_alarm", ["a"])])["a"]


def test_an_incident_of_thirty_variables_moves_the_worst_most_and_most_of_them_not_at_all() -> None:
    names = [f"v{n}" for n in range(30)]
    found = factors([("false_alarm", names)])
    assert list(found.values()) == sorted(found.values())
    assert len(found) == MOST_MOVED
    assert found["v0"] == pytest.approx(1 / STEP)
    assert found["v9"] > 0.88


@given(SAID)
def test_factors_stay_within_their_bounds_whatever_is_said(said: list[tuple[str, list[str]]]) -> None:
    assert all(LEAST <= factor <= 1 for factor in factors(said).values())


@given(SAID, st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True))
def test_one_more_false_alarm_never_raises_and_one_more_real_incident_never_lowers(
    said: list[tuple[str, list[str]]], names: list[str]
) -> None:
    before = factors(said)
    for word, sign in (("false_alarm", -1), ("expected", -1), ("real", 1)):
        after = factors([*said, (word, names)])
        assert all(sign * (after[name] - before.get(name, 1.0)) >= 0 for name in names)


@given(SAID)
def test_five_confirmed_incidents_undo_any_number_of_false_alarms(said: list[tuple[str, list[str]]]) -> None:
    for name in {n for _, names in said for n in names}:
        assert factors([*said, *5 * [("real", [name])]])[name] == 1.0


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        moves("nonsense", ["a"])
