"""Money and stock that are held for nobody: found, given back, and given back once."""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from operations.reconciliation.findings import Kind
from orderflow.domain.access import EVERYONE
from orderflow.domain.commands import Command
from orderflow.store.orders import Orders
from orderflow.store.payments import Payments
from support.auditor import Auditor
from support.orders import command
from support.world import Handle, order_id

Loses = Callable[[Auditor, Handle], Awaitable[None]]


async def _terminated(auditor: Auditor, handle: Handle) -> None:
    await handle.terminate("a test")


async def _forgotten(auditor: Auditor, handle: Handle) -> None:
    await auditor.forgets(handle)


async def _cancelled_without_workflow(auditor: Auditor, loses: Loses = _terminated) -> tuple[Handle, UUID]:
    handle, order = await auditor.fulfilling()
    await loses(auditor, handle)
    await auditor.untold(handle, "cancel")
    return handle, order


async def _cancelled(auditor: Auditor, *, approved: bool) -> tuple[Handle, UUID]:
    if not approved:
        handle = await auditor.world.place()
        await auditor.world.ask(handle, "cancel")
        return handle, order_id(handle)
    handle, order = await auditor.fulfilling()
    await auditor.world.ask(handle, "cancel")
    await handle.result()
    return handle, order


@pytest.mark.parametrize("loses", [_terminated, _forgotten])
async def test_a_cancelled_order_without_a_workflow_gives_back_money_and_stock(auditor: Auditor, loses: Loses) -> None:
    world = auditor.world
    handle, order = await _cancelled_without_workflow(auditor, loses)
    await auditor.repaired(Kind.AUTHORIZATION_WITHOUT_ORDER, Kind.RESERVATION_WITHOUT_ORDER)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "RELEASED"]
    assert world.gateway.state[order] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def test_what_comes_back_after_the_end_of_the_run_is_given_back_again(auditor: Auditor) -> None:
    """As where payments and inventory were restored from a backup that is older than the cancel."""
    world = auditor.world
    handle, order = await _cancelled(auditor, approved=True)
    await auditor.loses("payments", order, 1)
    await auditor.loses("inventory", order, 1)
    await auditor.around_the_rule(
        "inventory", "UPDATE stock SET reserved = 2, version = version + 1 WHERE sku = 'bread'"
    )
    world.gateway.state[order] = "authorized"
    world.gateway.forget()
    await auditor.repaired(Kind.AUTHORIZATION_WITHOUT_ORDER, Kind.RESERVATION_WITHOUT_ORDER)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "RELEASED"]
    assert world.gateway.state[order] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def test_stock_of_a_completed_order_that_was_not_committed_is(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await world.ask(handle, "ship")
    await world.ask(handle, "complete")
    await handle.result()
    await auditor.loses("inventory", order, 1)
    await auditor.around_the_rule("inventory", "DELETE FROM stock_movements WHERE order_id = $1", order)
    await auditor.around_the_rule(
        "inventory", "UPDATE stock SET on_hand = 10, reserved = 2, version = version + 1 WHERE sku = 'bread'"
    )
    await auditor.repaired(Kind.SHIPPED_NOT_COMMITTED)
    assert await world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]
    assert await world.on_hand("bread") == (8, 0)
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]


