"""Which intervals a run is about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.exceptions import InvalidRangeError
from anomaly.groups import Group
from anomaly.orchestration.ranges import (
    chosen_range,
    chosen_until,
    latest_complete,
    next_interval,
    parse_moment,
)

MakeGroup = Callable[..., Group]
HOUR = timedelta(hours=1)
INTERVALS = st.sampled_from([timedelta(minutes=m) for m in (1, 15, 30, 60, 360, 1440)])
DELAYS = st.timedeltas(timedelta(0), timedelta(days=2))
MOMENTS = st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@given(now=MOMENTS, interval=INTERVALS)
def test_the_latest_complete_interval_is_over_and_the_next_one_is_not(now: datetime, interval: timedelta) -> None:
    latest = latest_complete(now, interval=interval, end=None)
    assert len(latest) == 1
    assert latest.end <= now < latest.end + interval


@given(now=MOMENTS, interval=INTERVALS, end=MOMENTS)
def test_an_ended_schedule_keeps_meaning_its_last_interval(now: datetime, interval: timedelta, end: datetime) -> None:
    latest = latest_complete(now, interval=interval, end=end)
    assert latest.end <= min(now, end) < latest.end + interval


@given(now=MOMENTS, interval=INTERVALS, delay=DELAYS, earliest=MOMENTS)
def test_catch_up_schedules_every_interval_once_and_leaves_none_out(
    now: datetime, interval: timedelta, delay: timedelta, earliest: datetime
) -> None:
    last = None
    ends: list[datetime] = []
    for _ in range(5):
        found = next_interval(now, interval=interval, delay=delay, end=None, earliest=earliest, last=last, catchup=True)
        assert found is not None
        assert len(found) == 1
        assert found.start >= earliest
        if ends:
            assert found.start == ends[-1]
        else:
            assert found.start < earliest + interval
        last = (found.start, found.end)
        ends.append(found.end)


@given(now=MOMENTS, interval=INTERVALS, delay=DELAYS, back=st.integers(0, 1000))
def test_without_catch_up_the_first_run_is_of_the_latest_interval_whose_delay_is_over(
    now: datetime, interval: timedelta, delay: timedelta, back: int
) -> None:
    earliest = latest_complete(now - delay, interval=interval, end=None).start - back * interval
    found = next_interval(now, interval=interval, delay=delay, end=None, earliest=earliest, last=None, catchup=False)
    assert found is not None
    assert found.end + delay <= now < found.end + interval + delay


@given(now=MOMENTS, interval=INTERVALS, delay=DELAYS, end=MOMENTS, catchup=st.booleans())
def test_no_interval_is_scheduled_that_ends_after_the_schedule(
    now: datetime, interval: timedelta, delay: timedelta, end: datetime, *, catchup: bool
) -> None:
    found = next_interval(
        now, interval=interval, delay=delay, end=end, earliest=end - 2 * interval, last=None, catchup=catchup
    )
    assert found is None or found.end <= end
    after = next_interval(
        now, interval=interval, delay=delay, end=end, earliest=end - interval / 2, last=None, catchup=catchup
    )
    assert after is None


@given(now=MOMENTS, old=INTERVALS, new=INTERVALS)
def test_a_changed_interval_never_schedules_the_same_start_twice(now: datetime, old: timedelta, new: timedelta) -> None:
    last = latest_complete(now, interval=old, end=None)
    found = next_interval(
        now, interval=new, delay=timedelta(0), end=None, earliest=None, last=(last.start, last.end), catchup=True
    )
    assert found is not None
    assert found.start > last.start


def test_nothing_is_scheduled_without_a_beginning() -> None:
    assert (
        next_interval(
            at("2026-01-01T00:00Z"),
            interval=HOUR,
            delay=HOUR,
            end=None,
            earliest=None,
            last=None,
            catchup=False,
        )
        is None
    )


def test_a_range_that_was_asked_for_goes_before_the_latest_interval(make_group: MakeGroup) -> None:
    asked = chosen_range(make_group(), at("2026-01-02T00:00Z"), at("2026-01-03T00:00Z"), at=at("2026-05-01T10:20Z"))
    assert str(asked) == "[2026-01-02 00:00, 2026-01-03 00:00) UTC"
    latest = chosen_range(make_group(), None, None, at=at("2026-05-01T10:20Z"))
    assert str(latest) == "[2026-05-01 09:00, 2026-05-01 10:00) UTC"


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("2026-01-02T00:00Z", None, "found start without end"),
        (None, "2026-01-02T00:00Z", "found end without start"),
        ("2026-01-02T00:00", "2026-01-03T00:00Z", "has no time zone"),
        ("2026-01-03T00:00Z", "2026-01-02T00:00Z", "reversed"),
        ("2026-01-02T00:00Z", "2026-01-02T00:00Z", "empty"),
        ("2026-01-02T00:07Z", "2026-01-03T00:00Z", "not a boundary of 1:00:00 intervals"),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(
    make_group: MakeGroup, start: str | None, end: str | None, says: str
) -> None:
    with pytest.raises(InvalidRangeError, match=says):
        chosen_range(make_group(), start and at(start), end and at(end), at=at("2026-05-01T10:20Z"))  # type: ignore[arg-type]


def test_a_fit_learns_up_to_the_latest_interval_that_is_counted_already(make_group: MakeGroup) -> None:
    """At 06:00 the interval up to 06:00 is over, but its counting starts at 06:05."""
    group = make_group()
    assert chosen_until(group, None, at=at("2026-05-04T06:00Z")) == at("2026-05-04T05:00Z")
    assert chosen_until(group, None, at=at("2026-05-04T06:05Z")) == at("2026-05-04T06:00Z")
    assert chosen_until(group, at("2026-03-01T00:00Z"), at=at("2026-05-04T06:00Z")) == at("2026-03-01T00:00Z")


def test_a_fit_of_an_ended_schedule_learns_up_to_its_end(make_group: MakeGroup) -> None:
    group = make_group(schedule={"start": at("2026-01-01T00:00Z"), "end": at("2026-02-01T00:00Z")})
    assert chosen_until(group, None, at=at("2026-05-04T06:00Z")) == at("2026-02-01T00:00Z")


@pytest.mark.parametrize("until", ["2026-03-01T00:00", "2026-03-01T00:30Z"])
def test_a_naive_or_crooked_end_of_the_history_is_refused(make_group: MakeGroup, until: str) -> None:
    with pytest.raises(InvalidRangeError, match="until is .* (no time zone|not a boundary)"):
        chosen_until(make_group(), at(until), at=at("2026-05-04T06:00Z"))


def test_a_date_means_midnight_in_the_zone_of_the_group(make_group: MakeGroup) -> None:
    group = make_group(timezone="America/New_York")
    assert parse_moment("2013-02-03", group) == at("2013-02-03T05:00Z")
    assert parse_moment("2013-07-03", group) == at("2013-07-03T04:00Z")
    assert parse_moment(" 2013-02-03T00:00:00-05:00 ", group) == at("2013-02-03T05:00Z")


@pytest.mark.parametrize("written", ["yesterday", "2013-02-30", "2013-02-03T25:00Z", ""])
def test_what_is_no_moment_is_refused_with_what_to_write(make_group: MakeGroup, written: str) -> None:
    with pytest.raises(InvalidRangeError, match="expected a date such as 2013-02-03"):
        parse_moment(written, make_group())
