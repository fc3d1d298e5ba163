"""How far a member of a consumer group is: what it is done with, and how much its partitions hold beyond that."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition


class Positions:
    """The positions of one member. Kafka's own move when records are handed over, before they are done with."""

    def __init__(self) -> None:
        self._consumer: AIOKafkaConsumer | None = None
        self._next: dict[TopicPartition, int] = {}

    def of(self, consumer: AIOKafkaConsumer | None) -> None:
        """From now on those of ``consumer``; None: this member is not connected."""
        self._consumer = consumer
        self.forget()

    def done(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The next offsets of these partitions."""
        self._next |= offsets

    def forget(self) -> None:
        """Partitions may go to another member, and come back further on."""
        self._next.clear()

    async def lag(self) -> dict[int, int]:
        """Records beyond the positions, by partition. Raises KafkaError or OSError."""
        consumer = self._consumer
        partitions = sorted(consumer.assignment()) if consumer else []
        if consumer is None or not partitions:
            return {}
        ends = await consumer.end_offsets(partitions)
        unknown = [partition for partition in partitions if partition not in self._next]
        firsts = await consumer.beginning_offsets(unknown) if unknown else {}
        for partition in unknown:
            committed = await consumer.committed(partition)
            # Meanwhile a batch may have been done.
            self._next.setdefault(partition, firsts[partition] if committed is None else committed)
        return {p.partition: max(0, ends[p] - self._next.get(p, ends[p])) for p in partitions}
