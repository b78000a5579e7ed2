"""Young intervals in a walk, with the evidence of real tests and a forecaster that knows the rates."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.detection import transforms
from anomaly.detection.calibration import IDENTITY
from anomaly.detection.completeness import Filling, learn
from anomaly.detection.evidence import ANY, SILENCE, SINGLE, Evidence, FittedTest
from anomaly.detection.forecasts import Panel, Past, Walk, walk
from anomaly.detection.scaling import Scaler
from anomaly.detection.thresholds import limit
from anomaly.detection.windows import WindowSpec, recent_and_seasonal
from anomaly.groups.model import Direction, Threshold
from tests.detection.test_completeness import AGES, ANSCOMBE, late_arrival

Floats = NDArray[np.float64]
HOUR = timedelta(hours=1)
WEEK = 168
RATES = np.array([0.5, 30.0, 200.0, 1000.0])
DELAYS = np.array([0.7, 0.7, 0.3, 1.0])
HISTORY = 4 * WEEK
LOOKS = 104
_together = FittedTest(ANY, "any", (), IDENTITY, "")
REGULAR = (
    FittedTest(SINGLE, "norm", (0.0, 1.0), IDENTITY, ""),
    FittedTest("sum-3", "norm", (0.0, 1.0), IDENTITY, ""),
    _together,
)
RARE = (
    FittedTest(SINGLE, "counts", (0.0, 0.02), IDENTITY, ""),
    FittedTest(SILENCE, "gaps", (float(np.log(2)), 1.0), IDENTITY, ""),
    FittedTest("sum-3", "counts", (0.0, 0.06), IDENTITY, ""),
    _together,
)
LIMITS = np.full(4, limit(1e-4, Direction.BOTH))


class Watch:
    """Variables with known rates, whose rows come late, looked at once an hour."""

    def __init__(self, *, stopped_at: int | None = None) -> None:
        self.counts = late_arrival(RATES, DELAYS, HISTORY + LOOKS + AGES, seed=20)
        self.starts = np.datetime64("2026-01-01", "s") + np.arange(self.counts.shape[2]) * np.timedelta64(3600, "s")
        past = self.counts[:, :, :HISTORY]
        self.filling = learn(past[-1], past[:-1])
        self.evidence = Evidence([RARE, REGULAR, REGULAR, REGULAR], step=HOUR, transform=ANSCOMBE)
        level = transforms.forward(RATES, ANSCOMBE)
        window = WindowSpec((recent_and_seasonal(HOUR).columns[0],))
        self.panel = Panel(
            rows=np.arange(4),
            positions=None,
            network_variables=4,
            scaler=Scaler(level, level + 1),
            window=window,
            relative=False,
            predict=lambda windows: np.zeros(windows.shape[:2], np.float32),
        )
        if stopped_at is not None:
            for age in range(AGES):
                self.counts[age, :, stopped_at:] = 0

    def past(self, end: int, *, filling: Filling | None, young: bool = True) -> Past:
        """The latest AGES hours before `end` are to be judged, the newest at age 0."""
        first = end - AGES
        observed = self.counts[-1, :, :end].copy()
        for age in range(AGES if young else 0):
            observed[:, end - 1 - age] = self.counts[age, :, end - 1 - age]
        return Past(
            observed=observed,
            felt=observed[:, :first],
            expected=np.broadcast_to(RATES[:, None], (4, first)),
            anomalous=np.zeros((4, first), dtype=bool),
            starts=self.starts[:end],
            step=HOUR,
            zone=ZoneInfo("UTC"),
            transform=ANSCOMBE,
            special=np.zeros(end, dtype=bool),
            filling=filling,
            ages=np.arange(AGES - 1, -1, -1) if young else np.full(AGES, -1),
        )

    def walk(self, end: int, *, filling: Filling | None, young: bool = True) -> Walk:
        past = self.past(end, filling=filling, young=young)
        return walk(past, [self.panel], self.evidence, LIMITS, Threshold())


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def test_hours_that_are_still_filling_in_do_not_alarm(watch: Watch) -> None:
    looks = range(HISTORY + AGES, HISTORY + LOOKS, 3)
    aware = np.stack([watch.walk(end, filling=watch.filling).kinds != "" for end in looks])
    assert aware.mean() < 2e-3
    unaware = np.stack([watch.walk(end, filling=None).kinds != "" for end in looks])
    assert unaware[:, 1:, -1].mean() > 0.3


def test_silence_is_found_in_the_first_hour_and_a_rare_variable_s_as_soon_as_ever() -> None:
    stopped = HISTORY + 40
    watch = Watch(stopped_at=stopped)
    for hours in range(1, AGES):
        walked = watch.walk(stopped + hours, filling=watch.filling)
        newest = walked.kinds[1:, -hours:]
        assert np.isin(newest, ["drop", "silent"]).all()
        assert (walked.kinds[:, :-hours] == "").all()
    waits = [watch.walk(stopped + hours, filling=watch.filling).kinds[0, -1] != "" for hours in range(AGES, 60, 4)]
    complete = [
        watch.walk(stopped + hours, filling=None, young=False).kinds[0, -1] != "" for hours in range(AGES, 60, 4)
    ]
    assert complete.index(True) <= waits.index(True) <= complete.index(True) + 1


def test_complete_hours_are_judged_as_ever_to_the_last_bit(watch: Watch) -> None:
    end = HISTORY + 50
    plain, aware = (watch.walk(end, filling=f, young=False) for f in (None, watch.filling))
    for name in ("predicted", "residuals", "felt", "evidence", "tail_probabilities", "kinds", "tests"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(aware, name))
    young_ones, all_of_them = watch.walk(end, filling=watch.filling), aware
    np.testing.assert_array_equal(young_ones.evidence[:, 0], all_of_them.evidence[:, 0])


def test_the_bounds_at_an_age_hold_what_is_ordinary_then(watch: Watch) -> None:
    inside = []
    for end in range(HISTORY + AGES, HISTORY + LOOKS, 5):
        past, walked = watch.past(end, filling=watch.filling), watch.walk(end, filling=watch.filling)
        whole = np.broadcast_to(RATES[:, None], (4, AGES))
        now = walked.young.now(whole)
        low, high = walked.young.bounds(whole, *watch.evidence.bounds(now, LIMITS))
        assert ((low <= now) & (now <= high)).all()
        observed = past.observed[:, -AGES:]
        inside.append((observed >= low) & (observed <= high))
    assert np.mean(inside) > 0.998


def test_an_hour_of_which_nothing_can_be_said_yet_is_left_open_unless_it_is_too_much(watch: Watch) -> None:
    unknown = Filling(
        np.tile([0.5, 0.6, 0.7, 1.0], (4, 1)), np.tile([0.5, 0.5, 0.5, 0.0], (4, 1)), np.full(4, 600, dtype=np.int64)
    )
    end = HISTORY + 60
    past = watch.past(end, filling=unknown)
    past.observed[1:, -3:-1] = 0.5 * RATES[1:, None]
    past.observed[1:, -1] = 0, 2000, 300
    walked = walk(past, [watch.panel], watch.evidence, LIMITS, Threshold())
    assert np.isnan(walked.evidence[1:, 1:-1]).all()
    assert walked.kinds[1:, -1].tolist() == ["", "surge", ""]
    assert np.isfinite(walked.predicted[1:, -1]).tolist() == [False, True, False]
    assert np.isfinite(walked.evidence[:, 0]).all()
