"""Waiting that ends early: between two attempts, between two rounds, until someone says stop.

Private: the kit depends on nothing, and promises no one these two.
"""

import asyncio
import random


async def pause(seconds: float, until: asyncio.Event) -> bool:
    """Wait for ``seconds``, or less if ``until`` is set meanwhile. Whether it is set."""
    if seconds > 0 and not until.is_set():
        try:
            async with asyncio.timeout(seconds):
                await until.wait()
        except TimeoutError:
            pass
    return until.is_set()


class Backoff:
    """Growing pauses between attempts at something that is away; a success starts them anew."""

    def __init__(self, first_seconds: float = 0.1, longest_seconds: float = 5.0) -> None:
        self._first = first_seconds
        self._longest = longest_seconds
        self._attempts = 0

    def reset(self) -> None:
        """It worked."""
        self._attempts = 0

    def next(self) -> float:
        """Seconds to wait now: doubling up to the longest, with some jitter so that processes do not march in step."""
        delay = min(self._first * 2.0**self._attempts, self._longest)
        self._attempts = min(self._attempts + 1, 30)
        return delay * random.uniform(0.75, 1.0)  # noqa: S311 (no secret)
