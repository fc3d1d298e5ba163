"""What clients may take of a server: so many connections, so much time, heads so large; and it answers the others."""

import asyncio
import contextlib
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from api.http.problems import ProblemDocument
from orderflow.serving.peers import networks
from orderflow.serving.protocol import MOST_FIELDS, MOST_HEAD_BYTES, reference, within
from orderflow.stack.ports import free_port
from support.paths import ROOT
from support.waiting import until


class Served:
    """A server in this process, whose ``/slow`` answers when it is told to."""

    def __init__(self, most: int, **bounds: Any) -> None:
        self.port = free_port()
        self.go_on = asyncio.Event()
        #: The headers of each request, by its path.
        self.headers: dict[str, list[tuple[bytes, bytes]]] = {}
        #: The query of each request, by its path.
        self.queries: dict[str, bytes] = {}
        config = uvicorn.Config(
            self._app,
            port=self.port,
            http=within(most, **bounds),
            ws="none",
            timeout_keep_alive=60,  # what is closed sooner was closed by what is tested
            log_config=None,
            lifespan="off",
            interface="asgi3",
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)

    async def has_started(self) -> bool:
        return self.server.started

    async def has_two_requests(self) -> bool:
        return len(self.server.server_state.tasks) == 2

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.headers[scope["path"]] = scope["headers"]
        self.queries[scope["path"]] = scope["query_string"]
        if scope["path"] == "/slow":
            await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def open(self, said: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(said)
        return reader, writer


@asynccontextmanager
async def a_server(most: int = 100, **bounds: Any) -> AsyncIterator[Served]:
    served = Served(most, **bounds)
    with served.server.capture_signals():
        running = asyncio.create_task(served.server._serve())
        await until(served.has_started, seconds=10)
        try:
            yield served
        finally:
            served.go_on.set()
            served.server.should_exit = True
            await asyncio.wait_for(running, 10)


def request(path: str = "/", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: here", *headers, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of the next answer; 0: the connection was closed instead."""
    with contextlib.suppress(ConnectionResetError):
        line = await asyncio.wait_for(reader.readline(), 10)
        return int(line.split()[1]) if line else 0
    return 0


async def test_the_longest_idle_makes_room_for_a_new_one() -> None:
    async with a_server(most=3) as served:
        first, second, third = [await served.open(request()) for _ in range(3)]
        assert [await answer(reader) for reader, _ in (first, second, third)] == [200, 200, 200]
        new_reader, _ = await served.open(request())
        assert await answer(new_reader) == 200
        await asyncio.wait_for(first[0].read(), 10)
        assert first[0].at_eof()
        second[1].write(request())
        await second[0].readuntil(b"ok")
        assert await answer(second[0]) == 200


async def test_where_all_are_in_use_a_new_one_is_answered_503_and_they_go_on() -> None:
    async with a_server(most=2) as served:
        busy = [await served.open(request("/slow")) for _ in range(2)]
        await until(served.has_two_requests, seconds=5)
        reader, _ = await served.open(request())
        said = (await asyncio.wait_for(reader.read(), 10)).decode()
        head, _, body = said.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 503")
        assert "retry-after: 1" in head
        assert json.loads(body)["type"] == "urn:orderflow:problems/overloaded"
        served.go_on.set()
        assert [await answer(reader) for reader, _ in busy] == [200, 200]


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: he", request() + b"GET"], ids=["silent", "half", "next"]
)
async def test_what_sends_no_whole_head_is_closed_after_a_while(said: bytes) -> None:
    async with a_server(head_seconds=0.3) as served:
        began = time.monotonic()
        reader, _ = await served.open(said)
        await asyncio.wait_for(reader.read(), 10)
        assert 0.2 < time.monotonic() - began < 5
        assert served.server.server_state.connections == set()


async def test_a_request_and_the_pause_after_it_may_last_longer_than_a_head() -> None:
    async with a_server(head_seconds=0.2) as served:
        reader, writer = await served.open(request("/slow"))
        await asyncio.sleep(0.5)  # what must not happen has no condition to wait for
        served.go_on.set()
        await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        await asyncio.sleep(0.5)
        writer.write(request())
        assert await answer(reader) == 200


def many_headers() -> bytes:
    return request("/", *(f"X-{number}: 1" for number in range(MOST_FIELDS + 1)))


@pytest.mark.parametrize(
    "head",
    [
        lambda: request("/", "X-Long: " + "a" * MOST_HEAD_BYTES),
        lambda: request("/" + "a" * MOST_HEAD_BYTES),
        lambda: request("/", *(f"X-{number}: " + "a" * 1000 for number in range(70))),
        many_headers,
        lambda: (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 9 * MOST_HEAD_BYTES
        ),
    ],
    ids=["one header", "the path", "all together", "too many", "a trailer"],
)
async def test_a_head_that_is_too_large_is_answered_431(head: Callable[[], bytes]) -> None:
    async with a_server() as served:
        reader, _ = await served.open(head())
        assert await answer(reader) == 431


async def test_a_head_without_an_end_is_answered_431_before_it_fills_memory() -> None:
    async with a_server() as served:
        reader, writer = await served.open(b"GET / HTTP/1.1\r\nX-Long: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and sent < 65 * 2**20:
                writer.write(b"a" * 65_536)
                sent += 65_536
                await writer.drain()
                await asyncio.sleep(0)
        assert sent < 16 * 2**20
        assert await answer(reader) in (431, 0)  # 0: it was reset, as we went on sending
        assert served.server.server_state.connections == set()


async def test_large_heads_within_the_bounds_and_large_bodies_pass() -> None:
    async with a_server() as served:
        reader, _ = await served.open(request("/", "X-Long: " + "a" * (MOST_HEAD_BYTES - 1000)))
        assert await answer(reader) == 200
        reader, writer = await served.open(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
        writer.write(b"a" * 1_000_000)
        assert await answer(reader) == 200


async def test_what_is_no_http_is_answered_400() -> None:
    async with a_server() as served:
        reader, _ = await served.open(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert await answer(reader) == 400


POST = b"POST /posted HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length : 1\r\n\r\na",
        POST + b"Content-Length: +1\r\n\r\na",
        POST + b"Transfer-Encoding: chunked\r\n\r\nZ\r\n\r\n",
    ],
    ids=["two hosts", "no host", "two lengths", "both", "a coding", "a blank", "a sign", "no chunk"],
)
async def test_what_could_be_read_in_two_ways_is_answered_400_as_a_problem(said: bytes) -> None:
    async with a_server() as served:
        reader, _ = await served.open(said)
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        if b"chunked\r\n\r\nZ" in said:  # its head was whole: whoever reads the body meets a closed connection
            assert not head or head.startswith(b"HTTP/1.1 400")
            return
        assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
        assert b"cache-control: no-store" in head
        assert json.loads(body)["type"] == "urn:orderflow:problems/malformed"
        assert served.headers == {}


@pytest.mark.parametrize(
    ("line", "host", "path", "query"),
    [
        (b"GET http://shop:81/a/b?c=/d HTTP/1.1", b"shop:81", "/a/b", b"c=/d"),
        (b"GET HTTPS://shop/a HTTP/1.1", b"shop", "/a", b""),
        (b"GET http://shop HTTP/1.1", b"shop", "/", b""),
        (b"GET http://[::1]:81?c HTTP/1.1", b"[::1]:81", "/", b"c"),
        (b"GET http://shop//a HTTP/1.1", b"shop", "//a", b""),
        (b"GET /http://shop/a HTTP/1.1", b"here", "/http://shop/a", b""),
        (b"OPTIONS * HTTP/1.1", b"here", "*", b""),
        (b"OPTIONS http://shop HTTP/1.1", b"shop", "*", b""),
        (b"OPTIONS http://shop/ HTTP/1.1", b"shop", "/", b""),
    ],
)
async def test_a_target_with_a_host_is_its_path_under_that_host(
    line: bytes, host: bytes, path: str, query: bytes
) -> None:
    """RFC 9112 3.2.2: the host in the target counts, whatever Host says; 3.2.4: OPTIONS asks of a whole server."""
    async with a_server() as served:
        reader, _ = await served.open(line + b"\r\nX-Before: 1\r\nHost: here\r\nX-After: 2\r\n\r\n")
        assert await answer(reader) == 200
        assert served.queries == {path: query}
        assert sorted(served.headers[path]) == [(b"host", host), (b"x-after", b"2"), (b"x-before", b"1")]


async def test_an_old_client_needs_no_host_beside_that_of_its_target() -> None:
    async with a_server() as served:
        reader, _ = await served.open(b"GET http://shop/a HTTP/1.0\r\n\r\n")
        assert await answer(reader) == 200
        assert served.headers == {"/a": [(b"host", b"shop")]}


async def test_a_body_comes_with_a_target_that_has_a_host() -> None:
    async with a_server() as served:
        head = b"POST http://shop/posted HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n"
        reader, _ = await served.open(head + b"ab" + request("/next", "Connection: close"))
        said = await asyncio.wait_for(reader.read(), 10)
        assert said.count(b"HTTP/1.1 200") == 2
        assert list(served.headers) == ["/posted", "/next"]


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"orders",
        b"?a",
        b"http:///orders",
        b"http://",
        b"http:/orders",
        b"http://me@shop/a",
        b"http://shop#a",
        b"ftp://shop/a",
        b"shop:80",
    ],
)
async def test_a_target_that_is_no_path_and_no_url_is_no_request(target: bytes) -> None:
    async with a_server() as served:
        reader, _ = await served.open(b"GET " + target + b" HTTP/1.1\r\nHost: here\r\n\r\n")
        assert await answer(reader) == 400
        assert served.headers == {}


