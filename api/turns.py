"""Turns: of one order, a few statements at once: a flood of commands to it costs no other order a connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from orderflow.domain.errors import Problem, Rejection

AT_ONCE: Final = 2
#: Of one order, those that wait for their turn; one more is refused.
MOST_WAITING: Final = 1000


class _Order:
    __slots__ = ("free", "users")

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(AT_ONCE)
        self.users = 0


class Turns:
    """Of one process."""

    def __init__(self) -> None:
        self._orders: dict[UUID, _Order] = {}

    @asynccontextmanager
    async def of(self, order_id: UUID) -> AsyncIterator[None]:
        """Inside, it is our turn. Raises Rejection (429) when too many wait already."""
        order = self._orders.setdefault(order_id, _Order())
        if order.users >= MOST_WAITING:
            detail = f"More than {MOST_WAITING} commands of order {order_id} wait here. Send it again in a moment."
            raise Rejection(Problem(slug="too_many_requests", detail=detail, status=429))
        order.users += 1
        try:
            async with order.free:
                yield
        finally:
            order.users -= 1
            if not order.users:
                self._orders.pop(order_id, None)
