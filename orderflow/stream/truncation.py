"""Does the topic still have what it acknowledged? The record at each partition's last acknowledged offset says so.

A broker that lost data (a disk, an unclean election, kill -9 of one that flushes lazily) has another record there, or
none. Publishing on would put later events before the missing ones, so the partition is stopped. A record below the
log's start was removed by the retention: that is no loss.

Offsets mean something within one topic alone. Where Kafka's id of the topic is not that which young events were
published to, their partitions are stopped, and what is there is judged by content: by the ids of the records.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from orderflow.store import topics, truncation
from orderflow.store.database import Database
from orderflow.store.outbox import Published
from orderflow.store.truncation import Cause, Position
from orderflow.stream.answering import answering
from orderflow.stream.publisher import Compared
from orderflow.stream.topic_id import topic_id_of
from orderflow.telemetry.origin import about_order
from orderflow_events.kafka_reader import KafkaReader
from orderflow_events.printable import printable

#: Of a record: its ``ce_source`` and its ``ce_id``.
Identity: TypeAlias = tuple[str, str]

#: For the records of a look, and for the next ones of a partition that is read whole.
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

    @property
    def name(self) -> str:
        """How it is called."""
        return self._topic

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
            elif (identity := _identity(record)) != identity_of(source, position):
                found[position] = printable(" ".join(identity), LONGEST_FOUND)
        return found

    async def id(self) -> UUID | None:
        """Kafka's id of the topic; None: the broker gives its topics none. Raises KafkaError."""
        return await topic_id_of(self._consumer._client, self._topic)

    async def contents(self, partition: int, wanted: Mapping[Identity, int]) -> "Contents":
        """Which of the ``wanted`` records (with the offsets where they should be) ``partition`` has: it is read whole.

        Raises KafkaError or OSError when the brokers do not answer.
        """
        where = TopicPartition(self._topic, partition)
        self._consumer.assign([where])
        end = (await self._consumer.end_offsets([where]))[where]
        await self._consumer.seek_to_beginning(where)
        start = await self._consumer.position(where)
        offsets: dict[Identity, int] = {}
        while await self._consumer.position(where) < end:
            for record in await self._more(where):
                identity = _identity(record)
                expected = wanted.get(identity)
                if expected is not None and (identity not in offsets or record.offset == expected):
                    offsets[identity] = record.offset
        return Contents(start, offsets)

    async def _more(self, partition: TopicPartition) -> Sequence[Any]:
        """The next records of ``partition``, or nothing where the log has become shorter meanwhile."""
        until = asyncio.get_running_loop().time() + READ_SECONDS
        before = await self._consumer.position(partition)
        while asyncio.get_running_loop().time() < until:
            batches = await self._consumer.getmany(partition, timeout_ms=500, max_records=2000)
            # Behind control records and what was aborted there are none, and yet it has gone on.
            if partition in batches or await self._consumer.position(partition) != before:
                return list(batches.get(partition, ()))
        raise KafkaTimeoutError(
            f"no record from {self._topic}, partition {partition.partition}, within {READ_SECONDS} s"
        )

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


@dataclass(frozen=True, slots=True)
class Contents:
    """What a partition has: ``start``, its first offset, and the offsets of the records that were asked for."""

    start: int
    offsets: Mapping[Identity, int]


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

    async def check(self, kafka_id: UUID | None, unrecorded: Sequence[Published] = ()) -> Compared:
        """How every partition stands, after a look at each that does not stand still.

        ``kafka_id``: the topic's, None where the broker gives none; ``unrecorded``: acknowledged, and not in the
        database yet. Raises Unavailable.
        """
        number = await topics.number(self._database, kafka_id, self._topic)
        before = await truncation.stopped(self._database)
        for position in await truncation.elsewhere(self._database, number, self._retention):
            if position.partition not in before:
                await self._stop(position, f"another topic {self._topic}: it was made anew", Cause.MADE_ANEW)
        stopped = await truncation.stopped(self._database)
        last = {
            position.partition: position
            for position in await truncation.last_acknowledged(self._database, number, self._retention)
        }
        for one in unrecorded:
            position = Position(one.entry.order_id, one.entry.version, one.partition, one.offset, one.topic)
            known = last.get(position.partition)
            if one.topic == number and (known is None or known.topic_id != number or known.offset < position.offset):
                last[position.partition] = position
        positions = [position for partition, position in last.items() if partition not in stopped]
        for position, there in (await self._mismatches(positions)).items():
            await self._stop(position, there, Cause.LOST)
        stopped = await truncation.stopped(self._database)
        offsets = {position.partition: position.offset for position in positions if position.partition not in stopped}
        return Compared(stopped, number, offsets)

    async def _mismatches(self, positions: Sequence[Position]) -> dict[Position, str]:
        if not positions:
            return {}
        async with open_topic(self._make_reader, self._topic) as topic:
            found = await topic.mismatches(self._source, positions)
            if found:
                await asyncio.sleep(CONFIRM_SECONDS)
                found = await topic.mismatches(self._source, found)
        return found

    async def _stop(self, position: Position, found: str, cause: Cause) -> None:
        await truncation.stop(self._database, position, found, cause)
        self._log.error(
            "partition_stopped",
            partition=position.partition,
            offset=position.offset,
            **about_order(position.order_id),
            version=position.version,
            cause=cause,
            found=found,
            remedy=f"orderflow outbox republish --partition {position.partition}",
        )


def identity_of(source: str, position: Position) -> Identity:
    """What the record of an event says of itself."""
    return source, f"{source.rpartition('/')[2]}/{position.order_id}/{position.version}"


def _identity(record: Any) -> Identity:
    headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    return headers.get("ce_source", "no source"), headers.get("ce_id", "no id")
