"""A principal's share of this process: however much it asks, others are served beside it.

While another principal is about, few requests of one are worked on at once: an eighth as many as there are connections
to a database. The others wait here, in the order in which they came, and not in the queues of the event loop and of the
pool, where everybody would wait behind them. Alone it may have more. A request that waits for an outcome is not being
worked on, and takes nobody's turn meanwhile.
"""

import asyncio
import time
from collections import OrderedDict, deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from api.limits.admission import MOST_REQUESTS
from api.limits.rates import too_many

#: Of one principal while it is alone: enough to keep a process busy.
ALONE: Final = 32
#: Somebody who asked so long ago, and has nothing in hand, is not about any more.
ABOUT_SECONDS: Final = 5.0
#: Of one principal, being worked on or waiting for anything.
MOST_IN_HAND: Final = MOST_REQUESTS // 2


@dataclass(slots=True)
class _Share:
    """What one principal has in hand."""

    in_hand: int = 0
    working: int = 0
    waiting: "deque[asyncio.Future[None]]" = field(default_factory=deque)
    seen_at: float = 0.0


class Turn:
    """One request's leave to be worked on."""

    def __init__(self, shares: "Shares", who: str) -> None:
        self._shares = shares
        self._who = who
        self._works = self._ended = False

    async def take(self) -> None:
        """Wait for it."""
        if not self._ended:
            await self._shares._take(self._who)
            self._works = True

    def give(self) -> None:
        """Give it to the next."""
        if self._works:
            self._works = False
            self._shares._give(self._who)

    def end(self) -> None:
        """The request is over."""
        self.give()
        self._ended = True
        self._shares._end(self._who)


class Shares:
    """Of one process. ``at_once``: of one principal, while another is about."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        #: The one that asked last is the last.
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    async def enter(self, who: str) -> Turn:
        """A turn for a request of ``who``; end it. Raises ProblemAnswer (429): it has too many in hand."""
        share = self._shares.get(who)
        if share is not None and share.in_hand >= MOST_IN_HAND:
            detail = f"This principal has {MOST_IN_HAND} requests in hand at this process. Send it again in a moment."
            raise too_many("in_hand", detail, quota=MOST_IN_HAND, window=1, seconds=1)
        if share is None:
            share = self._shares[who] = _Share()
        share.in_hand += 1
        self._forget()
        turn = Turn(self, who)
        try:
            await turn.take()
        except BaseException:
            self._end(who)
            raise
        _TURN.set(turn)
        return turn

    def _most(self, who: str) -> int:
        """How many of ``who`` may be worked on now."""
        now = time.monotonic()
        for name in reversed(self._shares):
            if name != who:
                other = self._shares[name]
                about = other.working > 0 or now - other.seen_at < ABOUT_SECONDS
                return self._at_once if about else ALONE
        return ALONE

    async def _take(self, who: str) -> None:
        share = self._shares[who]
        share.seen_at = time.monotonic()
        self._shares.move_to_end(who)
        if share.working < self._most(who) and not share.waiting:
            share.working += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        share.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(who)  # it came in the same moment
            raise

    def _give(self, who: str) -> None:
        share = self._shares[who]
        share.working -= 1
        while share.waiting and share.working < self._most(who):
            turn = share.waiting.popleft()
            if not turn.done():
                share.working += 1
                turn.set_result(None)

    def _end(self, who: str) -> None:
        self._shares[who].in_hand -= 1

    def _forget(self) -> None:
        """Whoever asked longest ago, once that is over."""
        now = time.monotonic()
        for _ in range(2):
            name, share = next(iter(self._shares.items()))
            if share.in_hand == 0 and now - share.seen_at >= ABOUT_SECONDS:
                del self._shares[name]
            else:
                return


_TURN: ContextVar[Turn | None] = ContextVar("turn", default=None)


class Paused:
    """``async with Paused()``: what is done inside is waiting, and takes no turn of the request's principal."""

    async def __aenter__(self) -> None:
        self._turn = _TURN.get()
        if self._turn is not None:
            self._turn.give()

    async def __aexit__(self, error: object, *_: object) -> None:
        if self._turn is not None and error is None:
            await self._turn.take()
