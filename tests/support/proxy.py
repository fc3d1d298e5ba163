"""A TCP proxy that a test can freeze in one direction: requests arrive, answers do not, or nothing does."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes between clients and one server. ``requests`` and ``answers`` are open until cleared."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.requests, self.answers = asyncio.Event(), asyncio.Event()
        self.requests.set()
        self.answers.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        for source, sink, gate in ((reader, there_writer, self.requests), (there_reader, writer, self.answers)):
            task = asyncio.create_task(_pump(source, sink, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Cut every connection."""
        for task in self._tasks:
            task.cancel()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        try:
            while data := await source.read(65536):
                await gate.wait()
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()


@contextlib.asynccontextmanager
async def a_proxy(address: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of ``host:port``, and its own address. ``tls``: what clients must speak to it."""
    host, _, port = address.rpartition(":")
    proxy = Proxy(host, int(port))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield proxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        proxy.stop()


@contextlib.asynccontextmanager
async def postgres_tls(url: str, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Postgres behind TLS: clients ask for it first, in Postgres' way. The port."""
    target = urlsplit(url)
    proxy = Proxy(target.hostname or "", target.port or 0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.readexactly(8)
            if asked[4:] != (80877103).to_bytes(4, "big"):  # SSLRequest
                raise ConnectionResetError
            writer.write(b"S")
            await writer.start_tls(context)
            await proxy.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        proxy.stop()
