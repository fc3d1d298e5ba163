"""A world on the time-skipping server: a day passes at once when nothing else is left to do."""

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from orderflow.temporal.converter import DATA_CONVERTER
from orderflow.temporal.names import ORDER_STATUS
from support.stack import Databases
from support.world import World, a_world


def _test_server() -> str:
    beside = Path(sys.executable).parent / "temporal-test-server"
    found = str(beside) if beside.exists() else shutil.which("temporal-test-server")
    assert found, "temporal-test-server is not installed"
    return found


@pytest_asyncio.fixture
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A server for one test (0.3 s): it may give a task to a poll that an earlier test's worker left behind."""
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=_test_server(), data_converter=DATA_CONVERTER
    )
    async with environment:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(search_attributes={ORDER_STATUS: keyword})
        )
        yield environment


@pytest_asyncio.fixture
async def world(time_skipping: WorkflowEnvironment, databases: Databases) -> AsyncIterator[World]:
    async with a_world(time_skipping.client, databases) as world:
        await world.stock(bread=10, milk=1)
        yield world
