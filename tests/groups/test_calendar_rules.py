"""Quiet hours and planned events: until when it is quiet, and what an event covers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.exceptions import InvalidGroupsError
from anomaly.groups import Group, load_group
from anomaly.groups.calendar_rules import PlannedEvent, latest_daily, latest_weekly, planned_event, quiet_until

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
HOUR = timedelta(hours=1)
GOOD = """
owner: data
source: {connection: warehouse, table: events}
interval: 1h
variables: all
schedule: {start: 2026-01-01T00:00:00+00:00}
"""


def _group(tmp_path: Path, slack: str = "", more: str = "") -> Group:
    path = tmp_path / "orders.yaml"
    path.write_text(f'{GOOD}slack:\n  channel: "#alerts"\n{slack}\n{more}\n', encoding="utf-8")
    return load_group(path)


def _berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.fixture
def quiet(make_group: Callable[..., Group]) -> Callable[[list[str], str], datetime | None]:
    def until(hours: list[str], moment: str) -> datetime | None:
        slack = make_group(slack={"channel": "#a", "quiet_hours": hours}).slack
        found = quiet_until(slack.quiet_hours, _berlin(moment), BERLIN)
        return None if found is None else found.astimezone(BERLIN).replace(tzinfo=None)

    return until


@pytest.mark.parametrize(
    ("hours", "moment", "until"),
    [
        (["22:00-07:00"], "2026-05-04 21:59", None),
        (["22:00-07:00"], "2026-05-04 22:00", "2026-05-05 07:00"),
        (["22:00-07:00"], "2026-05-05 06:59", "2026-05-05 07:00"),
        (["22:00-07:00"], "2026-05-05 07:00", None),
        (["12:00-13:00"], "2026-05-05 12:30", "2026-05-05 13:00"),
        (["mon-fri 22:00-07:00"], "2026-05-09 06:00", "2026-05-09 07:00"),  # Friday's night
        (["mon-fri 22:00-07:00"], "2026-05-09 23:00", None),  # Saturday's
        (["mon-fri 22:00-07:00", "sat,sun 00:00-24:00"], "2026-05-08 23:00", "2026-05-11 00:00"),
        (["fri-mon 22:00-07:00"], "2026-05-10 23:00", "2026-05-11 07:00"),
    ],
)
def test_it_is_quiet_until_the_ranges_that_touch_have_ended(
    quiet: Callable[[list[str], str], datetime | None], hours: list[str], moment: str, until: str | None
) -> None:
    assert quiet(hours, moment) == (datetime.fromisoformat(until) if until else None)


def test_a_quiet_night_is_an_hour_shorter_when_clocks_change(make_group: Callable[..., Group]) -> None:
    hours = make_group(slack={"channel": "#a", "quiet_hours": ["22:00-07:00"]}).slack.quiet_hours
    before = datetime(2026, 3, 28, 21, tzinfo=UTC)  # 22:00 in Berlin
    assert quiet_until(hours, before, BERLIN) == before + 8 * HOUR


def test_quiet_without_end_is_refused(make_group: Callable[..., Group]) -> None:
    with pytest.raises(ValueError, match="quiet_hours that end at some time of the week"):
        make_group(slack={"channel": "#a", "quiet_hours": ["00:00-12:00", "12:00-24:00"]})


def test_times_are_read_with_and_without_quotes_and_written_back_the_same(tmp_path: Path) -> None:
    slack = "  digest: 22:30\n  weekly: fri 16:00\n  quiet_hours: [mon-fri 22:00-07:00, '12:00-24:00']\n"
    planned = "planned: [{name: sale, cron: '0 8 1 * *', duration: 2d}, {name: move, dates: [2026-05-01]}]"
    group = _group(tmp_path, slack, planned)
    assert (group.slack.digest.hour, group.slack.digest.minute) == (22, 30)
    assert Group.model_validate(group.model_dump(mode="json")) == group


def test_every_mistake_of_the_policy_is_told_at_once(tmp_path: Path) -> None:
    slack = (
        "  routes: {urgent: '#a', low: nowhere}\n  quiet_hours: [mon-fry 22:00-07:00, 25:00-26:00]\n"
        "  digest: noon\n  weekly: someday\n  quiet_below: loud\n"
    )
    planned = (
        "planned:\n  - {name: a}\n  - {name: b, cron: '61 * * * *', duration: 1h}\n  - {name: c, cron: '0 * * * *'}\n"
        "  - {name: d, dates: [2026-01-01], holidays: US}\n  - {name: e, dates: [2026-01-01], varibles: x}\n"
        "  - {name: f, start: 2026-01-01T00:00}\n"
    )
    with pytest.raises(InvalidGroupsError) as caught:
        _group(tmp_path, slack, planned)
    told = "\n".join(caught.value.problems)
    for expected in (
        "slack.routes.urgent: found an unknown key; expected one of critical, high, low",
        "slack.routes.low: found 'nowhere'",
        "slack.quiet_hours.0: found 'mon-fry 22:00-07:00'; expected days of the week",
        "slack.quiet_hours.1: found '25:00-26:00'; expected a range such as",
        "slack.digest: found 'noon'; expected a time of day",
        "slack.weekly: found 'someday'; expected a day of the week and a time",
        "slack.quiet_below: found 'loud'",
        "planned.0: expected exactly one of dates, cron, holidays, start and end; found none",
        "planned.1.cron: found '61 * * * *'; expected a cron expression",
        "planned.2: expected a duration with cron",
        "planned.3: expected exactly one of dates, cron, holidays, start and end; found dates and holidays",
        "planned.4.varibles: found an unknown key; expected 'variables'?",
        "planned.5: expected both start and end",
    ):
        assert expected in told
    assert len(caught.value.problems) == 13


def test_the_country_of_planned_holidays_is_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidGroupsError, match=r"planned\.0\.holidays: found 'XX'; expected a country"):
        _group(tmp_path, more="planned: [{name: day off, holidays: XX}]")


def _event(**written: Any) -> PlannedEvent:
    return PlannedEvent.model_validate({"name": "e", **written})


@pytest.mark.parametrize(
    ("event", "start", "end", "covered"),
    [
        ({"dates": ["2026-05-04"]}, "2026-05-04 00:00", "2026-05-05 00:00", True),
        ({"dates": ["2026-05-04"]}, "2026-05-03 23:00", "2026-05-04 02:00", False),
        ({"dates": ["2026-05-04", "2026-05-05"]}, "2026-05-04 20:00", "2026-05-05 04:00", True),
        ({"dates": ["2026-05-04", "2026-05-06"]}, "2026-05-04 20:00", "2026-05-06 04:00", False),
        ({"cron": "0 22 * * sun", "duration": "8h"}, "2026-05-03 23:00", "2026-05-04 05:00", True),
        ({"cron": "0 22 * * sun", "duration": "8h"}, "2026-05-03 23:00", "2026-05-04 07:00", False),
        ({"cron": "0 * * * *", "duration": "1h"}, "2026-05-03 23:30", "2026-05-04 07:00", True),
        ({"cron": "0 0 1 * *", "duration": "2d"}, "2026-05-01 00:00", "2026-05-03 00:00", True),
        ({"holidays": "DE"}, "2026-12-25 00:00", "2026-12-27 00:00", True),
        ({"holidays": "DE"}, "2026-12-24 20:00", "2026-12-25 04:00", False),
        ({"holidays": "DE"}, "2025-12-31 23:00", "2026-01-01 04:00", False),
        ({"start": "2026-05-04T10:00", "end": "2026-05-04T12:00"}, "2026-05-04 10:00", "2026-05-04 12:00", True),
        ({"start": "2026-05-04T10:00Z", "end": "2026-05-04T12:00Z"}, "2026-05-04 10:00", "2026-05-04 12:00", False),
    ],
)
def test_an_event_covers_what_lies_wholly_in_it(event: dict[str, Any], start: str, end: str, covered: object) -> None:
    assert _event(**event).covers(_berlin(start), _berlin(end), BERLIN) is covered


def test_an_event_of_some_variables_covers_an_incident_of_these_alone() -> None:
    event = _event(dates=["2026-05-04"], variables="score_.+")
    day = _berlin("2026-05-04 08:00"), _berlin("2026-05-04 10:00")
    assert planned_event([event], ["score_a", "score_b"], *day, BERLIN) is event
    assert planned_event([event], ["score_a", "income"], *day, BERLIN) is None


@given(
    moment=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
    zone=st.sampled_from([BERLIN, NEW_YORK, ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata")]),
)
def test_the_latest_daily_and_weekly_moments_are_past_and_less_than_a_turn_ago(
    moment: datetime, zone: ZoneInfo
) -> None:
    from anomaly.groups.model import Slack

    slack = Slack.model_validate({"channel": "#a", "digest": "08:00", "weekly": "wed 09:30"})
    assert slack.weekly is not None
    day = latest_daily(slack.digest, moment, zone)
    week = latest_weekly(slack.weekly, moment, zone)
    assert day <= moment <= day + timedelta(hours=25)
    assert week <= moment <= week + timedelta(days=7, hours=1)
    assert f"{day.astimezone(zone):%H:%M}" == "08:00"
    assert f"{week.astimezone(zone):%a %H:%M}" == "Wed 09:30"
