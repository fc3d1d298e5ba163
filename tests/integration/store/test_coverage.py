"""An event that somebody deleted from the outbox is found, and put back where it belongs."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio

from orderflow.store import coverage, outbox
from orderflow.store.coverage import Forgotten
from orderflow.store.database import Database
from orderflow.store.outbox import Published
from support.stack import Databases
from support.stream import insert_event, let_events_stand_alone

DAY = timedelta(days=1)


@pytest_asyncio.fixture
async def admin(databases: Databases) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(databases.as_admin("orders"))
    await let_events_stand_alone(connection)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with Database("orders", databases.orders, pool_size=2) as database:
        yield database


async def events(connection: "asyncpg.Connection[Any]", *versions: int) -> UUID:
    order = uuid4()
    for version in versions:
        await insert_event(connection, order, version)
    return order


async def delete(connection: "asyncpg.Connection[Any]", order: UUID, version: int) -> None:
    await connection.execute("DELETE FROM outbox WHERE order_id = $1 AND version = $2", order, version)


async def found(database: Database) -> dict[UUID, tuple[int, ...]]:
    return {one.order_id: one.versions for one in await coverage.forgotten(database, DAY)}


async def test_what_waits_or_is_published_is_not_forgotten_and_what_was_deleted_is(
    database: Database, admin: "asyncpg.Connection[Any]"
) -> None:
    order = await events(admin, 1, 2, 3, 4)
    [first, *_] = await outbox.pending(database, 10)
    await outbox.acknowledge(database, [Published(first, 3, 17, None)])
    assert await found(database) == {}
    await delete(admin, order, 2)
    await delete(admin, order, 4)
    assert await found(database) == {order: (2, 4)}


async def test_it_comes_back_ahead_of_what_is_pending_of_its_order_and_once(
    database: Database, admin: "asyncpg.Connection[Any]"
) -> None:
    order = await events(admin, 1, 2, 3)
    other = await events(admin, 1)
    await delete(admin, order, 2)
    assert await coverage.put_back(database, order, [2]) == 1
    assert await coverage.put_back(database, order, [2]) == 0
    assert await coverage.put_back(database, other, [1, 2]) == 0, "one waits, the other is no event"
    pending = [(entry.order_id, entry.version) for entry in await outbox.pending(database, 10)]
    assert [entry for entry in pending if entry[0] == order] == [(order, 1), (order, 2), (order, 3)]
    assert len(pending) == 4


async def test_the_next_look_begins_before_the_oldest_event_that_waits(
    database: Database, admin: "asyncpg.Connection[Any]"
) -> None:
    order = await events(admin, 1)
    await events(admin, 1)
    await admin.execute("SET session_replication_role = replica")
    await admin.execute("UPDATE events SET recorded_at = recorded_at - interval '3 hours' WHERE order_id = $1", order)
    now = await admin.fetchval("SELECT clock_timestamp()")
    for _ in range(2):
        await coverage.checked(database, now)
    await delete(admin, order, 1)
    [one] = await coverage.forgotten(database, DAY)
    assert one == Forgotten(order, (1,), await admin.fetchval("SELECT min(recorded_at) FROM events"))
    assert await coverage.forgotten(database, timedelta(hours=2)) == [], "older than the window"
    await coverage.checked(database, now + coverage.UNSEEN)
    assert await found(database) == {}, "before the moment up to which all was published"


async def test_the_events_of_an_hour_are_looked_up_one_by_one_whatever_the_table_holds(
    databases: Databases, admin: "asyncpg.Connection[Any]"
) -> None:
    await admin.execute(
        """
        SET session_replication_role = replica;
        INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id, recorded_at)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 1, 'ORDER_CREATED', 'DRAFT', '{}', 'w:place', '',
               clock_timestamp() - (100000 - n) * interval '1 second'
        FROM generate_series(1, 100000) n;
        INSERT INTO publications (order_id, version, partition, "offset") SELECT order_id, 1, 0, 0 FROM events;
        RESET session_replication_role;
        """
    )
    await admin.execute("VACUUM ANALYZE events, publications")
    statement = coverage._FORGOTTEN
    until = await admin.fetchval("SELECT clock_timestamp()")
    arguments = statement.arguments({"since": until - coverage.SLICE, "until": until})
    plan = await admin.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.sql}", *arguments)
    [top] = json.loads(plan)
    assert "events_by_time" in plan
    assert '"Seq Scan"' not in plan.replace('"Relation Name": "outbox"', ""), plan
    pages = top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"]
    assert pages < 5 * 3600, "three or four of an index for each event of the hour"


async def test_a_mark_of_a_clock_that_was_set_back_hides_nothing(
    database: Database, admin: "asyncpg.Connection[Any]"
) -> None:
    now = await admin.fetchval("SELECT clock_timestamp()")
    await coverage.checked(database, now + timedelta(hours=2))
    order = await events(admin, 1)
    await delete(admin, order, 1)
    assert await found(database) == {order: (1,)}
    await coverage.checked(database, now)
    assert await admin.fetchval("SELECT checked_until FROM coverage") == now - coverage.UNSEEN
    await coverage.checked(database, now - DAY)
    assert await admin.fetchval("SELECT checked_until FROM coverage") == now - coverage.UNSEEN, "never backwards"
