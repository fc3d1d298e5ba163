"""Rows and workflows that contradict each other: found, and put right by a look, once."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from activities.payments import PaymentActivities
from operations.reconciliation.findings import Kind
from orderflow.domain.handovers import Handover
from orderflow.store.orders import Orders
from orderflow.store.payments import Payments
from orderflow.temporal.names import workflow_id
from orderflow.temporal.runs import OrderRuns, RunFact
from support.auditor import Auditor
from support.orders import command
from support.tokens import opener
from support.waiting import until
from support.world import Handle, order_id
from workflows.steps import CapturePayment, Trace

Loses = Callable[[Auditor, Handle], Awaitable[None]]
_SOON = 1e-6


async def _terminated(auditor: Auditor, handle: Handle) -> None:
    await handle.terminate("a test")


async def _forgotten(auditor: Auditor, handle: Handle) -> None:
    await auditor.forgets(handle)


async def _ends(auditor: Auditor, order: UUID, status: str) -> Handle:
    handle: Handle = auditor.world.client.get_workflow_handle(workflow_id(order))
    assert (await handle.result())["status"] == status
    return handle


async def _goes_on_to_completed(auditor: Auditor, handle: Handle) -> None:
    world = auditor.world
    await world.reaches(handle, "FULFILLING")
    assert (await world.ask(handle, "ship"))["refusal"] is None
    await _is_completed(auditor, handle)


async def _is_completed(auditor: Auditor, handle: Handle) -> None:
    world = auditor.world
    assert (await world.ask(handle, "complete"))["refusal"] is None
    await _ends(auditor, order_id(handle), "SHIPPED")
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert await world.on_hand("bread") == (8, 0)
    await auditor.finds()


def _again(auditor: Auditor, handle: Handle) -> Handle:
    """The order's latest run."""
    return auditor.world.client.get_workflow_handle(handle.id)


async def _is_pending(auditor: Auditor, handle: Handle) -> None:
    async def pending() -> bool:
        ship = (await auditor.world.commands(handle)).get("c:ship", {"version": 0})
        return ship["version"] is None

    await until(pending)


@pytest.mark.parametrize("loses", [_terminated, _forgotten])
async def test_an_order_that_loses_its_run_while_its_steps_run_goes_on(auditor: Auditor, loses: Loses) -> None:
    world = auditor.world
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await loses(auditor, handle)
    await auditor.repaired(Kind.WORKFLOW_GONE)
    await world.start_worker("payments")
    await _goes_on_to_completed(auditor, _again(auditor, handle))
    assert len(await auditor.records()) == 1  # one repair was enough


@pytest.mark.parametrize("loses", [_terminated, _forgotten])
async def test_a_ship_whose_run_is_lost_before_its_capture_is_captured_once(auditor: Auditor, loses: Loses) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await world.stop_worker("payments")
    await world.send(handle, "ship", data={"carrier": "DHL"})
    await _is_pending(auditor, handle)
    await loses(auditor, handle)
    [handled] = await auditor.finds(Kind.WORKFLOW_GONE)
    assert handled.finding.evidence["pending_ship"] == "c:ship"
    await auditor.repaired(Kind.WORKFLOW_GONE)
    await world.start_worker("payments")
    handle = _again(auditor, handle)
    assert (await world.outcome(handle, "c:ship"))["version"] == 4
    assert (await world.events(handle))[-1]["data"]["carrier"] == "DHL"
    assert world.gateway.state[order] == "captured"
    await _is_completed(auditor, handle)


@pytest.mark.parametrize("loses", [_terminated, _forgotten])
async def test_a_shipped_order_that_loses_its_run_has_its_stock_committed(auditor: Auditor, loses: Loses) -> None:
    world = auditor.world
    handle, _ = await auditor.fulfilling()
    await world.stop_worker("inventory")
    await world.ask(handle, "ship")
    await loses(auditor, handle)
    await world.start_worker("inventory")
    await auditor.repaired(Kind.SHIPPED_NOT_COMMITTED)
    handle = _again(auditor, handle)

    async def committed() -> bool:
        return (await world.statuses(handle, "inventory"))[-1] == "COMMITTED"

    await until(committed)
    await _is_completed(auditor, handle)


