"""An API on databases and a Temporal namespace of its own."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from orderflow.settings import Settings
from support.api import a_namespace, an_api, api_settings
from support.stack import PostgresServer


@pytest_asyncio.fixture(scope="module")
async def quiet_api(postgres: PostgresServer, temporal_server: str) -> AsyncIterator[httpx.AsyncClient]:
    """One API for a whole file, without workers: for requests that are refused, or leave nothing that matters."""
    databases = await postgres.fresh_databases()
    settings = api_settings(databases, temporal_server, await a_namespace(temporal_server))
    async with an_api(settings) as client:
        yield client
    await postgres.drop(databases)


@pytest_asyncio.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API; without ``world`` no worker runs."""
    async with an_api(settings) as client:
        yield client
