"""Is what the tracking shows what happened? Its events are compared with those of the three databases, and healed.

The tracking believes the topic, and whoever may write there can write what looks like an event. The databases' own
``events`` are the truth: a service commits an event before anybody publishes it. So a tracked event that its service's
database has not, or has otherwise, is false, however young it is; none of ours is one.

Only what was tracked since ``checked_until`` is compared: before it all is known to be true. The look is in slices of
an hour, and each event is one look-up in an index.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from orderflow.store import tracking
from orderflow.store.coverage import UNSEEN
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.store.tracking import INVENTORY, ORDERS, PAYMENTS, Tracked

#: What one statement reads of the tracked events.
SLICE: Final = timedelta(hours=1)
#: So many events are compared in one statement.
_CHUNK: Final = 1000

#: By source, the columns of its part: status, version and reason.
_PARTS: Final = {
    ORDERS: ("order_status", "order_version", "reason"),
    PAYMENTS: ("payment_status", "payment_version", "payment_reason"),
    INVENTORY: ("inventory_status", "inventory_version", "inventory_reason"),
}

# A moment of the future is one of a clock that was ahead and was set back, as in ``coverage``.
_UNTIL = Statement(
    "tracked_truth.until",
    "Reads since when tracked events are not known to be true, not further back than a window, and the clock.",
    """
SELECT greatest((SELECT checked_until FROM tracked_truth WHERE checked_until <= clock_timestamp()),
                clock_timestamp() - $window::interval) AS since,
       clock_timestamp() AS now""",
)

_TRACKED = Statement(
    "tracked_truth.tracked",
    "Reads the events of a source that were tracked in a span of time.",
    """
SELECT order_id, source, version, type, status, reason, recorded_at, tracked_at FROM tracked_events
WHERE tracked_at >= $since::timestamptz AND tracked_at < $until::timestamptz AND source = $source""",
)

# A scalar look-up for each, so that the plan is one of the index whatever the planner thinks of the numbers.
_FALSE = Statement(
    "tracked_truth.false",
    "Reads which of the tracked events this database has not, or has otherwise.",
    """
SELECT c.order_id, c.version
FROM unnest($order_ids::uuid[], $versions::int[], $types::text[], $statuses::text[], $reasons::text[],
            $times::timestamptz[]) AS c (order_id, version, type, status, reason, recorded_at)
WHERE (SELECT true FROM events e
       WHERE e.order_id = c.order_id AND e.version = c.version AND e.type = c.type AND e.status = c.status
         AND e.recorded_at = c.recorded_at AND e.data ->> 'reason' IS NOT DISTINCT FROM c.reason LIMIT 1) IS NULL""",
)

_CHECKED = Statement(
    "tracked_truth.checked",
    "Remembers that every event that was tracked before a moment is true.",
    """
INSERT INTO tracked_truth (checked_until) VALUES ($until::timestamptz)
ON CONFLICT (only_one) DO UPDATE SET checked_until =
    CASE WHEN tracked_truth.checked_until > clock_timestamp() THEN excluded.checked_until
         ELSE greatest(tracked_truth.checked_until, excluded.checked_until) END
RETURNING checked_until""",
)

_EVENTS = Statement(
    "tracked_truth.events",
    "Reads the events of an order, as the tracking would keep them.",
    """
SELECT order_id, $source::text AS source, version, type, status, data ->> 'reason' AS reason, recorded_at
FROM events WHERE order_id = $order_id ORDER BY version""",
)

_LOCK = Statement(
    "tracked_truth.lock",
    "Locks what is tracked of an order.",
    "SELECT FROM tracked_orders WHERE order_id = $order_id FOR UPDATE",
)

# The genuine event with this identity may come yet: the inbox must not take it for one that it has seen.
_FORGET = Statement(
    "tracked_truth.forget",
    "Deletes tracked events of an order, and their entries in the inbox.",
    """
WITH gone AS (
    DELETE FROM tracked_events WHERE order_id = $order_id AND source = $source AND version = ANY ($versions::int[])
)
DELETE FROM processed_messages
WHERE consumer_group = $group AND source = $source AND subject = $order_id::uuid::text
  AND sequence = ANY ($versions::int[])""",
)

_NOTHING_LEFT = Statement(
    "tracked_truth.nothing_left",
    "Deletes what is tracked of an order of which no event is left.",
    """
