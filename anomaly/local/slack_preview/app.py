"""The preview as an ASGI application: API, uploads, pages, and the Data Docs when there are some."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from anomaly.local.slack_preview.api import BROADCAST, METHODS, Call, Refusal, anchor, unknown_method
from anomaly.local.slack_preview.interactions import Interactions
from anomaly.local.slack_preview.rendering import mrkdwn, plain_text
from anomaly.local.slack_preview.storage import Record, Workspace

UPLOAD_LIMIT = 64 * 2**20
_IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif"}
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3.5" fill="#40305a"/>'
    '<path d="M2 9h3l1.5-4.5 2.5 8L11 9h3" fill="none" stroke="#fff" stroke-width="1.5"/></svg>'
)
_PAGE_POLICY = (
    "default-src 'none'; img-src 'self' https:; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
)


def create_app(folder: Path, *, data_docs: Path | None = None) -> Starlette:
    """The application.

    Args:
        folder: keeps channels, messages and files.
        data_docs: a folder to show at ``/data-docs/``; it may come into being later.
    """
    interactions = Interactions(_secret(folder))
    server = _Server(Workspace(folder), interactions)
    routes: list[BaseRoute] = [
        Route("/", server.home),
        Route("/channels/{name}", server.channel_page),
        Route("/archives/{channel}/{anchor}", server.permalink),
        Route("/files/{file}", server.file),
        Route("/api/{method}", server.api, methods=["GET", "POST"]),
        Route("/press", server.press, methods=["POST"]),
        Route("/views/{view}", server.submit, methods=["POST"]),
        Route("/respond/{key}", server.respond, methods=["POST"]),
        WebSocketRoute("/socket", server.socket),
        Route("/upload/v1/{file}", server.upload, methods=["POST"]),
        Route("/favicon.ico", server.icon),
        Route("/healthz", server.healthz),
    ]
    if data_docs is not None:
        routes.append(Mount("/data-docs", StaticFiles(directory=data_docs, html=True, check_dir=False)))
    # Without a check of the host, a web page elsewhere could read the channels through a name it points here.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    application = Starlette(routes=routes, middleware=[hosts])
    application.state.interactions = interactions
    return application


class _Server:
    def __init__(self, workspace: Workspace, interactions: Interactions) -> None:
        self._workspace = workspace
        self._interactions = interactions
        self._pages = Environment(
            loader=PackageLoader("anomaly.local.slack_preview"),
            autoescape=select_autoescape(default=True),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.filters |= {
            "mrkdwn": mrkdwn,
            "plain_text": plain_text,
            "clock": _clock,
            "day": _day,
            "anchor": anchor,
        }

    # --- the API ------------------------------------------------------------------------------------------------

    async def api(self, request: Request) -> Response:
        method = METHODS.get(request.path_params["method"], unknown_method)
        try:
            arguments = await _arguments(request)
            _authorise(request, arguments)
            call = Call(self._workspace, arguments, _origin(request), self._interactions)
            answer = method(call)
            if request.path_params["method"] in {"chat.update", "chat.postMessage"}:
                self._interactions.changes += 1
            return JSONResponse({"ok": True, **answer})
        except Refusal as refusal:
            return JSONResponse(refusal.answer)

    async def upload(self, request: Request) -> Response:
        file = self._workspace.file(request.path_params["file"])
        if file is None or file["state"] != "announced":
            return PlainTextResponse("no such upload", status_code=404)
        content = await request.body()
        if len(content) != file["size"] or len(content) > UPLOAD_LIMIT:
            return PlainTextResponse(f"got {len(content)} bytes, expected {file['size']}", status_code=400)
        self._workspace.store_content(file, content)
        return PlainTextResponse(f"OK - {len(content)}")

    # --- clicks -------------------------------------------------------------------------------------------------

    async def press(self, request: Request) -> Response:
        """A button of a message; leads back to the message, with the dialog that it opened."""
        given = await self._form(request)
        channel = self._workspace.channel(given.get("channel", ""))
        message = self._workspace.message(channel["id"], given.get("ts", "")) if channel else None
        element = _element(message, given.get("action", "")) if message else None
        if channel is None or message is None or element is None:
            return PlainTextResponse("no such button", status_code=404)
        view = await self._interactions.press(channel, message, element, origin=_origin(request))
        return _back(channel, message["ts"], view)

    async def submit(self, request: Request) -> Response:
        """A dialog: submitted, or closed."""
        given, view = await self._form(request), request.path_params["view"]
        channel = self._workspace.channel(given.get("channel", ""))
        if channel is None or view not in self._interactions.views:
            return PlainTextResponse("this dialog is closed already", status_code=404)
        if "cancel" in given:
            self._interactions.close(view)
            return _back(channel, given.get("ts", ""), None)
        errors = await self._interactions.submit(view, given, channel["id"])
        if errors:
            return self._page(channel, view=view, errors=errors, at=given.get("ts", ""))
        return _back(channel, given.get("ts", ""), view if view in self._interactions.views else None)

    async def respond(self, request: Request) -> Response:
        """An answer to one person, over the address that came with the click."""
        given = json.loads(await request.body())
        known = self._interactions.respond(request.path_params["key"], str(given.get("text", "")))
        return PlainTextResponse("ok" if known else "expired_url", status_code=200 if known else 404)

    async def socket(self, websocket: WebSocket) -> None:
        """A listener, over Socket Mode."""
        if not self._interactions.admitted(websocket.query_params.get("ticket", "")):
            await websocket.close(code=4001)
            return
        await websocket.accept()
        number = id(websocket)
        await websocket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A0ANOMALY0"}})
        self._interactions.connected(number, websocket.send_json)
        try:
            while True:
                self._interactions.acknowledged(json.loads(await websocket.receive_text()))
        except WebSocketDisconnect:
            pass
        finally:
            self._interactions.disconnected(number)

    async def _form(self, request: Request) -> dict[str, str]:
        """What a form of our own pages holds.

        Raises:
            HTTPException: it is not ours.
        """
        given = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        if not secrets.compare_digest(given.get("secret", ""), self._interactions.secret):
            raise HTTPException(403, "this page is older than the preview; load it again")
        return given

    async def icon(self, _: Request) -> Response:
        """Of the preview and the Data Docs: browsers ask for it in any case."""
        return Response(_ICON, media_type="image/svg+xml")

    async def healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    # --- the pages ------------------------------------------------------------------------------------------------

    async def home(self, _: Request) -> Response:
        channels = self._workspace.channels()
        if not channels:
            return self._page(None)
        return RedirectResponse(f"/channels/{channels[0]['name']}")

    async def channel_page(self, request: Request) -> Response:
        channel = self._workspace.channel(request.path_params["name"])
        shown = request.query_params
        return self._page(channel, status=200 if channel else 404, view=shown.get("view"), at=shown.get("at", ""))

    async def permalink(self, request: Request) -> Response:
        channel = self._workspace.channel(request.path_params["channel"])
        if channel is None:
            return self._page(None, status=404)
        return RedirectResponse(f"/channels/{channel['name']}#{request.path_params['anchor']}")

    async def file(self, request: Request) -> Response:
        file = self._workspace.file(request.path_params["file"])
        if file is None or file["state"] != "complete":
            return PlainTextResponse("no such file", status_code=404)
        media = _IMAGE_TYPES.get(file["filetype"], "application/octet-stream")
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=31536000, immutable"}
        return Response(self._workspace.content(file["id"]), media_type=media, headers=headers)

    def _page(
        self,
        channel: Record | None,
        *,
        status: int = 200,
        view: str | None = None,
        errors: Mapping[str, str] | None = None,
        at: str = "",
    ) -> Response:
        """A channel, and the dialog that is open.

        Args:
            view: the dialog's id.
            errors: mistakes in it, by block.
            at: the message that it was opened from.
        """
        messages = self._workspace.messages(channel["id"]) if channel else []
        replies: dict[str, list[Record]] = {}
        for message in messages:
            if "thread_ts" in message:
                replies.setdefault(message["thread_ts"], []).append(message)
        page = self._pages.get_template("channel.html").render(
            channels=self._workspace.channels(),
            channel=channel,
            messages=[m for m in messages if "thread_ts" not in m or m.get("subtype") == BROADCAST],
            replies=replies,
            parents={m["ts"]: m for m in messages},
            secret=self._interactions.secret,
            whispers=[w for w in self._interactions.whispers if channel and w.channel == channel["id"]],
            view=self._interactions.views.get(view or ""),
            errors=errors or {},
            at=at,
        )
        return HTMLResponse(page, status_code=status, headers={"Content-Security-Policy": _PAGE_POLICY})


def _secret(folder: Path) -> str:
    """Kept, so that a page that was loaded before a restart still works."""
    path = folder / "secret"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_urlsafe(16), encoding="ascii")
    return path.read_text(encoding="ascii")


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _element(message: Record, action: str) -> Record | None:
    """The message's button of this action."""
    elements = (e for b in message["blocks"] if b["type"] == "actions" for e in b["elements"])
    return next((e for e in elements if e.get("action_id") == action), None)


