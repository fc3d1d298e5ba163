"""The path prefix under which a proxy shows the API, such as ``/shop``: what leads back to us begins with it.

ASGI calls it ``root_path``, a part of ``path``. It comes from the server (``ORDERFLOW_API_ROOT_PATH``), else from
proxy's ``X-Forwarded-Prefix``; the proxy takes it off the path before it asks us.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from orderflow.serving.peers import Network, is_among

#: Nothing else: what begins with two slashes would name another host.
PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
MOST_CHARACTERS: Final = 200


class ForwardedPrefix:
    """ASGI middleware, around all others. The header counts from ``proxies`` alone, and only where it is a prefix."""

    def __init__(self, app: ASGIApp, proxies: Sequence[Network]) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not scope.get("root_path") and self._is_from_a_proxy(scope):
            sent = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
            if len(sent) <= MOST_CHARACTERS and PREFIX.fullmatch(sent):
                scope.update(root_path=sent, path=sent + scope["path"])
        await self._app(scope, receive, send)

    def _is_from_a_proxy(self, scope: Scope) -> bool:
        address, _ = scope.get("client") or (None, None)
        return is_among(address, self._proxies)


def root(scope: Mapping[str, Any]) -> str:
    """What every path that we give out begins with; mostly nothing."""
    return str(scope.get("root_path", "")).rstrip("/")


def path_below(scope: Mapping[str, Any]) -> str:
    """The path as our routes have it."""
    return str(scope["path"]).removeprefix(root(scope))
