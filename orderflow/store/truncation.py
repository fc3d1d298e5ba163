"""What was published and is no longer on Kafka: the partitions that stand still for it, and the way back to the outbox.

A broker can lose records that it had acknowledged, and a topic can be made anew. The relay then stops the partition (a
row in ``stopped_partitions``, so that any other leader keeps it stopped), and its orders' entries wait. ``move_back``
makes published events pending again, in version order and ahead of what is pending of the same orders; ``go_on`` lifts
the stop. Nothing is lost in between: an event is in ``outbox`` or in ``publications``, always.

A topic is a number (``topics.py``), and None where Kafka has no ids: offsets of two are never compared.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from orderflow.store.database import Database
from orderflow.store.statements import Statement


@dataclass(frozen=True, slots=True)
class Position:
    """A published event, and the partition and offset where it stands on Kafka, or stood; ``topic_id``: on which topic.

    None: it is not known, as the broker gives its topics no ids.
    """

    order_id: UUID
    version: int
    partition: int
    offset: int
    topic_id: int | None = None


class Cause(StrEnum):
    """Why a partition stands still."""

    #: The broker has lost what it had acknowledged.
    LOST = "lost"
    #: The topic was deleted, and one of the same name was made, or another name was set.
    MADE_ANEW = "made_anew"


@dataclass(frozen=True, slots=True)
class Stop:
    """A partition that stands still: the last acknowledged event there, and what was found in its place."""

    partition: int
    offset: int
    order_id: UUID
    version: int
    found: str
    cause: Cause
    stopped_at: datetime
    #: Orders that are known to wait for it.
    waiting_orders: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which published events are meant: all conditions together. ``since``: acknowledged then or later."""

    order_id: UUID | None = None
    since: datetime | None = None
    partition: int | None = None


# From the index, one partition after the other (a plain DISTINCT ON reads the whole table).
_PARTS = """
WITH RECURSIVE parts AS (
    (SELECT partition FROM publications ORDER BY partition LIMIT 1)
    UNION ALL
    SELECT (SELECT p.partition FROM publications p WHERE p.partition > parts.partition ORDER BY p.partition LIMIT 1)
    FROM parts WHERE parts.partition IS NOT NULL
)
SELECT last.order_id, last.version, last.partition, last."offset", last.topic_id"""

# Of an unknown topic only where there is none of the present one: those were published before it had a number. (They
# are ordered by the topic as well: for IS NULL Postgres does not see that the index has the offsets in order.) What is
# older than the retention may be gone by right.
_LAST = Statement(
    "truncation.last",
    "Reads the event with the highest offset in each partition of the present topic, where it is young enough.",
    f"""{_PARTS}
FROM parts CROSS JOIN LATERAL (
    (SELECT * FROM publications p WHERE p.partition = parts.partition AND p.topic_id = $topic::int
     ORDER BY p."offset" DESC LIMIT 1)
    UNION ALL
    (SELECT * FROM publications p WHERE p.partition = parts.partition AND p.topic_id IS NULL
     ORDER BY p.topic_id DESC, p."offset" DESC LIMIT 1)
    ORDER BY topic_id NULLS LAST LIMIT 1
) last
WHERE last.published_at > clock_timestamp() - $retention::interval
ORDER BY last.partition""",
)

_ELSEWHERE = Statement(
    "truncation.elsewhere",
    "Reads each partition's last event that was published to another topic than the present one, if it is young.",
    f"""{_PARTS}
FROM parts CROSS JOIN LATERAL (
    SELECT there.* FROM topics t CROSS JOIN LATERAL (
        SELECT * FROM publications p WHERE p.partition = parts.partition AND p.topic_id = t.topic_id
        ORDER BY p."offset" DESC LIMIT 1
    ) there
    WHERE t.topic_id IS DISTINCT FROM $topic::int
      AND there.published_at > clock_timestamp() - $retention::interval
    ORDER BY t.turn DESC LIMIT 1
) last
ORDER BY last.partition""",
)

_IN_PARTITION = Statement(
    "truncation.in_partition",
    "Reads the events published in a partition that are young enough, by order and version.",
    """
SELECT order_id, version, partition, "offset", topic_id FROM publications
WHERE partition = $partition AND published_at > clock_timestamp() - $retention::interval
ORDER BY order_id, version
""",
)

_CHOSEN = Statement(
    "truncation.chosen",
    "Reads the published events that an operator means, by order and version.",
    """
SELECT order_id, version, partition, "offset", topic_id FROM publications
WHERE ($order_id::uuid IS NULL OR order_id = $order_id)
  AND ($since::timestamptz IS NULL OR published_at >= $since)
  AND ($partition::int IS NULL OR partition = $partition)
ORDER BY order_id, version""",
)

_STOP = Statement(
    "truncation.stop",
    "Stops a partition, unless it is stopped already.",
    """
INSERT INTO stopped_partitions (partition, "offset", order_id, version, found, cause)
VALUES ($partition, $offset, $order_id, $version, $found, $cause)
ON CONFLICT DO NOTHING RETURNING partition""",
)

_STOPPED = Statement(
    "truncation.stopped",
    "Reads which partitions stand still.",
    "SELECT partition FROM stopped_partitions",
)

_STOPS = Statement(
    "truncation.stops",
    "Reads the stopped partitions with what was found in each, and how many orders wait for it.",
    """
SELECT s.partition, s."offset", s.order_id, s.version, s.found, s.cause, s.stopped_at,
       (SELECT count(*) FROM waiting_orders w WHERE w.partition = s.partition) AS waiting_orders
FROM stopped_partitions s ORDER BY s.partition""",
)

# Only where the partition still stands: it may go on at this very moment.
_LET_WAIT = Statement(
    "truncation.let_wait",
    "Leaves orders out until their partition goes on.",
    """
INSERT INTO waiting_orders (order_id, partition)
SELECT DISTINCT w.order_id, w.partition
FROM unnest($order_ids::uuid[], $partitions::int[]) AS w (order_id, partition)
JOIN stopped_partitions USING (partition)
ON CONFLICT DO NOTHING RETURNING order_id""",
)

_GO_ON = Statement(
    "truncation.go_on",
    "Lets a partition be published to again.",
    "DELETE FROM stopped_partitions WHERE partition = $partition RETURNING partition",
)

_PLACE = Statement(
    "truncation.place",
    "Corrects where published events stand on the present topic.",
    """
UPDATE publications p SET "offset" = found."offset", topic_id = $topic::int
FROM unnest($order_ids::uuid[], $versions::int[], $offsets::bigint[]) AS found (order_id, version, "offset")
WHERE p.order_id = found.order_id AND p.version = found.version
RETURNING p.version""",
)

#: Against writers and acknowledgements, for the moment: an event that is written meanwhile gets a later position.
LOCK = Statement(
    "truncation.lock",
    "Keeps writers and acknowledgements off the outbox until the transaction ends.",
    "LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE",
)

# What is pending of these orders goes behind what comes back.
_MOVE_BACK = Statement(
    "truncation.move_back",
    "Makes published events pending again, ahead of what is pending of the same orders.",
    """
WITH back AS (
    DELETE FROM publications p
    USING unnest($order_ids::uuid[], $versions::int[]) AS chosen (order_id, version)
    WHERE p.order_id = chosen.order_id AND p.version = chosen.version
    RETURNING p.order_id, p.version
), behind AS (
    DELETE FROM outbox o WHERE o.order_id IN (SELECT back.order_id FROM back) RETURNING o.order_id, o.version
), again AS (
    INSERT INTO outbox (order_id, version)
    SELECT order_id, version FROM (SELECT * FROM back UNION ALL SELECT * FROM behind) entry
    ORDER BY order_id, version
    RETURNING order_id
)
SELECT (SELECT count(*) FROM back) AS moved, (SELECT count(*) FROM again) AS entries""",
)