async def test_an_order_that_was_captured_and_not_shipped_goes_forward(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await world.stop_worker("payments")
    await world.send(handle, "ship")
    await _is_pending(auditor, handle)
    await _terminated(auditor, handle)
    capture = CapturePayment(order_id=order, command_id="w:capture:c:ship", trace=Trace())
    await PaymentActivities(Payments(world.payments), world.gateway, opener()).capture_payment(capture)
    await auditor.finds(Kind.WORKFLOW_GONE, Kind.CAPTURED_NOT_SHIPPED)
    handled = await auditor.findings(repair=True)
    assert {h.outcome for h in handled} == {"repaired"}
    await world.tell_all()
    await world.start_worker("payments")
    handle = _again(auditor, handle)
    await world.reaches(handle, "SHIPPED")
    await _is_completed(auditor, handle)


async def test_a_command_that_temporal_was_never_told_of_happens_all_the_same(auditor: Auditor) -> None:
    world = auditor.world
    handle = await world.place()
    await auditor.untold(handle, "approve")
    await auditor.repaired(Kind.WORKFLOW_GONE)
    handle = _again(auditor, handle)
    await world.reaches(handle, "FULFILLING")
    await auditor.untold(handle, "ship")
    assert await auditor.kinds() == set()  # its run is open, and seen to be so; it waits
    [handled] = await auditor.finds(Kind.WAITS_LONG, reconcile_stuck_seconds=_SOON)
    assert handled.finding.evidence["waits_for"] == "its capture"
    await world.look(handle)
    await world.reaches(handle, "SHIPPED")
    await _is_completed(auditor, handle)


async def test_a_stuck_order_is_looked_at_although_temporal_lists_a_run(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of open runs is kept apart from the runs, and may be wrong."""
    world = auditor.world
    handle = await world.place()
    await auditor.untold(handle, "approve")
    listed = {order_id(handle): RunFact("running", datetime(2026, 1, 1, tzinfo=UTC), "APPROVED", run_id="x")}

    async def lists(_: OrderRuns) -> dict[UUID, RunFact]:
        return listed

    monkeypatch.setattr(OrderRuns, "running", lists)
    assert await auditor.kinds() == set()
    [handled] = await auditor.findings(reconcile_stuck_seconds=_SOON)
    assert handled.finding.kind is Kind.WORKFLOW_GONE


# --- Temporal has not been told yet ---


async def test_while_a_handover_waits_nothing_else_is_found(auditor: Auditor) -> None:
    world = auditor.world
    handle = await world.place()
    accepted = await world.accept(handle, "approve", tells=False)
    assert isinstance(accepted.handover, Handover)
    assert await auditor.kinds() == set()
    [handled] = await auditor.finds(Kind.HANDOVER_WAITS, reconcile_stuck_seconds=_SOON)
    assert (handled.finding.evidence["handover"], handled.finding.repair) == ("approve", None)
    await world.runs.tell(accepted.handover)
    await world.handovers.told([accepted.handover])
    await _goes_on_to_completed(auditor, handle)


async def test_a_handover_that_temporal_refuses_is_reported_with_what_it_said(auditor: Auditor) -> None:
    world = auditor.world
    handle = await world.place()
    accepted = await world.accept(handle, "approve", tells=False)
    assert isinstance(accepted.handover, Handover)
    await world.handovers.refused(accepted.handover, "too many signals")
    [handled] = await auditor.finds(Kind.HANDOVER_WAITS)
    assert handled.detail == "Temporal refuses it: too many signals"
    assert [h.outcome for h in await auditor.findings(repair=True)] == ["reported"]
    await world.runs.tell(accepted.handover)
    await world.handovers.told([accepted.handover])
    await _goes_on_to_completed(auditor, handle)


async def test_a_draft_has_no_workflow_and_is_never_found(auditor: Auditor) -> None:
    handle = await auditor.world.place()
    assert await auditor.kinds(reconcile_stuck_seconds=_SOON, reconcile_waiting_hours=_SOON) == set()
    assert await auditor.world.expire(timedelta()) == 1
    assert await auditor.kinds() == set()
    assert await auditor.world.statuses(handle) == ["DRAFT", "CANCELLED"]


# --- Both are there, and disagree ---


async def test_a_workflow_that_missed_a_move_of_its_row_adopts_it(auditor: Auditor) -> None:
    world = auditor.world
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")

    async def reserved() -> bool:
        return await world.statuses(handle, "inventory") == ["RESERVED"]

    await until(reserved)  # so it has seen APPROVED
    await Orders(world.orders).move(order_id(handle), command("fulfil"))
    await auditor.repaired(Kind.ROW_AHEAD_OF_WORKFLOW)
    await world.start_worker("payments")

    async def paid() -> bool:
        return await world.statuses(handle, "payments") == ["AUTHORIZED"]

    await until(paid)
    await _goes_on_to_completed(auditor, handle)


async def test_the_open_workflow_of_a_cancelled_order_shuts_the_doors_and_ends(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await auditor.untold(handle, "cancel")
    await auditor.repaired(Kind.WORKFLOW_LEFT_OPEN)
    await _ends(auditor, order, "CANCELLED")
    assert world.gateway.state[order] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def test_a_cancelled_order_whose_workflow_waits_for_a_service_is_reported_only(auditor: Auditor) -> None:
    world = auditor.world
    handle, order = await auditor.fulfilling()
    await world.stop_worker("payments")
    await world.send(handle, "cancel")
    await world.reaches(handle, "CANCELLED")

    async def released() -> bool:
        return (await world.statuses(handle, "inventory"))[-1] == "RELEASED"

    await until(released)
    [handled] = await auditor.finds(Kind.WORKFLOW_LEFT_OPEN)
    assert handled.finding.repair is None
    assert handled.detail == "under way: void"
    await world.start_worker("payments")
    await _ends(auditor, order, "CANCELLED")


async def test_a_row_that_the_database_lost_is_reported_only(auditor: Auditor) -> None:
    handle, order = await auditor.fulfilling()
    await auditor.loses("orders", order, 2)
    [handled] = await auditor.finds(Kind.ROW_BEHIND_WORKFLOW)
    assert handled.finding.repair is None
    assert [h.outcome for h in await auditor.findings(repair=True)] == ["reported"]
    assert (await handle.query("order"))["status"] == "FULFILLING"
