"""The command ``orderflow`` as a person types it, in a process of its own."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from api.app import create_app
from api.server import Server, config_of
from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.temporal.client import connect
from support.api import a_namespace, api_settings
from support.keys import KEY_TEXT
from support.paths import ROOT
from support.stack import PostgresServer
from support.waiting import until
from support.world import World, a_world


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


class Terminal:
    """A shell of somebody who has nothing else running here."""

    def __init__(self, home: Path, **settings: str) -> None:
        code = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "events"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERFLOW_", "COLUMNS"))}
        given = {f"ORDERFLOW_{name.upper()}": value for name, value in settings.items()}
        self.home = home
        self.env = {**kept, "PYTHONPATH": code, "ORDERFLOW_DATA_DIR": str(home / "none"), **given}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Type ``orderflow`` and ``arguments``."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cli.main", *arguments),
            cwd=self.home,
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> Said:
        """The same, and wait for its end. No command ever shows a traceback, nor colours to a pipe."""
        child = await self.start(*arguments)
        out, err = await asyncio.wait_for(child.communicate(), 60)
        said = Said(child.returncode or 0, out.decode(), err.decode())
        assert "Traceback" not in said.err, said.err
        assert "\x1b" not in said.out + said.err
        return said


@dataclass(frozen=True)
class Shop:
    """A terminal that finds the API by its settings, and what is behind the API."""

    terminal: Terminal
    url: str
    world: World


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    """The API on a port of its own."""
    port = free_port()
    app = create_app(settings)
    config = config_of(app, settings.model_copy(update={"api_port": port}))
    config.log_config = None
    server = Server(config, app)
    # Signals are the test run's.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


@contextlib.asynccontextmanager
async def a_shop(
    postgres: PostgresServer, temporal_server: str, home: Path, *, stores: bool = False
) -> AsyncIterator[Shop]:
    """A served API with workers behind it, and 1000 loaves and bottles. ``stores``: the terminal reaches those, too."""
    databases = await postgres.fresh_databases()
    settings = api_settings(databases, temporal_server, await a_namespace(temporal_server))
    reached = {
        "temporal_address": settings.temporal_address,
        "temporal_namespace": settings.temporal_namespace,
        **databases.settings,
        "payload_keyring_file": str(settings.payload_keyring_file),
    }
    async with a_world(await connect(settings), databases, settings) as world, served(settings) as url:
        await world.stock(bread=1000, milk=1000)
        yield Shop(Terminal(home, api_url=url, api_key=KEY_TEXT, **(reached if stores else {})), url, world)
    await postgres.drop(databases)
