"""When people want peace: quiet hours and planned events, as written in a group's file and as stretches of time.

In: short texts (``mon-fri 22:00-07:00``, ``mon 09:00``) and rules (dates, a cron expression with a duration, the
public holidays of a country). Out: for a moment, until when it is quiet; for a stretch, whether an event covers it.

Everything is on the wall clock of the group's zone: a quiet night is an hour shorter or longer when clocks change. A
range that ends before it begins ends on the next day, and belongs to the day on which it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from anomaly.groups.durations import Duration
from anomaly.groups.frozen import Frozen

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
MOST_OCCURRENCES = 400
"""Of an event, that one incident can reach over; a year of days, and some."""

_CLOCK = r"([01]?\d|2[0-3]):([0-5]\d)"
_QUIET = re.compile(rf"(?:(?P<days>[a-z,-]+)\s+)?{_CLOCK}\s*-\s*(?:{_CLOCK}|(?P<midnight>24:00))", re.IGNORECASE)
_WEEKLY = re.compile(rf"(?P<day>[a-z]{{3}})\s+{_CLOCK}", re.IGNORECASE)


class QuietHours(Frozen):
    """A stretch of the day, on some days of the week, on the group's wall clock."""

    days: tuple[int, ...]
    """0 for Monday to 6 for Sunday: those on which it begins."""
    start: time
    end: time
    """Not later than `start`: of the next day."""

    def __str__(self) -> str:
        return f"{','.join(DAYS[day] for day in self.days)} {self.start:%H:%M}-{self.end:%H:%M}"


class WeeklyMoment(Frozen):
    """A moment that comes back every week, on the group's wall clock."""

    day: Annotated[int, Field(ge=0, le=6)]
    at: time

    def __str__(self) -> str:
        return f"{DAYS[self.day]} {self.at:%H:%M}"


def _quiet_hours(written: Any) -> Any:
    if isinstance(written, QuietHours):
        return written
    match = _QUIET.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None:
        raise ValueError("a range such as 'mon-fri 22:00-07:00', 'sat,sun 00:00-24:00' or '12:00-13:00'")
    hour, minute, *_ = match.groups()[1:]
    ends = match.groups()[3:5]
    end = time(0) if match["midnight"] else time(int(ends[0]), int(ends[1]))
    days = _weekdays(match["days"].lower()) if match["days"] else tuple(range(7))
    return QuietHours(days=days, start=time(int(hour), int(minute)), end=end)


def _weekdays(written: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in written.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"days of the week by their first three letters, {', '.join(DAYS)}; found {part!r}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return tuple(sorted(found))


def _weekly_moment(written: Any) -> Any:
    if isinstance(written, WeeklyMoment):
        return written
    match = _WEEKLY.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None or match["day"].lower() not in DAYS:
        raise ValueError("a day of the week and a time, such as 'mon 09:00'")
    return WeeklyMoment(day=DAYS.index(match["day"].lower()), at=time(int(match[2]), int(match[3])))


def _time_of_day(written: Any) -> Any:
    # YAML 1.1 reads 22:30 without quotes as a number to the base of 60, which here is the minute of the day.
    if isinstance(written, int) and not isinstance(written, bool) and 0 <= written < 24 * 60:
        return time(written // 60, written % 60)
    match = re.fullmatch(_CLOCK, written.strip()) if isinstance(written, str) else None
    if match is None and not isinstance(written, time):
        raise ValueError("a time of day such as '08:00'")
    return time(int(match[1]), int(match[2])) if match else written


def _minutes(moment: time) -> str:
    return f"{moment:%H:%M}"


Quiet = Annotated[QuietHours, BeforeValidator(_quiet_hours), PlainSerializer(str, when_used="json")]
Weekly = Annotated[WeeklyMoment, BeforeValidator(_weekly_moment), PlainSerializer(str, when_used="json")]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day), PlainSerializer(_minutes, when_used="json")]


