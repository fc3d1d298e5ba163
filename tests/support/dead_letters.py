"""What an effect that fails leaves behind, and the topic of dead letters read back."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from orderflow_events.dead_letter_topic import dead_letter_topic
from orderflow_events.envelope import Envelope
from orderflow_events.failures import Retries
from orderflow_events.inbox import Connection
from support.lab import Lab, take_effect
from support.waiting import until

QUICK = Retries(attempts=2, first_pause_seconds=0.01, longest_pause_seconds=0.05)


class Poison:
    """An effect that fails for some events."""

    def __init__(self, *events: tuple[UUID, int]) -> None:
        self.events = set(events)

    async def __call__(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            await take_effect(connection, envelope)
            if (envelope.order_id, envelope.version) in self.events:
                raise ZeroDivisionError("a bug in the effect")


def topic_of(lab: Lab) -> str:
    """The dead-letter topic of the lab's group."""
    return dead_letter_topic(lab.settings.kafka_topic, lab.settings.tracking_group)


async def dead_records(lab: Lab) -> list[Any]:
    """What is in the dead-letter topic; nothing if there is none."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=lab.settings.kafka_bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        if topic_of(lab) not in await consumer.topics():
            return []
        partitions = [TopicPartition(topic_of(lab), number) for number in range(lab.settings.kafka_partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[Any] = []
        async with asyncio.timeout(30):
            while len(records) < sum(ends.values()):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


async def in_the_topic(lab: Lab, count: int) -> list[Any]:
    """Wait until there are ``count`` in the dead-letter topic."""
    found: list[Any] = []

    async def there() -> bool:
        found[:] = await dead_records(lab)
        return len(found) >= count

    await until(there, seconds=40, every=0.2)
    return found
