"""Telling: one thread per incident, its news once; places, digests and weekly posts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pytest

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.posts import PostgresPosts
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.exceptions import SlackUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.ports import ChartData, Charts, Fit, Incident, IncidentVariable, Links, Posted
from anomaly.ports.labels import Label, Snooze
from anomaly.ports.posts import News
from anomaly.stages.telling import TellReport, tell
from tests.fakes import PlainCharts, RecordedChannel, Reply
from tests.stages.conftest import HOUR, START

DAY = 24 * HOUR


@dataclass
class Office:
    """A group with incidents that a test writes, and the people who hear of them."""

    group: Group
    store: PostgresStore
    labels: PostgresLabels
    posts: PostgresPosts
    artifacts: Artifacts
    channel: RecordedChannel = field(default_factory=RecordedChannel)
    low_rank: str = ""
    charts: Charts = field(default_factory=PlainCharts)

    def open(self, names: str = "a", **changes: Any) -> Incident:
        """A new incident of some variables, each a letter."""
        (saved,) = self.store.save_incidents(self.group, [_incident(names, **changes)])
        return saved

    def change(self, incident: Incident, names: str | None = None, **changes: Any) -> Incident:
        """The incident as a later run would find it."""
        now = next(i for i in self.store.incidents(self.group) if i.id == incident.id)
        parts = now.variables if names is None else _incident(names).variables
        (saved,) = self.store.save_incidents(self.group, [replace(now, variables=parts, **changes)])
        return saved

    def tell(self, at: timedelta = DAY) -> TellReport:
        return tell(
            self.group,
            store=self.store,
            charts=self.charts,
            chart_store=self.artifacts,
            channel=self.channel,
            links=Links(),
            now=START + at,
            labels=self.labels,
            posts=self.posts,
            low_rank=lambda _, __: self.low_rank,
        )

    def replies(self) -> list[Reply]:
        return list(self.channel.replies.values())

    def found(self) -> Incident:
        (one,) = self.store.incidents(self.group)
        return one


def _incident(names: str, **changes: Any) -> Incident:
    start = changes.get("start", START)
    parts = tuple(IncidentVariable(n, "drop", start, start + 2 * HOUR, 2, 3.0, 20.0, 1e-7, 1e-5) for n in names)
    whole = Incident(
        "orders",
        "drop",
        start,
        start + 2 * HOUR,
        resolved=False,
        tail_probability=1e-7,
        return_period_hours=1e6,
        variables=parts,
    )
    return replace(whole, **changes)


@pytest.fixture
def make_office(
    make_group: Callable[..., Group], store: PostgresStore, metadata_database: dict[str, str], tmp_path: object
) -> Callable[..., Office]:
    def make(slack: dict[str, Any] | None = None, **changes: Any) -> Office:
        group = make_group(slack={"channel": "#alerts", **(slack or {})}, **changes)
        artifacts = Artifacts(str(tmp_path), s3_endpoint=None)
        store.enrol(group, dict.fromkeys("abcdefgh"), first_interval=START)
        return Office(group, store, PostgresLabels(metadata_database), PostgresPosts(metadata_database), artifacts)

    return make


@pytest.fixture
def office(make_office: Callable[..., Office]) -> Office:
    return make_office()


# --- threads ----------------------------------------------------------------------------------------------------


def test_a_thread_hears_what_is_new_and_the_channel_what_is_clearly_worse(office: Office) -> None:
    incident = office.open("abcd")
    office.tell()
    for names, expected in (
        ("abcde", [(1, False)]),  # a quarter more
        ("abcdef", [(1, False)]),  # not a quarter of five
        ("abcdefgh", [(1, False), (3, True)]),  # twice as many as the channel knows
    ):
        office.change(incident, names)
        office.tell()
        assert [(len(r.news.joined), r.broadcast) for r in office.replies()] == expected
    office.change(incident, severity="critical")
    office.tell()
    assert office.replies()[-1].news == News(severity_before="low")
    assert office.replies()[-1].broadcast
    assert len(office.channel.messages) == 1


def test_the_channel_hears_what_the_thread_has_heard_in_steps(office: Office) -> None:
    incident = office.open("abcd", tail_probability=1e-7)
    office.tell()
    office.change(incident, "abcde", tail_probability=1e-9)  # a hundred times rarer, with a variable more
    office.tell()
    office.change(incident, "abcde", tail_probability=1e-11)  # again, which is news for nobody but the channel
    for _ in range(3):
        office.tell()
    assert [(r.broadcast, r.news.rarer, len(r.news.joined)) for r in office.replies()] == [
        (False, False, 1),
        (True, True, 0),
    ]


def test_one_that_comes_back_worse_is_a_reply_and_a_notice(office: Office) -> None:
    incident = office.open("a")
    office.tell()
    office.change(incident, resolved=True)
    office.tell()
    office.change(incident, resolved=False, severity="critical")
    for _ in range(3):
        office.tell()
    assert [(r.news.reopened, r.broadcast) for r in office.replies()] == [(False, False), (True, False), (False, True)]


def test_an_incident_that_only_goes_on_is_edited_and_its_thread_hears_nothing(office: Office) -> None:
    incident = office.open()
    office.tell()
    for hours in range(3, 9):
        office.change(incident, end=START + hours * HOUR)
        assert office.tell().edited == 1
    assert office.replies() == []


def test_the_end_is_told_in_the_thread_once_and_the_message_is_edited(office: Office) -> None:
    incident = office.open()
    office.tell()
    office.change(incident, resolved=True)
    for _ in range(3):
        office.tell()
    assert office.channel.edits[-1].resolved
    assert [(r.news, r.broadcast) for r in office.replies()] == [(News(resolved=True), False)]


def test_an_incident_that_was_over_when_it_was_told_has_no_thread(office: Office) -> None:
    office.open(resolved=True)
    office.tell()
    office.tell()
    assert (len(office.channel.messages), office.replies()) == (1, [])


def test_late_rows_withdraw_it_and_bring_it_back(office: Office) -> None:
    incident = office.open()
    office.tell()
    office.change(incident, resolved=True)
    office.tell()
    office.change(incident, resolved=False)
    office.tell()
    office.store.save_incidents(office.group, [], withdrawn=[incident.id or 0])
    office.tell()
    office.tell()
    assert [r.news for r in office.replies()] == [News(resolved=True), News(reopened=True), News(withdrawn=True)]
    assert office.channel.edits[-1].withdrawn


def test_a_run_that_died_after_it_replied_replies_once_and_tells_the_rest_next(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = office.open("ab")
    office.tell()
    office.change(incident, "abc")
    with monkeypatch.context() as dying:
        dying.setattr(office.store, "delivered", _die)
        with pytest.raises(KeyboardInterrupt):
            office.tell()
    office.change(incident, "abcd", resolved=True)
    office.tell()
    news = [r.news for r in office.replies()]
    assert [[part.variable for part in new.joined] for new in news] == [["c"], []]
    assert news[-1] == News(resolved=True)


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_post_that_a_dead_run_left_behind_is_found_and_brought_up_to_date(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = office.open("ab")
    with monkeypatch.context() as dying:
        dying.setattr(office.store, "delivered", _die)
        with pytest.raises(KeyboardInterrupt):
            office.tell()
    office.change(incident, "abc")
    office.tell()
    assert len(office.channel.messages) == 1
    assert len(office.channel.edits[-1].variables) == 3


def test_a_database_made_anew_finds_its_messages_in_slack(office: Office, make_office: Callable[..., Office]) -> None:
    office.open()
    office.tell()
    with_another_number = [office.open(start=START - 50 * DAY, resolved=True) for _ in range(2)]
    office.store.save_incidents(office.group, [], withdrawn=[i.id or 0 for i in with_another_number])
    _forget(office.store)
    office.open()
    office.tell()
    assert len(office.channel.messages) == 1


def _forget(store: PostgresStore) -> None:
    with store._cursor() as cursor:
        cursor.execute("DELETE FROM incidents")


def test_news_that_came_while_slack_was_down_are_told_in_order_afterwards(office: Office) -> None:
    incident = office.open("ab")
    office.tell()
    office.channel.down = SlackUnavailableError("down")
    for names in ("abc", "abcde"):
        office.change(incident, names)
        with pytest.raises(SlackUnavailableError):
            office.tell(DAY)
    office.change(incident, resolved=True)
    office.channel.down = None
    office.tell(2 * DAY)
    assert [(len(r.news.joined), r.news.resolved) for r in office.replies()] == [(1, False), (0, True)]
    assert office.store.waiting(office.group) == 0


def test_slack_being_down_is_asked_once_and_as_long_as_it_asks_left_alone(office: Office) -> None:
    for n in range(5):
        office.open(start=START + n * DAY)
    office.channel.down = SlackUnavailableError("ratelimited", retry_after=timedelta(hours=2))
    with pytest.raises(SlackUnavailableError):
        office.tell(9 * DAY)
    office.channel.down = None
    assert office.tell(9 * DAY + HOUR).posted == 4
    assert office.tell(9 * DAY + 2 * HOUR).posted == 1


def test_a_thread_whose_first_message_was_deleted_ends_and_a_new_one_begins(office: Office) -> None:
    incident = office.open("ab")
    office.tell()
    office.channel.delete(office.found().slack_ts or "")
    office.change(incident, "abc")
    office.tell()
    office.tell()
    assert len(office.channel.messages) == 2
    assert office.replies() == []


def test_a_message_that_was_deleted_is_posted_anew_by_the_run_that_finds_out(office: Office) -> None:
    incident = office.open("ab")
    office.tell()
    office.channel.delete(office.found().slack_ts or "")
    office.change(incident, "abc")
    assert office.tell().posted == 1
    assert office.found().slack_ts == "2.0"
    assert office.tell().posted == 0


def test_what_was_sent_is_kept_in_its_words_with_its_address(office: Office, metadata_database: dict[str, str]) -> None:
    incident = office.open("abcd")
    office.tell()
    office.change(incident, "abcdefgh", resolved=True)
    office.tell(2 * DAY)
    with closing(psycopg2.connect(**metadata_database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT action, words, permalink, delivered_at FROM outbox ORDER BY delivered_at, id")
        assert cursor.fetchall() == [
            ("post", "message 1", "http://slack/1", START + DAY),
            ("update", "edit 1", "http://slack/1", START + 2 * DAY),
            ("reply", "message 2", "http://slack/2", START + 2 * DAY),
        ]


class Undrawable(PlainCharts):
    """Draws every incident but those of one variable."""

    def incident(self, data: ChartData) -> bytes:
        if data.variables[0].variable == "a":
            raise ValueError("an axis without an end")
        return super().incident(data)


def test_an_incident_whose_chart_cannot_be_drawn_keeps_no_other_from_being_told(office: Office) -> None:
    office.open("a")
    office.open("b", start=START + 9 * HOUR, end=START + 11 * HOUR)
    office.charts = Undrawable()
    with pytest.raises(ValueError, match="an axis without an end"):
        office.tell()
    assert [m.variables[0].variable for m in office.channel.messages.values()] == ["b"]
    office.charts = PlainCharts()
    assert office.tell(2 * DAY).posted == 1


# --- places -----------------------------------------------------------------------------------------------------


def test_severities_go_where_the_policy_sends_them_and_climb(make_office: Callable[..., Office]) -> None:
    office = make_office({"routes": {"low": "page", "high": "digest", "critical": "#oncall"}})
    incident = office.open()
    for severity, place in (("low", "page"), ("high", "digest"), ("critical", "message")):
        office.change(incident, severity=severity)
        office.tell()
        assert office.found().place == place
    assert office.channel.channels == ["#oncall"]


def test_a_channel_for_the_worst_is_led_to_the_thread_once(make_office: Callable[..., Office]) -> None:
    office = make_office({"routes": {"critical": "#oncall"}})
    incident = office.open()
    office.tell()
    for severity in ("critical", "high", "critical"):
        office.change(incident, severity=severity)
        office.tell()
    assert office.channel.channels == ["#alerts"]
    assert [channel for channel, _ in office.channel.pointers.values()] == ["#oncall"]
    assert office.replies()[0].broadcast


def test_quiet_hours_hold_back_what_is_not_bad_enough_and_then_it_is_told_once(
    make_office: Callable[..., Office],
) -> None:
    office = make_office({"quiet_hours": ["22:00-07:00"], "quiet_below": "high"})
    incident = office.open()
    office.tell(23 * HOUR)
    assert (office.found().place, office.found().place_reason) == ("waiting", "quiet hours until Fri 07:00")
    office.change(incident, resolved=True)
    office.tell(30 * HOUR)
    assert office.channel.messages == {}
    for hour in (31, 32, 47):
        office.tell(hour * HOUR)
    assert len(office.channel.messages) == 1
    assert office.found().place == "message"


def test_quiet_hours_end_for_what_becomes_bad_enough(make_office: Callable[..., Office]) -> None:
    office = make_office({"quiet_hours": ["22:00-07:00"], "quiet_below": "high"})
    incident = office.open()
    office.tell(23 * HOUR)
    office.change(incident, severity="high")
    assert office.tell(24 * HOUR).posted == 1


def test_at_night_a_message_is_edited_and_the_channel_hears_in_the_morning(
    make_office: Callable[..., Office],
) -> None:
    office = make_office({"quiet_hours": ["22:00-07:00"]})
    incident = office.open("a")
    office.tell(20 * HOUR)
    office.change(incident, "abcdefgh", severity="high")
    report = office.tell(23 * HOUR)
    assert (report.edited, report.replied) == (1, 0)
    assert office.tell(31 * HOUR).replied == 1


def test_what_lies_in_a_planned_event_is_kept_and_says_so(make_office: Callable[..., Office]) -> None:
    planned = [
        {"name": "migration", "dates": ["2026-01-01"], "variables": "[ab]"},
        {"name": "holidays", "dates": ["2026-01-01"], "tell": "digest"},
    ]
    office = make_office(planned=planned)
    wholly = office.open("ab")
    others = office.open("bc", start=START + HOUR, end=START + 20 * HOUR)
    beyond = office.open("a", start=START + 22 * HOUR, end=START + 26 * HOUR)
    office.tell()
    places = {i.id: (i.place, i.place_reason) for i in office.store.incidents(office.group)}
    assert places[wholly.id] == ("page", "planned: migration")
    assert places[others.id] == ("digest", "planned: holidays")
    assert places[beyond.id] == ("message", "")
    assert len(office.channel.messages) == 1


def _snooze(office: Office, variable: str | None, hours: int) -> None:
    office.labels.snooze(
        Snooze(office.group.name, variable, START, START + hours * HOUR, "Ann", "slack", START, "moving")
    )


def test_a_snooze_keeps_new_incidents_quiet_and_what_outlasts_it_is_told(office: Office) -> None:
    _snooze(office, "a", 30)
    snoozed, both, over = office.open("a"), office.open("ab", start=START + HOUR), office.open("a", resolved=True)
    office.tell(20 * HOUR)
    assert [len(i.variables) for i in office.channel.messages.values()] == [2]
    assert {i.id: i.place for i in office.store.incidents(office.group)} == {
        snoozed.id: "page",
        both.id: "message",
        over.id: "page",
    }
    office.tell(31 * HOUR)
    assert {i.id for i in office.channel.messages.values()} == {both.id, snoozed.id}


def test_a_snooze_silences_a_thread_but_not_its_end(office: Office) -> None:
    incident = office.open("a")
    office.tell(2 * HOUR)
    _snooze(office, None, 30)
    office.change(incident, "abcdefgh", severity="critical")
    report = office.tell(3 * HOUR)
    assert (report.edited, report.replied) == (1, 0)
    assert office.channel.remarks[-1].snooze is not None
    office.change(incident, resolved=True)
    office.tell(4 * HOUR)
    assert [r.news for r in office.replies()] == [News(resolved=True)]


def test_a_label_is_shown_by_the_message_once_it_is_given(office: Office) -> None:
    incident = office.open("a", resolved=True)
    office.tell()
    given = Label("orders", START, START + HOUR, ("a",), "false_alarm", "Ann", "slack", START, "moved", incident.id)
    office.labels.give(given)
    office.store.enqueue(incident.id or 0, "update")
    assert office.tell().edited == 1
    shown = office.channel.remarks[-1].label
    assert shown is not None
    assert (shown.word, shown.author, shown.reason) == ("false_alarm", "Ann", "moved")
    assert office.tell().edited == 0


def test_a_label_of_an_incident_without_a_message_posts_nothing(make_office: Callable[..., Office]) -> None:
    office = make_office({"routes": {"low": "page"}})
    incident = office.open("a")
    office.tell()
    office.store.enqueue(incident.id or 0, "update")
    office.tell()
    assert office.channel.messages == {}
    assert office.store.waiting(office.group) == 0


def test_what_a_model_thinks_little_of_goes_to_the_digest_unless_it_is_critical(office: Office) -> None:
    office.low_rank = "ranked 3 of 100"
    incident = office.open()
    office.tell()
    assert (office.found().place, office.found().place_reason) == ("digest", "ranked 3 of 100")
    office.change(incident, severity="critical")
    assert office.tell().posted == 1


def test_running_again_under_a_louder_policy_tells_nobody_of_last_week(make_office: Callable[..., Office]) -> None:
    quiet, loud = make_office({"routes": {"low": "page"}}), make_office()
    incident = quiet.open(resolved=True)
    quiet.tell()
    loud.change(incident, end=START + 3 * HOUR)
    assert loud.tell().posted == 0


# --- digests and weekly posts ---------------------------------------------------------------------------------------


def test_a_digest_lists_what_came_since_the_one_before_once_a_day(make_office: Callable[..., Office]) -> None:
    office = make_office({"routes": {"low": "digest"}, "digest": "08:00"})
    first = office.open("a")
    office.tell(5 * HOUR)
    worse = office.open("b", start=START + HOUR, severity="low", tail_probability=1e-12)
    office.tell(6 * HOUR)
    assert office.channel.digests == {}
    office.tell(8 * HOUR)
    late = office.open("c", start=START + 2 * HOUR)
    for hour in (9, 20, 31):
        office.tell(hour * HOUR)
    (digest,) = office.channel.digests.values()
    assert [i.id for i in digest.incidents] == [worse.id, first.id]
    office.tell(33 * HOUR)
    assert [i.id for i in list(office.channel.digests.values())[1].incidents] == [late.id]
    office.tell(60 * HOUR)
    assert len(office.channel.digests) == 2
    assert office.channel.messages == {}


def test_a_digest_is_posted_once_also_after_a_crash_and_when_slack_was_down(
    make_office: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    office = make_office({"routes": {"low": "digest"}})
    office.open()
    office.tell(HOUR)
    office.channel.down = SlackUnavailableError("down")
    with pytest.raises(SlackUnavailableError):
        office.tell(9 * HOUR)
    office.channel.down = None
    with monkeypatch.context() as dying:
        dying.setattr(office.posts, "delivered", _die)
        with pytest.raises(KeyboardInterrupt):
            office.tell(10 * HOUR)
    office.tell(11 * HOUR)
    office.tell(12 * HOUR)
    assert len(office.channel.digests) == 1
    assert office.store.waiting(office.group) == 0


@pytest.fixture
def judged(office: Office) -> Iterator[Office]:
    """Judged from Monday 5 January on, for 40 days."""
    monday = START + 4 * DAY
    history = TimeRange(START, monday, HOUR)
    office.store.save_fit(Fit("f", "orders", history, {}, 1, "promoted", "run", 1, monday))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(office.store, "predicted_until", lambda _: START + 44 * DAY)
        yield office


def test_the_weekly_post_sets_what_was_observed_against_the_promise(judged: Office) -> None:
    for day, names, word in ((5, "ab", "real"), (6, "a", "false_alarm"), (12, "a", None), (40, "c", None)):
        incident = judged.open(names, start=START + day * DAY, end=START + day * DAY + HOUR, resolved=True)
        if word:
            at = START + day * DAY
            judged.labels.give(
                Label("orders", at, at + HOUR, tuple(names), word, "Ann", "cli", at, "", incident.id)  # type: ignore[arg-type]
            )
    for _ in range(3):
        judged.tell(19 * DAY)
    (weekly,) = judged.channel.weeklies.values()
    assert weekly.promised == 1.0
    assert [(w.told, w.real, w.false_alarms, w.unlabelled) for w in weekly.weeks] == [(2, 1, 1, 0), (1, 0, 0, 1)]
    assert [(loud.name, loud.incidents, loud.false_alarms) for loud in weekly.loudest] == [("a", 3, 1)]


def test_there_is_one_weekly_post_for_each_week_that_was_judged(judged: Office) -> None:
    for day in (4, 10, 11, 12, 18, 24, 25, 29):
        judged.tell(day * DAY + 8 * HOUR)
        judged.tell(day * DAY + 10 * HOUR)
    mondays = [datetime.fromisoformat(f"2026-01-{day:02}T09:00+00:00") for day in (12, 19, 26)]
    assert [weekly.slot for weekly in judged.channel.weeklies.values()] == mondays
    assert [len(weekly.weeks) for weekly in judged.channel.weeklies.values()] == [1, 2, 3]


def test_running_old_ranges_again_posts_no_week(judged: Office) -> None:
    judged.tell(40 * DAY)
    assert len(judged.channel.weeklies) == 1
    judged.tell(40 * DAY + HOUR)
    assert len(judged.channel.weeklies) == 1


def test_a_group_may_want_no_weekly_posts(judged: Office) -> None:
    judged.group = judged.group.model_copy(update={"slack": judged.group.slack.model_copy(update={"weekly": None})})
    judged.tell(40 * DAY)
    assert judged.channel.weeklies == {}


def test_what_is_found_in_slack_is_equal_to_what_was_posted() -> None:
    assert Posted("C1", "1.0", None, found=True) == Posted("C1", "1.0", None)
