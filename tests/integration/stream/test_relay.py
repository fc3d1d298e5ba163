"""The relay's guarantees, on the real Postgres and a real Kafka-protocol broker."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError

from orderflow.settings import SERVICES, Settings
from orderflow.stack.kafka import NoidaBroker
from orderflow.stack.ports import free_port
from orderflow.stack.processes import Process
from orderflow.stack.supervisor import Supervisor
from orderflow.store import outbox, outbox_status
from orderflow.store.database import Database
from orderflow.stream import relay
from orderflow.stream.clients import connection_options, make_producer
from orderflow.stream.publisher import Publisher
from orderflow.stream.topic import ensure_topic
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, PartKind, PartState
from support.kafka_proxy import KafkaProxy
from support.paths import ROOT
from support.relays import many_connections, running_relay, settings_for
from support.stack import Databases
from support.stream import CREATED, assert_in_order, insert_event, read_topic
from support.waiting import until
from workers.relay import serve
from workers.shared import Shared

Orders: TypeAlias = "asyncpg.Connection[Any]"
OutboxEmpty = Callable[[], Awaitable[None]]


async def write_orders(dsn: str, count: int, versions: int, *, seed: int = 1, writers: int = 8) -> list[UUID]:
    """``count`` orders with 1 to ``versions`` events each, by concurrent writers whose commits come out of order."""
    chance = random.Random(seed)
    orders = [UUID(int=chance.getrandbits(128), version=4) for _ in range(count)]
    plan = {order: chance.randint(1, versions) for order in orders}
    todo = iter(orders)
    async with many_connections(dsn, writers) as pool:

        async def write() -> None:
            for order in todo:
                for version in range(1, plan[order] + 1):
                    async with pool.acquire() as connection, connection.transaction():
                        await insert_event(connection, order, version)
                        # The position is taken; others commit before we do.
                        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.02)))

        await asyncio.gather(*(write() for _ in range(writers)))
    return orders


async def expected(orders: Orders) -> dict[UUID, list[int]]:
    rows = await orders.fetch("SELECT order_id, array_agg(version ORDER BY version) v FROM events GROUP BY order_id")
    return {row["order_id"]: row["v"] for row in rows}


async def test_every_event_is_published_in_order_while_writers_commit_out_of_order(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    settings = settings.model_copy(update={"relay_batch_size": 25})
    async with running_relay(settings):
        await write_orders(settings.orders_database_url.get_secret_value(), 150, 6)
        await outbox_empty()
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen) == await expected(orders)
    assert max(Counter(s.envelope.id for s in seen).values()) == 1, "no failure, no duplicate"


async def test_what_commits_late_is_published_after_what_came_behind_it(settings: Settings, orders: Orders) -> None:
    late, later = uuid4(), uuid4()
    async with many_connections(settings.orders_database_url.get_secret_value(), 1) as pool, running_relay(settings):
        async with pool.acquire() as connection, connection.transaction():
            await insert_event(connection, late, 1)  # it has the lower position
            await insert_event(orders, later, 1)

            async def published() -> bool:
                return bool(await orders.fetchval("SELECT count(*) FROM publications"))

            await until(published, seconds=30)

        async def both_published() -> bool:
            return bool(await orders.fetchval("SELECT count(*) = 2 FROM publications"))

        await until(both_published)
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert {s.envelope.order_id for s in seen} == {late, later}


async def test_publications_say_where_each_event_stands(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    async with running_relay(settings):
        await write_orders(settings.orders_database_url.get_secret_value(), 40, 4)
        await outbox_empty()
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    rows = await orders.fetch('SELECT order_id, version, partition, "offset" FROM publications')
    assert {tuple(row) for row in rows} == {
        (s.envelope.order_id, s.envelope.version, s.partition, s.offset) for s in seen
    }
    assert len({s.partition for s in seen}) > 1


async def test_a_record_is_a_cloud_event(settings: Settings, orders: Orders, outbox_empty: OutboxEmpty) -> None:
    order = uuid4()
    await insert_event(orders, order, 1, type="ORDER_CREATED", status="DRAFT", data=CREATED)
    async with running_relay(settings):
        await outbox_empty()
    [record] = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    recorded_at = await orders.fetchval("SELECT recorded_at FROM events")
    assert record.key == str(order).encode()
    assert record.headers == {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": f"orders/{order}/1",
        "ce_source": "/orderflow/orders",
        "ce_type": "ORDER_CREATED",
        "ce_subject": str(order),
        "ce_sequence": "0000000001",
        "ce_time": recorded_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "ce_dataschema": "urn:orderflow:event:ORDER_CREATED:1",
        "ce_correlationid": "corr-1",
        "ce_authtype": "system",
        "ce_traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    assert record.envelope.event.model_dump(mode="json", exclude_none=True) == CREATED


@contextlib.asynccontextmanager
async def own_broker(folder: Path) -> AsyncIterator[tuple[KafkaProxy, Process]]:
    """A broker that this test may stop, inside ``proxy.losing_answers()``; clients come through the proxy."""
    supervisor = Supervisor(folder / "logs")
    broker = NoidaBroker(folder, free_port())
    await broker.initialise()
    try:
        async with KafkaProxy(free_port()) as proxy:
            proxy.broker_port = broker.port
            await supervisor.start(broker.spec())
            yield proxy, supervisor.processes[broker.spec().name]
    finally:
        await supervisor.stop()


async def test_what_is_written_while_kafka_is_away_is_published_when_it_is_back(
    databases: Databases, orders: Orders, outbox_empty: OutboxEmpty, tmp_path: Path
) -> None:
    async with own_broker(tmp_path) as (proxy, broker):
        settings = settings_for(databases, proxy.address)
        await ensure_topic(settings)
        async with running_relay(settings, delivery_timeout=2.0) as running:
            writing = asyncio.create_task(write_orders(databases.orders, 120, 5))

            async def some_published() -> bool:
                return bool(await orders.fetchval("SELECT count(*) FROM publications") > 20)

            await until(some_published, seconds=30)
            with proxy.losing_answers():
                await broker.stop()

                async def not_ready() -> bool:
                    return not running.ok

                await insert_event(orders, uuid4(), 1)
                await until(not_ready, seconds=30)
                await writing
                assert await orders.fetchval("SELECT count(*) FROM outbox") > 0
            await broker.start()
            await outbox_empty()

            async def ready() -> bool:
                return running.ok

            await until(ready, seconds=30)
        seen = await read_topic(proxy.address, settings.kafka_topic)
        assert assert_in_order(seen) == await expected(orders)


async def test_two_leaders_at_once_make_duplicates_but_never_a_wrong_order(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def everybody_leads(*_: object) -> bool:
        return True

    monkeypatch.setattr(outbox, "hold_lease", everybody_leads)
    settings = settings.model_copy(update={"relay_batch_size": 10, "relay_pacing_seconds": 0.0})
    async with running_relay(settings), running_relay(settings):
        await write_orders(settings.orders_database_url.get_secret_value(), 150, 6)
        await outbox_empty()
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen) == await expected(orders)
    assert max(Counter(s.envelope.id for s in seen).values()) > 1, "both did publish"
    assert await orders.fetchval("SELECT count(*) FROM publications") == await orders.fetchval(
        "SELECT count(*) FROM events"
    )


_RELAY_PROCESS = """
import asyncio
from orderflow.settings import Settings
from workers.relay import serve
from workers.shared import Shared
class Health:
    def set(self, part, state):
        print(part, state, flush=True)
