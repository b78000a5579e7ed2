"""What an explanation says, against what the tests themselves do."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection import calendars, months, transforms
from anomaly.detection.calibration import Calibration
from anomaly.detection.candidates import candidate
from anomaly.detection.evidence import (
    ANY,
    FROZEN,
    FROZEN_LEAST,
    LARGEST,
    SILENCE,
    SINGLE,
    Evidence,
    FittedTest,
    Series,
    of_counts,
    of_waits,
    two_sided,
    unsettled,
)
from anomaly.detection.explanations import (
    Judged,
    TestLimit,
    calibration_words,
    family_words,
    limit_words,
    looked_again,
    number,
    odds,
    share,
    test_limits,
)
from anomaly.detection.fitted_tests import fit_tests
from anomaly.detection.forecasts import Panel, Past, Walk, walk
from anomaly.detection.scaling import Scaler
from anomaly.groups.intervals import to_datetime64
from anomaly.groups.model import TOTAL, Direction, Threshold, Transform

HOUR = timedelta(hours=1)
BOTH = Direction.BOTH
WORKED_BACKWARDS = test_limits
"""Under another name, because pytest collects what begins with ``test_``."""
del test_limits


def fitted(test: str, family: str, *parameters: float, knee: float = 2.0, slope: float = 1.3) -> FittedTest:
    return FittedTest(test, family, parameters, Calibration(knee, slope), "as measured")


TOGETHER = fitted(ANY, "any", 0.5, 1.0, knee=3.1, slope=0.9)


def limits_of(
    *tests: FittedTest,
    needed: float = 9.0,
    rate: float = 40.0,
    direction: Direction = BOTH,
    transform: Transform = Transform.ANSCOMBE,
) -> dict[str, TestLimit]:
    found = WORKED_BACKWARDS([*tests, TOGETHER], needed, rate=rate, step=HOUR, transform=transform, direction=direction)
    return {limit.test: limit for limit in found}


def final(test: FittedTest, evidence: float) -> float:
    """What a family's evidence is in the end, when no other test says more."""
    own = test.calibration(np.array([evidence]))
    return float(TOGETHER.calibration(own)[0])


# --- the policy -------------------------------------------------------------------------------------------------


@given(
    weekly=st.floats(0.1, 1),
    others=st.integers(1, 200),
    total=st.integers(0, 1),
    minutes=st.sampled_from([15, 60, 360]),
)
def test_all_shares_together_are_the_policy(weekly: float, others: int, total: int, minutes: int) -> None:
    interval = timedelta(minutes=minutes)
    names = [f"v{n}" for n in range(others)] + [TOTAL] * total
    policy = Threshold(false_alerts_per_week=weekly)
    shares = [share(policy, names, name, [], interval=interval) for name in names]
    assert sum(s.beginning * s.intervals_per_week for s in shares) == pytest.approx(weekly, rel=1e-9)
    assert all(s.probability == s.beginning for s in shares)  # without tests, nothing comes in runs


def test_a_variable_whose_rare_intervals_come_in_runs_may_have_more_of_them() -> None:
    names = ["a", "b", TOTAL]
    plain, in_runs = (share(Threshold(), names, "a", tests, interval=HOUR) for tests in ([], [TOGETHER]))
    assert (in_runs.part, in_runs.sharing, in_runs.run) == (0.5, 2, 2.0)
    assert in_runs.probability == 2 * plain.probability
    assert share(Threshold(), names, TOTAL, [], interval=HOUR).sharing == 1
    assert share(Threshold(), ["a"], "a", [], interval=timedelta(days=1)).capped


# --- each test's limit --------------------------------------------------------------------------------------------


@given(
    degrees=st.floats(3, 30),
    location=st.floats(-1, 1),
    scale=st.floats(0.3, 3),
    knee=st.floats(0.6, 6),
    slope=st.floats(0.7, 2.5),
    needed=st.floats(4, 12),
)
def test_a_residual_at_its_limit_has_exactly_the_evidence_that_is_needed(
    degrees: float, location: float, scale: float, knee: float, slope: float, needed: float
) -> None:
    test = fitted(SINGLE, "t", degrees, location, scale, knee=knee, slope=slope)
    limit = limits_of(test, needed=needed)[SINGLE]
    for side in (limit.lower, limit.upper):
        own = two_sided("t", [np.array([p]) for p in test.parameters], np.array([side]))[0]
        if limit.evidence < LARGEST:
            assert final(test, own) == pytest.approx(needed, rel=1e-6)
        else:
            assert not limit.reachable


