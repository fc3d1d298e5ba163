"""A topic of its own for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.stream.topic import ensure_topic
from support.relays import settings_for
from support.stack import Databases
from support.stream import let_events_stand_alone
from support.waiting import until


@pytest_asyncio.fixture
async def settings(databases: Databases, broker: str) -> Settings:
    """Settings whose topic is there."""
    settings = settings_for(databases, broker)
    await ensure_topic(settings)
    return settings


@pytest_asyncio.fixture
async def orders(databases: Databases) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A connection to the orders database, as its owner: events are put into it without their orders."""
    connection = await asyncpg.connect(databases.as_admin("orders"))
    await let_events_stand_alone(connection)
    yield connection
    await connection.close()


@pytest.fixture
def outbox_empty(orders: "asyncpg.Connection[Any]") -> Callable[[], Awaitable[None]]:
    """Waits until the orders outbox is empty."""

    async def wait() -> None:
        async def empty() -> bool:
            return not await orders.fetchval("SELECT count(*) FROM outbox")

        await until(empty, seconds=60)

    return wait


@pytest_asyncio.fixture
async def orders_database(databases: Databases) -> AsyncIterator[Database]:
    """The orders database, as a process has it."""
    async with Database("test-orders", databases.orders, pool_size=3) as database:
        yield database
