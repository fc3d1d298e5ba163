"""The dead-letter topic, ``<topic>.dlq.<group>``: a copy of the dead letters, for those who watch and count.

A record is the original's key, value and headers, and these headers:

======================  ==================================================================================
``dlq_kind``            ``failed``, ``undecodable`` or ``follows`` (an earlier event of its order is dead)
``dlq_reason``          why, in one sentence
``dlq_attempts``        how often it was tried
``dlq_topic`` ...       the original's ``dlq_partition``, ``dlq_offset`` and ``dlq_timestamp`` (ms since 1970)
``dlq_first_failed_at``  the first and the last failure (RFC 3339, UTC); both absent for ``follows``
``dlq_last_failed_at``
``dlq_left_out``         what Kafka would not take (the record's size, mostly): its headers, then also its value, then
                         also its key, then all but its coordinates; absent where it is whole. The row in
                         ``dead_letters`` has all of it
======================  ==================================================================================

An error that says no to the record has it shortened, and passed in the end. One that says nothing clear (Kafka's
"unknown", and whatever else is neither an outage nor a refusal) is the record's own if a record with nothing of it but
its coordinates goes through in its place; that one then stands there, and the original counts as passed. If that does
not go through either, the topic is at fault: it cannot be made, say, or nobody may write there. It has half a minute to
get well; then copies count as passed until one goes through again. Only an outage is waited for however long it takes.

What is no event belongs to no order: such letters go together, ahead of the others, and one by one where that fails.

At least once, and an order's first occurrences in order. The row in ``dead_letters`` is written first, the record after
it, the offset commit last: whatever crashes between them makes the original come again, find its row, and be sent once
more.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CorruptRecordException,
    InvalidReplicationFactorError,
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)

from orderflow_events._pauses import Backoff, pause
from orderflow_events.dead_letters import DeadLetter, Passed
from orderflow_events.failures import sentence
from orderflow_events.names import dead_letter_topic
from orderflow_events.states import OK, ConsumerState, StateKind

#: What says no to a record and not to the topic: the broker's errors, and what the producer refuses to build or send.
_REFUSALS: Final = (
    *(RecordListTooLargeError, CorruptRecordException, InvalidTimestampError),
    *(MessageSizeTooLargeError, ValueError, TypeError, AssertionError),
)
#: Whether key and value are sent, and what of all is left out; the next where one is refused.
_FORMS: Final = (
    (True, True, ""),
    (True, True, "headers"),
    (True, False, "headers, value"),
    (False, False, "headers, value, key"),
)

#: How often a letter meets an error that says nothing clear before it is looked at whether it is its own.
MOST_UNCLEAR: Final = 3

#: So long the topic itself may say no before copies are passed: their rows are there, and a redrive reads those.
REFUSING_SECONDS: Final = 30.0

#: From so many on, what is no event is sent together.
_TOGETHER: Final = 2

_CONNECTION = ("bootstrap_servers", "client_id", "security_protocol", "ssl_context")

__all__ = ["DeadLetterTopic", "dead_letter_headers", "dead_letter_topic"]

log = logging.getLogger(__name__)


def dead_letter_headers(letter: DeadLetter, left_out: str = "") -> list[tuple[str, bytes | None]]:
    """The headers of a dead letter's record: the original's unless something is ``left_out``, and ours."""
    ours: dict[str, str] = {
        "dlq_kind": letter.kind,
        "dlq_reason": letter.reason,
        "dlq_attempts": str(letter.attempts),
        "dlq_topic": letter.topic,
        "dlq_partition": str(letter.partition),
        "dlq_offset": str(letter.offset),
        "dlq_timestamp": str(letter.timestamp),
    }
    if letter.first_failed_at and letter.last_failed_at:
        ours["dlq_first_failed_at"] = _time(letter.first_failed_at)
        ours["dlq_last_failed_at"] = _time(letter.last_failed_at)
    if left_out:
        ours["dlq_left_out"] = left_out
    return [*(() if left_out else letter.headers), *((name, text.encode()) for name, text in ours.items())]


class DeadLetterTopic:
    """Where one member sends its dead letters. Connects when there is a first one."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topic: str,
        group: str,
        *,
        on_state: Callable[[ConsumerState], None],
        on_passed: Callable[[Passed], None],
    ) -> None:
        self._kafka = {n: v for n, v in kafka.items() if n in _CONNECTION or n.startswith("sasl_")}
        self._source = topic
        self._topic = dead_letter_topic(topic, group)
        self._on_state = on_state
        self._on_passed = on_passed
        self._producer: AIOKafkaProducer | None = None
        #: Since when the topic has said no to all that came; None: it has not.
        self._refusing_since: float | None = None

    async def send(self, letters: Sequence[DeadLetter], stopping: asyncio.Event) -> bool:
        """Send ``letters`` in their order, as often as it takes. False: ``stopping`` was set before they were there.

        One that Kafka refuses is shortened, and passed if nothing helps; all are where the topic itself has refused for
        long enough.
        """
        backoff = Backoff()
        failed = False
        unclear = 0
        left = deque(await self._without_order(letters))
        while left:
            try:
                async with asyncio.timeout(30):
                    await self._send(left[0], judge=unclear >= MOST_UNCLEAR)
            except Exception as error:
                failed = True
                unclear += not _is_outage(error)
                await self.aclose()  # after an error an idempotent producer may have burnt a sequence number
                if self._refuses(error):
                    self._pass(left, error)
                    break
                problem = f"cannot send to {self._topic}: {sentence(error)}"
                self._on_state(ConsumerState(StateKind.FAILING, problem))
                log.warning("%d dead letters are sent to %s again", len(left), self._topic, exc_info=error)
                if await pause(backoff.next(), stopping):
                    return False
            else:
                unclear, self._refusing_since = 0, None
                left.popleft()  # one after the other: an order's records keep their order whatever fails
        if failed:
            self._on_state(OK)
        return True

    def _refuses(self, error: Exception) -> bool:
        """Whether the topic has said no for so long that nobody else is to wait for it."""
        if _is_outage(error):
            self._refusing_since = None
        elif self._refusing_since is None:
            self._refusing_since = time.monotonic()
        return self._refusing_since is not None and time.monotonic() - self._refusing_since >= REFUSING_SECONDS

    def _pass(self, letters: Iterable[DeadLetter], error: Exception) -> None:
        log.error("%s takes nothing, its copies are passed", self._topic, exc_info=error)
        for letter in letters:
            self._on_passed(_without_copy(letter, sentence(error)))

    async def aclose(self) -> None:
        """Let go of the connection; ``send`` makes a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(5):
                    await producer.stop()
            except Exception as error:  # it is thrown away
                log.info("producer not closed cleanly: %s", sentence(error))

    async def _without_order(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Send those that are no events, all at once. What is left: the others, and what did not go through."""
        free = [letter for letter in letters if letter.kind == "undecodable"]
        if len(free) < _TOGETHER:
            return list(letters)
        arrived: set[int] = set()
        problem: Exception | None = None
        try:
            async with asyncio.timeout(30):
                producer = await self._open()
                deliveries = {}
                for letter in free:
                    with suppress(*_REFUSALS):  # it is shortened when its turn comes
                        deliveries[letter.id] = await producer.send(
                            self._topic,
                            _value(letter.key, letter.value),
                            letter.key,
                            headers=dead_letter_headers(letter),
                        )
                outcomes = await asyncio.gather(*deliveries.values(), return_exceptions=True)
                for letter_id, outcome in zip(deliveries, outcomes, strict=True):
                    if isinstance(outcome, Exception):
                        problem = outcome
                    else:
                        self._refusing_since = None
                        arrived.add(letter_id)
        except Exception as error:
            problem = error
        if problem is not None:
            log.warning("%d dead letters go to %s one by one", len(free) - len(arrived), self._topic, exc_info=problem)
            await self.aclose()  # as in ``send``
        return [letter for letter in letters if letter.id not in arrived]

    async def _send(self, letter: DeadLetter, *, judge: bool) -> None:
        """Send the first form that is taken. ``judge``: also behind an error that says nothing clear."""
        refusal, clear = "", True
        for with_key, with_value, left_out in _FORMS:
            producer = await self._open()
            key = letter.key if with_key else None
            value = letter.value if with_value else None
            try:
                await producer.send_and_wait(
                    self._topic,
                    _value(key, value),
                    key=key,
                    headers=dead_letter_headers(letter, left_out),
                )
            except Exception as error:
                refused = isinstance(error, _REFUSALS)
                if not refused and (not judge or _is_outage(error)):
                    raise
                refusal, clear = sentence(error), clear and refused
                log.warning("%s does not fit into %s: %s", letter, self._topic, refusal)
                await self.aclose()  # as above
            else:
                return
        if not clear:
            await self._send_coordinates(letter)
        self._on_passed(_without_copy(letter, refusal))

    async def _send_coordinates(self, letter: DeadLetter) -> None:
        """A record with nothing in it that came from elsewhere. Whatever it raises says no to the topic."""
        where = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
        headers = [
            (name, value)
            for name, value in dead_letter_headers(letter, "all but its coordinates")
            if name not in ("dlq_reason", "dlq_timestamp", "dlq_first_failed_at", "dlq_last_failed_at")
        ]
        producer = await self._open()
        await producer.send_and_wait(self._topic, b"", key=where, headers=headers)

    async def _open(self) -> AIOKafkaProducer:
        if self._producer is None:
            await self._ensure_topic()
            producer = AIOKafkaProducer(**self._kafka, acks="all", enable_idempotence=True, max_batch_size=262_144)
            self._producer = producer
            await producer.start()
        return self._producer

    async def _ensure_topic(self) -> None:
        """Create the topic if it is not there, as wide as the original, so that an order keeps its partition."""
        admin = AIOKafkaAdminClient(**self._kafka)
        try:
            await admin.start()
            if self._topic in await admin.list_topics():
                return
            [source] = await admin.describe_topics([self._source])
            if not (partitions := source["partitions"]):
                raise KafkaConnectionError(f"nobody says how wide {self._source} is")
            made = NewTopic(self._topic, len(partitions), len(partitions[0]["replicas"]))
            response = await admin.create_topics([made])
            for _, code, *message in response.topic_errors:
                kind = for_code(code)
                if code and kind is not TopicAlreadyExistsError:
                    # Of replicas there are not enough while brokers are down.
                    is_outage = kind.retriable or kind is InvalidReplicationFactorError
                    why = f"it is not there and cannot be created: {kind.__name__} {message}"
                    raise (KafkaConnectionError if is_outage else RuntimeError)(why)
        finally:
            await admin.close()


def _without_copy(letter: DeadLetter, why: str) -> Passed:
    return Passed(letter.topic, letter.partition, letter.offset, letter.subject, "copy", why)


def _value(key: bytes | None, value: bytes | None) -> bytes | None:
    """The producer refuses a record with neither."""
    return b"" if key is None and value is None else value


def _is_outage(error: Exception) -> bool:
    """Whether nobody has answered, or somebody who may do better soon."""
    return isinstance(error, OSError | TimeoutError | KafkaTimeoutError) or bool(getattr(error, "retriable", False))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
