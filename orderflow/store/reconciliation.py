"""What reconciliation reads: each service's database by itself, one statement one snapshot. Never joined across.

Live rows are read always, final ones as far back as a window; the statements may scan a table, so they run on
connections with a longer time-out and seldom.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from orderflow.domain.inventory import ReservationStatus
from orderflow.domain.orders import LIFECYCLE
from orderflow.domain.payments import PaymentStatus
from orderflow.store import coverage, truncation
from orderflow.store.coverage import Forgotten
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.store.truncation import Stop

#: Ids in one look-up.
_CHUNK: Final = 1000

_NOW = Statement(
    "reconciliation.now",
    "Reads the database's clock.",
    "SELECT clock_timestamp() AS now",
)

_ORDER = """
SELECT o.order_id, o.status, o.version, o.created_at, o.updated_at,
       p.command_id AS pending_ship, p.recorded_at AS pending_since
FROM orders o
LEFT JOIN commands p ON p.order_id = o.order_id AND p.version IS NULL AND p.refusal IS NULL"""
_LIVE_ORDERS = Statement(
    "reconciliation.live_orders",
    "Reads the orders to which something can still happen, each with its pending ship.",
    f"{_ORDER}\nWHERE o.status = ANY($statuses::text[])",
)
_THESE_ORDERS = Statement(
    "reconciliation.these_orders",
    "Reads orders by their ids, each with its pending ship.",
    f"{_ORDER}\nWHERE o.order_id = ANY($order_ids::uuid[])",
)

_PAYMENT = "SELECT order_id, status, version, created_at, updated_at FROM payments"
_OPEN_PAYMENTS = Statement(
    "reconciliation.open_payments",
    "Reads the payments that are open, and those captured lately.",
    f"""{_PAYMENT}
WHERE status = ANY($open::text[])
   OR status = '{PaymentStatus.CAPTURED}' AND updated_at > clock_timestamp() - $window::interval""",
)
_THESE_PAYMENTS = Statement(
    "reconciliation.these_payments",
    "Reads payments by their orders' ids.",
    f"{_PAYMENT}\nWHERE order_id = ANY($order_ids::uuid[])",
)

_RESERVED = Statement(
    "reconciliation.reserved",
    "Reads the reservations that hold stock.",
    f"""
SELECT order_id, status, version, updated_at FROM reservations WHERE status = '{ReservationStatus.RESERVED}'""",
)

_STOCK = Statement(
    "reconciliation.stock",
    "Reads the SKUs whose stock differs from their movements, or from what reservations hold.",
    f"""
SELECT s.sku, s.on_hand, coalesce(m.moved, 0)::bigint AS moved, s.reserved, coalesce(h.held, 0)::bigint AS held,
       s.updated_at
FROM stock s
LEFT JOIN (SELECT sku, sum(delta) AS moved FROM stock_movements GROUP BY sku) m USING (sku)
LEFT JOIN (
    SELECT l.sku, sum(l.quantity) AS held
    FROM reservations r JOIN reservation_lines l USING (order_id)
    WHERE r.status = '{ReservationStatus.RESERVED}' GROUP BY l.sku
) h USING (sku)
WHERE s.on_hand <> coalesce(m.moved, 0) OR s.reserved <> coalesce(h.held, 0)
ORDER BY s.sku""",
)

# The outbox is small; the look-up of its events goes one by one (a plain join may scan all of them).
_WAITING = Statement(
    "reconciliation.waiting",
    "Counts the entries that have waited too long for the relay, without those of parked orders.",
    """
