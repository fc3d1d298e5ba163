"""Sending entries to Kafka: at most one record of an order in flight, and a new producer after every failure.

Why a new producer: a batch that fails may have used up its sequence number, and everything that the same producer
sends to that partition afterwards is refused as out of order. And behind a connection that has ended there may be a
broker that lost data: before a new producer sends anything, it is asked which partitions must stand still for that.

A topic that was deleted and made anew takes records on the connections to the old one. So the topic's id is asked for
before each round; where the broker gives none, an acknowledged offset that is not above the last one tells.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    CorruptRecordException,
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.partitioner import DefaultPartitioner

from orderflow.domain.errors import Unavailable
from orderflow.store.outbox import Entry, Published
from orderflow.stream.connections import Connections, close_producer
from orderflow.stream.topic import Difference, TopicDiffers, in_words
from orderflow.stream.traced import send_traced
from orderflow.telemetry.metrics import PUBLISH_SECONDS, PUBLISHED, RELAY_BATCH
from orderflow_events.envelope import EnvelopeError, Record, encode

#: What says no to a record; everything else says no to the topic or the producer, or says nothing.
REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, CorruptRecordException, InvalidTimestampError)


CHECK_TOPIC_SECONDS = 30.0
#: Records that are refused alone in one round, at most: each costs a producer.
MOST_REFUSED = 10

#: An entry and the record that it becomes.
_Sendable = tuple[Entry, Record]
_Refused = tuple[_Sendable, Exception]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A record that the producer was given. ``answer``: Kafka's, or with what the producer itself refused it."""

    sendable: _Sendable
    answer: asyncio.Future[Any] | Exception


@dataclass(frozen=True, slots=True)
class Compared:
    """What a look at the topic says. ``stopped``: partitions to which nothing may be sent.

    ``topic``: the number of the topic that was looked at, None where Kafka has no ids; ``last``: the highest offset
    that counts as published in each partition.
    """

    stopped: frozenset[int]
    topic: int | None = None
    last: Mapping[int, int] = field(default_factory=dict)


class TopicMadeAnew(Exception):
    """The topic is another one than that which was looked at before sending."""


@dataclass(slots=True)
class RoundOutcome:
    """What came of a round. Entries that are in neither list were not acknowledged: they are still pending."""

    published: list[Published] = field(default_factory=list)
    #: Records that were refused even when sent alone, and why.
    refused: list[tuple[Entry, str]] = field(default_factory=list)
    #: Partitions that stood still at some moment of the round: nothing more is sent there, or there would be a hole.
    left_out: set[int] = field(default_factory=set)
    #: What ended the round early.
    error: Exception | None = None


