"""``IdempotentConsumer``: every event of the topic takes effect in your database once.

The contract:

- A batch of records becomes one transaction: the inbox (``processed_messages``) takes the events that it has not seen,
  your effect runs on them on the same connection, both commit or neither; then the offsets are committed to Kafka.
  A crash in between repeats records, and the inbox skips them.
- First occurrences come in version order per source and order; across sources any order may be seen.
  A missing version is reported (``on_gap``) and the event is applied all the same, or (``strict_gaps``) the consumer
  stops there.
- An unreachable database is waited for, without bound. An event whose effect fails by itself is tried a bounded number
  of times (``Retries``); then it becomes a dead letter: a row in ``dead_letters``, then a record in the topic
  ``<topic>.dlq.<group>``, then the offset commit. So does, at once, what is no event: a record that ``decode`` or
  your ``accept`` refuses, or a batch that is damaged or compressed as this installation cannot read (``kafka_reader``).
- A dead letter that the database or Kafka will not take is shortened, and says so. What is refused even then is passed:
  counted, logged, said beside the state, and told to ``on_passed``. It holds up nobody.
- Once the effect of an order's event has failed for good, the order's later events follow it, until ``redrive`` has
  applied them all: nothing of an order is overtaken. What is no event holds no order and is in nobody's way, whatever
  key it has, for anybody may have written it.
- Events whose effect fails have a limit. At the limit the consumer stops at the failing event, says why, and goes on
  when the event succeeds, or when dead letters were redriven or discarded.
- Transactions are a stranger's, as no event is sent in one: their records are read, and refused, like any others,
  whether the transaction is open, committed or aborted.
- Before its partitions go to another member, a batch under way is finished; if that member starts earlier all the
  same, the inbox makes one of the two wait and then skip.
- Nothing that Kafka or Postgres do ends ``run``; only ``stopping`` does.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from orderflow_events._pauses import Backoff, pause
from orderflow_events.applying import Applier, Connect, Effect, borrowed, each
from orderflow_events.dead_letter_topic import DeadLetterTopic
from orderflow_events.dead_letters import Accept, DeadLetter, Passed
from orderflow_events.envelope import Envelope
from orderflow_events.failures import Retries, Transient, is_transient, sentence
from orderflow_events.inbox import Connection, Gap, Pruning, prune
from orderflow_events.kafka_reader import KafkaReader, unreadable_codecs
from orderflow_events.positions import Positions
from orderflow_events.states import OK, STARTING, ConsumerState, StateKind

__all__ = [
    "Connect",
    "Connection",
    "ConsumerState",
    "DeadLetter",
    "Effect",
    "Gap",
    "IdempotentConsumer",
    "Passed",
    "Pruning",
    "Retries",
    "StateKind",
    "each",
    "is_transient",
]

#: How long one look takes where looks are paused in between.
_LOOK_MILLISECONDS = 3
#: The longest pause between two looks at a topic that stays idle.
LONGEST_IDLE_SECONDS = 0.25

log = logging.getLogger(__name__)


def log_gap(gap: Gap) -> None:
    """The default ``on_gap``."""
    event = gap.envelope
    log.warning("gap before %s: versions %d to %d are missing", event.id, gap.last_seen + 1, event.version - 1)


def ignore_dead_letter(letter: DeadLetter) -> None:
    """The default ``on_dead_letter``: the kit has logged it."""


def ignore_passed(passed: Passed) -> None:
    """The default ``on_passed``: the kit has logged it."""


def accept_all(envelope: Envelope) -> None:
    """The default ``accept``: everything that can be decoded."""


def ignore_state(state: ConsumerState) -> None:
    """The default ``on_state``."""


def ignore_batch(records: int, seconds: float) -> None:
    """The default ``on_batch``."""


class IdempotentConsumer:
    """One member of a consumer group. Make it, then ``await run(stopping)``.

    ``kafka`` holds aiokafka's connection options (``bootstrap_servers`` ...), and ``group_instance_id`` if this member
    is to get its partitions back at once after a restart. ``pacing_seconds`` is the least time between two batches: the
    first event goes at once, and under load a batch grows instead of the number of transactions. ``idle_seconds`` is
    for a broker that answers an empty fetch at once instead of holding it, as Kafka does: the first pause between two
    looks; it grows while nothing comes.
    ``accept`` looks at each event before anything is done with it, and raises EnvelopeError for what cannot be one of
    ours: that is set aside like what cannot be decoded. It must be quick and ask nobody.
    ``transient`` tells errors of the effect that say nothing about the event. ``pruning`` says how long the inbox
    remembers; None: for ever.

    Raises ValueError when ``topic`` or ``group`` allow no dead-letter topic: it is named after both.

    ``on_state`` is told a ``ConsumerState``: OK once the group has given this member partitions, else what is wrong.
    ``on_passed`` is told of each record that could not be set aside whole or shortened (``Passed``).
    The hooks ``on_gap`` and ``on_dead_letter`` (not called for those that only follow) run after the commit, at most
    once each.
    ``on_batch`` is told of each batch that is done with how many records it had and how many seconds they took:
    together with ``lag``, what a consumer's metrics need.
    """

    def __init__(
        self,
        *,
        kafka: Mapping[str, Any],
        topic: str,
        group: str,
        connect: Connect,
        effect: Effect,
        accept: Accept = accept_all,
        pacing_seconds: float = 0.0,
        idle_seconds: float = 0.0,
        max_records: int = 1000,
        retries: Retries = Retries(),  # noqa: B008 (frozen)
        strict_gaps: bool = False,
        transient: Transient = is_transient,
        pruning: Pruning | None = None,
        on_gap: Callable[[Gap], None] = log_gap,
        on_dead_letter: Callable[[DeadLetter], None] = ignore_dead_letter,
        on_passed: Callable[[Passed], None] = ignore_passed,
        on_state: Callable[[ConsumerState], None] = ignore_state,
        on_batch: Callable[[int, float], None] = ignore_batch,
    ) -> None:
        self._kafka = dict(kafka)
        self._topic = topic
        self._group = group
        self._connect = connect
        self._pacing_seconds = pacing_seconds
        self._idle_seconds = idle_seconds
        self._empty_looks = 0
        self._max_records = max_records
        self._pruning = pruning
        self._tell_state = on_state
        self._tell_passed = on_passed
        self._passed = 0
        self._last_passed = ""
        self._on_batch = on_batch
        self._positions = Positions()
        self._applying = asyncio.Lock()
        self._dead_letters = DeadLetterTopic(kafka, topic, group, on_state=self._on_state, on_passed=self._on_passed)
        self._applier = Applier(
            group=group,
            connect=connect,
            effect=effect,
            accept=accept,
            retries=retries,
            strict_gaps=strict_gaps,
            transient=transient,
            on_gap=on_gap,
            on_dead_letter=on_dead_letter,
            on_passed=self._on_passed,
            on_state=self._on_state,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until ``stopping`` is set; then finish the batch under way, commit its offsets, leave the group.

        If the database is away at that moment the batch is given up: it comes again.
        """
        if codecs := unreadable_codecs():
            log.warning("batches compressed with %s become dead letters: install cramjam", ", ".join(codecs))
        backoff = Backoff()
        async with self._pruned(stopping), contextlib.aclosing(self._dead_letters):
            while not stopping.is_set():
                consumer = self._make()
                try:
                    await consumer.start()
                    consumer.subscribe([self._topic], listener=_Rebalance(self))
                    self._positions.of(consumer)
                    await self._consume(consumer, stopping, backoff)
                except Exception as error:
                    # Kafka away, not authorized, a bug: a new consumer starts from what is committed.
                    self._on_state(ConsumerState(StateKind.FAILING, sentence(error)))
                    log.warning("consumer of %s starts again", self._topic, exc_info=error)
                finally:
                    self._positions.of(None)
                    await _close(consumer)
                await pause(backoff.next(), stopping)

    async def lag(self) -> dict[int, int]:
        """Of each partition that this member has, how many records it is not done with. Asks Kafka.

        Raises KafkaError or OSError when Kafka does not answer. While this member is not connected, it has none.
        """
        return await self._positions.lag()

    def _on_state(self, state: ConsumerState) -> None:
        """Tell how it stands. Beside OK what was passed since the start is said, as nobody else may know of it."""
        if state.kind is StateKind.OK and self._passed:
            state = ConsumerState(
                StateKind.OK, f"passed since the start: {self._passed}, the last: {self._last_passed}"
            )
        self._tell_state(state)

    def _on_passed(self, passed: Passed) -> None:
        self._passed += 1
        self._last_passed = str(passed)
        log.error("passed: %s", passed)
        self._tell_passed(passed)

    def _make(self) -> AIOKafkaConsumer:
        self._on_state(STARTING)
        return KafkaReader(
            **self._kafka,
            group_id=self._group,
            enable_auto_commit=False,  # the offsets follow the database's commit
            auto_offset_reset="earliest",
            # No event is sent in a transaction. Whoever leaves one open must not hold up what stands behind it.
            isolation_level="read_uncommitted",
            max_poll_records=self._max_records,
        )

    async def _consume(self, consumer: AIOKafkaConsumer, stopping: asyncio.Event, backoff: Backoff) -> None:
        clock = asyncio.get_running_loop().time
        while not stopping.is_set():
            batches = await self._read(consumer, stopping)
            if not batches:
                continue
            next_round = clock() + self._pacing_seconds
            async with self._applying:
                done = await self._work([record for records in batches.values() for record in records], stopping)
                if done:
                    backoff.reset()
                    await self._commit(consumer, {tp: records[-1].offset + 1 for tp, records in batches.items()})
            await pause(next_round - clock(), stopping)

    async def _read(
        self, consumer: AIOKafkaConsumer, stopping: asyncio.Event
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        if not self._idle_seconds:
            return await _unless(stopping, consumer.getmany(timeout_ms=1_000))
        # The client fetches again as soon as it has an answer, unless its partitions are paused.
        consumer.resume(*consumer.assignment())
        batches = await _unless(stopping, consumer.getmany(timeout_ms=_LOOK_MILLISECONDS))
        consumer.pause(*consumer.assignment())
        self._empty_looks = 0 if batches else self._empty_looks + 1
        if not batches:
            await pause(min(self._idle_seconds * 1.5**self._empty_looks, LONGEST_IDLE_SECONDS), stopping)
        return batches

    async def _work(self, records: list[ConsumerRecord], stopping: asyncio.Event) -> bool:
        """Have every record in the database, then the dead letters in their topic. False: stopped before that."""
        started_at = time.perf_counter()
        letters = await self._applier.apply(records, stopping)
        done = letters is not None and await self._dead_letters.send(letters, stopping)
        if done:
            self._on_batch(len(records), time.perf_counter() - started_at)
        return done

    @contextlib.asynccontextmanager
    async def _pruned(self, stopping: asyncio.Event) -> AsyncIterator[None]:
        """The inbox is pruned meanwhile."""
        pruner = asyncio.create_task(self._prune(stopping, self._pruning)) if self._pruning else None
        try:
            yield
        finally:
            if pruner:
                pruner.cancel()
                await asyncio.gather(pruner, return_exceptions=True)

    async def _prune(self, stopping: asyncio.Event, pruning: Pruning) -> None:
        while not stopping.is_set():
            try:
                deleted = at_most = 10_000
                while deleted == at_most:
                    async with borrowed(self._connect) as connection:
                        older_than = pruning.retention + pruning.margin
                        deleted = await prune(connection, self._group, older_than, at_most=at_most)
            except Exception as error:  # what is left is pruned in the next round
                log.warning("the inbox of %s is not pruned: %s", self._group, sentence(error))
            await pause(pruning.every.total_seconds(), stopping)

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        self._positions.done(offsets)
        try:
            async with asyncio.timeout(10):
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError, TimeoutError) as error:
            # The partitions went to another member, which skips what we applied; or Kafka is away, and a later
            # commit covers this one.
            log.info("offsets not committed, the records may come again: %s", error or type(error).__name__)

    async def batch_done(self) -> None:
        """Wait for the batch under way, but not for ever: a rebalance holds up the whole group."""
        self._positions.forget()
        try:
            async with asyncio.timeout(5), self._applying:
                pass
        except TimeoutError:
            log.info("partitions are revoked while a batch cannot be applied: it comes again elsewhere")

    def assigned(self) -> None:
        """The group has given this member its partitions (none is an answer, too)."""
        self._on_state(OK)


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
