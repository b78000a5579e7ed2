"""The port `Channel`: what an incident becomes in Slack, and what happens when Slack does not go along."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from anomaly.adapters.messages import shortened
from anomaly.adapters.slack import PAUSES, PROCESSING_WAITS, SlackChannel
from anomaly.exceptions import MessageGoneError, SlackRejectedError, SlackUnavailableError
from anomaly.groups import Group
from anomaly.ports import Incident, Links, Posted
from tests.adapters.slack.pictures import png

if TYPE_CHECKING:
    from tests.adapters.slack.conftest import Preview

NO_LINKS = Links()
NOT_READY = {
    "ok": False,
    "error": "invalid_blocks",
    "errors": ["invalid slack file [json-pointer:/blocks/3/slack_file]"],
}
LIMITED = {"ok": False, "error": "ratelimited"}


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the channel wanted to wait."""
    return []


@pytest.fixture
def channel(preview: Preview, waits: list[float]) -> SlackChannel:
    return SlackChannel("xoxb-test", preview.api, wait=waits.append)


def told(incident: Incident, posted: Posted) -> Incident:
    """The incident as it is stored once its message is out."""
    return replace(incident, channel=posted.channel, slack_ts=posted.ts)


def words(message: dict[str, Any]) -> str:
    return json.dumps(message["blocks"], ensure_ascii=False)


def image(message: dict[str, Any]) -> str | None:
    """Id of the file that the message shows."""
    return next((str(b["slack_file"]["id"]) for b in message["blocks"] if b["type"] == "image"), None)


def test_an_incident_becomes_one_message_with_its_chart(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="incident-7")

    (message,) = preview.messages()
    assert message["ts"] == posted.ts
    assert [block["type"] for block in message["blocks"]] == ["header", "section", "section", "image", "context"]
    with urlopen(f"{preview.origin}/files/{image(message)}") as file:
        assert file.read() == png()


