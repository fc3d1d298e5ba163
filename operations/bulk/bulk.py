"""The same for many things: so many at once, with a progress bar (on a terminal) or a line now and then (elsewhere)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from rich.console import Console

T = TypeVar("T")

LINE_EVERY_SECONDS: Final = 2.0


async def each(
    things: Sequence[T], do: Callable[[T], Awaitable[None]], *, at_once: int, what: str, console: Console
) -> None:
    """``do`` each of ``things``. The first exception ends it: what has not begun does not begin."""
    rest = iter(things)
    with _progress(what, len(things), console) as advance:

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


@contextmanager
def _progress(what: str, total: int, console: Console) -> Iterator[Callable[[], None]]:
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
        return
    done, said_at = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, said_at
        done += 1
        if time.monotonic() - said_at >= LINE_EVERY_SECONDS:
            said_at = time.monotonic()
            console.print(f"{what}: {done} of {total}")

    yield advance
