"""Which intervals a run is about: the ones that were asked for, or the latest complete one.

In: moments as people and schedulers give them. Out: a `TimeRange` on the group's grid. The timetable, the
tasks and the command line all ask here, so that a run by hand and a scheduled one mean the same intervals.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from anomaly.exceptions import InvalidRangeError
from anomaly.groups import Group, TimeRange
from anomaly.groups.intervals import ceil_to, floor_to


def latest_complete(at: datetime, *, interval: timedelta, end: datetime | None) -> TimeRange:
    """The last whole interval that is over at `at` (aware), and not after the schedule's `end`.

    A schedule that has ended keeps meaning its last interval, so that its DAGs can still be started by hand.
    """
    over = floor_to(at if end is None else min(at, end), interval)
    return TimeRange(over - interval, over, interval)


def next_interval(
    now: datetime,
    *,
    interval: timedelta,
    delay: timedelta,
    end: datetime | None,
    earliest: datetime | None,
    last: tuple[datetime, datetime] | None,
    catchup: bool,
) -> TimeRange | None:
    """The interval that is scheduled after the last one, or None when the schedule is over or has no beginning.

    Args:
        now: aware, as every moment here.
        interval: of the group.
        delay: after an interval's end, before its run starts.
        end: of the schedule; no interval that ends later is scheduled.
        earliest: nothing that starts before it is scheduled.
        last: start and end of what was scheduled last, on the grid of that time.
        catchup: whether everything since `earliest` is scheduled; otherwise not before the latest counted one.
    """
    starts: list[datetime] = []
    if earliest is not None:
        starts.append(ceil_to(earliest, interval))
    if last is not None:
        following = floor_to(last[1], interval)
        # Where the group's interval has become longer, the grid's boundary can lie inside the last one.
        starts.append(following if following > last[0] else following + interval)
    if not starts:
        return None
    if not catchup:
        starts.append(latest_complete(now - delay, interval=interval, end=None).start)
    start = max(starts)
    if end is not None and start + interval > end:
        return None
    return TimeRange(start, start + interval, interval)


def chosen_range(group: Group, start: datetime | None, end: datetime | None, *, at: datetime) -> TimeRange:
    """The range from `start` to `end`; without them the latest complete interval at `at`. All aware.

    Raises:
        InvalidRangeError: only one end is given, or the range is naive, reversed, empty or off the grid.
    """
    if start is None and end is None:
        return latest_complete(at, interval=group.interval, end=group.schedule.end)
    if start is None or end is None:
        given, missing = ("end", "start") if start is None else ("start", "end")
        raise InvalidRangeError(f"found {given} without {missing}; give both, or neither for the latest interval")
    return group.range(start, end)


def chosen_until(group: Group, until: datetime | None, *, at: datetime) -> datetime:
    """Where the history of a fit ends, UTC: `until`, or what the schedule has counted at `at`. Both aware.

    The delay comes off first: a fit at 06:00 of hourly counts that are taken five minutes late learns up to
    05:00, because the interval up to 06:00 is not counted yet.

    Raises:
        InvalidRangeError: `until` is naive or off the grid.
    """
    if until is None:
        counted = latest_complete(at - group.schedule.delay, interval=group.interval, end=group.schedule.end)
        return counted.end
    written = until.isoformat()
    if until.tzinfo is None:
        raise InvalidRangeError(
            f"until is {written}, which has no time zone; write it with an offset, for example {written}+00:00"
        )
    if group.floor(until) != until:
        raise InvalidRangeError(
            f"until is {written}, which is not a boundary of {group.interval} intervals; the one before it is "
            f"{group.floor(until).isoformat()}"
        )
    return until.astimezone(UTC)


def plain(moment: datetime) -> datetime:
    """The standard library's datetime. Airflow hands out pendulum's, whose differences do not divide by a step."""
    return datetime.fromisoformat(moment.isoformat())


def parse_moment(written: str, group: Group | None = None) -> datetime:
    """A moment from ISO 8601. A bare date means midnight in the group's zone, when there is a group.

    A time without offset stays naive: `TimeRange` refuses it with the message that says what to write.

    Raises:
        InvalidRangeError: not a date or a time.
    """
    text = written.strip()
    try:
        if group is not None and len(text) == len("2013-02-03"):
            return datetime.combine(date.fromisoformat(text), time(), group.zone).astimezone(UTC)
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRangeError(
            f"found {written!r}; expected a date such as 2013-02-03, or a time with its offset such as "
            "2013-02-03T00:00:00-05:00"
        ) from None
