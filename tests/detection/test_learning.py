"""Watching a series from its beginning: strictly causal, fitted again on the way, and with a total beside its parts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.detection.learning import Practice, Watched, watch
from anomaly.groups.model import TOTAL, Threshold, Transform

HOUR, DAY, WEEK = timedelta(hours=1), 24, 7 * 24
SIMPLE = ("seasonal-naive", "seasonal-rate")
UTC = ZoneInfo("UTC")

Floats = NDArray[np.float64]


def practice(**changes: Any) -> Practice:
    usual: dict[str, Any] = {
        "step": HOUR,
        "zone": UTC,
        "candidates": SIMPLE,
        "distribution": "norm",
        "history": timedelta(days=60),
        "least": timedelta(days=14),
    }
    return Practice(**usual | changes)


def starts(number: int) -> NDArray[np.datetime64]:
    """From the Monday on of a week with Thanksgiving four weeks later."""
    return np.datetime64("2013-11-04T00:00:00") + np.arange(number) * np.timedelta64(3600, "s")


def watched(values: Floats, first: int, **changes: Any) -> Watched:
    number = values.shape[1]
    names = changes.pop("names", None)
    seeds = range(len(values))
    return watch(values, starts(number), practice(**changes), first=first, seeds=list(seeds), names=names)


def noise(rates: list[float], hours: int, *, seed: int = 4) -> Floats:
    """Poisson counts with a daily pattern: (V, hours)."""
    pattern = 1 + 0.6 * np.sin(np.arange(hours) / DAY * 2 * np.pi)
    return np.random.default_rng(seed).poisson(np.outer(rates, pattern)).astype(np.float64)


def assert_prefix(whole: Watched, shorter: Watched) -> None:
    """What was said of the shorter series is what was said of the beginning of the whole one, to the last bit."""
    until = shorter.predicted.shape[1]
    for name in ("predicted", "residuals", "tail_probabilities", "evidence", "tests", "kinds", "lower", "upper"):
        np.testing.assert_array_equal(getattr(whole, name)[:, :until], getattr(shorter, name), err_msg=name)


def test_nothing_depends_on_what_comes_later_or_on_how_long_the_series_is() -> None:
    first, hours = 3 * WEEK, 4 * WEEK
    values = noise([40.0, 0.5, 5.0], hours)
    values[0, first + 20 : first + 28] = 0
    values[2, :200] = np.nan
    known = {"holidays": "US", "refit": timedelta(days=3)}

    whole = watched(values, first, **known)

    assert [begin for begin, _ in whole.learned] == [first, first + 72, first + 144]
    assert set(whole.kinds[0, first + 20 : first + 28]) == {"silent"}
    assert (whole.kinds[:, :first] == "").all()
    assert np.isnan(whole.tail_probabilities[:, :first]).all()
    for until in (first + 1, first + 72, first + 101):
        assert_prefix(whole, watched(values[:, :until], first, **known))


def test_a_network_learns_on_the_way_and_says_the_same_of_a_shorter_series() -> None:
    first, hours = 25 * DAY, 27 * DAY
    values = noise([50.0, 30.0], hours)
    values[0, first + 12 : first + 18] = 0
    known = {"candidates": ("departure-linear",), "distribution": "t"}

    whole = watched(values, first, **known)
    shorter = watched(values[:, : first + DAY], first, **known)

    ((_, learned),) = whole.learned
    assert {panel.relative for panel in learned.panels} & {True}, "one of the two was won by the network"
    assert all(choice is not None and choice.reason for choice in learned.choices)
    assert np.isfinite(whole.predicted[:, first:]).all()
    assert (whole.kinds[0, first + 12 : first + 18] != "").all()
    assert (whole.kinds[1] == "").all()
    assert_prefix(whole, shorter)


def test_days_of_the_month_are_expected_once_two_months_have_shown_them() -> None:
    first, hours = 60 * DAY, 86 * DAY  # from 4 November to 28 January
    at = starts(hours)
    dates = at.astype("datetime64[D]")
    day = (dates - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(int) + 1
    payday = (day >= 25) & (day <= 27)
    values = noise([200.0, 60.0], hours)
    values[0, payday] = np.round(values[0, payday] * 1.8)
    values[1, payday & (np.arange(hours) >= first)] *= 2

    found = watched(values, first, refit=timedelta(days=60))

    ((_, learned),) = found.learned
    certain, possible = learned.month_days
    assert set(np.flatnonzero(certain[0])) == {24, 25, 26}
    assert not certain[1].any()
    assert not possible.any()
    later = payday & (np.arange(hours) >= first)
    assert (found.kinds[0, later] == "").mean() > 0.97
    assert (found.kinds[1, later] != "").mean() > 0.8, "a surge that no month has shown before is one"
    assert found.predicted[0, later].mean() == pytest.approx(values[0, later].mean(), rel=0.08)
    after = np.flatnonzero(later)[-1] + 1
    assert (found.kinds[0, after : after + DAY] == "").all(), "the day after is ordinary again"
    for until in (first + 21 * DAY + 5, first + 22 * DAY):
        assert_prefix(found, watched(values[:, :until], first, refit=timedelta(days=60)))


def test_a_day_of_the_month_that_nobody_has_seen_yet_may_be_like_those_beside_it() -> None:
    first, hours = 60 * DAY, 90 * DAY  # from 4 November to 1 February
    at = starts(hours)
    dates = at.astype("datetime64[D]")
    weekend = (dates.astype(int) + 3) % 7 >= 5
    after = (dates.astype("datetime64[M]") + 1).astype("datetime64[D]")
    to_last = (after - dates).astype(int) - 1
    values = noise([200.0, 200.0, 200.0], hours)
    values[:, weekend] = 0
    values[:, to_last < 2] = np.round(values[:, to_last < 2] * 1.6)  # both dates of the last but one are seen ...
    values[:, to_last == 0] = np.nan  # ... and neither of the last
    values[0, (to_last == 0) & (np.arange(hours) >= first)] = noise([320.0], hours)[0, -2 * DAY : -DAY]
    values[1, (to_last == 0) & (np.arange(hours) >= first)] = noise([200.0], hours)[0, -2 * DAY : -DAY]
    values[2, (to_last == 0) & (np.arange(hours) >= first)] = 0

    found = watched(values, first, refit=timedelta(days=60))

    last = (to_last == 0) & (np.arange(hours) >= first)
    assert (found.kinds[:2, last] == "").mean() > 0.97, "both are ordinary"
    assert (found.kinds[2, last] != "").mean() > 0.8, "silence is not"
    assert_prefix(found, watched(values[:, : np.flatnonzero(last)[5]], first, refit=timedelta(days=60)))


def test_what_a_later_fit_knows_of_the_month_does_not_make_days_before_it_unusual() -> None:
    first, hours = 50 * DAY, 92 * DAY  # from 4 November to 3 February
    at = starts(hours)
    dates = at.astype("datetime64[D]")
    after = (dates.astype("datetime64[M]") + 1).astype("datetime64[D]")
    last_but_one = (after - dates).astype(int) == 2
    values = noise([200.0], hours)
    values[:, last_but_one] = np.round(values[:, last_but_one] * 1.8)

    found = watched(values, first, refit=timedelta(days=19), history=timedelta(days=120))

    (_, before), _, (begin, later) = found.learned
    news = last_but_one & (np.arange(hours) >= first)
    assert not before.month_days.any()
    assert (found.kinds[0, news] != "").mean() > 0.5, "it has been seen once before"
    assert np.flatnonzero(news)[-1] == begin - 1
    assert later.month_days[0, 0, 32] == pytest.approx(np.log(1.8), abs=0.05), "three times are enough"
    assert (found.kinds[0, begin : begin + DAY] == "").all()


def test_what_comes_after_a_drift_is_news_for_days_and_not_for_a_week() -> None:
    first, hours = 5 * WEEK, 8 * WEEK
    pattern = 400 * (1.5 + np.sin(np.arange(hours) / DAY * 2 * np.pi))
    values = np.round(pattern * np.random.default_rng(2).normal(1, 0.004, hours))[None]
    begin, end = first + 30, first + 30 + 5 * DAY
    values[0, begin:end] *= np.linspace(1.0, 0.7, end - begin)

    found = watched(values, first, refit=timedelta(days=60))

    assert (found.kinds[0, begin + DAY : end] != "").mean() > 0.3
    after = slice(end + 2 * DAY, end + 4 * DAY)
    assert found.outlook[0, after].sum() < 0.985 * pattern[after].sum(), "the outlook has followed the drift"
    assert (found.kinds[0, end + 4 * DAY :] == "").all()


def test_variables_without_enough_history_wait_for_a_later_fit() -> None:
    first = 3 * WEEK
    values = noise([30.0, 30.0], first + 2 * WEEK)
    values[1, : first - 8 * DAY] = np.nan

    found = watched(values, first)

    assert [fit.judgements[1].status for _, fit in found.learned] == ["new", "fitted"]
    assert np.isnan(found.predicted[1, first : first + WEEK]).all()
    assert np.isfinite(found.predicted[1, first + WEEK :]).all()


def test_gauges_are_watched_in_their_own_unit() -> None:
    first = 3 * WEEK
    values = np.random.default_rng(0).normal(500, 3, (1, first + 2 * DAY))
    values[0, -10:-7] = 400

    found = watched(values, first, transform=Transform.LINEAR)

    np.testing.assert_allclose(found.predicted[0, first:], 500, atol=9)
    assert set(found.kinds[0, -10:-7]) == {"drop"}


def test_a_tenth_that_is_missing_everywhere_is_found_in_the_total_alone() -> None:
    first, variables = 4 * WEEK, 20
    parts = noise([30.0] * variables, first + 3 * DAY, seed=9)
    lost = slice(first + DAY, first + 2 * DAY)
    parts[:, lost] -= np.random.default_rng(1).binomial(parts[:, lost].astype(int), 0.1)
    values = np.concatenate([parts, parts.sum(axis=0, keepdims=True)])
    names = [*(f"v{n}" for n in range(variables)), TOTAL]

    kinds = watched(values, first, names=names, threshold=Threshold(false_alerts_per_week=0.2)).kinds

    assert (kinds[-1, lost] == "drop").any()
    assert (kinds[:-1] == "").all()
    assert (kinds[-1, first : lost.start] == "").all()


@pytest.mark.parametrize("count", [0.0, 7.0])
def test_what_never_changes_is_forecast_as_it_is_and_missed_when_it_changes(count: float) -> None:
    first = 3 * WEEK
    values = np.full((1, first + 2 * DAY), count)
    values[0, first + 30] = 40

    found = watched(values, first)

    assert found.learned[0][1].judgements[0].status == ("constant" if count else "dead")
    np.testing.assert_allclose(found.predicted[0, first:], count, atol=1e-9)
    assert found.kinds[0, first + 30] == "surge"
    assert np.count_nonzero(found.kinds) == 1
