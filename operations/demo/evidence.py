"""Everything that a stack has written about its orders, read once: three databases, the topic, the gateway's ledger.

Read it when the stack is at rest (``operations.demo.rest``), or the parts are of different moments.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import httpx

from orderflow.postgres.databases import open_databases
from orderflow.settings import Service, Settings
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.stream.reading import Seen, read_all

COMMAND_SECONDS: Final = 60.0

#: Service, order, version.
EventId = tuple[str, UUID, int]
Row = Mapping[str, Any]

_EVENTS = Statement(
    "evidence.events",
    "Reads all events.",
    "SELECT order_id, version, type, status, data, correlation_id, recorded_at FROM events",
)
_PUBLICATIONS = Statement(
    "evidence.publications",
    "Reads where each event stands on Kafka.",
    'SELECT order_id, version, partition, "offset" FROM publications',
)
WAITING = Statement(
    "evidence.waiting",
    "Counts the entries of the outbox and the parked orders.",
    """
    SELECT (SELECT count(*) FROM outbox) AS waiting, (SELECT count(*) FROM parked_orders) AS parked""",
)
HANDOVERS = Statement(
    "evidence.handovers",
    "Reads what Temporal has not been told.",
    "SELECT order_id, name, refused FROM handovers ORDER BY written_at",
)
ROWS: Final = {
    "orders": Statement(
        "evidence.orders", "Reads all orders.", "SELECT order_id, status, version, reason, currency, total FROM orders"
    ),
    "payments": Statement(
        "evidence.payments",
        "Reads all payments.",
        "SELECT order_id, status, version, reason, currency, amount FROM payments",
    ),
    "inventory": Statement(
        "evidence.reservations", "Reads all reservations.", "SELECT order_id, status, version, reason FROM reservations"
    ),
}
_TRACKED = Statement(
    "evidence.tracked",
    "Reads all orders as the stream told them.",
    """
    SELECT order_id, order_status, order_version, reason, payment_status, payment_version, payment_reason,
           inventory_status, inventory_version, inventory_reason FROM order_state_tracking""",
)
_TRACKED_EVENTS = Statement(
    "evidence.tracked_events",
    "Reads which events the stream brought.",
    "SELECT order_id, source, version FROM tracked_events",
)
_CONSUMED = Statement(
    "evidence.consumed",
    "Counts the records that a consumer group applied.",
    "SELECT count(*) AS consumed FROM processed_messages WHERE consumer_group = $group",
)
_STOCK = Statement("evidence.stock", "Reads all stock.", "SELECT sku, on_hand, reserved FROM stock")
_MOVED = Statement(
    "evidence.moved",
    "Adds up the movements of each SKU.",
    "SELECT sku, sum(delta) AS delta FROM stock_movements GROUP BY sku",
)
_HELD = Statement(
    "evidence.held",
    "Reads what reservations are about, with their status.",
    """
    SELECT l.order_id, l.sku, l.quantity, r.status FROM reservation_lines l JOIN reservations r USING (order_id)""",
)
_TAKEN = Statement(
    "evidence.taken",
    "Reads what left the warehouse for orders.",
    "SELECT order_id, sku, delta FROM stock_movements WHERE kind = 'commit'",
)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as its database has it."""

    type: str
    status: str
    data: Mapping[str, Any]
    correlation_id: str
    recorded_at: datetime


@dataclass(slots=True)
class Evidence:
    """What was found. ``rows`` by service and order: the order, its payment, its reservation.

    ``handovers`` by order: of what Temporal has not been told, and why if it refused. ``publications``: where each
    event stands, by partition and offset. ``ledger`` by merchant reference, as the gateway gives it. ``moved``: the
    sum of a SKU's movements. ``held``: (order, SKU) to quantity and the reservation's status. ``taken``: (order, SKU)
    to the pieces that left the warehouse. ``consumed``: events that the tracking group has processed.
    """

    events: dict[EventId, Event]
    rows: dict[str, dict[UUID, Row]]
    publications: dict[EventId, tuple[int, int]]
    waiting: dict[str, int]
    parked: dict[str, int]
    handovers: dict[UUID, str]
    stream: list[Seen]
    ledger: dict[str, Row]
    tracked: dict[UUID, Row]
    tracked_events: set[EventId]
    consumed: int
    stock: dict[str, Row]
    moved: dict[str, int]
    held: dict[tuple[UUID, str], tuple[int, str]]
    taken: dict[tuple[UUID, str], int]


def databases(settings: Settings) -> AbstractAsyncContextManager[dict[Service, Database]]:
    """The three databases, as who looks. (No service does this: an auditor must.)"""
    return open_databases(settings, pool_size=2, command_timeout=COMMAND_SECONDS)


async def gather(settings: Settings) -> Evidence:
    """Read everything. Raises Unavailable, TopicAway and httpx.HTTPError."""
    async with databases(settings) as opened:
        events: dict[EventId, Event] = {}
        publications: dict[EventId, tuple[int, int]] = {}
        rows: dict[str, dict[UUID, Row]] = {}
        waiting: dict[str, int] = {}
        parked: dict[str, int] = {}
        for name, database in opened.items():
            for row in await database.all(_EVENTS, {}):
                fields = {key: value for key, value in row.items() if key not in ("order_id", "version")}
                events[name, row["order_id"], row["version"]] = Event(**fields)
            for row in await database.all(_PUBLICATIONS, {}):
                publications[name, row["order_id"], row["version"]] = (row["partition"], row["offset"])
            rows[name] = {row["order_id"]: dict(row) for row in await database.all(ROWS[name], {})}
            depth = (await database.all(WAITING, {}))[0]
            waiting[name], parked[name] = depth["waiting"], depth["parked"]
        orders, inventory = opened["orders"], opened["inventory"]
        return Evidence(
            events=events,
            rows=rows,
            publications=publications,
            waiting=waiting,
            parked=parked,
            handovers={
                row["order_id"]: row["name"] + (f", refused: {row['refused']}" if row["refused"] else "")
                for row in await orders.all(HANDOVERS, {})
            },
            stream=await read_all(settings),
            ledger=await _ledger(settings),
            tracked={row["order_id"]: dict(row) for row in await orders.all(_TRACKED, {})},
            tracked_events={
                (service_of(row["source"]), row["order_id"], row["version"])
                for row in await orders.all(_TRACKED_EVENTS, {})
            },
            consumed=(await orders.all(_CONSUMED, {"group": settings.tracking_group}))[0]["consumed"],
            stock={row["sku"]: dict(row) for row in await inventory.all(_STOCK, {})},
            moved={row["sku"]: int(row["delta"]) for row in await inventory.all(_MOVED, {})},
            held={
                (row["order_id"], row["sku"]): (row["quantity"], row["status"])
                for row in await inventory.all(_HELD, {})
            },
            taken={(row["order_id"], row["sku"]): row["delta"] for row in await inventory.all(_TAKEN, {})},
        )


def service_of(source: str) -> str:
    """``orders`` of ``/orderflow/orders``."""
    return source.rpartition("/")[2]


async def _ledger(settings: Settings) -> dict[str, Row]:
    async with httpx.AsyncClient(timeout=COMMAND_SECONDS, trust_env=False) as client:
        answer = await client.get(f"{settings.gateway_url.rstrip('/')}/v1/ledger")
        answer.raise_for_status()
    return {entry["reference"]: entry for entry in answer.json()["payments"]}
