"""The client of the HTTP API, beside an API that it cannot trust: what it shows of a key, what it takes and for how long."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from orderflow import client as module
from orderflow.client import ApiClient, How, Unreachable

KEY = "ofk_dev_S3CRET"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
#: Writes an answer, or what is none.
Answers = Callable[[asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def answering(answers: Answers) -> AsyncIterator[str]:
    """The URL of a server that answers each connection so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answers(writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _is_empty(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("ending", ["\n", "\r\nX-Admin: 1", "\x00", "\x7f\x00"])
async def test_a_key_that_cannot_be_sent_is_not_shown(ending: str) -> None:
    async with answering(_is_empty) as url, ApiClient(url, key=KEY + ending) as api:
        with pytest.raises(Unreachable) as refused:
            await api.get("/orders")
    assert "S3CRET" not in str(refused.value)
    assert url in str(refused.value)


async def test_a_header_that_is_not_ascii_is_the_apis_to_judge() -> None:
    seen: list[bytes] = []

    def api(request: httpx.Request) -> httpx.Response:
        seen.extend(value for name, value in request.headers.raw if name.lower() == b"idempotency-key")
        return httpx.Response(200, json={})

    async with ApiClient("http://api", transport=httpx.MockTransport(api)) as client:
        await client.post("/orders", {}, How(key="clé"))
    assert seen == ["clé".encode()]
