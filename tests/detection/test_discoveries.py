"""Discoveries: weaker variables join an incident when they are too many for chance, and only then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.detection.discoveries import FALSE_SHARE, LOOSEST, adjusted, harmonic_mean, joining
from anomaly.detection.incidents import Anomaly, Incident, gather
from anomaly.groups.model import Direction, Threshold

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)
PROBABILITIES = st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=60)


def _interval(variable: str, hour: int, tail: float, *, observed: float = 2.0, kind: str = "") -> Anomaly:
    return Anomaly(variable, START + hour * HOUR, kind, observed, 20.0, observed - 20.0, tail)


def _own(variables: int, hours: int = 1, *, tail: float = 1e-9, kind: str = "drop") -> list[Anomaly]:
    observed = 50.0 if kind == "surge" else 2.0
    return [_interval(f"own{n}", h, tail, observed=observed, kind=kind) for n in range(variables) for h in range(hours)]


def _incident(anomalies: list[Anomaly]) -> Incident:
    (found,) = gather(
        "orders", anomalies, step=HOUR, merge_gap=6 * HOUR, min_anomalies=1, until=START + timedelta(days=9)
    )
    return found


def _join(own: list[Anomaly], weak: list[Anomaly], *, judged: int = 5000, **policy: object) -> set[str]:
    found = joining(
        _incident(own),
        [*own, *weak],
        starts=sorted({a.start for a in own}),
        judged=judged,
        policy=Threshold.model_validate(policy),
    )
    assert all(a.test == "together" for a in found)
    return {a.variable for a in found}


@given(PROBABILITIES)
def test_adjusted_probabilities_are_those_of_benjamini_and_hochberg(probabilities: list[float]) -> None:
    p = np.array(probabilities)
    np.testing.assert_allclose(adjusted(p, tests=len(p)), stats.false_discovery_control(p, method="bh"), rtol=1e-12)


@given(PROBABILITIES, st.integers(0, 200))
def test_tests_that_are_known_to_be_unremarkable_need_not_be_listed(probabilities: list[float], others: int) -> None:
    p = np.array(probabilities)
    every = stats.false_discovery_control(np.concatenate([p, np.ones(others)]), method="bh")
    np.testing.assert_allclose(adjusted(p, tests=len(p) + others), every[: len(p)], rtol=1e-12)


@given(st.floats(1e-12, 1.0), st.integers(1, 30))
def test_the_harmonic_mean_of_one_interval_is_its_probability_and_of_many_no_less_than_the_rarest(
    rarest: float, intervals: int
) -> None:
    row = np.full((1, intervals), 1.0)
    row[0, 0] = rarest
    (combined,) = harmonic_mean(row)
    assert rarest * (1 - 1e-12) <= combined <= min(1.0, rarest * intervals) * (1 + 1e-12)
    if intervals == 1:
        assert combined == pytest.approx(rarest)


def test_one_weak_variable_among_five_thousand_is_ordinary_and_forty_at_once_are_not() -> None:
    own = _own(2)
    assert _join(own, [_interval("weak", 0, 3e-4)]) == set()
    assert len(_join(own, [_interval(f"weak{n}", 0, 3e-4) for n in range(40)])) == 40


def test_nothing_joins_a_single_variable_or_a_frozen_count() -> None:
    weak = [_interval(f"weak{n}", 0, 1e-5) for n in range(40)]
    assert _join(_own(1), weak) == set()
    assert _join(_own(2, kind="frozen"), weak) == set()


def test_the_group_s_total_is_support_enough_but_never_joins() -> None:
    weak = [_interval(f"weak{n}", 0, 1e-5) for n in range(40)]
    total = _interval("(total)", 0, 1e-9, kind="drop")
    assert len(_join([total], weak)) == 40
    assert "(total)" not in _join(_own(2), [*weak, replace(total, kind="", tail_probability=1e-5)])


def test_only_what_departs_as_the_incident_does_joins() -> None:
    up = [_interval(f"up{n}", 0, 1e-5, observed=60) for n in range(40)]
    down = [_interval(f"down{n}", 0, 1e-5) for n in range(40)]
    assert all(name.startswith("down") for name in _join(_own(3), up + down))
    assert all(name.startswith("up") for name in _join(_own(3, kind="surge"), up + down))
    assert _join(_own(3), up + down, direction=Direction.SURGE) == set()


def test_floors_of_the_policy_hold_for_what_joins() -> None:
    weak = [_interval(f"weak{n}", 0, 1e-5, observed=15) for n in range(40)]
    assert len(_join(_own(2), weak, min_absolute=5)) == 40
    assert _join(_own(2), weak, min_absolute=6) == _join(_own(2), weak, min_relative=0.3) == set()


def test_a_long_incident_asks_for_no_less_than_a_short_one() -> None:
    weak = [_interval(f"weak{n}", 0, 3e-4) for n in range(40)]
    assert _join(_own(2, hours=24), weak) == set()
    assert len(_join(_own(2, hours=24), [replace(w, start=START + h * HOUR) for w in weak for h in range(24)])) == 40


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(1e-8, LOOSEST)), max_size=40), st.randoms())
def test_the_order_of_what_is_read_does_not_matter(cells: list[tuple[int, float]], random: object) -> None:
    weak = [_interval(f"weak{n}", 0, p) for n, p in dict(cells).items()]
    shuffled = list(weak)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert _join(_own(3), weak, judged=60) == _join(_own(3), shuffled, judged=60)


@pytest.mark.parametrize("hours", [1, 12])
def test_few_of_the_variables_that_are_named_are_there_by_chance(hours: int) -> None:
    random = np.random.default_rng(11)
    own, variables = _own(20, hours), 1000
    shares = []
    for _ in range(100):
        tails = random.uniform(size=(variables, hours))
        weak = [_interval(f"v{row}", int(hour), tails[row, hour]) for row, hour in np.argwhere(tails <= LOOSEST)]
        false = len(_join(own, weak, judged=variables + 20))
        shares.append(false / (20 + false))
    assert np.mean(shares) <= FALSE_SHARE + 2 * np.std(shares) / np.sqrt(len(shares))
    assert np.max(shares) > 0
