"""Waiting for a ship's outcome, or for a newer version of an order: one query for all who wait in this process.

A notice from the orders database, or 100 ms while somebody waits, starts one look-up of everything that is waited for.
Notices may be lost (they come after the commit, without payload, and connections break): they only make it faster.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from uuid import UUID

import structlog

from api.limits.shares import Paused
from orderflow.domain.errors import Unavailable
from orderflow.store.database import Database
from orderflow.store.waits import Wait, ended

POLL_SECONDS: Final = 0.1
#: That wait at once; one more is told at once that it is not done yet, as if its time were up.
MOST_WAITING: Final = 1000
#: Between two look-ups, however many notices come.
LEAST_SECONDS: Final = 0.01

#: Returns when nobody waits for the answer any more.
Gone = Callable[[], Awaitable[Any]]

log = structlog.get_logger()


class Waiter:
    """Looks for all requests of this process. Use ``async with``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[Wait, set[asyncio.Future[bool]]] = {}
        self._number = 0
        self._somebody_waits = asyncio.Event()
        self._look = asyncio.Event()
        self._stopped = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Waiter":
        listening = self._database.listening(self._noticed, on_connect=self._look.set)
        self._tasks = [asyncio.create_task(listening), asyncio.create_task(self._serve())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """The process ends: whoever waits is told so at once, and nobody waits any more."""
        self._stopped = True
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(False)

    async def command_ends(self, order_id: UUID, command_id: str, seconds: float, gone: Gone | None = None) -> bool:
        """Wait until a command is done or refused. False: it is not, after ``seconds`` or when ``gone`` returns."""
        return await self._wait(Wait(order_id, command_id=command_id), seconds, gone)

    async def order_changes(self, order_id: UUID, version: int, seconds: float, gone: Gone | None = None) -> bool:
        """The same, until the order has a higher version than ``version``."""
        return await self._wait(Wait(order_id, version=version), seconds, gone)

    async def _wait(self, wait: Wait, seconds: float, gone: Gone | None) -> bool:
        if seconds <= 0 or self._stopped or self._number >= MOST_WAITING:
            return False
        async with Paused():
            return await self._ends(wait, seconds, gone)

    async def _ends(self, wait: Wait, seconds: float, gone: Gone | None) -> bool:
        with self._watching(wait) as future:
            leaving = [asyncio.ensure_future(gone())] if gone else []
            try:
                await asyncio.wait([future, *leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in leaving:
                    task.cancel()
            return future.done() and future.result()

    @contextlib.contextmanager
    def _watching(self, wait: Wait) -> Iterator[asyncio.Future[bool]]:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(wait, set()).add(future)
        self._number += 1
        self._somebody_waits.set()
        self._look.set()  # it may have happened already
        try:
            yield future
        finally:
            future.cancel()
            self._number -= 1
            if waiting := self._waiting.get(wait):
                waiting.discard(future)
                if not waiting:
                    del self._waiting[wait]

    async def _serve(self) -> None:
        while True:
            await self._somebody_waits.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._look.wait()
            self._look.clear()
            if not self._waiting:
                self._somebody_waits.clear()
                continue
            try:
                await self._look_up()
                await asyncio.sleep(LEAST_SECONDS)
            except Unavailable as error:
                log.warning("outcomes_unknown", detail=str(error))
                await asyncio.sleep(POLL_SECONDS)
            except Exception:
                # A bug must not silently leave every request of this process waiting for ever.
                log.exception("unexpected_error", where="looking up what is waited for")
                await asyncio.sleep(POLL_SECONDS)

    async def _look_up(self) -> None:
        for wait in await ended(self._database, list(self._waiting)):
            for future in self._waiting.pop(wait, set()):
                if not future.done():
                    future.set_result(True)

    def _noticed(self) -> None:
        if self._waiting:
            self._look.set()
