"""Fixtures that every test may use: real servers, started once a session when the first test asks for them.

``databases``, ``temporal_server``, ``broker``: the parts. ``world``: workers in this process on those, and a scripted
gateway. ``stack``: everything, each process real. ``terminal``: the command ``orderflow`` beside a stack.
"""

import gc
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from hypothesis import settings as generating
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from xdist.scheduler import LoadFileScheduling

from orderflow.settings import Settings
from orderflow.stack.stack import EmbeddedStack
from orderflow.temporal.client import connect
from orderflow.temporal.converter import DATA_CONVERTER
from orderflow.temporal.names import ORDER_STATUS
from support.api import a_namespace, api_settings
from support.paths import MIGRATIONS, ROOT
from support.stack import (
    Databases,
    PostgresServer,
    kafka_broker,
    postgres_server,
    session_folder,
    temporal_dev_server,
)
from support.terminal import Terminal
from support.whole_stack import WholeStacks
from support.world import World, a_world

#: The files directly in this folder have one stack between them; those in folders below it make their own.
ON_ONE_STACK = "tests/e2e"
STACKS = pytest.StashKey[WholeStacks]()

# How long an example takes says how busy the machine is, not whether the code is right.
generating.register_profile("orderflow", deadline=None)
generating.load_profile("orderflow")


class OneStackOneWorker(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """A file is one worker's, and the files on the shared stack are all the same worker's, so that it is started once.

    Files begin in the order of collection, the longest tier (e2e) first: what is short fills the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder == ON_ONE_STACK else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneStackOneWorker | None:
    """Distribute by ``OneStackOneWorker`` where pyproject.toml's ``--dist loadfile`` holds."""
    return OneStackOneWorker(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "stack(**settings): this file's ``stack`` is its own, with these settings.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See that what ``make test-fast`` runs starts no server. Raises UsageError that names what would."""
    fast = [item for item in items if {"unit", "repo"} & set(item.path.relative_to(ROOT).parts)]
    if starting := [item.nodeid for item in fast if "servers_folder" in getattr(item, "fixturenames", ())]:
        raise pytest.UsageError(f"these tests start servers, and belong into integration: {', '.join(starting)}")


def pytest_collection_finish() -> None:
    """What was imported and collected stays until the end: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that a test runs in this process says for the whole process what is logged; the next test does not."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


# --- Servers ---


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


@pytest_asyncio.fixture
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A server on which a day passes at once when nothing else is left to do.

    For one test (0.3 s): it may give a task to a poll that an earlier test's worker left behind.
    """
    beside = Path(sys.executable).parent / "temporal-test-server"
    found = str(beside) if beside.exists() else shutil.which("temporal-test-server")
    assert found, "temporal-test-server is not installed"
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=found, data_converter=DATA_CONVERTER
    )
    async with environment:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(search_attributes={ORDER_STATUS: keyword})
        )
        yield environment


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


# --- Orders on them, in this process ---


@pytest_asyncio.fixture
async def settings(databases: Databases, temporal_server: str) -> Settings:
    """Of one test: its databases, and a Temporal namespace of its own."""
    return api_settings(databases, temporal_server, await a_namespace(temporal_server))


@pytest_asyncio.fixture
async def temporal(settings: Settings) -> Client:
    """The client of ``world``. A file that needs another server, or a client that breaks steps, has one of its own."""
    return await connect(settings)


@pytest_asyncio.fixture
async def world(temporal: Client, databases: Databases, settings: Settings) -> AsyncIterator[World]:
    """Workers of all three services, and some stock."""
    async with a_world(temporal, databases, settings) as world:
        await world.stock(bread=10, milk=1)
        yield world


# --- Everything, in processes of its own ---


@pytest_asyncio.fixture(scope="session")
async def whole_stacks(request: pytest.FixtureRequest, servers_folder: Path) -> AsyncIterator[WholeStacks]:
    """What starts and stops the session's stacks."""
    stacks = request.config.stash[STACKS] = WholeStacks(servers_folder)
    yield stacks
    await stacks.stop()


@pytest_asyncio.fixture(scope="module", autouse=True)
async def no_idle_stack(request: pytest.FixtureRequest) -> None:
    """The shared stack ends where the files that share it end: it takes CPU while it idles, too."""
    stacks = request.config.stash.get(STACKS, None)
    if stacks is not None and request.path.parent != ROOT / ON_ONE_STACK:
        await stacks.stop()


@pytest_asyncio.fixture(scope="module")
async def stack(request: pytest.FixtureRequest, whole_stacks: WholeStacks) -> AsyncIterator[EmbeddedStack]:
    """A whole stack: the shared one, or the file's own where its ``pytestmark`` has ``pytest.mark.stack(...)``."""
    own = request.node.get_closest_marker("stack")
    if own is None:
        yield await whole_stacks.shared()
    else:
        async with whole_stacks.apart(**own.kwargs) as stack:
            yield stack


@pytest.fixture
def terminal(stack: EmbeddedStack, tmp_path: Path) -> Terminal:
    """A terminal that finds the stack."""
    return Terminal(tmp_path, data_dir=str(stack.data_dir), migrations_dir=str(MIGRATIONS))
