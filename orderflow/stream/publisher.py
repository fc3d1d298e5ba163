"""Sending entries to Kafka: at most one record of an order in flight, and a new producer after every failure.

Why a new producer: a batch that fails may have used up its sequence number, and everything that the same producer
sends to that partition afterwards is refused as out of order. And behind a connection that has ended there may be a
broker that lost data: before a new producer sends anything, it is asked which partitions must stand still for that.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
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
from opentelemetry.trace import SpanKind

from orderflow.domain.errors import Unavailable
from orderflow.store.outbox import Entry, Published
from orderflow.stream.connections import Connections
from orderflow.stream.topic import TopicDiffers
from orderflow.telemetry import spans
from orderflow.telemetry.metrics import PUBLISH_SECONDS, PUBLISHED, RELAY_BATCH
from orderflow.telemetry.spans import OpenSpan
from orderflow_events.envelope import EnvelopeError, Record, encode

#: What says no to a record; everything else says no to the topic or the producer, or says nothing.
REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, CorruptRecordException, InvalidTimestampError)


CHECK_TOPIC_SECONDS = 30.0

#: An entry and the record that it becomes.
_Sendable = tuple[Entry, Record]
_Headers = list[tuple[str, bytes]]


@dataclass(slots=True)
class Outcome:
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
    ``check_acknowledged`` says which partitions stand still, given what Kafka has acknowledged and no database knows
    yet; asked at the same times, with the connections made and nothing sent. Entries for those are left alone.
    ``delivery_timeout`` in seconds: an idempotent producer tries for ever, and would never say that Kafka is away.
    """

    def __init__(
        self,
        source: str,
        topic: str,
        *,
        make_producer: Callable[[], AIOKafkaProducer],
        check_topic: Callable[[], Awaitable[list[str]]],
        check_acknowledged: Callable[[Sequence[Published]], Awaitable[frozenset[int]]],
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
        if differences := await self._check_topic():
            raise TopicDiffers(self._topic, differences)
        producer = self._producer or self._make_producer()
        try:
            if self._producer is None:
                await producer.start()
                self._connections = Connections(producer)
                await self._connections.seal()
            self.stopped = await self._check_acknowledged(unrecorded)
        except BaseException:
            self._producer = None
            await _close(producer)
            raise
        self._producer = producer
        self._check_again_at = clock() + CHECK_TOPIC_SECONDS
        return producer

    async def close(self) -> None:
        """Give the producer up, in seconds at most. What it had not sent is still pending."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await _close(producer)

    async def publish(self, entries: Sequence[Entry]) -> Outcome:
        """Send ``entries`` (an order's in version order) and wait for Kafka. No failure is raised: see ``Outcome``.

        An order's next record is sent when the one before it is acknowledged, so what Kafka has of an order never has
        a hole. Where a record is refused, each that was in a refused batch is sent alone, to find which it was.
        """
        outcome, started_at = Outcome(), time.perf_counter()
        orders = self._orders(entries, outcome)
        suspects: list[_Sendable] = []
        while outcome.error is None and not suspects:
            wave = [chain.popleft() for chain in orders.values() if chain]
            if not wave:
                break
            suspects = [sendable for sendable, _ in await self._send(wave, outcome)]
        for suspect in suspects:
            if outcome.error is None:
                for (entry, _), error in await self._send([suspect], outcome):
                    outcome.refused.append((entry, str(error) or type(error).__name__))
        if entries:
            RELAY_BATCH.observe(len(entries), self._service)
            PUBLISH_SECONDS.observe(time.perf_counter() - started_at, self._service)
            PUBLISHED.add(self._service, amount=len(outcome.published))
        return outcome

    def _orders(self, entries: Iterable[Entry], outcome: Outcome) -> dict[UUID, deque[_Sendable]]:
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
            data=entry.data,
        )

    async def _send(self, wave: Iterable[_Sendable], outcome: Outcome) -> list[tuple[_Sendable, Exception]]:
        """Send records of different orders; what is acknowledged goes to ``outcome``, what is refused comes back."""
        refused: list[tuple[_Sendable, Exception]] = []
        sent: list[tuple[_Sendable, asyncio.Future[Any]]] = []
        try:
            async with asyncio.timeout(self._delivery_timeout):
                producer = await self.open(outcome.published)
                outcome.left_out |= self.stopped
                # What a partition that stands still had acknowledged is in doubt: it stays pending.
                outcome.published = [one for one in outcome.published if one.partition not in outcome.left_out]
                for entry, record in wave:
                    if outcome.left_out and self.partition_of(entry.order_id) in outcome.left_out:
                        continue
                    span, headers = self._traced(entry, record)
                    try:
                        future = await producer.send(self._topic, record.value, key=record.key, headers=headers)
                    except REFUSALS as error:  # larger than the producer's own limit: it never left
                        refused.append(((entry, record), error))
                        if span:
                            span.end(error=str(error))
                        continue
                    except BaseException as error:
                        if span:
                            span.end(error=str(error) or type(error).__name__)
                        raise
                    future.add_done_callback(_seen)
                    if span:
                        future.add_done_callback(partial(_ended, span))
                    sent.append(((entry, record), future))
                if sent:
                    await self._acknowledged([future for _, future in sent])
        except TimeoutError:
            outcome.error = TimeoutError(f"no acknowledgement from Kafka in {self._delivery_timeout} s")
        except (KafkaError, OSError, TopicDiffers, Unavailable) as error:
            outcome.error = error
        failed = outcome.error is not None
        for sendable, future in sent:
            if not future.done() or future.cancelled():
                continue  # the time is up
            cause = future.exception()
            if cause is None:
                where = future.result()
                outcome.published.append(Published(sendable[0], where.partition, where.offset))
                continue
            failed = True
            if isinstance(cause, REFUSALS):
                refused.append((sendable, cause))
            elif isinstance(cause, Exception):
                outcome.error = cause
        if failed and self._producer is not None:
            self._log.warning("producer_replaced", refused=len(refused), error=repr(outcome.error))
            await self.close()
        return refused

    def _traced(self, entry: Entry, record: Record) -> tuple[OpenSpan | None, _Headers]:
        """A span under the step that made the event, until Kafka has it; the record's ``traceparent`` names it.

        ``ce_traceparent`` stays the event's, as CloudEvents' distributed tracing extension wants it.
        """
        headers = list(record.headers)
        if not spans.are_on():
            return None, headers
        span = spans.open_span(
            f"send {self._topic}",
            SpanKind.PRODUCER,
            entry.traceparent,
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.destination.name": self._topic,
                "messaging.message.id": f"{self._service}/{entry.order_id}/{entry.version}",
                "messaging.kafka.message.key": str(entry.order_id),
                "orderflow.event.type": entry.type,
            },
        )
        if span is not None:
            headers = [(name, value) for name, value in headers if name != "traceparent"]
            headers.append(("traceparent", span.traceparent.encode()))
        return span, headers

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


def _seen(future: asyncio.Future[Any]) -> None:
    """Keeps asyncio from reporting an error that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


def _ended(span: OpenSpan, future: asyncio.Future[Any]) -> None:
    """Kafka has the record, or will not have it."""
    if future.cancelled():
        span.end(error="given up")
    elif (cause := future.exception()) is not None:
        span.end(error=str(cause) or type(cause).__name__)
    else:
        where = future.result()
        span.end(
            {
                "messaging.destination.partition.id": str(where.partition),
                "messaging.kafka.message.offset": where.offset,
            }
        )


async def _close(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(1):
            await producer.stop()
    except Exception:
        # stop() waits for deliveries, for ever while Kafka is away, and aiokafka has no other way to end a producer.
        producer._message_accumulator.fail_all(KafkaError("given up"))
        sender = producer._sender.sender_task
        if sender is not None:
            sender.remove_done_callback(
                producer._sender._fail_all
            )  # done above; here it would trip over no transaction
            sender.add_done_callback(_seen)
            sender.cancel()
        await producer.client.close()
        if sender is not None:
            await asyncio.wait([sender], timeout=1)
