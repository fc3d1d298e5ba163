"""The outbox: what is not on Kafka yet, who may publish it, and where the rest went.

Pending is a state (a row is in ``outbox``), never "after the last one seen": transactions commit out of order.
An order's entries stand in version order, because an event is written only after the one before it was committed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from orderflow.store.database import Database
from orderflow.store.statements import Statement

#: So many orders that were parked within so many seconds are no orders' fault: nothing more is parked beside them.
PARKED_AT_ONCE: Final = 5
AT_ONCE_SECONDS: Final = 60
#: The longest lease.
MOST_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """A pending event."""

    position: int
    order_id: UUID
    version: int
    type: str
    status: str
    data: dict[str, Any]
    correlation_id: str
    traceparent: str | None
    authtype: str
    authid: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """An entry that Kafka has acknowledged, and where it stands. ``topic``: its number, None where Kafka has no ids."""

    entry: Entry
    partition: int
    offset: int
    topic: int | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits: entries (those of parked orders included), the age of the oldest, orders parked."""

    entries: int
    oldest_age: timedelta
    parked_orders: int


# The database's clock decides: the relays' clocks need not agree. It may have stepped back: nobody is believed a lease
# that ends later than twice its length from now. The length stands with the lease: relays may have different ones. One
# that no setting allows is not believed either.
_HOLD = Statement(
    "outbox.hold",
    "Takes the relay's lease, renews it, or leaves it to a holder whose time is not up.",
    f"""
INSERT INTO relay_lease AS lease (name, holder, expires_at, seconds)
VALUES ('relay', $holder, clock_timestamp() + make_interval(secs => $seconds), $seconds)
ON CONFLICT (name) DO UPDATE
    SET holder = excluded.holder, expires_at = excluded.expires_at, seconds = excluded.seconds
    WHERE lease.holder = excluded.holder OR lease.expires_at < clock_timestamp()
       OR lease.expires_at > clock_timestamp()
           + make_interval(secs => 2 * CASE WHEN lease.seconds <= {MOST_SECONDS} THEN lease.seconds ELSE $seconds END)
RETURNING holder""",
)

_RELEASE = Statement(
    "outbox.release",
    "Gives the relay's lease back, where it is the holder's.",
    "DELETE FROM relay_lease WHERE name = 'relay' AND holder = $holder RETURNING holder",
)

# The limit comes before the look-up of the events, one by one: a plain join scans all of `events` while the planner
# takes the tables for small.
_PENDING = Statement(
    "outbox.pending",
    "Reads the first pending entries with their events, without those of orders that are parked, wait, or are held.",
    """
SELECT o.position, o.order_id, o.version, e.type, e.status, e.data, e.correlation_id, e.traceparent,
       e.authtype, e.authid, e.recorded_at
FROM (
    SELECT position, order_id, version FROM outbox
    WHERE NOT EXISTS (SELECT FROM parked_orders p WHERE p.order_id = outbox.order_id)
      AND NOT EXISTS (SELECT FROM waiting_orders w WHERE w.order_id = outbox.order_id)
      AND order_id <> ALL ($held::uuid[])
    ORDER BY position LIMIT $limit
) o
CROSS JOIN LATERAL (
    SELECT * FROM events e WHERE e.order_id = o.order_id AND e.version = o.version LIMIT 1
) e
ORDER BY o.position""",
)

# Rows are locked in position order, so that two leaders (for a moment) do not deadlock; the second finds nothing left.
_ACKNOWLEDGE = Statement(
    "outbox.acknowledge",
    "Moves entries that Kafka acknowledged from the outbox to the publications.",
    """
WITH acked AS (
    SELECT * FROM unnest($positions::bigint[], $partitions::int[], $offsets::bigint[], $topics::int[])
        AS acked (position, partition, "offset", topic_id)
), locked AS (
    SELECT o.position FROM outbox o WHERE o.position = ANY ($positions::bigint[]) ORDER BY o.position FOR UPDATE
), gone AS (
    DELETE FROM outbox o USING locked WHERE o.position = locked.position
    RETURNING o.position, o.order_id, o.version
)
INSERT INTO publications (order_id, version, partition, "offset", topic_id)
SELECT gone.order_id, gone.version, acked.partition, acked."offset", acked.topic_id
FROM gone JOIN acked USING (position)
ON CONFLICT DO NOTHING
RETURNING version""",
)

