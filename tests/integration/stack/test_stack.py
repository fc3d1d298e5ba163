"""The servers of an embedded stack: the same data again, one stack a data dir, nothing of a killed one in the way."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import pytest_asyncio

from orderflow.bootstrap import admin_url
from orderflow.settings import Settings
from orderflow.stack import control, placement
from orderflow.stack.errors import StackError
from orderflow.stack.ports import choose_ports, free_port
from orderflow.stack.processes import Event
from orderflow.stack.records import Record
from orderflow.stack.stack import EmbeddedStack
from support.paths import ROOT


@pytest.fixture
def home(servers_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A data dir of its own, cleaned up with the session's folder if this test could not."""
    folder = servers_folder / request.node.name
    yield folder
    placement.remove(folder)


def servers(home: Path, **options: Any) -> EmbeddedStack:
    settings = Settings(migrations_dir=ROOT / "migrations")
    return EmbeddedStack(settings, home, **{"processes": "servers", "ports": "free", "durable": False, **options})


async def on_postgres(stack: EmbeddedStack, statement: str) -> Any:
    connection = await asyncpg.connect(admin_url(stack.settings, "orders"))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def lives(pid: int) -> bool:
    """Whether ``pid`` runs. One that only waits for its parent to take notice does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest_asyncio.fixture(scope="module")
async def running(servers_folder: Path) -> AsyncIterator[EmbeddedStack]:
    """The servers of one stack, for the tests that do not stop it."""
    async with servers(servers_folder / "shared-stack") as stack:
        yield stack
    placement.remove(stack.data_dir)


@pytest_asyncio.fixture
async def elsewhere(home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A supervisor with servers in ``home``, in a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "support.supervise", str(home)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "events", "tests")))},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    async with asyncio.timeout(60):
        assert await child.stdout.readline() == b"ready\n"
    yield child
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    await child.wait()


async def test_the_next_start_has_the_same_data_and_ports(home: Path) -> None:
    async with servers(home) as stack:
        ports = stack.ports
        await on_postgres(stack, "CREATE TABLE kept (id int)")
    assert control.status(home).phase == "stopped"
    # As kill -9 leaves it, with a pid that somebody else has by now.
    pid_file = (home / "postgres").resolve() / "cluster" / "postmaster.pid"
    pid_file.write_text(f"{os.getppid()}\n{pid_file.parent}\n")
    async with servers(home) as stack:
        assert stack.ports == ports
        assert stack.moved_ports == []
        assert await on_postgres(stack, "SELECT count(*) FROM kept") == 0
    with socket.create_server(("127.0.0.1", ports["kafka"])):
        async with servers(home, fresh=True) as stack:
            (moved,) = stack.moved_ports
            assert (moved.name, moved.wanted) == ("kafka", ports["kafka"])
            assert stack.ports["postgres"] == ports["postgres"]
            assert await on_postgres(stack, "SELECT to_regclass('kept') IS NULL")


async def test_secrets_are_readable_by_their_owner_only(running: EmbeddedStack) -> None:
    password = running.settings.payments_database_url.get_secret_value().split(":")[2].partition("@")[0]
    keepers = files_with(password, running.data_dir)
    assert keepers
    assert {stat.S_IMODE(path.stat().st_mode) for path in keepers} == {0o600}
    arguments = [part for p in running.processes.values() for part in psutil.Process(p.pid).cmdline()]
    assert not any(password in argument for argument in arguments)


async def test_a_server_that_is_killed_comes_back_with_its_data(running: EmbeddedStack) -> None:
    await on_postgres(running, "CREATE TABLE kept (id int)")
    for name in ("postgres", "temporal", "kafka"):
        process = running.process(name)
        before = process.pid
        await process.kill()
        await process.wait_ready(30)
        assert process.pid != before
        recorded = Record.read(running.data_dir / "stack.json").children
        assert process.pid in {child.identity.pid for child in recorded}
    assert await on_postgres(running, "SELECT count(*) FROM kept") == 0


async def test_a_second_start_in_the_same_folder_is_refused_in_one_line(running: EmbeddedStack) -> None:
    with pytest.raises(StackError, match=rf"^OrderFlow already runs from .* \(pid {os.getpid()}\): [^\n]*$"):
        await servers(running.data_dir).start()
    assert all(process.alive for process in control.status(running.data_dir).processes)


async def test_a_process_that_somebody_froze_is_seen_to_be_frozen(running: EmbeddedStack) -> None:
    def frozen() -> list[str]:
        return [process.name for process in control.status(running.data_dir).processes if process.frozen]

    process = running.process("kafka")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert frozen() == ["kafka"]
        assert all(process.alive for process in control.status(running.data_dir).processes)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert frozen() == []


async def test_two_stacks_run_side_by_side_and_down_stops_its_own(
    running: EmbeddedStack, home: Path, elsewhere: asyncio.subprocess.Process
) -> None:
    assert set(running.ports.values()).isdisjoint(Record.read(home / "stack.json").ports.values())
    children = [process.pid for process in control.status(home).processes]
    assert all(lives(pid) for pid in children)
    assert sorted(await control.down(home)) == ["kafka", "postgres", "temporal"]
    assert not any(lives(pid) for pid in children)
    assert await asyncio.wait_for(elsewhere.wait(), 10) == 0
    assert await control.down(home) == []
    assert await on_postgres(running, "SELECT 1") == 1


async def test_after_kill_9_of_the_supervisor_the_next_start_stops_what_is_left(
    home: Path, elsewhere: asyncio.subprocess.Process
) -> None:
    left = [process.pid for process in control.status(home).processes]
    elsewhere.send_signal(signal.SIGKILL)
    await elsewhere.wait()
    assert control.status(home).phase == "killed"
    assert all(lives(pid) for pid in left)
    ports = Record.read(home / "stack.json").ports
    async with servers(home) as stack:
        assert not any(lives(pid) for pid in left)
        assert stack.ports == ports
        assert await on_postgres(stack, "SELECT 1") == 1


async def test_down_stops_what_a_killed_supervisor_left(home: Path, elsewhere: asyncio.subprocess.Process) -> None:
    left = [process.pid for process in control.status(home).processes]
    elsewhere.send_signal(signal.SIGKILL)
    await elsewhere.wait()
    assert sorted(await control.down(home)) == ["kafka", "postgres", "temporal"]
    assert not any(lives(pid) for pid in left)
    assert control.status(home).phase == "stopped"


@pytest.mark.parametrize("name", ["kafka", "postgres", "temporal"])
async def test_a_port_that_is_taken_while_it_starts_is_replaced_and_said(home: Path, name: str) -> None:
    # As when two copies start in the same second: both see the port free, one listens first.
    said: list[Event] = []
    with contextlib.ExitStack() as strangers:

        def take_the_port(event: Event) -> None:
            said.append(event)
            if (event.process, event.kind) == (name, "starting") and not taken:
                taken.append(stack.ports[name])
                strangers.enter_context(socket.create_server(("127.0.0.1", taken[0])))

        taken: list[int] = []
        stack = servers(home, on_event=take_the_port)
        async with stack:
            assert stack.ports[name] != taken[0]
            assert await on_postgres(stack, "SELECT 1") == 1
        (told,) = (event for event in said if "somebody else took port" in event.detail)
        assert (told.process, str(taken[0]) in told.detail) == (name, True)


def test_a_taken_port_is_replaced_and_said() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        wanted = taken.getsockname()[1]
        ports, moved = choose_ports(["api", "kafka"], before={"kafka": wanted}, explicit={}, usual=False)
    assert ports["kafka"] != wanted
    assert [(m.name, m.wanted, m.chosen) for m in moved] == [("kafka", wanted, ports["kafka"])]


def test_an_explicit_port_comes_before_the_last_one() -> None:
    explicit, before = free_port(), free_port()
    ports, moved = choose_ports(["api"], before={"api": before}, explicit={"api": explicit}, usual=True)
    assert (ports, moved) == ({"api": explicit}, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's Postgres runs as another user")
async def test_root_in_a_private_folder_changes_no_modes_and_fresh_removes_all(servers_folder: Path) -> None:
    private = servers_folder / "private"
    private.mkdir(mode=0o700)
    home = private / "data"
    folder = placement.elsewhere(home)
    async with servers(home) as stack:
        assert await on_postgres(stack, "SELECT 1") == 1
        assert (home / "postgres").is_symlink()
        assert folder.stat().st_mode & 0o007 == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    async with servers(home, fresh=True) as stack:
        assert await on_postgres(stack, "SELECT 1") == 1
    placement.remove(home)
    assert not folder.exists()
    assert not (home / "postgres").is_symlink()
