"""The same for many things, so many at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
#: Called for each thing that is done.
Advance = Callable[[], None]


async def each(things: Sequence[T], do: Callable[[T], Awaitable[None]], *, at_once: int, advance: Advance) -> None:
    """``do`` each of ``things``. The first exception ends it: what has not begun does not begin."""
    rest = iter(things)

    async def work() -> None:
        for thing in rest:
            await do(thing)
            advance()

    workers = [asyncio.create_task(work()) for _ in range(min(at_once, len(things)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
