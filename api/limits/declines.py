"""Card testing: a principal whose payments for a customer are declined again and again places no more for it: 429.

Declines are read from the orders database, where they stand in any case: they count after a restart, too, and in each
process. They are looked up in the background, once a second at most and only while somebody places or approves, so no
request waits for that.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from limits import RateLimitItem

from api.limits.background import Background
from api.limits.rates import Known, too_many
from orderflow.domain.access import Principal
from orderflow.store.declines import Decline

LOOK_SECONDS: Final = 1.0
#: Read again each time, as what was written may be seen a moment later.
OVERLAP_SECONDS: Final = 10.0
#: Of each pair, as many as its limit; and so many pairs.
MOST_PAIRS: Final = 20_000

#: The declines of the last seconds, the latest first.
Recent = Callable[[float], Awaitable[Sequence[Decline]]]
_Pair = tuple[str, str]


class Declines:
    """Counts declines of a principal for a customer. ``limit`` None: they are not limited."""

    def __init__(self, recent: Recent, limit: RateLimitItem | None) -> None:
        self._recent = recent
        self._amount, self._window = (limit.amount, limit.get_expiry()) if limit is not None else (0, 0)
        self._declined: OrderedDict[_Pair, deque[float]] = OrderedDict()
        self._over: set[str] = set()
        self._seen: OrderedDict[UUID, None] = OrderedDict()
        self._looked_at = float("-inf")
        self._background = Background(self._look_up, LOOK_SECONDS, "declines")

    async def check(self, caller: Principal, customer: Callable[[], Awaitable[str | None]], known: Known) -> None:
        """Before a payment may be tried for ``customer``, who is asked for only if that matters.

        Raises ProblemAnswer (429), unless the command is ``known``: it was carried out before.
        """
        if not self._amount:
            return
        self._background.refresh()
        if caller.id not in self._over:
            return
        named = await customer()
        times = self._of((caller.id, named)) if named is not None else ()
        if len(times) >= self._amount and not await known():
            raise too_many(
                "declines",
                f"{self._amount} payments for this customer were declined in {self._window} s.",
                quota=self._amount,
                window=self._window,
                seconds=times[-self._amount] + self._window - time.monotonic(),
            )
        if not any(len(self._of(pair)) >= self._amount for pair in list(self._declined) if pair[0] == caller.id):
            self._over.discard(caller.id)

    async def close(self) -> None:
        """Give up what is being looked up."""
        await self._background.close()

    def _of(self, pair: _Pair) -> Sequence[float]:
        """When payments of ``pair`` were declined, within the limit's time, the latest last."""
        times, now = self._declined.get(pair), time.monotonic()
        if times is None:
            return ()
        while times and now - times[0] >= self._window:
            times.popleft()
        if not times:
            del self._declined[pair]
        return times

    async def _look_up(self) -> None:
        now = time.monotonic()
        for decline in reversed(await self._recent(min(self._window, now - self._looked_at + OVERLAP_SECONDS))):
            self._add(decline, time.monotonic() - decline.age)
        self._looked_at = now

    def _add(self, decline: Decline, at: float) -> None:
        if decline.principal_id is None or decline.order_id in self._seen:
            return
        self._seen[decline.order_id] = None
        while len(self._seen) > MOST_PAIRS:
            self._seen.popitem(last=False)
        pair = (decline.principal_id, decline.customer_id)
        times = self._declined.setdefault(pair, deque(maxlen=self._amount))
        self._declined.move_to_end(pair)
        times.append(at)
        if len(self._of(pair)) >= self._amount:
            self._over.add(decline.principal_id)
        while len(self._declined) > MOST_PAIRS:
            self._declined.popitem(last=False)
