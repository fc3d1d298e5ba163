"""Rows and workflows that contradict each other: found, repaired, and repaired once."""

from uuid import UUID

import pytest

from activities.payments import PaymentActivities
from operations.reconciliation.findings import Kind
from orderflow.domain.commands import Command
from orderflow.store.orders import Orders
from orderflow.store.payments import Payments
from orderflow.temporal.names import workflow_id
from support.auditor import Auditor
from support.orders import a_start, an_order, command
from support.waiting import until
from support.world import Handle, order_id
from workflows.steps import CapturePayment, Trace


async def _terminated(handle: Handle) -> None:
    await handle.terminate("a test")


async def _ends(auditor: Auditor, order: UUID, status: str) -> Handle:
    handle = auditor.world.client.get_workflow_handle(workflow_id(order))
    assert (await handle.result())["status"] == status
    return handle


async def _goes_on_to_completed(auditor: Auditor, handle: Handle) -> None:
    world = auditor.world
    await world.reaches(handle, "FULFILLING")
    assert (await world.ask(handle, "ship"))["refusal"] is None
    assert (await world.ask(handle, "complete"))["refusal"] is None
    await _ends(auditor, order_id(handle), "COMPLETED")
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert await world.on_hand("bread") == (8, 0)
    assert await auditor.kinds() == set()


def _again(auditor: Auditor, handle: Handle) -> Handle:
    """The order's latest run."""
    return auditor.world.client.get_workflow_handle(handle.id)


async def test_a_terminated_draft_goes_on_with_its_payment_token(auditor: Auditor) -> None:
    world = auditor.world
    handle = await world.place()
    await world.reaches(handle, "DRAFT")
    await _terminated(handle)
    await auditor.repaired(Kind.WORKFLOW_GONE)
    handle = _again(auditor, handle)
    await world.ask(handle, "approve")
    await _goes_on_to_completed(auditor, handle)


async def test_a_terminated_order_whose_row_moved_on_adopts_it_when_it_goes_on(auditor: Auditor) -> None:
    world = auditor.world
    handle = await world.place()
    await world.reaches(handle, "DRAFT")
    await _terminated(handle)
    await Orders(world.orders).move(order_id(handle), command("approve"))
    await auditor.repaired(Kind.WORKFLOW_GONE)
    await _goes_on_to_completed(auditor, _again(auditor, handle))
    assert len(await auditor.records()) == 1  # one repair was enough


async def test_an_order_that_was_terminated_while_its_steps_ran_goes_on(auditor: Auditor) -> None:
    world = auditor.world
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await _terminated(handle)
    await auditor.repaired(Kind.WORKFLOW_GONE)
    await world.start_worker("payments")
    await _goes_on_to_completed(auditor, _again(auditor, handle))


async def test_commands_that_were_accepted_before_the_termination_still_happen(auditor: Auditor) -> None:
    world = auditor.world
    handle = await world.place()
    await world.reaches(handle, "DRAFT")
    await world.stop_worker("orders")
    await world.send(handle, "approve")
    await handle.signal("complete")  # a raw signal: s:1, refused
    await _terminated(handle)
    await auditor.finds(Kind.WORKFLOW_GONE)
    assert [h.outcome for h in await auditor.findings(repair=True)] == ["repaired"]
    await world.start_worker("orders")
    handle = _again(auditor, handle)
    await world.reaches(handle, "FULFILLING")
    commands = await world.commands(handle)
    assert commands["c:approve"]["version"] == 2
    assert commands["s:1"]["refusal"]["slug"] == "illegal_transition"
    await _goes_on_to_completed(auditor, handle)


