"""Payments that were declined lately, and who had asked for them: what tells the testing of stolen cards."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from orderflow.domain.orders import OrderStatus, Reason
from orderflow.store.database import Database
from orderflow.store.statements import Statement

#: The latest; more in the time of a limit are a flood that is over it anyhow.
MOST_READ: Final = 5_000
#: In the words of the index's condition.
_DECLINED: Final = f"('{Reason.PAYMENT_DECLINED}', '{Reason.INSUFFICIENT_FUNDS}')"

# The version before the cancellation is the approve: who asked for that had the card tried. The statement's time, as an
# index is not searched for a volatile one.
_RECENT = Statement(
    "declines.recent",
    "Reads the orders that ended lately because their payment was declined, and who had approved each.",
    f"""
    SELECT o.order_id, o.customer_id, e.authid, extract(epoch FROM statement_timestamp() - o.updated_at)::float8 AS age
    FROM orders o JOIN events e ON e.order_id = o.order_id AND e.version = o.version - 1
    WHERE o.status = '{OrderStatus.CANCELLED}' AND o.reason IN {_DECLINED}
      AND o.updated_at > statement_timestamp() - make_interval(secs => $seconds::float8)
    ORDER BY o.updated_at DESC LIMIT {MOST_READ}""",
)


@dataclass(frozen=True, slots=True)
class Decline:
    """One declined payment. ``principal_id`` None: of before there were principals. ``age`` in seconds."""

    order_id: UUID
    customer_id: str
    principal_id: str | None
    age: float


async def recent(database: Database, seconds: float) -> list[Decline]:
    """Those of the last ``seconds``, the latest first. Raises Unavailable."""
    rows = await database.all(_RECENT, {"seconds": seconds})
    return [Decline(row["order_id"], row["customer_id"], row["authid"], row["age"]) for row in rows]
