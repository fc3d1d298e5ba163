"""What a fetch brings is read to its end, whatever is in it."""

from typing import Any

import pytest
from aiokafka import TopicPartition, codec
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from orderflow_events import decompression
from orderflow_events.envelope import UNREADABLE, EnvelopeError, Unreadable, decode
from orderflow_events.kafka_reader import _Batches, _PartitionRecords, unreadable_codecs
from support.batches import CODECS, Foreign, batch, damaged, sealed

PLAIN: Foreign = (b"k", b"v", [(b"a", b"1")])
AT_61 = 61
ATTRIBUTES_AT, DELTA_AT = 22, 23


def at(offset: int, data: bytes) -> bytes:
    """``data`` where the broker has put it: the CRC does not cover its first offset."""
    return offset.to_bytes(8, "big") + data[8:]


def read(data: bytes, asked: int = 0) -> tuple[list[Any], int]:
    """What a consumer gets of it, and the offset that it would ask for next."""
    records = _PartitionRecords(TopicPartition("t", 0), _Batches(data), None, asked, None, None, True, READ_COMMITTED)
    return list(records), records.next_fetch_offset


def why(record: Any) -> str:
    [(name, value)] = record.headers
    assert (name, type(value)) == (UNREADABLE, Unreadable)
    return str(value.decode())


def test_a_header_name_that_is_not_utf_8_comes_with_its_bytes_and_is_refused_by_decode() -> None:
    odd: Foreign = (b"k", None, [(b"ok", None), (b"stra\xdfe", b"\xff"), (b"", b"")])
    records, following = read(batch(PLAIN, odd, PLAIN, made_at=1_790_000_000_000) + at(3, batch(PLAIN)))
    assert [record.offset for record in records] == [0, 1, 2, 3]
    assert records[1].headers == (("ok", None), ("stra\udcdfe", b"\xff"), ("", b""))
    assert (records[1].key, records[1].value, records[1].timestamp) == (b"k", None, 1_790_000_000_000)
    assert (records[2].headers, following) == ((("a", b"1"),), 4)
    with pytest.raises(EnvelopeError, match=r"the name of the header stra\\xdfe is not UTF-8"):
        decode([("stra\udcdfe", b"1")], None, None)


@pytest.mark.parametrize("codec", CODECS)
def test_every_compression_of_kafka_is_read(codec: str) -> None:
    records, following = read(batch(PLAIN, PLAIN, codec=codec))
    assert [(record.offset, record.value, record.headers) for record in records] == [
        (0, b"v", (("a", b"1"),)),
        (1, b"v", (("a", b"1"),)),
    ]
    assert following == 2


def bomb(name: str, size: int) -> bytes:
    """A batch of one record that is ``size`` zero bytes when it is decompressed, and no record at all then."""
    inside = getattr(codec, f"{name}_encode")(bytes(size))
    head = bytearray(batch(PLAIN)[:AT_61])
    head[ATTRIBUTES_AT] = CODECS[name]
    head[8:12] = (AT_61 - 12 + len(inside)).to_bytes(4, "big")
    return sealed(bytes(head) + inside)


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_that_would_become_too_large_is_not_decompressed_and_passed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "LARGEST", 4_000_000)
    data = bomb(name, 32_000_000)
    assert len(data) < 2_000_000
    [stand_in, behind], following = read(data + at(1, batch(PLAIN)))
    assert why(stand_in) == (
        "the batch at offset 0 cannot be read: TooLarge: decompressed it is larger than 4000000 bytes"
    )
    assert (stand_in.value, behind.value, following) == (data, b"v", 2)


def test_a_batch_of_too_many_records_is_not_made_into_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "MOST_PARTS", 2)
    records, following = read(batch(PLAIN, PLAIN) + at(2, batch(PLAIN, PLAIN, PLAIN)))
    assert [record.value for record in records[:2]] == [b"v", b"v"]
    assert why(records[2]).endswith("TooLarge: it has 3 records, more than 2")
    assert (len(records), following) == (3, 5)


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_a_record_of_too_many_headers_is_not_made_into_objects(codec: str | None) -> None:
    data = batch((b"k", b"v", [(b"", None)] * 150_000), codec=codec)
    [stand_in, behind], following = read(data + at(1, batch(PLAIN)))
    assert why(stand_in).endswith("TooLarge: it has more than 100000 records and headers")
    assert (stand_in.value, behind.value, following) == (data, b"v", 2)


