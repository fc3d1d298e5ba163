"""The three services' stores, each on a fresh database."""

from collections.abc import AsyncIterator

import pytest_asyncio

from orderflow.store.database import Database
from support.stack import Databases


@pytest_asyncio.fixture
async def orders_db(databases: Databases) -> AsyncIterator[Database]:
    async with Database("orders", databases.orders, pool_size=16) as database:
        yield database


@pytest_asyncio.fixture
async def payments_db(databases: Databases) -> AsyncIterator[Database]:
    async with Database("payments", databases.payments) as database:
        yield database


@pytest_asyncio.fixture
async def inventory_db(databases: Databases) -> AsyncIterator[Database]:
    async with Database("inventory", databases.inventory, pool_size=32) as database:
        yield database
