"""Slack's Web API as the port `Channel`: one message per incident, with its chart, edited as it goes on.

How a private chart gets into a message, since Slack has no single call for it:

1. ``files.getUploadURLExternal``, the bytes to the URL it gives, ``files.completeUploadExternal`` without a
   channel: the file then belongs to the bot alone.
2. ``chat.postMessage`` with an image block that names the file (``slack_file: {id}``), which shows it to whoever
   may read the channel.

Slack processes an upload in the background and answers ``invalid_blocks`` / "invalid slack file" until it is
done. Polling ``files.info`` would need the scope ``files:read`` and is no clearer, so the post itself is tried
again for a while; after that the team is told without the chart rather than late, and the next update shows it.

A message carries its outbox key and its file in its metadata. A crash between posting and noting it is thus
found out by reading the channel back, and ends in one message, not two. For the same reason nothing but a rate
limit is retried here: after a lost connection nobody knows whether Slack has posted, and the outbox comes back.

The bot needs the scopes ``chat:write``, ``files:write``, ``channels:read`` and ``channels:history``; in private
channels ``groups:read`` and ``groups:history``; and must be a member of the channel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any, NoReturn, cast

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

from anomaly.adapters.messages import Block, fallback_text, headline, incident_blocks
from anomaly.exceptions import MessageGoneError, SlackRejectedError, SlackUnavailableError
from anomaly.groups import Group
from anomaly.ports import Incident, Links, Posted

EVENT_TYPE = "anomaly_incident"
LOOK_BACK_PAGES = 5
LOOK_BACK_PAGE = 200
PROCESSING_WAITS = (1.0, 2.0, 3.0, 5.0, 8.0)
"""Seconds between tries while Slack processes the chart."""

_TRANSIENT = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
        "accesslimited",
    }
)
_WHAT_TO_DO = {
    "channel_not_found": "create the channel or correct slack.channel in the group's file, and invite the bot to it",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "unarchive the channel or name another one as slack.channel in the group's file",
    "not_authed": "put the bot's token (xoxb-…) into the password of the Slack connection",
    "invalid_auth": "put the bot's token (xoxb-…) into the password of the Slack connection",
    "account_inactive": "the bot was removed from the workspace; install it again and renew the token",
    "token_revoked": "install the bot again and put its new token into the Slack connection",
    "token_expired": "install the bot again and put its new token into the Slack connection",
    "missing_scope": "add the scope to the bot and install it again",
    "message_not_found": "somebody deleted it; post it anew",
    "invalid_blocks": "this is a mistake in anomaly.adapters.messages; report it with this text",
    "restricted_action": "a workspace setting keeps the bot from posting there; ask a workspace administrator",
}


class SlackChannel:
    """Port `Channel` over Slack's Web API.

    Args:
        token: the bot's, ``xoxb-…``.
        base_url: another server that takes the same calls, such as the local preview; None for Slack.
        timeout: seconds per request.
        wait: called with the seconds to wait while Slack processes a chart.
    """

    def __init__(
        self,
        token: str,
        base_url: str | None = None,
        *,
        timeout: int = 30,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = WebClient(
            token=token,
            base_url=base_url or WebClient.BASE_URL,
            timeout=timeout,
            retry_handlers=[RateLimitErrorRetryHandler(max_retry_count=2)],
            # The SDK logs an error for every failed request; here each becomes an exception that says more.
            logger=_quiet_logger(),
        )
        # The SDK's own reading of the proxy variables forgets NO_PROXY; without it, urllib reads them itself.
        self._client.proxy = None
        self._wait = wait
        self._ids: dict[str, str] = {}

    def post(self, group: Group, incident: Incident, *, png: bytes, links: Links, key: str) -> Posted:
        """See `Channel.post`."""
        channel = group.slack.channel
        there = self._find(channel, key)
        if there is not None:
            return self._posted(*there)
        file_id = self._upload(incident, png)
        response = self._send(
            "chat.postMessage",
            group,
            incident,
            links,
            channel=channel,
            file_id=file_id,
            metadata=_metadata(group, key, file_id),
            unfurl_links=False,
            unfurl_media=False,
        )
        self._ids[channel] = str(response["channel"])
        return self._posted(str(response["channel"]), str(response["ts"]))

    def update(self, group: Group, incident: Incident, *, links: Links, png: bytes | None = None) -> Posted:
        """See `Channel.update`."""
        channel, ts = incident.channel, incident.slack_ts
        if channel is None or ts is None:
            raise SlackRejectedError(
                f"incident {incident.id} of group {group.name!r} has no message to edit (channel {channel!r}, "
                f"ts {ts!r}); post it first"
            )
        payload = self._payload(channel, ts)
        before = payload.get("file")
        file_id = before if png is None else self._upload(incident, png)
        response = self._send(
            "chat.update",
            group,
            incident,
            links,
            channel=channel,
            file_id=file_id,
            metadata=_metadata(group, str(payload.get("key", "")), file_id),
            ts=ts,
        )
        if before and before != file_id:
            self._delete(str(before))
        return self._posted(str(response["channel"]), str(response["ts"]))

    # --- sending ----------------------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        group: Group,
        incident: Incident,
        links: Links,
        *,
        channel: str,
        file_id: str | None,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """Posts or edits; again while Slack processes the chart, and in the end without it."""
        body = {"channel": channel, "text": fallback_text(group, incident), **arguments}
        for seconds in (*PROCESSING_WAITS, None) if file_id else ():
            blocks = incident_blocks(group, incident, links=links, file_id=file_id)
            try:
                return self._call(method, json={**body, "blocks": blocks})
            except _FileNotReadyError:
                if seconds is not None:
                    self._wait(seconds)
        if file_id:
            _log.warning(
                "%s: Slack has not processed chart %s yet; telling %s without it", group.name, file_id, channel
            )
        return self._call(method, json={**body, "blocks": incident_blocks(group, incident, links=links, file_id=None)})

    def _upload(self, incident: Incident, png: bytes) -> str:
        """The chart as a file of the bot's own; returns its id."""
        name = f"{incident.group}-{incident.start:%Y%m%dT%H%M}.png"
        try:
            response = self._client.files_upload_v2(
                content=png,
                filename=name,
                title=headline(incident)[:200],
                highlight_type="png",
                request_file_info=False,
            )
        except _FAILURES as failure:
            _raise("files.upload", name, failure)
        return str(response["files"][0]["id"])

    def _delete(self, file_id: str) -> None:
        """A chart that no message shows any more; one that stays does no harm."""
        try:
            self._call("files.delete", params={"file": file_id})
        except (SlackUnavailableError, SlackRejectedError) as failure:
            _log.warning("the former chart %s was not deleted: %s", file_id, failure)

    # --- reading back -------------------------------------------------------------------------------------------

    def _find(self, channel: str, key: str) -> tuple[str, str] | None:
        """(channel id, ts) of the message that carries the key, among the channel's latest thousand."""
        channel_id = self._channel_id(channel)
        if channel_id is None:
            return None
        pages = self._pages(
            "conversations.history",
            LOOK_BACK_PAGES,
            channel=channel_id,
            limit=LOOK_BACK_PAGE,
            include_all_metadata=True,
        )
        for page in pages:
            for message in page["messages"]:
                if _payload_of(message).get("key") == key:
                    return channel_id, str(message["ts"])
        return None

    def _channel_id(self, channel: str) -> str | None:
        """The id behind ``#name``; None when the bot sees no such channel, which the post then reports."""
        if not channel.startswith("#"):
            return channel
        if channel in self._ids:
            return self._ids[channel]
        pages = self._pages(
            "conversations.list", None, types="public_channel,private_channel", exclude_archived=True, limit=999
        )
        for page in pages:
            for listed in page["channels"]:
                if listed["name"] == channel[1:]:
                    self._ids[channel] = str(listed["id"])
                    return self._ids[channel]
        return None

    def _payload(self, channel: str, ts: str) -> Mapping[str, Any]:
        """What the message at `ts` carries in its metadata."""
        response = self._call(
            "conversations.history",
            params={
                "channel": channel,
                "latest": ts,
                "oldest": ts,
                "inclusive": True,
                "limit": 1,
                "include_all_metadata": True,
            },
        )
        for message in response["messages"]:
            if message["ts"] == ts:
                return _payload_of(message)
        raise MessageGoneError(
            f"Slack has no message {ts} in channel {channel} any more: {_WHAT_TO_DO['message_not_found']}"
        )

    def _posted(self, channel: str, ts: str) -> Posted:
        """With the permalink, which is a convenience: the message stands without it."""
        try:
            permalink = str(self._call("chat.getPermalink", params={"channel": channel, "message_ts": ts})["permalink"])
        except (SlackUnavailableError, SlackRejectedError) as failure:
            _log.warning("no permalink for message %s: %s", ts, failure)
            permalink = None
        return Posted(channel=channel, ts=ts, permalink=permalink)

    # --- transport ----------------------------------------------------------------------------------------------

    def _pages(self, method: str, at_most: int | None, **params: Any) -> Iterator[Mapping[str, Any]]:
        cursor = ""
        while at_most is None or at_most > 0:
            page = self._call(method, params={**params, **({"cursor": cursor} if cursor else {})})
            yield page
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            at_most = None if at_most is None else at_most - 1
            if not cursor:
                return

    def _call(self, method: str, **arguments: Any) -> Mapping[str, Any]:
        """One API call.

        Raises:
            SlackUnavailableError, SlackRejectedError
        """
        where = (arguments.get("json") or arguments.get("params") or {}).get("channel", "")
        try:
            response = self._client.api_call(method, **arguments)
        except _FAILURES as failure:
            _raise(method, str(where), failure)
        return cast("Mapping[str, Any]", response.data)


