"""Drafts and their payment tokens: kept as long as they are needed, swept when they are too old."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from orderflow.domain.access import EVERYONE
from orderflow.domain.orders import LIFECYCLE
from orderflow.store import orders as orders_module
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from orderflow.store.statements import Statement
from orderflow.store.sweep import sweep_drafts
from support.orders import an_order, command
from support.tokens import seal
from support.waiting import until

ROWS = Statement(
    "test.rows", "Reads all orders by age.", "SELECT order_id, status, version, reason FROM orders ORDER BY created_at"
)
TOKENS = Statement("test.tokens", "Reads whose token is kept.", "SELECT order_id, sealed FROM payment_tokens")
EVENTS = Statement(
    "test.events",
    "Reads an order's last event and the record of its command.",
    """
    SELECT e.version, e.type, e.status, e.data, c.command_id, c.name, o.order_id IS NOT NULL AS in_outbox
    FROM events e JOIN commands c ON c.order_id = e.order_id AND c.version = e.version
    LEFT JOIN outbox o ON o.order_id = e.order_id AND o.version = e.version
    WHERE e.order_id = $order_id ORDER BY e.version DESC LIMIT 1""",
)
HOUR = timedelta(hours=1)
NOW = timedelta()


@pytest.fixture
def orders(orders_db: Database) -> Orders:
    return Orders(orders_db)


async def _draft(orders: Orders) -> UUID:
    order = an_order()
    await orders.place(order, command("place", "w:place"), seal(order.order_id, "tok_ok"))
    return order.order_id


async def _statuses(database: Database) -> list[str]:
    return [row["status"] for row in await database.all(ROWS, {})]


async def _whose_tokens(database: Database) -> set[UUID]:
    return {row["order_id"] for row in await database.all(TOKENS, {})}


async def test_a_sweep_cancels_drafts_past_their_time_and_no_others(orders: Orders, orders_db: Database) -> None:
    draft, approved = await _draft(orders), await _draft(orders)
    await orders.carry_out(approved, command("approve"), EVERYONE)
    assert await orders.expire(HOUR, 10) == 0
    assert await orders.expire(NOW, 10) == 1
    assert await _statuses(orders_db) == ["CANCELLED", "APPROVED"]
    assert await _whose_tokens(orders_db) == {approved}
    last = await orders_db.one(EVENTS, {"order_id": draft})
    assert last is not None
    assert dict(last) == {
        "version": 2,
        "type": "ORDER_STATE_CHANGED",
        "status": "CANCELLED",
        "data": {"from": "DRAFT", "to": "CANCELLED", "reason": "draft_expired"},
        "command_id": "w:expire",
        "name": "expire",
        "in_outbox": True,
    }
    assert await orders.expire(NOW, 10) == 0


async def test_the_oldest_go_first_in_batches(orders: Orders, orders_db: Database) -> None:
    for _ in range(5):
        await _draft(orders)
    assert await orders.expire(NOW, 2) == 2
    assert await _statuses(orders_db) == ["CANCELLED"] * 2 + ["DRAFT"] * 3
    assert await orders.expire(NOW, 9) == 3


async def test_a_sweep_leaves_out_what_somebody_has_locked(orders: Orders, orders_db: Database) -> None:
    locked = await _draft(orders)
    await _draft(orders)
    pool = await orders_db.pool()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", locked)
        assert await orders.expire(NOW, 10) == 1
    assert await _statuses(orders_db) == ["DRAFT", "CANCELLED"]


async def test_two_sweeps_at_once_share_the_work(orders: Orders, orders_db: Database) -> None:
    for _ in range(40):
        await _draft(orders)
    swept = await asyncio.gather(*(orders.expire(NOW, 10) for _ in range(8)))
    while sum(swept) < 40:  # a batch may have met rows that another one had locked
        swept.append(await orders.expire(NOW, 10))
    assert sum(swept) == 40
    assert await _statuses(orders_db) == ["CANCELLED"] * 40


async def test_an_approve_and_the_sweep_at_once_have_one_winner(orders: Orders, orders_db: Database) -> None:
    drafts = [await _draft(orders) for _ in range(30)]

    async def approve(order_id: UUID) -> str:
        outcome = (await orders.carry_out(order_id, command("approve"), EVERYONE)).outcome
        assert outcome.refusal is None or outcome.refusal.slug == "illegal_transition"
        return outcome.state

    approves = [asyncio.create_task(approve(order_id)) for order_id in drafts]
    swept = sum(await asyncio.gather(*(orders.expire(NOW, 5) for _ in range(12))))
    states = Counter(await asyncio.gather(*approves))
    statuses = Counter(await _statuses(orders_db))
    assert statuses["CANCELLED"] == swept
    assert statuses["APPROVED"] == states["done"]
    left = {row["order_id"] for row in await orders_db.all(ROWS, {}) if row["status"] in ("APPROVED", "DRAFT")}
    assert await _whose_tokens(orders_db) == left


async def test_what_expires_is_told_by_the_lifecycle(orders: Orders, orders_db: Database) -> None:
    """The sweep's statement has no list of its own: what it takes is what ``expire`` moves from."""
    for name in ("approve", "fulfil", "cancel"):
        order_id = await _draft(orders)
        if name != "cancel":
            await orders.carry_out(order_id, command("approve"), EVERYONE)
        if name == "fulfil":
            await orders.move(order_id, command("fulfil"))
        if name == "cancel":
            await orders.carry_out(order_id, command("cancel"), EVERYONE)
    before = await orders_db.all(ROWS, {})
    assert await orders.expire(NOW, 10) == 0
    assert await orders_db.all(ROWS, {}) == before
    assert orders_module._EXPIRE is LIFECYCLE.transition("expire")
    assert all(f"'{status}'" in orders_module._SWEEP.sql for status in LIFECYCLE.transition("expire").moves_from)


async def test_the_sweep_goes_on_until_it_is_stopped(orders: Orders, orders_db: Database) -> None:
    stopping = asyncio.Event()
    sweeping = asyncio.create_task(sweep_drafts(orders, timedelta(milliseconds=10), stopping))
    for _ in range(3):
        order_id = await _draft(orders)

        async def over(order_id: UUID = order_id) -> bool:
            seen = await orders.look(order_id)
            return seen is not None and seen.status == "CANCELLED"

        await until(over)
    stopping.set()
    await asyncio.wait_for(sweeping, 5)
