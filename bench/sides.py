"""What the rounds know of a side: that an order can live through it, and when nothing of it is under way any more."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from bench.baskets import Basket
from bench.measure import Lap, SideName


class Side(Protocol):
    """One way to run orders."""

    @property
    def name(self) -> SideName:
        """What it is called."""
        ...

    async def live_through(self, basket: Basket) -> Lap:
        """One order to its end, as its client sees it. Raises BenchError when anything is not as it should be."""
        ...

    async def settled(self, laps: Sequence[Lap]) -> None:
        """Wait until everything that these orders caused has happened. Raises BenchError when it does not."""
        ...

    def workflow_id(self, lap: Lap) -> str | None:
        """The order's workflow in Temporal; None: it has none."""
        ...


async def drive(live: Callable[[Basket], Awaitable[Lap]], baskets: Iterator[Basket], in_flight: int) -> list[Lap]:
    """Let ``in_flight`` clients live through ``baskets``, each one after the other. Raises the first error."""
    laps: list[Lap] = []

    async def one_client() -> None:
        for basket in baskets:
            laps.append(await live(basket))

    clients = [asyncio.create_task(one_client()) for _ in range(in_flight)]
    try:
        await asyncio.gather(*clients)
    finally:
        for client in clients:
            client.cancel()
    return laps
