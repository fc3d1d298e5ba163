"""Waiting for what must become true, instead of sleeping and hoping."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10, every: float = 0.01) -> None:
    """Return once ``condition`` holds. Raises TimeoutError when it does not within ``seconds``."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(every)
