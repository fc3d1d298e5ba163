"""The topic as it is: ours and foreign records, and what consumer groups have not read of it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from orderflow_events.kafka_reader import KafkaReader
from tools.chaos.evidence import Row, Rows
from tools.chaos.marks import mark_in

TOPIC: Final = "order.events"


async def read_topic(broker: str, topic: str = TOPIC) -> tuple[Rows, Rows]:
    """Every record that is there now, in order within its partition: those that bear no mark, and the foreign ones."""
    async with _reading(broker, topic) as (consumer, partitions):
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        found: list[Any] = []
        while waiting := [p for p in partitions if await consumer.position(p) < ends[p]]:
            batches = await consumer.getmany(*waiting, timeout_ms=500, max_records=2000)
            found += [record for records in batches.values() for record in records]
    ours: Rows = []
    foreign: Rows = []
    for record in sorted(found, key=lambda record: (record.partition, record.offset)):
        mark = mark_in(record.key, record.value, *(value for _, value in record.headers))
        row = _row(record)
        if mark is None:
            ours.append(row)
        else:
            headers = row["headers"]
            named = {name: headers.get(f"ce_{name}") for name in ("source", "subject", "sequence")}
            foreign.append({"partition": row["partition"], "offset": row["offset"], "mark": mark, **named})
    return ours, foreign


async def unread(broker: str, groups: Iterable[str], topic: str = TOPIC) -> dict[str, int]:
    """How many records of the topic each group has not passed yet.

    One that is beyond the end, as of a topic that was made anew, has passed none.
    """
    async with _reading(broker, topic) as (consumer, partitions):
        ends = await consumer.end_offsets(partitions)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        committed = {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()
    passed = {
        group: {p: max(stored.offset, 0) for p, stored in offsets.items()} for group, offsets in committed.items()
    }
    return {
        group: sum(ends[p] - (at if (at := offsets.get(p, 0)) <= ends[p] else 0) for p in partitions)
        for group, offsets in passed.items()
    }


@asynccontextmanager
async def _reading(broker: str, topic: str) -> AsyncIterator[tuple[KafkaReader, list[TopicPartition]]]:
    consumer = KafkaReader(bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        numbers = sorted(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        yield consumer, partitions
    finally:
        await consumer.stop()


async def _partitions(consumer: KafkaReader, topic: str) -> set[int]:
    consumer.subscribe([topic])
    async with asyncio.timeout(20):
        while not (found := consumer.partitions_for_topic(topic)):  # noqa: ASYNC110 - aiokafka tells nobody
            await asyncio.sleep(0.1)
    consumer.unsubscribe()
    return set(found)


def _row(record: Any) -> Row:
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": (record.key or b"").decode(errors="replace"),
        "headers": {name: (value or b"").decode(errors="replace") for name, value in record.headers},
        "value": (record.value or b"").decode(errors="replace"),
    }
