"""The lean client: connections are kept, answers come whole, and a connection that was closed is not noticed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.http import HttpClient

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[HttpClient]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with HttpClient(f"http://127.0.0.1:{port}") as http:
        yield http
    server.close()


async def test_requests_share_a_connection_and_answers_come_whole() -> None:
    connections, requests = [], []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.rpartition(b"Content-Length: ")[2].strip() or 0) if b"Content-Length" in head else 0
            requests.append((head, await reader.readexactly(length)))
            if head.startswith(b"GET"):
                writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "3"\r\nContent-Length: 7\r\n\r\n')
            else:
                writer.write(b'HTTP/1.1 201 Created\r\nContent-Length: 11\r\n\r\n{"id"')
                await writer.drain()
                writer.write(b': "x"}')

    async with serving(serve) as http:
        unchanged = await http.get("/orders/x", 'If-None-Match: "3"\r\n')
        made = await http.send("POST", "/orders", {"a": 1}, "Idempotency-Key: k\r\n")

    assert (unchanged.status, unchanged.headers["etag"], unchanged.body) == (304, '"3"', b"")
    assert (made.status, made.document()) == (201, {"id": "x"})
    assert len(connections) == 1
    assert requests[0][0].startswith(b"GET /orders/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b'\r\nIf-None-Match: "3"\r\n\r\n' in requests[0][0]
    assert b"\r\nIdempotency-Key: k\r\n" in requests[1][0]
    assert requests[1][1] == b'{"a":1}'


async def test_a_connection_that_was_closed_while_kept_is_replaced() -> None:
    answered = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        answered.append(1)
        writer.close()

    async with serving(serve) as http:
        for _ in range(3):
            assert (await http.get("/")).status == 200

    assert len(answered) == 3


async def test_a_server_that_never_answers_is_an_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with serving(serve) as http:
        with pytest.raises(ConnectionError):
            await http.get("/")
