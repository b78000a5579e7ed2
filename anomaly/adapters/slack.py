"""Slack's Web API as the port `Channel`: one thread per incident, its first message with the chart, edited as it goes
on; and the messages about a group as a whole.

How a private chart gets into a message, since Slack has no single call for it:

1. ``files.getUploadURLExternal``, the bytes to the URL it gives, ``files.completeUploadExternal`` without a
   channel: the file then belongs to the bot alone.
2. ``chat.postMessage`` with an image block that names the file (``slack_file: {id}``), which shows it to whoever
   may read the channel.

Slack processes an upload in the background and answers ``invalid_blocks`` / "invalid slack file" until it is
done. Polling ``files.info`` would need the scope ``files:read`` and is no clearer, so the post itself is tried
again for a while; after that the team is told without the chart rather than late, and the next update shows it.

A message carries its outbox key and its file in its metadata, a reply its key. A crash between posting and noting it
is thus found out by reading the channel (``conversations.history``) or the thread (``conversations.replies``) back,
and ends in one message, not two. A channel is read once per run: what is posted from then on is known. For the same
reason nothing but a rate limit is retried here: after a lost connection nobody knows whether Slack has posted, and the
outbox comes back. A rate limit is waited out up to `LONGEST_PAUSE`; for more, the outbox waits as long as Slack asks.

The bot needs the scopes ``chat:write``, ``files:write``, ``channels:read`` and ``channels:history``; in private
channels ``groups:read`` and ``groups:history``; and must be a member of the channel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, NoReturn, cast
from urllib.error import HTTPError

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry import HttpRequest, HttpResponse, RetryHandler, RetryState

from anomaly.adapters.group_posts import digest_blocks, digest_text, weekly_blocks, weekly_text
from anomaly.adapters.messages import Block, fallback_text, headline, incident_blocks, message_words
from anomaly.adapters.replies import pointer_blocks, pointer_text, pointer_words, reply_blocks, reply_text, reply_words
from anomaly.exceptions import MessageGoneError, SlackRejectedError, SlackUnavailableError
from anomaly.groups import Group
from anomaly.ports import NO_REMARKS, Incident, Links, Posted
from anomaly.ports.posts import Digest, News, Remarks, Weekly

EVENT_TYPE = "anomaly_incident"
LOOK_BACK_PAGES = 5
LOOK_BACK_PAGE = 200
LONGEST_PAUSE = 30
"""Seconds that a rate limit is waited out for; a task that sleeps longer holds up others."""
PAUSES = 3
"""For one call; then it is for the outbox, too."""
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
    "thread_not_found": "somebody deleted it; post it anew",
    "cant_update_message": "it is another bot's; give the connection the token of the bot that posted it",
    "msg_too_long": "this is a mistake in anomaly.adapters.messages; report it with this text",
    "invalid_blocks": "this is a mistake in anomaly.adapters.messages; report it with this text",
    "restricted_action": "a workspace setting keeps the bot from posting there; ask a workspace administrator",
}


class SlackChannel:
    """Port `Channel` over Slack's Web API.

    Args:
        token: the bot's, ``xoxb-…``.
        base_url: another server that takes the same calls, such as the local preview; None for Slack.
        timeout: seconds per request.
        buttons: whether clicks on buttons can arrive, so that messages may have some.
        wait: called with the seconds to wait while Slack processes a chart, or asks for a pause.
    """

    def __init__(
        self,
        token: str,
        base_url: str | None = None,
        *,
        timeout: int = 30,
        buttons: bool = False,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = WebClient(
            token=token,
            base_url=base_url or WebClient.BASE_URL,
            timeout=timeout,
            retry_handlers=[_ShortPauses(wait)],
            # The SDK logs an error for every failed request; here each becomes an exception that says more.
            logger=_quiet_logger(),
        )
        # The SDK's own reading of the proxy variables forgets NO_PROXY; without it, urllib reads them itself.
        self._client.proxy = None
        self._wait = wait
        self._buttons = buttons
        self._ids: dict[str, str] = {}
        self._keys: dict[str, dict[str, str]] = {}
        """By channel id: the ts of each key that is there."""

    def post(
        self,
        group: Group,
        incident: Incident,
        *,
        png: bytes,
        links: Links,
        key: str,
        channel: str | None = None,
        remarks: Remarks = NO_REMARKS,
    ) -> Posted:
        """See `Channel.post`."""
        where = channel or group.slack.channel
        there = self._find(where, key)
        words = message_words(group, incident)
        if there is not None:
            return self._posted(*there, words=words, found=True)
        file_id = self._upload(incident, png)
        with self._knowing(where, key) as known:
            response = self._send(
                "chat.postMessage",
                group,
                incident,
                links,
                remarks,
                channel=where,
                file_id=file_id,
                metadata=_metadata(group, key, file_id),
                unfurl_links=False,
                unfurl_media=False,
            )
            known.append(response)
        return self._posted(str(response["channel"]), str(response["ts"]), words=words)

    def update(
        self,
        group: Group,
        incident: Incident,
        *,
        links: Links,
        png: bytes | None = None,
        remarks: Remarks = NO_REMARKS,
    ) -> Posted:
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
            remarks,
            channel=channel,
            file_id=file_id,
            metadata=_metadata(group, str(payload.get("key", "")), file_id),
            ts=ts,
        )
        if before and before != file_id:
            self._delete(str(before))
        return self._posted(str(response["channel"]), str(response["ts"]), words=message_words(group, incident))

    def reply(self, group: Group, incident: Incident, news: News, *, key: str, broadcast: bool = False) -> Posted:
        """See `Channel.reply`."""
        channel, thread = incident.channel, incident.slack_ts
        if channel is None or thread is None:
            raise SlackRejectedError(
                f"incident {incident.id} of group {group.name!r} has no message to reply to (channel {channel!r}, "
                f"ts {thread!r}); post it first"
            )
        there = self._find_reply(channel, thread, key)
        words = reply_words(group, incident, news)
        if there is not None:
            return self._posted(channel, there, words=words, found=True)
        response = self._call(
            "chat.postMessage",
            json={
                "channel": channel,
                "thread_ts": thread,
                "text": reply_text(incident, news),
                "blocks": reply_blocks(group, incident, news, broadcast=broadcast),
                "metadata": _metadata(group, key, None),
                "unfurl_links": False,
                "unfurl_media": False,
                **({"reply_broadcast": True} if broadcast else {}),
            },
        )
        return self._posted(str(response["channel"]), str(response["ts"]), words=words)

    def point(self, group: Group, incident: Incident, *, channel: str, links: Links, key: str) -> Posted:
        """See `Channel.point`."""
        blocks = pointer_blocks(group, incident, links)
        done = self._post_once(group, channel, key, pointer_text(incident), blocks)
        return replace(done, words=pointer_words(incident))

    def digest(self, group: Group, digest: Digest, *, links: Links, key: str) -> Posted:
        """See `Channel.digest`."""
        blocks = digest_blocks(group, digest, links)
        return self._post_once(group, group.slack.channel, key, digest_text(group, digest), blocks)

    def weekly(self, group: Group, weekly: Weekly, *, links: Links, key: str) -> Posted:
        """See `Channel.weekly`."""
        blocks = weekly_blocks(group, weekly, links)
        return self._post_once(group, group.slack.channel, key, weekly_text(group, weekly), blocks)

    # --- sending ----------------------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        group: Group,
        incident: Incident,
        links: Links,
        remarks: Remarks,
        *,
        channel: str,
        file_id: str | None,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """Posts or edits; again while Slack processes the chart, and in the end without it."""
        body = {"channel": channel, "text": fallback_text(group, incident), **arguments}

        def blocks(file_id: str | None) -> list[Block]:
            buttons = self._buttons and group.slack.buttons
            return incident_blocks(group, incident, links=links, file_id=file_id, remarks=remarks, buttons=buttons)

        for seconds in (*PROCESSING_WAITS, None) if file_id else ():
            try:
                return self._call(method, json={**body, "blocks": blocks(file_id)})
            except _FileNotReadyError:
                if seconds is not None:
                    self._wait(seconds)
        if file_id:
            _log.warning(
                "%s: Slack has not processed chart %s yet; telling %s without it", group.name, file_id, channel
            )
        return self._call(method, json={**body, "blocks": blocks(None)})

    def _post_once(self, group: Group, where: str, key: str, text: str, blocks: list[Block]) -> Posted:
        there = self._find(where, key)
        if there is not None:
            return self._posted(*there, found=True)
        body = {"channel": where, "text": text, "blocks": blocks, "metadata": _metadata(group, key, None)}
        with self._knowing(where, key) as known:
            response = self._call("chat.postMessage", json={**body, "unfurl_links": False, "unfurl_media": False})
            known.append(response)
        return self._posted(str(response["channel"]), str(response["ts"]))

    @contextmanager
    def _knowing(self, where: str, key: str) -> Iterator[list[Mapping[str, Any]]]:
        """Keeps the keys of a channel right while something is posted to it: what failed may be there or not."""
        answers: list[Mapping[str, Any]] = []
        try:
            yield answers
        except SlackUnavailableError:
            self._keys.pop(self._ids.get(where, where), None)
            raise
        for answer in answers:
            self._ids[where] = str(answer["channel"])
            if str(answer["channel"]) in self._keys:  # else it has not been read, and is when it is asked for
                self._keys[str(answer["channel"])][key] = str(answer["ts"])

    def _upload(self, incident: Incident, png: bytes) -> str:
        """The chart as a file of the bot's own; returns its id."""
        name = f"{incident.group}-{incident.start:%Y%m%dT%H%M}.png"
        for pause in range(PAUSES, -1, -1):
            try:
                response = self._client.files_upload_v2(
                    content=png,
                    filename=name,
                    title=headline(incident)[:200],
                    highlight_type="png",
                    request_file_info=False,
                )
                break
            except HTTPError as failure:  # of the second step, where the SDK has no retries
                asked = _retry_after({"headers": dict(failure.headers)}) or timedelta(seconds=1)
                if failure.code != HTTPStatus.TOO_MANY_REQUESTS or not pause or asked.total_seconds() > LONGEST_PAUSE:
                    _raise("files.upload", name, failure)
                self._wait(asked.total_seconds())
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
        if channel_id not in self._keys:
            self._keys[channel_id] = self._read_keys(channel_id)
        ts = self._keys[channel_id].get(key)
        return None if ts is None else (channel_id, ts)

    def _read_keys(self, channel_id: str) -> dict[str, str]:
        pages = self._pages(
            "conversations.history",
            LOOK_BACK_PAGES,
            channel=channel_id,
            limit=LOOK_BACK_PAGE,
            include_all_metadata=True,
        )
        found: dict[str, str] = {}
        for page in pages:
            for message in page["messages"]:
                key = _payload_of(message).get("key")
                if key and message.get("subtype") != "tombstone":
                    found.setdefault(str(key), str(message["ts"]))
        return found

    def _find_reply(self, channel: str, thread: str, key: str) -> str | None:
        """The ts of the reply that carries the key.

        Raises:
            MessageGoneError: the thread's first message was deleted.
        """
        pages = self._pages(
            "conversations.replies", None, channel=channel, ts=thread, limit=LOOK_BACK_PAGE, include_all_metadata=True
        )
        for page in pages:
            for message in page["messages"]:
                if message["ts"] == thread and message.get("subtype") == "tombstone":
                    raise self._gone(channel, thread)
                if message["ts"] != thread and _payload_of(message).get("key") == key:
                    return str(message["ts"])
        return None

    def _gone(self, channel: str, ts: str) -> MessageGoneError:
        self._keys.pop(channel, None)
        return MessageGoneError(
            f"Slack has no message {ts} in channel {channel} any more: {_WHAT_TO_DO['message_not_found']}"
        )

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
            if message["ts"] == ts and message.get("subtype") != "tombstone":
                return _payload_of(message)
        raise self._gone(channel, ts)

    def _posted(self, channel: str, ts: str, *, words: str = "", found: bool = False) -> Posted:
        """With the permalink, which is a convenience: the message stands without it."""
        try:
            permalink = str(self._call("chat.getPermalink", params={"channel": channel, "message_ts": ts})["permalink"])
        except (SlackUnavailableError, SlackRejectedError) as failure:
            _log.warning("no permalink for message %s: %s", ts, failure)
            permalink = None
        return Posted(channel=channel, ts=ts, permalink=permalink, found=found, words=words)

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
            if isinstance(failure, SlackApiError) and _error_of(failure) in _GONE:
                self._keys.pop(str(where), None)
            _raise(method, str(where), failure)
        return cast("Mapping[str, Any]", response.data)


