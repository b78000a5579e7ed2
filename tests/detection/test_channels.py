"""Channels: what they hold, that they know nothing of what comes, and that they grow into what they are in bulk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.detection import channels as module
from anomaly.detection.channels import (
    BASELINE,
    BESIDE,
    CONTRAST,
    CONTRAST_BESIDE,
    DEVIATION,
    LEVEL,
    OUTLOOK,
    RATE,
    REMEMBERED,
    WEEKS,
    Channels,
    carried_from,
    mean_of,
    reach,
)
from anomaly.detection.medians import nan_median
from anomaly.groups.intervals import to_datetime64
from anomaly.groups.model import Transform

QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY
NEW_YORK = ZoneInfo("America/New_York")
NAMES = (
    *(BASELINE, RATE, DEVIATION, OUTLOOK, CONTRAST, BESIDE, CONTRAST_BESIDE),
    *(mean_of(3), mean_of(24), carried_from(1), carried_from(5)),
)
BEFORE_THE_CLOCK_CHANGES = datetime(2026, 2, 20, tzinfo=UTC)  # forward on 8 March, 07:00 UTC


def starts(number: int, step: timedelta, first: datetime = BEFORE_THE_CLOCK_CHANGES) -> NDArray[np.datetime64]:
    return to_datetime64(first) + np.arange(number) * np.timedelta64(int(step.total_seconds()), "s")


def opened(
    z: NDArray[np.float64],
    step: timedelta,
    *,
    known: int | None = None,
    names: tuple[str, ...] = NAMES,
    transform: Transform = Transform.ANSCOMBE,
    first: datetime = BEFORE_THE_CLOCK_CHANGES,
) -> Channels:
    moments = starts(z.shape[1], step, first)
    return Channels(z, moments, step, NEW_YORK, names, transform=transform, known=known)


def noise(variables: int, intervals: int, seed: int = 0) -> NDArray[np.float64]:
    """Transformed counts; each variable begins later than the one before, and one misses an interval."""
    z = np.random.default_rng(seed).uniform(1.3, 9, (variables, intervals))
    for row in range(variables):
        z[row, : row * intervals // 7] = np.nan
    z[-1, intervals // 2] = np.nan
    return z


@pytest.mark.parametrize(
    ("step", "intervals", "last"),
    [(QUARTER, 17 * 96, 12), (HOUR, 17 * 24, 36), (DAY, 100, 100)],
    ids=["15 minutes", "hours over a change of the clock", "days"],
)
def test_channels_that_grow_are_those_in_bulk_to_the_last_bit(step: timedelta, intervals: int, last: int) -> None:
    z = noise(3, intervals)
    bulk = opened(z, step)

    for grown_from in (intervals - last, intervals - last // 2, intervals - 1):
        grown = opened(z, step, known=grown_from)
        for at in range(grown_from, intervals):
            grown.look(at)
            grown.settle(at, z[:, at])
        for name in (LEVEL, *NAMES):
            np.testing.assert_array_equal(grown[name], bulk[name], err_msg=f"{name} from {grown_from}")


@settings(max_examples=25)
@given(at=st.integers(1, 399), step=st.sampled_from([HOUR, 6 * HOUR, DAY]), seed=st.integers(0, 99))
def test_nothing_that_comes_changes_what_is_known_ahead(at: int, step: timedelta, seed: int) -> None:
    z = noise(2, 400, seed)
    other = z.copy()
    other[:, at:] = np.random.default_rng(seed + 1).uniform(1.3, 9, other[:, at:].shape)

    one, changed = opened(z, step), opened(other, step)

    for name in (BASELINE, RATE, OUTLOOK, CONTRAST):
        np.testing.assert_array_equal(one[name][:, : at + 1], changed[name][:, : at + 1])
    for name in (DEVIATION, mean_of(3), mean_of(24)):
        np.testing.assert_array_equal(one[name][:, :at], changed[name][:, :at])


@pytest.mark.parametrize("step", [HOUR, 6 * HOUR, DAY])
@pytest.mark.parametrize("name", NAMES)
def test_no_channel_looks_further_back_than_it_says(name: str, step: timedelta) -> None:
    z = np.random.default_rng(1).uniform(1.3, 9, (2, 80 * (DAY // step)))
    cut = z.shape[1] - 1 - reach([name], step) // step
    assert cut > 0
    whole = opened(z, step, names=(name,))
    shorter = opened(z[:, cut:], step, names=(name,), first=BEFORE_THE_CLOCK_CHANGES + cut * step)

    np.testing.assert_array_equal(whole[name][:, -1], shorter[name][:, -1])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    z = noise(3, 600)
    whole = opened(z, HOUR)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 40_000)
    blocks = opened(z, HOUR)

    for name in NAMES:
        np.testing.assert_array_equal(whole[name], blocks[name])


def test_the_baseline_is_the_median_of_the_same_local_time_in_six_weeks() -> None:
    z = np.random.default_rng(2).uniform(1.3, 9, (1, 60 * 24))
    baseline = opened(z, HOUR)[BASELINE][0]
    summer, winter = 58 * 24, 15 * 24  # after and before the clock went forward

    weeks_ago = [summer - 7 * 24 * week + (1 if week >= 6 else 0) for week in range(1, WEEKS + 1)]
    assert starts(1, HOUR, BEFORE_THE_CLOCK_CHANGES + summer * HOUR)[0] == np.datetime64("2026-04-19T00:00:00")
    assert baseline[summer] == np.median(z[0, weeks_ago])
    assert baseline[winter] == np.median(z[0, [winter - 168, winter - 336]])
    assert np.isnan(baseline[: 7 * 24]).all()


def test_an_outlook_takes_over_a_part_of_last_weeks_departure_once_a_day_has_passed() -> None:
    z = np.full((1, 40), 5.0)
    z[0, 21:] = 7.0
    found = opened(z, DAY, transform=Transform.LINEAR)

    assert found[OUTLOOK][0, 21] == 5
    assert found[OUTLOOK][0, 22] == pytest.approx(5 + REMEMBERED * 2 / 7)
    assert found[OUTLOOK][0, 28] == pytest.approx(5 + REMEMBERED * 2)


def test_a_rate_is_the_mean_count_around_this_time_of_the_week_with_one_part_of_the_latest_week() -> None:
    counts = np.zeros((1, 29))
    counts[0, [6, 7, 8]] = 2, 3, 4
    counts[0, 27] = 7

    rate = opened(counts, DAY, transform=Transform.LINEAR)[RATE][0]

    assert rate[14] == pytest.approx((counts[0, 7:14].mean() + (2 + 3 + 4) + (0 + 0)) / (1 + 3 + 2))
    assert rate[28] == pytest.approx((7 / 7 + (2 + 3 + 4)) / (1 + 3 + 3 + 3 + 2))


def test_a_contrast_compares_days_of_the_same_kind_with_the_baseline() -> None:
    z = np.zeros((1, 36))  # from a Thursday in New York on
    for saturday in range(2, 36, 7):
        z[0, saturday : saturday + 2] = 3.0
    z[0, 28] = 4.0

    contrast = opened(z, DAY, transform=Transform.LINEAR)[CONTRAST][0]

    assert contrast[30] == 0
    assert contrast[35] == pytest.approx(4 / 20)  # one of twenty working days, where the median of Thursdays is 0


def test_what_is_beside_is_the_mean_of_the_neighbours_in_the_weeks_before() -> None:
    z = np.random.default_rng(3).uniform(2, 9, (1, 7 * 7 * 24))
    grown = opened(z, HOUR, first=datetime(2026, 5, 1, tzinfo=UTC))
    at = 6 * 7 * 24 + 30
    neighbours = [(z[0, at - 168 * week - 1] + z[0, at - 168 * week + 1]) / 2 for week in range(1, 7)]

    assert grown[BESIDE][0, at] == pytest.approx(np.mean(neighbours) - grown[BASELINE][0, at])


def test_a_payday_goes_on_as_a_share_of_every_hour() -> None:
    day = 20 + 15 * np.sin(2 * np.pi * np.arange(24) / 24)
    z = np.tile(day, 7 * 8)[None]
    today = slice(7 * 7 * 24, None)
    z[:, today] *= 1.25
    grown = opened(z, HOUR, first=datetime(2026, 5, 1, tzinfo=UTC))

    at = today.start + np.arange(30, 60)
    for name in (carried_from(1), carried_from(5)):
        np.testing.assert_allclose(grown[name][0, at], 0.25 * grown[BASELINE][0, at])


def test_what_is_carried_on_of_a_gauge_is_a_difference() -> None:
    z = np.tile(np.arange(-12.0, 12.0), 7 * 8)[None]
    z[:, -48:] += 3
    grown = opened(z, HOUR, transform=Transform.LINEAR, first=datetime(2026, 5, 1, tzinfo=UTC))

    np.testing.assert_allclose(grown[carried_from(5)][0, -40:], 3.0)


@given(st.lists(st.one_of(st.floats(-9, 9), st.just(float("nan"))), min_size=1, max_size=9))
def test_a_median_leaves_out_what_is_unknown(values: list[float]) -> None:
    known = [value for value in values if not np.isnan(value)]

    found = nan_median(np.array([values]))[0]

    assert np.isnan(found) if not known else found == pytest.approx(np.median(known))
