"""The LIFECYCLE in the database: no role moves a row otherwise, and nothing that was agreed can be changed."""

import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from orderflow.domain import inventory, orders, payments
from orderflow.domain.lifecycle import Lifecycle
from orderflow.postgres.roles import ROLES
from orderflow.settings import SERVICES, DatabaseRole, Service
from support.stack import Databases

Connection: TypeAlias = "asyncpg.Connection[Any]"
REFUSED: Final = (asyncpg.InsufficientPrivilegeError, asyncpg.IntegrityConstraintViolationError)


class Aggregate(NamedTuple):
    """A service's rows: their table, their LIFECYCLE, and what a row needs that is made in a status, or moved to it."""

    table: str
    lifecycle: Lifecycle
    made_with: Mapping[str, str]
    moved_with: Mapping[str, str]


AGGREGATES: Final[Mapping[Service, Aggregate]] = {
    "orders": Aggregate("orders", orders.LIFECYCLE, {}, {"CANCELLED": "reason = 'customer'"}),
    "payments": Aggregate(
        "payments",
        payments.LIFECYCLE,
        {
            "AUTHORIZED": "amount = 500, currency = 'USD', authorization_id = 'a'",
            "DECLINED": "amount = 500, currency = 'USD', reason = 'payment_declined'",
        },
        {"CAPTURED": "capture_id = 'c'"},
    ),
    "inventory": Aggregate("reservations", inventory.LIFECYCLE, {"REJECTED": "reason = 'out_of_stock'"}, {}),
}


@pytest_asyncio.fixture
async def owners(databases: Databases) -> AsyncIterator[dict[Service, Connection]]:
    """The owner of each database: what is refused here, no grant refuses."""
    connections = {service: await asyncpg.connect(databases.as_admin(service)) for service in SERVICES}
    yield connections
    for connection in connections.values():
        await connection.close()


async def happened(connection: Connection, order_id: UUID, version: int, status: str) -> None:
    """The event that a row's status needs."""
    await connection.execute(
        "INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id)"
        " VALUES ($1, $2, 'TEST', $3, '{}', 'w:test', '')",
        order_id,
        version,
        status,
    )


async def made(connection: Connection, service: Service, status: str) -> UUID:
    """A new row in ``status``, with its event, as the one who writes by hand would make it."""
    order_id = uuid4()
    aggregate = AGGREGATES[service]
    columns = {"order_id": f"'{order_id}'", "status": f"'{status}'", "version": "1"}
    if service == "orders":
        columns |= {"customer_id": "'somebody'", "currency": "'USD'", "total": "500"}
    for part in filter(None, aggregate.made_with.get(status, "").split(", ")):
        name, _, value = part.partition(" = ")
        columns[name] = value
    async with connection.transaction():
        await connection.execute(
            f"INSERT INTO {aggregate.table} ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
        )
        await happened(connection, order_id, 1, status)
    return order_id


async def moved(connection: Connection, service: Service, order_id: UUID, to: str) -> None:
    """The row one version further, with its event."""
    table, _, _, moved_with = AGGREGATES[service]
    also = f", {moved_with[to]}" if to in moved_with else ""
    version: int = await connection.fetchval(f"SELECT version + 1 FROM {table} WHERE order_id = $1", order_id)
    async with connection.transaction():
        await happened(connection, order_id, version, to)
        await connection.execute(
            f"UPDATE {table} SET status = $2, version = $3{also} WHERE order_id = $1", order_id, to, version
        )


async def brought(connection: Connection, service: Service, status: str) -> UUID:
    """A row that was brought to ``status`` by its LIFECYCLE."""
    lifecycle = AGGREGATES[service].lifecycle
    ways: dict[str, list[str]] = {t.to: [t.to] for t in lifecycle.transitions if t.starts}
    while status not in ways:
        for transition in lifecycle.transitions:
            for from_ in transition.moves_from:
                if from_ in ways:
                    ways.setdefault(transition.to, [*ways[from_], transition.to])
    first, *rest = ways[status]
    order_id = await made(connection, service, first)
    for to in rest:
        await moved(connection, service, order_id, to)
    return order_id


@pytest.mark.parametrize("service", SERVICES)
async def test_the_table_of_transitions_is_the_lifecycle(owners: dict[Service, Connection], service: Service) -> None:
    there = await owners[service].fetch("SELECT from_status, to_status FROM transitions")
    wanted = {(from_ or "", to) for from_, to in AGGREGATES[service].lifecycle.moves}
    assert {(row["from_status"], row["to_status"]) for row in there} == wanted, (
        f"a LIFECYCLE was changed: add migrations/{service}/<now>_<what>.sql with the change of `transitions`"
    )


@pytest.mark.parametrize("service", SERVICES)
async def test_a_row_is_made_and_moved_by_its_lifecycle_alone(
    owners: dict[Service, Connection], service: Service
) -> None:
    """Every pair of statuses, as the owner of the table."""
    owner, lifecycle = owners[service], AGGREGATES[service].lifecycle
    for to in lifecycle.statuses:
        if (None, to) in lifecycle.moves:
            await made(owner, service, to)
            continue
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=f"from no row to {to} is no transition"):
            await made(owner, service, to)
    for from_, to in itertools.product(lifecycle.statuses, repeat=2):
        order_id = await brought(owner, service, from_)
        if (from_, to) in lifecycle.moves:
            await moved(owner, service, order_id, to)
            continue
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=f"from {from_} to {to} is no transition"):
            await moved(owner, service, order_id, to)


