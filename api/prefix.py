"""The path prefix under which a proxy shows the API, such as ``/shop``: what leads back to us begins with it.

ASGI calls it ``root_path``, a part of ``path``. It comes from the server (``ORDERFLOW_API_ROOT_PATH``), else from the
proxy's ``X-Forwarded-Prefix``; the proxy takes it off the path before it asks us.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

#: Nothing else: what begins with two slashes would name another host.
PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
MOST_CHARACTERS: Final = 200


class ForwardedPrefix:
    """ASGI middleware, around all others. A header that is no prefix is ignored: it is no client's, but a proxy's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not scope.get("root_path"):
            sent = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
            if len(sent) <= MOST_CHARACTERS and PREFIX.fullmatch(sent):
                scope.update(root_path=sent, path=sent + scope["path"])
        await self._app(scope, receive, send)


def root(scope: Mapping[str, Any]) -> str:
    """What every path that we give out begins with; mostly nothing."""
    return str(scope.get("root_path", "")).rstrip("/")


def path_below(scope: Mapping[str, Any]) -> str:
    """The path as our routes have it."""
    return str(scope["path"]).removeprefix(root(scope))
