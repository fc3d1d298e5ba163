"""How many requests a process has in hand at once: one more is sent away before anything of it is read."""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http import problems
from api.http.prefix import path_below
from orderflow.domain.errors import Problem

#: Each holds a connection, and a body of 256 KiB at most; those that wait for an outcome are among them.
MOST_REQUESTS: Final = 2000
#: Probes are answered in any case: a process that has much to do is not ill.
ALWAYS: Final = "/health/"
#: Where a request's state has what is to be called when it is over.
ENDS: Final = "ends"


class Admission:
    """ASGI middleware: 503 with Retry-After for what is too much."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or send it away."""
        if scope["type"] != "http" or path_below(scope).startswith(ALWAYS):
            await self._app(scope, receive, send)
            return
        if self._in_hand >= MOST_REQUESTS:
            detail = f"This process has {MOST_REQUESTS} requests in hand. Send it again, with the same key."
            problem = Problem(slug="overloaded", detail=detail, status=503)
            headers = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)}
            await problems.answer(scope, problem, headers)(scope, receive, send)
            return
        self._in_hand += 1
        ends: list[Callable[[], None]] = []
        scope.setdefault("state", {})[ENDS] = ends
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_hand -= 1
            for end in ends:
                end()
