"""Counts requests: how many, how long, and which problems they were answered with."""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import problems
from api.http.prefix import path_below
from orderflow.telemetry.metrics import HTTP_PROBLEMS, HTTP_REQUESTS, HTTP_SECONDS

#: Asked by machines all day long: they would hide what clients see.
UNCOUNTED: Final = "/health/"
#: What clients can send in endless variety is counted under one name.
UNKNOWN_ROUTE: Final = "unknown"
OTHER: Final = "other"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """ASGI middleware, around those that answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or path_below(scope).startswith(UNCOUNTED):
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        finally:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
            HTTP_REQUESTS.add(method, route, str(status))
            HTTP_SECONDS.observe(time.perf_counter() - started, method, route)
            if slug := scope.get("state", {}).get(problems.ANSWERED):
                HTTP_PROBLEMS.add(method, route, slug if slug in problems.TYPES else OTHER, str(status))
