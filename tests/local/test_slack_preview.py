"""The Slack preview: Slack's answers and limits, what survives a restart, and a page that is safe to look at."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk import WebClient
from starlette.testclient import TestClient

from anomaly.local.slack_preview import create_app
from anomaly.local.slack_preview.rendering import mrkdwn, plain_text

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
AUTHORISED = {"Authorization": "Bearer xoxb-test"}


class Preview:
    """A preview on a folder, called as `slack_sdk` would."""

    def __init__(self, folder: Path, data_docs: Path | None = None) -> None:
        self.http = TestClient(create_app(folder, data_docs=data_docs), base_url="http://127.0.0.1:1234")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.http.post(f"/api/{method}", json=arguments, headers=AUTHORISED).json()
        return found

    def post(self, text: str = "hello", channel: str = "#alerts", **more: Any) -> dict[str, Any]:
        return self.call("chat.postMessage", channel=channel, text=text, **more)

    def upload(self, content: bytes = PNG) -> str:
        """An image that may be shown; returns its id."""
        announced = self.call("files.getUploadURLExternal", filename="chart.png", length=len(content))
        assert self.http.post(announced["upload_url"], content=content).status_code == 200
        completed = self.call("files.completeUploadExternal", files=[{"id": announced["file_id"], "title": "Chart"}])
        assert completed["ok"]
        return str(announced["file_id"])

    def page(self, channel: str = "alerts") -> str:
        return str(self.http.get(f"/channels/{channel}").text)


@pytest.fixture
def preview(tmp_path: Path) -> Preview:
    return Preview(tmp_path)


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def test_a_message_comes_back_from_the_history_newest_first(preview: Preview) -> None:
    first, second = preview.post("one"), preview.post("two")

    history = preview.call("conversations.history", channel=first["channel"])
    assert [(m["ts"], m["text"]) for m in history["messages"]] == [(second["ts"], "two"), (first["ts"], "one")]


def test_metadata_is_told_only_when_asked_for(preview: Preview) -> None:
    preview.post(metadata={"event_type": "e", "event_payload": {"key": "k"}})

    (without,) = preview.call("conversations.history", channel="#alerts")["messages"]
    (with_it,) = preview.call("conversations.history", channel="#alerts", include_all_metadata=True)["messages"]
    assert "metadata" not in without
    assert with_it["metadata"]["event_payload"] == {"key": "k"}


def test_history_comes_in_pages(preview: Preview) -> None:
    sent = [preview.post(f"{n}")["ts"] for n in range(5)]

    found: list[str] = []
    cursor = ""
    while True:
        page = preview.call("conversations.history", channel="#alerts", limit=2, cursor=cursor)
        found += [m["ts"] for m in page["messages"]]
        cursor = page["response_metadata"]["next_cursor"]
        if not cursor:
            break
    assert found == sent[::-1]


def test_one_message_can_be_asked_for_by_its_ts(preview: Preview) -> None:
    preview.post("before")
    ts = preview.post("this")["ts"]
    preview.post("after")

    found = preview.call("conversations.history", channel="#alerts", oldest=ts, latest=ts, inclusive=True, limit=1)
    assert [m["text"] for m in found["messages"]] == ["this"]


def test_an_update_replaces_the_text_and_marks_the_message(preview: Preview) -> None:
    posted = preview.post("old", metadata={"event_type": "e", "event_payload": {"key": "k"}})

    assert preview.call("chat.update", channel=posted["channel"], ts=posted["ts"], text="new")["ok"]

    (message,) = preview.call("conversations.history", channel="#alerts", include_all_metadata=True)["messages"]
    assert message["text"] == "new"
    assert message["metadata"]["event_payload"] == {"key": "k"}
    assert "(edited)" in preview.page()


def test_a_deleted_message_is_gone_also_after_a_restart(tmp_path: Path, preview: Preview) -> None:
    kept, posted = preview.post("kept"), preview.post("deleted")
    where = {"channel": posted["channel"], "ts": posted["ts"]}

    assert preview.call("chat.delete", **where) == {"ok": True, **where}
    assert preview.call("chat.delete", **where)["error"] == "message_not_found"
    for shown in (preview, Preview(tmp_path)):
        history = shown.call("conversations.history", channel="#alerts")
        assert [message["ts"] for message in history["messages"]] == [kept["ts"]]


def test_everything_survives_a_restart(tmp_path: Path, preview: Preview) -> None:
    file = preview.upload()
    image = {"type": "image", "slack_file": {"id": file}, "alt_text": "a chart"}
    preview.post("hello", blocks=[section("*bold*"), image])
    before = preview.page()

    again = Preview(tmp_path)

    assert again.page() == before
    assert again.http.get(f"/files/{file}").content == PNG


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("chat.update", {"channel": "#alerts", "ts": "1.000000", "text": "x"}, "message_not_found"),
        ("chat.getPermalink", {"channel": "#alerts", "message_ts": "1.000000"}, "message_not_found"),
        ("chat.postMessage", {"channel": "C0000000000", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": "#Not A Channel", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": "#alerts"}, "no_text"),
        ("chat.postMessage", {"channel": "#alerts", "text": "x" * 40_001}, "msg_too_long"),
        ("chat.postMessage", {"text": "x"}, "invalid_arguments"),
        ("chat.postMessage", {"channel": "#alerts", "text": "x", "thread_ts": "1.000000"}, "thread_not_found"),
        ("chat.postMessage", {"channel": "#alerts", "text": "x", "metadata": {"key": 1}}, "invalid_metadata_format"),
        ("chat.postMessage", {"channel": "#alerts", "blocks": "[{"}, "invalid_blocks_format"),
        ("conversations.history", {"channel": "#elsewhere"}, "channel_not_found"),
        ("conversations.history", {"channel": "#alerts", "limit": 5000}, "invalid_limit"),
        ("files.info", {"file": "F0000000000"}, "file_not_found"),
        ("files.completeUploadExternal", {"files": [{"id": "F0000000000"}]}, "file_not_found"),
        ("chat.explode", {}, "unknown_method"),
    ],
)
def test_wrong_input_gets_slacks_own_error(
    preview: Preview, method: str, arguments: dict[str, Any], error: str
) -> None:
    preview.post()

    answer = preview.call(method, **arguments)
    assert (answer["ok"], answer["error"]) == (False, error)


@pytest.mark.parametrize(("headers", "error"), [({}, "not_authed"), ({"Authorization": "Bearer abc"}, "invalid_auth")])
def test_a_call_needs_something_like_a_token(preview: Preview, headers: dict[str, str], error: str) -> None:
    assert preview.http.post("/api/auth.test", headers=headers).json()["error"] == error


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ({"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}, "less than 151 characters"),
        ({"type": "header", "text": {"type": "mrkdwn", "text": "x"}}, "must be one of: plain_text"),
        (section("x" * 3001), "less than 3001 characters"),
        (section(""), "more than 0 characters"),
        ({"type": "section"}, "missing required field"),
        ({"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}, "no more than 10 items"),
        ({"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}, "less than 2001 characters"),
        ({"type": "section", "text": "plain"}, "a text object"),
        ({**section("x"), "colour": "red"}, "invalid additional property: colour"),
        ({"type": "context", "elements": []}, "between 1 and 10 items"),
        ({"type": "image", "alt_text": "x"}, "exactly one of image_url and slack_file"),
        ({"type": "image", "image_url": "https://x/y.png"}, "alt_text"),
        ({"type": "image", "image_url": "javascript:alert(1)", "alt_text": "x"}, "invalid url"),
        ({"type": "image", "slack_file": {"id": "F0000000000"}, "alt_text": "x"}, "invalid slack file"),
        ({"type": "actions", "elements": [{"type": "button"}]}, "a text object"),
        ({"type": "marquee"}, "unsupported type: marquee"),
        ("text", "unsupported type: None"),
    ],
)
def test_blocks_that_slack_refuses_are_refused_with_their_place(preview: Preview, block: Any, complaint: str) -> None:
    answer = preview.post(blocks=[{"type": "divider"}, block])

    assert answer["error"] == "invalid_blocks"
    assert any(complaint in problem and "/blocks/1" in problem for problem in answer["errors"])
    assert preview.call("conversations.history", channel="#alerts").get("messages", []) == []


def test_fifty_blocks_are_the_most(preview: Preview) -> None:
    assert preview.post(blocks=[{"type": "divider"}] * 50)["ok"]
    assert preview.post(blocks=[{"type": "divider"}] * 51)["error"] == "invalid_blocks"


def test_a_file_that_is_not_an_image_cannot_be_shown(preview: Preview) -> None:
    file = preview.upload(b"<svg onload=alert(1)>")

    answer = preview.post(blocks=[{"type": "image", "slack_file": {"id": file}, "alt_text": "x"}])
    assert "invalid slack file" in answer["errors"][0]
    assert preview.http.get(f"/files/{file}").headers["content-type"] == "application/octet-stream"


def test_an_upload_of_another_length_than_announced_is_refused(preview: Preview) -> None:
    announced = preview.call("files.getUploadURLExternal", filename="a.png", length=10)

    assert preview.http.post(announced["upload_url"], content=PNG).status_code == 400
    assert preview.call("files.completeUploadExternal", files=[{"id": announced["file_id"]}])["ok"] is False


def test_the_page_renders_every_block(preview: Preview) -> None:
    file = preview.upload()
    preview.post(
        blocks=[
            {"type": "header", "text": {"type": "plain_text", "text": "A header"}},
            {
                **section("with *bold* & `code`"),
                "accessory": {"type": "image", "slack_file": {"id": file}, "alt_text": "small"},
            },
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "a field"}]},
            {"type": "divider"},
            {
                "type": "image",
                "slack_file": {"id": file},
                "alt_text": "large",
                "title": {"type": "plain_text", "text": "titled"},
            },
            {"type": "context", "elements": [{"type": "mrkdwn", "text": "<https://a.example/?b=1&amp;c=2|a link>"}]},
            {
                "type": "actions",
                "elements": [
                    {"type": "button", "text": {"type": "plain_text", "text": "Look"}, "url": "https://b.example"}
                ],
            },
        ]
    )

    page = preview.page()
    for expected in (
        "<h3>A header</h3>",
        "with <b>bold</b> &amp; <code>code</code>",
        "a field",
        "<hr>",
        f'<img src="/files/{file}" alt="large"',
        "titled",
        '<a href="https://a.example/?b=1&amp;c=2" target="_blank" rel="noopener noreferrer">a link</a>',
        'href="https://b.example"',
    ):
        assert expected in page


def test_a_reply_is_shown_under_its_message_and_not_in_the_history(preview: Preview) -> None:
    parent = preview.post("the parent")
    preview.post("the reply", thread_ts=parent["ts"])

    assert [m["text"] for m in preview.call("conversations.history", channel="#alerts")["messages"]] == ["the parent"]
    assert "the reply" in preview.page()


def test_a_thread_is_its_first_message_and_its_replies_in_pages(preview: Preview) -> None:
    parent = preview.post("the parent")
    sent = [preview.post(f"{n}", thread_ts=parent["ts"])["ts"] for n in range(4)]

    found: list[str] = []
    cursor = ""
    while True:
        page = preview.call("conversations.replies", channel="#alerts", ts=parent["ts"], limit=2, cursor=cursor)
        found += [m["ts"] for m in page["messages"]]
        cursor = page["response_metadata"]["next_cursor"]
        if not cursor:
            break
    assert found == [parent["ts"], *sent]
    (shown,) = preview.call("conversations.history", channel="#alerts")["messages"]
    assert (shown["reply_count"], shown["latest_reply"], shown["thread_ts"]) == (4, sent[-1], parent["ts"])
    assert preview.call("conversations.replies", channel="#alerts", ts="1.0")["error"] == "thread_not_found"


def test_a_broadcast_reply_is_in_the_thread_and_in_the_channel(preview: Preview) -> None:
    parent = preview.post("the parent")
    reply = preview.post("worse", thread_ts=parent["ts"], reply_broadcast=True)

    in_channel = preview.call("conversations.history", channel="#alerts")["messages"]
    in_thread = preview.call("conversations.replies", channel="#alerts", ts=parent["ts"])["messages"]
    assert [m["ts"] for m in in_channel] == [reply["ts"], parent["ts"]]
    assert [m["ts"] for m in in_thread] == [parent["ts"], reply["ts"]]
    assert in_channel[0]["subtype"] == "thread_broadcast"
    assert preview.post("no thread", reply_broadcast=True)["error"] == "invalid_arguments"
    assert preview.page().count("worse") == 2


def test_a_deleted_message_with_replies_leaves_a_stone(preview: Preview) -> None:
    parent = preview.post("the parent")
    preview.post("the reply", thread_ts=parent["ts"])
    preview.call("chat.delete", channel="#alerts", ts=parent["ts"])

    (left,) = preview.call("conversations.history", channel="#alerts")["messages"]
    assert (left["subtype"], left["text"]) == ("tombstone", "This message was deleted.")
    update = preview.call("chat.update", channel="#alerts", ts=parent["ts"], text="again")
    assert update["error"] == "message_not_found"


def test_a_permalink_leads_to_the_message_on_the_page(preview: Preview) -> None:
    posted = preview.post()

    link = preview.call("chat.getPermalink", channel=posted["channel"], message_ts=posted["ts"])["permalink"]
    answer = preview.http.get(link)
    assert answer.status_code == 200
    assert f'id="{link.rsplit("/", 1)[1]}"' in answer.text


def test_channels_are_listed_and_the_first_is_the_home_page(preview: Preview) -> None:
    assert "No such channel" in preview.http.get("/").text
    preview.post(channel="#beta")
    preview.post(channel="#alpha")

    listed = preview.call("conversations.list")["channels"]
    assert [c["name"] for c in listed] == ["alpha", "beta"]
    assert preview.http.get("/").url.path == "/channels/alpha"


def test_forms_are_taken_like_json(preview: Preview) -> None:
    blocks = '[{"type": "section", "text": {"type": "mrkdwn", "text": "from a form"}}]'
    form = {"channel": "#alerts", "text": "x", "blocks": blocks, "token": "xoxb-in-the-form"}

    assert preview.http.post("/api/chat.postMessage", data=form).json()["ok"]
    assert "from a form" in preview.page()


def test_data_docs_are_served_once_they_are_there(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    preview = Preview(tmp_path / "slack", data_docs=docs)
    docs.mkdir()
    (docs / "index.html").write_text("<h1>Data Docs</h1>")

    assert preview.http.get("/data-docs/").text == "<h1>Data Docs</h1>"
    assert preview.http.get("/data-docs/../slack/channels").status_code == 404


def test_another_host_name_is_refused(preview: Preview) -> None:
    assert preview.http.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_nothing_in_a_message_becomes_a_script(preview: Preview) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    hostile = [
        section(attack),
        section("<javascript:alert(1)|click>"),
        {"type": "header", "text": {"type": "plain_text", "text": attack}},
        {"type": "image", "image_url": 'https://a.example/"onerror=alert(1)', "alt_text": attack},
    ]
    assert preview.post(attack, blocks=hostile)["ok"]

    page = preview.page()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert 'href="javascript' not in page
    assert '"onerror' not in page
    assert "default-src 'none'" in preview.http.get("/channels/alerts").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*bold* _it_ ~no~", "<b>bold</b> <i>it</i> <s>no</s>"),
        ("snake_case_name 2*3*4", "snake_case_name 2*3*4"),
        ("`*not bold* &lt;x&gt;`", "<code>*not bold* &lt;x&gt;</code>"),
        ("a\nb", "a<br>b"),
        ("*bold `code`*", "<b>bold <code>code</code></b>"),
        ("<!channel> <@U1>", '<span class="mention">@channel</span> <span class="mention">@U1</span>'),
        ("&amp;lt;", "&amp;lt;"),
        (":bell: :unknown_one: 12:30:45", "🔔 :unknown_one: 12:30:45"),
        ("```a\n b```", "<pre>a\n b</pre>"),
    ],
)
def test_mrkdwn_is_rendered_as_slack_does(text: str, html: str) -> None:
    assert str(mrkdwn(text)) == html


@given(st.text(alphabet=st.sampled_from("ab<>&\"'`*_~:|/!@# \n"), max_size=40))
def test_no_text_gets_a_tag_or_an_attribute_of_its_own_through(text: str) -> None:
    allowed = ("<b>", "<i>", "<s>", "<code>", "<pre>", "<br>", '<span class="mention">', "<a href=", "</")
    for shown in (str(mrkdwn(text)), str(plain_text(text))):
        at = shown.find("<")
        while at >= 0:
            assert shown[at:].startswith(allowed)
            at = shown.find("<", at + 1)


def test_it_runs_as_a_program_that_slack_sdk_can_talk_to(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "anomaly.local.slack_preview", "--port", str(port), "--folder", str(tmp_path)]
    with subprocess.Popen(command) as server:
        try:
            _wait_until_healthy(port)
            client = WebClient("xoxb-test", base_url=f"http://127.0.0.1:{port}/api/")
            client.proxy = None
            assert client.auth_test()["ok"]
            assert client.chat_postMessage(channel="#alerts", text="hello")["ok"]
        finally:
            server.terminate()


def _wait_until_healthy(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                assert answer.read() == b"ok"
                return
        except URLError:
            time.sleep(0.1)
    pytest.fail("the preview did not come up within a minute")
