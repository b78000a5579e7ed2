"""Channels, messages and files of the preview, as files in a folder.

One JSON file per message, so that an edit rewrites one message and nothing else; each write goes to a temporary
file that then takes the name, so that a crash leaves the old message or the new one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from pathlib import Path
from typing import Any

Record = dict[str, Any]

_CHANNEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_IMAGES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif"}


class Workspace:
    """All of it. Not thread-safe: the server calls it from its one event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._channels: dict[str, Record] = {}
        self._messages: dict[str, dict[str, Record]] = {}
        self._files: dict[str, Record] = {}
        self._load()

    # --- channels ---------------------------------------------------------------------------------------------

    def channels(self) -> list[Record]:
        """By name."""
        return sorted(self._channels.values(), key=lambda channel: str(channel["name"]))

    def channel(self, name_or_id: str) -> Record | None:
        """By id, ``#name`` or name."""
        if name_or_id in self._channels:
            return self._channels[name_or_id]
        return self._channels.get(channel_id(name_or_id.removeprefix("#")))

    def open_channel(self, name: str) -> Record | None:
        """The channel of that name, made if need be; None if Slack would not allow the name."""
        if not _CHANNEL_NAME.fullmatch(name):
            return None
        existing = self.channel(name)
        if existing is not None:
            return existing
        channel: Record = {"id": channel_id(name), "name": name, "created": int(time.time())}
        self._channels[channel["id"]] = channel
        self._messages[channel["id"]] = {}
        _write(self._folder / "channels" / f"{channel['id']}.json", channel)
        return channel

    # --- messages ---------------------------------------------------------------------------------------------

    def messages(self, channel: str) -> list[Record]:
        """Of a channel id, oldest first."""
        return sorted(self._messages[channel].values(), key=lambda message: str(message["ts"]))

    def message(self, channel: str, ts: str) -> Record | None:
        return self._messages[channel].get(ts)

    def new_ts(self, channel: str) -> str:
        """A timestamp of its own: seconds since the epoch with six decimals, later than all before."""
        latest = max(self._messages[channel], default="0")
        micros = max(time.time_ns() // 1000, int(latest.replace(".", "")) + 1)
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

    def save_message(self, channel: str, message: Record) -> None:
        self._messages[channel][message["ts"]] = message
        _write(self._folder / "messages" / channel / f"{message['ts']}.json", message)

    def delete_message(self, channel: str, ts: str) -> None:
        del self._messages[channel][ts]
        (self._folder / "messages" / channel / f"{ts}.json").unlink()

    # --- files --------------------------------------------------------------------------------------------------

    def announce_file(self, name: str, length: int) -> Record:
        """A file that is to be uploaded."""
        file: Record = {
            "id": "F" + base64.b32encode(secrets.token_bytes(6)).decode().rstrip("="),
            "name": Path(name).name or "file",
            "title": Path(name).name,
            "size": length,
            "created": int(time.time()),
            "state": "announced",
            "filetype": "",
        }
        self._save_file(file)
        return file

    def file(self, file_id: str) -> Record | None:
        return self._files.get(file_id)

    def store_content(self, file: Record, content: bytes) -> None:
        _write_bytes(self._folder / "files" / file["id"], content)
        filetype = next((kind for start, kind in _IMAGES.items() if content.startswith(start)), "binary")
        self._save_file({**file, "state": "uploaded", "filetype": filetype})

    def complete_file(self, file: Record, title: str) -> Record:
        completed = {**file, "state": "complete", "title": title}
        self._save_file(completed)
        return completed

    def content(self, file_id: str) -> bytes:
        return (self._folder / "files" / file_id).read_bytes()

    def delete_file(self, file_id: str) -> None:
        del self._files[file_id]
        (self._folder / "files" / f"{file_id}.json").unlink()
        (self._folder / "files" / file_id).unlink(missing_ok=True)

    def _save_file(self, file: Record) -> None:
        self._files[file["id"]] = file
        _write(self._folder / "files" / f"{file['id']}.json", file)

    def _load(self) -> None:
        for path in (self._folder / "channels").glob("*.json"):
            channel = _read(path)
            self._channels[channel["id"]] = channel
            folder = self._folder / "messages" / channel["id"]
            self._messages[channel["id"]] = {m["ts"]: m for m in map(_read, folder.glob("*.json"))}
        for path in (self._folder / "files").glob("*.json"):
            file = _read(path)
            self._files[file["id"]] = file


def channel_id(name: str) -> str:
    """The same id for the same name, also after the folder was emptied."""
    return "C" + base64.b32encode(hashlib.sha256(name.encode()).digest()[:6]).decode().rstrip("=")


def _read(path: Path) -> Record:
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def _write(path: Path, record: Record) -> None:
    _write_bytes(path, json.dumps(record, ensure_ascii=False, indent=1).encode())


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(content)
    temporary.replace(path)