@pytest.mark.parametrize("role", [None, *ROLES["orders"]])
async def test_no_role_completes_a_draft(
    databases: Databases, owners: dict[Service, Connection], role: DatabaseRole | None
) -> None:
    order_id = await made(owners["orders"], "orders", "DRAFT")
    connection = await asyncpg.connect(databases.url("orders", role))
    try:
        with pytest.raises(REFUSED):
            await moved(connection, "orders", order_id, "COMPLETED")
    finally:
        await connection.close()
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="from DRAFT to COMPLETED"):
        await moved(owners["orders"], "orders", order_id, "COMPLETED")
    assert await owners["orders"].fetchval("SELECT status FROM orders WHERE order_id = $1", order_id) == "DRAFT"


#: By service: what a row's move may not take along, from which status, and what it becomes.
KEPT: Final[Mapping[Service, tuple[str, str, tuple[str, ...]]]] = {
    "orders": (
        "DRAFT",
        "APPROVED",
        (
            "total = 1",
            "customer_id = 'somebody else'",
            "currency = 'EUR'",
            "reference = 'another'",
            "created_at = now()",
            "order_id = gen_random_uuid()",
        ),
    ),
    "payments": (
        "AUTHORIZED",
        "VOIDING",
        (
            "amount = 1",
            "currency = 'EUR'",
            "authorization_id = 'b'",
            "reason = 'payment_declined'",
            "created_at = now()",
        ),
    ),
    "inventory": ("RESERVED", "RELEASED", ("created_at = now()", "order_id = gen_random_uuid()")),
}


@pytest.mark.parametrize(("service", "change"), [(s, change) for s in SERVICES for change in KEPT[s][2]])
async def test_what_was_agreed_cannot_be_changed(
    owners: dict[Service, Connection], service: Service, change: str
) -> None:
    from_, to, _ = KEPT[service]
    table, owner = AGGREGATES[service].table, owners[service]
    order_id = await made(owner, service, from_)

    async def changed() -> None:
        async with owner.transaction():
            await happened(owner, order_id, 2, to)
            await owner.execute(
                f"UPDATE {table} SET status = $2, version = 2, {change} WHERE order_id = $1", order_id, to
            )

    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=f"{table} is immutable: UPDATE refused"):
        await changed()


@pytest.mark.parametrize(("service", "role"), [(s, role) for s in SERVICES for role in (None, *ROLES[s])])
async def test_no_role_writes_an_event_that_no_row_has_moved_to(
    databases: Databases, owners: dict[Service, Connection], service: Service, role: DatabaseRole | None
) -> None:
    """It would be published, and block the row's next move for good."""
    from_, to, _ = KEPT[service]
    order_id, nobodys = await made(owners[service], service, from_), uuid4()
    connection = await asyncpg.connect(databases.url(service, role))

    async def written(forged: list[tuple[UUID, int]], *, moves: bool = False) -> None:
        async with connection.transaction():
            if moves:
                await moved(connection, service, order_id, to)
            for order, version in forged:
                await happened(connection, order, version, to)

    try:
        for forged in ([(order_id, 2)], [(order_id, 2), (order_id, 3)], [(nobodys, 1)]):
            with pytest.raises(REFUSED):
                await written(forged)
        if role in (None, "worker") or (service, role) == (
            "orders",
            "api",
        ):  # who may move it may not say more than its move
            with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=r"event 3 of .* has not moved to it"):
                await written([(order_id, 3)], moves=True)
    finally:
        await connection.close()
    there = "SELECT count(*) FROM events WHERE order_id = ANY ($1)"
    assert await owners[service].fetchval(there, [order_id, nobodys]) == 1
    await moved(owners[service], service, order_id, to)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_row_is_never_deleted_and_begun_again(owners: dict[Service, Connection], service: Service) -> None:
    table = AGGREGATES[service].table
    order_id = await made(owners[service], service, KEPT[service][0])
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=f"{table} is immutable: DELETE refused"):
        await owners[service].execute(f"DELETE FROM {table} WHERE order_id = $1", order_id)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE order_lines SET quantity = 1",
        "UPDATE order_lines SET sku = 'milk'",
        "DELETE FROM order_lines",
        "INSERT INTO order_lines SELECT order_id, 2, 'milk', 1, 1 FROM order_lines",
    ],
)
async def test_an_orders_lines_stay_and_none_comes_later(owners: dict[Service, Connection], change: str) -> None:
    owner = owners["orders"]
    order_id = await made(owner, "orders", "DRAFT")
    await owner.execute("INSERT INTO order_lines VALUES ($1, 1, 'bread', 2, 250)", order_id)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await owner.execute(change)


async def test_an_order_costs_what_its_lines_cost(owners: dict[Service, Connection]) -> None:
    order_id = await made(owners["orders"], "orders", "DRAFT")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="total is not that of its lines"):
        await owners["orders"].execute("INSERT INTO order_lines VALUES ($1, 1, 'bread', 2, 249)", order_id)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE reservation_lines SET quantity = 1",
        "DELETE FROM reservation_lines",
        "INSERT INTO reservation_lines SELECT order_id, 'milk', 1 FROM reservation_lines",
    ],
)
async def test_a_reservations_lines_stay_and_none_comes_later(owners: dict[Service, Connection], change: str) -> None:
    owner = owners["inventory"]
    await owner.execute("INSERT INTO stock (sku, on_hand, version) VALUES ('bread', 9, 1), ('milk', 9, 1)")
    async with owner.transaction():
        order_id = uuid4()
        await owner.execute("INSERT INTO reservations (order_id, status, version) VALUES ($1, 'RESERVED', 1)", order_id)
        await owner.execute("INSERT INTO reservation_lines VALUES ($1, 'bread', 2)", order_id)
        await happened(owner, order_id, 1, "RESERVED")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await owner.execute(change)
