"""The waiter: what is waited for is noticed at once, and without notices within a poll; one query for all."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from api.orders import waiting
from api.orders.waiting import Waiter
from orderflow.domain.access import EVERYONE
from orderflow.store import waits
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from orderflow.store.statements import Statement
from orderflow.store.waits import Wait
from support.orders import an_order, command
from support.stack import Databases
from support.tokens import seal
from support.waiting import until

PLACE = "w:place"


@pytest_asyncio.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with Database("orders", databases.orders) as database:
        yield database


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many each look-up was."""
    sizes: list[int] = []

    async def counted(database: Database, those: Sequence[Wait]) -> list[Wait]:
        found = await waits.ended(database, those)
        sizes.append(len(those))
        return found

    monkeypatch.setattr(waiting, "ended", counted)
    return sizes


async def place(database: Database, order_id: UUID) -> None:
    order = an_order(order_id=order_id)
    await Orders(database).place(order, command("place", PLACE), seal(order_id, "tok_ok"))


async def listening(databases: Databases) -> int:
    """How many connections LISTEN on the orders database."""
    connection = await asyncpg.connect(databases.as_admin("orders"))
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    await connection.close()
    return count


async def test_a_notice_ends_the_wait_at_once(
    database: Database, databases: Databases, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 30)
    async with Waiter(database) as waiter:
        await until(lambda: _is(listening(databases), 1))
        order_id = uuid4()
        wait = asyncio.create_task(waiter.command_ends(order_id, PLACE, 20))
        await until(lambda: _is(_last(asked), 1))
        started = time.monotonic()
        await place(database, order_id)
        assert await wait
    assert time.monotonic() - started < 5


async def test_a_write_of_another_process_is_noticed(
    database: Database, databases: Databases, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 30)
    order_id = uuid4()
    async with Waiter(database) as waiter, Database("orders", databases.orders) as elsewhere:
        await until(lambda: _is(listening(databases), 1))
        await place(elsewhere, order_id)
        wait = asyncio.create_task(waiter.order_changes(order_id, 1, 20))
        await until(lambda: _is(_last(asked), 1))
        await Orders(elsewhere).carry_out(order_id, command("approve"), EVERYONE)
        async with asyncio.timeout(5):
            assert await wait


async def test_what_has_happened_already_is_seen_at_once(database: Database) -> None:
    order_id = uuid4()
    await place(database, order_id)
    async with Waiter(database) as waiter:
        assert await waiter.command_ends(order_id, PLACE, 20)
        assert await waiter.order_changes(order_id, 0, 20)
        assert not await waiter.order_changes(order_id, 1, 0.1)


async def test_without_notices_polling_finds_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(*_: object) -> None:
        raise asyncpg.InsufficientPrivilegeError("no LISTEN here")

    monkeypatch.setattr(Database, "_listen", deaf)
    async with Waiter(database) as waiter:
        order_id = uuid4()
        wait = asyncio.create_task(waiter.command_ends(order_id, PLACE, 20))
        await place(database, order_id)
        assert await wait


async def test_after_a_lost_connection_it_listens_again_and_looks_everything_up(
    database: Database, databases: Databases, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 30)
    quiet = asyncio.Event()
    monkeypatch.setattr(Database, "wrote", lambda _: quiet.set())  # no notice will come
    async with Waiter(database) as waiter:
        await until(lambda: _is(listening(databases), 1))
        order_id = uuid4()
        wait = asyncio.create_task(waiter.command_ends(order_id, PLACE, 20))
        await until(lambda: _is(_last(asked), 1))
        await place(database, order_id)
        assert quiet.is_set()
        assert not wait.done()
        admin = await asyncpg.connect(databases.as_admin("orders"))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
        )
        await admin.close()
        assert await wait