# Orders are broken one by one. Many at once are refused for the topic's limits or a clock, and nothing is wrong with
# them: parking them would only leave more to be unparked.
_PARK = Statement(
    "outbox.park",
    "Leaves an order out from now on, unless several stand there that were parked within a minute.",
    f"""
INSERT INTO parked_orders (order_id, version, error)
SELECT $order_id::uuid, $version::int, $error::text
WHERE NOT EXISTS (
    SELECT FROM (
        SELECT parked_at - lag(parked_at, {PARKED_AT_ONCE - 1}) OVER (ORDER BY parked_at) AS within FROM parked_orders
    ) p WHERE p.within <= interval '{AT_ONCE_SECONDS} seconds'
)
ON CONFLICT DO NOTHING RETURNING order_id""",
)

_UNPARK = Statement(
    "outbox.unpark",
    "Lets a parked order be published again.",
    "DELETE FROM parked_orders WHERE order_id = $order_id RETURNING order_id",
)

_UNPARK_ALL = Statement(
    "outbox.unpark_all",
    "Lets every parked order be published again, or those whose error has a text in it.",
    """
DELETE FROM parked_orders WHERE $cause::text IS NULL OR strpos(lower(error), lower($cause)) > 0
RETURNING order_id""",
)

_DEPTH = Statement(
    "outbox.depth",
    "Counts what waits to be published, and says how long the first entry has waited.",
    """
SELECT (SELECT count(*) FROM outbox) AS entries,
       (SELECT count(*) FROM parked_orders) AS parked_orders,
       coalesce((
           SELECT greatest(clock_timestamp() - e.recorded_at, interval '0')
           FROM (SELECT order_id, version FROM outbox ORDER BY position LIMIT 1) o
           JOIN events e USING (order_id, version)
       ), interval '0') AS oldest_age""",
)


async def hold_lease(database: Database, holder: str, seconds: float) -> bool:
    """Take or renew the relay's lease for ``seconds``. False: someone else leads."""
    return await database.one(_HOLD, {"holder": holder, "seconds": seconds}) is not None


async def release_lease(database: Database, holder: str) -> None:
    """Give the lease back, if it is ``holder``'s, so that another need not wait for it to run out."""
    await database.one(_RELEASE, {"holder": holder})


async def pending(database: Database, limit: int, held: Collection[UUID] = ()) -> list[Entry]:
    """The first ``limit`` pending entries in position order, without those of parked orders and of ``held`` ones."""
    return [Entry(**row) for row in await database.all(_PENDING, {"limit": limit, "held": list(held)})]


async def acknowledge(database: Database, published: Sequence[Published]) -> None:
    """Move entries from the outbox to the publications. Again, or by two leaders: nothing more happens."""
    await database.all(
        _ACKNOWLEDGE,
        {
            "positions": [p.entry.position for p in published],
            "partitions": [p.partition for p in published],
            "offsets": [p.offset for p in published],
            "topics": [p.topic for p in published],
        },
    )


async def park(database: Database, entry: Entry, error: str) -> bool:
    """Leave the entry's order out from now on: Kafka refuses this record.

    False: it is not, since ``PARKED_AT_ONCE`` orders stand there that were parked within a minute.
    """
    return await database.one(_PARK, {"order_id": entry.order_id, "version": entry.version, "error": error}) is not None


async def unpark(database: Database, order_id: UUID) -> bool:
    """Publish the order again, from where it stopped. False: it was not parked."""
    found = await database.one(_UNPARK, {"order_id": order_id}) is not None
    database.wrote()
    return found


async def unpark_all(database: Database, cause: str | None = None) -> list[UUID]:
    """Publish all parked orders again, or those whose error contains ``cause`` (upper or lower case); which."""
    rows = await database.all(_UNPARK_ALL, {"cause": cause})
    database.wrote()
    return sorted(row["order_id"] for row in rows)


async def depth(database: Database) -> Depth:
    """How much waits to be published."""
    row = await database.one(_DEPTH, {})
    if row is None:
        raise AssertionError("an aggregate always has a row")
    return Depth(**row)
