"""Who reads the topic to judge or to measure it: foreign records are told apart, counted, and stop nobody."""

import random
from uuid import uuid4

from bench.arrivals import arrivals
from orderflow.stream.clients import make_producer
from orderflow.stream.topic import ensure_topic
from support.batches import partition_of
from support.records import a_record
from support.relays import settings_for
from support.stack import Databases
from support.stream import read_all_of
from support.waiting import until
from tools.chaos import foreign
from tools.chaos.marks import is_event
from tools.chaos.topic import read_topic, unread


async def test_foreign_records_are_counted_and_left_out(databases: Databases, broker: str) -> None:
    settings = settings_for(databases, broker)
    await ensure_topic(settings)
    topic, order = settings.kafka_topic, uuid4()
    sent: list[str] = []
    async with arrivals(settings) as seen:
        producer = make_producer(settings)
        await producer.start()
        dice = random.Random(1)
        try:
            for batch in foreign.batches(1, dice, order):
                if await foreign.send(broker, topic, settings.kafka_partitions, batch, dice):
                    sent += batch.marks
            for version in (1, 2):
                record = a_record(order, version)
                await producer.send_and_wait(topic, record.value, record.key, headers=list(record.headers))
        finally:
            await producer.stop()
        events = sum(map(is_event, sent))

        async def came() -> bool:
            return (len(seen.milliseconds), seen.foreign) == (2 + events, len(sent) - events)

        await until(came, seconds=20)
    ours, strangers = await read_topic(broker, topic)
    assert [(row["partition"], row["key"]) for row in ours] == 2 * [
        (partition_of(order, settings.kafka_partitions), str(order))
    ]
    assert sorted(row["mark"] for row in strangers) == sorted(sent)
    # Junk that names one of our orders holds it no more than any other.
    assert any(row["subject"] == str(order) for row in strangers if not is_event(row["mark"]))
    read, others = await read_all_of(broker, topic)
    assert (len(read), others) == (2 + events, len(sent) - events)
    assert await unread(broker, ["nobody"], topic) == {"nobody": len(sent) + 2}