DELETE FROM tracked_orders t WHERE order_id = $order_id
  AND NOT EXISTS (SELECT FROM tracked_events e WHERE e.order_id = t.order_id)""",
)


def _part_again(source: str) -> Statement:
    status, version, reason = _PARTS[source]
    return Statement(
        f"tracked_truth.{version.removesuffix('_version')}_again",
        f"Makes an order's part of {source} that of its highest tracked version again.",
        f"""
UPDATE tracked_orders SET ({status}, {version}, {reason}, tracked_at) = (
    SELECT (array_agg(e.status ORDER BY e.version DESC))[1], max(e.version),
           (array_agg(e.reason ORDER BY e.version DESC))[1], clock_timestamp()
    FROM tracked_events e WHERE e.order_id = $order_id AND e.source = '{source}'
) WHERE order_id = $order_id""",
    )


_ORDER_AGAIN = _part_again(ORDERS)
_PAYMENT_AGAIN = _part_again(PAYMENTS)
_INVENTORY_AGAIN = _part_again(INVENTORY)
_AGAIN: Final = {ORDERS: _ORDER_AGAIN, PAYMENTS: _PAYMENT_AGAIN, INVENTORY: _INVENTORY_AGAIN}


@dataclass(frozen=True, slots=True)
class FalseEvents:
    """Tracked events of one source and order that did not happen so; ``since``: when the last of them was tracked.

    ``said``: what they said the order's part became, by version.
    """

    source: str
    order_id: UUID
    said: Mapping[int, str]
    since: datetime

    @property
    def service(self) -> str:
        """The service whose events they claim to be."""
        return self.source.rpartition("/")[2]


async def false_events(orders: Database, services: Mapping[str, Database], window: timedelta) -> list[FalseEvents]:
    """What was tracked in the last ``window`` and is not true, by order. ``services``: the databases by source.

    Where there is nothing, the next look begins where this one ended. Raises Unavailable.
    """
    row = await orders.one(_UNTIL, {"window": window})
    if row is None:
        raise AssertionError("a SELECT without FROM has a row")
    since, now = row["since"], row["now"]
    found: list[Any] = []
    begin = since
    while begin < now:
        end = min(begin + SLICE, now)
        for source, database in services.items():
            tracked = await orders.all(_TRACKED, {"since": begin, "until": end, "source": source})
            for start in range(0, len(tracked), _CHUNK):
                found += await _false_of(database, tracked[start : start + _CHUNK])
        begin = end
    if not found:
        await orders.one(_CHECKED, {"until": now - UNSEEN})
    return list(_by_order(found))


async def _false_of(database: Database, tracked: Collection[Any]) -> list[Any]:
    values = {
        "order_ids": [row["order_id"] for row in tracked],
        "versions": [row["version"] for row in tracked],
        "types": [row["type"] for row in tracked],
        "statuses": [row["status"] for row in tracked],
        "reasons": [row["reason"] for row in tracked],
        "times": [row["recorded_at"] for row in tracked],
    }
    false = {(row["order_id"], row["version"]) for row in await database.all(_FALSE, values)}
    return [row for row in tracked if (row["order_id"], row["version"]) in false]


def _by_order(rows: Iterable[Any]) -> Iterable[FalseEvents]:
    by_order: dict[tuple[str, UUID], list[Any]] = {}
    for row in rows:
        by_order.setdefault((row["source"], row["order_id"]), []).append(row)
    for (source, order_id), events in by_order.items():
        said = {event["version"]: event["status"] for event in sorted(events, key=lambda event: event["version"])}
        yield FalseEvents(source, order_id, said, max(event["tracked_at"] for event in events))


async def heal(
    orders: Database, service: Database, group: str, order_id: UUID, source: str, versions: Collection[int]
) -> None:
    """Have the tracking forget ``versions`` of an order's ``source``, and show what ``service`` has of the order.

    ``group``: the tracking's. Again: nothing more happens. Raises Unavailable.
    """
    values = {"order_id": order_id, "source": source, "versions": sorted(versions), "group": group}
    async with orders.transaction() as connection:
        for statement in (_LOCK, _FORGET):
            await connection.execute(statement.sql, *statement.arguments(values))
        # Apart from the deletion, so that it sees it.
        for statement in (_AGAIN[source], _NOTHING_LEFT):
            await connection.execute(statement.sql, *statement.arguments(values))
    # Behind the commit: an event that the inbox skipped until then is in its database, and what comes later is tracked.
    true = [Tracked(**row) for row in await service.all(_EVENTS, {"order_id": order_id, "source": source})]
    if true:
        async with orders.transaction() as connection:
            await tracking.track(connection, true)
    orders.wrote()
