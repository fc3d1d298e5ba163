"""The HTTP API as the CLI calls it: one request, one reply or one error that says what to do.

Promises: a request without an answer is an ``Unreachable``, an answer that says no is a ``Refused`` with its problem
document, and a request with a key may be sent again (``patience_seconds``): it happens once. Whatever answers, it is
bounded as a whole: in time, and in bytes, of which none are compressed.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from orderflow import proxies, urls
from orderflow.pauses import Backoff

#: Beyond what the API itself is asked to wait.
ANSWER_SECONDS: Final = 15.0
#: Of one answer; a page of 200 orders with 200 lines each is less than half of it.
MOST_BYTES: Final = 16 * 1024 * 1024
#: Every answer of the API has it; what has not comes from something else, whatever it says.
CORRELATION_ID: Final = "X-Correlation-ID"
_BUSY: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
CONNECT_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 2.0


class Refused(Exception):
    """The API said no: ``problem`` is its RFC 9457 document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.status = status
        self.problem = problem

    @property
    def unavailable(self) -> bool:
        """Whether nothing was decided: the same request may be sent again."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE


class Unreachable(Exception):
    """No answer, or one that no OrderFlow gives. The request may or may not have arrived."""


class Busy(Unreachable):
    """A 502, 503 or 504 of what stands before the API, as while it is restarted: worth another try."""


class NoUrl(Exception):
    """What was given as the API's address is none, or the environment's proxy for it cannot be used."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API answered. ``replayed``: the same request had come before.

    ``accepted``: a ship, durable, whose capture is under way. ``unchanged``: it still has the version that was seen;
    then there is no ``data``.
    """

    status: int
    data: dict[str, Any]
    replayed: bool = False

    @property
    def accepted(self) -> bool:
        """202."""
        return self.status == HTTPStatus.ACCEPTED

    @property
    def unchanged(self) -> bool:
        """304."""
        return self.status == HTTPStatus.NOT_MODIFIED


@dataclass(frozen=True, slots=True)
class How:
    """How a change is asked for.

    ``key``: its Idempotency-Key (one is made without); ``version``: only if it has this version; ``wait_seconds``:
    how long the API may wait for a ship's outcome (0: not at all, None: as it likes).
    """

    key: str | None = None
    version: int | None = None
    wait_seconds: int | None = None

    def headers(self) -> dict[str, str]:
        """As HTTP says it."""
        headers = {"Idempotency-Key": self.key or str(uuid4())}
        if self.version is not None:
            headers["If-Match"] = f'"{self.version}"'
        if self.wait_seconds is not None:
            headers["Prefer"] = f"wait={self.wait_seconds}" if self.wait_seconds else "respond-async"
        return headers


def stock_path(sku: str) -> str:
    """Where the stock of ``sku`` is. ``.`` and ``..`` are encoded, so that they arrive and are refused there."""
    return f"/inventory/{quote(sku, safe='') if sku.strip('.') else sku.replace('.', '%2E')}"


class ApiClient:
    """``async with ApiClient(url) as api``. Every method raises Refused and Unreachable; NoUrl comes from the start.

    ``key``: the API key that it sends. ``patience_seconds``: how long a request whose outcome is unknown is sent again,
    with the same Idempotency-Key; not before the first answer, as the address may be wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        patience_seconds: float = 0.0,
        connections: int = 10,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._answered = False
        self._shown = urls.shown(self.url)
        try:
            parsed = httpx.URL(urls.check(self.url, urls.HTTP))
        except (httpx.InvalidURL, ValueError) as error:
            if urls.is_word(url):
                raise NoUrl(f"{url!r} is not the URL of an API, such as http://localhost:8080") from None
            raise NoUrl(f"that is not the URL of an API, such as http://localhost:8080: {error}") from None
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        try:
            transport = transport or proxies.transport(parsed, limits)
        except proxies.ProxyError as error:
            raise NoUrl(str(error)) from None
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._client = httpx.AsyncClient(base_url=self.url, transport=transport, trust_env=False, headers=headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, **query: object) -> Reply:
        """GET ``path``; a query parameter that is None is left out."""
        params = {name: str(value) for name, value in query.items() if value is not None}
        return await self._send("GET", path, {}, ANSWER_SECONDS, params=params)

    async def changed(self, path: str, version: int, wait_seconds: int) -> Reply:
        """GET ``path`` as soon as it has another version; ``unchanged`` where it has none after ``wait_seconds``."""
        headers = {"If-None-Match": f'"{version}"', "Prefer": f"wait={wait_seconds}"}
        return await self._send("GET", path, headers, ANSWER_SECONDS + wait_seconds)

    async def post(self, path: str, body: Mapping[str, Any], how: How | None = None) -> Reply:
        """POST ``body`` to ``path``."""
        return await self._change("POST", path, body, how or How())

    async def put(self, path: str, body: Mapping[str, Any], how: How | None = None) -> Reply:
        """PUT ``body`` to ``path``."""
        return await self._change("PUT", path, body, how or How())

    async def _change(self, method: str, path: str, body: Mapping[str, Any], how: How) -> Reply:
        timeout = ANSWER_SECONDS + (how.wait_seconds or 0)
        return await self._send(method, path, how.headers(), timeout, json=body)

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], timeout_seconds: float, **rest: Any
    ) -> Reply:
        deadline = time.monotonic() + self._patience_seconds
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            pause = backoff.next()
            try:
                return await self._once(method, path, headers, timeout_seconds, **rest)
            except Refused as error:
                if not error.unavailable or time.monotonic() + pause > deadline:
                    raise
            except Unreachable as error:
                if not (self._answered or isinstance(error, Busy)) or time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)

    async def _once(
        self, method: str, path: str, headers: Mapping[str, str], timeout_seconds: float, **rest: Any
    ) -> Reply:
        # httpx counts from one byte to the next, so the whole has a bound of its own.
        timeout, whole = httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS), timeout_seconds + CONNECT_SECONDS
        # As bytes: httpx fails on text that is not ASCII, and the API says what is wrong with it.
        sent = {name.encode(): value.encode() for name, value in headers.items()}
        asked = self._client.stream(method, path, headers=sent, timeout=timeout, **rest)
        try:
            async with asyncio.timeout(whole), asked as response:
                body = await self._body(response)
        except httpx.ConnectError:
            raise Unreachable(f"nothing answers at {self._shown}: is OrderFlow up (`orderflow up`)?") from None
        except (httpx.TimeoutException, TimeoutError):
            raise Unreachable(f"{self._shown} does not answer") from None
        except httpx.LocalProtocolError as error:  # whose text quotes the header, which may be the key's
            raise Unreachable(f"{self._shown} cannot be asked so: {type(error).__name__}") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"{self._shown}: {error or type(error).__name__}") from None
        reply = self._read(response, body)
        self._answered = True
        return reply

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unreachable(f"{self._shown} answers with what is compressed, which was not asked for")
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise Unreachable(f"{self._shown} answers with more than {MOST_BYTES:,} bytes")
        return bytes(body)

    def _read(self, response: httpx.Response, body: bytes) -> Reply:
        ours = CORRELATION_ID in response.headers
        if ours and response.status_code == HTTPStatus.NOT_MODIFIED:
            return Reply(response.status_code, {})
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        try:
            data = json.loads(body) if kind in ("application/json", "application/problem+json") else None
        except (ValueError, RecursionError):
            data = None
        if not ours or not isinstance(data, dict):
            raised = Busy if response.status_code in _BUSY else Unreachable
            raise raised(f"what answers at {self._shown} is not OrderFlow's API (HTTP {response.status_code})")
        if not response.is_success:
            raise Refused(response.status_code, data)
        return Reply(response.status_code, data, response.headers.get("idempotent-replayed") == "true")
