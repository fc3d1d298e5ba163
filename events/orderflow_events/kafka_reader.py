"""``KafkaReader``: aiokafka's consumer, which also gets past records and batches that aiokafka cannot read.

aiokafka raises in the middle of a fetch at a header name that is not UTF-8, at a compression that it has no library
for and at a damaged batch, and raises again after every restart: one foreign record stops who reads its partition.
Here every fetch has an answer:

- A header name that is not UTF-8 comes with its wrong bytes as surrogates (``surrogateescape``, as file names do).
- A batch that cannot be read, or that would be too large when it is decompressed (``decompression``), comes as one
  record in its place: no key, the batch's bytes as the value, and one header, ``UNREADABLE``, that says why. Its value
  is ``Unreadable``, which nothing that was sent can be: what a foreign record says in such a header is not repeated.
  ``envelope.decode`` refuses both, so a consumer of the kit makes them dead letters.
- A fetch whose batches become more than ``ROOM`` together is given up to there; the rest is fetched again. So what a
  partition holds in memory at once is ``ROOM`` and one batch, however small they were when they came.

aiokafka offers no place for this. ``start`` replaces the one method of its own fetcher that reads answers by the same
method with two other classes in it; no other consumer of the process changes. That is private to aiokafka, so its next
minor version needs the tests of this module before it is let in.
"""

import struct
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.codec import has_lz4, has_snappy, has_zstd
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ControlRecord
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBase
from aiokafka.record.memory_records import MemoryRecords

from orderflow_events.decompression import plain
from orderflow_events.envelope import UNREADABLE, Unreadable
from orderflow_events.failures import sentence
from orderflow_events.varints import Varints

_HEADER: Final = DefaultRecordBase.HEADER_STRUCT
#: Of each batch, whatever its format: its first offset, and how many bytes follow.
_START: Final = struct.Struct(">qi")
#: The shortest that has a format number, which is behind the start, a CRC or an epoch.
_LEAST_LENGTH: Final = 5
_MAGIC_AT: Final = 16
_LOG_APPEND_TIME: Final = 0x08

#: Bytes that the batches of a fetch may become before no further one of it is read.
ROOM: Final = 8 * 1024 * 1024
#: What a record or a header takes there beside its bytes.
_PART_BYTES: Final = 64
#: What a batch takes there that is refused: no room, but the time that it took to find out.
_REFUSED_BYTES: Final = ROOM // 8


def unreadable_codecs() -> list[str]:
    """Kafka's compressions that cannot be read in this installation; none where the package cramjam is there."""
    available = {"snappy": has_snappy, "lz4": has_lz4, "zstd": has_zstd}
    return [name for name, there in available.items() if not there()]


class Damaged(Exception):
    """The bytes of a batch are not those that its producer sent."""


class KafkaReader(AIOKafkaConsumer):  # type: ignore[misc]
    """An AIOKafkaConsumer, with all of its options, that no record stops."""

    async def start(self) -> None:
        """Connect. Assign or subscribe after it: what is read before is read by aiokafka alone."""
        await super().start()
        self._fetcher._proc_fetch_request = MethodType(_READ_ANSWER, self._fetcher)