def _back(channel: Record, ts: str, view: str | None) -> Response:
    """To the channel's page, where the message is, with the dialog if one is open."""
    query = f"?{urlencode({'view': view, 'at': ts})}" if view else ""
    return RedirectResponse(f"/channels/{channel['name']}{query}#{anchor(ts)}", status_code=303)


async def _arguments(request: Request) -> dict[str, Any]:
    """From the query, and from a body of JSON or of a form."""
    arguments: dict[str, Any] = dict(request.query_params)
    body = await request.body()
    if not body:
        return arguments
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            given = json.loads(body)
        except json.JSONDecodeError:
            raise Refusal("invalid_json") from None
        if not isinstance(given, dict):
            raise Refusal("json_not_object")
        return arguments | {key: value for key, value in given.items() if value is not None}
    return arguments | dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _authorise(request: Request, arguments: dict[str, Any]) -> None:
    """Any token in the form of Slack's will do."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ").strip() or str(arguments.get("token", ""))
    if not token:
        raise Refusal("not_authed")
    if not token.startswith(("xox", "xapp-")):
        raise Refusal("invalid_auth")


def _clock(ts: str) -> str:
    return f"{datetime.fromtimestamp(float(ts)).astimezone():%H:%M}"


def _day(ts: str) -> str:
    moment = datetime.fromtimestamp(float(ts)).astimezone()
    return f"{moment:%A}, {moment.day} {moment:%B %Y}"
