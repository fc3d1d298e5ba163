"""Reading the topic without a group: nothing is committed, so no consumer notices.

``read_all`` gives what is there now, ``follow`` goes on for ever. A record that is no event of ours comes as well,
with the reason why not, and so does a batch that cannot be read.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options
from orderflow.stream.topic import partitions_of
from orderflow_events.envelope import Envelope, EnvelopeError, decode
from orderflow_events.kafka_reader import KafkaReader

POLL_MILLISECONDS: Final = 500
LOOK_MILLISECONDS: Final = 5
PAUSE_SECONDS: Final = 0.05
BATCH: Final = 2000
REQUEST_MILLISECONDS: Final = 10_000

# It logs every failed connection; what matters of it becomes a TopicAway.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class TopicAway(Exception):
    """No broker answers, or it has no such topic."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One record. ``envelope`` is None where it is no event of ours; ``error`` says why."""

    partition: int
    offset: int
    envelope: Envelope | None
    value: bytes
    error: str = ""


async def read_all(settings: Settings) -> list[Seen]:
    """Every record that is in the topic now, in order within its partition. Raises TopicAway."""
    async with _reader(settings) as consumer:
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(consumer.assignment())
        seen: list[Seen] = []
        waiting = {partition for partition, end in ends.items() if await consumer.position(partition) < end}
        while waiting:
            batches = await consumer.getmany(*waiting, timeout_ms=POLL_MILLISECONDS, max_records=BATCH)
            seen += [_seen(r) for partition, records in batches.items() for r in records if r.offset < ends[partition]]
            waiting = {partition for partition in waiting if await consumer.position(partition) < ends[partition]}
        return sorted(seen, key=lambda record: (record.partition, record.offset))


async def follow(settings: Settings, *, from_beginning: bool) -> AsyncIterator[list[Seen]]:
    """Batches of records as they come, for ever; an empty one first, when it stands ready. Raises TopicAway."""
    async with _reader(settings) as consumer:
        if from_beginning:
            await consumer.seek_to_beginning()
        else:
            await consumer.seek_to_end()
            for partition in consumer.assignment():
                await consumer.position(partition)
        yield []
        partitions = consumer.assignment()
        while True:
            batches = await consumer.getmany(timeout_ms=LOOK_MILLISECONDS, max_records=BATCH)
            records = [_seen(record) for batch in batches.values() for record in batch]
            if records:
                yield records
            # aiokafka asks again as soon as it has an answer, and a broker that does not wait for records before it
            # answers (noida-db) would be asked 800 times a second, also between the records of a busy order.
            consumer.pause(*partitions)
            await asyncio.sleep(PAUSE_SECONDS)
            consumer.resume(*partitions)


@contextlib.asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[KafkaReader]:
    try:
        partitions = await _partitions(settings)
        consumer = KafkaReader(
            **connection_options(settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=REQUEST_MILLISECONDS,
        )
        try:
            await consumer.start()
            consumer.assign([TopicPartition(settings.kafka_topic, number) for number in partitions])
            yield consumer
        finally:
            await consumer.stop()
    except (KafkaError, OSError) as error:
        raise TopicAway(
            f"no Kafka answers at {settings.kafka_bootstrap_servers} ({type(error).__name__}): "
            "is OrderFlow up (`orderflow up`)?"
        ) from error


async def _partitions(settings: Settings) -> list[int]:
    admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=REQUEST_MILLISECONDS)
    try:
        await admin.start()
        partitions = await partitions_of(admin, settings.kafka_topic)
    finally:
        await admin.close()
    if partitions is None:
        raise TopicAway(
            f"there is no topic {settings.kafka_topic} at {settings.kafka_bootstrap_servers}: run `orderflow setup`"
        )
    return partitions


def _seen(record: Any) -> Seen:
    value = record.value or b""
    try:
        return Seen(record.partition, record.offset, decode(record.headers, record.key, record.value), value)
    except EnvelopeError as error:
        return Seen(record.partition, record.offset, None, value, str(error))
