"""Sending entries to Kafka: at most one record of an order in flight, and a new producer after every failure.

Why a new producer: a batch that fails may have used up its sequence number, and everything that the same producer
sends to that partition afterwards is refused as out of order.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    CorruptRecordException,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from orderflow.metrics import PUBLISH_SECONDS, PUBLISHED, RELAY_BATCH
from orderflow.store.outbox import Entry, Published
from orderflow_events.envelope import EnvelopeError, Record, encode

#: What says no to a record; everything else says no to the topic or the producer, or says nothing.
REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, CorruptRecordException, InvalidTimestampError)


CHECK_TOPIC_SECONDS = 30.0

#: An entry and the record that it becomes.
_Sendable = tuple[Entry, Record]


class TopicDiffers(Exception):
    """The topic is not there, or not as the settings say: nothing may be sent to it."""


@dataclass(slots=True)
class Outcome:
    """What came of a round. Entries that are in neither list were not acknowledged: they are still pending."""

    published: list[Published] = field(default_factory=list)
    #: Records that were refused even when sent alone, and why.
    refused: list[tuple[Entry, str]] = field(default_factory=list)
    #: What ended the round early.
    error: Exception | None = None


class Publisher:
    """Owns a producer to one topic, for the events of one source (``/orderflow/orders`` ...).

    ``check_topic`` says how the topic differs from what it should be; it is asked before each new producer, and then
    now and again: partitions that someone adds would move live orders.
    ``delivery_timeout`` in seconds: an idempotent producer tries for ever, and would never say that Kafka is away.
    """

    def __init__(
        self,
        source: str,
        topic: str,
        *,
        make_producer: Callable[[], AIOKafkaProducer],
        check_topic: Callable[[], Awaitable[list[str]]],
        delivery_timeout: float = 15.0,
    ) -> None:
        self._source = source
        self._service = source.rpartition("/")[2]
        self._topic = topic
        self._make_producer = make_producer
        self._check_topic = check_topic
        self._delivery_timeout = delivery_timeout
        self._producer: AIOKafkaProducer | None = None
        self._check_again_at = 0.0
        self._log = structlog.get_logger(__name__).bind(source=source)

    async def open(self) -> AIOKafkaProducer:
        """A producer that is ready to send. Raises TopicDiffers, KafkaError or OSError."""
        clock = asyncio.get_running_loop().time
        if self._producer is None or clock() > self._check_again_at:
            if differences := await self._check_topic():
                raise TopicDiffers(f"topic {self._topic}: {' '.join(differences)}")
            self._check_again_at = clock() + CHECK_TOPIC_SECONDS
        if self._producer is None:
            producer = self._make_producer()
            try:
                await producer.start()
            except BaseException:
                await _close(producer)
                raise
            self._producer = producer
        return self._producer

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
                producer = await self.open()
                for entry, record in wave:
                    try:
                        future = await producer.send(
                            self._topic, record.value, key=record.key, headers=list(record.headers)
                        )
                    except REFUSALS as error:  # larger than the producer's own limit: it never left
                        refused.append(((entry, record), error))
                        continue
                    future.add_done_callback(_seen)
                    sent.append(((entry, record), future))
                if sent:
                    await asyncio.wait([future for _, future in sent])
        except TimeoutError:
            outcome.error = TimeoutError(f"no acknowledgement from Kafka in {self._delivery_timeout} s")
        except (KafkaError, OSError, TopicDiffers) as error:
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


def _seen(future: asyncio.Future[Any]) -> None:
    """Keeps asyncio from reporting an error that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


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
