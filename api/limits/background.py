"""Something that is looked up in the background: no request waits for it, and none fails by it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from orderflow.domain.errors import Unavailable

log = structlog.get_logger()


class Background:
    """``look_up`` is called once in ``seconds`` at most, and only while somebody asks. ``what``: for the log."""

    def __init__(self, look_up: Callable[[], Awaitable[None]], seconds: float, what: str) -> None:
        self._look_up = look_up
        self._seconds: Final = seconds
        self._what: Final = what
        self._began_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Begin to look it up, unless that is under way, or began a moment ago."""
        now = time.monotonic()
        if self._looking is None and now - self._began_at >= self._seconds:
            self._began_at = now
            self._looking = asyncio.create_task(self._look())

    async def looked(self) -> None:
        """Wait until what is under way is over."""
        if self._looking is not None:
            await asyncio.wait([self._looking])

    async def close(self) -> None:
        """Give up what is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        try:
            await self._look_up()
        except Unavailable as error:
            log.warning("not_looked_up", what=self._what, detail=str(error))
        except Exception:
            log.exception("unexpected_error", where=f"looking up {self._what}")
        finally:
            self._looking = None
