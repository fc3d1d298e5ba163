"""What one service's database knows of an order: its events, where each stands on Kafka, what was asked. Reads only.

For ``orderflow order explain``: one statement a question, by the order's id, so that it is cheap and works the same
in all three databases.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from orderflow.store.database import Database
from orderflow.store.reconciliation import OutboxFact, PaymentFact, ReservationFact
from orderflow.store.statements import Statement

_EVENTS = Statement(
    "trail.events",
    "Reads an order's events and where each stands on Kafka.",
    """
SELECT e.version, e.type, e.status, e.data, e.command_id, e.correlation_id, e.recorded_at,
       p.partition, p."offset", p.published_at,
       EXISTS (SELECT FROM outbox o WHERE o.order_id = e.order_id AND o.version = e.version) AS waits
FROM events e LEFT JOIN publications p USING (order_id, version)
WHERE e.order_id = $order_id ORDER BY e.version""",
)

_REFUSED = Statement(
    "trail.refused",
    "Reads an order's commands that made no version: refused or pending.",
    """
SELECT command_id, name, refusal, recorded_at FROM commands
WHERE order_id = $order_id AND version IS NULL ORDER BY recorded_at""",
)

_RELAY = Statement(
    "trail.relay",
    "Reads whether the relay works, and whether it parked the order or lets it wait.",
    """
SELECT clock_timestamp() AS now, p.version AS parked_version, p.error AS parked_error, p.parked_at,
       -- One that ends later than any leader makes it is of a clock that was ahead: nobody leads.
       CASE WHEN l.seconds IS NULL OR l.expires_at <= clock_timestamp() + make_interval(secs => 2 * l.seconds)
            THEN l.expires_at END AS led_until,
       s.partition AS stopped_partition, s.stopped_at, s.cause AS stopped_cause
FROM (SELECT $order_id::uuid AS order_id) k
LEFT JOIN parked_orders p USING (order_id)
LEFT JOIN waiting_orders w USING (order_id)
LEFT JOIN stopped_partitions s USING (partition)
LEFT JOIN relay_lease l ON l.name = 'relay'""",
)

_PAYMENT = Statement(
    "trail.payment",
    "Reads an order's payment.",
    "SELECT order_id, status, version, created_at, updated_at FROM payments WHERE order_id = $order_id",
)
_RESERVATION = Statement(
    "trail.reservation",
    "Reads an order's reservation, whatever its status.",
    "SELECT order_id, status, version, updated_at FROM reservations WHERE order_id = $order_id",
)

# The limit stands before the look-up of the events, as in the relay's own read.
_OLD_ENTRIES = Statement(
    "trail.old_entries",
    "Reads the orders among the first entries of the outbox that have waited too long.",
    """
SELECT o.order_id, count(*) AS entries, min(e.recorded_at) AS oldest_at
FROM (SELECT position, order_id, version FROM outbox ORDER BY position LIMIT $limit) o
CROSS JOIN LATERAL (
    SELECT recorded_at FROM events e WHERE e.order_id = o.order_id AND e.version = o.version LIMIT 1
) e
WHERE e.recorded_at < clock_timestamp() - $older::interval
GROUP BY o.order_id""",
)

_SET_ASIDE = Statement(
    "trail.set_aside",
    "Reads the first dead letter of an order.",
    """
SELECT kind, reason, dead_lettered_at FROM dead_letters
WHERE consumer_group = $consumer_group AND subject = $subject ORDER BY dead_letter_id LIMIT 1""",
)

_HELD_ORDERS = Statement(
    "trail.held_orders",
    "Reads the orders that have a dead letter, the oldest first.",
    """
SELECT subject, min(dead_lettered_at) AS since FROM dead_letters
WHERE consumer_group = $consumer_group AND subject IS NOT NULL GROUP BY subject ORDER BY since LIMIT $limit""",
)

#: How many entries of an outbox are looked at for who waits.
MOST_ENTRIES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event, and where it stands on Kafka: published (all three), or waiting in the outbox."""

    version: int
    type: str
    status: str
    data: Mapping[str, Any]
    command_id: str
    correlation_id: str
    recorded_at: datetime
    partition: int | None
    offset: int | None
    published_at: datetime | None
    waits: bool

    @property
    def is_forgotten(self) -> bool:
        """Neither published nor waiting: somebody deleted it from the outbox."""
        return self.published_at is None and not self.waits


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that made no version: refused (the problem), or pending (a ship whose capture is under way)."""

    command_id: str
    name: str
    refusal: Mapping[str, Any] | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Relayed:
    """How the relay of this database stands, and whether it has parked the order. ``now``: the database's clock.

    ``led_until``: how long the present leader holds its lease; None: nobody holds it. ``stopped_partition``: the order
    waits for this partition, in which Kafka lost records; ``stopped_cause``: a ``truncation.Cause``.
    """

    now: datetime
    parked_version: int | None
    parked_error: str | None
    parked_at: datetime | None
    led_until: datetime | None
    stopped_partition: int | None = None
    stopped_at: datetime | None = None
    stopped_cause: str | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """All of it, of one service."""

    events: tuple[Recorded, ...]
    asked: tuple[Asked, ...]
    relay: Relayed


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record of the order that the tracking could not apply."""

    kind: str
    reason: str
    dead_lettered_at: datetime


async def trail(database: Database, order_id: UUID) -> Trail:
    """What the database knows of the order; empty where it has never heard of it. Raises Unavailable."""
    values = {"order_id": order_id}
    relay = await database.one(_RELAY, values)
    if relay is None:
        raise RuntimeError("the statement always gives a row")
    return Trail(
        tuple(Recorded(**row) for row in await database.all(_EVENTS, values)),
        tuple(Asked(**row) for row in await database.all(_REFUSED, values)),
        Relayed(**relay),
    )


async def payment(database: Database, order_id: UUID) -> PaymentFact | None:
    """The payment's row."""
    row = await database.one(_PAYMENT, {"order_id": order_id})
    return None if row is None else PaymentFact(**row)


async def reservation(database: Database, order_id: UUID) -> ReservationFact | None:
    """The reservation's row, whatever its status."""
    row = await database.one(_RESERVATION, {"order_id": order_id})
    return None if row is None else ReservationFact(**row)


async def set_aside(database: Database, consumer_group: str, order_id: UUID) -> SetAside | None:
    """The order's first dead letter: it holds all that comes after it. The orders database only."""
    row = await database.one(_SET_ASIDE, {"consumer_group": consumer_group, "subject": str(order_id)})
    return None if row is None else SetAside(**row)


async def held_orders(database: Database, consumer_group: str, limit: int = MOST_ENTRIES) -> list[UUID]:
    """Orders with a dead letter, the oldest first. Of a record that names no order nobody can say whose it is."""
    rows = await database.all(_HELD_ORDERS, {"consumer_group": consumer_group, "limit": limit})
    found = []
    for row in rows:
        with suppress(ValueError):
            found.append(UUID(row["subject"]))
    return found


async def orders_with_old_entries(database: Database, older_than: timedelta) -> dict[UUID, OutboxFact]:
    """Orders with an entry that has waited longer for Kafka, parked ones included, among the first MOST_ENTRIES."""
    rows = await database.all(_OLD_ENTRIES, {"older": older_than, "limit": MOST_ENTRIES})
    return {row["order_id"]: OutboxFact(database.name, row["entries"], row["oldest_at"]) for row in rows}
