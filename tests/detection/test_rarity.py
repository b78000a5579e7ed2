"""Rarities: a rank among the past, an exponential beyond it, and nothing learnt from what is to come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.detection.rarity import RAREST, WARM_UP, running_quantiles, running_rarity

SMALL = st.integers(-5, 5).map(float)  # many ties
SERIES = st.lists(st.one_of(SMALL, st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=200)


def _uniform(size: int, seed: int = 1) -> list[float]:
    drawn: list[float] = np.random.default_rng(seed).random(size).tolist()
    return drawn


@given(rows=SERIES)
def test_what_is_high_upside_down_is_low(rows: list[float]) -> None:
    values = np.array(rows, dtype=np.float64)
    upright, upside_down = running_rarity(values), running_rarity(-values)
    np.testing.assert_array_equal(upright.above, upside_down.below)


@settings(max_examples=50)
@given(rows=SERIES, share=st.floats(0, 1))
def test_later_rows_change_nothing(rows: list[float], share: float) -> None:
    part = int(share * len(rows))
    for short, whole in zip(running_rarity(rows[:part]), running_rarity(rows), strict=True):
        np.testing.assert_array_equal(short, whole[:part])


@given(rows=SERIES, factor=st.sampled_from([2.0**-20, 2.0**20]))
def test_the_unit_does_not_matter(rows: list[float], factor: float) -> None:
    values = np.array(rows, dtype=np.float64)
    np.testing.assert_allclose(running_rarity(values * factor).above, running_rarity(values).above)


def test_inside_what_was_seen_it_is_the_share_of_rows_as_high() -> None:
    past = [*range(1, 101)]
    assert running_rarity([*past, 71.0]).above[-1] == pytest.approx(-np.log10(31 / 101))
    assert running_rarity([*past, 30.0]).below[-1] == pytest.approx(-np.log10(31 / 101))


def test_beyond_what_was_seen_it_grows_with_the_distance_until_it_is_cut() -> None:
    past = _uniform(1000)
    rarities = [running_rarity([*past, row]).above[-1] for row in (0.99, 1.02, 1.1, 2.0)]
    assert 1.5 < rarities[0] < rarities[1] < rarities[2] < rarities[3] == RAREST


def test_nothing_is_judged_before_the_warm_up() -> None:
    rarity = running_rarity([*_uniform(WARM_UP - 1), 99.0])
    assert not rarity.above.any()
    assert running_rarity([*_uniform(WARM_UP), 99.0]).above[-1] == RAREST


def test_the_first_change_of_a_constant_is_as_rare_as_can_be_unless_it_is_below_the_resolution() -> None:
    rows = [*[5.0] * 100, 5.001]
    assert running_rarity(rows).above[-1] == RAREST
    assert running_rarity(rows, resolution=0.01).above[-1] < RAREST


def test_missing_rows_have_no_rarity_and_are_forgotten() -> None:
    rows = [*_uniform(80), 2.0]
    with_gaps = np.full(2 * len(rows), np.nan)
    with_gaps[1::2] = rows
    rarity = running_rarity(with_gaps)
    np.testing.assert_array_equal(rarity.above[1::2], running_rarity(rows).above)
    assert not rarity.above[0::2].any()


def test_quantiles_are_of_the_rows_before() -> None:
    rows = [*map(float, range(101)), 1e9]
    low, middle = running_quantiles(rows, (0.0, 0.5))
    assert np.isnan(low[:WARM_UP]).all()
    assert (low[-1], middle[-1]) == (0.0, 50.0)
