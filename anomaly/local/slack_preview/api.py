"""The Web API methods: arguments in, Slack's answer out. Transport is `app`'s, keeping is `storage`'s.

Each method is a function of the workspace and the call; `METHODS` is all there is. What goes wrong is a `Refusal`
with Slack's own error code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anomaly.local.slack_preview import blocks as block_kit
from anomaly.local.slack_preview import views as modals
from anomaly.local.slack_preview.interactions import Interactions
from anomaly.local.slack_preview.storage import Record, Workspace

BOT = {"user": "anomaly", "user_id": "U0ANOMALY0", "bot_id": "B0ANOMALY0", "team": "Preview", "team_id": "T0PREVIEW0"}
TEXT_LIMIT = 40_000
BROADCAST, DELETED = "thread_broadcast", "tombstone"
"""Subtypes of messages: a reply that the channel sees too, and what is left of a deleted message that has replies."""


class Refusal(Exception):  # noqa: N818 - the word for what Slack does
    """Slack says no: ``{"ok": false, "error": code}``."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.answer = {"ok": False, "error": code, **more}


@dataclass(frozen=True, slots=True)
class Call:
    """One API call. `origin`: this server's address, without a slash at the end."""

    workspace: Workspace
    arguments: Mapping[str, Any]
    origin: str
    interactions: Interactions

    def text(self, name: str, default: str | None = None) -> str:
        """An argument that must be there, unless there is a default."""
        value = self.arguments.get(name, default)
        if value is None or (value == "" and default is None):
            raise Refusal(
                "invalid_arguments", response_metadata={"messages": [f"[ERROR] missing required field: {name}"]}
            )
        return str(value)

    def structure(self, name: str) -> Any:
        """An argument that is JSON: as such, or written as text in a form."""
        value = self.arguments.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise Refusal(f"invalid_{name}_format" if name == "blocks" else "invalid_arguments") from None

    def flag(self, name: str) -> bool:
        return str(self.arguments.get(name, "")).lower() in {"1", "true"}

    def number(self, name: str, default: int, most: int) -> int:
        written = self.text(name, str(default))
        if not written.isdecimal() or not 1 <= int(written) <= most:
            raise Refusal("invalid_limit" if name == "limit" else "invalid_arguments")
        return int(written)

    def channel(self, name: str = "channel") -> Record:
        found = self.workspace.channel(self.text(name))
        if found is None:
            raise Refusal("channel_not_found")
        return found

    def message(self, channel: Record, name: str) -> Record:
        found = self.workspace.message(channel["id"], self.text(name))
        if found is None:
            raise Refusal("message_not_found")
        return found


def _auth_test(call: Call) -> Record:
    return {"url": f"{call.origin}/", **BOT}


def _post_message(call: Call) -> Record:
    """Unlike in Slack, a channel that is named for the first time comes into being."""
    where = call.text("channel")
    channel = call.workspace.channel(where)
    if channel is None and not where.startswith("C"):
        channel = call.workspace.open_channel(where.removeprefix("#"))
    if channel is None:
        raise Refusal("channel_not_found")
    thread = str(call.arguments.get("thread_ts") or "")
    if thread and call.workspace.message(channel["id"], thread) is None:
        raise Refusal("thread_not_found")
    if call.flag("reply_broadcast") and not thread:
        raise Refusal(
            "invalid_arguments", response_metadata={"messages": ["[ERROR] reply_broadcast without thread_ts"]}
        )
    message: Record = {
        "type": "message",
        "ts": call.workspace.new_ts(channel["id"]),
        "user": BOT["user_id"],
        "bot_id": BOT["bot_id"],
        **_content(call),
        **({"thread_ts": thread} if thread else {}),
        **({"subtype": BROADCAST} if call.flag("reply_broadcast") else {}),
    }
    metadata = _metadata(call)
    if metadata:
        message["metadata"] = metadata
    call.workspace.save_message(channel["id"], message)
    return {"channel": channel["id"], "ts": message["ts"], "message": _public(message, with_metadata=True)}


