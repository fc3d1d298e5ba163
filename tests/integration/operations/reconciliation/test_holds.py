"""Money and stock that are held for nobody: found, given back, and given back once."""

from uuid import UUID, uuid4

from operations.reconciliation.findings import Kind, Repair
from orderflow.domain.commands import Command
from orderflow.store.orders import Orders
from orderflow.store.payments import Payments
from support.auditor import Auditor
from support.orders import command
from support.world import Handle


async def _cancelled_without_workflow(auditor: Auditor) -> tuple[Handle, UUID]:
    handle, order = await auditor.fulfilling()
    await handle.terminate("a test")
    await Orders(auditor.world.orders).move(order, command("cancel"))
    return handle, order


async def _cancelled(auditor: Auditor, *, approved: bool) -> tuple[Handle, UUID]:
    if approved:
        handle, order = await auditor.fulfilling()
    else:
        handle = await auditor.world.place()
        order = UUID(handle.id.removeprefix("order-"))
    await auditor.world.ask(handle, "cancel")
    await handle.result()
    return handle, order


async def test_a_cancelled_order_without_a_workflow_gives_back_money_and_stock(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await _cancelled_without_workflow(auditor)
    await auditor.repaired(Kind.AUTHORIZATION_WITHOUT_ORDER, Kind.RESERVATION_WITHOUT_ORDER)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "RELEASED"]
    assert world.gateway.state[order] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def test_a_void_that_nobody_carries_on_is_carried_on(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await _cancelled_without_workflow(auditor)
    await Payments(world.payments).shut(order, Command(name="void", id="w:void"))
    await auditor.repaired(Kind.VOIDING_LONG, Kind.RESERVATION_WITHOUT_ORDER)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert world.gateway.state[order] == "voided"


async def test_a_failed_repair_is_said_and_the_next_one_succeeds(auditor: Auditor) -> None:
    await _cancelled_without_workflow(auditor)
    await auditor.finds(Kind.AUTHORIZATION_WITHOUT_ORDER, Kind.RESERVATION_WITHOUT_ORDER)
    auditor.world.gateway.fail("void", 1)
    outcomes = {h.finding.kind: h.outcome for h in await auditor.findings(repair=True)}
    assert outcomes[Kind.AUTHORIZATION_WITHOUT_ORDER] == "failed"
    await auditor.repaired(Kind.VOIDING_LONG)


async def test_holds_of_an_order_without_a_row_are_reported_only(auditor: Auditor) -> None:
    handle, order = await auditor.fulfilling()
    await handle.terminate("a test")
    await auditor.around_the_rule("orders", "DELETE FROM orders WHERE order_id = $1", order)
    found = await auditor.finds(Kind.ORDER_LOST, Kind.AUTHORIZATION_WITHOUT_ORDER, Kind.RESERVATION_WITHOUT_ORDER)
    assert {h.finding.kind: h.finding.repair for h in found} == {
        Kind.ORDER_LOST: Repair.RESTART,
        Kind.AUTHORIZATION_WITHOUT_ORDER: None,
        Kind.RESERVATION_WITHOUT_ORDER: None,
    }


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
    await Orders(world.orders).move(order, command("cancel"))
    found = await auditor.finds(Kind.CAPTURED_NOT_SHIPPED, Kind.RESERVATION_WITHOUT_ORDER)
    assert found[0].finding.repair is None


async def _shipped_around_the_workflow(auditor: Auditor) -> UUID:
    handle, order = await auditor.fulfilling()
    await handle.terminate("a test")
    orders, ship = Orders(auditor.world.orders), command("ship")
    await orders.accept_ship(order, ship)
    await orders.record_ship(order, ship)
    await orders.move(order, command("complete"))
    return order


async def test_goods_that_left_are_taken_off_the_stock_and_their_money_is_reported(auditor: Auditor) -> None:
    await _shipped_around_the_workflow(auditor)
    found = await auditor.finds(Kind.SHIPPED_NOT_CAPTURED, Kind.SHIPPED_NOT_COMMITTED)
    assert [h.finding.repair for h in found] == [None, Repair.COMMIT]
    for _ in range(2):
        await auditor.findings(repair=True)
        assert await auditor.world.on_hand("bread") == (8, 0)
    await auditor.finds(Kind.SHIPPED_NOT_CAPTURED)


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
