"""NAB's arithmetic on cases that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.detection.kpi_bench import adjusted, event_wise
from tests.benchmarks.detection.nab import PROFILES, Labelled, Profile, best_threshold, nab_score

STANDARD, LOW_FP, _ = PROFILES


def _series(*flags: int, size: int = 2000, score: float = 1.0) -> Labelled:
    scores = np.zeros(size)
    scores[list(flags)] = score
    return Labelled(scores, ((1000, 1099), (1500, 1599)))


@pytest.mark.parametrize("profile", PROFILES)
def test_silence_is_worth_nothing_and_the_first_rows_of_all_windows_everything(profile: Profile) -> None:
    assert nab_score([_series()], profile, 0.5) == 0.0
    assert nab_score([_series(1000, 1500)], profile, 0.5) == pytest.approx(100.0)


def test_earlier_is_better_and_more_flags_in_a_window_change_nothing() -> None:
    early, late = (nab_score([_series(row)], STANDARD, 0.5) for row in (1020, 1080))
    assert 0 < late < early < 50.0
    assert nab_score([_series(1020, 1030, 1080)], STANDARD, 0.5) == early


def test_a_false_positive_costs_its_share_of_the_windows_and_less_shortly_after_one() -> None:
    found = nab_score([_series(1000, 1500)], STANDARD, 0.5)
    assert found - nab_score([_series(800, 1000, 1500)], STANDARD, 0.5) == pytest.approx(100 * 0.11 / 4)
    assert found - nab_score([_series(800, 1000, 1500)], LOW_FP, 0.5) == pytest.approx(100 * 0.22 / 4)
    assert 0 < found - nab_score([_series(1000, 1105, 1500)], STANDARD, 0.5) < 1.0


def test_the_first_rows_are_not_scored() -> None:
    assert nab_score([_series(10, 299)], STANDARD, 0.5) == 0.0
    assert nab_score([_series(300)], STANDARD, 0.5) < 0.0


def test_the_best_threshold_leaves_out_what_costs_more_than_it_brings() -> None:
    weak = [400, 450, 500, 550, 600, 650, 700]
    scores = _series(*weak, score=0.3).scores + _series(1000, 1500, score=0.6).scores
    score, threshold = best_threshold([Labelled(scores, _series().windows)], STANDARD)
    assert score == pytest.approx(100.0)
    assert threshold == 0.6


def test_a_segment_is_adjusted_as_a_whole_and_counted_once_as_an_event() -> None:
    labels, flagged = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    labels[10:20], labels[50:60] = True, True
    flagged[[15, 70, 71]] = True
    assert adjusted(flagged, labels) == (10 / 12, 10 / 20)
    assert event_wise(flagged, labels) == (1 / 2, 1 / 2)
