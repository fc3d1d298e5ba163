"""Records and batches that nobody can read, on a real broker: they become dead letters, and hold up nobody else."""

import json
import random
import re
import string
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownError

from orderflow.stream.topic import check_topic, topic_config
from orderflow_events._pauses import Backoff
from orderflow_events.consumer import Passed, Retries, StateKind
from orderflow_events.dead_letters import DeadLetter, forget_passed, passed_records
from orderflow_events.envelope import UNREADABLE
from orderflow_events.redrive import dead_letters, redrive
from orderflow_events.states import ConsumerState
from support.batches import CODECS, Foreign, batch, partition_of, produce, sealed
from support.dead_letters import QUICK, Poison, in_the_topic, topic_of
from support.lab import Lab, applied, running, take_effects
from support.records import a_record
from support.waiting import until

ODD: Foreign = (b"k", b"x", [(b"stra\xdfe", b"1")])
ATTRIBUTES_AT = 22
#: The embedded broker's and the producer's limit of a record.
MEBIBYTE = 1_048_576


async def foreign(lab: Lab, order: UUID, data: bytes) -> tuple[int, int]:
    """Append ``data`` behind what the topic has of ``order``: partition and offset."""
    settings = lab.settings
    partition = partition_of(order, settings.kafka_partitions)
    return partition, await produce(settings.kafka_bootstrap_servers, settings.kafka_topic, partition, data)