def test_the_message_says_what_when_how_much_how_rare_and_whose(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    links = Links(airflow_run="http://airflow/run?a=1&b=2", model="http://mlflow/#/models/anomaly.carriers")
    channel.post(group, incident, png=png(), links=links, key="k")

    (message,) = preview.messages()
    said = words(message)
    assert "carriers: 3 variables dropped" in said
    assert "8 Feb 2013 14:00 \N{EN DASH} 9 Feb 15:00 EST" in said
    assert "48 instead of 1,676 (\N{MINUS SIGN}97%)" in said
    assert "Once in 4.7 years" in said
    assert "`dep_delay.B6`  0 instead of 400 (\N{MINUS SIGN}100%), fell silent" in said
    assert "flight-data" in said
    assert "<http://airflow/run?a=1&amp;b=2|Airflow run>" in said
    assert "Data Docs" not in said
    assert "carriers: 3 variables dropped" in message["text"]


def test_the_permalink_leads_to_the_message(
    channel: SlackChannel, preview: Preview, group: Group, incident: Incident
) -> None:
    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")

    assert posted.permalink is not None
    with urlopen(posted.permalink) as page:
        assert f'id="p{posted.ts.replace(".", "")}"' in page.read().decode()


def test_the_same_key_again_finds_the_message_that_is_there(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    first = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")
    another_process = SlackChannel("xoxb-test", preview.api)

    assert another_process.post(group, incident, png=png(), links=NO_LINKS, key="k") == first
    assert len(preview.messages()) == 1


def test_a_message_whose_answer_was_lost_is_not_posted_twice(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    preview.fail("chat.postMessage", "<html>Bad gateway</html>", status=502, carried_out=True)
    with pytest.raises(SlackUnavailableError, match="HTTP 502"):
        channel.post(group, incident, png=png(), links=NO_LINKS, key="k")

    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")

    assert [message["ts"] for message in preview.messages()] == [posted.ts]


def test_the_message_is_found_again_behind_hundreds_of_others(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    first = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")
    for number in range(205):
        preview.call("chat.postMessage", channel="#alerts", text=f"talk {number}")

    assert channel.post(group, incident, png=png(), links=NO_LINKS, key="k") == first


def test_another_key_is_another_message(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    first = channel.post(group, incident, png=png(), links=NO_LINKS, key="k1")
    second = channel.post(group, incident, png=png(), links=NO_LINKS, key="k2")

    assert [message["ts"] for message in preview.messages()] == [second.ts, first.ts]


def test_an_update_edits_the_message_and_keeps_its_chart(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")
    (before,) = preview.messages()

    updated = channel.update(group, replace(told(incident, posted), resolved=True), links=NO_LINKS)

    (after,) = preview.messages()
    assert updated == posted
    assert "Ongoing, 25 h so far" in words(before)
    assert "Resolved after 25 h" in words(after)
    assert after["edited"]
    assert image(after) == image(before)


def test_a_withdrawn_incident_says_so(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")

    channel.update(group, replace(told(incident, posted), withdrawn=True), links=NO_LINKS)

    (message,) = preview.messages()
    assert "Withdrawn: late rows explain it, or it is part of another incident" in words(message)


def test_an_update_with_a_new_chart_shows_it_and_deletes_the_former(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")
    (before,) = preview.messages()
    channel.update(group, told(incident, posted), links=NO_LINKS, png=png(200))

    (message,) = preview.messages()
    with urlopen(f"{preview.origin}/files/{image(message)}") as file:
        assert file.read() == png(200)
    assert preview.call("files.info", file=image(before))["error"] == "file_not_found"


def test_an_edited_message_is_still_found_by_its_key(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")
    channel.update(group, told(incident, posted), links=NO_LINKS)

    assert channel.post(group, incident, png=png(), links=NO_LINKS, key="k") == posted


def test_it_waits_while_slack_processes_the_chart(
    preview: Preview, channel: SlackChannel, waits: list[float], group: Group, incident: Incident
) -> None:
    preview.fail("chat.postMessage", NOT_READY, times=2)

    channel.post(group, incident, png=png(), links=NO_LINKS, key="k")

    (message,) = preview.messages()
    assert image(message)
    assert waits == list(PROCESSING_WAITS[:2])


def test_a_chart_that_slack_never_finishes_does_not_hold_back_the_alert_and_comes_with_the_update(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    preview.fail("chat.postMessage", NOT_READY, times=len(PROCESSING_WAITS) + 1)

    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")
    (message,) = preview.messages()
    assert image(message) is None
    assert "still processing the chart" in words(message)

    channel.update(group, told(incident, posted), links=NO_LINKS)
    (message,) = preview.messages()
    assert image(message)


def test_a_rate_limit_is_waited_out(preview: Preview, channel: SlackChannel, group: Group, incident: Incident) -> None:
    preview.fail("chat.postMessage", LIMITED, status=429, headers={"Retry-After": "0"})

    channel.post(group, incident, png=png(), links=NO_LINKS, key="k")

    assert len(preview.messages()) == 1


def test_a_rate_limit_that_lasts_is_for_the_outbox(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    preview.fail("chat.postMessage", LIMITED, status=429, headers={"Retry-After": "0"}, times=PAUSES + 1)

    with pytest.raises(SlackUnavailableError, match="ratelimited"):
        channel.post(group, incident, png=png(), links=NO_LINKS, key="k")


@pytest.mark.parametrize(
    ("method", "status", "body"),
    [
        ("conversations.list", 503, "<html>Service unavailable</html>"),
        ("conversations.history", 500, {"ok": False, "error": "internal_error"}),
        ("files.getUploadURLExternal", 200, {"ok": False, "error": "fatal_error"}),
        ("chat.postMessage", 200, {"ok": False, "error": "service_unavailable"}),
    ],
)
def test_a_failure_of_slacks_own_is_worth_another_try(
    preview: Preview,
    channel: SlackChannel,
    group: Group,
    incident: Incident,
    method: str,
    status: int,
    body: dict[str, Any] | str,
) -> None:
    preview.call("chat.postMessage", channel="#alerts", text="so that the channel exists")
    preview.fail(method, body, status=status)

    with pytest.raises(SlackUnavailableError):
        channel.post(group, incident, png=png(), links=NO_LINKS, key="k")


def test_a_server_that_is_not_there_is_worth_another_try(group: Group, incident: Incident) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    channel = SlackChannel("xoxb-test", f"http://127.0.0.1:{port}/api/")

    with pytest.raises(SlackUnavailableError, match="base_url"):
        channel.post(group, incident, png=png(), links=NO_LINKS, key="k")


def test_a_server_that_does_not_answer_is_given_up_after_the_time_out(group: Group, incident: Incident) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        channel = SlackChannel("xoxb-test", f"http://127.0.0.1:{silent.getsockname()[1]}/api/", timeout=1)

        with pytest.raises(SlackUnavailableError, match="timed out"):
            channel.post(group, incident, png=png(), links=NO_LINKS, key="k")


def test_a_token_that_slack_does_not_know_is_refused_with_what_to_do(
    preview: Preview, group: Group, incident: Incident
) -> None:
    with pytest.raises(SlackRejectedError, match=r"invalid_auth.*password of the Slack connection"):
        SlackChannel("hunter2", preview.api).post(group, incident, png=png(), links=NO_LINKS, key="k")


def test_a_channel_that_does_not_exist_is_refused_with_what_to_do(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    elsewhere = group.model_copy(update={"slack": group.slack.model_copy(update={"channel": "C0000000000"})})

    with pytest.raises(SlackRejectedError, match=r"C0000000000.*channel_not_found.*slack\.channel"):
        channel.post(elsewhere, incident, png=png(), links=NO_LINKS, key="k")


def test_a_missing_scope_is_named(preview: Preview, channel: SlackChannel, group: Group, incident: Incident) -> None:
    refusal = {"ok": False, "error": "missing_scope", "needed": "files:write", "provided": "chat:write"}
    preview.fail("files.getUploadURLExternal", refusal)

    with pytest.raises(SlackRejectedError, match="needed: files:write"):
        channel.post(group, incident, png=png(), links=NO_LINKS, key="k")


def test_blocks_that_slack_refuses_are_named_with_their_place(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    refusal = {"ok": False, "error": "invalid_blocks", "errors": ["must be less than 151 characters [/blocks/0]"]}
    preview.fail("chat.postMessage", refusal)

    with pytest.raises(SlackRejectedError, match="less than 151 characters"):
        channel.post(group, incident, png=png(), links=NO_LINKS, key="k")


@pytest.mark.parametrize("when", ["before", "while it is edited"])
def test_a_message_that_somebody_deleted_cannot_be_edited(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident, when: str
) -> None:
    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")
    if when == "while it is edited":
        preview.fail("chat.update", {"ok": False, "error": "message_not_found"})
    else:
        preview.call("chat.delete", channel=posted.channel, ts=posted.ts)

    with pytest.raises(MessageGoneError, match="post it anew"):
        channel.update(group, told(incident, posted), links=NO_LINKS)


def test_an_incident_without_a_message_cannot_be_edited(
    channel: SlackChannel, group: Group, incident: Incident
) -> None:
    with pytest.raises(SlackRejectedError, match="post it first"):
        channel.update(group, incident, links=NO_LINKS)


def test_a_message_stands_even_if_its_permalink_fails(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    preview.fail("chat.getPermalink", {}, status=500)

    posted = channel.post(group, incident, png=png(), links=NO_LINKS, key="k")

    assert posted.permalink is None
    assert len(preview.messages()) == 1


@pytest.mark.parametrize(
    "name",
    [
        "<!channel> & <@U123>",
        "`*b* _i_ ~s~ :red_circle:`",
        "quotes \" ' and \\ back",
        "🔥 漢字",
        "new\nline\ttab",
        "x" * 500,
        "&" * 500,
        " ",
    ],
)
def test_any_variable_name_gets_through_and_is_shown_as_written(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident, name: str
) -> None:
    first, second, _ = incident.variables
    for parts in ((replace(first, variable=name),), (replace(first, variable=name), second)):
        strange = replace(incident, variables=parts)
        channel.post(group, strange, png=png(), links=NO_LINKS, key=f"{len(parts)}")

    with urlopen(f"{preview.origin}/channels/alerts") as page:
        shown = unescape(page.read().decode())
    assert f"<code>{shortened(name, 80).replace('`', chr(39))}</code>" in shown
    for message in preview.messages():
        marked_up = [block for block in message["blocks"] if block["type"] != "image"]
        assert not re.search("<[!@]", json.dumps([message["text"], marked_up]))


def test_a_thousand_variables_fit_into_one_message(
    preview: Preview, channel: SlackChannel, group: Group, incident: Incident
) -> None:
    many = tuple(replace(incident.variables[0], variable=f"variable.{n}.{'<' * 60}") for n in range(1000))

    channel.post(group, replace(incident, variables=many), png=png(), links=NO_LINKS, key="k")

    (message,) = preview.messages()
    assert "1000 variables dropped" in words(message)
    assert "and 992 more" in words(message)
