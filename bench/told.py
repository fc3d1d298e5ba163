"""How the client of the floor learns where an order stands: its worker writes a line to a loopback socket.

It stands in for the row and its notice, which the floor does not have, and costs microseconds: asking Temporal
instead, by a query or an update, would cost the floor more than what it is compared with pays.
"""

import asyncio
from typing import Final, Self
from uuid import UUID

from bench.errors import BenchError
from bench.http import PATIENCE_SECONDS
from orderflow.stack.ports import LOOPBACK

#: Where the worker finds the port, in its environment.
PORT_VARIABLE: Final = "BENCH_TOLD_PORT"


class Told:
    """The client's end. Use ``async with``."""

    def __init__(self) -> None:
        self.port = 0
        self._heard: dict[tuple[UUID, str], asyncio.Future[None]] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._read, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def wait(self, order_id: UUID, status: str) -> None:
        """Until the order has been, or is, in ``status``. Once for each. Raises BenchError."""
        key = (order_id, status)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._future(key)
        except TimeoutError:
            raise BenchError(f"order {order_id} is not {status} after {PATIENCE_SECONDS:.0f} s") from None
        del self._heard[key]

    def _future(self, key: tuple[UUID, str]) -> asyncio.Future[None]:
        return self._heard.setdefault(key, asyncio.get_running_loop().create_future())

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            order_id, _, status = line.decode().strip().partition(" ")
            future = self._future((UUID(order_id), status))
            if not future.done():  # a step that was repeated tells again
                future.set_result(None)
        writer.close()


class Teller:
    """The worker's end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._connecting = asyncio.Lock()

    async def tell(self, order_id: UUID, status: str) -> None:
        """The order is in ``status`` now."""
        async with self._connecting:
            if self._writer is None:
                _, self._writer = await asyncio.open_connection(LOOPBACK, self._port)
        self._writer.write(f"{order_id} {status}\n".encode())
