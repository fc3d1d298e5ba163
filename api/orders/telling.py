"""After the commit: Temporal is told once, in the background, that an order must be looked at.

The answer to the client does not wait for it, and nothing depends on it: a handover that could not be told here is due
a second after it was written, and a dispatcher tells it. So this is given up early, and has few slots.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from orderflow.domain.errors import Unavailable
from orderflow.domain.handovers import Handover
from orderflow.temporal.runs import OrderRuns, TemporalRefuses

#: Messages under way at once; while Temporal is away, one.
SLOTS: Final = 32
#: That it gave no answer is believed for so long: nothing may have been told since.
AWAY_SECONDS: Final = 5.0
#: What was told is deleted together, this long after the first of it.
FLUSH_SECONDS: Final = 0.1

log = structlog.get_logger()


class Told(Protocol):
    """Where handovers are kept."""

    async def told(self, handovers: Sequence[Handover]) -> None:
        """Done with, where the number is still the one that was sent. Raises Unavailable."""


class Teller:
    """Tells Temporal of handovers. Use ``async with``: what is under way is finished, within seconds."""

    def __init__(self, runs: OrderRuns, handovers: Told) -> None:
        self._runs = runs
        self._handovers = handovers
        self._telling: set[asyncio.Task[None]] = set()
        self._told: list[Handover] = []
        self._flushing: asyncio.Task[None] | None = None
        self._away_until = 0.0

    async def __aenter__(self) -> "Teller":
        return self

    async def __aexit__(self, *_: object) -> None:
        if telling := set(self._telling):
            await asyncio.wait(telling, timeout=self._runs.timeout.total_seconds())
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)
        if self._flushing is not None:
            await self._flushing  # what is being deleted, and what was told meanwhile

    @property
    def temporal_is_away(self) -> bool:
        """Whether Temporal gave no answer when it was told last, a moment ago."""
        return time.monotonic() < self._away_until

    def tell(self, handover: Handover) -> None:
        """Begin to tell, if there is a slot."""
        if len(self._telling) < (1 if self.temporal_is_away else SLOTS):
            task = asyncio.create_task(self._tell(handover))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, handover: Handover) -> None:
        try:
            await self._runs.tell(handover)
        except (Unavailable, TemporalRefuses) as error:
            self._away_until = time.monotonic() + AWAY_SECONDS if isinstance(error, Unavailable) else 0.0
            log.info("left_to_the_dispatcher", order_id=str(handover.order_id), detail=str(error))
            return
        except Exception:
            log.exception("unexpected_error", where="telling Temporal", order_id=str(handover.order_id))
            return
        self._away_until = 0.0
        self._told.append(handover)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        while self._told:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        told, self._told = self._told, []
        if told:
            try:
                await self._handovers.told(told)
            except Unavailable as error:
                log.info("left_to_the_dispatcher", handovers=len(told), detail=str(error))  # told twice: a look more
            except Exception:
                log.exception("unexpected_error", where="deleting handovers")
