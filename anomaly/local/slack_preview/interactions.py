"""Clicks in the preview: sent to whoever listens over Socket Mode, as Slack would, and the dialogs that answer them.

In: a button pressed or a dialog submitted on the page. Out: an envelope on a listener's socket, its acknowledgement,
and the view or the whisper that follows. Dialogs and whispers are for the moment: they are kept in memory.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]

ACKNOWLEDGED_WITHIN = 3.0
"""Seconds that Slack waits."""
OPENED_WITHIN = 5.0
UPDATED_WITHIN = 2.0
"""So long the page waits for a dialog to say more than it did when it opened."""
CHANGED_WITHIN = 6.0
"""Seconds that the page waits for what follows a dialog, before it is shown as it is."""
TEAM = {"id": "T0PREVIEW0", "domain": "preview"}
PERSON = {"id": "U0PREVIEW0", "username": "you", "name": "you", "team_id": TEAM["id"]}
WHISPERS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Whisper:
    """A message for one person."""

    channel: str
    text: str
    ts: float


@dataclass
class Interactions:
    """What is open. Called from the server's one event loop only."""

    secret: str
    """Forms carry it, so that no page elsewhere can press a button here."""
    views: dict[str, Record] = field(default_factory=dict)
    whispers: list[Whisper] = field(default_factory=list)
    changes: int = 0
    """Counts what listeners have done: messages edited, views updated, whispers."""
    _tickets: set[str] = field(default_factory=set)
    _sockets: dict[int, Callable[[Record], Any]] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Future[Record]] = field(default_factory=dict)
    _opened: dict[str, str] = field(default_factory=dict)
    """View by the trigger that opened it; '' while none has."""
    _updated: set[str] = field(default_factory=set)
    _responses: dict[str, str] = field(default_factory=dict)
    """Channel by the secret part of a response address."""

    # --- listeners ----------------------------------------------------------------------------------------------

    def ticket(self) -> str:
        """Lets one listener connect."""
        ticket = secrets.token_urlsafe(16)
        self._tickets.add(ticket)
        return ticket

    def admitted(self, ticket: str) -> bool:
        if ticket not in self._tickets:
            return False
        self._tickets.discard(ticket)
        return True

    def connected(self, number: int, send: Callable[[Record], Any]) -> None:
        self._sockets[number] = send

    def disconnected(self, number: int) -> None:
        self._sockets.pop(number, None)

    def acknowledged(self, envelope: Record) -> None:
        """What a listener sent back."""
        waiting = self._waiting.get(str(envelope.get("envelope_id")))
        if waiting is not None and not waiting.done():
            waiting.set_result(envelope.get("payload") or {})

    # --- the page -----------------------------------------------------------------------------------------------

    async def press(self, channel: Record, message: Record, element: Record, *, origin: str) -> str | None:
        """A button; returns the id of the view that it opened, if it did."""
        trigger, before = self.trigger(), self.changes
        payload = {
            **self._about("block_actions", trigger),
            "container": {"type": "message", "message_ts": message["ts"], "channel_id": channel["id"]},
            "channel": {"id": channel["id"], "name": channel["name"]},
            "message": message,
            "state": {"values": {}},
            "response_url": f"{origin}/respond/{self._response(channel['id'])}",
            "actions": [{**element, "block_id": "actions", "action_ts": message["ts"]}],
        }
        if await self._sent(payload, channel["id"]) is None:
            return None
        await self._until(lambda: bool(self._opened[trigger]) or self.changes > before, OPENED_WITHIN)
        view = self._opened.pop(trigger)
        if view:
            await self._until(lambda: view in self._updated, UPDATED_WITHIN)
        return view or None

    async def submit(self, view_id: str, values: Mapping[str, str], channel: str) -> Mapping[str, str]:
        """A dialog; returns mistakes by block, and closes it when there are none."""
        view = self.views[view_id]
        missing = {
            block["block_id"]: "Please complete this required field."
            for block in view["blocks"]
            if block["type"] == "input" and not block.get("optional") and not values.get(block["block_id"])
        }
        view["state"] = {"values": _state(view, values)}
        if missing:
            return missing
        before = self.changes
        answer = await self._sent(
            {**self._about("view_submission", self.trigger()), "view": view, "response_urls": []}, channel
        )
        if answer is not None and answer.get("response_action") == "errors":
            return dict(answer["errors"])
        if answer is not None:
            del self.views[view_id]
            await self._until(lambda: self.changes > before, CHANGED_WITHIN)
        return {}

    # --- what listeners call --------------------------------------------------------------------------------------

    def open(self, trigger: str, view: Record) -> Record | None:
        """The view as Slack returns it; None when the trigger is unknown or used."""
        if self._opened.get(trigger, "used"):
            return None
        kept = {**view, "id": f"V{secrets.token_hex(5).upper()}", "team_id": TEAM["id"], "hash": _hash()}
        kept["blocks"] = _numbered(view["blocks"])
        self.views[kept["id"]] = kept
        self._opened[trigger] = kept["id"]
        self.changes += 1
        return kept

    def update(self, view_id: str, view: Record) -> Record | None:
        """What was typed stays; None when the view is closed."""
        if view_id not in self.views:
            return None
        self._updated.add(view_id)
        self.views[view_id] |= {**view, "blocks": _numbered(view["blocks"]), "hash": _hash()}
        self.changes += 1
        return self.views[view_id]

    def close(self, view_id: str) -> None:
        self.views.pop(view_id, None)

    def whisper(self, channel: str, text: str) -> None:
        self.whispers = [*self.whispers[1 - WHISPERS_KEPT :], Whisper(channel, text, time.time())]
        self.changes += 1

    def respond(self, key: str, text: str) -> bool:
        """Over a response address; False when there is no such."""
        if key not in self._responses:
            return False
        self.whisper(self._responses[key], text)
        return True

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _sent(self, payload: Record, channel: str) -> Record | None:
        """What the listener acknowledged with; None when none did in time, which the page then says."""
        if not self._sockets:
            self.whisper(channel, ":warning: Nobody listens to buttons here. Start a listener: `anomaly slack listen`")
            return None
        envelope = secrets.token_hex(8)
        answer: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._waiting[envelope] = answer
        try:
            await list(self._sockets.values())[-1](
                {"type": "interactive", "envelope_id": envelope, "payload": payload, "accepts_response_payload": True}
            )
            return await asyncio.wait_for(answer, ACKNOWLEDGED_WITHIN)
        except TimeoutError:
            self.whisper(channel, ":warning: The listener did not answer within three seconds; see its log.")
            return None
        finally:
            del self._waiting[envelope]

    def _about(self, kind: str, trigger: str) -> Record:
        return {
            "type": kind,
            "team": TEAM,
            "user": PERSON,
            "api_app_id": "A0ANOMALY0",
            "token": "preview",
            "trigger_id": trigger,
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def trigger(self) -> str:
        """What opens one view."""
        trigger = f"{secrets.randbelow(10**9)}.{secrets.token_hex(8)}"
        self._opened[trigger] = ""
        return trigger

    def _response(self, channel: str) -> str:
        key = secrets.token_urlsafe(16)
        self._responses[key] = channel
        return key

    async def _until(self, happened: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not happened() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


def _state(view: Record, values: Mapping[str, str]) -> Record:
    """What a dialog holds, as Slack sends it."""
    state: Record = {}
    for block in view["blocks"]:
        if block["type"] == "input":
            name, element = block["block_id"], block["element"]
            given: Record = {"type": element["type"]}
            if element["type"] == "static_select":
                options = {option["value"]: option for option in element["options"]}
                given["selected_option"] = options.get(values.get(name, ""))
            else:
                given["value"] = values.get(name) or None
            state[name] = {element["action_id"]: given}
    return state


def _numbered(blocks: list[Record]) -> list[Record]:
    """Slack gives blocks an id where they have none."""
    return [{"block_id": f"b{number}", **block} for number, block in enumerate(blocks)]


def _hash() -> str:
    return f"{int(time.time())}.{secrets.token_hex(4)}"
