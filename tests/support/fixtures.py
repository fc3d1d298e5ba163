"""Fixtures that every test may use: real servers, started once a session when the first test asks for them."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.stack import (
    Databases,
    PostgresServer,
    kafka_broker,
    postgres_server,
    session_folder,
    temporal_dev_server,
)


@pytest_asyncio.fixture(scope="session")
async def servers_folder() -> AsyncIterator[Path]:
    """Where the session's servers keep their data and logs."""
    async with session_folder() as folder:
        yield folder


@pytest_asyncio.fixture(scope="session")
async def postgres(servers_folder: Path) -> AsyncIterator[PostgresServer]:
    """The session's Postgres, with a migrated template a service."""
    async with postgres_server(servers_folder) as server:
        yield server


@pytest_asyncio.fixture
async def databases(postgres: PostgresServer) -> AsyncIterator[Databases]:
    """Three fresh databases for one test."""
    fresh = await postgres.fresh_databases()
    yield fresh
    await postgres.drop(fresh)


@pytest_asyncio.fixture(scope="session")
async def temporal_server(servers_folder: Path) -> AsyncIterator[str]:
    """The address of the session's Temporal dev server."""
    async with temporal_dev_server(servers_folder) as address:
        yield address


@pytest_asyncio.fixture(scope="session")
async def broker(servers_folder: Path) -> AsyncIterator[str]:
    """The bootstrap address of the session's Kafka-protocol broker."""
    async with kafka_broker(servers_folder) as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own checker; no Python package has it."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool (Debian package prometheus) is not there")
    return found
