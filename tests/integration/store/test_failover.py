"""After a failover no connection stays that was opened to a server in the wrong role: a pool heals in seconds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from orderflow.domain.errors import Unavailable
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from support.read_only import read_only
from support.stack import Databases
from support.waiting import until

_WRITE = Statement(
    "test.write",
    "Writes something.",
    """
    INSERT INTO relay_lease (name, holder, expires_at)
    VALUES (gen_random_uuid()::text, (SELECT pg_sleep(0.05))::text || 'x', now())""",
)
_READ = Statement("test.read", "Reads something, and holds its connection meanwhile.", "SELECT pg_sleep(0.05)")
CONNECTIONS = 8


async def _fails(database: Database) -> bool:
    try:
        await database.one(_WRITE, {})
    except Unavailable:
        return True
    return False


@contextlib.asynccontextmanager
async def _a_pool(databases: Databases) -> AsyncIterator[Database]:
    async with Database("orders", databases.orders, pool_size=CONNECTIONS) as database:
        yield database


async def test_read_only_connections_are_replaced_as_soon_as_one_is_noticed(databases: Databases) -> None:
    async with _a_pool(databases) as database:
        async with read_only(databases.as_admin("orders")):
            # Nobody writes meanwhile, so nobody notices: the pool fills with connections that can't write.
            with contextlib.suppress(Unavailable):
                await database.all(_READ, {})
            await asyncio.gather(*(database.all(_READ, {}) for _ in range(CONNECTIONS)))
        assert await _fails(database)
        # All of them at once, so that each of the pool's connections is used.
        assert not any(await asyncio.gather(*(_fails(database) for _ in range(CONNECTIONS))))


async def test_while_a_server_is_read_only_its_writes_are_unavailable_and_then_done(databases: Databases) -> None:
    async with _a_pool(databases) as database:
        await asyncio.gather(*(_fails(database) for _ in range(CONNECTIONS)))
        async with read_only(databases.as_admin("orders")):
            assert all(await asyncio.gather(*(_fails(database) for _ in range(3 * CONNECTIONS))))
            with pytest.raises(Unavailable, match="read-only") as raised:
                await database.one(_WRITE, {})
            assert "SQLSTATE 25006" in str(raised.value.cause)
        assert not any(await asyncio.gather(*(_fails(database) for _ in range(CONNECTIONS))))


async def test_a_transaction_and_a_lent_connection_heal_too(databases: Databases) -> None:
    async def in_a_transaction(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(_WRITE.sql)

    async def lent(database: Database) -> None:
        async with database.lend() as connection, connection.transaction():
            await connection.execute(_WRITE.sql)

    for write in (in_a_transaction, lent):
        async with Database("orders", databases.orders, pool_size=1) as database:
            async with read_only(databases.as_admin("orders")):
                with pytest.raises((Unavailable, asyncpg.ReadOnlySQLTransactionError)):
                    await write(database)
            await write(database)


async def test_a_connection_that_the_server_ended_ends_the_others_of_its_pool_and_says_why(
    databases: Databases,
) -> None:
    """As in a failover: what was opened before is not believed any more."""
    pid = Statement("test.pid", "The server's process.", "SELECT pg_backend_pid() AS pid, pg_sleep(0.05)")
    end = Statement("test.end", "Ends the connection.", "SELECT pg_terminate_backend(pg_backend_pid())")
    async with _a_pool(databases) as database:
        before = await asyncio.gather(*(database.one(pid, {}) for _ in range(CONNECTIONS)))
        with pytest.raises(Unavailable, match=r"terminating connection|connection was closed"):
            await database.one(end, {})
        after = await asyncio.gather(*(database.one(pid, {}) for _ in range(CONNECTIONS)))
        assert not {row["pid"] for row in before if row} & {row["pid"] for row in after if row}


async def test_who_listens_connects_again_when_a_connection_shows_the_wrong_role(databases: Databases) -> None:
    connected = 0

    def count() -> None:
        nonlocal connected
        connected += 1

    def times(wanted: int) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            return connected >= wanted

        return reached

    async with _a_pool(databases) as database:
        listening = asyncio.create_task(database.listening(lambda: None, on_connect=count))
        await until(times(1))
        async with read_only(databases.as_admin("orders")):
            await until(times(2))  # its connection was ended, like all
            assert await _fails(database)
            await until(times(3))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_connection_that_only_met_a_lock_or_a_limit_is_kept(databases: Databases) -> None:
    """So that a busy database is not asked for new connections beside."""
    async with Database("orders", databases.orders, pool_size=1) as database:
        pid = Statement("test.pid", "The server's process.", "SELECT pg_backend_pid() AS pid")
        before = await database.one(pid, {})
        for sqlstate in ("55P03", "57014", "53200", "40P01", "23505", "22003"):
            failing = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$"
            with pytest.raises(Exception, match="x"):
                await database.all(Statement("test.failing", "Fails.", failing), {})
        assert await database.one(pid, {}) == before
