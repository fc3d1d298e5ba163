"""What `orderflow order explain` prints of one order of each path, line by line.

``stories/`` has the pages, with placeholders for what differs from run to run. Where two services work side by side,
either may be first; everything else has its place. After a change that is meant: run with
``ORDERFLOW_WRITE_STORIES=1``, and read the difference as somebody who is paged at night.
"""

import contextlib
import difflib
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.service import RPCError

from orderflow.settings import Service
from orderflow.stack.stack import LEDGER, EmbeddedStack
from orderflow.store.statements import Statement
from orderflow.temporal.client import connect
from support.explaining import (
    COLUMNS,
    a_worker,
    faulty_gateway,
    in_threads,
    opened,
    page,
    send,
    settles,
    with_placeholders,
    without,
)
from support.shop import Basket, Shop
from support.terminal import Terminal
from support.waiting import until

pytestmark = pytest.mark.timeout(180)

STORIES = Path(__file__).parent / "stories"
BASKET: Basket = [("told-bread", 2, 150), ("told-milk", 1, 99)]
EMPTY: Basket = [("told-empty", 1, 100)]
UNKNOWN: Basket = [("told-nowhere", 1, 100)]
_EVENT = Statement(
    "test.event", "Reads an event's version.", "SELECT version FROM events WHERE order_id = $order_id AND type = $type"
)


@pytest_asyncio.fixture
async def client(shop: Shop) -> AsyncIterator[Shop]:
    await shop.stock_up([BASKET])
    await shop.stock(**{"told-empty": 0})
    yield shop


async def placed(client: Shop, status: str, token: str = "tok_ok", basket: Basket = BASKET) -> str:
    """An order that was approved and has come to ``status``."""
    order_id = await client.place(basket, token)
    await client.ask(order_id, "approve")
    await client.reaches(order_id, status)
    return order_id


async def has_event(stack: EmbeddedStack, service: Service, order_id: str, kind: str) -> None:
    """Wait until the service has recorded it."""
    async with opened(stack, service) as database:

        async def recorded() -> bool:
            values = {"order_id": UUID(order_id), "type": kind}
            return await database.one(_EVENT, values) is not None

        await until(recorded, seconds=30)


async def has_step(stack: EmbeddedStack, order_id: str, step: str) -> None:
    """Wait until the workflow has handed a step over."""
    handle = (await connect(stack.settings)).get_workflow_handle(f"order-{order_id}")

    async def pending() -> bool:
        try:
            described = (await handle.describe()).raw_description
        except RPCError:
            return False  # the API tells Temporal when it has answered
        return step in [one.activity_type.name for one in described.pending_activities]

    await until(pending, seconds=30)


async def signalled(stack: EmbeddedStack, order_id: str, name: str, content: object) -> None:
    """Send the workflow a signal, as anybody can, and wait until it has looked."""
    handle = (await connect(stack.settings)).get_workflow_handle(f"order-{order_id}")
    await handle.signal(name, content)

    async def looked() -> bool:
        return bool((await handle.query("order"))["looks"] == 0)

    await until(looked)


def unblock_the_card(stack: EmbeddedStack, order_id: str) -> None:
    """What a customer does at the bank: the next capture is not refused."""
    with contextlib.closing(sqlite3.connect(stack.data_dir / LEDGER, timeout=5)) as ledger, ledger:
        ledger.execute("UPDATE payments SET behaviour = 'ok' WHERE reference = ?", (order_id,))


async def is_told(stack: EmbeddedStack, order_id: str, name: str, *, cause: str = "done") -> str:
    """The page is the story ``name``, once all that belongs to it has come."""
    story, file = page(await settles(stack, order_id, cause)), STORIES / f"{name}.txt"
    if "ORDERFLOW_WRITE_STORIES" in os.environ:
        file.parent.mkdir(exist_ok=True)
        file.write_text(story)
    told, expected = in_threads(story), in_threads(file.read_text())
    assert told == expected, "\n".join((story, *difflib.unified_diff(expected, told, "expected", "told", lineterm="")))
    return story


async def test_completed(stack: EmbeddedStack, client: Shop, terminal: Terminal) -> None:
    order_id = await placed(client, "FULFILLING")
    await client.ask(order_id, "ship", carrier="UPS", tracking_number="1Z999")
    await client.ask(order_id, "complete")
    story = await is_told(stack, order_id, "completed")
    terminal.env["COLUMNS"] = str(COLUMNS)
    said = await terminal.run("order", "explain", order_id)
    assert with_placeholders(said.out) == story
    assert "tok_ok" not in said.out


async def test_declined(stack: EmbeddedStack, client: Shop) -> None:
    async with faulty_gateway(stack, delay_seconds=1.0):  # the stock is there first
        order_id = await placed(client, "CANCELLED", "tok_declined")
        await is_told(stack, order_id, "declined")