asyncio.run(serve(Settings(), asyncio.Event(), Health(), Shared(Settings(), ())))
"""


@contextlib.asynccontextmanager
async def relay_process(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """The three relays in a process of their own."""
    secrets = {
        settings.database_variable(service, "relay"): settings.database_url(service, "relay") for service in SERVICES
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _RELAY_PROCESS),
        cwd=ROOT,
        env=os.environ
        | secrets
        | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'events'}",
            "ORDERFLOW_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "ORDERFLOW_KAFKA_TOPIC": settings.kafka_topic,
            "ORDERFLOW_RELAY_LEASE_SECONDS": str(settings.relay_lease_seconds),
            "ORDERFLOW_RELAY_BATCH_SIZE": "5",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes_up(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    dsn = settings.orders_database_url.get_secret_value()

    async def holder() -> str | None:
        found: str | None = await orders.fetchval("SELECT holder FROM relay_lease WHERE expires_at > clock_timestamp()")
        return found

    async def held() -> bool:
        return await holder() is not None

    async with relay_process(settings) as frozen:
        await until(held, seconds=30)
        first = await holder()
        async with running_relay(settings) as standby:
            writing = asyncio.create_task(write_orders(dsn, 150, 6))

            async def some_published() -> bool:
                return bool(await orders.fetchval("SELECT count(*) FROM publications") > 20)

            await until(some_published, seconds=30)
            assert not standby.relay.leads
            frozen.send_signal(signal.SIGSTOP)

            async def taken_over() -> bool:
                return standby.relay.leads

            await until(taken_over, seconds=10)
            await writing
            await outbox_empty()
            frozen.send_signal(signal.SIGCONT)
            await write_orders(dsn, 60, 4, seed=2)
            await outbox_empty()
            assert await holder() != first
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen) == await expected(orders)


async def test_a_producer_that_lost_its_sequence_is_replaced(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    producers: list[AIOKafkaProducer] = []

    def remembered() -> AIOKafkaProducer:
        producers.append(make_producer(settings))
        return producers[-1]

    async with running_relay(settings, make_producer=remembered):
        known = [uuid4() for _ in range(30)]
        for order in known:
            await insert_event(orders, order, 1)
        await outbox_empty()
        numbers = producers[0]._txn_manager._sequence_numbers
        for partition in numbers:
            numbers[partition] += 7  # as a batch that was never sent does
        for order in known:
            await insert_event(orders, order, 2)
            await insert_event(orders, order, 3)
        await outbox_empty()
    assert len(producers) > 1
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen) == {order: [1, 2, 3] for order in known}


async def parked(orders: Orders) -> list[tuple[UUID, int]]:
    return [tuple(row) for row in await orders.fetch("SELECT order_id, version FROM parked_orders")]


async def test_a_record_that_kafka_refuses_parks_its_order_and_no_other(settings: Settings, orders: Orders) -> None:
    def generous() -> AIOKafkaProducer:  # so that the broker refuses, and the whole batch with it
        return AIOKafkaProducer(
            **connection_options(settings),
            acks="all",
            enable_idempotence=True,
            linger_ms=20,
            max_request_size=8_000_000,
            max_batch_size=4_000_000,
        )

    big, others = uuid4(), [uuid4() for _ in range(60)]
    async with orders.transaction():
        for order in others[:30]:
            await insert_event(orders, order, 1)
        await insert_event(orders, big, 1)
        await insert_event(orders, big, 2, data={"note": "x" * 3_000_000})
        await insert_event(orders, big, 3)
        for order in others:
            await insert_event(orders, order, 2 if order in others[:30] else 1)

    async def only_the_parked_waits() -> bool:
        return {row["order_id"] for row in await orders.fetch("SELECT order_id FROM outbox")} == {big} and bool(
            await parked(orders)
        )

    async with running_relay(settings, make_producer=generous) as running:
        await until(only_the_parked_waits, seconds=30)
        assert await parked(orders) == [(big, 2)]
        late = uuid4()
        await insert_event(orders, late, 1)
        await until(only_the_parked_waits, seconds=30)
        depth = await outbox.depth(running.database)
        assert (depth.entries, depth.parked_orders) == (2, 1)
        assert depth.oldest_age.total_seconds() > 0
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen)[big] == [1]


async def test_an_unparked_order_is_published_from_where_it_stopped(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    def small() -> AIOKafkaProducer:
        return AIOKafkaProducer(**connection_options(settings), enable_idempotence=True, max_request_size=10_000)

    order = uuid4()
    for version in (1, 2, 3, 4):
        await insert_event(orders, order, version, data={"note": "x" * 50_000} if version == 2 else None)

    async def is_parked() -> bool:
        return await parked(orders) == [(order, 2)]

    async with running_relay(settings, make_producer=small):
        await until(is_parked, seconds=30)
    async with running_relay(settings) as running:  # a larger limit, as after a change of the broker's
        other = uuid4()
        await insert_event(orders, other, 1)

        async def other_published() -> bool:
            return bool(await orders.fetchval("SELECT count(*) FROM publications WHERE order_id = $1", other))

        await until(other_published, seconds=30)
        assert await orders.fetchval("SELECT count(*) FROM outbox WHERE order_id = $1", order) == 3, (
            "until a person says"
        )
        assert await outbox.unpark(running.database, order)
        assert not await outbox.unpark(running.database, order)
        await outbox_empty()
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert [s.envelope.version for s in seen if s.envelope.order_id == order] == [1, 2, 3, 4]


def _limited(settings: Settings) -> AIOKafkaProducer:
    """As to a topic whose limit is too low."""
    return AIOKafkaProducer(**connection_options(settings), enable_idempotence=True, max_request_size=10_000)


@pytest.mark.parametrize("restarted", [False, True], ids=["mended_meanwhile", "mended_before_a_restart"])
async def test_a_topic_that_refuses_many_orders_parks_a_few_and_the_others_go_on(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty, restarted: bool
) -> None:
    """A limit that is too low for a while: what is refused waits, the rest is published, and one command mends it."""
    mended = False
    big, small = [uuid4() for _ in range(25)], [uuid4() for _ in range(25)]
    for large, little in zip(big, small, strict=True):
        await insert_event(orders, large, 1, data={"note": "x" * 50_000})
        await insert_event(orders, large, 2)
        await insert_event(orders, little, 1)

    def producer() -> AIOKafkaProducer:
        return make_producer(settings) if mended else _limited(settings)

    async def only_the_refused_wait() -> bool:
        waiting = await orders.fetch("SELECT DISTINCT order_id FROM outbox")
        return {row["order_id"] for row in waiting} == set(big)

    async def all_but_the_parked_are_published() -> bool:
        return bool(await orders.fetchval("SELECT count(*) = $1 FROM outbox", 2 * outbox.PARKED_AT_ONCE))

    async with running_relay(settings.model_copy(update={"relay_batch_size": 10}), make_producer=producer) as running:
        await until(only_the_refused_wait, seconds=30)
        late = uuid4()
        await insert_event(orders, late, 1)
        await until(only_the_refused_wait, seconds=30)
        assert len(await parked(orders)) == outbox.PARKED_AT_ONCE
        assert running.relay.held_orders == len(big) - outbox.PARKED_AT_ONCE
        assert running.states[-1].kind is PartKind.WAITING
        assert "`orderflow outbox unpark --all`" in running.states[-1].detail
        assert "MessageSizeTooLarge" in running.states[-1].detail
        assert (await outbox_status.status(running.database)).refuses_many
        if not restarted:
            mended = True
            await running.publisher.close()
            await until(all_but_the_parked_are_published, seconds=30)
    mended = True
    async with running_relay(settings, make_producer=producer) as running:
        await until(all_but_the_parked_are_published, seconds=30)
        assert running.relay.held_orders == 0
        assert await outbox.unpark_all(running.database, "no such cause") == []
        assert set(await outbox.unpark_all(running.database, "messagesizetoolarge")) <= set(big)
        await outbox_empty()

        async def ready() -> bool:
            return running.ok

        await until(ready)
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen) == {order: [1, 2] for order in big} | {order: [1] for order in (*small, late)}


async def test_a_clock_that_is_ahead_parks_a_few_orders_and_not_all(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka refuses every record of it, for its time; when the clock is right again all go out."""
    ahead = True
    send = Publisher._give

    async def refused_for_its_time(self: Publisher, producer: AIOKafkaProducer, record: Any) -> Any:
        if ahead:
            raise InvalidTimestampError()
        return await send(self, producer, record)

    monkeypatch.setattr(Publisher, "_give", refused_for_its_time)
    known = [uuid4() for _ in range(40)]
    for order in known:
        await insert_event(orders, order, 1)
    async with running_relay(settings) as running:

        async def all_held() -> bool:
            return running.relay.held_orders == len(known) - outbox.PARKED_AT_ONCE

        await until(all_held, seconds=30)
        assert "InvalidTimestamp" in running.states[-1].detail
        later = uuid4()
        await insert_event(orders, later, 1)
        ahead = False

        async def held_no_more() -> bool:
            return not running.relay.held_orders and running.ok

        await until(held_no_more, seconds=30)
        await outbox.unpark_all(running.database)
        await outbox_empty()
    assert await parked(orders) == []