@pytest.mark.parametrize("transform", Transform)
def test_the_counts_of_a_sum_are_where_its_residual_is_at_the_limit(transform: Transform) -> None:
    limit = limits_of(fitted("sum-6", "t", 8.0, 0.1, 0.8), transform=transform)["sum-6"]
    assert (limit.length, limit.usual) == (6, 240.0)
    z = transforms.forward([limit.fewest, limit.usual, limit.most], transform)
    per = math.sqrt(6) if transform is Transform.LINEAR else 1.0
    assert (z[[0, 2]] - z[1]) / per == pytest.approx([limit.lower, limit.upper])


@given(phi=st.sampled_from([0.0, 0.2]), rate=st.floats(0.05, 2.9), needed=st.floats(3, 10))
def test_the_counts_of_a_rare_variable_are_the_last_ordinary_ones(phi: float, rate: float, needed: float) -> None:
    test = fitted(SINGLE, "counts", phi, 0.02, knee=2.302585, slope=1.0)
    limit = limits_of(test, rate=rate, needed=needed)[SINGLE]
    many = np.array([[limit.most, limit.most + 1]])
    within, beyond = of_counts(many, np.full((1, 2), rate), np.array([[phi]]))[0]
    assert within <= limit.evidence + 1e-9
    assert beyond >= limit.evidence - 1e-9
    assert math.isnan(limit.lower)


def test_a_direction_that_does_not_count_has_no_limit() -> None:
    tests = fitted(SINGLE, "t", 8.0, 0.0, 1.0), fitted("sum-3", "counts", 0.0, 0.06)
    drops = limits_of(*tests, direction=Direction.DROP)
    assert all(limit.most == math.inf and limit.fewest > 0 for limit in drops.values())
    assert "more than" not in limit_words(drops[SINGLE], HOUR, Transform.ANSCOMBE)


@given(median=st.floats(0.2, 3), excess=st.floats(0.2, 3), needed=st.floats(2.5, 8), rate=st.floats(0.5, 2.9))
def test_a_wait_at_its_limit_has_the_evidence_that_is_needed(
    median: float, excess: float, needed: float, rate: float
) -> None:
    limit = limits_of(fitted(SILENCE, "gaps", median, excess), needed=needed, rate=rate)[SILENCE]
    if math.isfinite(limit.lasting):
        waited = np.array([limit.lasting * rate])
        assert of_waits(waited, np.array(median), np.array(excess))[0] == pytest.approx(limit.evidence)


def test_a_wait_longer_than_the_test_looks_back_is_said_to_be_out_of_reach() -> None:
    limit = limits_of(fitted(SILENCE, "gaps", 0.7, 1.0), rate=0.01)[SILENCE]
    assert not limit.reachable
    assert limit_words(limit, HOUR, Transform.ANSCOMBE).startswith("never alone at its mean rate, where 168 intervals")


def test_a_family_that_cannot_say_enough_is_said_to_be_silent() -> None:
    limit = limits_of(fitted(SINGLE, "t", 8.0, 0.0, 1.0, slope=3.0), needed=18.0)[SINGLE]
    assert limit.evidence > LARGEST
    assert limit_words(limit, HOUR, Transform.ANSCOMBE).startswith("never alone: its family")


# --- one interval, again ------------------------------------------------------------------------------------------

ZONE = ZoneInfo("America/New_York")
START = datetime(2013, 10, 21, 4, tzinfo=UTC)
HISTORY, JUDGED = 35 * 24, 14 * 24
"""Hours; the judged ones begin on 25 November 2013, and hold Thanksgiving and the turn of a month."""
SPIKES = (150, 201, 280)
"""After the history: on the weekend after Thanksgiving, at the turn of the month, and later."""


