"""Handovers: written with the row, at most one an order, and deleted only where nothing newer was written."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from orderflow.domain.access import EVERYONE, Actor
from orderflow.domain.commands import only
from orderflow.domain.errors import Problem, Unavailable
from orderflow.domain.handovers import Handover
from orderflow.store.database import Database
from orderflow.store.handovers import MOST_SECONDS, Handovers
from orderflow.store.orders import Accepted, Orders
from orderflow.store.statements import Statement
from support.orders import an_order, command
from support.stack import Databases
from support.tokens import seal
from support.waiting import until

ALL = Statement("test.handovers", "Reads all handovers.", "SELECT * FROM handovers ORDER BY number")
DUE = Statement(
    "test.due", "Makes all handovers due.", "UPDATE handovers SET next_at = clock_timestamp() - interval '1 minute'"
)
PAUSE = Statement(
    "test.pause",
    "Reads how long it is until a handover is due, in seconds.",
    "SELECT extract(epoch FROM next_at - clock_timestamp())::float AS seconds FROM handovers",
)
COUNTS = Statement(
    "test.counts",
    "Counts what was written.",
    """
    SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM commands) AS commands,
           (SELECT count(*) FROM handovers) AS handovers, (SELECT max(number) FROM handovers) AS number""",
)


@pytest.fixture
def orders(orders_db: Database) -> Orders:
    return Orders(orders_db)


@pytest.fixture
def handovers(orders_db: Database) -> Handovers:
    return Handovers(orders_db)


async def _at(orders: Orders, *path: str) -> tuple[UUID, Accepted]:
    """An order that came this way, and what its last command came to."""
    order = an_order()
    accepted = await orders.place(order, command("place", "w:place"), seal(order.order_id, "tok_ok"))
    for name in path:
        if name == "fulfil":
            await orders.move(order.order_id, command(name, "w:fulfil"))
        elif name == "ship":
            accepted = await orders.accept_ship(order.order_id, command(name, "c:ship"), EVERYONE)
            await orders.record_ship(order.order_id, "c:ship")
        else:
            accepted = await orders.carry_out(order.order_id, command(name), EVERYONE)
    return order.order_id, accepted


async def _all(database: Database) -> list[Mapping[str, Any]]:
    return [dict(row) for row in await database.all(ALL, {})]


async def test_a_draft_has_none(orders: Orders, orders_db: Database) -> None:
    order_id, placed = await _at(orders)
    cancelled = await orders.carry_out(order_id, command("cancel"), EVERYONE)
    assert (placed.handover, cancelled.handover) == (None, None)
    assert await _all(orders_db) == []


async def test_each_command_that_temporal_must_know_of_raises_the_number_of_the_one_row(
    orders: Orders, orders_db: Database
) -> None:
    order_id, approved = await _at(orders, "approve")
    await orders.move(order_id, command("fulfil"))
    shipped = await orders.accept_ship(order_id, command("ship", "c:ship"), EVERYONE)
    told = [accepted.handover for accepted in (approved, shipped)]
    assert [handover and handover.name for handover in told] == ["approve", "ship"]
    numbers = [handover.number for handover in told if handover]
    assert numbers == sorted(set(numbers))
    [row] = await _all(orders_db)
    assert (row["order_id"], row["number"], row["name"]) == (order_id, numbers[-1], "ship")
    assert row["next_at"] > row["written_at"]


async def test_the_time_of_the_first_write_that_temporal_does_not_know_of_stays(
    orders: Orders, orders_db: Database
) -> None:
    order_id, _ = await _at(orders, "approve")
    [before] = await _all(orders_db)
    await orders.carry_out(order_id, command("cancel"), EVERYONE)
    [after] = await _all(orders_db)
    assert (after["written_at"], after["name"]) == (before["written_at"], "cancel")


async def test_the_handover_is_in_the_statement_that_moves_the_row(
    orders: Orders, orders_db: Database, databases: Databases
) -> None:
    """Neither without the other: the row stays where it was when the handover cannot be written."""
    order_id, _ = await _at(orders)
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        await admin.execute(
            """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$;
               CREATE TRIGGER fails BEFORE INSERT ON handovers FOR EACH ROW EXECUTE FUNCTION fail()"""
        )
        with pytest.raises(Unavailable):
            await orders.carry_out(order_id, command("approve", "c:1"), EVERYONE)
        assert await admin.fetchval("SELECT status FROM orders") == "DRAFT"
        await admin.execute("DROP TRIGGER fails ON handovers")
    finally:
        await admin.close()
    accepted = await orders.carry_out(order_id, command("approve", "c:1"), EVERYONE)
    assert (accepted.outcome.state, accepted.outcome.replayed) == ("done", False)
    [row] = await _all(orders_db)
    assert accepted.handover == Handover(order_id, row["number"], "approve")


async def test_what_is_refused_or_repeated_leaves_nothing(orders: Orders, orders_db: Database) -> None:
    order_id, _ = await _at(orders, "approve", "fulfil")
    await orders.accept_ship(order_id, command("ship", "c:ship"), EVERYONE)
    before = await orders_db.one(COUNTS, {})
    refused = [
        await orders.carry_out(order_id, command("approve"), EVERYONE),
        await orders.carry_out(order_id, command("complete"), EVERYONE),
        await orders.carry_out(order_id, command("cancel"), EVERYONE),
        await orders.carry_out(order_id, command("cancel", precondition=only(1)), EVERYONE),
        await orders.accept_ship(order_id, command("ship", "c:another"), EVERYONE),
        await orders.carry_out(an_order().order_id, command("approve"), EVERYONE),
    ]
    assert [accepted.outcome.state for accepted in refused] == ["refused"] * 6
    repeated = await orders.accept_ship(order_id, command("ship", "c:ship"), EVERYONE)
    assert (repeated.outcome.state, repeated.outcome.replayed) == ("pending", True)
    assert {accepted.handover for accepted in (*refused, repeated)} == {None}
    assert await orders_db.one(COUNTS, {}) == before


async def test_a_refused_capture_leaves_none(orders: Orders, orders_db: Database, handovers: Handovers) -> None:
    """The workflow wrote it, and knows."""
    order_id, _ = await _at(orders, "approve", "fulfil")
    accepted = await orders.accept_ship(order_id, command("ship", "c:ship"), EVERYONE)
    assert accepted.handover is not None
    await handovers.told([accepted.handover])
    await orders.refuse_ship(order_id, "c:ship", Problem(slug="capture_refused", detail="No.", status=402))
    assert await _all(orders_db) == []


async def test_what_is_due_is_claimed_once_the_oldest_first(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    ordered = [(await _at(orders, "approve"))[0] for _ in range(5)]
    assert await handovers.claim(10) == [], "the API has a second to tell it"
    await orders_db.all(DUE, {})
    older = Statement(
        "test.older",
        "Makes one handover older.",
        "UPDATE handovers SET next_at = next_at - interval '1 hour' WHERE order_id = $order_id",
    )
    await orders_db.all(older, {"order_id": ordered[3]})
    first = await handovers.claim(1)
    assert [(handover.order_id, handover.attempts) for handover in first] == [(ordered[3], 1)]
    rest = await handovers.claim(10)
    assert {handover.order_id for handover in rest} == set(ordered) - {ordered[3]}
    assert await handovers.claim(10) == []


async def test_two_dispatchers_claim_different_ones(orders: Orders, orders_db: Database, handovers: Handovers) -> None:
    ordered = {(await _at(orders, "approve"))[0] for _ in range(20)}
    await orders_db.all(DUE, {})
    claimed = await asyncio.gather(*(handovers.claim(5) for _ in range(6)))
    found = [handover.order_id for batch in claimed for handover in batch]
    while len(found) < len(ordered):  # a batch may have met rows that another one had locked
        batch = await handovers.claim(5)
        assert batch
        found += [handover.order_id for handover in batch]
    assert sorted(found) == sorted(ordered)


async def test_pauses_grow_up_to_half_a_minute(orders: Orders, orders_db: Database, handovers: Handovers) -> None:
    await _at(orders, "approve")
    pauses = []
    for _ in range(7):
        await orders_db.all(DUE, {})
        await handovers.claim(1)
        row = await orders_db.one(PAUSE, {})
        assert row is not None
        pauses.append(round(row["seconds"]))
    assert pauses == [2, 4, 8, 16, 30, 30, 30]


async def test_what_a_clock_that_was_ahead_has_put_off_is_due(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    put_off = Statement(
        "test.put_off",
        "Puts all handovers off.",
        "UPDATE handovers SET next_at = clock_timestamp() + make_interval(secs => $seconds)",
    )
    ordered = {(await _at(orders, "approve"))[0] for _ in range(3)}
    await orders_db.all(put_off, {"seconds": MOST_SECONDS})
    assert await handovers.claim(10) == [], "as long as any pause may be"
    await orders_db.all(put_off, {"seconds": 7200})
    first = await handovers.claim(2)
    assert len(first) == 2
    rest = await handovers.claim(10)
    assert {handover.order_id for handover in first + rest} == ordered
    assert await handovers.claim(10) == []
    row = await orders_db.one(PAUSE, {})
    assert row is not None
    assert row["seconds"] < MOST_SECONDS


async def test_what_was_told_is_gone(orders: Orders, orders_db: Database, handovers: Handovers) -> None:
    told = [accepted.handover for _, accepted in [await _at(orders, "approve") for _ in range(3)] if accepted.handover]
    await handovers.told(told[:2])
    assert [row["number"] for row in await _all(orders_db)] == [told[2].number]
    await handovers.told(told)
    await handovers.told(told)
    assert await _all(orders_db) == []


async def test_a_handover_is_kept_where_a_newer_one_was_written(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    """Told of the approve while the cancel was written: Temporal does not know of the cancel."""
    order_id, approved = await _at(orders, "approve")
    assert approved.handover is not None
    cancelled = await orders.carry_out(order_id, command("cancel"), EVERYONE)
    await handovers.told([approved.handover])
    [row] = await _all(orders_db)
    assert cancelled.handover == Handover(order_id, row["number"], "cancel")
    await handovers.refused(approved.handover, "too large")
    assert (await _all(orders_db))[0]["refused"] is None


async def test_two_who_tell_the_same_ones_do_not_wait_for_each_other(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    told = [accepted.handover for _, accepted in [await _at(orders, "approve") for _ in range(30)] if accepted.handover]
    await asyncio.gather(handovers.told(told), handovers.told(told[::-1]), handovers.told(told[7:] + told[:7]))
    assert await _all(orders_db) == []


async def test_what_temporal_refuses_is_set_aside_and_counted(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    order_id, accepted = await _at(orders, "approve")
    assert accepted.handover is not None
    await handovers.refused(accepted.handover, "x" * 900)
    depth = await handovers.depth()
    assert (depth.pending, depth.refused) == (1, 1)
    row = await orders_db.one(PAUSE, {})
    assert row is not None
    assert 25 < row["seconds"] <= 30
    of = await handovers.of(order_id)
    assert of is not None
    assert (of.name, of.refused) == ("approve", "x" * 500)
    await orders.carry_out(order_id, command("cancel"), EVERYONE)  # a newer one is due like any other
    row = await orders_db.one(PAUSE, {})
    assert row is not None
    assert row["seconds"] <= 1
    assert (await handovers.depth()).refused == 0


async def test_a_look_is_due_at_once_and_starts_again_what_came_to_its_end(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    order_id, accepted = await _at(orders, "approve")
    assert accepted.handover is not None
    await handovers.told([accepted.handover])
    assert await handovers.look(order_id)
    [look] = await handovers.claim(10)
    assert (look.order_id, look.name, look.again) == (order_id, "look", True)
    assert look.number > accepted.handover.number
    assert not await handovers.look(an_order().order_id)
    await handovers.told([look])
    assert await _all(orders_db) == []


async def test_a_look_at_what_waits_to_be_told_is_one_row(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    order_id, accepted = await _at(orders, "approve")
    assert accepted.handover is not None
    await handovers.look(order_id)
    [row] = await _all(orders_db)
    assert (row["again"], row["name"], row["number"] > accepted.handover.number) == (True, "approve", True)


async def test_the_depth_says_how_many_wait_and_since_when(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    empty = await handovers.depth()
    assert (empty.pending, empty.refused, empty.oldest_age.total_seconds()) == (0, 0, 0)
    order_id, _ = await _at(orders, "approve")
    await _at(orders, "approve")

    async def aged() -> bool:
        return (await handovers.depth()).oldest_age.total_seconds() > 0

    await until(aged)
    assert (await handovers.depth()).pending == 2
    age = Statement(
        "test.age",
        "Makes one handover older.",
        "UPDATE handovers SET written_at = written_at - interval '1 hour' WHERE order_id = $order_id",
    )
    await orders_db.all(age, {"order_id": order_id})
    depth = await handovers.depth()
    assert list(await handovers.waiting(depth.oldest_age / 2, 10)) == [order_id]


async def test_a_handover_is_its_who_left_it_until_it_is_told(orders: Orders, handovers: Handovers) -> None:
    """An operator who cancels what somebody else flooded us with does not take the flood over."""
    flood, operator = Actor(type="api_key", id="flood"), Actor(type="api_key", id="operator")
    for _ in range(3):
        order_id, _ = await _at(orders)
        await orders.carry_out(order_id, command("approve", actor=flood), EVERYONE)
        await orders.carry_out(order_id, command("cancel", actor=operator), EVERYONE)
    await orders.carry_out((await _at(orders))[0], command("approve", actor=operator), EVERYONE)
    assert await handovers.heavy(3) == ["flood"]
    assert sorted(await handovers.heavy(1)) == ["flood", "operator"]


async def test_what_temporal_refuses_or_nobody_asked_for_is_nobodys(
    orders: Orders, orders_db: Database, handovers: Handovers
) -> None:
    order_id, _ = await _at(orders)
    somebody = Actor(type="api_key", id="somebody")
    approved = await orders.carry_out(order_id, command("approve", actor=somebody), EVERYONE)
    assert approved.handover is not None
    await handovers.refused(approved.handover, "too full")
    other, _ = await _at(orders)
    await handovers.look(other)
    assert len(await _all(orders_db)) == 2
    assert await handovers.heavy(1) == []
