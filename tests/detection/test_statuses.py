"""Which variables are fitted, and what the others get in place of a network."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from anomaly.detection.statuses import Judgement, classify

REQUIRED, WARM = 100, 60


def judged(counts: NDArray[np.float64]) -> Judgement:
    (judgement,) = classify(counts[None], required=REQUIRED, warm_up=WARM)
    return judgement


def test_a_variable_with_less_history_than_asked_for_is_new() -> None:
    counts = np.full(200, np.nan)
    counts[101:] = np.arange(99)

    assert judged(counts).status == "new"
    assert judged(counts).reason == "99 intervals of history; the policy asks for 100"


def test_a_variable_whose_history_does_not_reach_beyond_its_windows_is_new() -> None:
    (judgement,) = classify(np.arange(100.0)[None], required=10, warm_up=95)

    assert judgement.status == "new"
    assert "windows need 95 before" in judgement.reason


def test_a_variable_that_was_never_written_is_dead() -> None:
    assert (judged(np.zeros(150)).status, judged(np.zeros(150)).constant) == ("dead", 0)


def test_stand_ins_next_to_zero_do_not_bring_a_dead_variable_to_life() -> None:
    counts = np.zeros(150)
    counts[7] = 1e-12

    assert judged(counts).status == "dead"


def test_a_variable_that_never_changes_is_constant() -> None:
    assert judged(np.full(150, 3.0)) == Judgement("constant", "3 events in each of 150 intervals", 3.0)


def test_a_variable_below_one_event_in_a_hundred_intervals_is_sparse() -> None:
    sparse, busy = np.zeros(1000), np.zeros(1000)
    sparse[:9] = 1
    busy[:10] = 1

    assert (judged(sparse).status, judged(sparse).constant) == ("sparse", 0.009)
    assert judged(busy).status == "fitted"


@given(hnp.arrays(np.float64, st.integers(0, 200), elements=st.sampled_from([0.0, 1.0, 5.0, np.nan])))
def test_every_history_gets_a_status_and_a_fallback_gets_its_constant(counts: NDArray[np.float64]) -> None:
    judgement = judged(counts)

    assert judgement.reason
    assert np.isfinite(judgement.constant) == (judgement.status in {"dead", "constant", "sparse"})