class PlannedEvent(Frozen):
    """Something that is known to disturb the counts. Incidents wholly inside it are kept, and told to nobody.

    When it is: exactly one of `dates`, `cron` (with `duration`), `holidays`, and `start` with `end`.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    """What people call it; the incident says ``planned: name``."""
    dates: tuple[date, ...] = ()
    """Whole days."""
    cron: str | None = None
    """When it begins, in five fields: ``0 22 * * sun``."""
    duration: Duration | None = None
    """How long it lasts from then on; at most 31 days."""
    holidays: str | None = None
    """Country, with a subdivision if it matters (``US``, ``DE-BY``), whose public holidays it is, as whole days."""
    start: datetime | None = None
    """Once, from here; without an offset on the group's wall clock."""
    end: datetime | None = None
    """Exclusive."""
    variables: str | None = None
    """Regular expression that a variable's whole name must match; all variables without one."""
    tell: Literal["page", "digest"] = "page"
    """Where such incidents are found: on the review page only, or in the digest too."""

    @field_validator("variables")
    @classmethod
    def _compilable(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as bad:
            raise ValueError(f"a regular expression; this one does not compile: {bad}") from None
        return pattern

    @field_validator("cron")
    @classmethod
    def _readable(cls, expression: str | None) -> str | None:
        if expression is not None:
            from croniter import croniter  # type: ignore[import-untyped]  # groups without one do not pay for it

            if len(expression.split()) != 5 or not croniter.is_valid(expression):
                raise ValueError("a cron expression of five fields, such as '0 22 * * sun'")
        return expression

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        ways = {
            "dates": bool(self.dates),
            "cron": self.cron is not None,
            "holidays": self.holidays is not None,
            "start and end": self.start is not None or self.end is not None,
        }
        given = [way for way, there in ways.items() if there]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(ways)}; found {' and '.join(given) or 'none'}")
        if (self.cron is None) != (self.duration is None):
            raise ValueError("a duration with cron, and only with cron")
        if self.duration is not None and not timedelta(0) < self.duration <= 31 * DAY:
            raise ValueError("a duration of at most 31d")
        if given == ["start and end"] and (self.start is None or self.end is None):
            raise ValueError("both start and end")
        return self

    def concerns(self, variable: str) -> bool:
        return self.variables is None or re.fullmatch(self.variables, variable) is not None

    def covers(self, start: datetime, end: datetime, zone: ZoneInfo) -> bool:
        """Whether the whole stretch lies in it; occurrences that touch count as one."""
        reached = start
        for begins, ends in self._occurrences(start, end, zone):
            if begins > reached:
                return False
            reached = max(reached, ends)
            if reached >= end:
                return True
        return False

    def _occurrences(self, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
        """Those that end after the start and begin before the end, by their beginning; aware."""
        if self.start is not None and self.end is not None:
            once = _aware(self.start, zone), _aware(self.end, zone)
            found = iter([once])
        elif self.cron is not None and self.duration is not None:
            found = self._by_cron(self.cron, self.duration, start, end, zone)
        else:
            found = self._by_days(start, end, zone)
        return (occurrence for occurrence in found if occurrence[1] > start and occurrence[0] < end)

    def _by_cron(
        self, expression: str, duration: timedelta, start: datetime, end: datetime, zone: ZoneInfo
    ) -> Iterator[tuple[datetime, datetime]]:
        from croniter import croniter

        until = end.astimezone(zone).replace(tzinfo=None)
        # Without a zone, so that an event of eight hours ends eight hours later on the clock.
        found = croniter(expression, start.astimezone(zone).replace(tzinfo=None) - duration, ret_type=datetime)
        for _ in range(MOST_OCCURRENCES):
            begins = found.get_next()
            if begins >= until:
                return
            yield _aware(begins, zone), _aware(begins + duration, zone)

    def _by_days(self, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
        first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
        days = self._holidays(range(first.year, last.year + 1)) if self.holidays else sorted(self.dates)
        for day in days:
            if first - DAY <= day <= last:
                yield _aware(datetime.combine(day, time(0)), zone), _aware(datetime.combine(day + DAY, time(0)), zone)

    def _holidays(self, years: range) -> list[date]:
        import holidays

        code, _, subdivision = (self.holidays or "").partition("-")
        return sorted(holidays.country_holidays(code, subdiv=subdivision or None, years=years))


def planned_event(
    events: Sequence[PlannedEvent], variables: Sequence[str], start: datetime, end: datetime, zone: ZoneInfo
) -> PlannedEvent | None:
    """The first event that covers the stretch and concerns all of the variables."""
    for event in events:
        if all(event.concerns(name) for name in variables) and event.covers(start, end, zone):
            return event
    return None


def quiet_until(hours: Sequence[QuietHours], moment: datetime, zone: ZoneInfo) -> datetime | None:
    """When the quiet that holds at the moment ends, UTC; None when it does not hold. Ranges that touch are one."""
    reached = moment
    while ends := [end for begin, end in _quiet_around(hours, reached, zone) if begin <= reached < end]:
        reached = max(ends)
        if reached - moment > 14 * DAY:
            break  # it is quiet for ever; whoever wrote that is told in two weeks
    return reached.astimezone(UTC) if reached > moment else None


def _quiet_around(hours: Sequence[QuietHours], moment: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    today = moment.astimezone(zone).date()
    for day in (today - DAY, today):
        for quiet in hours:
            if day.weekday() in quiet.days:
                over = quiet.end <= quiet.start
                yield (
                    _aware(datetime.combine(day, quiet.start), zone),
                    _aware(datetime.combine(day + DAY if over else day, quiet.end), zone),
                )


def latest_daily(at: time, moment: datetime, zone: ZoneInfo) -> datetime:
    """The latest moment at or before `moment` at which the wall clock showed this time, UTC."""
    today = moment.astimezone(zone).date()
    found = [_aware(datetime.combine(day, at), zone) for day in (today, today - DAY)]
    return next(f for f in found if f <= moment).astimezone(UTC)


def latest_weekly(when: WeeklyMoment, moment: datetime, zone: ZoneInfo) -> datetime:
    """The latest moment at or before `moment` that is this one of its week, UTC."""
    today = moment.astimezone(zone).date()
    day = today - timedelta(days=(today.weekday() - when.day) % 7)
    found = [_aware(datetime.combine(d, when.at), zone) for d in (day, day - 7 * DAY)]
    return next(f for f in found if f <= moment).astimezone(UTC)


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins, UTC."""
    return _aware(datetime.combine(day, time(0)), zone).astimezone(UTC)


def _aware(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
