"""Stock: never oversold, never deadlocked, given back exactly once."""

import asyncio
import random

import pytest

from orderflow.domain.orders import Order
from orderflow.store.database import Database
from orderflow.store.reservations import Reservations
from orderflow.store.statements import Statement
from support.orders import an_order, command

STOCK = Statement("test.stock", "Reads all stock.", "SELECT sku, on_hand, reserved, version FROM stock ORDER BY sku")
MOVED = Statement(
    "test.moved", "Adds up the movements.", "SELECT sku, sum(delta)::int AS moved FROM stock_movements GROUP BY sku"
)


@pytest.fixture
def reservations(inventory_db: Database) -> Reservations:
    return Reservations(inventory_db)


async def _put(database: Database, **on_hand: int) -> None:
    pool = await database.pool()
    await pool.executemany("INSERT INTO stock (sku, on_hand, version) VALUES ($1, $2, 1)", list(on_hand.items()))


async def _stock(database: Database) -> dict[str, tuple[int, int]]:
    return {row["sku"]: (row["on_hand"], row["reserved"]) for row in await database.all(STOCK, {})}


async def _reserve(reservations: Reservations, order: Order) -> str:
    outcome = await reservations.reserve(order.order_id, command("reserve", "w:reserve"), order.lines)
    return outcome.status or outcome.state


async def test_fifty_orders_for_a_hot_sku_never_oversell(reservations: Reservations, inventory_db: Database) -> None:
    await _put(inventory_db, bananas=30)
    results = await asyncio.gather(*(_reserve(reservations, an_order(("bananas", 1, 99))) for _ in range(50)))
    assert (results.count("RESERVED"), results.count("REJECTED")) == (30, 20)
    assert await _stock(inventory_db) == {"bananas": (30, 30)}


async def test_many_lines_in_any_order_never_deadlock(reservations: Reservations, inventory_db: Database) -> None:
    skus = [f"sku{n}" for n in range(10)]
    await _put(inventory_db, **dict.fromkeys(skus, 1000))
    shuffler = random.Random(7)
    orders = [an_order(*((sku, 1, 1) for sku in shuffler.sample(skus, 5))) for _ in range(100)]
    results = await asyncio.gather(*(_reserve(reservations, order) for order in orders))
    assert results == ["RESERVED"] * 100
    committed, released = orders[:50], orders[50:]
    await asyncio.gather(
        *(reservations.commit(o.order_id, command("commit", "w:commit")) for o in committed),
        *(reservations.release(o.order_id, command("release", "w:release")) for o in released),
    )
    stock = await _stock(inventory_db)
    assert sum(reserved for _, reserved in stock.values()) == 0
    assert sum(1000 - on_hand for on_hand, _ in stock.values()) == 50 * 5
    moved = {row["sku"]: row["moved"] for row in await inventory_db.all(MOVED, {})}
    assert {sku: 1000 + moved.get(sku, 0) for sku in skus} == {sku: on_hand for sku, (on_hand, _) in stock.items()}


async def test_all_lines_or_none(reservations: Reservations, inventory_db: Database) -> None:
    await _put(inventory_db, bread=5, milk=1)
    order = an_order(("bread", 2, 1), ("milk", 2, 1))
    assert await _reserve(reservations, order) == "REJECTED"
    assert await reservations.reason(order.order_id) == "out_of_stock"
    assert await _stock(inventory_db) == {"bread": (5, 0), "milk": (1, 0)}
    event = await inventory_db.one(
        Statement(
            "test.events", "Reads an order's events.", "SELECT type, data FROM events WHERE order_id = $order_id"
        ),
        {"order_id": order.order_id},
    )
    assert event is not None
    assert event["type"] == "INVENTORY_FAILED"
    assert event["data"]["shortages"] == [{"sku": "milk", "requested": 2, "available": 1}]


async def test_an_unknown_sku_is_named(reservations: Reservations, inventory_db: Database) -> None:
    await _put(inventory_db, bread=5)
    order = an_order(("bread", 2, 1), ("unicorn", 1, 1))
    assert await _reserve(reservations, order) == "REJECTED"
    assert await reservations.reason(order.order_id) == "unknown_sku"


async def test_a_late_reservation_after_cancel_is_refused(reservations: Reservations, inventory_db: Database) -> None:
    await _put(inventory_db, bread=5)
    order = an_order(("bread", 2, 1))
    released = await reservations.release(order.order_id, command("release", "w:release"))
    assert (released.status, released.version) == ("RELEASED", 1)
    assert await _reserve(reservations, order) == "refused"
    assert await _stock(inventory_db) == {"bread": (5, 0)}


async def test_release_gives_back_once(reservations: Reservations, inventory_db: Database) -> None:
    await _put(inventory_db, bread=5)
    order = an_order(("bread", 2, 1))
    await _reserve(reservations, order)
    release = command("release", "w:release")
    await asyncio.gather(*(reservations.release(order.order_id, release) for _ in range(20)))
    assert await _stock(inventory_db) == {"bread": (5, 0)}


async def test_committed_stock_cannot_be_released(reservations: Reservations, inventory_db: Database) -> None:
    await _put(inventory_db, bread=5)
    order = an_order(("bread", 2, 1))
    await _reserve(reservations, order)
    await reservations.commit(order.order_id, command("commit", "w:commit"))
    outcome = await reservations.release(order.order_id, command("release", "w:release"))
    assert (outcome.state, outcome.row_status) == ("refused", "COMMITTED")
    assert await _stock(inventory_db) == {"bread": (3, 0)}


async def test_reserve_and_release_in_any_order_leave_nothing_held(
    reservations: Reservations, inventory_db: Database
) -> None:
    await _put(inventory_db, bread=500)
    orders = [an_order(("bread", 2, 1)) for _ in range(40)]
    await asyncio.gather(
        *(_reserve(reservations, order) for order in orders),
        *(reservations.release(order.order_id, command("release", "w:release")) for order in orders),
    )
    assert await _stock(inventory_db) == {"bread": (500, 0)}