@pytest.mark.parametrize(("basket", "name"), [(EMPTY, "out-of-stock"), (UNKNOWN, "unknown-sku")])
async def test_refused_stock(stack: EmbeddedStack, client: Shop, basket: Basket, name: str) -> None:
    order_id = await client.place(basket)
    async with opened(stack, "inventory") as inventory, inventory.transaction() as connection:
        # The money is held first.
        await connection.execute("LOCK TABLE stock IN ACCESS EXCLUSIVE MODE")
        await client.ask(order_id, "approve")
        await has_event(stack, "payments", order_id, "PAYMENT_AUTHORIZED")
    await client.reaches(order_id, "CANCELLED")
    await is_told(stack, order_id, name)


async def test_both_refuse(stack: EmbeddedStack, client: Shop, tmp_path: Path) -> None:
    order_id = await client.place(EMPTY, "tok_declined")
    async with without(stack, "workers"):
        async with a_worker(stack, tmp_path / "worker.log", "orders"):
            await send(client, order_id, "approve")
            await has_step(stack, order_id, "reserve_inventory")
        async with a_worker(stack, tmp_path / "worker.log", "payments", "inventory"):
            await has_event(stack, "payments", order_id, "PAYMENT_FAILED")
            await has_event(stack, "inventory", order_id, "INVENTORY_FAILED")
    await client.reaches(order_id, "CANCELLED")
    await is_told(stack, order_id, "both-refuse")


async def test_cancelled_in_draft(stack: EmbeddedStack, client: Shop) -> None:
    order_id = await client.place(BASKET)
    await client.ask(order_id, "cancel")
    await is_told(stack, order_id, "cancelled-in-draft")


async def test_cancelled_in_approved(stack: EmbeddedStack, client: Shop) -> None:
    """While the payment is asked: what it holds when it answers is given back."""
    async with faulty_gateway(stack, delay_seconds=1.5):
        order_id = await client.place(BASKET)
        await client.ask(order_id, "approve")
        await has_event(stack, "inventory", order_id, "INVENTORY_RESERVED")
        await client.ask(order_id, "cancel")
        await is_told(stack, order_id, "cancelled-in-approved")


async def test_cancelled_in_fulfilling(stack: EmbeddedStack, client: Shop) -> None:
    order_id = await placed(client, "FULFILLING")
    await client.ask(order_id, "cancel")
    await is_told(stack, order_id, "cancelled-in-fulfilling")


async def test_cancelled_by_an_operator(stack: EmbeddedStack, client: Shop) -> None:
    order_id = await placed(client, "FULFILLING")
    temporal = await connect(stack.settings)
    await temporal.get_workflow_handle(f"order-{order_id}").cancel()
    await client.reaches(order_id, "CANCELLED")
    await is_told(stack, order_id, "cancelled-by-an-operator")


async def test_expired(stack: EmbeddedStack, client: Shop, tmp_path: Path) -> None:
    async with (
        without(stack, "workers"),
        a_worker(stack, tmp_path / "worker.log", "orders", "payments", "inventory", draft_ttl_seconds=3),
    ):
        order_id = await client.place(BASKET)
        await client.reaches(order_id, "CANCELLED")
        await is_told(stack, order_id, "expired")


async def test_a_refused_ship_and_a_good_one(stack: EmbeddedStack, client: Shop) -> None:
    """The card is blocked at first; a new capture has a key of its own."""
    order_id = await placed(client, "FULFILLING", "tok_capture_refused")
    assert (await client.ask(order_id, "ship", carrier="UPS")).status_code == 402
    await is_told(stack, order_id, "a-refused-ship", cause="customer")
    unblock_the_card(stack, order_id)
    assert (await client.ask(order_id, "ship", carrier="UPS")).status_code == 200
    await client.ask(order_id, "complete")
    await is_told(stack, order_id, "a-refused-ship-and-a-good-one")


async def test_refused_commands(stack: EmbeddedStack, client: Shop) -> None:
    """What the API refuses was never accepted: no line. A signal of any name is a look, and nothing else."""
    order_id = await placed(client, "FULFILLING")
    assert (await client.ask(order_id, "complete")).status_code == 409
    for name, content in (("complete", {"command_id": "c:too-soon"}), ("dance", None)):
        await signalled(stack, order_id, name, content)
    await client.ask(order_id, "cancel")
    await is_told(stack, order_id, "refused-commands")


async def test_an_answer_of_the_gateway_is_lost(stack: EmbeddedStack, client: Shop) -> None:
    order_id = await placed(client, "FULFILLING", "tok_answer_lost_once")
    await is_told(stack, order_id, "a-lost-answer", cause="customer")


async def test_replayed_commands(stack: EmbeddedStack, client: Shop) -> None:
    """The API answers a replay from the record: no line."""
    order_id = await client.place(BASKET)
    again: dict[str, Any] = {"headers": {"Idempotency-Key": "once-and-again"}, "json": {}}
    for replayed in (None, "true"):
        answer = await client.http.post(f"/orders/{order_id}/approve", **again)
        assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (200, replayed)
    await client.reaches(order_id, "FULFILLING")
    again["headers"] = {"Idempotency-Key": "shipped-once", "Prefer": "wait=10"}
    for replayed in (None, "true"):
        answer = await client.http.post(f"/orders/{order_id}/ship", **again)
        assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (200, replayed)
    await is_told(stack, order_id, "replayed-commands", cause="customer")
