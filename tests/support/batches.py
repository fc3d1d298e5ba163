"""Batches as foreign producers make them: any header name, any compression, damaged. aiokafka's producer makes none."""

import struct
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

CODECS: Final = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

#: Key, value and headers; a header's name is bytes, and need not be text.
Foreign = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]

_CRC_AT, _CRC_OF = 17, 21
#: Stands where the builder wants text, until it is replaced by as many bytes.
_PLACEHOLDER = "~"


def batch(*records: Foreign, codec: str | None = None, made_at: int | None = None) -> bytes:
    """One batch of format 2 with ``records``. Names that are not UTF-8: of 5 bytes and more, and without ``codec``.

    ``made_at``: milliseconds since 1970; now: what is older than a topic's retention would be gone at once.
    """
    builder = DefaultRecordBatchBuilder(2, CODECS[codec] if codec else 0, 0, -1, -1, -1, 10_000_000)
    replaced = []
    for offset, (key, value, headers) in enumerate(records):
        named = []
        for name, text in headers:
            try:
                named.append((name.decode(), text))
            except UnicodeDecodeError:
                if len(name) < 5:
                    raise ValueError(f"{name!r} is too short to be found again") from None
                named.append((_PLACEHOLDER * len(name), text))
                replaced.append(name)
        builder.append(offset, made_at or int(time.time() * 1000), key, value, named)
    data = bytes(builder.build())
    for name in replaced:
        data = data.replace(_PLACEHOLDER.encode() * len(name), name, 1)
    return sealed(data)


def sealed(data: bytes) -> bytes:
    """A batch with the CRC that it should have."""
    return data[:_CRC_AT] + struct.pack(">I", calc_crc32c(data[_CRC_OF:])) + data[_CRC_OF:]


def damaged(data: bytes) -> bytes:
    """A batch whose last byte has changed since its CRC was made."""
    return data[:-1] + bytes([data[-1] ^ 0xFF])


def partition_of(order: UUID, partitions: int) -> int:
    """Where the records of ``order`` go."""
    numbers = list(range(partitions))
    found: int = DefaultPartitioner()(str(order).encode(), numbers, numbers)
    return found


async def produce(bootstrap_servers: str, topic: str, partition: int, data: bytes) -> int:
    """Append ``data`` as it is; its first offset. Raises what the broker says."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        await client.set_topics([topic])
        node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, data)])])
        response = await client.send(node, request)
        [(_, [(_, code, offset, *_)])] = response.topics
        if code:
            raise for_code(code)
        return int(offset)
    finally:
        await client.close()
