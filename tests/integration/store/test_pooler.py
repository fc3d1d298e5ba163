"""Behind a pooler in transaction mode, as PgBouncer: nothing is kept in a connection, and LISTEN goes round it.

Such a pooler hands each transaction to any server connection, so that what one has prepared another does not know. Here
the server forgets what was prepared instead, which a client can't tell apart.
"""

import asyncio
from urllib.parse import urlsplit

import pytest

from orderflow.domain.errors import Unavailable
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from support.proxy import a_proxy
from support.stack import Databases

FORGET = Statement("test.forget", "Forgets what was prepared.", "DEALLOCATE ALL")
PREPARED = Statement("test.prepared", "Counts what is prepared.", "SELECT count(*) AS n FROM pg_prepared_statements")
ONE = Statement("test.one", "Reads a number.", "SELECT $number::int AS number")


async def test_with_the_servers_own_address_nothing_is_kept_in_a_connection(databases: Databases) -> None:
    async with Database("orders", databases.orders, direct_dsn=databases.orders, pool_size=1) as database:
        for number in range(3):
            row = await database.one(ONE, {"number": number})
            assert row is not None
            assert row["number"] == number
            await database.all(FORGET, {})
        row = await database.one(PREPARED, {})
        assert row is not None
        assert row["n"] == 0


async def test_without_it_a_lost_statement_says_what_to_set(databases: Databases) -> None:
    async with Database("orders", databases.orders, pool_size=1) as database:
        await database.one(ONE, {"number": 1})
        await database.all(FORGET, {})
        with pytest.raises(Unavailable, match="ORDERFLOW_…_DIRECT_URL") as raised:
            await database.one(ONE, {"number": 2})
        assert "a pooler in transaction mode" in str(raised.value.cause)
        await database.one(ONE, {"number": 3})  # on a new connection


async def test_notices_come_from_the_server_itself(databases: Databases) -> None:
    server = urlsplit(databases.orders)
    noticed, listens = asyncio.Event(), asyncio.Event()
    async with (
        a_proxy(f"{server.hostname}:{server.port}") as (pooler, address),
        Database("orders", databases.orders) as another,
    ):
        url = databases.orders.replace(f"{server.hostname}:{server.port}", address)
        async with Database("orders", url, direct_dsn=databases.orders, pool_size=2) as database:
            assert await database.one(ONE, {"number": 1})
            listening = asyncio.create_task(database.listening(noticed.set, on_connect=listens.set))
            await asyncio.wait_for(listens.wait(), 10)
            pooler.answers.clear()
            await another.pool()
            another.wrote()
            await asyncio.wait_for(noticed.wait(), 10)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            pooler.answers.set()