async def test_one_query_looks_up_all_that_is_waited_for_and_none_runs_when_nobody_waits(
    database: Database, asked: list[int]
) -> None:
    async with Waiter(database) as waiter:
        orders = [uuid4() for _ in range(20)]
        waiting_for = [asyncio.create_task(waiter.command_ends(order_id, PLACE, 20)) for order_id in orders]
        # Of one order and one version, however many ask.
        waiting_for += [asyncio.create_task(waiter.order_changes(orders[0], 0, 20)) for _ in range(100)]
        await until(lambda: _is(_last(asked), 21))
        for order_id in orders:
            await place(database, order_id)
        assert all(await asyncio.gather(*waiting_for))
        rounds = len(asked)
        assert not await waiter.command_ends(uuid4(), PLACE, 0)
        await place(database, uuid4())
        assert len(asked) <= rounds + 1


async def test_who_gives_up_is_forgotten(database: Database) -> None:
    async with Waiter(database) as waiter:
        order_id, gone = uuid4(), asyncio.Event()
        assert not await waiter.command_ends(order_id, PLACE, 0.01)
        cancelled = asyncio.create_task(waiter.command_ends(order_id, PLACE, 60))
        left = asyncio.create_task(waiter.order_changes(order_id, 1, 60, gone.wait))
        await until(lambda: _is(_count(waiter), 2))
        cancelled.cancel()
        gone.set()
        async with asyncio.timeout(5):
            assert not await left
        await asyncio.gather(cancelled, return_exceptions=True)
        assert await _count(waiter) == 0


async def test_when_the_process_stops_nobody_waits_any_more(database: Database) -> None:
    async with Waiter(database) as waiter, asyncio.timeout(5):
        waiting_for = [asyncio.create_task(waiter.command_ends(uuid4(), PLACE, 60)) for _ in range(5)]
        await until(lambda: _is(_count(waiter), 5))
        waiter.stop()
        assert await asyncio.gather(*waiting_for) == [False] * 5
        assert not await waiter.order_changes(uuid4(), 1, 60)


async def test_a_bug_in_the_look_up_keeps_nobody_waiting_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = iter([ValueError("a bug"), None])

    async def breaks_once(database: Database, those: Sequence[Wait]) -> list[Wait]:
        if error := next(broken, None):
            raise error
        return await waits.ended(database, those)

    monkeypatch.setattr(waiting, "ended", breaks_once)
    async with Waiter(database) as waiter:
        order_id = uuid4()
        await place(database, order_id)
        assert await waiter.command_ends(order_id, PLACE, 20)


async def test_an_outage_of_the_database_is_survived(database: Database, databases: Databases) -> None:
    async with Waiter(database) as waiter:
        order_id = uuid4()
        wait = asyncio.create_task(waiter.command_ends(order_id, PLACE, 30))
        admin = await asyncpg.connect(databases.as_admin("orders"))
        for _ in range(5):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.05)
        await admin.close()
        await until(lambda: _works(database))
        await place(database, order_id)
        assert await wait


async def _is(value: Awaitable[object], wanted: object) -> bool:
    return bool(await value == wanted)


async def _last(asked: list[int]) -> int:
    return asked[-1] if asked else 0


async def _count(waiter: Waiter) -> int:
    return len(waiter._waiting)


async def _works(database: Database) -> bool:
    try:
        await database.one(Statement("test.ping", "Asks whether it answers.", "SELECT 1"), {})
    except Exception:
        return False
    return True


async def test_one_more_than_may_wait_is_told_at_once_that_it_is_not_done(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 2)
    async with Waiter(database) as waiter:
        waits = [asyncio.create_task(waiter.order_changes(uuid4(), 1, 30)) for _ in range(2)]
        await asyncio.sleep(0)
        assert not await asyncio.wait_for(waiter.order_changes(uuid4(), 1, 30), timeout=5)
        waits[0].cancel()
        await asyncio.wait(waits[:1])
        order_id = uuid4()
        await place(database, order_id)
        assert await waiter.command_ends(order_id, PLACE, 20)
        waits[1].cancel()
