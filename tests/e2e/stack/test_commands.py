"""``orderflow up``, ``status`` and ``down`` as a person types them, with everything running."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from orderflow.stack import placement
from orderflow.stack.ports import USUAL_PORTS, choose_ports
from orderflow.stack.records import Record
from support.paths import ROOT
from support.waiting import until


class Terminal:
    """A shell in a checkout with a data dir of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        code = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "events"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")}
        self.env = {**kept, "PYTHONPATH": code, "ORDERFLOW_DATA_DIR": str(home), "COLUMNS": "120"}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cli.main", *arguments),
            cwd=ROOT,
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *arguments: str) -> tuple[int, str]:
        child = await self.start(*arguments)
        output, _ = await asyncio.wait_for(child.communicate(), 60)
        assert child.returncode is not None
        return child.returncode, output.decode()

    async def status(self) -> dict[str, Any]:
        _, output = await self.run("status", "--json")
        found: dict[str, Any] = json.loads(output)
        return found


async def lines_until(child: asyncio.subprocess.Process, text: str) -> str:
    assert child.stdout is not None
    seen = ""
    while text not in seen:
        try:
            line = await asyncio.wait_for(child.stdout.readline(), 60)
        except TimeoutError:
            line = b""
        assert line, f"no {text!r} after:\n{seen}"
        seen += line.decode()
    return seen


@pytest_asyncio.fixture
async def terminal(servers_folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Terminal]:
    home = servers_folder / request.node.name
    home.mkdir(mode=0o711)
    # As if it had run before, away from the usual ports.
    ports, _ = choose_ports(USUAL_PORTS, before={}, explicit={}, usual=False)
    Record(ports=ports).write(home / "stack.json")
    made = Terminal(home)
    yield made
    await made.run("down")
    placement.remove(home)


async def test_up_runs_everything_until_it_is_interrupted(terminal: Terminal) -> None:
    assert await terminal.run("down") == (0, "nothing was running\n")
    up = await terminal.start("up")
    shown = await lines_until(up, "Ctrl-C stops")
    status = await terminal.status()
    assert status["phase"] == "running"
    running = {process["name"]: process for process in status["processes"]}
    assert set(running) == {"postgres", "temporal", "kafka", "gateway", "workers", "relay", "api"}
    assert all(process["link"] in shown for process in running.values())

    code, output = await terminal.run("up")
    assert code == 1
    assert output.startswith("error: OrderFlow already runs from")
    assert output.count("\n") == 1

    for name in ("workers", "api", "relay"):
        os.kill(running[name]["pid"], signal.SIGKILL)
        await lines_until(up, f"{name:<10} restarted")
        async with httpx.AsyncClient() as client:
            assert (await client.get(running[name]["link"])).status_code == 200

    up.send_signal(signal.SIGINT)
    said = await lines_until(up, "\nstopped\n")
    assert said.index("api ") < said.index("postgres ")
    assert await asyncio.wait_for(up.wait(), 10) == 0
    assert (await terminal.status())["phase"] == "stopped"


async def test_ctrl_c_while_it_starts_leaves_nothing_behind(terminal: Terminal) -> None:
    up = await terminal.start("up")
    await lines_until(up, "postgres   ready")
    up.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(up.wait(), 60) == 0

    async def nothing_runs() -> bool:
        return await terminal.status() == {"phase": "stopped", "supervisor_pid": None, "processes": []}

    await until(nothing_runs, seconds=10)
