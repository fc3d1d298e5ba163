"""Waiting for what comes of commands: one LISTEN connection and one query at a time, for a whole API process.

A notice from the orders database, or 100 ms while somebody waits, starts one look-up of everything that is waited
for. Notices may be lost (they come after the commit, without payload, and connections break): they only make it
faster. Register before the command is sent, or its outcome could come before anybody looks.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final, Protocol

import structlog

from orderflow.domain.errors import Unavailable
from orderflow.store.database import Database
from orderflow.store.outcomes import Ended, Key, Outcomes

POLL_SECONDS: Final = 0.1

log = structlog.get_logger()


class Waiting(Protocol):
    """Somebody who waits for one command."""

    async def ended(self, seconds: float) -> Ended | None:
        """What came of it; None when that is not known within ``seconds``."""


class OutcomeWaiter:
    """Looks up outcomes for all requests of this process. Use ``async with``."""

    def __init__(self, database: Database, outcomes: Outcomes) -> None:
        self._database = database
        self._outcomes = outcomes
        self._waiting: dict[Key, set[asyncio.Future[Ended]]] = {}
        self._somebody_waits = asyncio.Event()
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "OutcomeWaiter":
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._serve())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.contextmanager
    def watching(self, key: Key) -> Iterator[Waiting]:
        """Look out for the outcome of ``key`` from now on, until the block ends."""
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(future)
        self._somebody_waits.set()
        try:
            yield _Watch(future)
        finally:
            future.cancel()
            if waiting := self._waiting.get(key):
                waiting.discard(future)
                if not waiting:
                    del self._waiting[key]

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
            except Unavailable as error:
                log.warning("outcomes_unknown", detail=str(error))
                await asyncio.sleep(POLL_SECONDS)
            except Exception:
                # A bug must not silently leave every request of this process waiting for ever.
                log.exception("unexpected_error", where="looking up outcomes")
                await asyncio.sleep(POLL_SECONDS)

    async def _look_up(self) -> None:
        for key, ended in (await self._outcomes.ended(list(self._waiting))).items():
            for future in self._waiting.pop(key, set()):
                if not future.done():
                    future.set_result(ended)

    async def _listen(self) -> None:
        await self._database.listening(self._noticed, on_connect=self._look.set)

    def _noticed(self) -> None:
        if self._waiting:
            self._look.set()


class _Watch:
    def __init__(self, future: asyncio.Future[Ended]) -> None:
        self._future = future

    async def ended(self, seconds: float) -> Ended | None:
        await asyncio.wait([self._future], timeout=seconds)
        return self._future.result() if self._future.done() else None