def _update(call: Call) -> Record:
    channel = call.channel()
    before = call.message(channel, "ts")
    if before.get("subtype") == DELETED:
        raise Refusal("message_not_found")
    message = {
        **before,
        **_content(call),
        "edited": {"user": BOT["user_id"], "ts": call.workspace.new_ts(channel["id"])},
    }
    metadata = _metadata(call)
    if metadata is not None:
        message["metadata"] = metadata
    call.workspace.save_message(channel["id"], message)
    public = _public(message, with_metadata=True)
    return {"channel": channel["id"], "ts": message["ts"], "text": message["text"], "message": public}


def _delete_message(call: Call) -> Record:
    channel = call.channel()
    message = call.message(channel, "ts")
    if _thread(call, channel, message["ts"]):
        left = {key: message[key] for key in ("type", "ts", "user")}
        gone = {**left, "subtype": DELETED, "text": "This message was deleted.", "blocks": []}
        call.workspace.save_message(channel["id"], gone)
    else:
        call.workspace.delete_message(channel["id"], message["ts"])
    return {"channel": channel["id"], "ts": message["ts"]}


def _permalink(call: Call) -> Record:
    channel = call.channel()
    message = call.message(channel, "message_ts")
    return {"channel": channel["id"], "permalink": f"{call.origin}/archives/{channel['id']}/{anchor(message['ts'])}"}


def _history(call: Call) -> Record:
    """Newest first; replies in threads do not appear, unless they were sent to the channel too."""
    channel = call.channel()
    oldest, latest = call.text("oldest", "0"), call.text("latest", "9999999999.999999")
    inclusive = call.flag("inclusive")
    limit = call.number("limit", 100, 999)
    cursor = str(call.arguments.get("cursor") or "")
    found = [
        message
        for message in reversed(call.workspace.messages(channel["id"]))
        if ("thread_ts" not in message or message.get("subtype") == BROADCAST)
        and (oldest < message["ts"] < latest or (inclusive and message["ts"] in {oldest, latest}))
        and (not cursor or message["ts"] < cursor)
    ]
    page = found[:limit]
    more = len(found) > limit
    return {
        "messages": [_shown(call, channel, m) for m in page],
        "has_more": more,
        "response_metadata": {"next_cursor": page[-1]["ts"] if more else ""},
    }


def _replies(call: Call) -> Record:
    """A thread: its first message, then the replies, oldest first."""
    channel = call.channel()
    first = call.workspace.message(channel["id"], call.text("ts"))
    if first is None:
        raise Refusal("thread_not_found")
    limit = call.number("limit", 1000, 1000)
    cursor = str(call.arguments.get("cursor") or "")
    found = [m for m in _thread(call, channel, first["ts"]) if m["ts"] > cursor]
    page = found[: limit if cursor else limit - 1]
    more = len(found) > len(page)
    shown = page if cursor else [first, *page]
    return {
        "messages": [_shown(call, channel, m) for m in shown],
        "has_more": more,
        "response_metadata": {"next_cursor": shown[-1]["ts"] if more else ""},
    }


def _thread(call: Call, channel: Record, ts: str) -> list[Record]:
    """The replies to a message, oldest first."""
    return [m for m in call.workspace.messages(channel["id"]) if m.get("thread_ts") == ts]


def _shown(call: Call, channel: Record, message: Record) -> Record:
    """With what Slack says of its thread."""
    replies = _thread(call, channel, message["ts"])
    public = _public(message, with_metadata=call.flag("include_all_metadata"))
    if not replies:
        return public
    return {**public, "thread_ts": message["ts"], "reply_count": len(replies), "latest_reply": replies[-1]["ts"]}


def _list_channels(call: Call) -> Record:
    channels = [{**c, "is_channel": True, "is_member": True, "is_archived": False} for c in call.workspace.channels()]
    return {"channels": channels, "response_metadata": {"next_cursor": ""}}


def _conversation(call: Call) -> Record:
    return {"channel": {**call.channel(), "is_channel": True, "is_member": True, "is_archived": False}}


def _upload_url(call: Call) -> Record:
    length = call.number("length", 0, 1_000_000_000)
    file = call.workspace.announce_file(call.text("filename"), length)
    return {"upload_url": f"{call.origin}/upload/v1/{file['id']}", "file_id": file["id"]}