async def test_a_void_that_nobody_carries_on_is_carried_on(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await _cancelled_without_workflow(auditor)
    await Payments(world.payments).shut(order, Command(name="void", id="w:void"))
    await auditor.repaired(Kind.VOIDING_LONG, Kind.RESERVATION_WITHOUT_ORDER)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert world.gateway.state[order] == "voided"


async def test_holds_of_an_order_without_a_row_are_reported_only(auditor: Auditor) -> None:
    handle, order = await auditor.fulfilling()
    await handle.terminate("a test")
    await auditor.around_the_rule("orders", "DELETE FROM orders WHERE order_id = $1", order)
    found = await auditor.finds(Kind.AUTHORIZATION_WITHOUT_ORDER, Kind.RESERVATION_WITHOUT_ORDER)
    assert [(h.finding.repair, h.detail) for h in found] == [(None, "there is no order's row that says CANCELLED")] * 2


async def test_money_of_a_cancelled_order_that_payments_never_heard_of_is_voided(auditor: Auditor) -> None:
    handle, order = await _cancelled(auditor, approved=False)
    auditor.world.gateway.state[order] = "authorized"
    await auditor.repaired(Kind.MONEY_WITHOUT_PAYMENT)
    assert auditor.world.gateway.state[order] == "voided"
    assert await auditor.world.statuses(handle, "payments") == ["VOIDING", "VOIDED"]


async def test_money_that_is_held_although_the_payment_says_voided_is_voided_under_a_new_key(auditor: Auditor) -> None:
    _, order = await _cancelled(auditor, approved=True)
    auditor.world.gateway.state[order] = "authorized"
    await auditor.repaired(Kind.MONEY_AGAINST_PAYMENT)
    assert auditor.world.gateway.state[order] == "voided"
    keys = [key for operation, key in auditor.world.gateway.calls if operation == "void"]
    assert keys[0] == f"{order}:w:void"
    assert keys[1].startswith(f"{order}:r:void:")


async def test_a_failed_repair_is_said_and_the_next_one_succeeds(auditor: Auditor) -> None:
    _, order = await _cancelled(auditor, approved=True)
    auditor.world.gateway.state[order] = "authorized"
    await auditor.finds(Kind.MONEY_AGAINST_PAYMENT)
    auditor.world.gateway.miss("void", 1)
    [handled] = await auditor.findings(repair=True)
    assert (handled.outcome, "the call was lost" in handled.detail) == ("failed", True)
    await auditor.repaired(Kind.MONEY_AGAINST_PAYMENT)


async def test_money_of_a_reference_that_is_no_order_of_ours_is_reported_only(auditor: Auditor) -> None:
    auditor.world.gateway.state[uuid4()] = "authorized"
    [handled] = await auditor.finds(Kind.MONEY_WITHOUT_PAYMENT)
    assert (handled.finding.repair, handled.detail) == (None, "no order of ours")


async def test_a_hold_that_lapsed_at_the_gateway_is_reported_only(auditor: Auditor) -> None:
    _, order = await auditor.fulfilling()
    del auditor.world.gateway.state[order]
    [handled] = await auditor.finds(Kind.HOLD_MISSING)
    assert handled.finding.repair is None


async def test_money_taken_for_a_cancelled_order_is_for_people_to_judge(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await handle.terminate("a test")
    world.gateway.state[order] = "captured"
    captured = Command(name="capture", id="w:capture:c:ship")
    await Payments(world.payments).captured(order, captured, capture_id="cap-1")
    await auditor.untold(handle, "cancel")
    found = await auditor.finds(Kind.CAPTURED_NOT_SHIPPED, Kind.RESERVATION_WITHOUT_ORDER)
    assert found[0].finding.repair is None


async def test_goods_that_left_are_taken_off_the_stock_and_their_money_is_reported(auditor: Auditor) -> None:
    """SHIPPED around the workflow, which is gone: nobody captured."""
    handle, order = await auditor.fulfilling()
    await handle.terminate("a test")
    orders, ship = Orders(auditor.world.orders), command("ship")
    accepted = await orders.accept_ship(order, ship, EVERYONE)
    assert accepted.handover is not None
    await auditor.world.handovers.told([accepted.handover])
    await orders.record_ship(order, ship.id)
    await auditor.world.ask(handle, "complete")
    await auditor.finds(Kind.SHIPPED_NOT_CAPTURED, Kind.SHIPPED_NOT_COMMITTED)
    for _ in range(2):
        await auditor.findings(repair=True)
        await auditor.world.tell_all()
        [handled] = await auditor.finds(Kind.SHIPPED_NOT_CAPTURED)
        assert handled.finding.repair is None
        assert await auditor.world.on_hand("bread") == (8, 0)


async def test_stock_that_differs_from_its_movements_or_reservations_is_reported_only(auditor: Auditor) -> None:
    await auditor.fulfilling()
    sql = "UPDATE stock SET on_hand = 11, reserved = 1, version = version + 1 WHERE sku = 'bread'"
    await auditor.around_the_rule("inventory", sql)
    found = await auditor.finds(Kind.STOCK_DIFFERS, Kind.RESERVED_DIFFERS)
    assert [h.finding.evidence for h in found] == [
        {"on_hand": 11, "movements": 10},
        {"reserved": 1, "reservations": 2},
    ]
    assert {h.outcome for h in await auditor.findings(repair=True)} == {"reported"}
