"""A broker that loses what it acknowledged: the relay notices before it sends, and the repair leaves no hole."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.partitioner import DefaultPartitioner

from orderflow.settings import Settings
from orderflow.stack.apache import ApacheBroker
from orderflow.stack.errors import StackError
from orderflow.stack.kafka import NoidaBroker
from orderflow.stack.ports import free_port
from orderflow.stack.processes import Process
from orderflow.stack.supervisor import Supervisor
from orderflow.store import truncation
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.store.truncation import Cause, Chosen, Position
from orderflow.stream.clients import make_reader
from orderflow.stream.publisher import Compared
from orderflow.stream.republishing import carry_out, go_on, judge, number_of
from orderflow.stream.topic import ensure_topic
from orderflow.stream.truncation import open_topic
from orderflow.telemetry.readiness import PartKind
from support.kafka_proxy import KafkaProxy
from support.relays import RunningRelay, running_relay, settings_for
from support.stack import Databases
from support.stream import Seen, assert_in_order, insert_event, read_topic
from support.waiting import until

Orders: TypeAlias = "asyncpg.Connection[Any]"
OutboxEmpty = Callable[[], Awaitable[None]]
HOT, COLD = range(4), range(4, 12)
SOURCE = "/orderflow/orders"
WEEK = timedelta(hours=168)


@dataclass
class KafkaIds:
    """The id that the broker gives the topic: the small one gives none of itself."""

    present: UUID | None


def partition_of(order: UUID) -> int:
    numbers = list(range(12))
    return int(DefaultPartitioner()(str(order).encode(), numbers, numbers))


def orders_in(partitions: range, each: int = 2) -> list[UUID]:
    """``each`` new orders for every partition."""
    found: list[UUID] = []
    for partition in partitions:
        while sum(partition_of(order) == partition for order in found) < each:
            order = uuid4()
            if partition_of(order) == partition:
                found.append(order)
    return found


async def expected(orders: Orders) -> dict[UUID, list[int]]:
    rows = await orders.fetch("SELECT order_id, array_agg(version ORDER BY version) v FROM events GROUP BY order_id")
    return {row["order_id"]: row["v"] for row in rows}


async def published(orders: Orders, order: UUID, version: int) -> bool:
    query = "SELECT EXISTS (SELECT FROM publications WHERE order_id = $1 AND version = $2)"
    return bool(await orders.fetchval(query, order, version))


async def kill_under_writes(
    broker: Process, databases: Databases, orders: Orders, hot: list[UUID], from_version: int
) -> int:
    """kill -9 while events of ``hot`` are written and acknowledged, then its restart; the writing goes on.

    The orders' next version.
    """
    enough = asyncio.Event()

    async def write() -> int:
        connection = await asyncpg.connect(databases.orders)
        version = from_version

        async def relay_keeps_up() -> bool:
            return enough.is_set() or bool(await connection.fetchval("SELECT count(*) FROM outbox") < 200)

        while not enough.is_set():
            for order in hot:
                await insert_event(connection, order, version)
            version += 1
            # It sends an order's events one after the other: what piles up here it needs a minute for.
            await until(relay_keeps_up, seconds=60)
        await connection.close()
        return version

    before = await orders.fetchval("SELECT count(*) FROM publications")
    writing = asyncio.create_task(write())

    async def many_published() -> bool:
        return bool(await orders.fetchval("SELECT count(*) FROM publications") > before + 100)

    await until(many_published, seconds=60)
    await broker.kill(restart=False)
    await broker.start()
    enough.set()
    return await writing


async def lost_partitions(settings: Settings, orders: Orders) -> set[int]:
    """Where the topic lacks an event that counts as published."""
    rows = await orders.fetch("SELECT order_id, version, partition FROM publications")
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    there = {(one.envelope.order_id, one.envelope.version) for one in seen}
    return {row["partition"] for row in rows if (row["order_id"], row["version"]) not in there}


async def mend(settings: Settings, database: Database) -> list[int]:
    """The repair, as the command does it; the partitions that went on."""
    async with open_topic(lambda: make_reader(settings), settings.kafka_topic) as topic:
        number = await number_of(database, topic)
        for partition in await truncation.stopped(database):
            judged = await judge(database, topic, SOURCE, partition, number, WEEK)
            assert judged.missing or judged.elsewhere, "the last one at least"
            assert await carry_out(database, judged, number) == len(judged.missing)
            assert await carry_out(database, judged, number) == 0, "again: they are pending"
        lifted, still = await go_on(database, topic, SOURCE, number, WEEK)
    assert still == []
    return lifted


async def a_broker(folder: Path) -> tuple[Supervisor, NoidaBroker, Process]:
    supervisor, broker = Supervisor(folder / "logs"), NoidaBroker(folder, free_port())
    await broker.initialise()
    await supervisor.start(broker.spec())
    return supervisor, broker, supervisor.processes[broker.spec().name]


async def stands(running: RunningRelay) -> bool:
    return bool(running.states) and running.states[-1].kind is PartKind.STOPPED


@pytest.mark.timeout(240)
async def test_a_broker_that_lost_records_is_noticed_before_anything_is_sent_and_the_repair_leaves_no_hole(
    databases: Databases, orders: Orders, outbox_empty: OutboxEmpty, tmp_path: Path
) -> None:
    supervisor, broker, process = await a_broker(tmp_path)
    settings = settings_for(databases, broker.bootstrap_servers)
    await ensure_topic(settings)
    hot, cold = orders_in(HOT), orders_in(COLD)
    try:
        async with running_relay(settings) as running:
            for order in (*hot, *cold):
                await insert_event(orders, order, 1)
            await outbox_empty()
            await process.stop()  # in peace: all that is there stays
            await process.start()

            lost: set[int] = set()
            version, kills = 2, 0
            while not lost:  # it may have flushed just before
                kills += 1
                assert kills < 10
                version = await kill_under_writes(process, databases, orders, hot, from_version=version)
                lost = await lost_partitions(settings, orders)
            await until(lambda: stands(running), seconds=30)
            stopped = await truncation.stopped(running.database)
            assert stopped == lost
            assert stopped <= set(HOT)
            assert f"stopped partitions: {min(stopped)}" in running.states[-1].detail

            for order in cold:
                await insert_event(orders, order, 2)
            for order in cold:
                await until(lambda order=order: published(orders, order, 2), seconds=30)  # type: ignore[misc]

            # What the topic has is in order and without a hole: nothing was sent behind what is missing.
            seen = assert_in_order(await read_topic(broker.bootstrap_servers, settings.kafka_topic))
            behind = {order for order in hot if seen.get(order) != (await expected(orders))[order]}
            assert {partition_of(order) for order in behind} == stopped

        # Another leader, another process: the partition stands still.
        async with running_relay(settings) as other:
            await until(lambda: stands(other), seconds=30)
            late = orders_in(range(min(stopped), min(stopped) + 1), each=1)[0]
            await insert_event(orders, late, 1)

            async def waits() -> bool:
                return late in {row["order_id"] for row in await orders.fetch("SELECT order_id FROM waiting_orders")}

            await until(waits, seconds=30)
            assert set(await mend(settings, other.database)) == stopped
            await outbox_empty()

            async def ready() -> bool:
                return other.ok

            await until(ready, seconds=30)
        seen = assert_in_order(await read_topic(broker.bootstrap_servers, settings.kafka_topic))
        assert seen == await expected(orders)
        assert await orders.fetchval("SELECT count(*) FROM waiting_orders") == 0
    finally:
        await supervisor.stop()


async def test_after_a_connection_has_ended_the_topic_is_looked_at_before_anything_is_sent(
    databases: Databases, broker: str, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    async with KafkaProxy(free_port()) as proxy:
        proxy.broker_port = int(broker.rpartition(":")[2])
        settings = settings_for(databases, proxy.address)
        await ensure_topic(settings)
        on_topic_at_checks: list[int] = []

        async def check(*_: object) -> Compared:
            on_topic_at_checks.append(len(await read_topic(broker, settings.kafka_topic)))
            return Compared(frozenset())

        async with running_relay(settings, check_acknowledged=check):
            for sent in range(1, 4):
                await insert_event(orders, uuid4(), 1)
                await outbox_empty()
                assert on_topic_at_checks == list(range(sent))
                proxy.cut()


async def test_another_record_in_the_place_of_the_last_one_stops_the_partition(
    settings: Settings, orders: Orders, databases: Databases, outbox_empty: OutboxEmpty
) -> None:
    first, second = orders_in(range(3, 4))
    async with running_relay(settings):
        for order in (first, second):
            await insert_event(orders, order, 1)
        await outbox_empty()
    admin = await asyncpg.connect(databases.as_admin("orders"))
    await admin.execute('UPDATE publications SET "offset" = 1 - "offset"')
    await admin.close()
    async with running_relay(settings) as running:
        await until(lambda: stands(running), seconds=30)
        [stop] = await truncation.stops(running.database)
        assert (stop.partition, stop.offset) == (3, 1)
        assert stop.found == f"{SOURCE} orders/{second if stop.order_id == first else first}/1"
        await mend(settings, running.database)
        await outbox_empty()
    assert await places(orders) == {one.envelope.order_id: one.offset for one in await on_topic(settings)}


async def test_what_the_retention_removed_is_no_loss(
    settings: Settings, orders: Orders, databases: Databases, outbox_empty: OutboxEmpty
) -> None:
    [order] = orders_in(range(5, 6), each=1)
    async with running_relay(settings):
        await insert_event(orders, order, 1)
        await outbox_empty()
    await recreate(settings)
    admin = await asyncpg.connect(databases.as_admin("orders"))
    await admin.execute("UPDATE publications SET published_at = published_at - interval '169 hours'")
    await admin.close()
    async with running_relay(settings) as running:
        await insert_event(orders, order, 2)
        await outbox_empty()
        assert running.ok


async def test_a_topic_that_was_made_anew_gets_everything_again(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    known = orders_in(range(12), each=1)
    async with running_relay(settings):
        for order in known:
            await insert_event(orders, order, 1)
            await insert_event(orders, order, 2)
        await outbox_empty()
    await recreate(settings)
    async with running_relay(settings) as running:
        await until(lambda: stands(running), seconds=30)
        assert await truncation.stopped(running.database) == set(range(12))
        for order in known:
            await insert_event(orders, order, 3)
        await mend(settings, running.database)
        await outbox_empty()
    seen = assert_in_order(await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic))
    assert seen == {order: [1, 2, 3] for order in known}


@pytest.mark.timeout(120)
async def test_a_topic_made_anew_under_a_connected_relay_is_noticed_and_the_repair_leaves_nothing_out(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    await outlives_a_topic_made_anew(settings, orders, outbox_empty, Cause.LOST)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("cause", [Cause.MADE_ANEW, Cause.LOST], ids=["by its id", "by offsets that begin again"])
async def test_the_same_on_apache_kafka_which_takes_records_on_the_old_connection(
    databases: Databases,
    orders: Orders,
    outbox_empty: OutboxEmpty,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    cause: Cause,
) -> None:
    if cause is Cause.LOST:
        request.getfixturevalue("kafka_ids").present = None
    broker = ApacheBroker(tmp_path, free_port(), free_port())
    try:
        await broker.initialise()
    except StackError as error:
        pytest.skip(str(error))
    supervisor = Supervisor(tmp_path / "logs")
    try:
        await supervisor.start(broker.spec())
        settings = settings_for(databases, broker.bootstrap_servers)
        await ensure_topic(settings)
        await outlives_a_topic_made_anew(settings, orders, outbox_empty, cause)
    finally:
        await supervisor.stop()


async def outlives_a_topic_made_anew(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty, cause: Cause
) -> None:
    known = orders_in(range(12), each=1)
    async with running_relay(settings) as running:
        for order in known:
            await insert_event(orders, order, 1)
        await outbox_empty()
        await recreate(settings)
        # Fewer than there were, as many, and more: offsets alone tell the new topic from the old one nowhere.
        for number, order in enumerate(known):
            for version in range(2, 2 + number % 4):
                await insert_event(orders, order, version)
        await until(lambda: stands(running), seconds=60)

        async def all_stopped() -> bool:
            # Of the others nothing was written since: the next look finds them, at the latest after 30 s.
            return await truncation.stopped(running.database) == set(range(12))

        await until(all_stopped, seconds=60)
        assert {stop.cause for stop in await truncation.stops(running.database)} == {cause}
        await mend(settings, running.database)
        await outbox_empty()
    seen = await on_topic(settings)
    assert {(one.envelope.order_id, one.envelope.version) for one in seen} == {
        (order, version) for order, versions in (await expected(orders)).items() for version in versions
    }
    # Whoever leads next finds nothing wrong.
    async with running_relay(settings) as running:

        async def ready() -> bool:
            return running.ok

        await until(ready, seconds=30)
        assert await truncation.stopped(running.database) == frozenset()


async def test_a_topic_of_another_id_stops_the_partitions_although_offset_and_event_agree(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty, kafka_ids: KafkaIds
) -> None:
    [order] = orders_in(range(4, 5), each=1)
    async with running_relay(settings) as running:
        await insert_event(orders, order, 1)
        await outbox_empty()
        kafka_ids.present = uuid4()
        await insert_event(orders, order, 2)
        await until(lambda: stands(running), seconds=30)
        [stop] = await truncation.stops(running.database)
        assert (stop.partition, stop.offset, stop.cause) == (4, 0, Cause.MADE_ANEW)
        assert len(await on_topic(settings)) == 1, "nothing was sent before the look"
        await mend(settings, running.database)
        await outbox_empty()
    assert [one.envelope.version for one in await on_topic(settings)] == [1, 2]
    numbers = await orders.fetch("SELECT DISTINCT t.kafka_id FROM publications JOIN topics t USING (topic_id)")
    assert [row["kafka_id"] for row in numbers] == [kafka_ids.present]


async def test_what_was_published_before_topics_had_numbers_is_compared_by_its_place(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty, kafka_ids: KafkaIds
) -> None:
    first, second = orders_in(range(2, 3))
    kafka_ids.present = None
    async with running_relay(settings):
        await insert_event(orders, first, 1)
        await outbox_empty()
    kafka_ids.present = uuid4()
    async with running_relay(settings) as running:
        await insert_event(orders, second, 1)
        await outbox_empty()
        assert running.ok
    kafka_ids.present = uuid4()
    async with running_relay(settings) as running:
        await until(lambda: stands(running), seconds=30)


@pytest.fixture
def kafka_ids(monkeypatch: pytest.MonkeyPatch) -> KafkaIds:
    ids = KafkaIds(uuid4())

    async def present(*_: object) -> UUID | None:
        return ids.present

    monkeypatch.setattr("orderflow.stream.connections.topic_id", present)
    monkeypatch.setattr("orderflow.stream.truncation.topic_id_of", present)
    return ids


async def on_topic(settings: Settings) -> list[Seen]:
    return await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)


async def places(orders: Orders) -> dict[UUID, int]:
    return {row["order_id"]: row["offset"] for row in await orders.fetch('SELECT order_id, "offset" FROM publications')}


async def recreate(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_topics([settings.kafka_topic])

    async def gone() -> bool:
        return settings.kafka_topic not in await admin.list_topics()

    await until(gone, seconds=30)
    await admin.close()
    await ensure_topic(settings)


async def test_what_is_republished_beside_writers_and_relays_keeps_its_order(
    settings: Settings, orders: Orders, databases: Databases, orders_database: Database, outbox_empty: OutboxEmpty
) -> None:
    known = orders_in(range(12), each=1)
    done = asyncio.Event()

    async def write() -> None:
        connection = await asyncpg.connect(databases.orders)
        for version in range(1, 40):
            for order in known:
                await insert_event(connection, order, version)
        await connection.close()
        done.set()

    async with running_relay(settings.model_copy(update={"relay_batch_size": 20})):
        writing = asyncio.create_task(write())
        moved = 0
        while not done.is_set() or not moved:
            moved += await truncation.move_back(orders_database, await truncation.published(orders_database, Chosen()))
        await writing
        await outbox_empty()
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen) == await expected(orders)
    assert len({one.envelope.id for one in seen}) < len(seen), "some were sent again"
    rows = await orders.fetch('SELECT partition, "offset" FROM publications')
    assert len(rows) == len({tuple(row) for row in rows}) == 39 * len(known)


async def test_what_the_log_has_let_go_is_no_loss(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    [order] = orders_in(range(7, 8), each=1)
    async with running_relay(settings):
        await insert_event(orders, order, 1)
        await outbox_empty()
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(settings.kafka_topic, 7): RecordsToDelete(before_offset=1)})
    await admin.close()
    async with open_topic(lambda: make_reader(settings), settings.kafka_topic) as topic:
        assert await topic.mismatches(SOURCE, [Position(order, 1, 7, 0)]) == {}
        assert await topic.mismatches(SOURCE, [Position(order, 2, 7, 1)]) != {}


@pytest.mark.parametrize("statement", [truncation._LAST, truncation._ELSEWHERE], ids=["last", "elsewhere"])
async def test_the_last_ones_are_read_from_the_index_however_many_were_published(
    databases: Databases, statement: Statement
) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    await admin.execute(
        """
        INSERT INTO topics (kafka_id, name, turn)
        SELECT gen_random_uuid(), 'order.events', n FROM generate_series(1, 3) n;
        SET session_replication_role = replica;
        INSERT INTO publications (order_id, version, partition, "offset", topic_id)
        SELECT gen_random_uuid(), 1, n % 12, n / 12, CASE WHEN n < 90000 THEN 1 + (n / 12) % 3 END
        FROM generate_series(1, 100000) n;
        RESET session_replication_role;
        """
    )
    await admin.execute("VACUUM ANALYZE publications, topics")
    arguments = statement.arguments({"topic": 2, "retention": WEEK})
    [found] = json.loads(await admin.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.sql}", *arguments))
    await admin.close()
    assert found["Plan"]["Actual Rows"] == 12
    assert found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"] < 400
