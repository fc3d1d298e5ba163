"""How long an event takes to another team: from its commit to a plain consumer of the topic.

A consumer like any other, in this process, while orders live through one at a time. It looks every few milliseconds
(a broker that answers empty fetches at once would be asked without an end), which is in what it sees.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options

LOOK_SECONDS: Final = 0.005


@contextlib.asynccontextmanager
async def arrivals(settings: Settings) -> AsyncIterator[list[float]]:
    """Milliseconds from ``recorded_at`` to here, of every event that comes while inside."""
    consumer = AIOKafkaConsumer(**connection_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.kafka_topic, number) for number in range(settings.kafka_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_end()
        for partition in partitions:
            await consumer.position(partition)
        seen: list[float] = []
        reading = asyncio.create_task(_read(consumer, seen))
        try:
            yield seen
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, seen: list[float]) -> None:
    partitions = consumer.assignment()
    while True:
        batches = await consumer.getmany(timeout_ms=int(1000 * LOOK_SECONDS))
        now = datetime.now(UTC)
        seen += [_age(record, now) for records in batches.values() for record in records]
        consumer.pause(*partitions)
        await asyncio.sleep(LOOK_SECONDS)
        consumer.resume(*partitions)


def _age(record: Any, now: datetime) -> float:
    recorded_at = datetime.fromisoformat(dict(record.headers)["ce_time"].decode())
    return (now - recorded_at).total_seconds() * 1000