def _complete_upload(call: Call) -> Record:
    named = call.structure("files")
    if not isinstance(named, list) or not named:
        raise Refusal("invalid_arguments")
    found = [call.workspace.file(str(entry.get("id"))) for entry in named if isinstance(entry, dict)]
    if len(found) != len(named) or any(file is None or file["state"] == "announced" for file in found):
        raise Refusal("file_not_found")
    completed = [
        call.workspace.complete_file(file, str(entry.get("title") or file["name"]))
        for file, entry in zip(found, named, strict=True)
        if file is not None
    ]
    return {"files": [_public_file(call, file) for file in completed]}


def _file_info(call: Call) -> Record:
    file = call.workspace.file(call.text("file"))
    if file is None or file["state"] != "complete":
        raise Refusal("file_not_found")
    return {"file": _public_file(call, file)}


def _delete_file(call: Call) -> Record:
    file = call.workspace.file(call.text("file"))
    if file is None:
        raise Refusal("file_not_found")
    call.workspace.delete_file(file["id"])
    return {}


def _open_connection(call: Call) -> Record:
    """Socket Mode: an address that takes one listener."""
    return {"url": f"{call.origin.replace('http', 'ws', 1)}/socket?ticket={call.interactions.ticket()}"}


def _open_view(call: Call) -> Record:
    view = call.interactions.open(call.text("trigger_id"), _checked_view(call))
    if view is None:
        raise Refusal("expired_trigger_id")
    return {"view": view}


def _update_view(call: Call) -> Record:
    view = call.interactions.update(call.text("view_id"), _checked_view(call))
    if view is None:
        raise Refusal("not_found")
    return {"view": view}


def _checked_view(call: Call) -> Record:
    view = call.structure("view")
    found = modals.problems(view)
    if found:
        raise Refusal("invalid_arguments", response_metadata={"messages": [f"[ERROR] {line}" for line in found]})
    return dict(view)


def _post_ephemeral(call: Call) -> Record:
    channel = call.channel()
    call.text("user")
    call.interactions.whisper(channel["id"], call.text("text"))
    return {"message_ts": call.workspace.new_ts(channel["id"])}


METHODS: dict[str, Callable[[Call], Record]] = {
    "apps.connections.open": _open_connection,
    "auth.test": _auth_test,
    "chat.delete": _delete_message,
    "chat.getPermalink": _permalink,
    "chat.postEphemeral": _post_ephemeral,
    "chat.postMessage": _post_message,
    "chat.update": _update,
    "conversations.history": _history,
    "conversations.info": _conversation,
    "conversations.list": _list_channels,
    "conversations.replies": _replies,
    "files.completeUploadExternal": _complete_upload,
    "files.delete": _delete_file,
    "files.getUploadURLExternal": _upload_url,
    "files.info": _file_info,
    "views.open": _open_view,
    "views.update": _update_view,
}


def unknown_method(_: Call) -> Record:
    """For every other name."""
    raise Refusal("unknown_method")


def anchor(ts: str) -> str:
    """A message's part of its permalink, as Slack writes it: ``p1700000000123456``."""
    return "p" + ts.replace(".", "")


def _content(call: Call) -> Record:
    text = call.text("text", "")
    given = call.structure("blocks")
    if not text and not given:
        raise Refusal("no_text")
    if len(text) > TEXT_LIMIT:
        raise Refusal("msg_too_long")
    found = block_kit.problems(given or [], call.workspace.file)
    if found:
        raise Refusal(
            "invalid_blocks", errors=found, response_metadata={"messages": [f"[ERROR] {problem}" for problem in found]}
        )
    return {"text": text, "blocks": given or []}


def _metadata(call: Call) -> Record | None:
    metadata = call.structure("metadata")
    if metadata is None:
        return None
    if metadata == {}:
        return {}
    if not isinstance(metadata, dict) or not {"event_type", "event_payload"} <= metadata.keys():
        raise Refusal("invalid_metadata_format")
    return dict(metadata)


def _public(message: Record, *, with_metadata: bool) -> Record:
    return message if with_metadata else {key: value for key, value in message.items() if key != "metadata"}


def _public_file(call: Call, file: Record) -> Record:
    kind = file["filetype"]
    return {
        **{key: file[key] for key in ("id", "name", "title", "size", "created")},
        "filetype": kind,
        "mimetype": f"image/{'jpeg' if kind == 'jpg' else kind}" if kind != "binary" else "application/octet-stream",
        "url_private": f"{call.origin}/files/{file['id']}",
        "permalink": f"{call.origin}/files/{file['id']}",
    }
