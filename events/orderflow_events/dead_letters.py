"""The table ``dead_letters``: records that a consumer group has set aside, and the orders that they hold.

It is the truth about dead letters; the dead-letter topic is a copy for those who watch. An order is held while it has
a row here, so mark and record cannot disagree.

Who reads and who empties it exclude each other by the rows' locks: a consumer locks the rows of an order that it finds
held (``held``) until it has set the order's next events aside, and the redrive locks a row before it applies and
deletes it. So a consumer sees the order held and its event joins the others, or it waits and applies its event after
the last of them.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from aiokafka import ConsumerRecord
from asyncpg import exceptions as postgres

from orderflow_events.envelope import UNREADABLE, Envelope, EnvelopeError, Unreadable, decode
from orderflow_events.failures import Failure, sentence
from orderflow_events.inbox import Connection
from orderflow_events.printable import printable

log = logging.getLogger(__name__)

Kind = Literal["failed", "undecodable", "follows"]

#: Raises EnvelopeError for an event that this consumer takes for none of ours.
Accept: TypeAlias = Callable[[Envelope], None]

_HELD = """
SELECT subject FROM dead_letters WHERE consumer_group = $1 AND subject = ANY ($2::text[]) FOR KEY SHARE
"""

_AGO = """
SELECT clock_timestamp() - $1::interval
"""

_CAUSES = """
SELECT count(*) FROM dead_letters WHERE consumer_group = $1 AND kind = 'failed' AND dead_lettered_at > $2
"""

#: How Postgres, or asyncpg before it, refuses what a row says. Everything else says no to the table, or is an outage.
_REFUSALS: Final = (
    postgres.DataError,  # class 22, and what asyncpg cannot send
    postgres.IntegrityConstraintViolationError,  # class 23
    postgres.ProgramLimitExceededError,  # class 54
    ValueError,
    OverflowError,
)

#: How a record is written, the next where one is refused: whole, without its headers, without its key and value too.
_FORMS: Final = ((True, True, ""), (True, False, "its headers"), (False, False, "its key, value and headers"))

#: So many headers of a record are kept. An event has no more.
MOST_HEADERS: Final = 1_000
#: What is entered at once, in bytes: a connection may have a time-out of a few seconds for each command.
_CHUNK_BYTES: Final = 4 * 1024 * 1024
#: How a command ends that took too long.
_TOO_SLOW: Final = (TimeoutError, postgres.QueryCanceledError)

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


_REMEMBER = """
INSERT INTO passed_records (
    consumer_group, record_topic, record_partition, record_offset, record_timestamp, reason
) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
"""

#: So many are told at once.
MOST_PASSED: Final = 1000

_PASSED = """
SELECT * FROM passed_records WHERE consumer_group = $1 ORDER BY passed_at DESC LIMIT $2
"""

_FORGET = """
DELETE FROM passed_records WHERE consumer_group = $1 RETURNING passed_at
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record, and the event in it or why there is none. ``subject`` is the event's order."""

    record: ConsumerRecord
    envelope: Envelope | None
    error: EnvelopeError | None
    subject: str | None

    @classmethod
    def of(cls, record: ConsumerRecord, accept: Accept) -> "Arrival":
        """Read ``record``. What cannot be read belongs to no order, whatever it says: anybody can write a key."""
        try:
            if (count := len(record.headers)) > MOST_HEADERS:
                raise EnvelopeError(f"it has {count} headers, more than {MOST_HEADERS}")
            envelope = decode(record.headers, record.key, record.value)
            accept(envelope)
        except EnvelopeError as error:
            return cls(record, None, error, None)
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
    #: A value is None where the record had a null there.
    headers: tuple[tuple[str, bytes | None], ...]

    def decode(self) -> Envelope:
        """The event in it. Raises EnvelopeError."""
        return decode([(name, self._as_read(name, value)) for name, value in self.headers], self.key, self.value)

    def _as_read(self, name: str, value: bytes | None) -> bytes | None:
        """The reader's word for a batch is its word again where the row's reason, which is ours, says the same."""
        if name != UNREADABLE or self.kind != "undecodable" or value is None:
            return value
        said = Unreadable(value)
        return said if self.reason == sentence(EnvelopeError(said.decode(errors="replace"))) else value

    def __str__(self) -> str:
        order = f"order {self.subject}" if self.subject else "no order"
        return f"dead letter {self.id} ({self.topic}[{self.partition}]@{self.offset}, {order}, {self.kind})"


