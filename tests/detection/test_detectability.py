"""What the detectability map is made of; the whole of it is tried on real stores in tests/stages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.detectability import Rules, _Chains, follows, horizon, needed_before
from anomaly.detection.evidence import Series, memory
from anomaly.detection.incidents import Anomaly, gather
from anomaly.detection.lookback import ALWAYS_ENOUGH, lookback
from anomaly.groups.model import Threshold, Transform

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
TESTS = ("single", "sum-3", "sum-24", "frozen", "silence")
judged = st.lists(st.none() | st.sampled_from(TESTS), min_size=1, max_size=24)


@given(judged, st.integers(1, 30), st.integers(0, 6), st.integers(1, 12))
def test_an_incident_opens_in_a_trial_when_gather_makes_one_of_the_same_anomalies(
    tests: list[str | None], least: int, duration: int, gap: int
) -> None:
    rules = Rules(np.zeros(1), Threshold(), least, duration * HOUR, gap * HOUR)
    chain = _Chains(1, HOUR, rules)
    opened, made = [], []
    anomalies: list[Anomaly] = []
    for n, test in enumerate(tests):
        length = lookback(test or "single", HOUR) // HOUR
        alone = np.array([test in ALWAYS_ENOUGH])
        opened.append(bool(chain.add(n, np.array([test is not None]), np.array([length]), alone)[0]))
        if test is not None:
            anomalies.append(Anomaly("a", START + n * HOUR, "drop", 0, 9, -3, 1e-9, 1e-3, test))
        until = START + (n + 1) * HOUR
        found = gather(
            "g",
            anomalies,
            step=HOUR,
            merge_gap=gap * HOUR,
            min_anomalies=least,
            min_duration=duration * HOUR,
            until=until,
        )
        made.append(bool(found))
    assert (opened.index(True) if any(opened) else None) == (made.index(True) if any(made) else None)


def test_how_far_predictions_follow_is_read_off_their_departures() -> None:
    rng = np.random.default_rng(1)
    outlook = np.full((3, 400), 100.0)
    felt = rng.poisson(100, (3, 400)).astype(float)
    z = 2 * np.sqrt(felt + 3 / 8) - 2 * np.sqrt(100 + 3 / 8)
    moved = np.zeros_like(z)
    moved[:, 1:] = np.array([[0.0], [0.5], [1.7]]) * z[:, :-1]
    expected = ((moved + 2 * np.sqrt(100 + 3 / 8)) / 2) ** 2 - 3 / 8
    slopes = follows(Series(felt, felt, expected, outlook), np.ones(felt.shape, bool), Transform.ANSCOMBE)
    np.testing.assert_allclose(slopes, [0.0, 0.5, 1.0], atol=0.02)


def test_what_is_hardly_known_follows_nothing() -> None:
    ones = np.ones((1, 400))
    known = np.zeros((1, 400), dtype=bool)
    known[0, :20] = True
    assert follows(Series(ones, 2 * ones, 2 * ones, ones), known, Transform.ANSCOMBE) == 0


def test_a_day_is_looked_at_or_seven_intervals_where_they_are_long() -> None:
    assert horizon(HOUR) == 24
    assert horizon(timedelta(minutes=15)) == 96
    assert horizon(timedelta(days=1)) == 7
    assert needed_before(HOUR) > memory(HOUR)
