"""One simulator for the tests of this folder; references are fresh, so tests do not meet each other."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest

from support.gateway import running_simulator

SLOW_SECONDS = 1.0


@pytest.fixture(scope="session")
async def simulator_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_simulator(tmp_path_factory.mktemp("gateway"), slow_seconds=SLOW_SECONDS) as url:
        yield url


@pytest.fixture(scope="session")
async def shared_client(simulator_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=simulator_url, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
async def client(shared_client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client of the simulator; faults are off again afterwards."""
    yield shared_client
    (await shared_client.put("/v1/faults", json={})).raise_for_status()


@pytest.fixture
def reference() -> UUID:
    return uuid4()
