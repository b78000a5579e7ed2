"""The walk: strictly causal, the same in any pieces, and of sound judgement on special days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.detection import calendars, transforms
from anomaly.detection.candidates import CANDIDATES
from anomaly.detection.evidence import UNSETTLED, UNSETTLED_REACH, Evidence, FittedTest
from anomaly.detection.forecasts import Panel, Past, Walk, needed_before, walk
from anomaly.detection.learning import constant_tests
from anomaly.detection.scaling import Scaler
from anomaly.groups.intervals import to_datetime64
from anomaly.groups.model import Threshold, Transform

HOUR = timedelta(hours=1)
DAY = 24
ZONE = ZoneInfo("America/New_York")
THANKSGIVING = datetime(2013, 11, 28, 5, tzinfo=UTC)  # midnight in New York
HISTORY = 56 * DAY
START = THANKSGIVING - HISTORY * HOUR
LIMITS = np.full(3, 9.0)
NAIVE = CANDIDATES["seasonal-naive"]
WINDOW = NAIVE.window(HOUR)
RARE = 2

Floats = NDArray[np.float64]


def counts(hours: int, *, seed: int = 1) -> Floats:
    """Two busy variables with quiet Sundays, and a rare one: (3, HISTORY + hours), from START on."""
    local = np.arange(HISTORY + hours)
    hour, weekday = local % DAY, (local // DAY + START.astimezone(ZONE).weekday()) % 7
    busy = 60 * (1 + 0.5 * np.sin(hour / DAY * 2 * np.pi)) * np.where(weekday == 6, 0.5, 1.0)
    rates = np.stack([busy, busy, np.full(len(local), 0.8)])
    return np.random.default_rng(seed).poisson(rates).astype(np.float64)


def past(observed: Floats, *, holidays: str | None = "US") -> Past:
    """Nothing was judged before the history's end."""
    starts = to_datetime64(START) + np.arange(observed.shape[1]) * np.timedelta64(3600, "s")
    return Past(
        observed=observed,
        felt=observed[:, :HISTORY],
        expected=np.full((3, HISTORY), np.nan),
        anomalous=np.zeros((3, HISTORY), dtype=bool),
        starts=starts,
        step=HOUR,
        zone=ZONE,
        transform=Transform.ANSCOMBE,
        special=calendars.special(starts, ZONE, holidays),
    )


