"""The client of an HTTP API that cannot be trusted: what it shows of a key, what it takes, how long it waits."""

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
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Correlation-ID: 1\r\nConnection: close\r\n"
#: What every answer of the API has.
OURS = {"X-Correlation-ID": "c-1"}
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
        return httpx.Response(200, json={}, headers=OURS)

    async with ApiClient("http://api", transport=httpx.MockTransport(api)) as client:
        await client.post("/orders", {}, How(key="clé"))
    assert seen == ["clé".encode()]


async def _drips_a_head(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _drips_a_body(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("answers", [_drips_a_head, _drips_a_body])
async def test_a_whole_answer_has_only_so_long(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    async with answering(answers) as url, ApiClient(url) as api, asyncio.timeout(10):
        with pytest.raises(Unreachable, match="does not answer"):
            await api.get("/orders")


async def _has_no_end(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


async def _is_a_bomb(writer: asyncio.StreamWriter) -> None:
    bomb = gzip.compress(b'{"a":"' + b"a" * 2 * module.MOST_BYTES + b'"}')
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)


async def _is_deep(writer: asyncio.StreamWriter) -> None:
    deep = b'{"a":' + b"[" * 100_000
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(deep) + deep)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (_has_no_end, r"answers with more than 16,777,216 bytes"),
        (_is_a_bomb, "answers with what is compressed"),
        (_is_deep, "is not OrderFlow's API"),
    ],
)
async def test_an_answer_is_bounded(answers: Answers, why: str) -> None:
    async with answering(answers) as url, ApiClient(url) as api, asyncio.timeout(30):
        with pytest.raises(Unreachable, match=why):
            await api.get("/orders")


async def test_an_answer_below_its_bound_is_read_whole() -> None:
    document = {"a": "a" * (module.MOST_BYTES - 100)}
    body = json.dumps(document).encode()

    async def is_large(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async with answering(is_large) as url, ApiClient(url) as api:
        assert (await api.get("/orders")).data == document


async def test_nothing_compressed_is_asked_for() -> None:
    def api(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"asked": request.headers["accept-encoding"]}, headers=OURS)

    async with ApiClient("http://api", transport=httpx.MockTransport(api)) as client:
        assert (await client.get("/orders")).data == {"asked": "identity"}


@pytest.mark.parametrize("status", [200, 201, 304, 400, 409, 503])
@pytest.mark.parametrize("document", [{"status": "ok"}, {"errors": "x"}])
async def test_json_of_something_else_is_no_answer(status: int, document: dict[str, str]) -> None:
    """Nor a refusal, which would be believed."""
    answer = httpx.Response(status, json=document)
    async with ApiClient("http://api", transport=httpx.MockTransport(lambda _: answer)) as client:
        with pytest.raises(Unreachable, match=rf"what answers at http://api is not OrderFlow's API \(HTTP {status}\)"):
            await client.get("/orders")


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_what_stands_before_an_api_that_is_restarted_is_asked_again(status: int) -> None:
    answers = iter(
        [httpx.Response(status, json={"message": "no upstream"}), httpx.Response(200, json={}, headers=OURS)]
    )
    transport = httpx.MockTransport(lambda _: next(answers))
    async with ApiClient("http://api", patience_seconds=10.0, transport=transport) as client:
        assert (await client.get("/orders")).data == {}
