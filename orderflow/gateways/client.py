"""One HTTP exchange with the payment gateway: one request, one answer of bounded length, within a bounded time.

httpx's transports do the HTTP, without its client: a payment call needs no redirects, cookies or encodings. Each
transport has one connection, and the calls share them here, because httpcore's pool looks at every idle connection,
with a system call for each, whenever a request comes or goes: with 16 calls at once, half of a call's CPU and more.
"""

import asyncio
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import httpx

from orderflow.domain.errors import Unavailable

GATEWAY: Final = "payment gateway"
#: Bytes of an answer to a payment call. What is longer is not read.
MOST_BYTES: Final = 64 * 1024
#: Seconds that an idle connection is kept: well under what servers do, so that none closes it under a request.
_KEPT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status."""

    status: int
    body: bytes


class GatewayClient:
    """Connections to the gateway at ``url``; ``async with`` closes them.

    ``timeout_seconds`` bounds a whole exchange, waiting for a free connection and connecting included.
    ``connections`` bounds how many there are: more than a worker's concurrent steps is never used.
    """

    def __init__(
        self,
        url: str,
        timeout_seconds: float,
        *,
        connections: int = 64,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        """``transport`` makes a transport of one connection, in place of httpx's own."""
        self.timeout_seconds = timeout_seconds
        self._url = httpx.URL(url)
        self._headers = _headers(self._url)
        self._path = self._url.raw_path.rstrip(b"/")
        self._transport = transport or _transports()
        self._permits = asyncio.Semaphore(connections)
        #: Those that no call has, each with the time since when; the longest idle one first.
        self._idle: deque[tuple[httpx.AsyncBaseTransport, float]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            await self._idle.popleft()[0].aclose()

    async def exchange(
        self,
        what: str,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        most_bytes: int = MOST_BYTES,
    ) -> Reply:
        """Send one request and read its answer. ``what`` names it in errors; ``body`` is JSON, or empty.

        Raises ``Unavailable`` when no whole answer came in time or it is longer than ``most_bytes``; RuntimeError when
        the request cannot be written as HTTP. Neither holds anything of the request.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds), self._permits:
                return await self._exchange(what, self._request(method, target, headers or {}, body), most_bytes)
        except TimeoutError:
            raise Unavailable(GATEWAY, f"no answer to {what} within {self.timeout_seconds:g} s") from None
        # The errors of httpx may hold the request, and the request the token: none of them goes on from here.
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeEncodeError) as error:
            raise RuntimeError(f"{what} cannot be sent: {type(error).__name__}") from None
        except httpx.RequestError as error:
            raise Unavailable(GATEWAY, f"no answer to {what}: {type(error).__name__}") from None

    async def _exchange(self, what: str, request: httpx.Request, most_bytes: int) -> Reply:
        transport = await self._take()
        try:
            response = await transport.handle_async_request(request)
            try:
                reply = Reply(response.status_code, await _read(what, response, most_bytes))
            finally:
                await response.aclose()
        except BaseException:
            # The rest of an answer may still come on this connection: nobody else shall read it.
            await transport.aclose()
            raise
        self._idle.append((transport, asyncio.get_running_loop().time()))
        return reply

    async def _take(self) -> httpx.AsyncBaseTransport:
        """The connection that was used last, so that those which are not needed grow old, and are closed here."""
        if self._idle and self._idle[0][1] < asyncio.get_running_loop().time() - _KEPT_SECONDS:
            await self._idle.popleft()[0].aclose()
        return self._idle.pop()[0] if self._idle else self._transport()

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> httpx.Request:
        given = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        if method != "GET":
            given += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
        return httpx.Request(
            method,
            self._url.copy_with(raw_path=self._path + target.encode("ascii")),
            headers=[*self._headers, *given],
            stream=httpx.ByteStream(body),
        )


def senseless(what: str, why: str) -> Unavailable:
    """An answer that the gateway's protocol does not know. ``why`` is in our words: nothing of the answer is kept."""
    return Unavailable(GATEWAY, f"the answer to {what} makes no sense: {why}")


async def _read(what: str, response: httpx.Response, most_bytes: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > most_bytes:
            raise senseless(what, f"it is longer than {most_bytes} bytes")
    return bytes(body)


def _headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    headers = [(b"Host", url.netloc), (b"Accept", b"application/json"), (b"Accept-Encoding", b"identity")]
    if url.userinfo:
        headers.append((b"Authorization", b"Basic " + b64encode(f"{url.username}:{url.password}".encode())))
    return headers


def _transports() -> Callable[[], httpx.AsyncBaseTransport]:
    # A proxy or .netrc of the environment has no business between us and payment tokens.
    verify = httpx.create_ssl_context(trust_env=False)
    one = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT_SECONDS)
    return lambda: httpx.AsyncHTTPTransport(verify=verify, limits=one, trust_env=False)