class Publisher:
    """Owns a producer to one topic, for the events of one source (``/orderflow/orders`` ...).

    ``check_topic`` says how the topic differs from what it should be; it is asked before each new producer, and then
    now and again: partitions that someone adds would move live orders.
    ``check_acknowledged`` says which partitions stand still, given the topic's id and what Kafka has acknowledged and
    no database knows yet; asked at the same times, with the connections made and nothing sent. Entries for those are
    left alone.
    ``delivery_timeout`` in seconds: an idempotent producer tries for ever, and would never say that Kafka is away.
    """

    def __init__(
        self,
        source: str,
        topic: str,
        *,
        make_producer: Callable[[], AIOKafkaProducer],
        check_topic: Callable[[], Awaitable[Sequence[Difference]]],
        check_acknowledged: Callable[[UUID | None, Sequence[Published]], Awaitable[Compared]],
        partitions: int,
        delivery_timeout: float = 15.0,
    ) -> None:
        self._source = source
        self._service = source.rpartition("/")[2]
        self._topic = topic
        self._make_producer = make_producer
        self._check_topic = check_topic
        self._check_acknowledged = check_acknowledged
        self._partitions = list(range(partitions))
        self._partition_of_key = DefaultPartitioner()
        self._delivery_timeout = delivery_timeout
        self._producer: AIOKafkaProducer | None = None
        self._connections: Connections | None = None
        #: Partitions to which nothing is sent. The relay refreshes it; each check at a connect does, too.
        self.stopped: frozenset[int] = frozenset()
        #: How the topic differs from the settings at the moment, where that stops nobody.
        self.drift = ""
        self._topic_id: UUID | None = None
        self._topic_number: int | None = None
        self._last: dict[int, int] = {}
        self._check_again_at = 0.0
        self._log = structlog.get_logger(__name__).bind(source=source)

    def partition_of(self, order_id: UUID) -> int:
        """Where the order's records go, by Kafka's own rule for keys."""
        partition: int = self._partition_of_key(str(order_id).encode(), self._partitions, self._partitions)
        return partition

    async def open(self, unrecorded: Sequence[Published] = ()) -> AIOKafkaProducer:
        """A producer that is ready to send. Raises TopicDiffers, KafkaError, OSError or Unavailable."""
        clock = asyncio.get_running_loop().time
        if self._connections is not None and self._connections.lost.is_set():
            await self.close()
        if self._producer is not None and clock() <= self._check_again_at:
            return self._producer
        differences = await self._check_topic()
        if any(difference.stops for difference in differences):
            raise TopicDiffers(self._topic, differences)
        if (drift := in_words(differences)) != self.drift and drift:
            self._log.warning("topic_differs", topic=self._topic, differences=drift)
        self.drift = drift
        producer = self._producer or self._make_producer()
        connections = self._connections
        try:
            if self._producer is None or connections is None:
                await producer.start()
                connections = self._connections = Connections(producer)
                await connections.seal()
            # Asked before the look and before anything is sent: a record never stands on an older topic than it says.
            self._topic_id = await connections.topic_id(self._topic)
            compared = await self._check_acknowledged(self._topic_id, unrecorded)
            self.stopped, self._topic_number, self._last = compared.stopped, compared.topic, dict(compared.last)
        except BaseException:
            self._producer = None
            await close_producer(producer)
            raise
        self._producer = producer
        self._check_again_at = clock() + CHECK_TOPIC_SECONDS
        return producer

    async def close(self) -> None:
        """Give the producer up, in seconds at most. What it had not sent is still pending."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await close_producer(producer)

    async def publish(self, entries: Sequence[Entry]) -> RoundOutcome:
        """Send ``entries`` (an order's in version order) and wait for Kafka. Raises nothing: see ``RoundOutcome``.

        An order's next record is sent when the one before it is acknowledged, so what Kafka has of an order never has
        a hole. Where a record is refused, each that was in a refused batch is sent alone, to find which it was.
        """
        outcome, started_at = RoundOutcome(), time.perf_counter()
        orders = self._orders(entries, outcome)
        if orders:
            await self._see_topic(outcome)
        suspects: list[_Sendable] = []
        while outcome.error is None and not suspects:
            wave = [chain.popleft() for chain in orders.values() if chain]
            if not wave:
                break
            suspects = [sendable for sendable, _ in await self._send(wave, outcome)]
        for suspect in suspects:
            # The rest is left to the next round: where all is refused, the relay says so before it has tried each.
            if outcome.error is None and len(outcome.refused) < MOST_REFUSED:
                for (entry, _), error in await self._send([suspect], outcome):
                    outcome.refused.append((entry, str(error) or type(error).__name__))
        if entries:
            RELAY_BATCH.observe(len(entries), self._service)
            PUBLISH_SECONDS.observe(time.perf_counter() - started_at, self._service)
            PUBLISHED.add(self._service, amount=len(outcome.published))
        return outcome

    async def _see_topic(self, outcome: RoundOutcome) -> None:
        """Before a round: give the producer up where the topic is another one by now; the next one looks first."""
        if self._producer is None or self._connections is None or self._topic_id is None:
            return
        try:
            async with asyncio.timeout(self._delivery_timeout):
                found = await self._connections.topic_id(self._topic)
        except (KafkaError, OSError, TimeoutError) as error:
            outcome.error = error
            await self.close()
        else:
            if found != self._topic_id:
                self._log.error("topic_made_anew", topic=self._topic, was=str(self._topic_id), found=str(found))
                await self.close()

    def _began_again(self, published: Sequence[Published]) -> bool:
        """Whether an offset is not above the last one of its partition: another log stands there. Keeps the last."""
        again = any(0 <= one.offset <= self._last.get(one.partition, -1) for one in published)
        for one in published:
            self._last[one.partition] = max(self._last.get(one.partition, -1), one.offset)
        return again

    def _orders(self, entries: Iterable[Entry], outcome: RoundOutcome) -> dict[UUID, deque[_Sendable]]:
        orders: dict[UUID, deque[_Sendable]] = {}
        unwritable: set[UUID] = set()
        for entry in entries:
            if entry.order_id not in unwritable:
                try:
                    orders.setdefault(entry.order_id, deque()).append((entry, self._encode(entry)))
                except EnvelopeError as error:
                    unwritable.add(entry.order_id)
                    outcome.refused.append((entry, str(error)))
        return orders

    def _encode(self, entry: Entry) -> Record:
        return encode(
            source=self._source,
            type=entry.type,
            order_id=entry.order_id,
            version=entry.version,
            status=entry.status,
            recorded_at=entry.recorded_at,
            correlation_id=entry.correlation_id,
            traceparent=entry.traceparent,
            authtype=entry.authtype,
            authid=entry.authid,
            data=entry.data,
        )

    async def _send(self, wave: Iterable[_Sendable], outcome: RoundOutcome) -> list[_Refused]:
        """Send records of different orders; what is acknowledged goes to ``outcome``, what is refused comes back."""
        attempts: list[_Attempt] = []
        try:
            async with asyncio.timeout(self._delivery_timeout):
                await self._deliver(wave, outcome, attempts)
        except TimeoutError:
            outcome.error = TimeoutError(f"no acknowledgement from Kafka in {self._delivery_timeout} s")
        except (KafkaError, OSError, TopicDiffers, Unavailable) as error:
            outcome.error = error
        refused, batch_failed, published = self._classify(attempts, outcome)
        if self._began_again(published):
            # What was acknowledged now may stand on another topic than it says: it stays pending.
            outcome.error = outcome.error or TopicMadeAnew(f"{self._topic} has begun again: it was made anew")
        else:
            outcome.published += published
        if (batch_failed or outcome.error is not None) and self._producer is not None:
            self._log.warning("producer_replaced", refused=len(refused), error=repr(outcome.error))
            await self.close()
        return refused

    def _classify(
        self, attempts: Iterable[_Attempt], outcome: RoundOutcome
    ) -> tuple[list[_Refused], bool, list[Published]]:
        """The refused and, last, the acknowledged records; an error that is none of a record's goes to ``outcome``.

        Second: whether Kafka failed a batch. Its sequence numbers may be spent, so its producer must send nothing more.
        """
        refused: list[_Refused] = []
        published: list[Published] = []
        batch_failed = False
        for attempt in attempts:
            if isinstance(attempt.answer, Exception):  # it never left: no sequence number was spent on it
                refused.append((attempt.sendable, attempt.answer))
                continue
            if not attempt.answer.done() or attempt.answer.cancelled():
                continue  # the time is up: it stays pending
            cause = attempt.answer.exception()
            if cause is None:
                where = attempt.answer.result()
                entry = attempt.sendable[0]
                published.append(Published(entry, where.partition, where.offset, self._topic_number))
                continue
            batch_failed = True
            if isinstance(cause, REFUSALS):
                refused.append((attempt.sendable, cause))
            elif isinstance(cause, Exception):
                outcome.error = cause
        return refused, batch_failed, published

    async def _deliver(self, wave: Iterable[_Sendable], outcome: RoundOutcome, attempts: list[_Attempt]) -> None:
        """Give the producer what goes to partitions that do not stand still, and wait until Kafka has answered all.

        ``attempts`` gets each record that was given, also where this ends early. Raises what ``open`` raises, what the
        producer raises of itself and not of a record, and KafkaConnectionError.
        """
        producer = await self.open(outcome.published)
        outcome.left_out |= self.stopped
        # What a partition that stands still had acknowledged is in doubt: it stays pending.
        outcome.published = [one for one in outcome.published if one.partition not in outcome.left_out]
        send = partial(self._give, producer)
        answers: list[asyncio.Future[Any]] = []
        for entry, record in wave:
            if outcome.left_out and self.partition_of(entry.order_id) in outcome.left_out:
                continue
            try:
                answer = await send_traced(send, entry, record, service=self._service, topic=self._topic)
            except REFUSALS as error:
                attempts.append(_Attempt((entry, record), error))
            else:
                attempts.append(_Attempt((entry, record), answer))
                answers.append(answer)
        if answers:
            await self._acknowledged(answers)

    async def _give(self, producer: AIOKafkaProducer, record: Record) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = await producer.send(
            self._topic, record.value, key=record.key, headers=list(record.headers)
        )
        answer.add_done_callback(_seen)
        return answer

    async def _acknowledged(self, futures: list[asyncio.Future[Any]]) -> None:
        """Wait for all of ``futures``. Raises KafkaConnectionError as soon as a connection has ended."""
        if self._connections is None:
            raise AssertionError("open() made them")
        lost = asyncio.create_task(self._connections.lost.wait())
        answers = asyncio.create_task(asyncio.wait(futures))
        try:
            await asyncio.wait([answers, lost], return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                raise KafkaConnectionError("a connection to Kafka has ended")
        finally:
            lost.cancel()
            answers.cancel()


def _seen(answer: asyncio.Future[Any]) -> None:
    """Keeps asyncio from reporting an error that nobody waits for any more."""
    if not answer.cancelled():
        answer.exception()