def panels(observed: Floats) -> list[Panel]:
    scaler = Scaler.fit(transforms.forward(observed[:, :HISTORY], Transform.ANSCOMBE))
    assert NAIVE.forecast is not None
    return [Panel(np.arange(3), None, 3, scaler, WINDOW, False, NAIVE.forecast)]  # noqa: FBT003


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Tests as of variables whose means are known; generous enough for a naive forecast."""
    rng = np.random.default_rng(0)

    def tests(mean: float) -> tuple[FittedTest, ...]:
        history = rng.poisson(mean, (1, 2000)).astype(np.float64)
        ordinary = np.ones(history.shape, dtype=bool)
        return constant_tests(
            history,
            mean,
            ordinary,
            distribution="norm",
            step=HOUR,
            transform=Transform.ANSCOMBE,
            merge_gap=12 * HOUR,
        )

    return Evidence([tests(60.0), tests(60.0), tests(0.8)], step=HOUR, transform=Transform.ANSCOMBE)


def judged(observed: Floats, evidence: Evidence, *, holidays: str | None = "US") -> Walk:
    return walk(past(observed, holidays=holidays), panels(observed), evidence, LIMITS, Threshold())


def hour_by_hour(observed: Floats, evidence: Evidence) -> Walk:
    """Each hour from what is stored of those before it, and from no more history than is said to be needed."""
    whole, network = past(observed), panels(observed)
    felt, expected, anomalous = whole.felt, whole.expected, whole.anomalous
    walks = []
    for at in range(HISTORY, observed.shape[1]):
        back = at - needed_before([WINDOW], HOUR) // HOUR
        assert back > 0
        one = replace(
            whole,
            observed=observed[:, back : at + 1],
            felt=felt[:, back:],
            expected=expected[:, back:],
            anomalous=anomalous[:, back:],
            starts=whole.starts[back : at + 1],
            special=whole.special[back : at + 1],
        )
        walked = walk(one, network, evidence, LIMITS, Threshold())
        felt = np.concatenate([felt, walked.felt], axis=1)
        predicted = transforms.inverse(walked.predicted, Transform.ANSCOMBE)
        expected = np.concatenate([expected, predicted], axis=1)
        anomalous = np.concatenate([anomalous, walked.kinds != ""], axis=1)
        walks.append(walked)
    names = [name for name in Walk.__dataclass_fields__ if name != "young"]
    joined: dict[str, Any] = {name: np.concatenate([getattr(w, name) for w in walks], axis=1) for name in names}
    return replace(walks[-1], **joined)


def test_hour_by_hour_is_all_at_once_to_the_last_bit_with_sums_stand_ins_and_special_days(evidence: Evidence) -> None:
    observed = counts(3 * DAY)
    observed[0, HISTORY + 2 : HISTORY + 12] = 0  # an outage on a special day
    observed[1, HISTORY : HISTORY + 20] = np.round(observed[1, HISTORY : HISTORY + 20] * 0.4)
    observed[RARE, HISTORY:] = 0
    observed[0, HISTORY + 30 : HISTORY + 40] = 77  # frozen
    observed[1, HISTORY + 2 * DAY :] = np.round(observed[1, HISTORY + 2 * DAY :] * 0.85)  # which sums see

    one, other = hour_by_hour(observed, evidence), judged(observed, evidence)

    for name in ("predicted", "residuals", "felt", "outlook", "evidence", "tail_probabilities", "tests", "kinds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert {"silent", "frozen"} <= set(other.kinds.ravel().tolist())
    assert {"single", "frozen", "sum-6", "sum-24"} <= set(other.tests.ravel().tolist())


def test_what_comes_later_changes_nothing(evidence: Evidence) -> None:
    observed = counts(2 * DAY)
    cut = observed[:, : HISTORY + 20]

    whole, shorter = judged(observed, evidence), judged(cut, evidence)

    for name in ("predicted", "evidence", "kinds"):
        np.testing.assert_array_equal(getattr(whole, name)[:, :20], getattr(shorter, name))


def test_the_quiet_of_a_holiday_is_ordinary_where_the_holiday_is_known(evidence: Evidence) -> None:
    observed = counts(DAY)
    observed[:2, HISTORY:] = np.round(observed[:2, HISTORY:] * 0.5)  # a Thursday like a Sunday

    known, unknown = (judged(observed, evidence, holidays=country).kinds for country in ("US", None))

    assert (known[:2] == "").all()
    assert (unknown[:2] != "").mean() > 0.6


def test_a_total_outage_on_a_holiday_is_none_of_its_quiet(evidence: Evidence) -> None:
    observed = counts(DAY)
    observed[0, HISTORY + 8 : HISTORY + 14] = 0

    kinds = judged(observed, evidence).kinds

    assert kinds[0, 8] == "silent"
    assert (kinds[0, 8:14] != "").all()
    assert (kinds[0, 14:] == "").all()
    assert (kinds[1] == "").all()


def test_a_holiday_teaches_later_windows_nothing(evidence: Evidence) -> None:
    quiet, as_ever = counts(8 * DAY), counts(8 * DAY)
    part = slice(HISTORY, HISTORY + DAY)
    quiet[:2, part] = np.round(quiet[:2, part] * 0.5)

    one, other = (judged(observed, evidence).predicted[:2, 7 * DAY :] for observed in (quiet, as_ever))

    assert np.abs(one - other).max() < 1
    assert np.abs(one - other).mean() < 0.3


def test_special_days_without_history_are_felt_as_they_are(evidence: Evidence) -> None:
    observed = counts(3)
    young = past(observed)
    young.felt[0] = young.observed[0, :HISTORY] = np.nan

    walked = walk(young, panels(observed), evidence, LIMITS, Threshold())

    np.testing.assert_array_equal(walked.felt[0], observed[0, HISTORY:])
    assert np.isnan(walked.predicted[0]).all()


def test_an_incident_is_replaced_by_its_prediction_and_its_end_is_no_surge(evidence: Evidence) -> None:
    observed = counts(9 * DAY)
    outage = slice(6 * DAY, 7 * DAY)  # after the holiday's weekend
    observed[0, HISTORY + 6 * DAY : HISTORY + 7 * DAY] = 0

    walked = judged(observed, evidence)

    assert (walked.kinds[0, outage] == "silent").all()
    expected = transforms.inverse(walked.predicted[0, outage], Transform.ANSCOMBE)
    np.testing.assert_array_equal(walked.felt[0, outage], expected)
    assert (walked.kinds[0, outage.stop :] == "").all()


def test_for_eleven_days_after_an_incident_the_season_may_be_right_too(evidence: Evidence) -> None:
    observed = counts(20 * DAY)
    last = 6 * DAY + 7
    observed[0, HISTORY + 6 * DAY : HISTORY + last + 1] = 0

    walked = judged(observed, evidence)

    unsettled = np.isfinite(walked.season)
    first = int(np.flatnonzero(walked.kinds[0] != "")[UNSETTLED - 1]) + 1  # the sixth anomaly makes it an incident
    end = int(np.flatnonzero(walked.kinds[0] != "")[-UNSETTLED]) + UNSETTLED_REACH // HOUR
    assert not unsettled[1:].any()
    assert unsettled[0, first : end + 1].all()
    assert not unsettled[0, end + 1 :].any()
    limits = np.array([9.0, 9.0, 9.0])
    season, expected = walked.season[:, [first]], walked.season[:, [first]] / 2
    alone, beside = (evidence.bounds(expected, limits, beside=with_it) for with_it in ([], [season]))
    assert (beside[1][0] > alone[1][0]).all()
    assert (beside[0][0] == alone[0][0]).all()


def test_a_variable_in_no_panel_is_not_judged(evidence: Evidence) -> None:
    observed = counts(3)
    (panel,) = panels(observed)
    two = replace(panel, rows=np.arange(2), network_variables=2, scaler=panel.scaler.take([0, 1]))

    walked = walk(past(observed), [two], evidence, LIMITS, Threshold())

    assert np.isfinite(walked.predicted[:2]).all()
    assert np.isnan(walked.predicted[2]).all()
    assert np.isnan(walked.tail_probabilities[2]).all()
    assert (walked.kinds[2] == "").all()
