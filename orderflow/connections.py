"""What clients may take of a process that serves HTTP, before any of it is a request: connections, time, headers.

Each connection is an open file, and a process may have only so many (``RLIMIT_NOFILE``). When there are too many, the
one that has been idle longest is closed; where none is idle, the new one is answered 503. A connection that sends
nothing, or a request's head bit by bit, is closed after a while, and a head that is too large is answered 431.
"""

import asyncio
import functools
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

#: From a connection's beginning, or a request's first byte, to the end of the request's head.
HEAD_SECONDS: Final = 20.0
#: Of a request line with all headers; what clients and proxies send is a tenth of it.
MOST_HEAD_BYTES: Final = 64 * 1024
MOST_HEADERS: Final = 100


class Connections:
    """The connections of one process, ``most`` at once; those without a request are known from the longest idle on."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open: set[BoundedProtocol] = set()
        self._idle: dict[BoundedProtocol, None] = {}

    def admit(self, protocol: "BoundedProtocol") -> bool:
        """Take in a new connection; for one too many the longest idle is closed. False: none is."""
        self.open.add(protocol)
        if len(self.open) > self.most:
            longest = next(iter(self._idle), None)
            if longest is None:
                return False
            self.left(longest)
            longest.transport.close()
        self._idle[protocol] = None
        return True

    def busy(self, protocol: "BoundedProtocol") -> None:
        """It has a request now."""
        self._idle.pop(protocol, None)

    def idle(self, protocol: "BoundedProtocol") -> None:
        """It has none any more."""
        if protocol in self.open:
            self._idle[protocol] = None

    def left(self, protocol: "BoundedProtocol") -> None:
        """It is closed."""
        self.open.discard(protocol)
        self._idle.pop(protocol, None)


class HeadTooLarge(Exception):
    """A request's head has more bytes, or more headers, than is allowed."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, within bounds. Use ``within``."""

    def __init__(self, *arguments: Any, admitted: Connections, head_seconds: float = HEAD_SECONDS, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._admitted = admitted
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        #: Of the head that is being read.
        self._bytes = self._headers = 0
        #: That came since the parser last had a whole part to hand over.
        self._unparsed = 0
        self._too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        if self._admitted.admit(self):
            self._expect_head()
        else:
            self._refuse(503, "overloaded", "Too much to do", "This process has too many connections in use.")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        self._admitted.left(self)
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Part of a request, or several."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._bytes = self._headers = 0
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; or a trailer."""
        self._count(len(name) + len(value), 1)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request begins to be served."""
        self._unparsed = 0
        self._head_came()
        self._admitted.busy(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of its body; whoever reads it bounds it."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._unparsed = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It was answered."""
        self._admitted.idle(self)
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:  # one that came meanwhile
            self._admitted.busy(self)

    def send_400_response(self, msg: str) -> None:
        """What cannot be read as a request."""
        if self._too_large:
            most = f"{MOST_HEAD_BYTES:,} bytes and {MOST_HEADERS} headers"
            self._refuse(431, "headers_too_large", "Headers too large", f"A request's head has at most {most}.")
        else:
            self._refuse(400, "malformed", "Malformed request", "This is no HTTP/1.1 request.")

    def _count(self, length: int, headers: int) -> None:
        self._bytes += length
        self._headers += headers
        if self._bytes > MOST_HEAD_BYTES or self._headers > MOST_HEADERS:
            self._too_large = True
            raise HeadTooLarge  # the parser stops here, and `send_400_response` is called

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self.timeout_keep_alive_handler)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, slug: str, title: str, detail: str) -> None:
        problem = {"type": f"urn:orderflow:problems/{slug}", "title": title, "status": status, "detail": detail}
        body = json.dumps(problem).encode()
        again = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/problem+json\r\nconnection: close\r\n"
            + again
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()


def within(most: int, *, head_seconds: float = HEAD_SECONDS) -> Any:
    """For ``uvicorn.Config(http=...)``: connections of one server, ``most`` at once."""
    return functools.partial(BoundedProtocol, admitted=Connections(most), head_seconds=head_seconds)