async def test_orders_that_are_refused_one_by_one_are_parked_each(settings: Settings, orders: Orders) -> None:
    """However many they become: it is several at once that are no order's fault."""
    async with running_relay(settings, make_producer=lambda: _limited(settings)) as running:
        for number in range(1, 2 * outbox.PARKED_AT_ONCE):
            await insert_event(orders, uuid4(), 1, data={"note": "x" * 50_000})

            async def parked_it(number: int = number) -> bool:
                return len(await parked(orders)) == number

            await until(parked_it, seconds=30)
            await orders.execute("UPDATE parked_orders SET parked_at = parked_at - interval '16 seconds'")
        assert running.relay.held_orders == 0
        assert not (await outbox_status.status(running.database)).refuses_many


async def test_a_topic_that_is_wrong_parks_nothing_and_gets_nothing(
    databases: Databases, broker: str, orders: Orders, outbox_empty: OutboxEmpty
) -> None:
    settings = settings_for(databases, broker)
    await insert_event(orders, uuid4(), 1)
    async with running_relay(settings) as running:

        async def said() -> bool:
            return any("orderflow setup" in state.detail for state in running.states)

        await until(said, seconds=30)
        assert await orders.fetchval("SELECT count(*) FROM outbox") == 1
        assert await parked(orders) == []
        assert OK not in running.states
        await ensure_topic(settings)
        await outbox_empty()
    assert len(await read_topic(broker, settings.kafka_topic)) == 1


