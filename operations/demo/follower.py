"""What the stream has told so far, read from Kafka as any other team would, and waiting for what it will tell."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Container
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from orderflow.settings import Settings
from orderflow.stream.reading import Seen, follow

ORDERS: Final = "/orderflow/orders"


class Follower:
    """Each order's latest status on the stream. ``records``: how many were read.

    What happened before ``since`` is left out: the orders of an earlier run.
    """

    def __init__(self, since: datetime | None = None) -> None:
        self.records = 0
        self._since = since
        self.statuses: dict[UUID, str] = {}
        self._versions: dict[UUID, int] = {}
        self._changed: dict[UUID, asyncio.Event] = {}

    def take(self, batch: list[Seen]) -> None:
        """Take note of some records; their order among orders and sources does not matter."""
        for seen in batch:
            event = seen.envelope
            if event is not None and self._since is not None and event.recorded_at < self._since:
                continue
            self.records += 1
            if event is None or event.source != ORDERS or event.version <= self._versions.get(event.order_id, 0):
                continue
            self._versions[event.order_id] = event.version
            self.statuses[event.order_id] = event.status
            if changed := self._changed.get(event.order_id):
                changed.set()

    def counts(self) -> Counter[str]:
        """How many orders have each status now."""
        return Counter(self.statuses.values())

    async def until(self, order_id: UUID, statuses: Container[str], *, seconds: float) -> str:
        """Wait until the order has one of ``statuses``, and say which. Raises TimeoutError after ``seconds``."""
        deadline = time.monotonic() + seconds
        changed = self._changed.setdefault(order_id, asyncio.Event())
        try:
            while (status := self.statuses.get(order_id)) is None or status not in statuses:
                changed.clear()
                async with asyncio.timeout(deadline - time.monotonic()):
                    await changed.wait()
            return status
        finally:
            self._changed.pop(order_id, None)


@contextlib.asynccontextmanager
async def following_stream(settings: Settings) -> AsyncIterator[Follower]:
    """Follows what happens from now on, as long as this lasts. Raises TopicAway when the topic cannot be read."""
    follower = Follower(since=datetime.now(UTC))
    ready = asyncio.Event()

    async def read() -> None:
        async for batch in follow(settings, from_beginning=True):
            follower.take(batch)
            ready.set()

    reading, standing = asyncio.create_task(read()), asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({reading, standing}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            await reading
        yield follower
    finally:
        reading.cancel()
        standing.cancel()
        await asyncio.gather(reading, standing, return_exceptions=True)