@dataclass(frozen=True, slots=True)
class Passed:
    """A record that could not be set aside whatever was left out, and was passed. ``partition`` and ``offset``: where.

    ``missing`` is what there is none of: its ``row`` in the table, so its order is not held, or its ``copy`` in the
    dead-letter topic, which its row does not need. ``reason``: what refused it.
    """

    topic: str
    partition: int
    offset: int
    subject: str | None
    missing: Literal["row", "copy"]
    reason: str

    def __str__(self) -> str:
        order = f"order {self.subject}" if self.subject else "no order"
        where = "the table of dead letters" if self.missing == "row" else "the dead-letter topic"
        return f"{self.topic}[{self.partition}]@{self.offset} ({order}) is not in {where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A record that was passed, and what had refused its row among the dead letters."""

    topic: str
    partition: int
    offset: int
    reason: str
    passed_at: datetime

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}: {self.reason}"


async def held(connection: Connection, group: str, subjects: Iterable[str]) -> set[str]:
    """Those of ``subjects`` that have a dead letter. They stay held until the caller's transaction ends."""
    rows = await connection.fetch(_HELD, group, sorted(set(subjects)))
    return {row["subject"] for row in rows}


async def moment_ago(connection: Connection, window: timedelta) -> datetime:
    """When ``window`` began by the database's clock, which dead letters have their time from."""
    moment: datetime = await connection.fetchval(_AGO, window)
    return moment


async def causes_since(connection: Connection, group: str, since: datetime) -> int:
    """How many events were set aside after ``since`` because their effect failed, and stand there still."""
    return int(await connection.fetchval(_CAUSES, group, since))


async def set_aside(
    connection: Connection, group: str, arrival: Arrival, kind: Kind, failure: Failure
) -> DeadLetter | Passed:
    """Enter a record; the row that is there already, if it is.

    Where its content is refused, or is large and takes too long twice, it is entered without its headers, then with its
    coordinates alone, and the reason says so. ``Passed``: even that is refused.
    """
    refusals: list[Exception] = []
    large = _size(arrival.record) > _CHUNK_BYTES
    for content, headers, left_out in _FORMS:
        shorter_is_quicker = large and content
        try:
            row = _row(group, arrival, kind, failure, content, headers, left_out)
            return await _enter(connection, row, tries=2 if shorter_is_quicker else 1)
        except (*_REFUSALS, *_TOO_SLOW) as error:
            if isinstance(error, _TOO_SLOW) and not shorter_is_quicker:
                raise
            refusals.append(error)
            log.warning("dead letter %s is refused, it is shortened", _where(arrival.record), exc_info=error)
    record = arrival.record
    reason = sentence(refusals[-1])
    await _remember(connection, group, record, reason)
    return Passed(record.topic, record.partition, record.offset, arrival.subject, "row", reason)


async def set_aside_unreadable(
    connection: Connection, group: str, arrivals: Sequence[Arrival]
) -> list[DeadLetter | Passed]:
    """Enter records that are no events, many in one go; one by one where the content of one is refused."""
    entered: list[DeadLetter | Passed] = []
    for chunk in _chunks(arrivals):
        entered += await _set_aside_together(connection, group, chunk)
    return entered


