"""HTTP's methods beside those that routes name: HEAD is answered as GET is, without content, and OPTIONS by ``Allow``.

RFC 9110 9.1 wants GET and HEAD wherever there is something to read. ``OPTIONS *`` asks whether the server is there.
"""

from collections.abc import MutableMapping
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.prefix import path_below

_ROUTED: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


class Methods:
    """ASGI middleware. Where a path has no GET, a HEAD is answered as that GET would be: 405."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and path_below(scope) == "*":
            await Response(status_code=204)(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS" and (allow := allowed(scope)):
            await Response(status_code=204, headers={"Allow": allow})(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_content(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # A copy: to the server it stays a HEAD, and Content-Length may be what a GET would have.
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, send_without_content)
        finally:
            scope.update({name: as_get[name] for name in ("route",) if name in as_get})


def allowed(scope: MutableMapping[str, Any]) -> str:
    """The methods of the path, as ``Allow`` lists them; empty: there is nothing at this path."""
    routes = scope["app"].routes
    found = {
        method
        for method in _ROUTED
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    }
    if not found:
        return ""
    return ", ".join(sorted(found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set())))