async def letters(lab: Lab, count: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []

    async def there() -> bool:
        found[:] = await dead_letters(lab.pool.acquire, lab.settings.tracking_group)
        return len(found) >= count

    await until(there, seconds=40)
    assert len(found) == count
    return found


def not_compressed_as_it_says() -> bytes:
    data = batch(ODD, ODD)
    return sealed(data[:ATTRIBUTES_AT] + bytes([CODECS["lz4"]]) + data[ATTRIBUTES_AT + 1 :])


async def test_a_header_name_that_is_not_utf_8_is_a_dead_letter_and_all_others_go_on(lab: Lab) -> None:
    order, other = uuid4(), uuid4()
    await lab.send(order, 1)
    where = await foreign(lab, order, batch(ODD))
    await lab.send(order, 2)
    await lab.send(other, 1)
    async with running(lab.consumer(retries=QUICK)):
        await applied(lab, order, [1, 2])
        await applied(lab, other, [1])
        [letter] = await letters(lab, 1)
        [copy] = await in_the_topic(lab, 1)
    assert ((letter.partition, letter.offset), letter.subject, letter.kind) == (where, None, "undecodable")
    assert letter.headers == (("stra\\xdfe", b"1"),)
    assert letter.reason == "EnvelopeError: the name of the header stra\\xdfe is not UTF-8"
    assert (copy.key, copy.value, copy.headers[0]) == (b"k", b"x", ("stra\\xdfe", b"1"))


async def test_an_event_with_such_a_name_holds_nobody(lab: Lab) -> None:
    order = uuid4()
    record = a_record(order, 1)
    headers = [(name.encode(), value) for name, value in record.headers]
    await foreign(lab, order, batch((record.key, record.value, [*headers, (b"\xffname", b"")])))
    await lab.send(order, 2)
    async with running(lab.consumer(retries=QUICK)):
        await applied(lab, order, [2])
        [letter] = await letters(lab, 1)
    assert (letter.subject, letter.kind, letter.key) == (None, "undecodable", record.key)


@pytest.mark.parametrize("codec", CODECS)
async def test_a_compressed_batch_of_events_is_applied(lab: Lab, codec: str) -> None:
    order = uuid4()
    records = [a_record(order, version) for version in (1, 2)]
    named = [(r.key, r.value, [(name.encode(), value) for name, value in r.headers]) for r in records]
    await foreign(lab, order, batch(*named, codec=codec))
    await lab.send(order, 3)
    async with running(lab.consumer(retries=QUICK)):
        await applied(lab, order, [1, 2, 3])
    assert await dead_letters(lab.pool.acquire, lab.settings.tracking_group) == []


async def test_small_batches_that_become_large_are_set_aside_whole_and_nothing_is_skipped(lab: Lab) -> None:
    order = uuid4()
    size = 3 * MEBIBYTE
    await lab.send(order, 1)
    offsets = [(await foreign(lab, order, batch((b"k", bytes(size), []), codec="zstd")))[1] for _ in range(9)]
    await lab.send(order, 2)
    at_once: list[int] = []
    consumer = lab.consumer(retries=QUICK, on_batch=lambda records, _: at_once.append(records))
    async with running(consumer):
        await applied(lab, order, [1, 2])
        found = await letters(lab, 9)
    assert [(letter.offset, len(letter.value or b"")) for letter in found] == [(offset, size) for offset in offsets]
    assert max(at_once) <= 4, "8 MiB are three of them, and the event before them"


async def test_a_batch_that_cannot_be_read_is_one_dead_letter_with_its_bytes(lab: Lab) -> None:
    order = uuid4()
    await lab.send(order, 1)
    data = not_compressed_as_it_says()
    partition, offset = await foreign(lab, order, data)
    await lab.send(order, 2)
    async with running(lab.consumer(retries=QUICK)):
        await applied(lab, order, [1, 2])
        [letter] = await letters(lab, 1)
    said = f"EnvelopeError: the batch at offsets {offset} to {offset + 1} cannot be read: "
    assert (letter.partition, letter.offset, letter.reason.startswith(said)) == (partition, offset, True)
    assert letter.value is not None
    assert letter.value[8:] == data[8:]
    result = await redrive(connect=lab.pool.acquire, group=lab.settings.tracking_group, effect=take_effects)
    assert (result.applied, [reason.startswith(said) for _, reason in result.failed]) == (0, [True])


async def test_a_record_that_forges_the_reason_is_not_quoted(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    forged = b"\x1b]0;x\x07\nERROR forged CANARY"
    await foreign(lab, uuid4(), batch((None, b"x", [(UNREADABLE.encode(), forged)])))
    async with running(lab.consumer(retries=QUICK)):
        [letter] = await letters(lab, 1)
        [copy] = await in_the_topic(lab, 1)
    result = await redrive(connect=lab.pool.acquire, group=lab.settings.tracking_group, effect=take_effects)
    said = "EnvelopeError: orderflow_unreadable is no header of an event"
    assert [letter.reason, dict(copy.headers)["dlq_reason"].decode()] == [said] * 2
    assert [reason for _, reason in result.failed] == [said]
    assert "CANARY" not in caplog.text
    assert letter.headers == ((UNREADABLE, forged),), "the record itself is kept as it came"


async def test_any_number_of_foreign_records_is_below_the_limit(lab: Lab) -> None:
    order, poisoned = uuid4(), uuid4()
    await lab.send(order, 1)
    await foreign(lab, order, batch(*[(b"k", b"hello", [])] * 30, codec="snappy"))
    keyed = str(uuid4()).encode()
    await foreign(lab, order, batch(*[(keyed, b"hello", [])] * 3))
    await lab.send(order, 2)
    effect = Poison((poisoned, 1))
    async with running(lab.consumer(retries=Retries(attempts=1, limit=2), effect=effect)):
        await applied(lab, order, [1, 2])
        await lab.send(poisoned, 1)
        kinds = [letter.kind for letter in await letters(lab, 34)]
    assert kinds == ["undecodable"] * 33 + ["failed"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ce_source": "a\x00b"}, "ce_source is not printable"),
        ({"ce_type": "X" * 300}, "ce_type has more than 200 characters"),
        ({"ce_sequence": str(2**63)}, "is not a version"),
        ({"ce_time": "0001-01-01T00:00:00+10:00"}, "ce_time is no time between the years 1 and 9999"),
        ({"value": {"status": "\ud800", "data": {}}}, "half of a surrogate pair"),
        ({"value": {"status": "S", "data": {"reason": ["\udc00"]}}}, "half of a surrogate pair"),
    ],
)
async def test_what_no_database_can_hold_is_undecodable_and_no_failure_of_the_effect(
    lab: Lab, change: dict[str, Any], reason: str
) -> None:
    order, other = uuid4(), uuid4()
    record = a_record(order, 1)
    value = json.dumps(change["value"]).encode() if "value" in change else record.value
    headers = dict(record.headers) | {n: text.encode() for n, text in change.items() if n != "value"}
    await foreign(lab, order, batch((record.key, value, [(n.encode(), v) for n, v in headers.items()])))
    await lab.send(other, 1)
    async with running(lab.consumer(retries=Retries(limit=0))):
        await applied(lab, other, [1])
        [letter] = await letters(lab, 1)
    assert (letter.subject, letter.kind, letter.attempts) == (None, "undecodable", 1)
    assert reason in letter.reason


async def test_a_source_that_no_index_can_hold_holds_no_order(lab: Lab) -> None:
    """It agrees with itself in every part, and names a real order: only its length is wrong."""
    order = uuid4()
    source = f"/x/{''.join(random.Random(7).choices(string.ascii_letters + string.digits, k=8_000))}"
    await lab.send(order, 1, source=source)
    await lab.send(order, 1)
    async with running(lab.consumer(retries=Retries(attempts=1, limit=0))):
        await applied(lab, order, [1])
        [letter] = await letters(lab, 1)
    assert (letter.subject, letter.kind) == (None, "undecodable")
    assert letter.reason == "EnvelopeError: ce_source has more than 200 characters"


@pytest.mark.parametrize(
    ("records", "left_out"),
    [
        ([(b"k", b"v" * (MEBIBYTE - 500), [(b"a", b"1" * 350)])], "headers"),
        ([(b"k", b"v" * (MEBIBYTE - 403_150), [(b"%05d" % n, b"1" * 395) for n in range(1_000)])], "headers"),
        ([(b"k", b"v" * (MEBIBYTE - 90), [])], "headers, value"),
        ([(b"k" * (MEBIBYTE - 90), b"v", [])], "headers, value, key"),
        ([(None, None, [(b"big", b"1" * (MEBIBYTE - 90))])], "headers"),
    ],
)
async def test_a_dead_letter_that_is_too_large_with_its_reason_is_shortened_in_the_topic_and_whole_in_its_row(
    lab: Lab, records: list[Foreign], left_out: str
) -> None:
    order = uuid4()
    where = await foreign(lab, order, batch(*records))
    await lab.send(order, 1)
    async with running(lab.consumer(retries=QUICK)):
        await applied(lab, order, [1])
        [copy] = await in_the_topic(lab, 1)
        [letter] = await letters(lab, 1)
    headers = dict(copy.headers)
    assert headers["dlq_left_out"].decode() == left_out
    assert (int(headers["dlq_partition"]), int(headers["dlq_offset"])) == where
    [(key, value, _)] = records
    assert (letter.key, letter.value, len(letter.headers)) == (key, value, len(records[0][2]))
    if left_out == "headers" and value is not None:
        assert (copy.key, copy.value) == (key, value)


@pytest.mark.parametrize(
    ("check", "said", "content"),
    [
        ("cardinality(header_names) = 0", "(its headers could not be kept)", True),
        ("record_value IS NULL", "(its key, value and headers could not be kept)", False),
        ("reason !~ '[^ -~]'", "(its headers could not be kept)", True),
    ],
)
async def test_a_row_that_is_refused_is_shortened_and_says_so(lab: Lab, check: str, said: str, content: bool) -> None:
    order = uuid4()
    await lab.pool.execute(f"ALTER TABLE dead_letters ADD CHECK ({check})")
    await foreign(lab, order, batch((b"k", b"x", [(b"stra\xdfe" + "ß".encode(), b"1")])))
    await lab.send(order, 1)
    async with running(lab.consumer(retries=QUICK)):
        await applied(lab, order, [1])
        [letter] = await letters(lab, 1)
    assert letter.reason.endswith(said)
    assert (letter.value, letter.headers) == (b"x" if content else None, ())


async def test_a_record_of_which_no_row_is_taken_is_passed_counted_and_said(lab: Lab) -> None:
    order, poisoned = uuid4(), uuid4()
    states: list[ConsumerState] = []
    passed: list[Passed] = []
    await lab.pool.execute("ALTER TABLE dead_letters ADD CHECK (false)")
    partition, offset = await foreign(lab, order, batch(ODD))
    await lab.send(poisoned, 1)
    await lab.send(order, 1)
    consumer = lab.consumer(
        retries=QUICK, effect=Poison((poisoned, 1)), on_passed=passed.append, on_state=states.append
    )
    async with running(consumer):
        await applied(lab, order, [1])

        async def both() -> bool:
            return len(passed) == 2 and states[-1].kind is StateKind.OK

        await until(both, seconds=40)
    [odd] = [one for one in passed if one.subject is None]
    assert (odd.partition, odd.offset, odd.missing, "CheckViolation" in odd.reason) == (partition, offset, "row", True)
    assert states[-1].detail.startswith("passed since the start: 2, the last: ")
    assert await dead_letters(lab.pool.acquire, lab.settings.tracking_group) == []
    async with lab.pool.acquire() as connection:
        group = lab.settings.tracking_group
        remembered = await passed_records(connection, group)
        assert {(one.partition, one.offset) for one in remembered} == {(one.partition, one.offset) for one in passed}
        assert "CheckViolation" in remembered[0].reason
        assert (await forget_passed(connection, group), await passed_records(connection, group)) == (2, [])


async def test_without_the_table_of_passed_records_they_are_passed_all_the_same(lab: Lab) -> None:
    order = uuid4()
    passed: list[Passed] = []
    await lab.pool.execute("ALTER TABLE dead_letters ADD CHECK (false); DROP TABLE passed_records")
    await foreign(lab, order, batch(ODD))
    await lab.send(order, 1)
    async with running(lab.consumer(retries=QUICK, on_passed=passed.append)):
        await applied(lab, order, [1])
    assert [one.missing for one in passed] == ["row"]


async def test_a_copy_that_kafka_takes_in_no_form_is_passed_and_its_row_stands(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = uuid4()
    passed: list[Passed] = []
    longest = "x" * (MEBIBYTE + 1)
    monkeypatch.setattr("orderflow_events.dead_letter_topic._time", lambda _: longest)
    partition, offset = await foreign(lab, order, batch(ODD))
    await lab.send(order, 1)
    async with running(lab.consumer(retries=QUICK, on_passed=passed.append)):
        await applied(lab, order, [1])
        [letter] = await letters(lab, 1)

        async def told() -> bool:
            return bool(passed)

        await until(told, seconds=40)
    [one] = passed
    assert (one.partition, one.offset, one.missing) == (partition, offset, "copy")
    assert str(one).startswith(f"{letter.topic}[{partition}]@{offset} (no order) is not in the dead-letter topic: ")


@pytest.mark.parametrize(
    ("group", "rule"),
    [
        ("team:billing", "group is 'team:billing', and must be of A-Z a-z 0-9 . _ -"),
        ("", "at least one"),
        ("gr\nup\u202e", r"gr\\nup\\u202e"),
        ("é", "and Kafka takes no other characters"),
        ("g" * 250, "Kafka takes 249"),
    ],
)
async def test_a_group_whose_dead_letters_could_have_no_topic_is_refused_before_it_starts(
    lab: Lab, group: str, rule: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        lab.consumer(group=group)


async def _nobody_waits_for_a_transaction(lab: Lab) -> None:
    order, topic = uuid4(), lab.settings.kafka_topic
    stranger = AIOKafkaProducer(
        bootstrap_servers=lab.settings.kafka_bootstrap_servers,
        transactional_id=f"stranger-{topic}",
        transaction_timeout_ms=60_000,
    )
    await stranger.start()
    try:
        for ends in (stranger.commit_transaction, stranger.abort_transaction):
            await stranger.begin_transaction()
            await stranger.send_and_wait(topic, b"x", key=str(order).encode())
            await ends()
        await stranger.begin_transaction()
        await stranger.send_and_wait(topic, b"x", key=str(order).encode())
        await lab.send(order, 1, 2)
        async with running(lab.consumer(retries=QUICK)):
            await applied(lab, order, [1, 2], seconds=20)
            found = await letters(lab, 3)
        assert [(letter.subject, letter.kind, letter.value) for letter in found] == [(None, "undecodable", b"x")] * 3
        await stranger.abort_transaction()
    finally:
        await stranger.stop()
    await lab.send(order, 3)
    async with running(lab.consumer(retries=QUICK)):  # the marker of its end is no record
        await applied(lab, order, [1, 2, 3])
        assert len(await dead_letters(lab.pool.acquire, lab.settings.tracking_group)) == 3


async def test_a_transaction_that_a_stranger_leaves_open_holds_nobody(lab: Lab) -> None:
    await _nobody_waits_for_a_transaction(lab)


async def test_on_apache_kafka_a_transaction_that_a_stranger_leaves_open_holds_nobody(apache_lab: Lab) -> None:
    await _nobody_waits_for_a_transaction(apache_lab)


async def test_on_apache_kafka_a_topic_that_compresses_and_foreign_records_stop_nobody(apache_lab: Lab) -> None:
    lab, order = apache_lab, uuid4()
    await lab.send(order, 1)
    where = await foreign(lab, order, batch(ODD))  # it would mend the name itself where it compresses
    admin = AIOKafkaAdminClient(bootstrap_servers=lab.settings.kafka_bootstrap_servers)
    await admin.start()
    topic = lab.settings.kafka_topic
    configs = topic_config(lab.settings) | {"compression.type": "lz4"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)])
    await admin.close()
    assert await check_topic(lab.settings) == []
    for codec in ("snappy", "zstd"):
        await foreign(lab, order, batch((b"k", b"hello", []), codec=codec))
    await lab.send(order, 2)
    async with running(lab.consumer(retries=QUICK)):
        await applied(lab, order, [1, 2], seconds=60)
        found = await letters(lab, 3)
    assert (found[0].partition, found[0].offset, found[0].headers) == (*where, (("stra\\xdfe", b"1"),))


async def test_an_unclear_error_that_a_record_brings_about_itself_holds_up_nobody(apache_lab: Lab) -> None:
    """A compacted topic takes no record without a key; aiokafka knows no name for that error."""
    lab, order = apache_lab, uuid4()
    admin = AIOKafkaAdminClient(bootstrap_servers=lab.settings.kafka_bootstrap_servers)
    await admin.start()
    compact = NewTopic(topic_of(lab), lab.settings.kafka_partitions, 1, topic_configs={"cleanup.policy": "compact"})
    await admin.create_topics([compact])
    await admin.close()
    partition, offset = await foreign(lab, order, batch((None, b"x", [])))
    await foreign(lab, order, batch(ODD))
    await lab.send(order, 1)
    passed: list[Passed] = []
    async with running(lab.consumer(retries=QUICK, on_passed=passed.append)):
        await applied(lab, order, [1])
        copies = await in_the_topic(lab, 2)
    [one] = passed
    assert (one.partition, one.offset, one.missing) == (partition, offset, "copy")
    [coordinates] = [copy for copy in copies if copy.key != b"k"]
    assert coordinates.key == f"{lab.settings.kafka_topic}/{partition}/{offset}".encode()
    assert dict(coordinates.headers)["dlq_left_out"] == b"all but its coordinates"


async def test_a_broker_that_says_unknown_to_all_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    order = uuid4()
    passed: list[Passed] = []
    states: list[ConsumerState] = []
    says_unknown, asked = True, 0
    send_and_wait = AIOKafkaProducer.send_and_wait

    async def unknown(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        if says_unknown:
            asked += 1
            raise UnknownError
        return await send_and_wait(*arguments, **options)

    monkeypatch.setattr("orderflow_events.dead_letter_topic.Backoff", lambda: Backoff(0.01, 0.05))
    await foreign(lab, order, batch(ODD))
    monkeypatch.setattr("orderflow_events.dead_letter_topic.AIOKafkaProducer.send_and_wait", unknown)
    async with running(lab.consumer(retries=QUICK, on_passed=passed.append, on_state=states.append)):

        async def tried_every_form() -> bool:
            return asked > 12

        await until(tried_every_form, seconds=40)
        assert states[-1].kind is StateKind.FAILING
        says_unknown = False
        [copy] = await in_the_topic(lab, 1)
    assert passed == []
    assert (copy.key, copy.value, dict(copy.headers).get("dlq_left_out")) == (b"k", b"x", None)
