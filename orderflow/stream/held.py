"""The orders that a relay holds back: Kafka refuses a record of each, and they are too many to be parked for that.

So it is the topic or a clock that is wrong. The others go on, and now and again one of these is sent, to see whether it
still is.
"""

import time
from collections.abc import Callable, Collection
from typing import Final
from uuid import UUID

#: Between two attempts to send one of them.
PROBE_SECONDS: Final = 2.0


class HeldOrders:
    """Held in this process only: another relay that leads finds out by itself. ``clock`` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._orders: dict[UUID, None] = {}
        self._probe_at = 0.0
        self._probed: UUID | None = None
        #: What Kafka said last.
        self.reason = ""

    def __len__(self) -> int:
        return len(self._orders)

    def hold(self, order_id: UUID, reason: str) -> None:
        """Kafka refused a record of it, again perhaps."""
        self._orders.pop(order_id, None)
        self._orders[order_id] = None  # at the end: the others are tried first
        self.reason = reason
        self._probe_at = self._clock() + PROBE_SECONDS
        if self._probed == order_id:
            self._probed = None

    def left_out(self) -> Collection[UUID]:
        """Those that the next round does not send: all, or, when it is time to try one, all but one."""
        self._probed = next(iter(self._orders)) if self._orders and self._clock() >= self._probe_at else None
        return [order_id for order_id in self._orders if order_id != self._probed]

    def sent(self, published: Collection[UUID], *, everything_answered: bool) -> None:
        """After a round: which orders had a record published, and whether Kafka answered for all that it was given.

        Where the one that was tried goes through, all are let go: what was wrong is mended. Where nothing is left to
        send of it, as it was published by another or parked, it alone is.
        """
        if self._probed is None:
            return
        if self._probed in published:
            self._orders.clear()
        elif everything_answered:
            self._orders.pop(self._probed, None)
        self._probed = None
