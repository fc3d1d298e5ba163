"""``order_state_tracking``: an order's three parts and its timeline, as the stream told them.

``track`` is order-independent: the same events, in any interleaving and any number of times, give the same rows
(but for ``tracked_at``). Events are a set by ``(order, source, version)``; each part is the one of its highest version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from orderflow.store.database import Database
from orderflow.store.measuring import measured
from orderflow.store.statements import Statement

ORDERS = "/orderflow/orders"
PAYMENTS = "/orderflow/payments"
INVENTORY = "/orderflow/inventory"


@dataclass(frozen=True, slots=True)
class Tracked:
    """What the tracking keeps of an event. Events of sources other than the three stand in the timeline only."""

    order_id: UUID
    source: str
    version: int
    type: str
    status: str
    reason: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class TrackedPart:
    """One service's part of an order: of the highest version seen."""

    status: str
    version: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An event, when it happened, and when the stream brought it."""

    source: str
    version: int
    type: str
    status: str
    reason: str | None
    recorded_at: datetime
    tracked_at: datetime


@dataclass(frozen=True, slots=True)
class TrackedOrder:
    """What the stream says about an order. A part is None when nothing of it has come yet.

    ``payment_authorized``: the money is held or taken; ``inventory_reserved``: the stock is held or gone out.
    ``tracked_at``: when one of the parts last changed here. ``timeline``: by time of happening; empty unless asked for.
    """

    order_id: UUID
    order: TrackedPart | None
    payment: TrackedPart | None
    inventory: TrackedPart | None
    payment_authorized: bool
    inventory_reserved: bool
    tracked_at: datetime
    timeline: tuple[TimelineEntry, ...] = ()


def _later(prefix: str, *columns: str) -> str:
    """SET clauses that take a part's columns where the new version is higher."""
    newer = f"excluded.{prefix}_version > coalesce(t.{prefix}_version, 0)"
    return ",\n    ".join(f"{c} = CASE WHEN {newer}\n        THEN excluded.{c} ELSE t.{c} END" for c in columns)


def _pick(source: str, prefix: str, reason: str) -> str:
    """A part's columns out of the latest event of ``source``, of which there is one at most."""
    columns = {"status": f"{prefix}_status", "version": f"{prefix}_version", "reason": reason}
    return ",\n       ".join(
        f"max({value}) FILTER (WHERE source = '{source}') AS {name}" for value, name in columns.items()
    )


# Both inserts are sorted: transactions that overlap during a rebalance wait for each other in one direction.
_TRACK = Statement(
    "tracking.track",
    "Folds events of the stream into the tracking: each into the timeline, and the latest into its order's parts.",
    f"""
WITH came AS (
    SELECT * FROM unnest($order_ids::uuid[], $sources::text[], $versions::int[], $types::text[], $statuses::text[],
                         $reasons::text[], $times::timestamptz[])
        AS came (order_id, source, version, type, status, reason, recorded_at)
), kept AS (
    INSERT INTO tracked_events (order_id, source, version, type, status, reason, recorded_at)
    SELECT * FROM came ORDER BY order_id, source, version
    ON CONFLICT DO NOTHING
), latest AS (
    SELECT DISTINCT ON (order_id, source) * FROM came ORDER BY order_id, source, version DESC
)
INSERT INTO tracked_orders AS t (
    order_id,
    order_status, order_version, reason,
    payment_status, payment_version, payment_reason,
    inventory_status, inventory_version, inventory_reason
)
SELECT order_id,
       {_pick(ORDERS, "order", "reason")},
       {_pick(PAYMENTS, "payment", "payment_reason")},
       {_pick(INVENTORY, "inventory", "inventory_reason")}
FROM latest GROUP BY order_id ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET
    {_later("order", "order_status", "reason", "order_version")},
    {_later("payment", "payment_status", "payment_reason", "payment_version")},
    {_later("inventory", "inventory_status", "inventory_reason", "inventory_version")},
    tracked_at = clock_timestamp()
WHERE excluded.order_version > coalesce(t.order_version, 0)
   OR excluded.payment_version > coalesce(t.payment_version, 0)
   OR excluded.inventory_version > coalesce(t.inventory_version, 0)""",
)

_READ = Statement(
    "tracking.read",
    "Reads an order's three parts as the stream told them.",
    """
SELECT order_id, order_status, order_version, reason, payment_status, payment_version, payment_reason,
       inventory_status, inventory_version, inventory_reason, payment_authorized, inventory_reserved, tracked_at
FROM order_state_tracking WHERE order_id = $order_id""",
)

_TIMELINE = Statement(
    "tracking.timeline",
    "Reads the events of an order that the stream brought, by the time of their happening.",
    """
SELECT source, version, type, status, reason, recorded_at, tracked_at
FROM tracked_events WHERE order_id = $order_id ORDER BY recorded_at, source, version""",
)


# The consumer kit's table (events/orderflow_events/dead_letters.sql).
_DEAD_LETTERS = Statement(
    "tracking.dead_letters",
    "Counts a consumer group's dead letters by kind.",
    """
SELECT kind, (SELECT count(*) FROM dead_letters d WHERE d.consumer_group = $group AND d.kind = kinds.kind) AS letters
FROM unnest(ARRAY['failed', 'undecodable', 'follows']) AS kinds (kind)""",
)


async def dead_letters(database: Database, group: str) -> dict[str, int]:
    """How many dead letters of ``group`` wait for a redrive, by kind. Raises Unavailable."""
    return {row["kind"]: row["letters"] for row in await database.all(_DEAD_LETTERS, {"group": group})}


async def track(
    connection: "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]", events: Sequence[Tracked]
) -> None:
    """Fold ``events`` into the tracking, in one statement, inside the caller's transaction."""
    values = {
        "order_ids": [e.order_id for e in events],
        "sources": [e.source for e in events],
        "versions": [e.version for e in events],
        "types": [e.type for e in events],
        "statuses": [e.status for e in events],
        "reasons": [e.reason for e in events],
        "times": [e.recorded_at for e in events],
    }
    with measured("tracking", _TRACK) as watch:
        await connection.execute(_TRACK.sql, *_TRACK.arguments(values))
        watch.answered()


async def read(database: Database, order_id: UUID, *, timeline: bool = False) -> TrackedOrder | None:
    """What the stream has said about the order so far; None: nothing. Raises Unavailable."""
    row = await database.one(_READ, {"order_id": order_id})
    if row is None:
        return None
    entries = await database.all(_TIMELINE, {"order_id": order_id}) if timeline else []
    return TrackedOrder(
        order_id=order_id,
        order=_part(row["order_status"], row["order_version"], row["reason"]),
        payment=_part(row["payment_status"], row["payment_version"], row["payment_reason"]),
        inventory=_part(row["inventory_status"], row["inventory_version"], row["inventory_reason"]),
        payment_authorized=row["payment_authorized"],
        inventory_reserved=row["inventory_reserved"],
        tracked_at=row["tracked_at"],
        timeline=tuple(TimelineEntry(**entry) for entry in entries),
    )


def _part(status: str | None, version: int | None, reason: str | None) -> TrackedPart | None:
    return None if status is None or version is None else TrackedPart(status, version, reason)
