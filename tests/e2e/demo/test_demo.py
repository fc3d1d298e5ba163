"""``orderflow demo`` as a newcomer types it."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from orderflow.stack import placement
from orderflow.stack.records import Record
from support.paths import ROOT
from support.terminal import Terminal
from support.waiting import until


def terminal_in(home: Path) -> Terminal:
    terminal = Terminal(ROOT, data_dir=str(home))
    home.mkdir(mode=0o711)
    return terminal


@pytest.mark.timeout(240)
async def test_after_a_demo_that_was_killed_the_next_cleans_up_and_ends_in_agreement(servers_folder: Path) -> None:
    home = servers_folder / "demo"
    terminal = terminal_in(home)
    first = await terminal.start("demo", "--orders", "30")
    assert first.stdout

    async def trades() -> bool:
        assert first.stdout
        return b"at once" in await first.stdout.readline()

    await until(trades, seconds=90)
    left = Record.read(home / "demo" / "stack.json").children
    first.send_signal(signal.SIGKILL)
    await first.wait()
    assert any(child.identity.process() for child in left)

    second = await terminal.start("demo", "--orders", "30", "--concurrency", "8")
    out, err = await asyncio.wait_for(second.communicate(), 200)
    said = out.decode()
    assert (second.returncode, err.decode()) == (0, ""), said + err.decode()
    assert [child.name for child in left if child.identity.process()] == []
    assert "stream, databases and gateway ledger agree: 13 of 13 lines hold" in said
    assert said.count("✓") == 13
    assert "✗" not in said
    assert re.search(r"throughput +\d+\.\d orders/s", said)
    assert re.search(r"idle approve → FULFILLING: p50 \d+ ms", said)
    assert re.search(r"the first order was FULFILLING \d+\.\d s after the command was typed", said)
    counted = {m[2]: int(m[1]) for m in re.finditer(r"^ +(\d+) +(COMPLETED|CANCELLED)\b", said, re.MULTILINE)}
    assert counted["COMPLETED"] > 15
    for reason in ("customer", "out_of_stock", "unknown_sku"):
        assert reason in said
    assert Record.read(home / "demo" / "stack.json").children == ()
    placement.remove(home / "demo")


@pytest.mark.timeout(120)
async def test_ctrl_c_stops_everything(servers_folder: Path) -> None:
    home = servers_folder / "interrupted-demo"
    child = await terminal_in(home).start("demo", "--orders", "100")

    async def trades() -> bool:
        assert child.stdout
        return b"FULFILLING" in await child.stdout.readline()

    await until(trades, seconds=90)
    left = Record.read(home / "demo" / "stack.json").children
    assert left
    os.kill(child.pid, signal.SIGINT)
    out, err = await asyncio.wait_for(child.communicate(), 90)
    assert (child.returncode, err.decode()) == (130, ""), out.decode()
    assert [one.name for one in left if one.identity.process()] == []
    placement.remove(home / "demo")
