"""A real API with real workers behind it, for the command to talk to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvicorn

from api.app import create_app
from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.temporal import connect
from support.api import a_namespace, api_settings
from support.stack import Databases, PostgresServer
from support.terminal import Shop, Terminal
from support.waiting import until
from support.world import a_world


@pytest_asyncio.fixture(scope="module")
async def shop(
    postgres: PostgresServer, temporal_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    databases: Databases = await postgres.fresh_databases()
    settings = api_settings(databases, temporal_server, await a_namespace(temporal_server))
    async with a_world(await connect(settings), databases, settings) as world, _served(settings) as url:
        await world.stock(bread=1000, milk=1000)
        yield Shop(Terminal(tmp_path_factory.mktemp("home"), api_url=url), url, world)
    await postgres.drop(databases)


@contextlib.asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[str]:
    """The API on a port of its own."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_level="warning"))
    # Signals are the test run's.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving
