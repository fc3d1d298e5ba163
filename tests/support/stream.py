"""Putting events into a service's database without the rest of the store, and reading the topic back."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition

from orderflow_events.envelope import Envelope, EnvelopeError, decode
from orderflow_events.inbox import Connection
from orderflow_events.kafka_reader import KafkaReader

CREATED = {
    "customer_id": "c-1",
    "currency": "USD",
    "total": 419,
    "lines": [{"sku": "A", "quantity": 1, "unit_price": 419}],
}


async def let_events_stand_alone(owner: Connection) -> None:
    """Have a database take events that no row has moved to. ``owner``: a connection as the owner of its tables."""
    await owner.execute("ALTER TABLE events DISABLE TRIGGER events_tell_of_a_move")


async def insert_event(
    connection: Connection,
    order_id: UUID,
    version: int,
    *,
    type: str = "ORDER_APPROVED",
    status: str = "APPROVED",
    data: dict[str, Any] | None = None,
) -> None:
    """One event; the trigger puts it into the outbox. See ``let_events_stand_alone``."""
    await connection.execute(
        """INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id, traceparent)
           VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, 'corr-1', $7)""",
        *(order_id, version, type, status, json.dumps(data or {}), f"w:test:{version}"),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


@dataclass(frozen=True)
class Seen:
    """A record of the topic, decoded."""

    partition: int
    offset: int
    key: bytes
    headers: dict[str, str]
    envelope: Envelope


async def read_topic(bootstrap_servers: str, topic: str) -> list[Seen]:
    """Every event that is in the topic now, in order within its partition."""
    return (await read_all_of(bootstrap_servers, topic))[0]


async def read_all_of(bootstrap_servers: str, topic: str) -> tuple[list[Seen], int]:
    """The same, and how many foreign records are there beside them."""
    consumer = KafkaReader(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, p) for p in await _partitions(consumer, topic)])
        ends = await consumer.end_offsets(consumer.assignment())
        seen: list[Seen] = []
        foreign = 0
        async with asyncio.timeout(30):
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        try:
                            seen.append(_seen(record))
                        except EnvelopeError:
                            foreign += 1
        return seen, foreign
    finally:
        await consumer.stop()


async def _partitions(consumer: KafkaReader, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)
    return consumer.partitions_for_topic(topic) or set()


def _seen(record: Any) -> Seen:
    envelope = decode(record.headers, record.key, record.value)
    headers = {name: value.decode() for name, value in record.headers}
    return Seen(record.partition, record.offset, record.key, headers, envelope)


def assert_in_order(seen: Iterable[Seen]) -> dict[UUID, list[int]]:
    """Each order's versions as first seen are 1, 2, 3 ... without a hole, in one partition. The versions by order."""
    versions: dict[UUID, list[int]] = defaultdict(list)
    partitions: dict[UUID, set[int]] = defaultdict(set)
    for one in sorted(seen, key=lambda s: (s.partition, s.offset)):
        order = one.envelope.order_id
        partitions[order].add(one.partition)
        if one.envelope.version not in versions[order]:
            versions[order].append(one.envelope.version)
    for order, order_versions in versions.items():
        assert order_versions == list(range(1, len(order_versions) + 1)), f"{order}: {order_versions}"
        assert len(partitions[order]) == 1
    return dict(versions)
