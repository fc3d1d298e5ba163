"""The sweep: DRAFTs that nobody approved in time are cancelled, in batches. A DRAFT has no workflow."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from orderflow.domain.errors import Unavailable
from orderflow.store.orders import Orders

#: Between two sweeps that found nothing more to do, at most: a draft lives at most a tenth longer than it may.
EVERY_SECONDS: Final = 5.0
#: In one statement.
BATCH: Final = 100

log = structlog.get_logger(__name__)


async def sweep_drafts(orders: Orders, ttl: timedelta, stopping: asyncio.Event) -> None:
    """Until ``stopping`` is set. Several sweeps share the work: each takes rows that no other has locked."""
    every = min(EVERY_SECONDS, ttl.total_seconds() / 10)
    while not stopping.is_set():
        try:
            expired = await orders.expire(ttl, BATCH)
        except Unavailable as error:
            log.warning("drafts_wait", detail=str(error))
            expired = 0
        if expired < BATCH:
            try:
                async with asyncio.timeout(every):
                    await stopping.wait()
            except TimeoutError:
                continue
