"""``orderflow events tail`` on a real broker."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from orderflow.settings import Settings
from orderflow.stream.clients import make_producer
from orderflow.stream.topic import ensure_topic
from support.batches import Foreign, batch, partition_of, produce, sealed
from support.evidence import HISTORIES, sound_evidence
from support.records import a_record
from support.terminal import Terminal

ONE, OTHER = UUID(int=1), UUID(int=2)


class Stream:
    """A topic of its own, and the terminal of somebody who reads it."""

    def __init__(self, settings: Settings, terminal: Terminal, producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self.terminal = terminal
        self.producer = producer

    async def send(self, orders: tuple[UUID, ...] = (ONE, OTHER)) -> int:
        """The sound shop's events of ``orders``; how many they are."""
        records = [s for s in sound_evidence().stream if s.envelope and s.envelope.order_id in orders]
        for seen in records:
            assert seen.envelope
            event = seen.envelope
            attributes = {
                "ce_specversion": "1.0",
                "ce_id": event.id,
                "ce_source": event.source,
                "ce_type": event.type,
                "ce_subject": str(event.order_id),
                "ce_sequence": str(event.version),
                "ce_time": event.recorded_at.isoformat(),
                "ce_dataschema": event.dataschema,
            }
            await self.producer.send_and_wait(
                self.settings.kafka_topic,
                seen.value,
                key=str(event.order_id).encode(),
                headers=[(name, text.encode()) for name, text in attributes.items()],
            )
        return len(records)


@pytest_asyncio.fixture
async def stream(broker: str, tmp_path: Path) -> AsyncIterator[Stream]:
    topic = f"order.events.{uuid4().hex[:8]}"
    settings = Settings(_env_file=None, kafka_bootstrap_servers=broker, kafka_topic=topic, kafka_partitions=3)
    await ensure_topic(settings)
    terminal = Terminal(tmp_path, kafka_bootstrap_servers=broker, kafka_topic=topic)
    producer = make_producer(settings)
    await producer.start()
    yield Stream(settings, terminal, producer)
    await producer.stop()


async def test_everything_is_read_from_the_beginning(stream: Stream) -> None:
    sent = await stream.send()
    said = await stream.terminal.run("events", "tail", "--from-beginning", "--limit", str(sent), "--json")
    assert said.code == 0
    events = [json.loads(line) for line in said.out.splitlines()]
    assert len(events) == sent
    assert {event["order_id"] for event in events} == {str(ONE), str(OTHER)}
    created = next(event for event in events if event["id"] == f"orders/{ONE}/1")
    assert (created["type"], created["version"], created["data"]["total"]) == ("ORDER_CREATED", 1, 300)


async def test_one_order_or_one_type(stream: Stream) -> None:
    await stream.send()
    tail = ("events", "tail", "--from-beginning")
    count = sum(len(history) for (_, order), history in HISTORIES.items() if order == OTHER)
    said = await stream.terminal.run(*tail, "--order", str(OTHER), "--limit", str(count))
    assert (said.out.count(str(OTHER)), said.out.count(str(ONE))) == (count, 0)
    assert "payment_declined" in said.out
    said = await stream.terminal.run(*tail, "--type", "order_approved", "--limit", "2")
    assert (said.code, said.out.count("ORDER_APPROVED"), len(said.out.splitlines())) == (0, 2, 2)


async def test_by_default_only_what_comes_from_now_on(stream: Stream) -> None:
    await stream.send((ONE,))
    child = await stream.terminal.start("events", "tail", "--json")
    assert child.stdout
    assert child.stderr
    ready = await asyncio.wait_for(child.stderr.readline(), 30)
    assert ready.decode().startswith(f"reading {stream.settings.kafka_topic} from its end")
    count = await stream.send((OTHER,))
    lines = [await asyncio.wait_for(child.stdout.readline(), 30) for _ in range(count)]
    assert {json.loads(line)["order_id"] for line in lines} == {str(OTHER)}
    child.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_a_record_that_is_no_event_is_said_and_passed_over(stream: Stream) -> None:
    await stream.producer.send_and_wait(stream.settings.kafka_topic, b"hello", key=b"k")
    sent = await stream.send((ONE,))
    said = await stream.terminal.run("events", "tail", "--from-beginning", "--limit", str(sent))
    assert (said.code, len(said.out.splitlines())) == (0, sent)
    assert "'ce_specversion' is missing" in said.err


