"""What nobody can read, beside orders: relays publish on, the tracking goes on, and the doctor names what does not."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from operations.dead_letters import passed
from operations.doctor.checks import stream
from orderflow.settings import Settings
from orderflow.store import truncation
from orderflow.store.database import Database
from orderflow.stream import topic as topics
from orderflow.stream.clients import make_producer, make_reader
from orderflow.stream.lag import group_lags, unread
from orderflow.stream.reading import read_all
from orderflow.stream.republishing import Judged, judge
from orderflow.stream.topic import check_topic, ensure_topic
from orderflow.stream.truncation import open_topic
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, PartState
from support.batches import Foreign, batch, partition_of, produce, sealed
from support.records import a_record
from support.relays import running_relay, settings_for
from support.stack import Databases
from support.stream import CREATED, insert_event, let_events_stand_alone
from support.waiting import until
from workers.shared import Shared
from workers.tracking import serve

ODD: Foreign = (b"k", b"x", [(b"stra\xdfe", b"1")])
SOURCE, WEEK = "/orderflow/orders", timedelta(days=7)


def unknown_compression() -> bytes:
    data = batch(ODD, ODD)
    return sealed(data[:22] + b"\x05" + data[23:])


async def foreign(settings: Settings, order: UUID, data: bytes) -> tuple[int, int]:
    partition = partition_of(order, settings.kafka_partitions)
    return partition, await produce(settings.kafka_bootstrap_servers, settings.kafka_topic, partition, data)


@pytest.mark.parametrize("data", [batch(ODD), unknown_compression()], ids=["name", "compression"])
async def test_relays_publish_behind_a_record_that_nobody_can_read(
    databases: Databases, broker: str, data: bytes
) -> None:
    settings = settings_for(databases, broker)
    await ensure_topic(settings)
    order = uuid4()
    orders = await asyncpg.connect(databases.as_admin("orders"))
    await let_events_stand_alone(orders)

    async def published(version: int) -> bool:
        query = "SELECT EXISTS (SELECT FROM publications WHERE order_id = $1 AND version = $2)"
        return bool(await orders.fetchval(query, order, version))

    try:
        await insert_event(orders, order, 1)
        async with running_relay(settings):
            await until(lambda: published(1), seconds=30)
        await foreign(settings, order, data)
        await insert_event(orders, order, 2)
        async with running_relay(settings) as running:  # it looks at what its predecessor published
            await until(lambda: published(2), seconds=30)

            async def ready() -> bool:
                return running.ok

            await until(ready, seconds=30)
            assert await truncation.stopped(running.database) == frozenset()
            partition = partition_of(order, settings.kafka_partitions)
            async with open_topic(lambda: make_reader(settings), settings.kafka_topic) as topic:
                judged = await judge(running.database, topic, SOURCE, partition, None, WEEK)
                assert judged == Judged([], [])
    finally:
        await orders.close()
    seen = await read_all(settings)
    assert [one.envelope.version for one in seen if one.envelope] == [1, 2]
    assert ["UTF-8" in one.error or "cannot be read" in one.error for one in seen if one.envelope is None] == [True]


async def test_the_tracking_goes_on_behind_it_and_the_doctor_names_what_is_set_aside(
    databases: Databases, broker: str
) -> None:
    settings = settings_for(databases, broker, tracking_group=f"tracking-{uuid4().hex[:8]}")
    await ensure_topic(settings)
    order = uuid4()
    partition, offset = await foreign(settings, order, batch(*[ODD] * 12))
    producer = make_producer(settings)
    await producer.start()
    record = a_record(order, 1, type="ORDER_CREATED", status="DRAFT", data=CREATED)
    await producer.send_and_wait(settings.kafka_topic, record.value, key=record.key, headers=list(record.headers))
    await producer.stop()
    states: dict[str, PartState] = {}

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            states[part] = state

    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stopping, Told(), Shared(settings, ())))
    async with Database("orders", databases.orders) as database:

        async def tracked() -> bool:
            pool = await database.pool()
            return bool(await pool.fetchval("SELECT count(*) FROM tracked_orders WHERE order_id = $1", order))

        await until(tracked, seconds=40)
    assert states == {"tracking": OK}
    stopping.set()
    await asyncio.wait_for(serving, 15)
    [line] = await stream._dead_letters(settings)
    assert not line.ok
    assert line.detail.startswith(f"12 of {settings.tracking_group}: dead letter ")
    assert f"[{partition}]@{offset}, no order, undecodable)" in line.detail


async def test_a_record_that_was_passed_without_a_dead_letter_is_named_by_the_doctor_until_it_is_forgotten(
    databases: Databases, broker: str
) -> None:
    settings = settings_for(databases, broker, tracking_group=f"tracking-{uuid4().hex[:8]}")
    orders = await asyncpg.connect(databases.orders)
    await orders.execute(
        "INSERT INTO passed_records VALUES ($1, 'order.events', 3, 41, -1, 'CheckViolationError: no')",
        settings.tracking_group,
    )
    await orders.close()
    [none, line] = await stream._dead_letters(settings)
    assert (none.ok, line.ok, line.about) == (True, False, "records passed")
    assert "has passed 1 without a dead letter" in line.detail
    assert "order.events[3]@41: CheckViolationError: no" in line.detail
    assert len(await passed(settings, None, None, forget=True)) == 1
    assert [one.ok for one in await stream._dead_letters(settings)] == [True]


async def test_a_record_that_the_tracking_does_not_pass_is_named_by_the_doctor(
    databases: Databases, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(databases, broker, tracking_group=f"tracking-{uuid4().hex[:8]}")
    await ensure_topic(settings)
    partition, offset = await foreign(settings, uuid4(), batch(ODD))
    [lag] = await group_lags(settings, [settings.tracking_group])
    assert [(one.partition, one.offset) for one in await unread(settings, lag)] == [(partition, offset)]
    assert await stream._not_passed(settings, lag) is None, "it came just now"
    monkeypatch.setattr(stream, "UNREAD", timedelta(0))
    line = stream._tracking(replace(lag, state="Stable", members=1), await stream._not_passed(settings, lag))
    assert not line.ok
    assert f"it does not pass partition {partition}, offset {offset}, which has been there for" in line.detail
    moved = replace(lag, partitions=tuple(replace(one, committed=7) for one in lag.partitions))
    assert await stream._not_passed(settings, moved) is None, "a backlog is no standstill"
    assert [one.about for one in await stream._look(settings)][-1] == f"consumer group {lag.group}"


async def test_a_compression_that_cannot_be_read_is_a_difference_of_the_topic(
    databases: Databases, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(databases, broker)
    await ensure_topic(settings)
    configuration = topics._configuration

    async def with_lz4(*arguments: object) -> dict[str, str]:
        return (await configuration(*arguments) or {}) | {"compression.type": "lz4"}  # type: ignore[arg-type]

    monkeypatch.setattr(topics, "_configuration", with_lz4)
    assert await check_topic(settings) == []
    monkeypatch.setattr("aiokafka.codec.cramjam", None)
    [difference] = await check_topic(settings)
    assert difference.stops
    assert difference.text == "Its compression.type is lz4, which cannot be read here: install the package cramjam."
