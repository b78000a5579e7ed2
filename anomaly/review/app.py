"""The pages as one application: who asks is found out first, then what they may see, then the page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from anomaly.adapters.world import World
from anomaly.exceptions import AnomalyError, TransientError
from anomaly.groups import Group
from anomaly.ports.review import Access, Person, Runs
from anomaly.review.access import WriteGuard, origins
from anomaly.review.data import data
from anomaly.review.desk import Desk, Visit
from anomaly.review.pages import details, overviews
from anomaly.review.rendering import STATIC, Rendering
from anomaly.review.writing import writing

log = logging.getLogger(__name__)

POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{what}-src 'self'" for what in ("script", "style", "connect", "font")),
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "base-uri 'none'",
    ]
)
"""What a page may load and who may frame it: only this server, and nothing that is written into the page itself."""

TITLES = {401: "You are signed out", 403: "Not for you", 404: "Not found", 422: "This cannot be", 503: "Try again"}


def create_app(
    world: Callable[[], World],
    groups: Callable[[], Sequence[Group]],
    access: Access,
    *,
    secret: bytes,
    runs: Runs | None = None,
    tell: Callable[[Group], object] | None = None,
    addresses: Sequence[str | None] = (),
    plugin_path: str = "",
    sign_in: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The application, to be mounted anywhere.

    Args:
        world: makes the stores, at each request.
        groups: all that there are, at each request.
        access: who may see and say what.
        secret: signs the tokens of writes; the same in every server that shows the pages.
        runs: the scheduler's runs, for links to them.
        tell: tells a group's channel what has changed; None leaves that to the next run.
        addresses: under which people reach the pages, where a proxy hides it from this server.
        plugin_path: the path at which the pages are shown in a frame; '' where they are not.
        sign_in: path of the page to sign in, to which ``?next=`` is added.
        clock: gives now, aware.
    """
    desk = Desk(world, groups, access, WriteGuard(secret, origins(addresses)), runs, clock, _quietly(tell))
    rendering = Rendering(plugin_path=plugin_path)

    somebody = Depends(access.person)

    def visiting(request: Request, person: Person = somebody) -> Visit:
        if "\0" in unquote(str(request.url)):
            raise HTTPException(422, "There is a character in the address that no text can hold.")
        return Visit(desk, request, person)

    def writer(request: Request, person: Person = somebody) -> Visit:
        desk.guard.check(request, person, now=desk.clock())
        return Visit(desk, request, person)

    app = FastAPI(title="Anomalies", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.include_router(writing(visiting, writer))
    app.include_router(data(visiting))
    app.include_router(overviews(rendering, visiting))
    app.include_router(details(rendering, visiting))
    app.middleware("http")(_headers)
    _handle_failures(app, rendering, sign_in)
    return app


def _quietly(tell: Callable[[Group], object] | None) -> Callable[[Group], None]:
    """The answer is sent by then: a failure is for the log, and the outbox keeps what was to be told."""

    def quiet(group: Group) -> None:
        try:
            if tell is not None:
                tell(group)
        except AnomalyError as failure:
            log.warning("the channel of %s was not told; the next run does it: %s", group.name, failure)

    return quiet


async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    kept = request.url.path.partition("/static/")[1] and request.query_params.get("v")
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-store"
    return response


def _handle_failures(app: FastAPI, rendering: Rendering, sign_in: str | None) -> None:
    """Failures as pages for people and as JSON for scripts."""

    def failed(request: Request, status: int, words: str) -> Response:
        if request.method != "GET" or "/data/" in request.url.path:
            return JSONResponse({"detail": words}, status_code=status)
        root = str(request.scope.get("root_path", "")).rstrip("/")
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        there = f"{sign_in}?next={quote(path, safe='')}" if sign_in and status == 401 else None
        return rendering.failure(root, status, TITLES.get(status, "Something went wrong"), words, sign_in=there)

    @app.exception_handler(StarletteHTTPException)
    async def of_http(request: Request, failure: StarletteHTTPException) -> Response:
        words = "Sign in to Airflow to see this page." if failure.status_code == 401 else str(failure.detail)
        return failed(request, failure.status_code, words)

    @app.exception_handler(RequestValidationError)
    async def of_input(request: Request, failure: RequestValidationError) -> Response:
        first: dict[str, Any] = dict(failure.errors()[0])
        place = ".".join(map(str, first["loc"][1:])) or str(first["loc"][0])
        return failed(request, 422, f"{place}: {first['msg']}")

    @app.exception_handler(OverflowError)
    async def of_range(request: Request, failure: OverflowError) -> Response:
        log.info("%s: %s", request.url.path, failure)
        return failed(request, 422, "A moment or a number of days in the address is out of range.")

    @app.exception_handler(AnomalyError)
    async def of_ours(request: Request, failure: AnomalyError) -> Response:
        log.warning("%s: %s", request.url.path, failure)
        return failed(request, 503 if isinstance(failure, TransientError) else 500, str(failure))
