"""How `orderflow order explain`, `watch` and `stuck` behave as commands: exit codes, endings, what is away."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from orderflow.settings import SERVICES
from support.explaining import explained, explains, none_is_stuck
from support.shop import Basket, Shop
from support.terminal import Terminal

pytestmark = pytest.mark.timeout(180)


async def test_a_draft_waits_for_its_customer_and_is_not_stuck(
    terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await shop.place(baskets[0])
    story = await explains(terminal, order_id, "customer")
    assert "approve or cancel; it expires at" in story["verdict"]["waits_for"]
    await none_is_stuck(terminal)


async def test_an_order_that_is_not_there(terminal: Terminal) -> None:
    said = await terminal.run("order", "explain", "00000000-0000-4000-8000-000000000000")
    assert said.code == 4
    assert "There is no order" in said.out


async def test_nothing_at_all_answers(tmp_path: Path) -> None:
    nowhere = {
        "temporal_address": "127.0.0.1:9",
        "gateway_url": "http://127.0.0.1:9",
        "kafka_bootstrap_servers": "127.0.0.1:9",
        **{f"{service}_database_url": f"postgresql://{service}@127.0.0.1:9/{service}" for service in SERVICES},
    }
    terminal = Terminal(tmp_path, **nowhere)
    said = await terminal.run("order", "explain", "00000000-0000-4000-8000-000000000000")
    assert said.code == 3
    assert "neither Temporal nor the orders database can be read" in said.err
    assert (await terminal.run("stuck")).code == 3
    assert (await terminal.run("replay", "--since", "1h")).code == 3


async def test_watch_tells_each_line_once_and_ends_with_the_order(
    terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    await shop.stock_up(baskets[:1])
    order_id = await shop.place(baskets[0])
    watching = await terminal.start("order", "watch", order_id, "--json")
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "FULFILLING")
    await shop.ask(order_id, "cancel")
    out, errors = await asyncio.wait_for(watching.communicate(), 60)
    assert (watching.returncode, errors) == (0, b"")
    told = [json.loads(line) for line in out.decode().splitlines()]
    assert told[-1]["verdict"]["waits_for"] == "Done: CANCELLED (customer)."
    story = await explained(terminal, order_id)
    lines = [(line["source"], line["what"].partition("; ")[0]) for line in told if "what" in line]
    settled = [(line["source"], line["what"].partition("; ")[0]) for line in story["timeline"]]
    assert set(settled) <= set(lines)
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_watch_ends_quietly(
    terminal: Terminal, shop: Shop, baskets: list[Basket], number: signal.Signals
) -> None:
    order_id = await shop.place(baskets[0])
    watching = await terminal.start("order", "watch", order_id)
    assert watching.stdout is not None
    await asyncio.wait_for(watching.stdout.readline(), 30)
    watching.send_signal(number)
    _, errors = await asyncio.wait_for(watching.communicate(), 30)
    assert (watching.returncode, errors) == (0, b"")
