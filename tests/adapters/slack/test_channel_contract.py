"""The contract of the port `Channel`: the same for the real adapter, on the preview, and for the stages' fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from anomaly.adapters.slack import SlackChannel
from anomaly.exceptions import MessageGoneError
from anomaly.groups import Group
from anomaly.ports import Channel, Incident, Links, Posted
from anomaly.ports.posts import Digest, News, Weekly, WeekTold
from tests.adapters.slack.pictures import png
from tests.fakes import RecordedChannel

if TYPE_CHECKING:
    from tests.adapters.slack.conftest import Preview


@dataclass(frozen=True)
class Reached:
    """A channel, with the eyes and hands of somebody who is in it."""

    port: Channel
    count: Callable[[], int]
    """Messages that are there."""
    delete: Callable[[Posted], Any]


@pytest.fixture(params=["Slack", "fake"])
def reached(request: pytest.FixtureRequest) -> Reached:
    if request.param == "fake":
        fake = RecordedChannel()
        return Reached(fake, lambda: len(fake.posted), lambda posted: fake.delete(posted.ts))
    preview: Preview = request.getfixturevalue("preview")
    return Reached(
        SlackChannel("xoxb-test", preview.api),
        lambda: len(preview.messages()),
        lambda posted: preview.call("chat.delete", channel=posted.channel, ts=posted.ts),
    )


def told(incident: Incident, posted: Posted) -> Incident:
    return replace(incident, channel=posted.channel, slack_ts=posted.ts)


def test_a_post_says_where_it_is(reached: Reached, group: Group, incident: Incident) -> None:
    posted = reached.port.post(group, incident, png=png(), links=Links(), key="k")

    assert reached.count() == 1
    assert posted.channel
    assert posted.ts
    assert (posted.permalink or "").startswith("http")


def test_what_was_sent_is_given_back_in_words(reached: Reached, group: Group, incident: Incident) -> None:
    posted = reached.port.post(group, incident, png=png(), links=Links(), key="k")
    there = told(incident, posted)
    edited = reached.port.update(group, replace(there, resolved=True), links=Links())
    replied = reached.port.reply(group, there, News(resolved=True), key="r")
    pointed = reached.port.point(group, there, channel="#alerts", links=Links(), key="p")

    assert len({done.words for done in (posted, edited, replied, pointed)} - {""}) == 4


def test_the_same_key_again_finds_the_message_and_another_key_makes_another(
    reached: Reached, group: Group, incident: Incident
) -> None:
    first = reached.port.post(group, incident, png=png(), links=Links(), key="k")

    assert reached.port.post(group, incident, png=png(), links=Links(), key="k") == first
    assert reached.count() == 1
    assert reached.port.post(group, incident, png=png(), links=Links(), key="another").ts != first.ts
    assert reached.count() == 2


@pytest.mark.parametrize("chart", [None, png(7)], ids=["with the same chart", "with a new chart"])
def test_an_update_edits_in_place(reached: Reached, group: Group, incident: Incident, chart: bytes | None) -> None:
    posted = reached.port.post(group, incident, png=png(), links=Links(), key="k")

    edited = reached.port.update(group, replace(told(incident, posted), resolved=True), links=Links(), png=chart)

    assert (edited.channel, edited.ts) == (posted.channel, posted.ts)
    assert reached.count() == 1


def test_a_reply_of_the_same_key_is_found_and_says_so(reached: Reached, group: Group, incident: Incident) -> None:
    posted = reached.port.post(group, incident, png=png(), links=Links(), key="k")
    first = reached.port.reply(group, told(incident, posted), News(resolved=True), key="r")
    again = reached.port.reply(group, told(incident, posted), News(resolved=True), key="r")
    assert (first.found, again.found) == (False, True)
    assert again == first


def test_posts_about_a_group_are_once_each(reached: Reached, group: Group, incident: Incident) -> None:
    week = WeekTold(incident.start, 1, 0, 0, 0, 0, 0)
    for _ in range(2):
        reached.port.digest(group, Digest(incident.end, (incident,)), links=Links(), key="d")
        reached.port.weekly(group, Weekly(incident.end, 1.0, (week,), ()), links=Links(), key="w")
        reached.port.point(group, incident, channel=group.slack.channel, links=Links(), key="p")
    assert reached.count() == 3


def test_a_reply_to_a_message_that_is_gone_is_refused(reached: Reached, group: Group, incident: Incident) -> None:
    posted = reached.port.post(group, incident, png=png(), links=Links(), key="k")
    reached.delete(posted)
    with pytest.raises(MessageGoneError):
        reached.port.reply(group, told(incident, posted), News(resolved=True), key="r")


def test_a_message_that_somebody_deleted_is_gone_and_its_key_is_free_again(
    reached: Reached, group: Group, incident: Incident
) -> None:
    posted = reached.port.post(group, incident, png=png(), links=Links(), key="k")
    reached.delete(posted)

    with pytest.raises(MessageGoneError):
        reached.port.update(group, told(incident, posted), links=Links())
    anew = reached.port.post(group, incident, png=png(), links=Links(), key="k")
    assert anew.ts != posted.ts
    assert reached.port.update(group, told(incident, anew), links=Links()).ts == anew.ts