async def last_acknowledged(database: Database, topic: int | None, retention: timedelta) -> list[Position]:
    """The event with the highest offset in each partition of ``topic``, where it is younger than ``retention``."""
    return [Position(**row) for row in await database.all(_LAST, {"topic": topic, "retention": retention})]


async def elsewhere(database: Database, topic: int | None, retention: timedelta) -> list[Position]:
    """For each partition the last event on another topic than ``topic``, where it is younger than ``retention``."""
    return [Position(**row) for row in await database.all(_ELSEWHERE, {"topic": topic, "retention": retention})]


async def in_partition(database: Database, partition: int, retention: timedelta) -> list[Position]:
    """The events published in ``partition`` of any topic that are younger than ``retention``, by order and version."""
    values = {"partition": partition, "retention": retention}
    return [Position(**row) for row in await database.all(_IN_PARTITION, values)]


async def published(database: Database, chosen: Chosen) -> list[Position]:
    """The published events that are meant, by order and version."""
    values = {name: getattr(chosen, name) for name in Chosen.__dataclass_fields__}
    return [Position(**row) for row in await database.all(_CHOSEN, values)]


async def stop(database: Database, last: Position, found: str, cause: Cause) -> bool:
    """Stop the partition of ``last``, the event that ``found`` stands in place of. False: it is stopped already."""
    values = {"partition": last.partition, "offset": last.offset, "order_id": last.order_id, "version": last.version}
    return await database.one(_STOP, {**values, "found": found, "cause": cause}) is not None


async def stopped(database: Database) -> frozenset[int]:
    """The partitions that stand still."""
    return frozenset(row["partition"] for row in await database.all(_STOPPED, {}))


async def stops(database: Database) -> list[Stop]:
    """The same, with all that is known of each."""
    return [Stop(**{**row, "cause": Cause(row["cause"])}) for row in await database.all(_STOPS, {})]


async def let_wait(database: Database, orders: Mapping[UUID, int]) -> frozenset[int]:
    """Leave ``orders`` (with their partitions) out until their partition goes on. The partitions that still stand."""
    values = {"order_ids": list(orders), "partitions": list(orders.values())}
    await database.all(_LET_WAIT, values)
    return await stopped(database)


async def go_on(database: Database, partition: int) -> bool:
    """Publish to ``partition`` again. False: it was not stopped."""
    found = await database.one(_GO_ON, {"partition": partition}) is not None
    database.wrote()
    return found


async def place(database: Database, positions: Collection[Position], topic: int | None, *, at_once: int = 1000) -> None:
    """Record where published events stand: at their ``offset`` of ``topic``."""
    for batch in _by_order(positions, at_once):
        await database.all(
            _PLACE,
            {
                "order_ids": [position.order_id for position in batch],
                "versions": [position.version for position in batch],
                "offsets": [position.offset for position in batch],
                "topic": topic,
            },
        )


async def move_back(database: Database, positions: Collection[Position], *, at_once: int = 1000) -> int:
    """Make published events pending again; how many there were. Again: those that are pending are left alone.

    ``positions`` by order and version. An order's events move in one transaction; writers wait for each.
    """
    moved = 0
    for batch in _by_order(positions, at_once):
        async with database.transaction() as connection:
            await connection.execute(LOCK.sql)
            values = {"order_ids": [p.order_id for p in batch], "versions": [p.version for p in batch]}
            moved += await connection.fetchval(_MOVE_BACK.sql, *_MOVE_BACK.arguments(values))
    database.wrote()
    return moved


def _by_order(positions: Collection[Position], at_once: int) -> list[Sequence[Position]]:
    """Batches of about ``at_once`` that cut no order in two."""
    batches: list[list[Position]] = []
    for position in positions:
        if not batches or (len(batches[-1]) >= at_once and batches[-1][-1].order_id != position.order_id):
            batches.append([])
        batches[-1].append(position)
    return [tuple(batch) for batch in batches]
