"""A proxy in front of a Kafka broker that can lose the broker's answers, or hang, or cut connections.

A Kafka client connects to the addresses that the broker's answers name, so it would soon go round a plain proxy. This
one reads answers frame by frame and puts its own port where the broker names its own (same length, nothing else
moves).
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_LOOPBACK = b"127.0.0.1"


class KafkaProxy:
    """``async with KafkaProxy(port)`` listens on ``port``; set ``broker_port`` before a client comes.

    ``tls``: what clients must speak; the broker behind it does not.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._tls = tls
        self.broker_port = 0
        #: How many answers were thrown away.
        self.dropped = 0
        self._drops_answers = False
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    @property
    def address(self) -> str:
        """For clients."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End every connection."""
        for connection in self._connections:
            connection.cancel()

    @contextlib.contextmanager
    def losing_answers(self) -> Iterator[None]:
        """Requests arrive, their answers do not; at the end every connection ends, as it would.

        The small broker must be stopped inside this: what it acknowledges while it ends after SIGTERM it may not keep.
        """
        self._drops_answers = True
        try:
            yield
        finally:
            self.cut()
            self._drops_answers = False

    def hang(self) -> None:
        """Let nothing pass, in either direction."""
        self._open.clear()

    def go_on(self) -> None:
        """Let everything pass again."""
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
            try:
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._requests(reader, there_writer))
                    pumps.create_task(self._answers(there_reader, writer))
            finally:
                there_writer.transport.abort()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            # Whatever ends a connection, its client sees it end.
            pass
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _requests(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._open.wait()
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError

    async def _answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        theirs, ours = (_LOOPBACK + struct.pack(">i", port) for port in (self.broker_port, self.port))
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await source.readexactly(4)
                frame = await source.readexactly(int.from_bytes(head, "big"))
                await self._open.wait()
                if self._drops_answers:
                    self.dropped += 1
                    continue
                sink.write(head + frame.replace(theirs, ours))
                await sink.drain()
        raise ConnectionResetError
