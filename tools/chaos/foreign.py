"""Records of strangers on the topic: what other programs that may write to it put there, by mistake or on purpose.

Each carries a mark, so that the checker can tell it from ours whatever it claims to be. Some name an order of ours:
what cannot be read holds nobody up, whatever its key, and what lies outside the LIFECYCLE is tracked by nobody.
"""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from aiokafka.errors import KafkaError

from support.batches import CODECS, Foreign, batch, produce, sealed
from support.records import a_record
from tools.chaos.marks import Kind, mark_of

_MARK_HEADER: Final = b"chaos_foreign"
_ATTRIBUTES_AT: Final = 22
#: Well below the 1 MiB that a broker takes by default: a dead letter has reasons in its headers, too.
_HUGE: Final = 900_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What is appended in one go: its records' marks, and the bytes."""

    marks: tuple[str, ...]
    data: bytes


def batches(fault: int, dice: random.Random, order_id: UUID | None) -> Iterator[Batch]:
    """One of every shape. ``fault``: a number that no other call has; ``order_id``: an order of ours, if there is."""
    numbers = itertools.count()
    known = order_id or _uuid(dice)

    def mark(kind: Kind) -> bytes:
        return mark_of(fault, next(numbers), kind).encode()

    def junk(key: bytes | None, value: bytes | None, *headers: tuple[bytes, bytes], codec: str | None = None) -> Batch:
        marks = [mark("junk") for _ in range(3 if codec else 1)]
        records: list[Foreign] = [(key, value, [(_MARK_HEADER, one), *headers]) for one in marks]
        return Batch(tuple(one.decode() for one in marks), batch(*records, codec=codec))

    def event(source: str, subject: UUID) -> Batch:
        one, version = mark("event"), dice.randrange(1, 2**31)
        record = a_record(subject, version, source=source)
        headers = [(name.encode(), value) for name, value in record.headers]
        return Batch((one.decode(),), batch((record.key, record.value, [(_MARK_HEADER, one), *headers])))

    def forged(value: bytes | None, **changes: bytes) -> Batch:
        """Headers as ours, of an order of ours; the rest is wrong."""
        record = a_record(known, 2)
        headers = {name.encode(): text for name, text in record.headers}
        headers |= {name.encode(): text for name, text in changes.items()}
        return junk(record.key, record.value if value is None else value, *headers.items())

    yield junk(b"k", b"x", (b"stra\xdfe", b"1"))
    yield junk(None, None)
    yield junk(None, b"no key")
    yield junk(str(known).encode(), b"a key as ours")
    yield junk(b"k", b"a huge header", (b"huge", b"1" * _HUGE))
    yield junk(b"k", b"many headers", *((b"%05d" % n, b"1") for n in range(5_000)))
    for codec in CODECS:
        yield junk(b"k", b"hello", codec=codec)
    yield _not_compressed_as_it_says(mark("junk"))
    yield forged(b"")
    yield forged(b"{")
    yield forged(b"[]")
    yield forged(json.dumps({"status": "APPROVED", "data": {"reason": "\udc00"}}).encode())
    yield forged(b'{"status":"APPROVED","data":' + b"[" * 100_000)
    yield forged(None, ce_sequence=b"0")
    yield forged(None, ce_specversion=b"0.3")
    yield forged(None, ce_time=b"yesterday")
    yield forged(None, ce_sequence=b"0000000003")
    yield forged(None, ce_source=b"/orderflow/payments")
    yield event("/acme/billing", _uuid(dice))
    yield event("/orderflow/shipping", known)
    yield event("/orderflow/orders/", known)
    yield event("/ORDERFLOW/ORDERS", known)


async def send(broker: str, topic: str, partitions: int, foreign: Batch, dice: random.Random) -> bool:
    """Append it somewhere. False: the broker did not take it, as Apache Kafka does with what it cannot read itself."""
    try:
        await produce(broker, topic, dice.randrange(partitions), foreign.data)
    except KafkaError:
        return False
    return True


def _not_compressed_as_it_says(mark: bytes) -> Batch:
    data = batch((b"k", b"x", [(_MARK_HEADER, mark)]))
    lies = data[:_ATTRIBUTES_AT] + bytes([CODECS["lz4"]]) + data[_ATTRIBUTES_AT + 1 :]
    return Batch((mark.decode(),), sealed(lies))


def _uuid(dice: random.Random) -> UUID:
    return UUID(int=dice.getrandbits(128), version=4)