class _Batches:
    """What one fetch brought of one partition, in the shape of aiokafka's MemoryRecords."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._room = ROOM
        #: The offset that was asked for. The first batch may begin before it.
        self.asked = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        """Whether there is one, and room for it. aiokafka fetches on behind the last that it was given."""
        return self._room > 0 and self._end() is not None

    def next_batch(self) -> "_Batch | None":
        end = self._end()
        if end is None:
            return None
        batch = _Batch(self._data[self._at : end], self.asked)
        self._at = end
        self._room -= batch.weight
        return batch

    def _end(self) -> int | None:
        """Where the next batch ends; None where there is none, or only the beginning of one."""
        behind_start = self._at + _START.size
        if behind_start > len(self._data):
            return None
        _, length = _START.unpack_from(self._data, self._at)
        if length < _LEAST_LENGTH:  # nobody can tell where the next one begins
            return len(self._data)
        end: int = behind_start + length
        return end if end <= len(self._data) else None


class _Batch:
    """One batch, in the shape of aiokafka's. Its records are read when it is made, so that it is known what it is."""

    def __init__(self, data: bytes, asked: int) -> None:
        self._batch: Any = None
        self._records: Iterator[Any]
        #: What it takes of a fetch's room, in bytes.
        self.weight = len(data)
        self.base_offset: int = _START.unpack_from(data)[0]
        try:
            self._batch = MemoryRecords(data).next_batch()
            if self._batch is None or not self._batch.validate_crc():
                raise Damaged("its CRC is wrong")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._stand_in(data, asked, error, trusted=False)
        else:
            self._trust(data, asked)

    def _trust(self, data: bytes, asked: int) -> None:
        batch = self._batch
        # Always forward, whatever the batch says: else it is fetched for ever.
        self.next_offset: int = max(batch.next_offset, self.base_offset + 1, asked + 1)
        self.producer_id: int | None = batch.producer_id
        self.is_control_batch: bool = batch.is_control_batch
        self.is_transactional: bool = batch.is_transactional
        try:
            readable, size = plain(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a decompressor is no Exception
            self.weight += _REFUSED_BYTES
            self._stand_in(data, asked, error, trusted=True)
            return
        try:
            records = list(batch if readable is data else MemoryRecords(readable).next_batch())
            if self.is_control_batch:  # read by aiokafka, which raises where it is none
                ControlRecord.parse(records[0].key)
        except Exception as error:
            try:
                if self.is_control_batch:
                    raise
                records = list(_with_any_names(readable))
            except Exception:
                self._stand_in(data, asked, error, trusted=True)
                return
        self._records = iter(records)
        self.weight = size + _PART_BYTES * sum(1 + len(record.headers) for record in records)

    def _stand_in(self, data: bytes, asked: int, error: BaseException, *, trusted: bool) -> None:
        """One record for the whole batch. ``trusted``: its own header is as its producer wrote it."""
        first = max(self.base_offset, asked)
        self.is_control_batch = False
        if trusted:
            last = max(self.next_offset - 1, first)
        else:
            last = max(self.base_offset + _plausible_delta(data), first)
            self.producer_id, self.is_transactional = None, False
        self.next_offset = last + 1
        where = f"offset {first}" if first == last else f"offsets {first} to {last}"
        reason = f"the batch at {where} cannot be read: {sentence(error)}"
        timestamp = _HEADER.unpack_from(data)[8] if trusted and len(data) >= _HEADER.size else -1
        self._records = iter(
            [DefaultRecord(first, timestamp, 0, None, data, [(UNREADABLE, Unreadable(reason.encode()))])]
        )

    def validate_crc(self) -> bool:
        """It was looked at already: what is damaged comes as the record that says so."""
        return True

    def __iter__(self) -> Iterator[Any]:
        return self._records

    def __next__(self) -> Any:
        return next(self._records)


def _plausible_delta(data: bytes) -> int:
    """The distance from the first to the last offset of a damaged batch; 0 where what it says cannot be."""
    if len(data) < _HEADER.size or data[_MAGIC_AT] != 2:
        return 0
    fields = _HEADER.unpack_from(data)
    delta, count = fields[6], fields[12]
    return int(delta) if 0 <= delta == count - 1 else 0


def _with_any_names(data: bytes) -> Iterator[Any]:
    """The records of a batch of format 2, without compression, whose header names need not be UTF-8."""
    if data[_MAGIC_AT] != 2:
        raise CorruptRecordException("older formats have no headers")
    base, _, _, _, _, attributes, _, first_time, last_time, _, _, _, count = _HEADER.unpack_from(data)
    time_type = 1 if attributes & _LOG_APPEND_TIME else 0
    inside = Varints(data, _HEADER.size)
    for _ in range(count):
        length = inside.number()
        end = inside.position + length
        inside.number()  # attributes
        timestamp = first_time + inside.number()
        offset = base + inside.number()
        key, value = inside.nullable(), inside.nullable()
        headers = []
        for _ in range(inside.number()):
            name = inside.nullable()
            if name is None:
                raise CorruptRecordException("a header has no name")
            headers.append((name.decode(errors="surrogateescape"), inside.nullable()))
        if inside.position != end:
            raise CorruptRecordException("a record's size is wrong")
        yield DefaultRecord(offset, last_time if time_type else timestamp, time_type, key, value, headers)
    if inside.position != len(data):
        raise CorruptRecordException("there is more behind its records")


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's, which tells the batches what was asked for."""

    def __init__(self, tp: Any, records: _Batches, aborted_transactions: Any, fetch_offset: int, *others: Any) -> None:
        records.asked = fetch_offset
        super().__init__(tp, records, aborted_transactions, fetch_offset, *others)


_READ_ANSWER: Final = FunctionType(
    fetcher.Fetcher._proc_fetch_request.__code__,
    vars(fetcher) | {"MemoryRecords": _Batches, "PartitionRecords": _PartitionRecords},
)
