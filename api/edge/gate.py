"""Refuses, before anything of a request is read, what its head alone forbids.

- a Host that is not ours (421): a page that made its own name lead here would else be of our origin (DNS rebinding);
- a request of another page (403): a browser sends it with what the user may do, and a command needs no body;
- a path with ``%2F`` or a control character (404): one that routes read otherwise than a proxy before us.

Probes ask by address, and are told nothing: ``/health/`` is answered under any name.
"""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.edge.addresses import Hosts, is_same_origin
from api.edge.cors import Cors
from api.http import problems
from api.http.prefix import path_below
from orderflow.domain.errors import Problem

_PROBES: Final = "/health/"
#: C0, DEL and C1. A route's pattern ends in ``$``, which also matches before a last newline.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, hosts: Hosts, cors: Cors) -> None:
        self._app = app
        self._hosts = hosts
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif slug := self._refusal(scope):
            kind = problems.TYPES[slug]
            problem = Problem(slug=slug, detail=kind.meaning, status=kind.status)
            await problems.answer(scope, problem)(scope, receive, send)
        else:
            await (self._cors.preflight(scope) or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._hosts and not path_below(scope).startswith(_PROBES):
            return "misdirected"
        if self._is_foreign(headers, host):
            return "foreign_origin"
        if b"%2f" in scope.get("raw_path", b"").lower() or _CONTROL.search(scope["path"]):
            return "not_found"
        return None

    def _is_foreign(self, headers: Headers, host: str) -> bool:
        origins = headers.getlist("origin")
        if origins:
            return not all(self._cors.knows(origin) or is_same_origin(origin, host) for origin in origins)
        return headers.get("sec-fetch-site") == "cross-site"
