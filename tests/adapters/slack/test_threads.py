"""Threads, other channels, digests and weekly posts in Slack: once each, within its limits, and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from anomaly.adapters.slack import LONGEST_PAUSE, PAUSES, SlackChannel
from anomaly.exceptions import MessageGoneError, SlackRejectedError, SlackUnavailableError
from anomaly.groups import Group
from anomaly.ports import Incident, Links, Posted
from anomaly.ports.labels import Label, LabelWord, Snooze
from anomaly.ports.posts import Digest, LoudVariable, News, Remarks, Weekly, WeekTold
from tests.adapters.slack.pictures import png

if TYPE_CHECKING:
    from tests.adapters.slack.conftest import Preview

LINKS = Links(review="http://airflow/anomaly")
SLOT = datetime(2013, 2, 11, 14, tzinfo=UTC)
LIMITED = {"ok": False, "error": "ratelimited"}


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def channel(preview: Preview, waits: list[float]) -> SlackChannel:
    return SlackChannel("xoxb-test", preview.api, wait=waits.append)


@pytest.fixture
def told(channel: SlackChannel, group: Group, incident: Incident) -> Incident:
    """The incident, with its message in Slack."""
    posted = channel.post(group, incident, png=png(), links=LINKS, key="first")
    return replace(incident, channel=posted.channel, slack_ts=posted.ts, permalink=posted.permalink)


def thread(preview: Preview, incident: Incident) -> list[dict[str, Any]]:
    """The replies."""
    found: list[dict[str, Any]] = preview.call(
        "conversations.replies", channel=incident.channel, ts=incident.slack_ts, include_all_metadata=True
    )["messages"]
    return found[1:]


def words(message: dict[str, Any]) -> str:
    return json.dumps(message["blocks"], ensure_ascii=False)


def test_a_reply_is_in_the_thread_and_not_in_the_channel(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident
) -> None:
    channel.reply(group, told, News(joined=told.variables[1:]), key="r")

    (reply,) = thread(preview, told)
    assert "2 more variables, 3 by now" in words(reply)
    assert "`arr_delay.UA`  36 instead of 618" in words(reply)
    assert len(preview.messages()) == 1


def test_a_notice_is_in_both(preview: Preview, channel: SlackChannel, group: Group, told: Incident) -> None:
    worse = replace(told, severity="critical")
    channel.reply(group, worse, News(severity_before="low", rarer=True), key="r", broadcast=True)

    (reply,) = thread(preview, told)
    assert "carriers: Low \N{RIGHTWARDS ARROW} critical" in words(reply)
    assert "once in 4.7 years" in words(reply)
    assert [m["ts"] for m in preview.messages()] == [reply["ts"], told.slack_ts]


@pytest.mark.parametrize(
    ("news", "said"),
    [
        (News(resolved=True), "Resolved after 25 h"),
        (News(withdrawn=True), "Late rows explain it"),
        (News(reopened=True), "It goes on after all"),
    ],
)
def test_the_end_of_an_incident_is_said(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident, news: News, said: str
) -> None:
    channel.reply(group, told, news, key="r")
    assert said in words(thread(preview, told)[0])


def test_a_reply_is_once_in_its_thread_also_when_its_answer_was_lost(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident
) -> None:
    preview.fail("chat.postMessage", "<html>Bad gateway</html>", status=502, carried_out=True)
    with pytest.raises(SlackUnavailableError, match="HTTP 502"):
        channel.reply(group, told, News(resolved=True), key="r")
    for number in range(210):
        text = {"channel": told.channel, "thread_ts": told.slack_ts, "text": f"talk {number}"}
        preview.call("chat.postMessage", **text)

    found = SlackChannel("xoxb-test", preview.api).reply(group, told, News(resolved=True), key="r")

    ours = [m["ts"] for m in thread(preview, told) if "metadata" in m]
    assert ours == [found.ts]
    assert found.found


def test_another_incident_s_reply_of_the_same_key_is_not_taken_for_ours(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident, told: Incident
) -> None:
    other = channel.post(group, incident, png=png(), links=LINKS, key="second")
    channel.reply(group, told, News(resolved=True), key="r")
    elsewhere = replace(told, slack_ts=other.ts)
    channel.reply(group, elsewhere, News(resolved=True), key="r")
    assert len(thread(preview, told)) == len(thread(preview, elsewhere)) == 1


@pytest.mark.parametrize("replies", [0, 1])
def test_a_thread_whose_message_was_deleted_is_gone(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident, replies: int
) -> None:
    for number in range(replies):
        channel.reply(group, told, News(reopened=True), key=f"{number}")
    preview.call("chat.delete", channel=told.channel, ts=told.slack_ts)

    with pytest.raises(MessageGoneError, match="post it anew"):
        channel.reply(group, told, News(resolved=True), key="r")
    with pytest.raises(MessageGoneError):
        channel.update(group, told, links=LINKS)
    assert not channel.post(group, told, png=png(), links=LINKS, key="first").found


def test_an_incident_without_a_message_has_no_thread(channel: SlackChannel, group: Group, incident: Incident) -> None:
    with pytest.raises(SlackRejectedError, match="post it first"):
        channel.reply(group, incident, News(resolved=True), key="r")


def test_another_channel_is_led_to_the_thread_once(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident
) -> None:
    worse = replace(told, severity="critical")
    for _ in range(2):
        channel.point(group, worse, channel="#oncall", links=LINKS, key="p")
    (pointer,) = preview.messages("#oncall")
    assert f"<{told.permalink}|the thread>" in words(pointer)
    assert "Critical: carriers: 3 variables dropped" in words(pointer)


def test_an_incident_may_be_told_in_another_channel_than_its_group_s(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    posted = channel.post(group, incident, png=png(), links=LINKS, key="k", channel="#oncall")
    assert [m["ts"] for m in preview.messages("#oncall")] == [posted.ts]
    channel.update(group, replace(incident, channel=posted.channel, slack_ts=posted.ts, resolved=True), links=LINKS)
    assert "Resolved after 25 h" in words(preview.messages("#oncall")[0])


# --- what people say --------------------------------------------------------------------------------------------


def _label(word: LabelWord, reason: str = "") -> Label:
    return Label("carriers", SLOT, SLOT + timedelta(hours=1), ("a",), word, "Ann <!here>", "slack", SLOT, reason, 7)


def test_a_message_says_what_people_said_of_it_and_nothing_of_it_is_markup(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident
) -> None:
    snooze = Snooze("carriers", None, SLOT, SLOT + timedelta(hours=2), "Bob", "page", SLOT, "moving")
    remarks = Remarks(_label("false_alarm", "*moved* <!channel>"), snooze)
    channel.update(group, told, links=LINKS, remarks=remarks)
    (message,) = preview.messages()
    said = [b["text"] for b in message["blocks"] if b["type"] == "section" and "text" in b]
    label = "Labelled false alarm by Ann &lt;!here&gt;: *moved* &lt;!channel&gt;"
    assert {"type": "plain_text", "text": f":label: {label}", "emoji": True} in said
    assert "Snoozed by Bob until 11 Feb 2013 11:00: moving" in words(message)


@pytest.mark.parametrize(
    ("clicks", "wanted", "there"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_buttons_are_there_where_clicks_arrive_and_the_group_wants_them(
    preview: Preview,
    make_group: Callable[..., Group],
    incident: Incident,
    clicks: object,
    wanted: object,
    there: object,
) -> None:
    group = make_group(name="carriers", slack={"channel": "#alerts", "buttons": wanted})
    SlackChannel("xoxb-test", preview.api, buttons=bool(clicks)).post(group, incident, png=png(), links=LINKS, key="k")
    (message,) = preview.messages()
    found = [e for b in message["blocks"] if b["type"] == "actions" for e in b["elements"]]
    assert bool(found) is there
    if there:
        assert [e["action_id"] for e in found] == ["label:real", "label:false_alarm", "label:expected", "snooze"]
        assert {e["value"] for e in found} == {"7"}


def test_a_message_leads_to_the_review_page(preview: Preview, told: Incident) -> None:
    assert told.id == 7
    assert "<http://airflow/anomaly/incidents/7|Review>" in words(preview.messages()[0])


# --- about the group ----------------------------------------------------------------------------------------------


def _weekly(*weeks: tuple[int, int, int, int, int, int], loudest: tuple[LoudVariable, ...] = ()) -> Weekly:
    monday = datetime(2012, 12, 31, 5, tzinfo=UTC)
    made = tuple(WeekTold(monday + timedelta(weeks=n), *numbers) for n, numbers in enumerate(weeks))
    return Weekly(SLOT, 1.0, made, loudest)


def test_a_digest_lists_incidents_with_their_place_and_is_posted_once(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    planned = replace(incident, place_reason="planned: <month-end>", severity="high")
    for _ in range(2):
        channel.digest(group, Digest(SLOT, (planned, replace(incident, id=8))), links=LINKS, key="d")
    (message,) = preview.messages()
    assert "carriers: 2 incidents in the digest of 11 Feb 2013" in words(message)
    assert "<http://airflow/anomaly/incidents/8|carriers: 3 variables dropped>" in words(message)
    assert "ongoing, 25 h so far; planned: &lt;month-end&gt;" in words(message)


def test_hundreds_of_incidents_fit_into_one_digest(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    long = replace(incident, variables=(replace(incident.variables[0], variable="&" * 300),))
    channel.digest(group, Digest(SLOT, (long,) * 300), links=LINKS, key="d")
    assert "and 270 more" in words(preview.messages()[0])


def test_a_weekly_post_says_what_was_promised_and_observed(
    preview: Preview, channel: SlackChannel, group: Group
) -> None:
    loudest = (LoudVariable("a`b", 6, 3), LoudVariable("c", 2, 0))
    weekly = _weekly((2, 0, 0, 1, 1, 0), (4, 1, 1, 3, 0, 0), loudest=loudest)
    for _ in range(2):
        channel.weekly(group, weekly, links=LINKS, key="w")
    (message,) = preview.messages()
    said = words(message)
    assert "carriers: promised against observed, week of 7 Jan 2013" in said
    assert "*Promised:* at most 1 false alert a week" in said
    assert "*Observed:* 6 incidents told in 2 weeks; 0.5 false a week by their labels, 1 if all that" in said
    assert "the promise was kept" in said
    assert "`a'b`  6 incidents, 3 of them false alarms" in said
    assert "Nobody has labelled 1 incident of these weeks. <http://airflow/anomaly/groups/carriers|Review them>" in said
    assert message["text"].startswith("carriers: the week of 7 Jan 2013: 4 incidents told; at most 1 false")


@pytest.mark.parametrize(
    ("false", "unlabelled", "said"),
    [
        (1, 0, "1 false a week by their labels: the promise was kept"),
        (0, 3, "0 false a week by their labels, 3 if all that nobody has labelled are: labels will tell"),
        (2, 0, "2 false a week by their labels: more than promised"),
    ],
)
def test_whether_a_promise_was_kept_is_said_as_far_as_labels_tell(
    preview: Preview, channel: SlackChannel, group: Group, false: int, unlabelled: int, said: str
) -> None:
    channel.weekly(group, _weekly((false + unlabelled + 1, 0, 0, 1, false, 0)), links=LINKS, key="w")
    assert said in words(preview.messages()[0])


def test_silent_weeks_are_said_to_be_and_have_no_table(preview: Preview, channel: SlackChannel, group: Group) -> None:
    channel.weekly(group, _weekly((0, 0, 0, 0, 0, 0)), links=LINKS, key="w")
    said = words(preview.messages()[0])
    assert "*Observed:* nothing was told last week" in said
    assert "week of  told" not in said


# --- rate limits --------------------------------------------------------------------------------------------------


EVERYTHING: dict[str, Callable[[SlackChannel, Group, Incident], Posted]] = {
    "conversations.list": lambda c, g, i: c.point(g, i, channel="#alerts", links=LINKS, key="x"),
    "conversations.history": lambda c, g, i: c.point(g, i, channel="#alerts", links=LINKS, key="x"),
    "conversations.replies": lambda c, g, i: c.reply(g, i, News(resolved=True), key="x"),
    "chat.postMessage": lambda c, g, i: c.reply(g, i, News(resolved=True), key="x"),
    "chat.update": lambda c, g, i: c.update(g, i, links=LINKS),
    "chat.getPermalink": lambda c, g, i: c.update(g, i, links=LINKS),
    "files.getUploadURLExternal": lambda c, g, i: c.update(g, i, links=LINKS, png=png(9)),
    "files.completeUploadExternal": lambda c, g, i: c.update(g, i, links=LINKS, png=png(9)),
    "files.delete": lambda c, g, i: c.update(g, i, links=LINKS, png=png(9)),
}


@pytest.mark.parametrize("method", EVERYTHING)
def test_a_short_rate_limit_of_any_method_is_waited_out(
    preview: Preview, group: Group, told: Incident, waits: list[float], method: str
) -> None:
    preview.fail(method, LIMITED, status=429, headers={"Retry-After": "7"}, times=2)
    fresh = SlackChannel("xoxb-test", preview.api, wait=waits.append)
    EVERYTHING[method](fresh, group, told)
    assert waits == [7.0, 7.0]


def test_a_rate_limit_of_the_upload_itself_is_waited_out(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident, waits: list[float]
) -> None:
    preview.fail_path("/upload/v1/", "slow down", status=429, headers={"Retry-After": "3"})
    channel.update(group, told, links=LINKS, png=png(9))
    assert waits == [3.0]


def test_a_long_rate_limit_is_for_the_outbox_which_learns_how_long(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident, waits: list[float]
) -> None:
    preview.fail("chat.postMessage", LIMITED, status=429, headers={"Retry-After": str(LONGEST_PAUSE + 1)})
    with pytest.raises(SlackUnavailableError, match="ratelimited") as caught:
        channel.reply(group, told, News(resolved=True), key="r")
    assert caught.value.retry_after == timedelta(seconds=LONGEST_PAUSE + 1)
    assert waits == []


def test_rate_limits_without_end_are_for_the_outbox(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident, waits: list[float]
) -> None:
    preview.fail("chat.postMessage", LIMITED, status=429, times=PAUSES + 1)
    with pytest.raises(SlackUnavailableError):
        channel.reply(group, told, News(resolved=True), key="r")
    assert waits == [1.0] * PAUSES


def test_a_channel_is_read_once_for_many_messages(
    preview: Preview, channel: SlackChannel, group: Group, told: Incident
) -> None:
    for number in range(5):
        channel.post(group, told, png=png(), links=LINKS, key=f"{number}")
    assert preview.transport.calls.count("conversations.history") == 1
    assert preview.transport.calls.count("conversations.list") == 1


def test_what_a_reply_said_is_given_back_in_plain_words(channel: SlackChannel, group: Group, told: Incident) -> None:
    joined = replace(told.variables[0], variable="a<b", observed=312, expected=420, test="single", stretch=None)
    grown = channel.reply(group, told, News(joined=(joined,), rarer=True), key="k1").words
    assert grown.startswith("1 more variable, 3 by now; a<b 312 instead of 420 (\N{MINUS SIGN}26%); the worst interval")
    over = replace(told, resolved=True)
    ended = channel.reply(group, over, News(resolved=True), key="k2").words
    assert ended.startswith("Resolved after ")
    assert ended.endswith("3 variables, low at the end")
