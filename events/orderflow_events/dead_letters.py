"""The table ``dead_letters``: records that a consumer group has set aside, and the orders that they hold.

It is the truth about dead letters; the dead-letter topic is a copy for those who watch. An order is held while it has
a row here, so mark and record cannot disagree.

Who reads and who empties it exclude each other by the rows' locks: a consumer locks the rows of an order that it finds
held (``held``) until it has set the order's next events aside, and the redrive locks a row before it applies and
deletes it. So a consumer sees the order held and its event joins the others, or it waits and applies its event after
the last of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from aiokafka import ConsumerRecord

from orderflow_events.envelope import Envelope, EnvelopeError, decode
from orderflow_events.failures import Failure
from orderflow_events.inbox import Connection

Kind = Literal["failed", "undecodable", "follows"]

_HELD = """
SELECT subject FROM dead_letters WHERE consumer_group = $1 AND subject = ANY ($2::text[]) FOR KEY SHARE
"""

_CAUSES = """
SELECT count(*) FROM dead_letters WHERE consumer_group = $1 AND kind <> 'follows' AND dead_lettered_at > $2
"""

# A record that comes again (the consumer died before its offset commit) finds its row as it is.
_SET_ASIDE = """
INSERT INTO dead_letters (
    consumer_group, subject, kind, reason, attempts, first_failed_at, last_failed_at, record_topic, record_partition,
    record_offset, record_timestamp, record_key, record_value, header_names, header_values
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (consumer_group, record_topic, record_partition, record_offset, record_timestamp)
    DO UPDATE SET record_topic = excluded.record_topic
RETURNING *
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record, and the event in it or why there is none. ``subject`` is the order it belongs to, as far as known."""

    record: ConsumerRecord
    envelope: Envelope | None
    error: EnvelopeError | None
    subject: str | None

    @classmethod
    def of(cls, record: ConsumerRecord) -> "Arrival":
        """Read ``record``."""
        try:
            envelope = decode(record.headers, record.key, record.value)
        except EnvelopeError as error:
            return cls(record, None, error, _order_of(record.key))
        return cls(record, envelope, None, str(envelope.order_id))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row of the table. ``subject`` is the order that it holds; times are aware; ``timestamp`` is Kafka's, in ms.

    ``attempts`` is 0, and the times of failures are None, for one that only follows another of its order.
    """

    id: int
    group: str
    subject: str | None
    kind: Kind
    reason: str
    attempts: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    dead_lettered_at: datetime
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def decode(self) -> Envelope:
        """The event in it. Raises EnvelopeError."""
        return decode(self.headers, self.key, self.value)

    def __str__(self) -> str:
        order = f"order {self.subject}" if self.subject else "no order"
        return f"dead letter {self.id} ({self.topic}[{self.partition}]@{self.offset}, {order}, {self.kind})"


async def held(connection: Connection, group: str, subjects: Iterable[str]) -> set[str]:
    """Those of ``subjects`` that have a dead letter. They stay held until the caller's transaction ends."""
    rows = await connection.fetch(_HELD, group, sorted(set(subjects)))
    return {row["subject"] for row in rows}


async def causes_since(connection: Connection, group: str, since: datetime) -> int:
    """How many records were set aside for a reason of their own after ``since``, and stand there still."""
    return int(await connection.fetchval(_CAUSES, group, since))


async def set_aside(connection: Connection, group: str, arrival: Arrival, kind: Kind, failure: Failure) -> DeadLetter:
    """Enter a record; the row that is there already, if it is."""
    record = arrival.record
    row = await connection.fetchrow(
        _SET_ASIDE,
        *(group, arrival.subject, kind, failure.reason, failure.attempts, failure.first_at, failure.last_at),
        *(record.topic, record.partition, record.offset, record.timestamp, record.key, record.value),
        *([name for name, _ in record.headers], [value for _, value in record.headers]),
    )
    return letter_of(row)


def letter_of(row: Any) -> DeadLetter:
    """A row of the table, as an object."""
    return DeadLetter(
        id=row["dead_letter_id"],
        group=row["consumer_group"],
        subject=row["subject"],
        kind=row["kind"],
        reason=row["reason"],
        attempts=row["attempts"],
        first_failed_at=row["first_failed_at"],
        last_failed_at=row["last_failed_at"],
        dead_lettered_at=row["dead_lettered_at"],
        topic=row["record_topic"],
        partition=row["record_partition"],
        offset=row["record_offset"],
        timestamp=row["record_timestamp"],
        key=row["record_key"],
        value=row["record_value"],
        headers=tuple(zip(row["header_names"], row["header_values"], strict=True)),
    )


def _order_of(key: bytes | None) -> str | None:
    try:
        return str(UUID((key or b"").decode()))
    except ValueError:
        return None
