"""Events that nobody will publish: they are neither in the outbox nor among the publications.

Nothing of ours can cause it (an acknowledgement moves an entry in one statement), but somebody may delete a row of the
outbox. Such an event is found by comparing the events with both tables, and put back.

Only events since ``checked_until`` are compared: a moment before which all are known to be published. It never passes
an entry that still waits, so whoever deletes that one is found out. One look-up in an index an event, in slices of an
hour: a statement stays short however many events there are.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from orderflow.store import truncation
from orderflow.store.database import Database
from orderflow.store.statements import Statement

#: What one statement compares.
SLICE: Final = timedelta(hours=1)
#: An event is dated when it is inserted, and seen when its transaction has ended: never later than this.
UNSEEN: Final = timedelta(minutes=5)
#: So many events are told of each slice.
MOST: Final = 500

# A moment of the future is one of a clock that was ahead and was set back: nobody has compared what comes until then.
_UNTIL = Statement(
    "coverage.until",
    "Reads how far every event is known to be published, not further back than a window, and the database's clock.",
    """
SELECT greatest((SELECT checked_until FROM coverage WHERE checked_until <= clock_timestamp()),
                clock_timestamp() - $window::interval) AS since,
       clock_timestamp() AS now""",
)

# A scalar look-up for each event, not an anti-join: that may read all publications for the events of an hour.
_FORGOTTEN = Statement(
    "coverage.forgotten",
    "Reads the events of a span of time that are neither published nor in the outbox, by order and version.",
    f"""
SELECT e.order_id, e.version, e.recorded_at FROM events e
WHERE e.recorded_at >= $since::timestamptz AND e.recorded_at < $until::timestamptz
  AND (SELECT true FROM publications p WHERE p.order_id = e.order_id AND p.version = e.version LIMIT 1) IS NULL
  AND (SELECT true FROM outbox o WHERE o.order_id = e.order_id AND o.version = e.version LIMIT 1) IS NULL
ORDER BY e.order_id, e.version LIMIT {MOST}""",
)

_CHECKED = Statement(
    "coverage.checked",
    "Remembers that every event before a moment is published; the moment of the oldest that waits, if that is earlier.",
    """
INSERT INTO coverage (checked_until)
SELECT least($until::timestamptz, (
    SELECT min(e.recorded_at) FROM outbox o CROSS JOIN LATERAL (
        SELECT recorded_at FROM events e WHERE e.order_id = o.order_id AND e.version = o.version LIMIT 1
    ) e
))
ON CONFLICT (only_one) DO UPDATE SET checked_until =
    CASE WHEN coverage.checked_until > clock_timestamp() THEN excluded.checked_until
         ELSE greatest(coverage.checked_until, excluded.checked_until) END
RETURNING checked_until""",
)

# What is pending of these orders goes behind what comes back.
_PUT_BACK = Statement(
    "coverage.put_back",
    "Puts events of an order into the outbox that are neither there nor published, ahead of what is pending of it.",
    """
WITH back AS (
    SELECT e.order_id, e.version FROM events e
    WHERE e.order_id = $order_id AND e.version = ANY ($versions::int[])
      AND NOT EXISTS (SELECT FROM publications p WHERE p.order_id = e.order_id AND p.version = e.version)
      AND NOT EXISTS (SELECT FROM outbox o WHERE o.order_id = e.order_id AND o.version = e.version)
), behind AS (
    DELETE FROM outbox o WHERE o.order_id IN (SELECT back.order_id FROM back) RETURNING o.order_id, o.version
), again AS (
    INSERT INTO outbox (order_id, version)
    SELECT order_id, version FROM (SELECT * FROM back UNION ALL SELECT * FROM behind) entry
    ORDER BY order_id, version
    RETURNING order_id
)
SELECT (SELECT count(*) FROM back) AS events, (SELECT count(*) FROM again) AS entries""",
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An order's events that are neither published nor in the outbox; ``since``: when the first was recorded."""

    order_id: UUID
    versions: tuple[int, ...]
    since: datetime


async def forgotten(database: Database, window: timedelta) -> list[Forgotten]:
    """Such events of the last ``window``, by order. Raises Unavailable."""
    row = await database.one(_UNTIL, {"window": window})
    if row is None:
        raise AssertionError("a SELECT without FROM has a row")
    since, now = row["since"], row["now"]
    rows = []
    while since < now:
        until = min(since + SLICE, now)
        rows += await database.all(_FORGOTTEN, {"since": since, "until": until})
        since = until
    by_order: dict[UUID, list[tuple[int, datetime]]] = {}
    for found in rows:
        by_order.setdefault(found["order_id"], []).append((found["version"], found["recorded_at"]))
    return [
        Forgotten(order_id, tuple(sorted(version for version, _ in events)), min(at for _, at in events))
        for order_id, events in by_order.items()
    ]


async def checked(database: Database, until: datetime) -> None:
    """Nothing was forgotten of what is older than ``until``: the next look begins there. Raises Unavailable."""
    await database.one(_CHECKED, {"until": until - UNSEEN})


async def put_back(database: Database, order_id: UUID, versions: Collection[int]) -> int:
    """Have forgotten events of an order published; how many there were. Again: nothing more happens."""
    async with database.transaction() as connection:
        await connection.execute(truncation.LOCK.sql)
        values = {"order_id": order_id, "versions": sorted(versions)}
        events: int = await connection.fetchval(_PUT_BACK.sql, *_PUT_BACK.arguments(values))
    database.wrote()
    return events
