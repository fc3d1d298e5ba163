"""The dead-letter topic, ``<topic>.dlq.<group>``: a copy of the dead letters, for those who watch and count.

A record is the original's key, value and headers, and these headers:

======================  ==================================================================================
``dlq_kind``            ``failed``, ``undecodable`` or ``follows`` (an earlier event of its order is dead)
``dlq_reason``          why, in one sentence
``dlq_attempts``        how often it was tried
``dlq_topic`` ...       the original's ``dlq_partition``, ``dlq_offset`` and ``dlq_timestamp`` (ms since 1970)
``dlq_first_failed_at``  the first and the last failure (RFC 3339, UTC); both absent for ``follows``
``dlq_last_failed_at``
======================  ==================================================================================

At least once, and first occurrences in order. The row in ``dead_letters`` is written first, the record after it, the
offset commit last: whatever crashes between them makes the original come again, find its row, and be sent once more.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from orderflow_events._pauses import Backoff, pause
from orderflow_events.dead_letters import DeadLetter
from orderflow_events.failures import sentence
from orderflow_events.states import OK, ConsumerState, StateKind

_CONNECTION = ("bootstrap_servers", "client_id", "security_protocol", "ssl_context")

log = logging.getLogger(__name__)


def dead_letter_topic(topic: str, group: str) -> str:
    """The dead-letter topic of a group that consumes ``topic``."""
    return f"{topic}.dlq.{group}"


def dead_letter_headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    """The headers of a dead letter's record: the original's, and ours."""
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
    return [*letter.headers, *((name, text.encode()) for name, text in ours.items())]


class DeadLetterTopic:
    """Where one member sends its dead letters. Connects when there is a first one."""

    def __init__(
        self, kafka: Mapping[str, Any], topic: str, group: str, on_state: Callable[[ConsumerState], None]
    ) -> None:
        self._kafka = {n: v for n, v in kafka.items() if n in _CONNECTION or n.startswith("sasl_")}
        self._source = topic
        self._topic = dead_letter_topic(topic, group)
        self._on_state = on_state
        self._producer: AIOKafkaProducer | None = None

    async def send(self, letters: Sequence[DeadLetter], stopping: asyncio.Event) -> bool:
        """Send ``letters`` in their order, as often as it takes. False: ``stopping`` was set before they were there."""
        backoff = Backoff()
        failed = False
        while letters:
            try:
                async with asyncio.timeout(30):
                    await self._send(letters)
            except Exception as error:
                failed = True
                problem = f"cannot send to {self._topic}: {sentence(error)}"
                self._on_state(ConsumerState(StateKind.FAILING, problem))
                log.warning("%d dead letters are sent to %s again", len(letters), self._topic, exc_info=error)
                await self.aclose()  # after an error an idempotent producer may have burnt a sequence number
                if await pause(backoff.next(), stopping):
                    return False
            else:
                break
        if failed:
            self._on_state(OK)
        return True

    async def aclose(self) -> None:
        """Let go of the connection; ``send`` makes a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(5):
                    await producer.stop()
            except Exception as error:  # it is thrown away
                log.info("producer not closed cleanly: %s", sentence(error))

    async def _send(self, letters: Sequence[DeadLetter]) -> None:
        if self._producer is None:
            await self._ensure_topic()
            self._producer = AIOKafkaProducer(**self._kafka, acks="all", enable_idempotence=True)
            await self._producer.start()
        for letter in letters:  # one after the other: an order's records keep their order whatever fails
            await self._producer.send_and_wait(
                self._topic, letter.value, key=letter.key, headers=dead_letter_headers(letter)
            )

    async def _ensure_topic(self) -> None:
        """Create the topic if it is not there, as wide as the original, so that an order keeps its partition."""
        admin = AIOKafkaAdminClient(**self._kafka)
        try:
            await admin.start()
            if self._topic in await admin.list_topics():
                return
            [source] = await admin.describe_topics([self._source])
            partitions = source["partitions"]
            made = NewTopic(self._topic, len(partitions), len(partitions[0]["replicas"]))
            response = await admin.create_topics([made])
            for _, code, *message in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise RuntimeError(f"it is not there and cannot be created: {for_code(code).__name__} {message}")
        finally:
            await admin.close()


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