@pytest.fixture(scope="module", params=[12.0, 0.4], ids=["regular", "rare"])
def watched(request: pytest.FixtureRequest) -> tuple[Past, Walk, tuple[FittedTest, ...], float]:
    """Two weeks of one variable with an outage, judged hour by hour after five weeks of history."""
    hours = HISTORY + JUDGED
    rate = request.param * (1.2 + np.sin(np.arange(hours) / 24 * 2 * np.pi))
    counts = np.random.default_rng(5).poisson(rate, (1, hours)).astype(float)
    counts[0, HISTORY + 20 : HISTORY + 50] = 0
    counts[0, HISTORY + np.array(SPIKES)] = 400
    starts = to_datetime64(START) + np.arange(hours) * np.timedelta64(3600, "s")
    expected = rate[None, :HISTORY]
    rare = np.array([request.param < 3])
    tests = fit_tests(
        Series(counts[:, :HISTORY], counts[:, :HISTORY], expected, expected),
        np.ones((1, HISTORY), dtype=bool),
        rare=rare,
        distribution="t",
        step=HOUR,
        transform=Transform.ANSCOMBE,
        gap=12,
        turn=calendars.turn_of_month(starts[:HISTORY], ZONE),
    )
    declared = candidate("seasonal-rate")
    assert declared.forecast is not None
    panel = Panel(
        rows=np.array([0]),
        positions=None,
        network_variables=1,
        scaler=Scaler(np.zeros(1), np.ones(1)),
        window=declared.window(HOUR),
        relative=False,
        predict=declared.forecast,
    )
    past = Past(
        observed=counts,
        felt=counts[:, :HISTORY],
        expected=expected,
        anomalous=np.zeros((1, HISTORY), dtype=bool),
        starts=starts,
        step=HOUR,
        zone=ZONE,
        transform=Transform.ANSCOMBE,
        special=calendars.special(starts, ZONE, "US"),
        departed=months.departures(months.as_table([{3: (0.4, 0.4), 4: (0.0, 0.5)}]), starts, ZONE),
    )
    # The turn of the month scatters twice as much, so that it is seen to be taken into account.
    (*own, together) = tests[0]
    shifted = (*own, FittedTest(ANY, "any", (0.5, 2.0), together.calibration, ""))
    evidence = Evidence([shifted], step=HOUR, transform=Transform.ANSCOMBE)
    needed = 8.0
    return past, walk(past, [panel], evidence, np.array([needed]), Threshold()), shifted, needed


def test_every_verdict_follows_again_from_what_is_stored(
    watched: tuple[Past, Walk, tuple[FittedTest, ...], float],
) -> None:
    past, walked, tests, needed = watched
    observed = past.observed[0]
    felt = np.concatenate([past.felt[0], walked.felt[0]])
    expected = np.concatenate([past.expected[0], transforms.inverse(walked.predicted[0], past.transform)])
    assert past.departed is not None
    days = past.departed[:, 0]
    anomalous = np.concatenate([past.anomalous, walked.kinds != ""], axis=1)
    seen, seen_days = set(), set()
    for n in (*range(0, JUDGED, 11), 24, 30, 49, *SPIKES):
        end = HISTORY + n + 1
        kind = str(walked.kinds[0, n])
        turn = bool(calendars.turn_of_month(past.starts[end - 1 : end], ZONE)[0])
        looked = looked_again(
            Judged(
                observed=observed[:end],
                felt=felt[:end],
                expected=expected[:end],
                starts=past.starts[:end],
                step=HOUR,
                zone=ZONE,
                transform=past.transform,
                special=past.special[:end],
                departed=days[0, :end],
                perhaps=days[1, :end],
                then=np.where(np.arange(end) < HISTORY, 0.0, days[0, :end]),
                turn=turn,
                loose=bool(unsettled(anomalous[:, : end - 1], HOUR)[0]),
                replaced=kind != "",
            ),
            tests,
            needed,
            BOTH,
        )
        assert looked.evidence == pytest.approx(walked.evidence[0, n], rel=1e-9, abs=1e-12)
        if looked.evidence:
            assert looked.decided == walked.tests[0, n]
        assert (abs(looked.evidence) >= needed) == (kind != "")
        strongest = max(looked.said, key=lambda said: abs(said.evidence))
        assert (abs(strongest.evidence) >= strongest.needed) == (kind != "")
        seen.add((kind != "", bool(past.special[end - 1]), turn))
        seen_days.add((bool(days[0, end - 1]), bool(days[1, end - 1])))
    # Ordinary and anomalous intervals, of special and of other days, at the turn of the month and after.
    assert {(False, False, True), (False, True, True), (False, False, False)} <= seen
    assert {(True, False, True), (True, False, False)} <= seen
    # Days of the month that bring more, days that may, and others.
    assert seen_days == {(True, False), (False, True), (False, False)}


