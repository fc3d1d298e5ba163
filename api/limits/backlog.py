"""A principal's part of what Temporal has not been told of yet: beyond a limit it starts nothing more: 429.

While Temporal is away orders are taken all the same, and each leaves a handover. The dispatcher tells the oldest first,
so one principal's flood would stand before everybody's orders once Temporal is back.
"""

import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from api.limits.background import Background
from api.limits.rates import Known, too_many
from orderflow.domain.access import Principal

LOOK_SECONDS: Final = 2.0
#: What was seen longer ago says nothing of now: nobody has asked meanwhile.
FRESH_SECONDS: Final = 3 * LOOK_SECONDS
#: When to come back: a dispatcher tells some hundreds a second.
RETRY_SECONDS: Final = 10
#: The commands that are refused. A cancellation is always taken, and completing leaves no handover.
STARTING: Final = frozenset({"approve", "ship"})

#: The principals that have so many handovers, or more.
Heavy = Callable[[int], Awaitable[Collection[str]]]


class Backlog:
    """Who has too many handovers. ``most`` 0: there is no limit.

    They are counted in the background, so a principal passes its limit by what it sends in a moment.
    """

    def __init__(self, heavy: Heavy, most: int) -> None:
        self._heavy = heavy
        self._most = most
        self._over: frozenset[str] = frozenset()
        self._seen_at = float("-inf")
        self._background = Background(self._look_up, LOOK_SECONDS, "handovers of principals")

    async def check(self, caller: Principal, command: str, known: Known) -> None:
        """Before ``command`` is carried out for ``caller``. Raises ProblemAnswer (429), unless it was before."""
        if not self._most or command not in STARTING:
            return
        self._background.refresh()
        fresh = time.monotonic() - self._seen_at < FRESH_SECONDS
        if fresh and caller.id in self._over and not await known():
            detail = f"Temporal has not been told of {self._most} orders of this principal. Send it again later."
            raise too_many("handovers", detail, quota=self._most, window=RETRY_SECONDS, seconds=RETRY_SECONDS)

    async def close(self) -> None:
        """Give up what is being looked up."""
        await self._background.close()

    async def _look_up(self) -> None:
        self._over = frozenset(await self._heavy(self._most))
        self._seen_at = time.monotonic()
