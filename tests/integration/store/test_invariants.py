"""Refused by the database, whoever writes."""

import json
from collections.abc import AsyncIterator
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from orderflow.domain.access import EVERYONE
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from support.orders import an_order, command
from support.stack import Databases

Connection: TypeAlias = "asyncpg.Connection[Any]"


@pytest.fixture
async def admin(databases: Databases) -> AsyncIterator[Connection]:
    """The owner of the orders database: what is refused here, no grant refuses."""
    connection = await asyncpg.connect(databases.as_admin("orders"))
    yield connection
    await connection.close()


@pytest.fixture
async def inventory_admin(databases: Databases) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(databases.as_admin("inventory"))
    yield connection
    await connection.close()


@pytest.fixture
async def approved(orders_db: Database) -> UUID:
    orders = Orders(orders_db)
    order = an_order()
    await orders.place(order, command("place", "w:place"), "key-1.c2VhbGVkIGZvciB0aGUgcGF5bWVudHMgcm9sZQ")
    await orders.carry_out(order.order_id, command("approve"), EVERYONE)
    return order.order_id


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("UPDATE orders SET status = 'FULFILLING', version = 3", asyncpg.ForeignKeyViolationError),
        ("UPDATE orders SET status = 'FULFILLING'", asyncpg.IntegrityConstraintViolationError),
        ("UPDATE orders SET status = 'DRAFT', version = 1", asyncpg.IntegrityConstraintViolationError),
        ("UPDATE orders SET total = total", asyncpg.IntegrityConstraintViolationError),
        ("UPDATE orders SET version = 3, status = 'LOST'", asyncpg.IntegrityConstraintViolationError),
        ("UPDATE orders SET version = 3, status = 'CANCELLED'", asyncpg.CheckViolationError),
        ("UPDATE orders SET version = 3, status = 'CANCELLED', reason = 'because'", asyncpg.CheckViolationError),
        ("UPDATE events SET status = 'DRAFT'", asyncpg.IntegrityConstraintViolationError),
        ("DELETE FROM events WHERE version = 2", asyncpg.IntegrityConstraintViolationError),
        ("DELETE FROM orders", asyncpg.IntegrityConstraintViolationError),
    ],
)
async def test_an_order_cannot_be_changed_behind_its_events(
    approved: UUID, admin: Connection, change: str, refusal: type[asyncpg.PostgresError]
) -> None:
    with pytest.raises(refusal):
        await admin.execute(change)


@pytest.mark.parametrize("total", [0, -5])
async def test_an_order_costs_something(admin: Connection, total: int) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await admin.execute(
            "INSERT INTO orders (order_id, status, version, customer_id, currency, total)"
            " VALUES ($1, 'DRAFT', 1, 'x', 'USD', $2)",
            uuid4(),
            total,
        )


@pytest.mark.parametrize(("quantity", "unit_price"), [(1, 0), (1, -1), (0, 150), (10_000, 150)])
async def test_so_does_each_of_its_lines(approved: UUID, admin: Connection, quantity: int, unit_price: int) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await admin.execute(
            "INSERT INTO order_lines (order_id, line, sku, quantity, unit_price) VALUES ($1, 99, 'sand', $2, $3)",
            approved,
            quantity,
            unit_price,
        )


async def test_events_have_no_gap(approved: UUID, admin: Connection) -> None:
    insert = (
        "INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id)"
        " VALUES ($1, $2, 'ORDER_APPROVED', 'APPROVED', $3, 'w:x', 't')"
    )
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await admin.execute(insert, approved, 4, json.dumps({}))
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await admin.execute(insert, uuid4(), 2, json.dumps({}))
    with pytest.raises(asyncpg.UniqueViolationError):
        await admin.execute(insert, approved, 2, json.dumps({}))


async def test_a_row_starts_at_version_1(admin: Connection) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await admin.execute(
            "INSERT INTO orders (order_id, status, version, customer_id, currency, total)"
            " VALUES ($1, 'DRAFT', 2, 'x', 'USD', 1)",
            uuid4(),
        )


async def test_at_most_one_command_of_an_order_is_pending(approved: UUID, admin: Connection) -> None:
    insert = "INSERT INTO commands (order_id, command_id, name) VALUES ($1, $2, 'ship')"
    await admin.execute(insert, approved, "c:1")
    with pytest.raises(asyncpg.UniqueViolationError):
        await admin.execute(insert, approved, "c:2")


async def test_a_command_has_one_outcome(approved: UUID, admin: Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await admin.execute(
            "INSERT INTO commands (order_id, command_id, name, version, refusal) VALUES ($1, 'c:1', 'ship', 2, '{}')",
            approved,
        )


async def test_every_event_is_in_the_outbox(approved: UUID, admin: Connection) -> None:
    missing = await admin.fetchval(
        "SELECT count(*) FROM events e LEFT JOIN outbox o USING (order_id, version) WHERE o.position IS NULL"
    )
    assert (missing, await admin.fetchval("SELECT count(*) FROM outbox")) == (0, 2)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("UPDATE stock SET version = 2, reserved = 11", asyncpg.CheckViolationError),
        ("UPDATE stock SET version = 2, reserved = -1", asyncpg.CheckViolationError),
        ("UPDATE stock SET version = 2, on_hand = -1", asyncpg.CheckViolationError),
        ("UPDATE stock SET on_hand = 20", asyncpg.IntegrityConstraintViolationError),
    ],
)
async def test_stock_is_never_negative_nor_oversold(
    inventory_admin: Connection, change: str, refusal: type[asyncpg.PostgresError]
) -> None:
    await inventory_admin.execute("INSERT INTO stock (sku, on_hand, version) VALUES ('bread', 10, 1)")
    with pytest.raises(refusal):
        await inventory_admin.execute(change)


async def test_a_payment_is_of_a_positive_amount(databases: Databases) -> None:
    insert = (
        "INSERT INTO payments (order_id, status, version, amount, currency, authorization_id)"
        " VALUES ($1, 'AUTHORIZED', 1, $2, 'USD', 'a')"
    )
    admin = await asyncpg.connect(databases.as_admin("payments"))
    try:
        for amount in (0, -1):
            with pytest.raises(asyncpg.CheckViolationError):
                await admin.execute(insert, uuid4(), amount)
    finally:
        await admin.close()


async def test_the_service_role_cannot_rewrite_history(orders_db: Database, approved: UUID) -> None:
    pool = await orders_db.pool()
    for change in (
        "DELETE FROM events",
        "UPDATE events SET status = 'DRAFT'",
        "DELETE FROM commands",
        "DELETE FROM orders",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(change)
