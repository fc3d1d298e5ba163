"""How long an event takes to another team: from its commit to a plain consumer of the topic.

A consumer like any other, in this process, while orders live through one at a time. It looks every few milliseconds
(a broker that answers empty fetches at once would be asked without an end), which is in what it sees. Foreign records
are counted and left out.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import TopicPartition

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options
from orderflow_events.envelope import EnvelopeError, decode
from orderflow_events.kafka_reader import KafkaReader

LOOK_SECONDS: Final = 0.005


@dataclass(slots=True)
class Arrivals:
    """Of every event that came: milliseconds from ``recorded_at`` to here. ``foreign``: how many others came."""

    milliseconds: list[float] = field(default_factory=list)
    foreign: int = 0

    def add(self, record: Any, now: datetime) -> None:
        """A record that came ``now``."""
        try:
            recorded_at = decode(record.headers, record.key, record.value).recorded_at
        except EnvelopeError:
            self.foreign += 1
        else:
            self.milliseconds.append((now - recorded_at).total_seconds() * 1000)


@contextlib.asynccontextmanager
async def arrivals(settings: Settings) -> AsyncIterator[Arrivals]:
    """What comes while inside."""
    consumer = KafkaReader(**connection_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.kafka_topic, number) for number in range(settings.kafka_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_end()
        for partition in partitions:
            await consumer.position(partition)
        seen = Arrivals()
        reading = asyncio.create_task(_read(consumer, seen))
        try:
            yield seen
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
    finally:
        await consumer.stop()


async def _read(consumer: KafkaReader, seen: Arrivals) -> None:
    partitions = consumer.assignment()
    while True:
        batches = await consumer.getmany(timeout_ms=int(1000 * LOOK_SECONDS))
        now = datetime.now(UTC)
        for records in batches.values():
            for record in records:
                seen.add(record, now)
        consumer.pause(*partitions)
        await asyncio.sleep(LOOK_SECONDS)
        consumer.resume(*partitions)
