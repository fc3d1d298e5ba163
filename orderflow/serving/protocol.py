"""HTTP/1.1 of every server of ours: uvicorn's, by h11, within bounds of time and size.

A head has 32 KiB and 100 fields at most (431), and is whole within 10 s of the connection's beginning or its own first
byte, else the connection is closed; a body is whole within 30 s of its head (408). h11 drops trailers and refuses what
could be read in two ways, such as two Hosts; so do we with a length and chunks at once. A target that is a whole URL is
its path, and its authority is the Host. What cannot become a request is answered with a problem document all the same.
"""

import asyncio
import functools
import json
import re
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from orderflow.serving.connections import MOST_OF_A_PEER, Connections
from orderflow.serving.peers import Network

#: From a connection's beginning, or a request's first byte, to the end of the request's head.
HEAD_SECONDS: Final = 10.0
#: From there to the end of its body.
BODY_SECONDS: Final = 30.0
#: Of a request line with all headers; what clients and proxies send is a tenth of it.
MOST_HEAD_BYTES: Final = 32 * 1024
MOST_FIELDS: Final = 100
#: A target as clients of a proxy send it: its authority, without userinfo, and its path and query.
_URL: Final = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE)
#: On every answer: nobody keeps it, takes it for a page, or shows it in one.
SAFE_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
#: Of a problem that is told before there is a request: its slug and title by its status.
_PROBLEMS: Final = {
    400: ("malformed", "Malformed request"),
    408: ("too_slow", "Too slow"),
    431: ("headers_too_large", "Headers too large"),
    503: ("overloaded", "Too much to do"),
}


class _Heads(h11.Connection):
    """h11 that also bounds heads which come whole, and tells ``protocol`` what has come."""

    def __init__(self, protocol: "BoundedProtocol") -> None:
        super().__init__(h11.SERVER, MOST_HEAD_BYTES)
        self._protocol = protocol
        self.too_large = False
        #: Nothing comes after the answer that is under way, which says so (RFC 9112 9.6).
        self.is_last = False

    def send(self, event: Any) -> Any:
        """See h11."""
        if self.is_last and isinstance(event, h11.Response) and b"connection" not in dict(event.headers):
            event = h11.Response(
                status_code=event.status_code,
                headers=[*event.headers.raw_items(), (b"Connection", b"close")],
                http_version=event.http_version,
                reason=event.reason,
            )
        return super().send(event)

    def next_event(self) -> Any:
        """See h11. Raises RemoteProtocolError."""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check(event)
                event = _by_its_path(event)
        except h11.RemoteProtocolError as error:
            self.too_large = error.error_status_hint == 431
            raise
        if isinstance(event, h11.Request):
            self._protocol.head_came(has_body=self.their_state is h11.SEND_BODY)
        elif isinstance(event, h11.EndOfMessage):
            self._protocol.body_came()
        return event


def _check(request: h11.Request) -> None:
    fields = request.headers.raw_items()
    # With what stands between them: `: ` and the line's end.
    size = len(request.method) + len(request.target) + 12 + sum(len(name) + len(value) + 4 for name, value in fields)
    if size > MOST_HEAD_BYTES or len(fields) > MOST_FIELDS:
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
    names = {name.lower() for name, _ in fields}
    if {b"content-length", b"transfer-encoding"} <= names:
        raise h11.RemoteProtocolError("a length and chunks at once")