async def _set_aside_together(
    connection: Connection, group: str, arrivals: Sequence[Arrival]
) -> list[DeadLetter | Passed]:
    failures = []
    for arrival in arrivals:
        failure = Failure()
        failure.add(arrival.error or EnvelopeError("it is no event"))
        failures.append((arrival, failure))
    if len(failures) > 1:
        try:
            async with connection.transaction():
                rows = await connection.fetchmany(
                    _SET_ASIDE,
                    [_row(group, arrival, "undecodable", failure, True, True, "") for arrival, failure in failures],
                )
            return [letter_of(row) for row in rows]
        except _REFUSALS as error:
            log.warning("one of %d dead letters is refused: one by one", len(arrivals), exc_info=error)
    return [await set_aside(connection, group, arrival, "undecodable", failure) for arrival, failure in failures]


def _chunks(arrivals: Sequence[Arrival]) -> Iterator[list[Arrival]]:
    """``arrivals`` in their order, each chunk of at most ``_CHUNK_BYTES``, or of one that is larger."""
    chunk: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        if chunk and size + _size(arrival.record) > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(arrival)
        size += _size(arrival.record)
    if chunk:
        yield chunk


def _size(record: ConsumerRecord) -> int:
    """How many bytes, about, a row keeps of it."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers[:MOST_HEADERS])
    return len(record.key or b"") + len(record.value or b"") + headers


async def _enter(connection: Connection, row: Sequence[Any], tries: int) -> DeadLetter:
    try:
        async with connection.transaction():  # a savepoint: another form can still be tried behind a refusal
            return letter_of(await connection.fetchrow(_SET_ASIDE, *row))
    except _TOO_SLOW:
        if tries == 1:
            raise
    return await _enter(connection, row, tries - 1)


async def _remember(connection: Connection, group: str, record: ConsumerRecord, reason: str) -> None:
    """Enter a record that is passed, where the table is there: nobody is stopped for it."""
    try:
        async with connection.transaction():
            await connection.execute(
                _REMEMBER, group, *_place(record), reason.encode("ascii", "backslashreplace").decode()
            )
    except (*_REFUSALS, postgres.UndefinedTableError, postgres.InsufficientPrivilegeError) as error:
        log.warning("%s is passed, and not entered in passed_records: %s", _where(record), sentence(error))


async def passed_records(connection: Connection, group: str) -> list[Remembered]:
    """What the group has passed and nobody has forgotten, the latest first, at most ``MOST_PASSED``."""
    rows = await connection.fetch(_PASSED, group, MOST_PASSED)
    return [
        Remembered(row["record_topic"], row["record_partition"], row["record_offset"], row["reason"], row["passed_at"])
        for row in rows
    ]


async def forget_passed(connection: Connection, group: str) -> int:
    """Forget what the group has passed, once people have seen to it. How many there were."""
    return len(await connection.fetch(_FORGET, group))


def _row(
    group: str, arrival: Arrival, kind: Kind, failure: Failure, content: bool, headers: bool, left_out: str
) -> tuple[Any, ...]:
    record = arrival.record
    reason = failure.reason
    if left_out:  # ASCII: not every database has all characters
        reason = f"{reason.encode('ascii', 'backslashreplace').decode()} ({left_out} could not be kept)"
    kept = [(printable(name), value) for name, value in record.headers[:MOST_HEADERS]] if headers else []
    if headers and (count := len(record.headers)) > MOST_HEADERS:
        reason = f"{reason} (the first {MOST_HEADERS} of its {count} headers are kept)"
    return (
        *(group, arrival.subject, kind, reason, failure.attempts, failure.first_at, failure.last_at),
        *_place(record),
        *((record.key, record.value) if content else (None, None)),
        *([name for name, _ in kept], [value for _, value in kept]),
    )


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


def _place(record: ConsumerRecord) -> tuple[str, int, int, int]:
    timestamp = -1 if record.timestamp is None else record.timestamp
    return record.topic, record.partition, record.offset, timestamp


def _where(record: ConsumerRecord) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"
