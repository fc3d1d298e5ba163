"""``IdempotentConsumer``: every event of the topic takes effect in your database once.

The contract:

- A batch of records becomes one transaction: the inbox (``processed_messages``) takes the events that it has not seen,
  your effect runs on them on the same connection, both commit or neither; then the offsets are committed to Kafka.
  A crash in between repeats records, and the inbox skips them.
- First occurrences come in version order per source and order; across sources any order may be seen.
  A missing version is reported (``on_gap``) and the event is applied all the same.
- A failing effect or an unreachable database is tried again, with growing pauses, and nothing behind it is skipped.
- Before its partitions go to another member, a batch under way is finished; if that member starts earlier all the
  same, the inbox makes one of the two wait and then skip.
- A record that cannot be decoded is reported (``on_invalid``) and passed over: it could never be applied.
- Nothing that Kafka or Postgres do ends ``run``; only ``stopping`` does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from orderflow_events.envelope import Envelope, EnvelopeError, decode
from orderflow_events.inbox import Connection, Gap, claim
from orderflow_events.pauses import Backoff, pause

__all__ = ["Connect", "Connection", "Effect", "Gap", "IdempotentConsumer", "each"]

#: What a batch of new events does, inside the transaction that the connection is in.
Effect = Callable[[Connection, Sequence[Envelope]], Awaitable[None]]
#: Lends a connection, such as ``pool.acquire``.
Connect = Callable[[], AbstractAsyncContextManager[Connection]]

log = logging.getLogger(__name__)


def each(effect: Callable[[Connection, Envelope], Awaitable[None]]) -> Effect:
    """An effect of one event as an effect of a batch."""

    async def apply(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            await effect(connection, envelope)

    return apply


def log_gap(gap: Gap) -> None:
    """The default ``on_gap``."""
    event = gap.envelope
    log.warning("gap before %s: versions %d to %d are missing", event.id, gap.last_seen + 1, event.version - 1)


def log_invalid(record: ConsumerRecord, error: EnvelopeError) -> None:
    """The default ``on_invalid``."""
    log.error("passed over %s[%d]@%d: %s", record.topic, record.partition, record.offset, error)


def ignore_state(state: str) -> None:
    """The default ``on_state``."""


class IdempotentConsumer:
    """One member of a consumer group. Make it, then ``await run(stopping)``.

    ``kafka`` holds aiokafka's connection options (``bootstrap_servers`` ...), and ``group_instance_id`` if this member
    is to get its partitions back at once after a restart. ``pacing_seconds`` is the least time between two batches: the
    first event goes at once, and under load a batch grows instead of the number of transactions. ``on_state`` is told
    ``"ok"`` once the group has given this member its partitions, else what is wrong.
    The hooks ``on_gap`` and ``on_invalid`` run after the commit, at most once each.
    """

    def __init__(
        self,
        *,
        kafka: Mapping[str, Any],
        topic: str,
        group: str,
        connect: Connect,
        effect: Effect,
        pacing_seconds: float = 0.0,
        max_records: int = 1000,
        on_gap: Callable[[Gap], None] = log_gap,
        on_invalid: Callable[[ConsumerRecord, EnvelopeError], None] = log_invalid,
        on_state: Callable[[str], None] = ignore_state,
    ) -> None:
        self._kafka = dict(kafka)
        self._topic = topic
        self._group = group
        self._connect = connect
        self._effect = effect
        self._pacing_seconds = pacing_seconds
        self._max_records = max_records
        self._on_gap = on_gap
        self._on_invalid = on_invalid
        self._on_state = on_state
        self._applying = asyncio.Lock()

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until ``stopping`` is set; then finish the batch under way, commit its offsets, leave the group.

        If the database is away at that moment the batch is given up: it comes again.
        """
        backoff = Backoff()
        while not stopping.is_set():
            consumer = self._make()
            try:
                await consumer.start()
                consumer.subscribe([self._topic], listener=_Rebalance(self))
                await self._consume(consumer, stopping, backoff)
            except Exception as error:
                # Kafka away, not authorized, a bug: a new consumer starts from what is committed.
                self._on_state(f"{type(error).__name__}: {error}")
                log.warning("consumer of %s starts again", self._topic, exc_info=error)
            finally:
                await _close(consumer)
            await pause(backoff.next(), stopping)

    def _make(self) -> AIOKafkaConsumer:
        self._on_state("waiting for an assignment")
        return AIOKafkaConsumer(
            **self._kafka,
            group_id=self._group,
            enable_auto_commit=False,  # the offsets follow the database's commit
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=self._max_records,
        )

    async def _consume(self, consumer: AIOKafkaConsumer, stopping: asyncio.Event, backoff: Backoff) -> None:
        clock = asyncio.get_running_loop().time
        while not stopping.is_set():
            batches = await _unless(stopping, consumer.getmany(timeout_ms=1_000))
            if not batches:
                continue
            next_round = clock() + self._pacing_seconds
            async with self._applying:
                if await self._apply([record for records in batches.values() for record in records], stopping):
                    backoff.reset()
                    await self._commit(consumer, {tp: records[-1].offset + 1 for tp, records in batches.items()})
            await pause(next_round - clock(), stopping)

    async def _apply(self, records: Sequence[ConsumerRecord], stopping: asyncio.Event) -> bool:
        """One transaction, as often as it takes. False: stopped before it could be done."""
        envelopes: list[Envelope] = []
        for record in records:
            try:
                envelopes.append(decode(record.headers, record.key, record.value))
            except EnvelopeError as error:
                self._on_invalid(record, error)
        backoff = Backoff()
        while envelopes:
            try:
                async with self._connect() as connection, connection.transaction():
                    fresh, gaps = await claim(connection, self._group, envelopes)
                    if fresh:
                        await self._effect(connection, fresh)
            except Exception as error:
                # The database is away, a deadlock, a bug in the effect: nothing was applied, and nothing is skipped.
                self._on_state(f"cannot apply: {type(error).__name__}: {error}")
                log.warning("a batch of %d events is tried again", len(envelopes), exc_info=error)
                if await pause(backoff.next(), stopping):
                    return False
            else:
                self._on_state("ok")
                for gap in gaps:
                    self._on_gap(gap)
                break
        return True

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        try:
            async with asyncio.timeout(10):
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError, TimeoutError) as error:
            # The partitions went to another member, which skips what we applied; or Kafka is away, and a later
            # commit covers this one.
            log.info("offsets not committed, the records may come again: %s", error or type(error).__name__)

    async def batch_done(self) -> None:
        """Wait for the batch under way, but not for ever: a rebalance holds up the whole group."""
        try:
            async with asyncio.timeout(5), self._applying:
                pass
        except TimeoutError:
            log.info("partitions are revoked while a batch cannot be applied: it comes again elsewhere")

    def assigned(self) -> None:
        """The group has given this member its partitions (none is an answer, too)."""
        self._on_state("ok")


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: IdempotentConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._consumer.batch_done()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._consumer.assigned()


async def _unless(
    stopping: asyncio.Event, records: Coroutine[Any, Any, dict[TopicPartition, list[ConsumerRecord]]]
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """``getmany``, given up at a stop: while a rebalance lasts it waits longer than its own time-out."""
    reading = asyncio.create_task(records)
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((reading, stop), return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else {}
    finally:
        reading.cancel()
        stop.cancel()
        await asyncio.gather(reading, stop, return_exceptions=True)


async def _close(consumer: AIOKafkaConsumer) -> None:
    try:
        async with asyncio.timeout(5):
            await consumer.stop()
    except Exception as error:  # it is thrown away; the group's session time-out does the rest
        log.info("consumer not closed cleanly: %s", error or type(error).__name__)
