"""The waiter: outcomes arrive by notice at once, and without notices within a poll."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Collection
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from orderflow.store.outcomes import Key, Outcomes

from api import waiting
from api.waiting import OutcomeWaiter
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from orderflow.store.statements import Statement
from support.orders import an_order, command
from support.stack import Databases
from support.waiting import until

PLACE = "w:place"


class CountingOutcomes(Outcomes):
    """Says how often it was asked, and for how many."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked: list[int] = []

    async def ended(self, keys: Collection[Key]) -> dict[Key, Ended]:
        found = await super().ended(keys)
        self.asked.append(len(keys))
        return found


@pytest_asyncio.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with Database("orders", databases.orders) as database:
        yield database


async def place(database: Database, order_id: UUID) -> None:
    await Orders(database).place(an_order(order_id=order_id), command("place", PLACE))


async def listening(databases: Databases) -> int:
    """How many connections LISTEN on the orders database."""
    connection = await asyncpg.connect(databases.as_admin("orders"))
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    await connection.close()
    return count


async def test_a_notice_ends_the_wait_at_once(
    database: Database, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 30)
    async with OutcomeWaiter(database, Outcomes(database)) as waiter:
        await until(lambda: _is(listening(databases), 1))
        key: Key = (uuid4(), PLACE)
        with waiter.watching(key) as watch:
            started = time.monotonic()
            await place(database, key[0])
            ended = await watch.ended(10)
    assert ended is not None
    assert ended.outcome_of(command("place", PLACE)).version == 1
    assert time.monotonic() - started < 5


async def test_without_notices_polling_finds_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(*_: object) -> None:
        raise asyncpg.InsufficientPrivilegeError("no LISTEN here")

    monkeypatch.setattr(Database, "_listen", deaf)
    async with OutcomeWaiter(database, Outcomes(database)) as waiter:
        key: Key = (uuid4(), PLACE)
        with waiter.watching(key) as watch:
            await place(database, key[0])
            assert await watch.ended(5) is not None


async def test_after_a_lost_connection_it_listens_again_and_looks_everything_up(
    database: Database, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 30)
    quiet = asyncio.Event()
    monkeypatch.setattr(Database, "wrote", lambda _: quiet.set())  # no notice will come
    outcomes = CountingOutcomes(database)
    async with OutcomeWaiter(database, outcomes) as waiter:
        key: Key = (uuid4(), PLACE)
        with waiter.watching(key) as watch:
            await until(lambda: _is(_last(outcomes.asked), 1))  # what it looked up when it began to listen
            await place(database, key[0])
            assert await watch.ended(0.3) is None
            admin = await asyncpg.connect(databases.as_admin("orders"))
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
            )
            await admin.close()
            assert await watch.ended(10) is not None


async def test_one_query_looks_up_all_that_is_waited_for_and_none_runs_when_nobody_waits(database: Database) -> None:
    outcomes = CountingOutcomes(database)
    async with OutcomeWaiter(database, outcomes) as waiter:
        keys: list[Key] = [(uuid4(), PLACE) for _ in range(20)]

        async def wait_for(key: Key) -> bool:
            with waiter.watching(key) as watch:
                return await watch.ended(10) is not None

        waits = [asyncio.create_task(wait_for(key)) for key in keys]
        await until(lambda: _is(_last(outcomes.asked), 20))
        for order_id, _ in keys:
            await place(database, order_id)
        assert all(await asyncio.gather(*waits))
        before = len(outcomes.asked)
        with waiter.watching((uuid4(), PLACE)) as watch:
            assert await watch.ended(0) is None
        await place(database, uuid4())
        assert len(outcomes.asked) <= before + 1


async def test_two_who_wait_for_the_same_command_are_both_answered(database: Database) -> None:
    async with OutcomeWaiter(database, Outcomes(database)) as waiter:
        key: Key = (uuid4(), PLACE)
        with waiter.watching(key) as one, waiter.watching(key) as other:
            await place(database, key[0])
            answers = await asyncio.gather(one.ended(5), other.ended(5))
    assert None not in answers


async def test_an_outage_of_the_database_is_survived(database: Database, databases: Databases) -> None:
    async with OutcomeWaiter(database, Outcomes(database)) as waiter:
        key: Key = (uuid4(), PLACE)
        with waiter.watching(key) as watch:
            admin = await asyncpg.connect(databases.as_admin("orders"))
            for _ in range(5):
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0.05)
            await admin.close()
            await until(lambda: _works(database))
            await place(database, key[0])
            assert await watch.ended(10) is not None


async def _is(value: Awaitable[object], wanted: object) -> bool:
    return bool(await value == wanted)


async def _last(asked: list[int]) -> int:
    return asked[-1] if asked else 0


async def _works(database: Database) -> bool:
    try:
        await database.one(Statement("test.ping", "Asks whether it answers.", "SELECT 1"), {})
    except Exception:
        return False
    return True
