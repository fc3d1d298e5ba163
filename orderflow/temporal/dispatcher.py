"""The dispatcher: what Temporal has not been told yet is told, oldest first, by every orders worker.

The API tells right after each command; what it could not, and what is written elsewhere, is told from here. There is
no lease: two dispatchers claim different handovers, and telling one twice costs a look at a row.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol

import structlog

from orderflow.domain.errors import Unavailable
from orderflow.domain.handovers import Handover
from orderflow.telemetry.metrics import HANDOVERS, HANDOVERS_OLDEST_AGE, HANDOVERS_REFUSED, HANDOVERS_TOLD
from orderflow.telemetry.origin import about_order
from orderflow.temporal.runs import OrderRuns, TemporalRefuses

#: Claimed at once.
BATCH: Final = 100
#: Between two looks when nothing is due; a handover is due a second after it was written.
POLL_SECONDS: Final = 0.5

_ORDERS: Final = "orders"

log = structlog.get_logger(__name__)


class Handovers(Protocol):
    """Where they are kept. All methods raise Unavailable."""

    async def claim(self, limit: int) -> list[Handover]:
        """Up to ``limit`` that are due, oldest first; nobody else is given them for a while."""

    async def told(self, handovers: Sequence[Handover]) -> None:
        """Done with, where the number is still the one that was sent."""

    async def refused(self, handover: Handover, error: str) -> None:
        """Temporal does not take it: set aside, to be tried again much later."""


class Depth(Protocol):
    """How much waits."""

    @property
    def pending(self) -> int:
        """Handovers."""

    @property
    def refused(self) -> int:
        """Those of them that Temporal does not take."""

    @property
    def oldest_age(self) -> timedelta:
        """Since the first write that Temporal does not know of, and does not refuse."""


class HandoverGauges:
    """At a scrape: what Temporal has not been told. ``depth`` reads it."""

    def __init__(self, depth: Callable[[], Awaitable[Depth]]) -> None:
        self._depth = depth

    async def sample(self) -> None:
        """Read it. Raises Unavailable."""
        depth = await self._depth()
        HANDOVERS.set(depth.pending, _ORDERS)
        HANDOVERS_REFUSED.set(depth.refused, _ORDERS)
        HANDOVERS_OLDEST_AGE.set(depth.oldest_age.total_seconds(), _ORDERS)

    def forget(self) -> None:
        """Take the series away: the database does not answer, or this process ends."""
        for gauge in (HANDOVERS, HANDOVERS_REFUSED, HANDOVERS_OLDEST_AGE):
            gauge.forget()


class Dispatcher:
    """Tells Temporal what is due, ``at_once`` messages at a time."""

    def __init__(self, handovers: Handovers, runs: OrderRuns, *, at_once: int = 16) -> None:
        self._handovers = handovers
        self._runs = runs
        self._at_once = at_once

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set. What was claimed and not told by then is due again later."""
        while not stopping.is_set():
            try:
                claimed = await self.round()
            except Unavailable as error:
                log.warning("handovers_wait", detail=str(error))
                claimed = 0
            if claimed < BATCH:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await stopping.wait()
                except TimeoutError:
                    continue

    async def round(self) -> int:
        """Claim, tell, and forget what was told; how many were claimed. Raises Unavailable."""
        claimed = await self._handovers.claim(BATCH)
        waiting = iter(claimed)
        told: list[Handover] = []
        away: Unavailable | None = None

        async def tell_some() -> None:
            nonlocal away
            for handover in waiting:
                try:
                    await self._runs.tell(handover)
                except TemporalRefuses as error:
                    log.error("handover_refused", **about_order(handover.order_id), error=str(error))
                    HANDOVERS_TOLD.add("refused")
                    await self._handovers.refused(handover, str(error))
                except Unavailable as error:
                    HANDOVERS_TOLD.add("unavailable")
                    away = error
                    return  # the rest of this batch would only wait as long
                except Exception as error:  # a bug: it stops nobody else's order
                    log.exception("handover_failed", **about_order(handover.order_id))
                    HANDOVERS_TOLD.add("error")
                    await self._handovers.refused(handover, repr(error))
                else:
                    HANDOVERS_TOLD.add("told")
                    told.append(handover)

        try:
            await asyncio.gather(*(tell_some() for _ in range(min(self._at_once, len(claimed)))))
        finally:
            if told:
                await self._handovers.told(told)
        if away is not None:
            raise away
        return len(claimed)
