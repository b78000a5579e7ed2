"""The buttons of an incident's message: a click opens a dialog, its submission labels or snoozes.

In: what Slack sends when somebody presses a button or submits a dialog, over either of its two transports:

* **Socket Mode** (`listener`): this side opens the connection, so that nothing has to be reachable from outside. Needs
  an app-level token (``xapp-…``, scope ``connections:write``) as ``app_token`` in the Slack connection's extra.
* **HTTP** (`http_app`): Slack calls an address. Its signature is the only check of who calls: an HMAC of the body and
  the time, with the ``signing_secret`` in the connection's extra; what is older than five minutes is refused.

Out: labels and snoozes through `anomaly.stages.label`, and the message edited.

Slack waits three seconds for an answer, so each request is acknowledged first; a dialog is opened at once and says
what a label would change when that is worked out. What goes wrong is told to the person who clicked, and to nobody
else. A request that is replayed says nothing new: a label carries the moment at which its request was signed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from anomaly.adapters.messages import escaped, shortened
from anomaly.adapters.slack_modals import (
    LABEL_VIEW,
    REASON,
    SNOOZE_VIEW,
    WHAT,
    Asked,
    label_view,
    reason_given,
    snooze_given,
    snooze_view,
    snoozed_words,
)
from anomaly.exceptions import AnomalyError, ConfigurationError, TransientError, UnknownIncidentError
from anomaly.groups import Group
from anomaly.ports import Incident, Store
from anomaly.ports.labels import Labels, LabelWord
from anomaly.stages.label import effect_of, give, snooze
from anomaly.stages.labelled import known_incident

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slack_bolt import Ack, App, Respond
    from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler
    from slack_sdk import WebClient
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

LONGEST_BODY = 1_000_000
"""Bytes of a request; a dialog with its message is some 20,000."""
LABEL_ACTION = re.compile(r"label:(real|false_alarm|expected)")
SNOOZE_ACTION = "snooze"
USUAL_CONNECTION = "anomaly_slack"


@dataclass(frozen=True, slots=True)
class SlackActions:
    """What clicks do. All parts may be called from several threads at once."""

    token: str
    """The bot's, ``xoxb-…``."""
    groups: Callable[[], Sequence[Group]]
    """Those whose messages this connection posts: a click can reach no other."""
    store: Store
    labels: Labels
    tell: Callable[[Group], object]
    """Delivers what waits in the group's outbox."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    base_url: str | None = None
    """Another server that takes the same calls as Slack, such as the local preview."""

    def app(self, signing_secret: str | None = None) -> App:
        """The handlers, as an app of slack_bolt.

        Args:
            signing_secret: of HTTP requests; without it, only Socket Mode is taken.
        """
        from slack_bolt import App
        from slack_bolt.authorization import AuthorizeResult
        from slack_sdk import WebClient

        client = WebClient(base_url=self.base_url or WebClient.BASE_URL, timeout=10)
        client.proxy = None  # as in `anomaly.adapters.slack`: urllib reads the proxy variables, and NO_PROXY too
        app = App(
            client=client,
            signing_secret=signing_secret,
            # Without a secret, every HTTP request fails its check; Socket Mode has none.
            authorize=lambda enterprise_id, team_id: AuthorizeResult(
                enterprise_id=enterprise_id, team_id=team_id, bot_token=self.token
            ),
            logger=logging.getLogger(f"{__name__}.bolt"),
        )
        app.action(LABEL_ACTION)(self._label_pressed)
        app.action(SNOOZE_ACTION)(self._snooze_pressed)
        app.action(re.compile(".*"))(_acknowledged)  # buttons that are links
        app.view(LABEL_VIEW)(self._label_submitted)
        app.view(SNOOZE_VIEW)(self._snooze_submitted)
        app.error(_told_to_the_log)
        return app

    # --- buttons ------------------------------------------------------------------------------------------------

    def _label_pressed(self, ack: Ack, body: Mapping[str, Any], client: WebClient, respond: Respond) -> None:
        ack()
        action = body["actions"][0]
        word = cast("LabelWord", action["action_id"].removeprefix("label:"))
        with _told_to(respond):
            group, incident = self._incident(action["value"])
            asked = Asked(_id(incident), *_place(body), word)
            before = self.labels.of_incidents([asked.incident_id]).get(asked.incident_id)
            opened = client.views_open(
                trigger_id=body["trigger_id"], view=label_view(group, incident, asked, effect=None, before=before)
            )
            effect = effect_of(group, asked.incident_id, word, store=self.store, labels=self.labels, now=self._at({}))
            client.views_update(
                view_id=opened["view"]["id"], view=label_view(group, incident, asked, effect=effect, before=before)
            )

    def _snooze_pressed(self, ack: Ack, body: Mapping[str, Any], client: WebClient, respond: Respond) -> None:
        ack()
        with _told_to(respond):
            group, incident = self._incident(body["actions"][0]["value"])
            asked = Asked(_id(incident), *_place(body))
            client.views_open(trigger_id=body["trigger_id"], view=snooze_view(group, incident, asked))

    # --- dialogs ------------------------------------------------------------------------------------------------

    def _label_submitted(
        self, ack: Ack, body: Mapping[str, Any], view: Mapping[str, Any], client: WebClient, context: Mapping[str, Any]
    ) -> None:
        asked, reason = Asked.read(view["private_metadata"]), reason_given(view)
        if asked.word == "expected" and not reason:
            ack(response_action="errors", errors={REASON: "Say what was planned, so that the next one knows it, too."})
            return
        ack()
        with self._told_in(client, asked, body):
            group, _ = self._incident(asked.incident_id)
            give(
                group,
                asked.incident_id,
                cast("LabelWord", asked.word),
                reason=reason,
                author=_author(body),
                via="slack",
                store=self.store,
                labels=self.labels,
                now=self._at(context),
            )
            self._edited(group)

    def _snooze_submitted(
        self, ack: Ack, body: Mapping[str, Any], view: Mapping[str, Any], client: WebClient, context: Mapping[str, Any]
    ) -> None:
        asked, now = Asked.read(view["private_metadata"]), self._at(context)
        with self._told_in(client, asked, body, ack):
            group, incident = self._incident(asked.incident_id)
            try:
                variables, length = snooze_given(view, incident)
            except ValueError as gone:
                ack(response_action="errors", errors={WHAT: str(gone)})
                return
            ack()
            for variable in variables:
                snooze(
                    group,
                    variable,
                    now + length,
                    reason=reason_given(view),
                    author=_author(body),
                    via="slack",
                    labels=self.labels,
                    now=now,
                )
            _whisper(client, asked, body, snoozed_words(group, variables, now + length))
            if incident.slack_ts is not None:
                self.store.enqueue(asked.incident_id, "update")
                self._edited(group)

    # --- parts --------------------------------------------------------------------------------------------------

    def _incident(self, written: str | int) -> tuple[Group, Incident]:
        """
        Raises:
            UnknownIncidentError: there is none, it was withdrawn, or its group posts elsewhere.
        """
        number = int(written) if str(written).isdecimal() else -1
        found = self.store.incident(number)
        group = next((g for g in self.groups() if found is not None and g.name == found.group), None)
        if found is None or group is None:
            raise UnknownIncidentError(
                f"there is no incident {written} that this installation tells of here. The message may be an old one, "
                "or its group was renamed or moved to another Slack connection; the review page shows what there is"
            )
        return group, known_incident(group, number, self.store)

    def _at(self, context: Mapping[str, Any]) -> datetime:
        """When the request was signed; over Socket Mode, now."""
        return cast("datetime", context.get("signed_at") or self.clock())

    def _edited(self, group: Group) -> None:
        """The label is kept, whatever becomes of its message: the next run edits it."""
        try:
            self.tell(group)
        except AnomalyError as failure:
            log.warning("%s: the message is edited by the next run: %s", group.name, failure)

    @contextmanager
    def _told_in(
        self, client: WebClient, asked: Asked, body: Mapping[str, Any], ack: Ack | None = None
    ) -> Iterator[None]:
        """What goes wrong in a dialog is told in the channel it came from, to the person alone."""
        try:
            yield
        except Exception as failure:
            if ack is not None and ack.response is None:
                ack()
            log.warning("a dialog about incident %d failed", asked.incident_id, exc_info=failure)
            _whisper(client, asked, body, _failure_words(failure))


@contextmanager
def _told_to(respond: Respond) -> Iterator[None]:
    """What goes wrong with a button is told to the person who pressed it."""
    try:
        yield
    except Exception as failure:
        log.warning("a button failed", exc_info=failure)
        respond(text=escaped(_failure_words(failure)), response_type="ephemeral", replace_original=False)


def _failure_words(failure: Exception) -> str:
    if isinstance(failure, TransientError):
        return (
            ":warning: That was not kept: a part of the anomaly detection cannot be reached right now. Press the "
            f"button again in a few minutes; if it stays so, tell whoever runs it: {shortened(str(failure), 300)}"
        )
    if isinstance(failure, AnomalyError):
        return f":warning: That was not kept: {shortened(str(failure), 600)}"
    return (
        ":warning: That was not kept, because of a defect. Press the button again; if it stays so, report it with the "
        f"log of the listener: {type(failure).__name__}"
    )


def _whisper(client: WebClient, asked: Asked, body: Mapping[str, Any], text: str) -> None:
    """To one person, in the channel that the button was in; it is not worth a failure."""
    from slack_sdk.errors import SlackClientError

    try:
        client.chat_postEphemeral(
            channel=asked.channel, user=body["user"]["id"], text=escaped(text), thread_ts=asked.thread
        )
    except (SlackClientError, OSError) as failure:
        log.warning("%s could not be told %r: %s", _author(body), text, failure)


def _acknowledged(ack: Ack) -> None:
    ack()


def _told_to_the_log(error: Exception) -> None:
    log.error("a request of Slack failed", exc_info=error)


def _id(incident: Incident) -> int:
    return cast("int", incident.id)


def _place(body: Mapping[str, Any]) -> tuple[str, str | None]:
    """Channel, and the thread if the message is a reply in one."""
    container = body.get("container", {})
    channel = body.get("channel", {}).get("id") or container.get("channel_id", "")
    return str(channel), container.get("thread_ts")


def _author(body: Mapping[str, Any]) -> str:
    user = body["user"]
    return str(user.get("username") or user.get("name") or user["id"])


# --- transports -------------------------------------------------------------------------------------------------


def listener(actions: SlackActions, app_token: str) -> SocketModeHandler:
    """Takes clicks over Socket Mode: `connect` to begin, `close` to end.

    Raises:
        ConfigurationError: the token is not an app-level one.
    """
    from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler

    if not app_token.startswith("xapp-"):
        raise ConfigurationError(
            "extra.app_token of the Slack connection is not an app-level token, which begins with xapp-; make one "
            "with the scope connections:write under Basic Information > App-Level Tokens of the Slack app"
        )
    return SocketModeHandler(actions.app(), app_token)


def http_app(actions: Callable[[str], tuple[SlackActions, str | None]]) -> Starlette:
    """Takes clicks over HTTP: ``POST /actions``, the app's Interactivity Request URL.

    Groups that post over another connection than the usual one have ``POST /<connection>/actions``.

    Args:
        actions: of a connection's id, what clicks do and the signing secret; asked at each request, so that a
            changed group file or a new secret holds from the next click on.
    """
    from slack_bolt.adapter.starlette.handler import to_bolt_request, to_starlette_response
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    made: dict[str, tuple[tuple[str, str | None, str], App]] = {}

    def app(connection: str) -> App | None:
        """Made again when what it was made of has changed; each has threads of its own."""
        found, signing_secret = actions(connection)
        if not signing_secret:
            return None
        signed_with = (found.token, found.base_url, signing_secret)
        kept = made.get(connection)
        if kept is None or kept[0] != signed_with:
            kept = made[connection] = signed_with, found.app(signing_secret)
        return kept[1]

    async def act(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            return PlainTextResponse("too long", status_code=413)
        body = await request.body()
        connection = request.path_params.get("connection", USUAL_CONNECTION)
        try:
            handlers = await run_in_threadpool(app, connection)
        except AnomalyError as failure:
            log.warning("clicks in Slack cannot be taken: %s", failure)
            return PlainTextResponse("not available", status_code=503)
        if handlers is None:
            log.warning("a click in Slack was refused: the extra of connection %s has no signing_secret", connection)
            return PlainTextResponse("not configured", status_code=503)
        asked = to_bolt_request(request, body, {"signed_at": _signed_at(request)})
        return to_starlette_response(await run_in_threadpool(handlers.dispatch, asked))

    paths = ("/actions", "/{connection:str}/actions")
    return Starlette(routes=[Route(path, act, methods=["POST"]) for path in paths])


def _signed_at(request: Request) -> datetime | None:
    written = request.headers.get("x-slack-request-timestamp", "")
    return datetime.fromtimestamp(int(written), UTC) if written.isdecimal() and len(written) < 12 else None