SELECT count(*) AS entries, min(e.recorded_at) AS oldest_at
FROM outbox o CROSS JOIN LATERAL (
    SELECT recorded_at FROM events e WHERE e.order_id = o.order_id AND e.version = o.version LIMIT 1
) e
WHERE e.recorded_at < clock_timestamp() - $older::interval
  AND NOT EXISTS (SELECT FROM parked_orders p WHERE p.order_id = o.order_id)""",
)
_PARKED = Statement(
    "reconciliation.parked",
    "Reads the parked orders, the oldest first.",
    "SELECT order_id, version, error, parked_at FROM parked_orders ORDER BY parked_at",
)


@dataclass(frozen=True, slots=True)
class OrderFact:
    """An order's row. ``pending_ship``: the id of a ship whose capture is under way."""

    order_id: UUID
    status: str
    version: int
    created_at: datetime
    updated_at: datetime
    pending_ship: str | None = None
    pending_since: datetime | None = None

    @property
    def pending(self) -> bool:
        """Whether a ship waits for its capture: nothing else may be asked of the order meanwhile."""
        return self.pending_ship is not None


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """A payment's row."""

    order_id: UUID
    status: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ReservationFact:
    """A reservation that holds stock."""

    order_id: UUID
    status: str
    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StockFact:
    """A SKU whose figures do not add up."""

    sku: str
    on_hand: int
    moved: int
    reserved: int
    held: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxFact:
    """Events of one database that have waited too long, those of parked orders left out."""

    database: str
    entries: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedFact:
    """An order whose events wait because Kafka refused one."""

    database: str
    order_id: UUID
    version: int
    error: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class StoppedFact:
    """A partition to which one database's events are not sent."""

    database: str
    stop: Stop


@dataclass(frozen=True, slots=True)
class ForgottenFact:
    """Events of an order, in one database, that nobody will publish."""

    database: str
    events: Forgotten


async def now(database: Database) -> datetime:
    """The database's clock: it dates the rows, so it says how old they are."""
    row = await database.one(_NOW, {})
    if row is None:
        raise RuntimeError("the clock gave no row")
    moment: datetime = row["now"]
    return moment


async def live_orders(database: Database) -> dict[UUID, OrderFact]:
    """Every order to which something can still happen."""
    statuses = [status for status in LIFECYCLE.statuses if not LIFECYCLE.is_final(status)]
    rows = await database.all(_LIVE_ORDERS, {"statuses": statuses})
    return {row["order_id"]: OrderFact(**row) for row in rows}


async def these_orders(database: Database, order_ids: Collection[UUID]) -> dict[UUID, OrderFact]:
    """The rows of ``order_ids``, where there are any."""
    found = {}
    for chunk in _chunks(order_ids):
        for row in await database.all(_THESE_ORDERS, {"order_ids": chunk}):
            found[row["order_id"]] = OrderFact(**row)
    return found


async def open_payments(database: Database, window: timedelta) -> dict[UUID, PaymentFact]:
    """AUTHORIZED and VOIDING ones, and those CAPTURED within ``window``."""
    values = {"open": [PaymentStatus.AUTHORIZED, PaymentStatus.VOIDING], "window": window}
    return {row["order_id"]: PaymentFact(**row) for row in await database.all(_OPEN_PAYMENTS, values)}


async def these_payments(database: Database, order_ids: Collection[UUID]) -> dict[UUID, PaymentFact]:
    """The rows of ``order_ids``, where there are any."""
    found = {}
    for chunk in _chunks(order_ids):
        for row in await database.all(_THESE_PAYMENTS, {"order_ids": chunk}):
            found[row["order_id"]] = PaymentFact(**row)
    return found


async def live_reservations(database: Database) -> dict[UUID, ReservationFact]:
    """Those that hold stock."""
    return {row["order_id"]: ReservationFact(**row) for row in await database.all(_RESERVED, {})}


async def stock_that_differs(database: Database) -> list[StockFact]:
    """SKUs whose figures do not add up, in one snapshot: none in motion is among them."""
    return [StockFact(**row) for row in await database.all(_STOCK, {})]


async def waiting_events(database: Database, older_than: timedelta) -> list[OutboxFact]:
    """What has waited too long for the relay: one fact, or none."""
    row = await database.one(_WAITING, {"older": older_than})
    return [OutboxFact(database.name, row["entries"], row["oldest_at"])] if row and row["entries"] else []


async def parked(database: Database) -> list[ParkedFact]:
    """Orders whose events Kafka refuses."""
    return [ParkedFact(database.name, **row) for row in await database.all(_PARKED, {})]


async def stopped(database: Database) -> list[StoppedFact]:
    """Partitions that stand still."""
    return [StoppedFact(database.name, stop) for stop in await truncation.stops(database)]


async def forgotten(database: Database, window: timedelta) -> list[ForgottenFact]:
    """Events that are neither published nor in the outbox. Where there are none, the next look begins here."""
    began = await now(database)
    found = [ForgottenFact(database.name, events) for events in await coverage.forgotten(database, window)]
    if not found:
        await coverage.checked(database, began)
    return found


def _chunks(order_ids: Collection[UUID]) -> Iterator[list[UUID]]:
    ordered = sorted(order_ids)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
