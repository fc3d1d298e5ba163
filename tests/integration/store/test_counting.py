"""What the store counts, it counts once; what it measures is what happened."""

import asyncio

import pytest

from orderflow.domain.access import EVERYONE
from orderflow.domain.errors import Rejection, Unavailable
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from orderflow.store.reservations import Reservations
from orderflow.store.statements import Statement
from orderflow.telemetry import meters
from support.orders import an_order, command
from support.scrapes import counted

SEALED = "key-1.c2VhbGVkIGZvciB0aGUgcGF5bWVudHMgcm9sZQ"


@pytest.fixture(autouse=True)
def _on() -> None:
    meters.switch_on()


def _transitions(command: str, from_: str, to: str, aggregate: str = "order") -> float:
    labels = {"aggregate": aggregate, "command": command, "from": from_, "to": to}
    return counted("orderflow_transitions_total", **labels)


def _all_transitions() -> float:
    return sum(
        sample.value
        for family in meters.REGISTRY.collect()
        for sample in family.samples
        if sample.name == "orderflow_transitions_total"
    )


async def test_a_replay_is_no_transition(orders_db: Database) -> None:
    orders, order = Orders(orders_db), an_order()
    place, approve = command("place", "w:place"), command("approve")
    placed, approved = _transitions("place", "", "DRAFT"), _transitions("approve", "DRAFT", "APPROVED")
    for _ in range(3):
        await orders.place(order, place, SEALED)
    for _ in range(3):
        await orders.carry_out(order.order_id, approve, EVERYONE)
    assert _transitions("place", "", "DRAFT") == placed + 1
    assert _transitions("approve", "DRAFT", "APPROVED") == approved + 1


async def test_a_refusal_is_no_transition(orders_db: Database) -> None:
    orders, order = Orders(orders_db), an_order()
    await orders.place(order, command("place", "w:place"), SEALED)
    before = _all_transitions()
    accepted = await orders.carry_out(order.order_id, command("complete"), EVERYONE)
    assert accepted.outcome.state == "refused"
    assert _all_transitions() == before > 0


@pytest.mark.parametrize("status", ["DRAFT", "APPROVED"])
async def test_a_cancel_counts_from_the_status_that_the_order_really_had(orders_db: Database, status: str) -> None:
    orders, order = Orders(orders_db), an_order()
    await orders.place(order, command("place", "w:place"), SEALED)
    if status == "APPROVED":
        await orders.carry_out(order.order_id, command("approve"), EVERYONE)
    before = _transitions("cancel", status, "CANCELLED")
    await orders.carry_out(order.order_id, command("cancel"), EVERYONE)
    assert _transitions("cancel", status, "CANCELLED") == before + 1


async def test_the_time_to_fulfilling_is_measured_once_however_often_it_is_recorded(orders_db: Database) -> None:
    orders, order = Orders(orders_db), an_order()
    await orders.place(order, command("place", "w:place"), SEALED)
    await orders.carry_out(order.order_id, command("approve"), EVERYONE)
    name = "orderflow_order_approve_to_fulfilling_seconds"
    count, seconds = counted(f"{name}_count"), counted(f"{name}_sum")
    await asyncio.sleep(0.2)
    for _ in range(3):
        await orders.move(order.order_id, command("fulfil", "w:fulfil"))
    assert counted(f"{name}_count") == count + 1
    assert 0.2 <= counted(f"{name}_sum") - seconds < 5


async def test_a_reservation_says_how_long_it_waited_for_its_rows(inventory_db: Database) -> None:
    pool = await inventory_db.pool()
    await pool.executemany("INSERT INTO stock (sku, on_hand, version) VALUES ($1, 100, 1)", [("a",), ("b",)])
    reservations, order = Reservations(inventory_db), an_order(("a", 1, 1), ("b", 1, 1))
    name = "orderflow_inventory_lock_wait_seconds"
    count, seconds = counted(f"{name}_count"), counted(f"{name}_sum")
    async with pool.acquire() as other, other.transaction():
        # The last row that it locks: all the others are held by then.
        await other.execute("SELECT FROM stock WHERE sku = 'b' FOR UPDATE")
        waiting = asyncio.create_task(
            reservations.reserve(order.order_id, command("reserve", "w:reserve"), order.lines)
        )
        await asyncio.sleep(0.3)
        assert not waiting.done()
    await waiting
    await reservations.reserve(order.order_id, command("reserve", "w:reserve"), order.lines)
    assert counted(f"{name}_count") == count + 1
    assert 0.2 < counted(f"{name}_sum") - seconds < 4


@pytest.mark.parametrize(("sku", "reason"), [("few", "out_of_stock"), ("nothing_of_that_name", "unknown_sku")])
async def test_a_rejected_reservation_says_why(inventory_db: Database, sku: str, reason: str) -> None:
    pool = await inventory_db.pool()
    await pool.execute("INSERT INTO stock (sku, on_hand, version) VALUES ('few', 1, 1)")
    reservations, order = Reservations(inventory_db), an_order((sku, 2, 1))
    before = counted("orderflow_stock_rejections_total", reason=reason)
    for _ in range(2):
        await reservations.reserve(order.order_id, command("reserve", "w:reserve"), order.lines)
    assert counted("orderflow_stock_rejections_total", reason=reason) == before + 1


async def test_a_statement_that_fails_is_counted_by_what_it_failed_of(orders_db: Database) -> None:
    def failures(failure: str) -> float:
        labels = {"database": "orders", "statement": "test.divide", "failure": failure}
        return counted("orderflow_statement_failures_total", **labels)

    divide = Statement("test.divide", "Divides.", "SELECT 1 / $divisor::int")
    before = failures("rejected")
    with pytest.raises(Rejection):
        await orders_db.one(divide, {"divisor": 0})
    assert failures("rejected") == before + 1
    await orders_db.one(divide, {"divisor": 1})
    labels = {"database": "orders", "statement": "test.divide"}
    assert counted("orderflow_statement_duration_seconds_count", **labels) == 1


async def test_an_exhausted_pool_shows(inventory_db: Database) -> None:
    dsn = inventory_db._dsn
    async with Database("exhausted", dsn, pool_size=1, command_timeout=0.2) as database:
        pool = await database.pool()
        async with pool.acquire():
            states = {
                sample.labels["state"]: sample.value
                for family in meters.REGISTRY.collect()
                for sample in family.samples
                if sample.name == "orderflow_pool_connections" and sample.labels["database"] == "exhausted"
            }
            assert states == {"in_use": 1, "idle": 0, "max": 1}
            with pytest.raises(Unavailable):
                await database.one(Statement("test.one", "Gives a row.", "SELECT 1"), {})
    assert counted("orderflow_pool_timeouts_total", database="exhausted") == 1
