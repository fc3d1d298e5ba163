"""``orderflow demo`` as a newcomer types it; and its check, on a real stack that is corrupted."""

import asyncio
import os
import re
import signal
from pathlib import Path

import asyncpg
import pytest

from operations.demo.check import agrees, check
from operations.demo.evidence import gather
from operations.demo.rest import settled
from orderflow.stack import placement
from orderflow.stack.records import Record
from orderflow.stack.stack import EmbeddedStack
from support.paths import ROOT
from support.shop import Basket, Shop
from support.terminal import Terminal
from support.waiting import until


def terminal_in(home: Path) -> Terminal:
    terminal = Terminal(ROOT, data_dir=str(home))
    home.mkdir(mode=0o711)
    return terminal


@pytest.mark.timeout(240)
async def test_the_demo_ends_in_agreement(servers_folder: Path) -> None:
    home = servers_folder / "demo"
    child = await terminal_in(home).start("demo", "--orders", "30", "--concurrency", "8")
    out, err = await asyncio.wait_for(child.communicate(), 200)
    said = out.decode()
    assert (child.returncode, err.decode()) == (0, ""), said + err.decode()
    assert "stream, databases and gateway ledger agree: 12 of 12 lines hold" in said
    assert said.count("✓") == 12
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


@pytest.mark.timeout(240)
async def test_a_demo_that_was_killed_is_cleaned_up_by_the_next(servers_folder: Path) -> None:
    home = servers_folder / "killed-demo"
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

    second = await terminal.start("demo", "--orders", "10")
    out, _ = await asyncio.wait_for(second.communicate(), 200)
    assert second.returncode == 0, out.decode()
    assert [child.name for child in left if child.identity.process()] == []
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("service", "corruption", "repair", "seen_by"),
    [
        (
            "inventory",
            "UPDATE stock SET on_hand = on_hand + 1, version = version + 1 WHERE sku = $1",
            "UPDATE stock SET on_hand = on_hand - 1, version = version + 1 WHERE sku = $1",
            "stock: on hand",
        ),
        (
            "orders",
            "UPDATE tracked_orders SET order_version = order_version + 1 WHERE order_id = $1::uuid",
            "UPDATE tracked_orders SET order_version = order_version - 1 WHERE order_id = $1::uuid",
            "tracking = rows",
        ),
        (
            "payments",
            "UPDATE publications SET partition = partition + 100 WHERE order_id = $1::uuid AND version = 1",
            "UPDATE publications SET partition = partition - 100 WHERE order_id = $1::uuid AND version = 1",
            "outbox",
        ),
    ],
    ids=["stock", "tracking", "publication"],
)
async def test_the_check_sees_what_was_corrupted_in_a_real_stack(
    stack: EmbeddedStack,
    shop: Shop,
    baskets: list[Basket],
    service: str,
    corruption: str,
    repair: str,
    seen_by: str,
) -> None:
    await shop.stock_up(baskets[:1])
    order_id = await shop.place(baskets[0])
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "FULFILLING")
    assert await settled(stack.settings, 30) is None
    lines = check(await gather(stack.settings))
    assert agrees(lines), [line for line in lines if not line.ok]

    admin_url = getattr(stack.settings, f"{service}_admin_url").get_secret_value()
    connection = await asyncpg.connect(admin_url, database=service)
    what = baskets[0][0][0] if service == "inventory" else str(order_id)
    try:
        await connection.execute(corruption, what)
        assert seen_by in {line.what for line in check(await gather(stack.settings)) if not line.ok}
    finally:
        await connection.execute(repair, what)
        await connection.close()
    assert agrees(check(await gather(stack.settings)))
