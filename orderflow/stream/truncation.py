"""Does the topic still have what it acknowledged? The record at each partition's last acknowledged offset says so.

A broker that lost data (a disk, an unclean election, kill -9 of one that flushes lazily) has another record there, or
none. Publishing on would put later events before the missing ones, so the partition is stopped. A record below the
log's start was removed by the retention: that is no loss.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from orderflow.store import truncation
from orderflow.store.database import Database
from orderflow.store.outbox import Published
from orderflow.store.truncation import Position
from orderflow.stream.answering import answering
from orderflow.telemetry.origin import about_order
from orderflow_events.kafka_reader import KafkaReader
from orderflow_events.printable import printable

#: For the records of a look.
READ_SECONDS: Final = 8.0
#: Between the two looks that it takes to stop a partition: a leader that has just started may not know its end yet.
CONFIRM_SECONDS: Final = 0.5
#: What a foreign record says of itself may be of any length, and is kept with the stop.
LONGEST_FOUND: Final = 300


class Topic:
    """A topic, opened to look at single records."""

    def __init__(self, consumer: KafkaReader, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic

    async def mismatches(self, source: str, positions: Iterable[Position]) -> dict[Position, str]:
        """Those of ``positions`` (at most one a partition) where the event of ``source`` is not, and what is there.

        Raises KafkaError or OSError when the brokers do not answer.
        """
        by_partition = {TopicPartition(self._topic, position.partition): position for position in positions}
        if not by_partition:
            return {}
        self._consumer.assign(list(by_partition))
        starts = await self._consumer.beginning_offsets(list(by_partition))
        ends = await self._consumer.end_offsets(list(by_partition))
        found: dict[Position, str] = {}
        there: list[TopicPartition] = []
        for partition, position in by_partition.items():
            if position.offset >= ends[partition]:
                found[position] = f"nothing: the log ends at offset {ends[partition]}"
            elif position.offset >= starts[partition]:
                there.append(partition)
        records = await self._read({partition: by_partition[partition].offset for partition in there})
        for partition in there:
            position, record = by_partition[partition], records[partition]
            if record.offset > position.offset:
                starts = await self._consumer.beginning_offsets([partition])
                if starts[partition] <= position.offset:
                    found[position] = f"nothing: the next record is at offset {record.offset}"
            elif record.offset < position.offset:
                found[position] = "nothing: the log has become shorter"
            elif (identity := _identity(record)) != (
                source,
                f"{source.rpartition('/')[2]}/{position.order_id}/{position.version}",
            ):
                found[position] = printable(" ".join(identity), LONGEST_FOUND)
        return found

    async def _read(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """The first record at or behind each offset."""
        if not offsets:
            return {}
        self._consumer.assign(list(offsets))
        for partition, offset in offsets.items():
            self._consumer.seek(partition, offset)
        records: dict[TopicPartition, Any] = {}
        try:
            async with asyncio.timeout(READ_SECONDS):
                while missing := offsets.keys() - records.keys():
                    batches = await self._consumer.getmany(*missing, timeout_ms=200, max_records=100 * len(missing))
                    records |= {partition: batch[0] for partition, batch in batches.items() if batch}
        except TimeoutError:
            raise KafkaTimeoutError(f"no record from {self._topic} within {READ_SECONDS} s") from None
        return records


@asynccontextmanager
async def open_topic(make_reader: Callable[[], KafkaReader], topic: str) -> AsyncIterator[Topic]:
    """The topic, to look at records. Raises Unavailable when no broker answers, also while it is looked at."""
    async with answering():
        consumer = make_reader()
        try:
            await consumer.start()
            yield Topic(consumer, topic)
        finally:
            await consumer.stop()


class TopicComparison:
    """Compares what a database has recorded as published with the topic, and stops partitions that lost data."""

    def __init__(
        self,
        database: Database,
        source: str,
        topic: str,
        *,
        make_reader: Callable[[], KafkaReader],
        retention: timedelta,
    ) -> None:
        self._database = database
        self._source = source
        self._topic = topic
        self._make_reader = make_reader
        self._retention = retention
        self._log = structlog.get_logger(__name__).bind(source=source)

    async def check(self, unrecorded: Sequence[Published] = ()) -> frozenset[int]:
        """The partitions that stand still, after a look at every other one.

        ``unrecorded``: acknowledged, and not in the database yet. Raises Unavailable.
        """
        stopped = await truncation.stopped(self._database)
        last = {
            position.partition: position
            for position in await truncation.last_acknowledged(self._database, self._retention)
        }
        for one in unrecorded:
            position = Position(one.entry.order_id, one.entry.version, one.partition, one.offset)
            if position.partition not in last or last[position.partition].offset < position.offset:
                last[position.partition] = position
        positions = [position for partition, position in last.items() if partition not in stopped]
        if not positions:
            return stopped
        async with open_topic(self._make_reader, self._topic) as topic:
            found = await topic.mismatches(self._source, positions)
            if found:
                await asyncio.sleep(CONFIRM_SECONDS)
                found = await topic.mismatches(self._source, found)
        for position, there in found.items():
            await truncation.stop(self._database, position, there)
            self._log.error(
                "partition_stopped",
                partition=position.partition,
                offset=position.offset,
                **about_order(position.order_id),
                version=position.version,
                found=there,
                remedy=f"orderflow outbox republish --partition {position.partition}",
            )
        return await truncation.stopped(self._database) if found else stopped


def _identity(record: Any) -> tuple[str, str]:
    headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    return headers.get("ce_source", "no source"), headers.get("ce_id", "no id")