async def test_a_trailer_is_no_header() -> None:
    async with a_server() as served:
        chunks = b"2\r\nab\r\n3\r\ncde\r\n0\r\nX-Principal: merchant\r\nHost: evil\r\n\r\n"
        reader, _ = await served.open(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert await answer(reader) == 200
        assert served.headers["/posted"] == [(b"host", b"h"), (b"transfer-encoding", b"chunked")]


async def test_a_body_that_does_not_come_is_answered_408() -> None:
    async with a_server(body_seconds=0.3) as served:
        reader, _ = await served.open(POST + b"Content-Length: 5\r\n\r\nab")
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert json.loads(body)["type"] == "urn:orderflow:problems/too_slow"


@pytest.mark.parametrize(
    ("said", "status", "instance"),
    [
        (request("/first", "Connection: keep-alive") + many_headers(), 431, "/"),
        (request("/first") + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "/"),
        (
            request("/first") + b"POST //evil/a%20b%22 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
            408,
            "/evil/a%20b%22",
        ),
        (request("/first") + POST + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n", 400, "/posted"),
    ],
    ids=["headers", "hosts", "slow", "chunks"],
)
async def test_what_the_server_says_itself_is_a_whole_problem(said: bytes, status: int, instance: str) -> None:
    async with a_server(body_seconds=0.3) as served:
        reader, _ = await served.open(said)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 10)
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status)
        problem = json.loads(body)
        assert ProblemDocument.model_validate(problem).instance == instance
        assert f"x-correlation-id: {problem['correlation_id']}".encode() in head.split(b"\r\n")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/orders/a", "/orders/a"),
        ('//evil.example/a b"<', "/evil.example/a%20b%22%3C"),
        ("///", "/"),
        ("*", "/*"),
        ("/a:b@c;d=e,f?g#h%", "/a:b@c;d=e,f%3Fg%23h%25"),
        ("/ä\\", "/%C3%A4%5C"),
        ("/\ud800", "/%3F"),
    ],
)
def test_a_path_is_a_reference_that_names_no_other_host(path: str, said: str) -> None:
    assert reference(path) == said


