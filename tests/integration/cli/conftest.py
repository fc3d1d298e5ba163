"""A real API with real workers behind it, for the command to talk to."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.stack import PostgresServer
from support.terminal import Shop, a_shop


@pytest_asyncio.fixture(scope="module")
async def shop(
    postgres: PostgresServer, temporal_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    async with a_shop(postgres, temporal_server, tmp_path_factory.mktemp("home")) as shop:
        yield shop
