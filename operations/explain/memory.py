"""What is the same for all orders, kept for a moment: a look at a thousand orders asks it once."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Memory:
    """Answers, for ``seconds`` each; 0: nothing is kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[str, tuple[float, Any]] = {}
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ask(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer that is kept, or a new one; nobody asks twice at once."""
        async with self._asking[key]:
            kept = self._kept.get(key)
            if kept is None or kept[0] < time.monotonic():
                kept = (time.monotonic() + self._seconds, await ask())
                self._kept[key] = kept
            answer: T = kept[1]
            return answer

    def note(self, key: str, value: tuple[str, str], seconds: float) -> None:
        """Keep ``value``, for ``seconds`` at most."""
        self._kept[key] = (time.monotonic() + min(self._seconds, seconds), value)

    def known(self, key: str) -> tuple[str, str] | None:
        """What was noted, while it is kept."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and kept[0] >= time.monotonic() else None
