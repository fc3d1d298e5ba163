"""Turns: of one order, a few statements at once: a flood of commands to it costs no other order a connection."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from orderflow.domain.errors import Problem, Rejection, Unavailable

AT_ONCE: Final = 2
#: Of one order, those that wait for their turn; one more is refused.
MOST_WAITING: Final = 1000


class _Order:
    """Of one order: how many have a turn, and who waits, the first to come first."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn. Raises what ``fail`` was given."""
        if self.busy < AT_ONCE:
            self.busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it came in the same moment
            raise

    def leave(self) -> None:
        """Give the turn to the next who still waits for one."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1

    def fail(self, error: Exception) -> None:
        """Send away who waits."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_exception(error)


class Turns:
    """Of one process."""

    def __init__(self) -> None:
        self._orders: dict[UUID, _Order] = {}

    @asynccontextmanager
    async def of(self, order_id: UUID) -> AsyncIterator[None]:
        """Inside, it is our turn. Raises Rejection (429) when too many wait already.

        Raises Unavailable where somebody before us has: the database would be silent for each of us, one by one.
        """
        order = self._orders.setdefault(order_id, _Order())
        if len(order.waiting) >= MOST_WAITING:
            detail = f"More than {MOST_WAITING} commands of order {order_id} wait here. Send it again in a moment."
            raise Rejection(Problem(slug="too_many_requests", detail=detail, status=429))
        await order.take()
        try:
            yield
        except Unavailable as error:
            order.fail(error)
            raise
        finally:
            order.leave()
            if not order.busy:
                del self._orders[order_id]
