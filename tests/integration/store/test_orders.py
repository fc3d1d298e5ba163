"""The write rule, on orders: one statement a command, and what it leaves for Temporal."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from orderflow.domain.access import EVERYONE, Customer
from orderflow.domain.commands import only
from orderflow.domain.errors import Problem, Unavailable
from orderflow.store.database import Database
from orderflow.store.order_views import OrderViews
from orderflow.store.orders import Accepted, Orders
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
    " (SELECT count(*) FROM commands) AS commands, (SELECT count(*) FROM handovers) AS handovers",
)
HANDOVER = Statement(
    "test.handover", "Reads the handover.", "SELECT number, name FROM handovers WHERE order_id = $order_id"
)
TOKEN = Statement("test.token", "Reads the token.", "SELECT sealed FROM payment_tokens WHERE order_id = $order_id")

SEALED = "key-1.c2VhbGVkIGZvciB0aGUgcGF5bWVudHMgcm9sZQ"
REFUSED_CAPTURE = Problem(slug="capture_refused", detail="No.", status=402)


@pytest.fixture
def orders(orders_db: Database) -> Orders:
    return Orders(orders_db)


async def _at(orders: Orders, *path: str) -> UUID:
    """An order that went through these commands."""
    order = an_order()
    await orders.place(order, command("place", "w:place"), SEALED)
    for name in path:
        await _do(orders, order.order_id, name)
    return order.order_id


async def _do(orders: Orders, order_id: UUID, name: str) -> None:
    asked = command(name)
    if name == "ship":
        await orders.accept_ship(order_id, asked, EVERYONE)
        await orders.record_ship(order_id, asked.id)
    elif name in ("approve", "complete", "cancel"):
        await orders.carry_out(order_id, asked, EVERYONE)
    else:
        reason = {"reason": "payment_declined"} if name == "fail" else {}
        await orders.move(order_id, asked.model_copy(update={"data": reason}))


async def _counts(database: Database) -> tuple[int, ...]:
    counts = await database.one(COUNTS, {})
    assert counts is not None
    return tuple(counts)


async def test_the_whole_life_leaves_one_event_a_version(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve", "fulfil", "ship", "complete")
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


# --- What one statement answers ---


async def test_the_answer_holds_the_order_as_a_read_shows_it(orders: Orders, orders_db: Database) -> None:
    order = an_order(("bread", 2, 150), ("milk", 1, 99))
    views = OrderViews(orders_db)

    async def agrees(accepted: Accepted) -> None:
        read = await views.read(order.order_id, EVERYONE)
        assert accepted.order is not None
        assert read is not None
        assert accepted.order == read

    await agrees(await orders.place(order, command("place", "w:place"), SEALED))
    await agrees(await orders.carry_out(order.order_id, command("approve"), EVERYONE))
    await orders.move(order.order_id, command("fulfil", "w:fulfil"))
    ship = command("ship")
    await orders.accept_ship(order.order_id, ship, EVERYONE)
    await orders.record_ship(order.order_id, ship.id)
    await agrees(await orders.carry_out(order.order_id, command("complete"), EVERYONE))


async def test_the_answer_of_a_cancel_holds_its_reason(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve")
    cancelled = await orders.carry_out(order_id, command("cancel"), EVERYONE)
    assert cancelled.order == await OrderViews(orders_db).read(order_id, EVERYONE)
    assert cancelled.order is not None
    assert (cancelled.order.status, cancelled.order.reason) == ("CANCELLED", "customer")


@pytest.mark.parametrize(
    ("path", "name"), [(["approve"], "cancel"), ([], "approve"), (["approve", "fulfil", "ship"], "complete")]
)
async def test_a_command_is_one_statement(
    orders: Orders, orders_db: Database, path: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await _at(orders, *path)
    run: list[str] = []
    one = orders_db.one

    async def counted(statement: Statement, values: dict[str, object]) -> asyncpg.Record | None:
        run.append(statement.name)
        return await one(statement, values)

    monkeypatch.setattr(orders_db, "one", counted)
    accepted = await orders.carry_out(order_id, command(name), EVERYONE)
    assert accepted.outcome.state == "done"
    # Behind the answer, one for many writes, goes what wakes the relay.
    assert [statement for statement in run if statement != "database.notify"] == [f"orders.{name}"]


@pytest.mark.parametrize(("path", "name"), [([], "approve"), (["approve"], "cancel")])
async def test_what_temporal_must_know_leaves_a_handover(
    orders: Orders, orders_db: Database, path: list[str], name: str
) -> None:
    order_id = await _at(orders, *path)
    before = await orders_db.one(HANDOVER, {"order_id": order_id})
    accepted = await orders.carry_out(order_id, command(name), EVERYONE)
    row = await orders_db.one(HANDOVER, {"order_id": order_id})
    assert row is not None
    assert accepted.handover is not None
    assert (row["number"], row["name"]) == (accepted.handover.number, name)
    assert (accepted.handover.order_id, accepted.handover.name) == (order_id, name)
    assert before is None or row["number"] > before["number"]


async def test_a_ship_leaves_a_handover_when_it_is_accepted(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve", "fulfil")
    accepted = await orders.accept_ship(order_id, command("ship"), EVERYONE)
    row = await orders_db.one(HANDOVER, {"order_id": order_id})
    assert row is not None
    assert accepted.handover is not None
    assert (row["number"], row["name"]) == (accepted.handover.number, "ship")


async def test_a_complete_leaves_none(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve", "fulfil", "ship")
    before = await orders_db.one(HANDOVER, {"order_id": order_id})
    accepted = await orders.carry_out(order_id, command("complete"), EVERYONE)
    assert (accepted.outcome.status, accepted.handover) == ("COMPLETED", None)
    assert await orders_db.one(HANDOVER, {"order_id": order_id}) == before


async def test_what_only_ends_a_draft_or_is_the_workflows_own_leaves_none(orders: Orders, orders_db: Database) -> None:
    draft = await _at(orders)
    cancelled = await orders.carry_out(draft, command("cancel"), EVERYONE)
    assert cancelled.handover is None
    assert await orders_db.one(HANDOVER, {"order_id": draft}) is None
    order_id = await _at(orders, "approve")
    before = await orders_db.one(HANDOVER, {"order_id": order_id})
    await orders.move(order_id, command("fulfil", "w:fulfil"))
    assert await orders_db.one(HANDOVER, {"order_id": order_id}) == before


async def test_a_command_that_is_sent_again_leaves_no_handover(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders)
    approve = command("approve", "c:1")
    first = await orders.carry_out(order_id, approve, EVERYONE)
    again = await orders.carry_out(order_id, approve, EVERYONE)
    assert (again.outcome.state, again.outcome.replayed, again.order, again.handover) == ("done", True, None, None)
    row = await orders_db.one(HANDOVER, {"order_id": order_id})
    assert row is not None
    assert first.handover is not None
    assert row["number"] == first.handover.number


# --- The payment token ---


@pytest.mark.parametrize("path", [["cancel"], ["approve", "fulfil"], ["approve", "fail"], ["approve", "cancel"]])
async def test_the_token_is_kept_sealed_until_the_order_leaves_approved(
    orders: Orders, orders_db: Database, path: list[str]
) -> None:
    order_id = await _at(orders)
    kept = []
    for name in path:
        row = await orders_db.one(TOKEN, {"order_id": order_id})
        kept.append(row and row["sealed"])
        await _do(orders, order_id, name)
    assert kept == [SEALED] * len(path)
    assert await orders_db.one(TOKEN, {"order_id": order_id}) is None


async def test_the_workflow_sees_the_token_only_while_its_order_is_approved(orders: Orders) -> None:
    order_id = await _at(orders)
    seen = []
    for name in ("approve", "fulfil"):
        row = await orders.look(order_id)
        assert row is not None
        seen.append((row.status, row.sealed_token))
        await _do(orders, order_id, name)
    row = await orders.look(order_id)
    assert row is not None
    assert [*seen, (row.status, row.sealed_token)] == [("DRAFT", None), ("APPROVED", SEALED), ("FULFILLING", None)]


async def test_a_look_shows_the_pending_ship_and_whose_request_wrote_last(orders: Orders) -> None:
    order_id = await _at(orders, "approve", "fulfil")
    await orders.accept_ship(
        order_id, command("ship", "c:ship", correlation_id="ship", traceparent="00-a-b-01"), EVERYONE
    )
    row = await orders.look(order_id)
    assert row is not None
    assert row.ship is not None
    assert (row.ship.command_id, row.ship.correlation_id, row.ship.traceparent) == ("c:ship", "ship", "00-a-b-01")
    assert (row.status, row.version, row.correlation_id, row.lines) == ("FULFILLING", 3, "test", None)
    await orders.record_ship(order_id, "c:ship")
    row = await orders.look(order_id)
    assert row is not None
    assert (row.status, row.ship) == ("SHIPPED", None)
    assert await orders.look(uuid4()) is None


# --- At most once for each id ---


async def test_the_same_command_again_gives_the_recorded_outcome(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders)
    approve = command("approve", "c:1", request_hash="a" * 64)
    first = (await orders.carry_out(order_id, approve, EVERYONE)).outcome
    await orders.carry_out(order_id, command("cancel"), EVERYONE)
    again = (await orders.carry_out(order_id, approve, EVERYONE)).outcome
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.state, again.status, again.version) == ("done", "APPROVED", 2)
    assert (again.row_status, again.row_version) == ("CANCELLED", 3)
    assert await _counts(orders_db) == (3, 3, 3, 1)


async def test_the_same_id_with_another_request_is_a_conflict(orders: Orders) -> None:
    order_id = await _at(orders)
    await orders.carry_out(order_id, command("approve", "c:1", request_hash="a" * 64), EVERYONE)
    for other in (command("approve", "c:1", request_hash="b" * 64), command("cancel", "c:1", request_hash="a" * 64)):
        refusal = (await orders.carry_out(order_id, other, EVERYONE)).outcome.refusal
        assert refusal is not None
        assert (refusal.slug, refusal.status) == ("idempotency_conflict", 422)


async def test_one_command_sent_fifty_times_at_once_happens_once(orders: Orders, orders_db: Database) -> None:
    order = an_order()
    place, approve = command("place", "w:place"), command("approve", "c:1")
    placed = await asyncio.gather(*(orders.place(order, place, SEALED) for _ in range(50)))
    approved = await asyncio.gather(*(orders.carry_out(order.order_id, approve, EVERYONE) for _ in range(50)))
    for number, answers in enumerate((placed, approved), start=1):
        assert [(a.outcome.state, a.outcome.version) for a in answers] == [("done", number)] * 50
        assert sum(not a.outcome.replayed for a in answers) == 1
        assert sum(a.order is not None for a in answers) == 1
    assert sum(a.handover is not None for a in approved) == 1
    assert await _counts(orders_db) == (2, 2, 2, 1)


async def test_a_ship_sent_fifty_times_at_once_is_pending_once(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve", "fulfil")
    ship = command("ship", "c:ship")
    answers = await asyncio.gather(*(orders.accept_ship(order_id, ship, EVERYONE) for _ in range(50)))
    assert {a.outcome.state for a in answers} == {"pending"}
    assert sum(not a.outcome.replayed for a in answers) == 1
    recorded = await asyncio.gather(*(orders.record_ship(order_id, ship.id) for _ in range(50)))
    assert {(o.state, o.version) for o in recorded} == {("done", 4)}
    assert len(await orders_db.all(EVENTS, {"order_id": order_id})) == 4


async def test_fifty_different_cancels_at_once_make_one_event(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve")
    answers = await asyncio.gather(*(orders.carry_out(order_id, command("cancel"), EVERYONE) for _ in range(50)))
    outcomes = [answer.outcome for answer in answers]
    assert sum(outcome.state == "done" for outcome in outcomes) == 1
    assert all(o.refusal and o.refusal.slug == "illegal_transition" for o in outcomes if o.state == "refused")
    assert len(await orders_db.all(EVENTS, {"order_id": order_id})) == 3


# --- Refusals ---


async def test_a_flood_of_refusals_writes_no_row(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders)
    answers = await asyncio.gather(*(orders.carry_out(order_id, command("approve"), EVERYONE) for _ in range(500)))
    refusals = [answer.outcome.refusal for answer in answers if answer.outcome.state == "refused"]
    assert sum(answer.outcome.state == "done" for answer in answers) == 1
    assert len(refusals) == 499
    assert {refusal and (refusal.slug, refusal.status) for refusal in refusals} == {("illegal_transition", 409)}
    assert await _counts(orders_db) == (2, 2, 2, 1)


async def test_a_refused_command_is_judged_anew_when_it_comes_again(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders)
    ship = command("ship", "c:ship")
    before = await _counts(orders_db)
    refusal = (await orders.accept_ship(order_id, ship, EVERYONE)).outcome.refusal
    assert refusal is not None
    assert (refusal.slug, refusal.allowed_actions) == ("illegal_transition", ("approve", "cancel"))
    assert await _counts(orders_db) == before
    for name in ("approve", "fulfil"):
        await _do(orders, order_id, name)
    assert (await orders.accept_ship(order_id, ship, EVERYONE)).outcome.state == "pending"


async def test_a_refused_capture_is_the_ships_answer_for_good(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve", "fulfil")
    ship = command("ship", "c:ship", request_hash="a" * 64)
    await orders.accept_ship(order_id, ship, EVERYONE)
    refused = await orders.refuse_ship(order_id, ship.id, REFUSED_CAPTURE)
    assert (refused.state, refused.refusal, refused.row_status) == ("refused", REFUSED_CAPTURE, "FULFILLING")
    # Whatever comes afterwards: the same ship, the record of a capture that was late, a ship of its own, its end.
    assert (await orders.accept_ship(order_id, ship, EVERYONE)).outcome.refusal == REFUSED_CAPTURE
    assert (await orders.record_ship(order_id, ship.id)).refusal == REFUSED_CAPTURE
    other = command("ship", "c:other")
    assert (await orders.accept_ship(order_id, other, EVERYONE)).outcome.state == "pending"
    await orders.record_ship(order_id, other.id)
    await orders.carry_out(order_id, command("complete"), EVERYONE)
    again = (await orders.accept_ship(order_id, ship, EVERYONE)).outcome
    assert (again.state, again.replayed, again.refusal) == ("refused", True, REFUSED_CAPTURE)
    assert len(await orders_db.all(EVENTS, {"order_id": order_id})) == 5


async def test_a_refusal_that_comes_after_the_record_changes_nothing(orders: Orders) -> None:
    order_id = await _at(orders, "approve", "fulfil")
    ship = command("ship", "c:ship")
    await orders.accept_ship(order_id, ship, EVERYONE)
    await orders.record_ship(order_id, ship.id)
    late = await orders.refuse_ship(order_id, ship.id, REFUSED_CAPTURE)
    assert (late.state, late.version, late.row_status) == ("done", 4, "SHIPPED")


async def test_an_old_version_is_refused(orders: Orders, orders_db: Database) -> None:
    order_id = await _at(orders, "approve")
    before = await _counts(orders_db)
    refusal = (await orders.carry_out(order_id, command("cancel", precondition=only(1)), EVERYONE)).outcome.refusal
    assert refusal is not None
    assert (refusal.status, refusal.current_version) == (412, 2)
    assert await _counts(orders_db) == before
    done = await orders.carry_out(order_id, command("cancel", precondition=only(2)), EVERYONE)
    assert done.outcome.state == "done"


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("approve", ()),
        ("cancel", ()),
        ("cancel", ("approve",)),
        ("ship", ("approve", "fulfil")),
        ("complete", ("approve", "fulfil", "ship")),
    ],
)
async def test_another_customers_order_is_not_there_though_its_status_allows_the_command(
    orders: Orders, orders_db: Database, name: str, before: tuple[str, ...]
) -> None:
    order_id = await _at(orders, *before)
    counts = await _counts(orders_db)
    act = orders.accept_ship if name == "ship" else orders.carry_out
    refusal = (await act(order_id, command(name), Customer("somebody-else"))).outcome.refusal
    assert refusal is not None
    assert (refusal.slug, refusal.current_status, refusal.allowed_actions) == ("order_not_found", None, None)
    assert await _counts(orders_db) == counts
    own = await act(order_id, command(name), Customer("household-515"))
    assert own.outcome.refusal is None


@pytest.mark.parametrize("name", ["approve", "complete", "cancel", "ship"])
async def test_an_order_that_is_not_there_is_not_found(orders: Orders, orders_db: Database, name: str) -> None:
    act = orders.accept_ship if name == "ship" else orders.carry_out
    refusal = (await act(uuid4(), command(name), EVERYONE)).outcome.refusal
    assert refusal is not None
    assert (refusal.slug, refusal.status) == ("order_not_found", 404)
    assert await _counts(orders_db) == (0, 0, 0, 0)


async def test_a_move_whose_event_cannot_be_written_has_not_happened(
    orders: Orders, orders_db: Database, databases: Databases
) -> None:
    order_id = await _at(orders)
    approve = command("approve", "c:1")
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        await admin.execute(
            """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$;
               CREATE TRIGGER fails BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail()"""
        )
        with pytest.raises(Unavailable):
            await orders.carry_out(order_id, approve, EVERYONE)
        row = await admin.fetchrow("SELECT status, version FROM orders")
        assert row is not None
        assert (tuple(row), await _counts(orders_db)) == (("DRAFT", 1), (1, 1, 1, 0))
        await admin.execute("DROP TRIGGER fails ON events")
    finally:
        await admin.close()
    outcome = (await orders.carry_out(order_id, approve, EVERYONE)).outcome
    assert (outcome.state, outcome.version, outcome.replayed) == ("done", 2, False)
    assert await _counts(orders_db) == (2, 2, 2, 1)


# --- A ship under way ---


async def test_while_a_ship_is_pending_nothing_else_happens(orders: Orders) -> None:
    order_id = await _at(orders, "approve", "fulfil")
    ship = command("ship", "c:ship")
    assert (await orders.accept_ship(order_id, ship, EVERYONE)).outcome.state == "pending"
    assert (await orders.accept_ship(order_id, ship, EVERYONE)).outcome.state == "pending"
    others = (
        await orders.carry_out(order_id, command("cancel"), EVERYONE),
        await orders.accept_ship(order_id, command("ship"), EVERYONE),
    )
    for other in others:
        assert other.outcome.refusal is not None
        assert (other.outcome.refusal.slug, other.outcome.refusal.status) == ("shipment_in_progress", 409)
        assert other.handover is None
    shipped = await orders.record_ship(order_id, ship.id)
    assert (shipped.state, shipped.status, shipped.version) == ("done", "SHIPPED", 4)
    assert (await orders.record_ship(order_id, ship.id)).replayed


async def test_a_cancel_that_waited_for_the_lock_sees_the_pending_ship(orders: Orders, orders_db: Database) -> None:
    """The cancel's snapshot is older than the accepted ship: only the trigger can see it."""
    order_id = await _at(orders, "approve", "fulfil")
    pool = await orders_db.pool()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", order_id)
        cancel = asyncio.create_task(orders.carry_out(order_id, command("cancel"), EVERYONE))
        await _until_a_lock_is_awaited(orders_db)
        await connection.execute(
            "INSERT INTO commands (order_id, command_id, name) VALUES ($1, 'c:ship', 'ship')", order_id
        )
        await transaction.commit()
    accepted = await asyncio.wait_for(cancel, 10)
    assert accepted.outcome.refusal is not None
    assert accepted.outcome.refusal.slug == "shipment_in_progress"
    assert accepted.handover is None


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
    order_id = await _at(orders)
    before = await _counts(orders_db)
    foreseen = await orders.foresee(order_id, command("ship"), EVERYONE)
    assert foreseen is not None
    assert foreseen.refusal is not None
    assert foreseen.refusal.slug == "illegal_transition"
    assert await orders.foresee(order_id, command("approve"), EVERYONE) is None
    assert await orders.foresee(uuid4(), command("approve"), EVERYONE) is None
    assert await _counts(orders_db) == before