async def test_a_lost_database_connection_is_made_again(
    settings: Settings, orders: Orders, databases: Databases, outbox_empty: OutboxEmpty
) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    async with running_relay(settings):
        for _ in range(3):
            await insert_event(orders, uuid4(), 1)
            await admin.execute(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'relay-orders'"""
            )
            await outbox_empty()
    await admin.close()
    seen = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    assert assert_in_order(seen) == await expected(orders)


async def test_a_notice_wakes_the_relay(
    settings: Settings, orders: Orders, outbox_empty: OutboxEmpty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 600.0)
    dsn = settings.orders_database_url.get_secret_value()
    async with running_relay(settings) as running, Database("writer", dsn) as database:

        async def idle() -> bool:
            listening = await orders.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
            return running.ok and running.relay.leads and listening == 1

        await until(idle, seconds=30)
        await database.pool()
        await insert_event(orders, uuid4(), 1)
        database.wrote()
        await asyncio.wait_for(outbox_empty(), 10)


async def test_polling_is_enough(settings: Settings, orders: Orders, outbox_empty: OutboxEmpty) -> None:
    async with running_relay(settings) as running:

        async def leads() -> bool:
            return running.ok and running.relay.leads

        await until(leads, seconds=30)
        await insert_event(orders, uuid4(), 1)  # and nobody says so
        await outbox_empty()


async def test_a_stopped_relay_gives_its_lease_back(settings: Settings, orders: Orders) -> None:
    states: dict[str, PartState] = {}

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            states[part] = state

    async def all_ready() -> bool:
        return states == {"relay:orders": OK, "relay:payments": OK, "relay:inventory": OK} and bool(
            await orders.fetchval("SELECT count(*) FROM relay_lease")
        )

    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stopping, Told(), Shared(settings, ())))
    await until(all_ready, seconds=30)
    stopping.set()
    await asyncio.wait_for(serving, 10)
    assert await orders.fetchval("SELECT count(*) FROM relay_lease") == 0