def test_what_a_test_saw_is_told_with_how_long_it_lasted(
    watched: tuple[Past, Walk, tuple[FittedTest, ...], float],
) -> None:
    past, walked, tests, needed = watched
    end = HISTORY + 30
    judged = Judged(
        observed=past.observed[0, :end],
        felt=np.concatenate([past.felt[0], walked.felt[0]])[:end],
        expected=np.concatenate([past.expected[0], transforms.inverse(walked.predicted[0], past.transform)])[:end],
        starts=past.starts[:end],
        step=HOUR,
        zone=ZONE,
        transform=past.transform,
        special=np.zeros(end, dtype=bool),
        departed=np.zeros(end),
        perhaps=np.zeros(end),
        then=np.zeros(end),
        turn=False,
        loose=False,
        replaced=bool(walked.kinds[0, 29]),
    )
    said = {s.test: s for s in looked_again(judged, tests, needed, BOTH).said}
    assert said[SINGLE].felt == 0
    lasting = said[SILENCE] if SILENCE in said else said[FROZEN]
    assert lasting.lasted >= 10  # the outage began ten hours earlier
    assert math.isnan(lasting.felt)


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5376.0, "5,380"),
        (0.02412, "0.0241"),
        (-3.638, "\N{MINUS SIGN}3.64"),
        (99.96, "100"),
        (0.0, "0"),
        (1.86e-7, "1.86e\N{MINUS SIGN}07"),
        (math.inf, "∞"),
        (math.nan, "unknown"),
    ],
)
def test_numbers_have_three_digits_that_matter(value: float, words: str) -> None:
    assert number(value) == words


def test_probabilities_are_odds() -> None:
    assert odds(math.log(5380)) == "1 in 5,380"
    assert odds(-math.log(200)) == "1 in 200"
    assert odds(27.6) == "under 1 in a billion"


def test_a_calibration_says_what_the_history_said() -> None:
    words = calibration_words(math.log(30), 1.4)
    assert words == (
        "one interval in ten of the history has what the family calls 1 in 30 or rarer; beyond, the tail is 1.40 "
        "times as heavy as the family's"
    )
    assert "a test calls 1 in 30" in calibration_words(math.log(30), 1.0, together=True)
    assert calibration_words(math.log(10), 0.8).startswith("the history is too short or too quiet")


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (fitted(SINGLE, "nct", 5.0, 0.1, -0.2, 0.9), "nct(5, 0.1) at \N{MINUS SIGN}0.2, scale 0.9. as measured"),
        (fitted("sum-3", "t", 8.0, 0.0, 0.8), "t(8) at 0, scale 0.8"),
        (fitted(SINGLE, "counts", 0.1, 0.02), "as measured"),
        (fitted(SILENCE, "gaps", 1.0, 2.0), "as measured"),
    ],
)
def test_a_family_is_told_with_its_parameters_or_its_reason(test: FittedTest, words: str) -> None:
    assert family_words(limits_of(test, rate=2.0)[test.test]) == words


def test_a_limit_is_told_in_whole_counts() -> None:
    limits = limits_of(fitted(SINGLE, "t", 8.0, 0.0, 0.8), fitted(FROZEN, "repeats", 0.0, 0.8, 0.5), needed=5.0, rate=6)
    words = limit_words(limits[SINGLE], HOUR, Transform.ANSCOMBE)
    assert f"where 6 are expected (its mean), none at all or more than {math.floor(limits[SINGLE].most)}" in words
    assert limit_words(limits[FROZEN], HOUR, Transform.ANSCOMBE).endswith("equal counts in a row")


def test_a_frozen_value_takes_a_run_and_not_one_coincidence_however_busy_it_is() -> None:
    (busy,) = limits_of(fitted(FROZEN, "repeats", 0.0, 0.8, 0.5), needed=5.0, rate=100_000).values()
    (quiet,) = limits_of(fitted(FROZEN, "repeats", 0.0, 0.8, 0.5), needed=12.0, rate=1).values()
    assert busy.lasting == FROZEN_LEAST + 1
    assert quiet.lasting > busy.lasting