def _by_its_path(request: h11.Request) -> h11.Request:
    """As a client that knows of no proxy says it. RFC 9112 3.2.2: the target's authority takes the place of Host."""
    target, asks = request.target, request.method == b"OPTIONS"
    if target.startswith(b"/") or (asks and target == b"*") or request.method == b"CONNECT":
        return request
    url = _URL.fullmatch(target)
    if url is None:
        raise h11.RemoteProtocolError("the target is neither a path nor a URL")
    path = url[2] or (b"*" if asks else b"/")
    fields = [(name, value) for name, value in request.headers.raw_items() if name.lower() != b"host"]
    return h11.Request(
        method=request.method,
        headers=[(b"Host", url[1]), *fields],
        target=path if path[:1] != b"?" else b"/" + path,
        http_version=request.http_version,
    )


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, within bounds. Use ``within``."""

    def __init__(
        self, *arguments: Any, admitted: Connections, head_seconds: float, body_seconds: float, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self.conn: _Heads = _Heads(self)
        self._admitted = admitted
        self._head_seconds = head_seconds
        self._body_seconds = body_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """See Connection."""
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        if self._admitted.admit(self, self.client[0] if self.client else None):
            self._expect_head()
        else:
            self._refuse(503, "This process has too many connections in use, or too many of yours.")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        self._admitted.left(self)
        self._stop_timers()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """See uvicorn: the server stops, and closes this connection after the answer that is under way."""
        self.conn.is_last = True
        super().shutdown()

    def handle_events(self) -> None:
        """Read what has come. What begins a request and does not end its head has only so long."""
        if self.transport.is_closing():
            return
        super().handle_events()
        if self._head_timer is None and self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._expect_head()

    def head_came(self, *, has_body: bool) -> None:
        """A request begins to be served."""
        self._stop_timers()
        self._admitted.busy(self)
        if has_body:
            self._body_timer = self.loop.call_later(self._body_seconds, self._body_is_late)

    def body_came(self) -> None:
        """The whole request is here."""
        self._stop_timers()

    def on_response_complete(self) -> None:
        """It was answered."""
        self._admitted.idle(self)
        super().on_response_complete()  # which may begin with one that came meanwhile

    def send_400_response(self, msg: str) -> None:
        """What cannot be read as a request."""
        if self.conn.too_large:
            self._refuse(431, f"A request's head has at most {MOST_HEAD_BYTES:,} bytes and {MOST_FIELDS} fields.")
        else:
            self._refuse(400, "This is no HTTP/1.1 request, or one that could be read in two ways.")

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self.timeout_keep_alive_handler)

    def _body_is_late(self) -> None:
        self._body_timer = None
        self._refuse(408, f"The body was not whole {self._body_seconds:.0f} s after its head.")

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._body_timer = None

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, unless another answer has begun, and close."""
        self._stop_timers()
        is_served = self.cycle is not None and not self.cycle.response_complete
        if not is_served or not self.cycle.response_started:
            self.transport.write(_answer(status, detail, self.scope if is_served else None))
        self.transport.close()


def reference(path: str) -> str:
    """A decoded path as a URI reference (RFC 3986) that names no other host."""
    return "/" + quote(path.lstrip("/"), safe="/!$&'()*+,;=:@~", errors="replace")


def _answer(status: int, detail: str, scope: Any) -> bytes:
    """``scope``: of the request that is answered; None: none has come so far."""
    slug, title = _PROBLEMS[status]
    known = scope or {"path": "/"}
    correlation_id = known.get("state", {}).get("correlation_id") or uuid.uuid4().hex
    problem = {
        "type": f"urn:orderflow:problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": reference(known["path"]),
        "correlation_id": correlation_id,
    }
    body = json.dumps(problem).encode()
    fields = [
        (b"content-type", b"application/problem+json"),
        (b"x-correlation-id", correlation_id.encode()),
        (b"connection", b"close"),
        (b"content-length", b"%d" % len(body)),
        *SAFE_HEADERS,
    ]
    if status == 503:
        fields.append((b"retry-after", b"1"))
    head = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
    return head + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + body


def within(
    most: int,
    *,
    most_of_a_peer: int = MOST_OF_A_PEER,
    proxies: Sequence[Network] = (),
    head_seconds: float = HEAD_SECONDS,
    body_seconds: float = BODY_SECONDS,
) -> Any:
    """For ``uvicorn.Config(http=...)``: connections of one server, ``most`` at once. See Connections."""
    return functools.partial(
        BoundedProtocol,
        admitted=Connections(most, most_of_a_peer, proxies),
        head_seconds=head_seconds,
        body_seconds=body_seconds,
    )
