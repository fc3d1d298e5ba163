"""Card testing: a principal whose payments for a customer are declined again and again places no more for it: 429.

Declines are read from the orders database, where they stand in any case: they count after a restart, too, and in each
process. They are looked up in the background, once a second at most and only while somebody places or approves, so no
request waits for that.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog
from limits import RateLimitItem

from api.limits import too_many
from orderflow.domain.access import Principal
from orderflow.domain.errors import Unavailable
from orderflow.store.declines import Decline

LOOK_SECONDS: Final = 1.0
#: Read again each time, as what was written may be seen a moment later.
OVERLAP_SECONDS: Final = 10.0
#: Of each pair, as many as its limit; and so many pairs.
MOST_PAIRS: Final = 20_000

#: The declines of the last seconds, the latest first.
Recent = Callable[[float], Awaitable[Sequence[Decline]]]
_Pair = tuple[str, str]

log = structlog.get_logger()


class Declines:
    """Counts declines of a principal for a customer. ``limit`` None: they are not limited."""

    def __init__(self, recent: Recent, limit: RateLimitItem | None) -> None:
        self._recent = recent
        self._amount, self._window = (limit.amount, limit.get_expiry()) if limit is not None else (0, 0)
        self._declined: OrderedDict[_Pair, deque[float]] = OrderedDict()
        self._over: set[str] = set()
        self._seen: OrderedDict[UUID, None] = OrderedDict()
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def check(self, caller: Principal, customer: Callable[[], Awaitable[str | None]]) -> None:
        """Before a payment may be tried for ``customer``, who is asked for only if that matters.

        Raises ProblemAnswer (429).
        """
        if not self._amount:
            return
        self._look()
        if caller.id not in self._over:
            return
        named = await customer()
        times = self._of((caller.id, named)) if named is not None else ()
        if len(times) >= self._amount:
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
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

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

    def _look(self) -> None:
        now = time.monotonic()
        if self._looking is None and now - self._looked_at >= LOOK_SECONDS:
            self._looking = asyncio.create_task(self._look_up(now))

    async def _look_up(self, now: float) -> None:
        try:
            found = await self._recent(min(self._window, now - self._looked_at + OVERLAP_SECONDS))
        except Unavailable as error:
            log.warning("declines_unknown", detail=str(error))
        except Exception:
            log.exception("unexpected_error", where="looking up declines")
        else:
            for decline in reversed(found):
                self._add(decline, time.monotonic() - decline.age)
            self._looked_at = now
        finally:
            self._looking = None

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
