"""How far consumer groups are behind the topic, read from Kafka without joining any."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from orderflow.settings import Settings
from orderflow.stream.answering import answering
from orderflow.stream.clients import connection_options, make_reader
from orderflow.stream.topic import partitions_of

REQUEST_MILLISECONDS: Final = 10_000
#: For a look at the records that a group reads next.
LOOK_SECONDS: Final = 2.0
#: 9999-12-31T23:59:59Z, the last second that a datetime has.
_LAST_MILLISECONDS: Final = 253_402_300_799_000


class NoTopic(Exception):
    """The topic is not there."""


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition. ``committed``: the next offset that the group reads; None: it has committed nothing."""

    partition: int
    committed: int | None
    start: int
    end: int

    @property
    def lag(self) -> int:
        """Records that the group has not read. What the retention removed does not count."""
        return max(0, self.end - max(self.committed or 0, self.start))

    @property
    def lost(self) -> bool:
        """Whether the group has read more than there is: the broker lost records."""
        return self.committed is not None and self.committed > self.end


@dataclass(frozen=True, slots=True)
class GroupLag:
    """One group. ``state`` and ``members`` as its coordinator says: ``Stable`` with members is one that works."""

    group: str
    state: str
    members: int
    partitions: tuple[PartitionLag, ...]

    @property
    def lag(self) -> int:
        """All partitions together."""
        return sum(one.lag for one in self.partitions)


async def group_lags(settings: Settings, groups: Sequence[str] = ()) -> list[GroupLag]:
    """The lag of ``groups``, or of every group that has committed offsets of the topic, and the tracking's.

    Raises Unavailable when the brokers do not answer, NoTopic when they have no such topic.
    """
    async with answering():
        return await _group_lags(settings, groups)


async def _group_lags(settings: Settings, groups: Sequence[str]) -> list[GroupLag]:
    topic = settings.kafka_topic
    admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=REQUEST_MILLISECONDS)
    try:
        await admin.start()
        numbers = await partitions_of(admin, topic)
        if numbers is None:
            raise NoTopic(f"there is no topic {topic}: run `orderflow setup`")
        partitions = [TopicPartition(topic, number) for number in numbers]
        known = [name for name, _ in await admin.list_consumer_groups()]
        committed = {
            name: {
                partition: stored.offset
                for partition, stored in (await admin.list_consumer_group_offsets(name)).items()
                if partition.topic == topic and stored.offset >= 0
            }
            for name in groups or dict.fromkeys((settings.tracking_group, *sorted(known)))
        }
        wanted = [n for n, offsets in committed.items() if offsets or n in groups or n == settings.tracking_group]
        states = await _states(admin, wanted)
    finally:
        await admin.close()
    starts, ends = await _bounds(settings, partitions)
    return [
        GroupLag(
            name,
            *states[name],
            tuple(
                PartitionLag(p.partition, committed[name].get(p), starts[p], ends[p])
                for p in sorted(partitions, key=lambda p: p.partition)
            ),
        )
        for name in wanted
    ]


@dataclass(frozen=True, slots=True)
class Unread:
    """The record that a group reads next in a partition; ``since``: when Kafka got it, or what its producer says."""

    partition: int
    offset: int
    since: datetime


async def unread(settings: Settings, lag: GroupLag) -> list[Unread]:
    """The records that the group reads next, at most one a partition, the one that waits longest first.

    Raises Unavailable when the brokers do not answer.
    """
    behind = {TopicPartition(settings.kafka_topic, one.partition): one for one in lag.partitions if one.lag}
    if not behind:
        return []
    async with answering():
        reader = make_reader(settings)
        try:
            await reader.start()
            reader.assign(list(behind))
            for partition, one in behind.items():
                reader.seek(partition, max(one.committed or 0, one.start))
            found: list[Unread] = []
            missing = set(behind)
            until = asyncio.get_running_loop().time() + LOOK_SECONDS
            while missing and asyncio.get_running_loop().time() < until:
                for partition, records in (await reader.getmany(*missing, timeout_ms=200)).items():
                    missing.discard(partition)
                    first = records[0]
                    found.append(Unread(first.partition, first.offset, since(first.timestamp)))
        finally:
            await reader.stop()
    return sorted(found, key=lambda one: one.since)


def since(milliseconds: int | None) -> datetime:
    """A record's time, which its producer says and nobody checks: 1970 where there is none, or one from before.

    After the year 9999 is its last second.
    """
    return datetime.fromtimestamp(min(max(0, milliseconds or 0), _LAST_MILLISECONDS) / 1000, UTC)


async def _states(admin: AIOKafkaAdminClient, groups: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Each group's state and members, asked one by one: some brokers do not name it in the answer."""
    states = {}
    for name in groups:
        [response] = await admin.describe_consumer_groups([name])
        [described] = response.groups
        states[name] = (described[2] or "Dead", len(described[5]))
    return states


async def _bounds(
    settings: Settings, partitions: list[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    reader = make_reader(settings)
    try:
        await reader.start()
        reader.assign(partitions)
        return await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
    finally:
        await reader.stop()