_log = logging.getLogger(__name__)
_FAILURES = (SlackClientError, OSError, HTTPException, TimeoutError)


_GONE = frozenset({"message_not_found", "thread_not_found"})


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
    error = _error_of(failure)
    if error is None or error in _TRANSIENT or status == 429 or (isinstance(status, int) and status >= 500):
        raise SlackUnavailableError(
            f"Slack answered {at} with {error or 'no JSON'} (HTTP {status}). The message is kept and tried again",
            retry_after=_retry_after(response),
        ) from failure
    details = _details(data)
    kind: type[SlackRejectedError] = SlackRejectedError
    if error in _GONE:
        kind = MessageGoneError
    elif error == "invalid_blocks" and "slack file" in details:
        kind = _FileNotReadyError
    advice = _WHAT_TO_DO.get(error, f"see https://docs.slack.dev/reference/methods/{method}#errors")
    raise kind(f"Slack refused {at}: {error}{f' ({details})' if details else ''}; {advice}") from failure


def _error_of(failure: SlackApiError) -> str | None:
    response = failure.response
    data = response if isinstance(response, dict) else response.data
    return data.get("error") if isinstance(data, dict) else None


def _retry_after(response: Any) -> timedelta | None:
    """How long Slack asks to be left alone."""
    headers = response.get("headers") if isinstance(response, dict) else response.headers
    found = [value for name, value in dict(headers or {}).items() if name.lower() == "retry-after"]
    seconds = found[0][0] if found and isinstance(found[0], list) else found[0] if found else ""
    return timedelta(seconds=int(seconds)) if str(seconds).isdecimal() else None


class _ShortPauses(RetryHandler):
    """Waits rate limits out, if Slack asks for no more than a short pause."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        super().__init__(max_retry_count=PAUSES)
        self._sleep = wait

    def _can_retry(
        self,
        *,
        state: RetryState,  # noqa: ARG002
        request: HttpRequest,  # noqa: ARG002
        response: HttpResponse | None = None,
        error: Exception | None = None,  # noqa: ARG002
    ) -> bool:
        return response is not None and response.status_code == 429 and _pause(response) <= LONGEST_PAUSE

    def prepare_for_next_attempt(
        self,
        *,
        state: RetryState,
        request: HttpRequest,  # noqa: ARG002
        response: HttpResponse | None = None,
        error: Exception | None = None,  # noqa: ARG002
    ) -> None:
        state.next_attempt_requested = True
        self._sleep(_pause(response) if response else 1.0)
        state.increment_current_attempt()


def _pause(response: HttpResponse) -> float:
    asked = _retry_after({"headers": response.headers})
    return 1.0 if asked is None else asked.total_seconds()


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
