"""A real API with real workers behind it, for the command to talk to."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from orderflow.temporal.client import connect
from support.api import a_namespace, api_settings
from support.stack import Databases, PostgresServer
from support.terminal import Shop, Terminal, served
from support.world import a_world


@pytest_asyncio.fixture(scope="module")
async def shop(
    postgres: PostgresServer, temporal_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    databases: Databases = await postgres.fresh_databases()
    settings = api_settings(databases, temporal_server, await a_namespace(temporal_server))
    async with a_world(await connect(settings), databases, settings) as world, served(settings) as url:
        await world.stock(bread=1000, milk=1000)
        yield Shop(Terminal(tmp_path_factory.mktemp("home"), api_url=url), url, world)
    await postgres.drop(databases)
