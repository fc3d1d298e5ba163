"""Pages of other origins, for a script of which a browser lets an answer through only if we name the page.

None, unless ``ORDERFLOW_API_ORIGINS`` lists it. No cookies are involved: the script has a key of its own.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from api.http.methods import allowed

_SENT: Final = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer, X-Correlation-ID, traceparent"
)
_READ: Final = (
    b"ETag, Idempotent-Replayed, Location, Preference-Applied, Retry-After, WWW-Authenticate, X-Correlation-ID"
)
#: How long a browser remembers what it was told.
_SECONDS: Final = 600


class Cors:
    """``origins``: the pages, such as ``https://shop.example``."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)
        self.vary = b"Authorization, Origin" if self._origins else b"Authorization"

    def knows(self, origin: str) -> bool:
        """Whether the page is listed."""
        return origin in self._origins

    def headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """What an answer says to a listed page."""
        if not self._origins:
            return []
        origin = Headers(scope=scope).get("origin", "")
        if not self.knows(origin):
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _READ),
        ]

    def preflight(self, scope: Scope) -> Response | None:
        """The answer to a browser that asks what a listed page may send; None: it is no such question."""
        headers = Headers(scope=scope)
        if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        if not self.knows(headers.get("origin", "")) or not (methods := allowed(scope)):
            return None
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": methods,
                "Access-Control-Allow-Headers": _SENT,
                "Access-Control-Max-Age": str(_SECONDS),
            },
        )