_log = logging.getLogger(__name__)
_FAILURES = (SlackClientError, OSError, HTTPException, TimeoutError)


class _FileNotReadyError(SlackRejectedError):
    """Slack has not processed the file that an image block names."""


def _raise(method: str, where: str, failure: Exception) -> NoReturn:
    """Slack's answer in this project's exceptions."""
    at = f"{method} for {where!r}" if where else method
    if not isinstance(failure, SlackApiError):
        raise SlackUnavailableError(
            f"Slack did not answer {at}: {failure}. The message is kept and tried again; if this lasts, check the "
            "network and the connection's base_url"
        ) from failure
    response = failure.response
    data = response if isinstance(response, dict) else response.data
    status = response.get("status") if isinstance(response, dict) else response.status_code
    error = data.get("error") if isinstance(data, dict) else None
    if error is None or error in _TRANSIENT or status == 429 or (isinstance(status, int) and status >= 500):
        raise SlackUnavailableError(
            f"Slack answered {at} with {error or 'no JSON'} (HTTP {status}). The message is kept and tried again"
        ) from failure
    details = _details(data)
    kind: type[SlackRejectedError] = SlackRejectedError
    if error == "message_not_found":
        kind = MessageGoneError
    elif error == "invalid_blocks" and "slack file" in details:
        kind = _FileNotReadyError
    advice = _WHAT_TO_DO.get(error, f"see https://docs.slack.dev/reference/methods/{method}#errors")
    raise kind(f"Slack refused {at}: {error}{f' ({details})' if details else ''}; {advice}") from failure


def _details(data: Mapping[str, Any]) -> str:
    found: Sequence[Any] = data.get("errors") or (data.get("response_metadata") or {}).get("messages") or []
    needed = [f"needed: {data['needed']}"] if data.get("needed") else []
    return "; ".join([*map(str, found), *needed])


def _metadata(group: Group, key: str, file_id: str | None) -> Block:
    payload = {"key": key, "group": group.name, **({"file": file_id} if file_id else {})}
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _payload_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = message.get("metadata") or {}
    payload = metadata.get("event_payload") if metadata.get("event_type") == EVENT_TYPE else None
    return payload or {}


def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.sdk")
    logger.setLevel(logging.CRITICAL)
    return logger
