"""`orderflow observe` beside the whole stack: it scrapes every process, ends at Ctrl-C, and says what it lacks."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import httpx
import pytest

from orderflow.stack.ports import free_port
from orderflow.stack.records import Record
from orderflow.stack.stack import RECORD, EmbeddedStack
from support.terminal import Terminal
from support.waiting import until

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus (the Debian package) is not there"
)


async def observing_at(terminal: Terminal, port: int) -> asyncio.subprocess.Process:
    """Start it, and wait until Prometheus runs."""
    observing = await terminal.start("observe", "--port", str(port))
    assert observing.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = await asyncio.wait_for(observing.stdout.readline(), 60)
        assert line, said
        said += line.decode()
    assert f"http://127.0.0.1:{port}/alerts" in said
    return observing


@needs_prometheus
async def test_it_scrapes_every_process_until_it_is_interrupted(stack: EmbeddedStack, tmp_path: Path) -> None:
    port = free_port()
    terminal = Terminal(tmp_path, data_dir=str(stack.data_dir))
    killed = await observing_at(terminal, port)
    killed.kill()
    await killed.wait()
    observing = await observing_at(terminal, port)  # stops the Prometheus that was left, which has the port

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False) as client:

        async def all_are_up() -> bool:
            targets = (await client.get("/targets")).json()["data"]["activeTargets"]
            up = {(t["labels"]["job"], t["labels"]["process"]) for t in targets if t["health"] == "up"}
            return up == {("orderflow", name) for name in ("api", "workers", "relay")} | {
                ("gateway-simulator", "gateway")
            }

        await until(all_are_up, seconds=60, every=0.2)
        groups = (await client.get("/rules")).json()["data"]["groups"]
        assert any(rule["name"] == "OrderFlowTopicTruncated" for group in groups for rule in group["rules"])

    again = await terminal.run("observe", "--port", str(free_port()))
    assert (again.code, again.out) == (1, "")
    assert "a Prometheus already runs beside" in again.err

    [child] = Record.read(stack.data_dir / "prometheus" / RECORD).children
    observing.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(observing.communicate(), 30)
    assert (observing.returncode, err) == (0, b"")
    assert b"prometheus stopped" in out
    assert child.identity.process() is None
    assert stack.process("api").state == "ready"


@needs_prometheus
async def test_without_a_stack_it_says_what_to_start(tmp_path: Path) -> None:
    said = await Terminal(tmp_path).run("observe")
    assert (said.code, said.out) == (3, "")
    assert "no stack runs from" in said.err
    assert "`orderflow up`" in said.err


async def test_without_the_program_it_says_what_to_install(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    terminal.env["PATH"] = os.fspath(empty)
    said = await terminal.run("observe")
    assert (said.code, said.out) == (1, "")
    assert "apt-get install prometheus" in said.err
    assert said.err.count("\n") == 1


async def test_rules_that_are_not_there_are_named(tmp_path: Path) -> None:
    said = await Terminal(tmp_path).run("observe", "--rules", "nowhere.yml")
    assert said.code == 2
    assert "there are no alert rules at nowhere.yml" in said.err
    assert "--rules" in said.err


@needs_prometheus
async def test_a_port_that_is_taken_is_named(stack: EmbeddedStack, tmp_path: Path) -> None:
    port = stack.ports["api_private"]
    said = await Terminal(tmp_path, data_dir=str(stack.data_dir)).run("observe", "--port", str(port))
    assert said.code == 1
    assert f"--port {port}: somebody else listens there" in said.err