def test_a_large_batch_of_events_is_read() -> None:
    one: Foreign = (b"k", bytes(1_000), [(b"name", b"value")] * 12)
    records, following = read(batch(*[one] * 2_000, codec="gzip"))
    assert (len(records), following, len(records[-1].headers)) == (2_000, 2_000, 12)


def fetches(data: list[bytes]) -> list[list[int]]:
    """The offsets that each fetch gives of a log of batches of one record, and asks again behind the last of them."""
    given, asked = [], 0
    while asked < len(data):
        records, asked = read(b"".join(data[asked:]), asked)
        given.append([record.offset for record in records])
    return given


def test_a_fetch_of_small_batches_that_become_large_is_read_in_parts_and_nothing_is_skipped() -> None:
    large: Foreign = (b"k", bytes(3 * 1024 * 1024), [])
    log = [at(offset, batch(large, codec="zstd")) for offset in range(7)] + [at(7, batch(PLAIN))]
    assert sum(map(len, log)) < 5_000
    assert fetches(log) == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_what_the_parts_of_records_weigh_counts_as_well() -> None:
    many: Foreign = (b"k", b"v", [(b"", None)] * 50_000)
    log = [at(offset, batch(many, codec="gzip")) for offset in range(7)]
    assert fetches(log) == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_that_are_refused_take_little_time_of_one_fetch() -> None:
    log = [at(offset, bomb("zstd", decompression.LARGEST + 1)) for offset in range(18)]
    given = fetches(log)
    assert [offset for one in given for offset in one] == list(range(18))
    assert max(map(len, given)) == 8


def test_an_older_batch_of_too_many_records_is_not_made_into_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = LegacyRecordBatchBuilder(1, 1, 10_000_000)
    for offset in range(3):
        builder.append(offset, 1, b"k", b"v")
    data = bytes(builder.build())
    assert len(read(data)[0]) == 3
    monkeypatch.setattr(decompression, "MOST_PARTS", 2)
    [stand_in], _ = read(data)
    assert why(stand_in).endswith("TooLarge: it has more than 2 records")


def test_an_older_batch_that_would_become_too_large_is_passed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = LegacyRecordBatchBuilder(1, 1, 10_000_000)
    builder.append(0, 1, b"k", bytes(3_000_000))
    data = bytes(builder.build())
    [record], _ = read(data)
    assert record.value == bytes(3_000_000)
    monkeypatch.setattr(decompression, "LARGEST", 1_000_000)
    [stand_in], _ = read(data)
    assert "TooLarge" in why(stand_in)


@pytest.mark.parametrize("codec", CODECS)
def test_a_compressed_batch_with_such_a_name_is_read_as_well(codec: str) -> None:
    plain = batch((b"k", b"v", [(b"\xff\xfename", b"1")]))
    compress = getattr(__import__("aiokafka.codec", fromlist=["codec"]), f"{codec}_encode")
    attributes = CODECS[codec].to_bytes(2, "big")
    data = plain[: ATTRIBUTES_AT - 1] + attributes + plain[ATTRIBUTES_AT + 1 : AT_61] + compress(plain[AT_61:])
    data = data[:8] + (len(data) - 12).to_bytes(4, "big") + data[12:]
    [record], _ = read(sealed(data))
    assert record.headers == (("\udcff\udcfename", b"1"),)


def test_a_compression_without_its_library_is_one_record_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = batch(PLAIN, PLAIN, PLAIN, codec="lz4")
    monkeypatch.setattr(codec, "has_lz4", lambda: False)
    monkeypatch.setattr(codec, "cramjam", None)
    [record, last], following = read(at(7, data) + at(10, batch(PLAIN)), asked=7)
    assert (record.offset, record.key, record.value) == (7, None, at(7, data))
    assert "the batch at offsets 7 to 9 cannot be read: UnsupportedCodecError" in why(record)
    assert (last.offset, last.value, following) == (10, b"v", 11)
    assert unreadable_codecs() == ["snappy", "lz4", "zstd"]
    with pytest.raises(EnvelopeError, match="the batch at offsets 7 to 9 cannot be read"):
        decode(record.headers, record.key, record.value)


