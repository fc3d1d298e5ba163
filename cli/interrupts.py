"""Commands that go on until somebody stops them: what a signal does to them."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, Final

#: What ends a command in order.
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until it ends, or until Ctrl-C or SIGTERM cancels it. Raises what it raises."""
    working = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, working.cancel)
    try:
        await working
    except asyncio.CancelledError:
        return


@contextlib.contextmanager
def asked_to_stop() -> Iterator[asyncio.Event]:
    """Inside, the event is set when a signal asks to stop."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, asked.set)
    try:
        yield asked
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def until(asked: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Do ``work`` until it ends, or until ``asked`` is set. Raises what it raises."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(asked.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        await working
    else:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
