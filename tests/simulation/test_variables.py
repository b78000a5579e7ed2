"""Simulated variables: their counts follow the law and the wall clock that their traits say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.groups import TimeRange
from anomaly.simulation.laws import FAMILIES, Family, tails
from anomaly.simulation.patterns import DAILY, MONTHLY, Pattern
from anomaly.simulation.variables import RATES, Simulated, Traits, draw_traits, simulate, tail

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
DISPERSIONS: dict[Family, float] = {
    "poisson": 0.0,
    "negative-binomial": 0.2,
    "scheduled": 0.05,
    "zero-inflated": 0.3,
    "bursty": 8.0,
}
OFFICE_HOURS = Pattern(daily="office", week=(1, 1, 1, 1, 1, 0, 0))

patterns = st.builds(
    Pattern,
    daily=st.sampled_from(DAILY),
    shift_hours=st.floats(-3, 3),
    night=st.floats(0, 1),
    week=st.tuples(*[st.floats(0.1, 2)] * 7),
    monthly=st.sampled_from(MONTHLY),
    month_boost=st.floats(0, 2),
)


def days_from(first: datetime, days: int, step: timedelta = HOUR) -> TimeRange:
    return TimeRange(first, first + days * DAY, step)


YEAR = days_from(datetime(2025, 1, 1, tzinfo=UTC), 365)


def one(traits: Traits, within: TimeRange = YEAR, zone: ZoneInfo = BERLIN, seed: int = 1) -> Simulated:
    return simulate((traits,), within, zone=zone, seed=seed)


def flat(family: Family, rate: float = 12.0) -> Traits:
    return Traits("x", family, rate, DISPERSIONS[family])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**40), fewer=st.integers(1, 5), more=st.integers(0, 5))
def test_adding_variables_changes_none_of_the_others(seed: int, fewer: int, more: int) -> None:
    within = days_from(datetime(2025, 3, 25, tzinfo=UTC), 7)
    traits, extended = draw_traits(fewer, seed=seed), draw_traits(fewer + more, seed=seed)

    small = simulate(traits, within, zone=BERLIN, seed=seed)
    reordered = simulate(extended[::-1], within, zone=BERLIN, seed=seed)

    assert extended[:fewer] == traits
    assert np.array_equal(small.counts, reordered.counts[::-1][:fewer])
    assert np.array_equal(small.expected, reordered.expected[::-1][:fewer])


def test_another_seed_gives_other_variables_and_other_counts() -> None:
    assert draw_traits(3, seed=1) != draw_traits(3, seed=2)
    assert not np.array_equal(one(flat("poisson"), seed=1).counts, one(flat("poisson"), seed=2).counts)


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_have_the_mean_and_the_variance_that_the_law_states(family: Family) -> None:
    spread, mean = DISPERSIONS[family], 12.0
    variance = {
        "poisson": mean,
        "negative-binomial": mean + spread * mean**2,
        "scheduled": mean * spread,
        "zero-inflated": mean + mean**2 * spread / (1 - spread),
        "bursty": mean * (2 * spread - 1),
    }[family]

    made = one(flat(family))

    assert made.expected.mean() == pytest.approx(mean, rel=0.002)
    assert abs(made.counts.mean() - made.expected.mean()) < 4 * np.sqrt(variance / made.counts.size)
    assert (made.counts - made.expected).var() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_oracles_tails_are_the_frequencies_of_its_counts(family: Family) -> None:
    made = one(flat(family, rate=2.85))  # 3 writes due of scheduled ones
    low, high = tail(made)
    counts, size = made.counts, made.counts.size

    for value in np.unique(counts):
        for stated, seen in ((low, counts <= value), (high, counts >= value)):
            chance = stated[counts == value][0]
            assert abs(seen.mean() - chance) < 5 * np.sqrt(chance * (1 - chance) / size) + 1e-12


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    mean=st.one_of(st.just(0.0), st.floats(0.01, 5_000)),
    sigmas=st.floats(-4, 12),
    spread=st.floats(0.01, 0.49),
)
def test_what_is_not_at_most_a_count_is_above_it(family: Family, mean: float, sigmas: float, spread: float) -> None:
    dispersion = {"poisson": 0.0, "bursty": 1 + 40 * spread}.get(family, spread)
    count = np.floor(max(0.0, mean + sigmas * np.sqrt(mean)))

    low, high = tails(family, np.array([count, count + 1]), np.full(2, mean), dispersion)

    assert low[0] + high[1] == pytest.approx(1, abs=1e-9)
    assert 0 <= low[0] <= low[1] <= 1
    assert 0 <= high[1] <= high[0] <= 1


def test_tails_far_out_stay_above_zero_and_other_counts_can_be_judged() -> None:
    made = one(flat("poisson", rate=100.0))

    low, _ = tail(made, np.zeros_like(made.counts))
    _, high = tail(made, made.counts + 200)

    assert low == pytest.approx(np.exp(-made.expected), rel=1e-6)
    assert 0 < high.max() < 1e-20


def test_the_office_opens_at_the_same_local_time_in_winter_and_summer() -> None:
    made = one(Traits("x", pattern=OFFICE_HOURS), days_from(datetime(2025, 3, 23, 23, tzinfo=UTC), 14))
    before, after = made.expected[0, 10:18], made.expected[0, 7 * 24 + 9 : 7 * 24 + 17]

    assert after == pytest.approx(before)
    assert made.expected[0, 7 * 24 + 10 : 7 * 24 + 18] != pytest.approx(before)


def test_a_day_of_23_hours_holds_less_than_one_of_24() -> None:
    midnight = datetime(2025, 3, 28, tzinfo=ZoneInfo("UTC"))
    per_hour = one(Traits("x", rate=10.0), days_from(midnight, 4)).expected[0]
    local = [
        (moment.item().replace(tzinfo=UTC)).astimezone(BERLIN).date().day for moment in days_from(midnight, 4).starts()
    ]

    assert per_hour[np.array(local) == 29].sum() == pytest.approx(240)
    assert per_hour[np.array(local) == 30].sum() == pytest.approx(230)


@settings(max_examples=25, deadline=None)
@given(pattern=patterns, step=st.sampled_from([timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=4), DAY]))
def test_short_intervals_add_up_to_long_ones(pattern: Pattern, step: timedelta) -> None:
    within = days_from(datetime(2025, 3, 27, tzinfo=UTC), 7, step)
    zone = ZoneInfo("UTC")  # elsewhere a day of UTC has parts in two local days, of which only one may stand out
    traits = Traits("x", rate=7.0, pattern=pattern)

    coarse = one(traits, within, zone).expected[0]
    fine = one(traits, days_from(within.start, 7, timedelta(minutes=15)), zone).expected[0]

    assert coarse == pytest.approx(fine.reshape(len(coarse), -1).sum(axis=1))


@settings(max_examples=25, deadline=None)
@given(pattern=patterns, rate=st.floats(0.2, 1e5))
def test_the_rate_is_the_mean_over_an_ordinary_week(pattern: Pattern, rate: float) -> None:
    traits = Traits("x", rate=rate, pattern=replace(pattern, monthly="none", month_boost=0.0))
    monday = datetime(2025, 1, 6, tzinfo=UTC)

    assert one(traits, days_from(monday, 7), ZoneInfo("UTC")).expected.mean() == pytest.approx(rate)


@settings(max_examples=25, deadline=None)
@given(
    pattern=patterns,
    rate=st.sampled_from([0.2, 1.0, 7.3, 40.0, 1e5]),
    step=st.sampled_from([timedelta(minutes=15), HOUR, DAY]),
)
def test_a_timetable_has_the_rate_and_repeats_every_week(pattern: Pattern, rate: float, step: timedelta) -> None:
    plain = replace(pattern, monthly="none", month_boost=0.0)
    traits = Traits("x", "scheduled", rate, 0.1, plain)
    made = one(traits, days_from(datetime(2025, 1, 6, tzinfo=UTC), 21, step), ZoneInfo("UTC"))
    due = (made.expected[0] / 0.9).reshape(3, -1)

    assert due == pytest.approx(due.round(), abs=1e-6)
    assert np.abs(due.sum(axis=1) - rate * 168 / 0.9).max() < 0.51
    assert due == pytest.approx(np.tile(due[0], (3, 1)))
    assert (made.counts[0] <= due.ravel().round()).all()


def test_weekends_off_are_silent_from_early_saturday_to_late_sunday() -> None:
    made = one(
        Traits("x", rate=50.0, pattern=OFFICE_HOURS), days_from(datetime(2025, 1, 6, tzinfo=UTC), 7), ZoneInfo("UTC")
    )
    saturday = 5 * 24

    assert made.counts[0, saturday + 2 : saturday + 46].sum() == 0
    assert made.expected[0, :saturday].sum() == pytest.approx(50 * 168, rel=1e-3)


@pytest.mark.parametrize(
    ("monthly", "days"),
    [("first-days", {1, 2, 3}), ("payday", {25, 26, 27}), ("last-days", {26, 27, 28})],
)
def test_some_days_of_the_month_stand_out(monthly: str, days: set[int]) -> None:
    pattern = Pattern(monthly=monthly, month_boost=0.5)  # type: ignore[arg-type]
    made = one(
        Traits("x", rate=10.0, pattern=pattern), days_from(datetime(2025, 2, 1, tzinfo=UTC), 28), ZoneInfo("UTC")
    )
    per_day = made.expected[0].reshape(28, 24).sum(axis=1)

    assert {int(day) + 1 for day in np.flatnonzero(per_day > 300)} == days
    assert np.unique(per_day.round(6)).tolist() == [240, 360]


def test_growth_is_per_year() -> None:
    made = one(Traits("x", pattern=Pattern(growth=0.2)), days_from(YEAR.start, 366))

    assert made.expected[0, 8766] / made.expected[0, 0] == pytest.approx(1.2)


def test_drawn_variables_reach_from_rare_to_busy_and_are_of_every_family() -> None:
    traits = draw_traits(120, seed=5)
    rates = np.array([variable.rate for variable in traits])
    per_decade, _ = np.histogram(np.log10(rates), bins=[-0.7, 0, 1, 2, 3, 4, 5])

    assert RATES[0] <= rates.min() < 0.3
    assert 70_000 < rates.max() <= RATES[1]
    assert per_decade.min() >= 12
    assert {variable.family for variable in traits} == set(FAMILIES)
    assert any(variable.pattern.week[5:] == (0, 0) for variable in traits)


def test_traits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="dispersion of 'x' is 0.9; expected within"):
        Traits("x", "scheduled", dispersion=0.9)
    with pytest.raises(ValueError, match="rate of 'x' is 0"):
        Traits("x", rate=0)
    with pytest.raises(ValueError, match="seven days"):
        Pattern(week=(0.0,) * 7)
    with pytest.raises(ValueError, match=r"\['x'\] occur twice"):
        simulate((Traits("x"), Traits("x")), YEAR, zone=BERLIN, seed=1)
    with pytest.raises(ValueError, match="lowest <= highest"):
        draw_traits(1, seed=1, rates=(2, 1))
    with pytest.raises(ValueError, match="seed is -1"):
        draw_traits(1, seed=-1)
