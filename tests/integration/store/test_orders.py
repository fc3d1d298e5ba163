"""The write rule, on orders."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from orderflow.domain.commands import Outcome
from orderflow.domain.errors import Problem, Unavailable
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from orderflow.store.statements import Statement
from support.orders import an_order, command
from support.stack import Databases

EVENTS = Statement(
    "test.events",
    "Reads an order's events.",
    "SELECT version, type, status, data, command_id FROM events WHERE order_id = $order_id ORDER BY version",
)
COUNTS = Statement(
    "test.counts",
    "Counts what was written.",
    "SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM outbox) AS outbox,"
    " (SELECT count(*) FROM commands) AS commands",
)


@pytest.fixture
def orders(orders_db: Database) -> Orders:
    return Orders(orders_db)


async def _at(orders: Orders, *path: str) -> tuple[UUID, Outcome]:
    order = an_order()
    outcome = await orders.place(order, command("place", "w:place"))
    for name in path:
        if name == "ship":
            ship = command("ship")
            await orders.accept_ship(order.order_id, ship)
            outcome = await orders.record_ship(order.order_id, ship)
        else:
            outcome = await orders.move(order.order_id, command(name))
    return order.order_id, outcome


async def test_the_whole_life_leaves_one_event_a_version(orders: Orders, orders_db: Database) -> None:
    order_id, outcome = await _at(orders, "approve", "fulfil", "ship", "complete")
    assert (outcome.state, outcome.status, outcome.version) == ("done", "COMPLETED", 5)
    events = await orders_db.all(EVENTS, {"order_id": order_id})
    assert [(e["version"], e["status"]) for e in events] == [
        (1, "DRAFT"),
        (2, "APPROVED"),
        (3, "FULFILLING"),
        (4, "SHIPPED"),
        (5, "COMPLETED"),
    ]
    assert events[3]["data"] == {"from": "FULFILLING", "to": "SHIPPED"}
    assert events[0]["data"]["lines"] == [{"sku": "1082185", "quantity": 2, "unit_price": 99}]


async def test_the_same_command_again_gives_the_recorded_outcome(orders: Orders, orders_db: Database) -> None:
    order = an_order()
    await orders.place(order, command("place", "w:place"))
    approve = command("approve", "c:1", request_hash="a" * 64)
    first = await orders.move(order.order_id, approve)
    await orders.move(order.order_id, command("cancel"))
    again = await orders.move(order.order_id, approve)
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.state, again.status, again.version) == ("done", "APPROVED", 2)
    assert (again.row_status, again.row_version) == ("CANCELLED", 3)
    counts = await orders_db.one(COUNTS, {})
    assert counts is not None
    assert tuple(counts) == (3, 3, 3)


async def test_the_same_id_with_another_request_is_a_conflict(orders: Orders) -> None:
    order_id, _ = await _at(orders)
    await orders.move(order_id, command("approve", "c:1", request_hash="a" * 64))
    for other in (command("approve", "c:1", request_hash="b" * 64), command("cancel", "c:1", request_hash="a" * 64)):
        outcome = await orders.move(order_id, other)
        assert outcome.refusal is not None
        assert (outcome.refusal.slug, outcome.refusal.status) == ("idempotency_conflict", 422)


async def test_a_refusal_is_recorded_and_stays_the_answer(orders: Orders) -> None:
    order_id, _ = await _at(orders)
    ship = command("ship", "c:ship")
    refused = await orders.accept_ship(order_id, ship)
    assert refused.refusal is not None
    assert refused.refusal.slug == "illegal_transition"
    assert refused.refusal.allowed_actions == ("approve", "cancel")
    await orders.move(order_id, command("approve"))
    await orders.move(order_id, command("fulfil"))
    # It would be legal now, but this request was answered.
    again = await orders.accept_ship(order_id, ship)
    assert (again.state, again.replayed, again.refusal) == ("refused", True, refused.refusal)


async def test_an_old_version_is_refused(orders: Orders) -> None:
    order_id, _ = await _at(orders, "approve")
    outcome = await orders.move(order_id, command("cancel", expected_version=1))
    assert outcome.refusal is not None
    assert (outcome.refusal.status, outcome.refusal.current_version) == (412, 2)


async def test_fifty_different_cancels_at_once_make_one_event(orders: Orders, orders_db: Database) -> None:
    order_id, _ = await _at(orders, "approve")
    outcomes = await asyncio.gather(*(orders.move(order_id, command("cancel")) for _ in range(50)))
    assert sum(outcome.state == "done" for outcome in outcomes) == 1
    assert all(o.refusal and o.refusal.slug == "illegal_transition" for o in outcomes if o.state == "refused")
    assert len(await orders_db.all(EVENTS, {"order_id": order_id})) == 3


async def test_one_command_sent_fifty_times_at_once_happens_once(orders: Orders, orders_db: Database) -> None:
    order = an_order()
    place = command("place", "w:place")
    outcomes = await asyncio.gather(*(orders.place(order, place) for _ in range(50)))
    assert [(o.state, o.version) for o in outcomes] == [("done", 1)] * 50
    assert sum(not o.replayed for o in outcomes) == 1
    assert len(await orders_db.all(EVENTS, {"order_id": order.order_id})) == 1


async def test_a_move_whose_event_cannot_be_written_has_not_happened(
    orders: Orders, orders_db: Database, databases: Databases
) -> None:
    order_id, _ = await _at(orders)
    approve = command("approve", "c:1")
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        await admin.execute(
            """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$;
               CREATE TRIGGER fails BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail()"""
        )
        with pytest.raises(Unavailable):
            await orders.move(order_id, approve)
        row = await admin.fetchrow("SELECT status, version FROM orders")
        counts = await orders_db.one(COUNTS, {})
        assert row is not None
        assert counts is not None
        assert (tuple(row), tuple(counts)) == (("DRAFT", 1), (1, 1, 1))
        await admin.execute("DROP TRIGGER fails ON events")
    finally:
        await admin.close()
    outcome = await orders.move(order_id, approve)
    assert (outcome.state, outcome.version, outcome.replayed) == ("done", 2, False)


async def test_while_a_ship_is_pending_nothing_else_happens(orders: Orders) -> None:
    order_id, _ = await _at(orders, "approve", "fulfil")
    ship = command("ship", "c:ship")
    assert (await orders.accept_ship(order_id, ship)).state == "pending"
    assert (await orders.accept_ship(order_id, ship)).state == "pending"
    for other in (await orders.move(order_id, command("cancel")), await orders.accept_ship(order_id, command("ship"))):
        assert other.refusal is not None
        assert (other.refusal.slug, other.refusal.status) == ("shipment_in_progress", 409)
    shipped = await orders.record_ship(order_id, ship)
    assert (shipped.state, shipped.status, shipped.version) == ("done", "SHIPPED", 4)
    assert (await orders.record_ship(order_id, ship)).replayed


async def test_a_refused_capture_leaves_the_order_fulfilling(orders: Orders, orders_db: Database) -> None:
    order_id, _ = await _at(orders, "approve", "fulfil")
    ship = command("ship", "c:ship")
    await orders.accept_ship(order_id, ship)
    problem = Problem(slug="capture_refused", detail="No.", status=402)
    refused = await orders.refuse_ship(order_id, ship, problem)
    assert (refused.state, refused.refusal, refused.row_status) == ("refused", problem, "FULFILLING")
    assert (await orders.accept_ship(order_id, ship)).refusal == problem
    assert (await orders.accept_ship(order_id, command("ship"))).state == "pending"


async def test_a_cancel_that_waited_for_the_lock_sees_the_pending_ship(orders: Orders, orders_db: Database) -> None:
    """The cancel's snapshot is older than the accepted ship: only the trigger can see it."""
    order_id, _ = await _at(orders, "approve", "fulfil")
    pool = await orders_db.pool()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", order_id)
        cancel = asyncio.create_task(orders.move(order_id, command("cancel")))
        await _until_a_lock_is_awaited(orders_db)
        await connection.execute(
            "INSERT INTO commands (order_id, command_id, name) VALUES ($1, 'c:ship', 'ship')", order_id
        )
        await transaction.commit()
    outcome = await _eventually(cancel)
    assert outcome.refusal is not None
    assert outcome.refusal.slug == "shipment_in_progress"


async def _eventually(cancel: "asyncio.Task[Outcome]") -> Outcome:
    return await asyncio.wait_for(cancel, 10)


async def _until_a_lock_is_awaited(database: Database) -> None:
    waiting = Statement(
        "test.waiting",
        "Reads who waits for a lock.",
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = current_user",
    )
    async with asyncio.timeout(10):
        while not await database.all(waiting, {}):
            pass


async def test_foresee_tells_without_recording(orders: Orders, orders_db: Database) -> None:
    order_id, _ = await _at(orders)
    before = await orders_db.one(COUNTS, {})
    ship = command("ship")
    foreseen = await orders.foresee(order_id, ship)
    assert foreseen is not None
    assert foreseen.refusal is not None
    assert foreseen.refusal.slug == "illegal_transition"
    assert await orders.foresee(order_id, command("approve")) is None
    assert await orders.foresee(uuid4(), command("approve")) is None
    assert await orders_db.one(COUNTS, {}) == before
