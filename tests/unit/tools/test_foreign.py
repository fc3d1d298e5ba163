"""The storm's foreign records are what their marks say, and are told from ours wherever they claim to come from."""

import random
from uuid import UUID

from orderflow_events.envelope import EnvelopeError, decode
from orderflow_events.kafka_reader import _Batch, _Batches
from support.records import a_record
from tools.chaos.foreign import batches
from tools.chaos.marks import is_event, mark_in
from tools.chaos.rules_stream import OUR_SOURCES

ORDER = UUID(int=7, version=4)


def test_every_foreign_record_bears_its_mark_and_is_what_the_mark_says() -> None:
    seen = []
    for foreign in batches(3, random.Random(1), ORDER):
        read = _Batches(foreign.data)
        batch = read.next_batch()
        assert isinstance(batch, _Batch)
        for record in batch:
            mark = mark_in(record.key, record.value, *(value for _, value in record.headers))
            assert mark in foreign.marks
            seen.append(mark)
            try:
                envelope = decode(record.headers, record.key, record.value)
            except EnvelopeError:
                assert not is_event(mark), mark
            else:
                assert is_event(mark), mark
                assert envelope.source not in OUR_SOURCES
    assert len(seen) == len(set(seen)) > 20


def test_a_record_of_ours_bears_no_mark() -> None:
    record = a_record(ORDER, 1)
    assert mark_in(record.key, record.value, *(value for _, value in record.headers)) is None


def test_the_same_fault_sends_the_same_kinds_of_records_and_another_one_other_marks() -> None:
    def marks(fault: int) -> list[str]:
        return [mark for foreign in batches(fault, random.Random(1), None) for mark in foreign.marks]

    assert marks(1) == marks(1)
    assert not set(marks(1)) & set(marks(2))
