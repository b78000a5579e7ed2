"""An application that is made at its first request.

Every process of Airflow loads every plugin: the scheduler and each task must not pay for pages that only the API server
shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from starlette.types import ASGIApp, Receive, Scope, Send


class MadeWhenAsked:
    """Args:
    make: makes the application; called once.
    """

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make

    @cached_property
    def _app(self) -> ASGIApp:
        return self._make()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