async def test_a_ship_that_was_terminated_before_its_capture_is_captured_once(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await world.stop_worker("payments")
    data = {"carrier": "DHL"}
    await world.send(handle, "ship", data=data)
    await _is_pending(auditor, handle)
    await _terminated(handle)
    await auditor.repaired(Kind.WORKFLOW_GONE)
    await world.start_worker("payments")
    handle = _again(auditor, handle)
    assert (await world.outcome(handle, "c:ship"))["version"] == 4
    assert (await world.events(handle))[-1]["data"]["carrier"] == "DHL"
    assert world.gateway.state[order] == "captured"
    assert (await world.ask(handle, "complete"))["refusal"] is None
    await _ends(auditor, order, "COMPLETED")


async def _is_pending(auditor: Auditor, handle: Handle) -> None:
    async def pending() -> bool:
        ship = (await auditor.world.commands(handle)).get("c:ship", {"version": 0})
        return ship["version"] is None

    await until(pending)


async def test_an_order_that_was_captured_and_not_shipped_goes_forward(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await world.stop_worker("payments")
    await world.send(handle, "ship")
    await _is_pending(auditor, handle)
    await _terminated(handle)
    capture = CapturePayment(order_id=order, command_id="w:capture:c:ship", trace=Trace())
    await PaymentActivities(Payments(world.payments), world.gateway).capture_payment(capture)
    await auditor.finds(Kind.WORKFLOW_GONE, Kind.CAPTURED_NOT_SHIPPED)
    handled = await auditor.findings(repair=True)
    assert {h.outcome for h in handled} == {"repaired"}
    await world.start_worker("payments")
    handle = _again(auditor, handle)
    await world.reaches(handle, "SHIPPED")
    assert (await world.ask(handle, "complete"))["refusal"] is None
    await _ends(auditor, order, "COMPLETED")
    assert await world.on_hand("bread") == (8, 0)
    await auditor.finds()


async def test_an_order_that_was_lost_before_it_had_a_row_is_placed(auditor: Auditor) -> None:
    world = auditor.world
    await world.stop_worker("orders")
    handle = await world.place()
    await _terminated(handle)
    await auditor.finds(Kind.ORDER_LOST)
    await world.start_worker("orders")
    await auditor.repaired(Kind.ORDER_LOST)
    handle = _again(auditor, handle)
    await world.ask(handle, "approve")
    await _goes_on_to_completed(auditor, handle)


# --- Temporal remembers nothing: a row without a workflow ---


async def _a_row(auditor: Auditor, *commands: str) -> Handle:
    orders = Orders(auditor.world.orders)
    order = an_order(("bread", 2, 150))
    start = a_start(order)
    await orders.place(order, Command(name="place", id="w:place", request_hash=start.request_hash))
    for name in commands:
        await orders.move(order.order_id, command(name))
    return auditor.world.client.get_workflow_handle(workflow_id(order.order_id))


@pytest.mark.parametrize("commands", [(), ("approve",)])
async def test_an_unpaid_order_without_a_token_is_cancelled_by_the_operator(
    auditor: Auditor, commands: tuple[str, ...]
) -> None:
    world = auditor.world
    handle = await _a_row(auditor, *commands)
    await auditor.repaired(Kind.WORKFLOW_GONE)
    await _ends(auditor, order_id(handle), "CANCELLED")
    event = (await world.events(handle))[-1]
    assert (event["status"], event["data"]["reason"]) == ("CANCELLED", "operator")
    assert "token" in event["data"]["note"]
    assert (await world.commands(handle))["r:cancel"]["version"] == len(commands) + 2
    assert await world.statuses(handle, "payments") == (["VOIDING", "VOIDED"] if commands else [])


async def test_a_paid_order_without_a_token_goes_on(auditor: Auditor) -> None:
    world = auditor.world
    handle = await _a_row(auditor, "approve")
    order = order_id(handle)
    world.gateway.state[order] = "authorized"
    paid = Command(name="authorize", id="w:authorize")
    await Payments(world.payments).authorized(order, paid, amount=300, currency="USD", authorization_id="auth-1")
    await auditor.repaired(Kind.WORKFLOW_GONE)
    await _goes_on_to_completed(auditor, handle)
    assert [operation for operation, _ in world.gateway.calls] == ["capture"]


async def test_a_ship_under_way_without_any_workflow_comes_to_its_end(auditor: Auditor) -> None:
    world = auditor.world
    handle = await _a_row(auditor, "approve", "fulfil")
    order = order_id(handle)
    world.gateway.state[order] = "authorized"
    paid = Command(name="authorize", id="w:authorize")
    await Payments(world.payments).authorized(order, paid, amount=300, currency="USD", authorization_id="auth-1")
    await Orders(world.orders).accept_ship(order, command("ship", "c:ship", request_hash="1" * 64))
    await auditor.repaired(Kind.WORKFLOW_GONE)
    assert (await world.outcome(handle, "c:ship"))["version"] == 4
    assert world.gateway.state[order] == "captured"


# --- Both are there, and disagree ---


async def test_a_workflow_that_missed_a_move_of_its_row_adopts_it(auditor: Auditor) -> None:
    world = auditor.world
    handle = await world.place()
    await world.reaches(handle, "DRAFT")
    await Orders(world.orders).move(order_id(handle), command("approve"))
    await auditor.repaired(Kind.ROW_AHEAD_OF_WORKFLOW)
    await _goes_on_to_completed(auditor, handle)


async def test_the_open_workflow_of_a_final_row_shuts_the_doors_and_ends(auditor: Auditor) -> None:
    world = auditor.world
    _, order = await auditor.fulfilling()
    await Orders(world.orders).move(order, command("cancel"))
    await auditor.repaired(Kind.FINAL_ROW_OPEN_WORKFLOW)
    await _ends(auditor, order, "CANCELLED")
    assert world.gateway.state[order] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def test_a_final_row_whose_workflow_waits_for_a_service_is_reported_only(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await world.stop_worker("payments")
    await world.send(handle, "cancel")
    await world.reaches(handle, "CANCELLED")
    [handled] = await auditor.finds(Kind.FINAL_ROW_OPEN_WORKFLOW)
    assert handled.finding.repair is None
    assert handled.detail == "under way: void"
    await world.start_worker("payments")
    await _ends(auditor, order, "CANCELLED")


async def test_a_row_that_the_database_lost_is_reported_only(auditor: Auditor) -> None:
    handle, order = await auditor.fulfilling()
    sql = "UPDATE orders SET status = 'APPROVED', version = 2 WHERE order_id = $1"
    await auditor.around_the_rule("orders", sql, order)
    [handled] = await auditor.finds(Kind.ROW_BEHIND_WORKFLOW)
    assert handled.finding.repair is None
    assert [h.outcome for h in await auditor.findings(repair=True)] == ["reported"]
    assert (await handle.query("order"))["status"] == "FULFILLING"
