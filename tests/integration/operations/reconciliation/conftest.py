"""A world with a Temporal namespace of its own: what runs there is compared with these databases."""

from collections.abc import AsyncIterator

import pytest_asyncio

from orderflow.settings import Settings
from orderflow.store.stock import StockCommand, StockKeeper
from orderflow.temporal.client import connect
from support.api import a_namespace
from support.auditor import Auditor
from support.stack import Databases
from support.world import a_world


@pytest_asyncio.fixture
async def auditor(temporal_server: str, databases: Databases) -> AsyncIterator[Auditor]:
    settings = Settings(
        temporal_address=temporal_server,
        temporal_namespace=await a_namespace(temporal_server),
        worker_graceful_shutdown_seconds=1,
    )
    async with a_world(await connect(settings), databases, settings) as world:
        command = StockCommand(sku="bread", id="c:stock", request_hash="0" * 64)
        await StockKeeper(world.inventory).set(command, 10)
        yield Auditor(world, databases)