@pytest.mark.parametrize("name", [b"plain", b"stra\xdfe"])
def test_a_record_that_says_itself_that_it_cannot_be_read_is_not_repeated(name: bytes) -> None:
    """Whichever way its headers are read: aiokafka's, or ours for names that are no text."""
    forged = b"\x1b]0;x\x07\nERROR forged CANARY"
    [record], _ = read(batch((b"k", b"v", [(UNREADABLE.encode(), forged), (name, b"1")])))
    with pytest.raises(EnvelopeError, match=r"^orderflow_unreadable is no header of an event$"):
        decode(record.headers, record.key, record.value)


@pytest.mark.parametrize("attributes", [1, 2, 3, 4, 5, 7])
def test_a_batch_that_is_not_compressed_as_it_says_is_one_record(attributes: int) -> None:
    data = batch(PLAIN, PLAIN)
    data = sealed(data[:ATTRIBUTES_AT] + bytes([attributes]) + data[ATTRIBUTES_AT + 1 :])
    [record, last], following = read(data + at(2, batch(PLAIN)))
    assert "offsets 0 to 1 cannot be read" in why(record)
    assert (record.offset, last.offset, following) == (0, 2, 3)


def test_a_damaged_batch_is_one_record_and_what_is_behind_it_is_read() -> None:
    [record, last], following = read(damaged(batch(PLAIN, PLAIN)) + at(2, batch(PLAIN)))
    assert why(record) == "the batch at offsets 0 to 1 cannot be read: Damaged: its CRC is wrong"
    assert (last.offset, following) == (2, 3)


def test_from_the_middle_of_a_damaged_batch_it_still_goes_forward() -> None:
    data = damaged(batch(PLAIN, PLAIN, PLAIN))
    data = data[:DELTA_AT] + b"\xff\xff\xff\x00" + data[DELTA_AT + 4 :]  # the last offset is damaged, too
    for asked in (0, 1, 2):
        [record], following = read(data, asked)
        assert (record.offset, following) == (asked, asked + 1)


def test_only_the_beginning_of_a_batch_is_left_for_the_next_fetch() -> None:
    records, following = read(batch(PLAIN) + at(1, batch(PLAIN))[:40])
    assert ([record.offset for record in records], following) == ([0], 1)


def test_a_control_batch_that_is_none_is_a_record_that_says_so() -> None:
    data = batch(PLAIN)
    [stand_in], following = read(sealed(data[:ATTRIBUTES_AT] + b"\x30" + data[DELTA_AT:]))
    assert (why(stand_in).startswith("the batch at offset 0 cannot be read"), following) == (True, 1)


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x40"])
def test_a_length_that_leads_out_of_its_batch_ends_no_process(length: bytes) -> None:
    """aiokafka's own reader of lengths, in C, follows one to wherever it leads: a segmentation fault."""
    odd: Foreign = (b"k", b"value", [(b"stra\xdfe", b"1")])
    whole = batch(odd, odd)
    for place in range(AT_61, len(whole) - len(length)):
        data = sealed(whole[:place] + length + whole[place + len(length) :])
        records, following = read(data)
        assert (bool(records), following) == (True, 2)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=12),
    st.sampled_from([None, *CODECS]),
    st.booleans(),
    st.integers(0, 3),
)
def test_whatever_the_bytes_are_nothing_is_raised_and_it_goes_forward(
    changes: list[tuple[int, int]], codec: str | None, mend_the_crc: bool, asked: int
) -> None:
    data = bytearray(batch(PLAIN, (None, None, []), PLAIN, codec=codec))
    for where, what in changes:
        data[12 + where % (len(data) - 12)] = what
    one = sealed(bytes(data)) if mend_the_crc else bytes(data)
    for fetched in (one, one + at(4, batch(PLAIN))):
        records, following = read(fetched, asked)
        assert following > asked
        assert all(record.offset >= asked for record in records)