async def test_what_nobody_can_read_is_said_in_a_line_and_passed_over(stream: Stream) -> None:
    settings = stream.settings
    odd: Foreign = (b"k", b"x", [(b"stra\xdfe", b"1")])
    garbage = sealed(batch(odd)[:22] + b"\x03" + batch(odd)[23:])
    partition = partition_of(ONE, settings.kafka_partitions)
    for data in (batch(odd), garbage):
        await produce(settings.kafka_bootstrap_servers, settings.kafka_topic, partition, data)
    sent = await stream.send((ONE,))
    said = await stream.terminal.run("events", "tail", "--from-beginning", "--limit", str(sent))
    assert (said.code, len(said.out.splitlines())) == (0, sent)
    assert f"{partition}/0: the name of the header stra\\xdfe is not UTF-8" in said.err
    assert f"{partition}/1: the batch at offset 1 cannot be read: " in said.err
    assert "Traceback" not in said.err


async def test_control_characters_of_a_record_are_escaped(stream: Stream) -> None:
    settings = stream.settings
    record = a_record(ONE, 1, type="A_TYPE", status="\x1b[31mS\x9b\u202e", data={"reason": "r\x7f\n"})
    headers = [(name.encode(), value) for name, value in record.headers]
    await produce(settings.kafka_bootstrap_servers, settings.kafka_topic, 0, batch((record.key, record.value, headers)))
    await produce(settings.kafka_bootstrap_servers, settings.kafka_topic, 0, batch((b"\x1b[2J\x9b", b"", headers)))
    for wanted in ((), ("--json",)):
        child = await stream.terminal.start("events", "tail", "--from-beginning", *wanted)
        assert child.stdout
        assert child.stderr
        line = (await asyncio.wait_for(child.stdout.readline(), 30)).decode()
        [_, error] = [(await asyncio.wait_for(child.stderr.readline(), 30)).decode() for _ in range(2)]
        child.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(child.wait(), 30) == 0
        assert line.rstrip("\n").isprintable()
        assert error.rstrip("\n").isprintable()
        assert ("\\u001b[31mS\\u009b\\u202e" if wanted else "\u241b[31mS\ufffd\ufffd") in line
        assert not wanted or json.loads(line)["status"] == "\x1b[31mS\x9b\u202e"


async def test_no_broker_ends_with_3(tmp_path: Path) -> None:
    said = await Terminal(tmp_path, kafka_bootstrap_servers="127.0.0.1:9").run("events", "tail")
    assert (said.code, said.out) == (3, "")
    assert "no Kafka answers at 127.0.0.1:9" in said.err
    assert len(said.err.splitlines()) == 1


async def test_a_topic_that_is_not_there_is_not_made(broker: str, tmp_path: Path) -> None:
    topic = f"none-{uuid4().hex[:8]}"
    said = await Terminal(tmp_path, kafka_bootstrap_servers=broker, kafka_topic=topic).run("events", "tail")
    assert said.code == 3
    assert f"there is no topic {topic}" in said.err
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        assert topic not in await admin.list_topics()
    finally:
        await admin.close()


async def test_a_record_with_control_characters_is_shown_and_not_obeyed(stream: Stream) -> None:
    """In its status: for people as one character, in JSON as an escape. Errors quote nothing, and of no type either."""
    [sound] = [s for s in sound_evidence().stream if s.envelope and s.envelope.order_id == ONE][:1]
    assert sound.envelope
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": f"unknown/{ONE}/1",
        "ce_source": "/unknown",
        "ce_type": "A_TYPE",
        "ce_subject": str(ONE),
        "ce_sequence": "1",
        "ce_time": sound.envelope.recorded_at.isoformat(),
    }
    headers = [(name, text.encode()) for name, text in attributes.items()]
    status = "A\x1b[31mB\x9b32m\u202e[red]"
    body = {"order_id": str(ONE), "version": 1, "recorded_at": attributes["ce_time"], "status": status, "data": {}}
    values = [(json.dumps(body).encode(), headers), (b"\x1b[34m no JSON", headers)]
    for name in ("ce_source", "ce_type"):
        values.append((values[0][0], [(n, b"\x1b[35m\x9b" if n == name else text) for n, text in headers]))
    for value, sent_with in values:
        await stream.producer.send_and_wait(
            stream.settings.kafka_topic, value, key=str(ONE).encode(), headers=sent_with
        )
    sent = await stream.send((ONE,))  # behind them, in the same partition
    for more in ((), ("--json",)):
        said = await stream.terminal.run("events", "tail", "--from-beginning", *more, "--limit", str(sent))
        assert (said.code, "the value is no JSON" in said.err) == (0, True)
        assert not any(raw in said.out + said.err for raw in ("\x1b", "\x9b", "\u202e"))
        seen = "A\\u001b[31mB\\u009b32m\\u202e[red]" if more else "A\u241b[31mB\ufffd32m\ufffd[red]"
        assert seen in said.out
