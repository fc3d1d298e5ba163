"""Decompressing batches of records, never to more than a limit: a megabyte of a foreign batch may hold a gigabyte.

Kafka limits what a batch weighs as it is sent, not what it becomes. Here it may become ``LARGEST`` bytes, and
``MOST_PARTS`` records and headers; what would be more is treated like a batch that is damaged. What the batches of one
fetch become together is limited by who reads them (``kafka_reader``).
"""

import gzip
import io
import struct
from collections.abc import Callable
from typing import Final

from aiokafka import codec
from aiokafka.errors import UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBase

from orderflow_events.varints import Varints

#: Bytes that a batch may have when it is decompressed: 16 times what a broker lets through by default.
LARGEST: Final = 16 * 1024 * 1024
#: Records and headers that a batch may have together: as Python objects the smallest weigh thirty times what they weigh
#: here, and they are made while nothing else goes on. A full batch of our events has less than 10,000.
MOST_PARTS: Final = 100_000
#: In so many bytes there are hardly more, as a header has at least two: they are not counted. Our batches have no more.
_FEW: Final = 256 * 1024

_HEADER: Final = DefaultRecordBase.HEADER_STRUCT
_LENGTH: Final = struct.Struct(">i")
#: Of each message of format 0 or 1: its offset, and how many bytes follow.
_MESSAGE_START: Final = struct.Struct(">qi")
_LENGTH_AT, _MAGIC_AT, _ATTRIBUTES_AT = 8, 16, 21
_CODEC_BITS: Final = 0x07
#: What a decompressor says when the room is too small.
_FULL: Final = "whole buffer"
_FIRST_ROOM: Final = 1024 * 1024
_XERIAL_HEADER: Final = 16


class TooLarge(Exception):
    """A batch would be larger than the limit."""


def plain(data: bytes) -> tuple[bytes, int]:
    """A batch as it would be without compression, and how many bytes that are. Its CRC is not corrected.

    It is the same where it has no compression, or is of format 0 or 1. Raises TooLarge, CorruptRecordException, and
    whatever a decompressor raises at damaged bytes.
    """
    if data[_MAGIC_AT] != 2:
        return data, _look_at_older(data)
    if (count := _HEADER.unpack_from(data)[12]) > MOST_PARTS:
        raise TooLarge(f"it has {count} records, more than {MOST_PARTS}")
    readable = _without_compression(data)
    if len(readable) > _FEW:
        _count(readable, count)
    return readable, len(readable)


def _count(readable: bytes, records: int) -> None:
    """Raises TooLarge where a batch of format 2 has more than ``MOST_PARTS`` records and headers."""
    parts = records
    inside = Varints(readable, _HEADER.size)
    for _ in range(records):
        for _ in ("length", "attributes", "time", "offset"):
            inside.number()
        inside.skip()
        inside.skip()
        headers = inside.number()
        parts += headers
        if parts > MOST_PARTS:
            raise TooLarge(f"it has more than {MOST_PARTS} records and headers")
        for _ in range(headers):
            inside.skip()
            inside.skip()


def _without_compression(data: bytes) -> bytes:
    attributes: int = _HEADER.unpack_from(data)[5]
    if not attributes & _CODEC_BITS:
        return data
    records = inflate(attributes & _CODEC_BITS, data[_HEADER.size :])
    header = bytearray(data[: _HEADER.size])
    _LENGTH.pack_into(header, _LENGTH_AT, _HEADER.size + len(records) - _LENGTH_AT - _LENGTH.size)
    struct.pack_into(">h", header, _ATTRIBUTES_AT, attributes & ~_CODEC_BITS)
    return bytes(header) + records


def inflate(codec_number: int, data: bytes) -> bytes:
    """``data`` decompressed by Kafka's codec of that number (1 gzip, 2 snappy, 3 lz4, 4 zstd).

    Raises TooLarge beyond ``LARGEST``, UnsupportedCodecError where the library is missing, and what that raises.
    """
    if codec_number == 1:
        return _gzip(data)
    if codec.cramjam is None:
        raise UnsupportedCodecError(f"the package cramjam is not installed, which compression {codec_number} needs")
    match codec_number:
        case 2:
            return _snappy(data)
        case 3:
            return _grown(codec.cramjam.lz4.decompress_into, data)
        case 4:
            return _grown(codec.cramjam.zstd.decompress_into, data)
    raise UnsupportedCodecError(f"there is no compression {codec_number}")


def _gzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        found = file.read(LARGEST + 1)
    if len(found) > LARGEST:
        raise TooLarge(f"decompressed it is larger than {LARGEST} bytes")
    return found


def _snappy(data: bytes) -> bytes:
    """Each block says first how long it becomes, so nothing is made of one that says too much."""
    blocks = _xerial_blocks(data) if codec._detect_xerial_stream(data) else [data]
    if sum(codec.cramjam.snappy.decompress_raw_len(block) for block in blocks) > LARGEST:
        raise TooLarge(f"decompressed it is larger than {LARGEST} bytes")
    return b"".join(bytes(codec.cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(data: bytes) -> list[bytes]:
    blocks, at = [], _XERIAL_HEADER
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if not 0 < length <= len(data) - at:
            raise ValueError("a block's length is wrong")
        blocks.append(data[at : at + length])
        at += length
    return blocks


def _grown(decompress_into: Callable[[bytes, bytearray], int], data: bytes) -> bytes:
    room = max(_FIRST_ROOM, 4 * len(data))
    while True:
        room = min(room, LARGEST)
        buffer = bytearray(room)
        try:
            length = decompress_into(data, buffer)
        except codec.cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise
            if room == LARGEST:
                raise TooLarge(f"decompressed it is larger than {LARGEST} bytes") from None
            room *= 8
        else:
            return bytes(memoryview(buffer)[:length])


def _look_at_older(data: bytes) -> int:
    """Of a batch of format 0 or 1, which is one message with the others compressed in its value: how large is that?

    It is read by aiokafka, which has no limit of its own. Raises TooLarge.
    """
    magic, attributes = data[_MAGIC_AT], data[_MAGIC_AT + 1]
    if not attributes & _CODEC_BITS:
        return len(data)
    at = _MAGIC_AT + 2 + (8 if magic == 1 else 0)
    (key,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size + max(key, 0)
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    messages = inflate(attributes & _CODEC_BITS, data[at : at + max(length, 0)])
    count = place = 0
    while place + _MESSAGE_START.size <= len(messages):
        place += _MESSAGE_START.size + max(_MESSAGE_START.unpack_from(messages, place)[1], 0)
        if (count := count + 1) > MOST_PARTS:
            raise TooLarge(f"it has more than {MOST_PARTS} records")
    return len(messages)
