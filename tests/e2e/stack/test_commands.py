"""``orderflow up``, ``status`` and ``down`` as a person types them, with everything running."""

import asyncio
import json
import os
import signal
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
from support.terminal import Said, Terminal
from support.waiting import until


async def status_of(shell: Terminal) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await shell.run("status", "--json")).out)
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
async def shell(servers_folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Terminal]:
    """A shell in a checkout with a data dir of its own."""
    home = servers_folder / request.node.name
    home.mkdir(mode=0o711)
    # As if it had run before, away from the usual ports.
    ports, _ = choose_ports(USUAL_PORTS, before={}, explicit={}, usual=False)
    Record(ports=ports).write(home / "stack.json")
    made = Terminal(ROOT, data_dir=str(home))
    made.env["COLUMNS"] = "120"
    yield made
    await made.run("down")
    placement.remove(home)


async def test_up_runs_everything_until_it_is_interrupted(shell: Terminal) -> None:
    assert await shell.run("down") == Said(0, "nothing was running\n", "")
    up = await shell.start("up")
    shown = await lines_until(up, "Ctrl-C stops")
    status = await status_of(shell)
    assert status["phase"] == "running"
    running = {process["name"]: process for process in status["processes"]}
    assert set(running) == {"postgres", "temporal", "kafka", "gateway", "workers", "relay", "codec", "api"}
    assert all(process["link"] in shown for process in running.values())

    again = await shell.run("up")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("error: OrderFlow already runs from")
    assert "`orderflow down` stops it" in " ".join(again.err.split())

    for name in ("workers", "api", "relay"):
        os.kill(running[name]["pid"], signal.SIGKILL)
        await lines_until(up, f"{name:<10} restarted")
        async with httpx.AsyncClient() as client:
            assert (await client.get(running[name]["link"])).status_code == 200

    up.send_signal(signal.SIGINT)
    said = await lines_until(up, "\nstopped\n")
    assert said.index("api ") < said.index("postgres ")
    assert await asyncio.wait_for(up.wait(), 10) == 0
    assert (await status_of(shell))["phase"] == "stopped"


async def test_ctrl_c_while_it_starts_leaves_nothing_behind(shell: Terminal) -> None:
    up = await shell.start("up")
    await lines_until(up, "postgres   ready")
    up.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(up.wait(), 60) == 0

    async def nothing_runs() -> bool:
        return await status_of(shell) == {"phase": "stopped", "supervisor_pid": None, "processes": []}

    await until(nothing_runs, seconds=10)