async def test_at_a_stop_answers_say_that_the_connection_ends() -> None:
    async with a_server() as served:
        busy = [await served.open(request("/slow")), await served.open(request("/slow", "Connection: close"))]
        await until(served.has_two_requests, seconds=5)
        served.server.should_exit = True

        async def stops() -> bool:
            return not any(server.is_serving() for server in served.server.servers)

        await until(stops, seconds=5)
        served.go_on.set()
        for reader, _ in busy:
            head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
            assert body == b"ok"
            assert b"connection: close" in head.lower().split(b"\r\n")


async def test_a_whole_body_may_be_worked_on_for_longer() -> None:
    async with a_server(body_seconds=0.1) as served:
        reader, _ = await served.open(POST.replace(b"/posted", b"/slow") + b"Content-Length: 2\r\n\r\nab")
        await asyncio.sleep(0.3)  # what must not happen has no condition to wait for
        served.go_on.set()
        assert await answer(reader) == 200


async def test_pipelined_requests_are_each_answered_once() -> None:
    async with a_server() as served:
        reader, _ = await served.open(request("/a") + request("/b") + request("/c", "Connection: close"))
        said = await asyncio.wait_for(reader.read(), 10)
        assert said.count(b"HTTP/1.1 200") == 3
        assert list(served.headers) == ["/a", "/b", "/c"]


async def test_one_peer_has_only_so_many_connections() -> None:
    async with a_server(most=100, most_of_a_peer=2) as served:
        busy = [await served.open(request("/slow")) for _ in range(2)]
        await until(served.has_two_requests, seconds=5)
        reader, _ = await served.open(request())
        assert await answer(reader) == 503
        served.go_on.set()
        assert [await answer(reader) for reader, _ in busy] == [200, 200]
        later, _ = await served.open(request())  # one of the two is idle now, and makes room
        assert await answer(later) == 200


async def test_a_proxy_of_ours_has_as_many_as_it_needs() -> None:
    async with a_server(most=100, most_of_a_peer=1, proxies=networks("127.0.0.0/8")) as served:
        busy = [await served.open(request("/slow")) for _ in range(2)]
        await until(served.has_two_requests, seconds=5)
        served.go_on.set()
        assert [await answer(reader) for reader, _ in busy] == [200, 200]


_SERVES = """
import asyncio, resource, sys
files, port = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
import uvloop
from orderflow import process
from orderflow.serving.protocol import within
from orderflow.telemetry.health import Health, serve_health
process.allow_connections()
bounded = within(process.most_connections())
health = serve_health(Health(), "127.0.0.1", port, asyncio.Event(), http=bounded)
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(health)
"""


async def test_a_process_with_more_idle_clients_than_files_answers_on() -> None:
    """1,100 at 1,024 files: nobody was answered any more."""
    files, port = 1024, free_port()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVES, str(files), str(port), cwd=ROOT)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []  # a reader that nobody keeps closes it
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:

            async def lives() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/health/live")).status_code == 200
                return False

            await until(lives, seconds=30)
        for _ in range(1100):
            idle.append(await asyncio.open_connection("127.0.0.1", port))
        for _ in range(20):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as another:
                assert (await another.get("/health/live")).status_code == 200
        assert process.returncode is None
    finally:
        for _, writer in idle:
            writer.close()
        process.kill()
        await process.wait()
