"""Where limits are counted: in this process, within bounds; or on a server for all processes, while it answers."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from math import floor
from typing import Any, Final, TypeVar

import structlog
from limits import RateLimitItem
from limits.aio.storage import RedisStorage, Storage
from limits.aio.storage.base import SlidingWindowCounterSupport
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from orderflow.telemetry.metrics import SHARED_LIMITS_AWAY

#: Who is counted at once, for each limit: beyond, whoever was counted longest ago is forgotten.
MOST_COUNTED: Final = 20_000
SHARED_SECONDS: Final = 0.2
SHARED_CONNECTIONS: Final = 16
#: After it gave no answer, the server is asked again this much later, by one request.
AWAY_SECONDS: Final = 2.0

Answer = TypeVar("Answer")

log = structlog.get_logger()


class _Window:
    """What one caller did in this span of time, and in the one before it."""

    __slots__ = ("before", "current", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.before = self.current = 0

    def move_to(self, number: int) -> None:
        """Begin the span ``number``."""
        if number != self.number:
            self.before = self.current if number == self.number + 1 else 0
            self.current, self.number = 0, number


class Counters(Storage, SlidingWindowCounterSupport):
    """Sliding windows in this process.

    The library's own storage looks through all its keys at each hit and keeps as many as there are callers: whoever has
    many addresses would slow everybody down. Here a hit costs the same however many there are, and they are bounded.
    """

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """None: nothing can be away."""
        return StorageError

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` more, where that is not too much."""
        now = time.time()
        window = self._window(key, expiry, now)
        if floor(_weighted(window, expiry, now)) + amount > limit:
            return False
        window.current += amount
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The counts of the span before and of this one, and the seconds until each means nothing more."""
        now = time.time()
        window, left = self._window(key, expiry, now), expiry - now % expiry
        return window.before, left if window.before else 0.0, window.current, left + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a caller."""
        self._windows.pop(key, None)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Of another strategy."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Of another strategy."""
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        """Of another strategy."""
        raise NotImplementedError

    async def clear(self, key: str) -> None:
        """Forget a caller."""
        self._windows.pop(key, None)

    async def check(self) -> bool:
        """It is here."""
        return True

    async def reset(self) -> int | None:
        """Forget all callers."""
        known = len(self._windows)
        self._windows.clear()
        return known

    def _window(self, key: str, expiry: int, now: float) -> _Window:
        number = int(now // expiry)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(number)
            if len(self._windows) > MOST_COUNTED:
                self._windows.popitem(last=False)
        self._windows.move_to_end(key)
        window.move_to(number)
        return window


def _weighted(window: _Window, expiry: int, now: float) -> float:
    """What counts now: of the span before only the part that is not yet ``expiry`` seconds ago."""
    return window.before * (1 - now % expiry / expiry) + window.current


async def _seconds(storage: SlidingWindowCounterSupport, item: RateLimitItem, *who: str) -> float:
    """Until one more is allowed. (The library's own figure is until anything changes.)"""
    span, most = item.get_expiry(), item.amount
    before, left, current, current_left = await storage.get_sliding_window(item.key_for(*who), span)
    if current >= most:  # of this span alone: when the next has begun
        return max(0.0, current_left - span) + span * (1 - most / current)
    return max(0.0, left - (most - current) * span / before) if before else 0.0


class Counting:
    """Counts against one limit. ``shared`` None: in this process alone."""

    def __init__(self, item: RateLimitItem, name: str, shared: "SharedCounters | None") -> None:
        self.item = item
        self._name = name
        self._shared = shared
        self._counters = Counters()
        self._own = SlidingWindowCounterRateLimiter(self._counters)

    async def hit(self, who: str) -> bool:
        """One more of ``who``. False: it is one too many, and not counted."""
        if self._shared is not None:
            told = await self._shared.hit(self.item, self._name, who)
            if told is not None:
                return told
        return await self._own.hit(self.item, who)

    async def allows(self, who: str) -> bool:
        """Whether one more would be allowed, as this process has counted."""
        return await self._own.test(self.item, who)

    async def seconds(self, who: str) -> float:
        """How long ``who`` must wait after it was refused."""
        if self._shared is not None:
            told = await self._shared.seconds(self.item, self._name, who)
            if told is not None:
                return told
        return await _seconds(self._counters, self.item, who)


class SharedCounters:
    """The same windows for all processes, on a server that speaks Redis' protocol. Away: nobody waits for it."""

    def __init__(self, url: str) -> None:
        timeouts = {"socket_timeout": SHARED_SECONDS, "socket_connect_timeout": SHARED_SECONDS}
        self._storage = RedisStorage(
            f"async+{url}", wrap_exceptions=True, implementation="valkey", key_prefix="orderflow", **timeouts
        )
        self._strategy = SlidingWindowCounterRateLimiter(self._storage)
        #: The client would open one for each request in hand.
        self._connections = asyncio.Semaphore(SHARED_CONNECTIONS)
        self._away_until = 0.0

    async def hit(self, item: RateLimitItem, *who: str) -> bool | None:
        """Count one more; None: the server does not answer."""
        return await self._ask(self._strategy.hit, item, who)

    async def seconds(self, item: RateLimitItem, *who: str) -> float | None:
        """How long to wait; None: the server does not answer."""
        return await self._ask(partial(_seconds, self._storage), item, who)

    async def close(self) -> None:
        """Leave the server."""
        bridge: Any = self._storage.bridge
        await bridge.storage.aclose()

    async def _ask(
        self, ask: Callable[..., Awaitable[Answer]], item: RateLimitItem, who: tuple[str, ...]
    ) -> Answer | None:
        now = time.monotonic()
        if now < self._away_until:
            return None
        probes = self._away_until > 0
        if probes:
            self._away_until = now + AWAY_SECONDS  # this one asks; the others go on without it
        try:
            async with asyncio.timeout(SHARED_SECONDS), self._connections:
                answer = await ask(item, *who)
        except (StorageError, OSError, TimeoutError) as error:
            if not probes and self._away_until == 0:
                log.warning("shared_limits_away", detail=type(error.__cause__ or error).__name__)
            self._away_until = time.monotonic() + AWAY_SECONDS
            SHARED_LIMITS_AWAY.add()
            return None
        self._away_until = 0.0
        return answer
