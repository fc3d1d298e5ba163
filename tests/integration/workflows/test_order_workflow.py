"""Every branch of an order's life, on real databases and the time-skipping server."""

from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from orderflow.settings import Settings
from orderflow.temporal.names import ORDERS_QUEUE, workflow_id
from support.orders import a_start, an_order
from support.waiting import until
from support.world import Handle, World, order_id
from workflows.order_workflow import OrderWorkflow
from workflows.steps import SignalledCommand

HAPPY = ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]


@pytest.fixture
def settings() -> Settings:
    return Settings(worker_graceful_shutdown_seconds=1)


@pytest.fixture
def temporal(time_skipping: WorkflowEnvironment) -> Client:
    return time_skipping.client


async def _fulfilling(world: World, token: str = "tok_ok") -> Handle:
    handle = await world.place(token=token)
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    return handle


async def test_the_happy_path(world: World) -> None:
    handle = await _fulfilling(world)
    assert await world.on_hand("bread") == (10, 2)
    await world.ask(handle, "ship", data={"carrier": "UPS", "tracking_number": "1Z"})
    await world.ask(handle, "complete")
    result = await handle.result()
    assert (result.status, result.version) == ("COMPLETED", 5)
    assert await world.statuses(handle) == HAPPY
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]
    assert await world.on_hand("bread") == (8, 0)
    shipped = (await world.events(handle))[3]
    assert shipped["data"] == {"from": "FULFILLING", "to": "SHIPPED", "carrier": "UPS", "tracking_number": "1Z"}
    assert world.gateway.state[order_id(handle)] == "captured"


@pytest.mark.parametrize(
    ("token", "reason"), [("tok_declined", "payment_declined"), ("tok_insufficient_funds", "insufficient_funds")]
)
async def test_a_declined_payment_cancels_and_frees_the_stock(world: World, token: str, reason: str) -> None:
    handle = await world.place(token=token)
    await world.ask(handle, "approve")
    assert (await handle.result()).status == "CANCELLED"
    last = (await world.events(handle))[-1]["data"]
    assert (last["reason"], last["from"], last["refusals"]["payment"]) == (reason, "APPROVED", reason)
    assert (await world.statuses(handle, "payments")) == ["DECLINED"]
    assert (await world.statuses(handle, "inventory"))[-1] == "RELEASED"
    assert await world.on_hand("bread") == (10, 0)


@pytest.mark.parametrize(("sku", "reason"), [("milk", "out_of_stock"), ("unicorn", "unknown_sku")])
async def test_missing_stock_cancels_and_voids_the_payment(world: World, sku: str, reason: str) -> None:
    handle = await world.place(an_order((sku, 2, 150)))
    await world.ask(handle, "approve")
    assert (await handle.result()).status == "CANCELLED"
    assert (await world.events(handle))[-1]["data"]["reason"] == reason
    assert (await world.statuses(handle, "payments"))[-2:] == ["VOIDING", "VOIDED"]
    assert (await world.statuses(handle, "inventory")) == ["REJECTED"]
    assert world.gateway.state[order_id(handle)] == "voided"


async def test_a_cancelled_draft_touches_no_other_service(world: World) -> None:
    handle = await world.place()
    await world.ask(handle, "cancel", data={"reason": "customer", "note": "changed my mind"})
    assert (await handle.result()).status == "CANCELLED"
    assert (await world.events(handle))[-1]["data"] == {
        "from": "DRAFT",
        "to": "CANCELLED",
        "reason": "customer",
        "note": "changed my mind",
    }
    assert await world.events(handle, "payments") == []
    assert await world.events(handle, "inventory") == []


async def test_a_cancel_while_the_payment_is_asked_does_not_wait_and_the_late_answer_is_undone(world: World) -> None:
    gate = world.gateway.hold("authorize")
    world.gateway.remembers_voids = False
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.gateway_is_asked("authorize")
    await world.ask(handle, "cancel")  # returns although the gateway has not answered
    await until(lambda: _voided(world, handle))
    gate.set()
    await handle.result()
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "CANCELLED"]
    assert await world.statuses(handle, "payments") == ["VOIDING", "VOIDED"]
    assert world.gateway.state[order_id(handle)] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def _voided(world: World, handle: Handle) -> bool:
    return (await world.statuses(handle, "payments"))[-1:] == ["VOIDED"]


async def test_a_cancel_while_fulfilling_voids_and_releases(world: World) -> None:
    handle = await _fulfilling(world)
    await world.ask(handle, "cancel")
    assert (await handle.result()).status == "CANCELLED"
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "RELEASED"]
    assert await world.on_hand("bread") == (10, 0)
    assert world.gateway.state[order_id(handle)] == "voided"


async def test_lost_answers_of_the_gateway_charge_once(world: World) -> None:
    for operation in ("authorize", "capture"):
        world.gateway.fail(operation, 2)
    handle = await _fulfilling(world)
    await world.ask(handle, "ship")
    await world.ask(handle, "complete")
    await handle.result()
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert [name for name, _ in world.gateway.calls] == ["authorize"] * 3 + ["capture"] * 3
    assert world.gateway.state == {order_id(handle): "captured"}  # and nothing is held under another reference


async def test_a_lost_void_is_asked_again(world: World) -> None:
    handle = await _fulfilling(world)
    world.gateway.fail("void", 2)
    await world.ask(handle, "cancel")
    await handle.result()
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]


async def test_a_draft_expires(world: World) -> None:
    handle = await world.place()
    result = await handle.result()  # the server skips the day
    assert (result.status, result.version) == ("CANCELLED", 2)
    assert (await world.events(handle))[-1]["data"] == {"from": "DRAFT", "to": "CANCELLED", "reason": "draft_expired"}


async def test_an_approved_order_does_not_expire(world: World, time_skipping: WorkflowEnvironment) -> None:
    handle = await _fulfilling(world)
    await time_skipping.sleep(2 * 86_400)
    assert (await world.statuses(handle))[-1] == "FULFILLING"
    await world.ask(handle, "cancel")
    await handle.result()


async def test_a_refused_capture_answers_the_ship_and_the_next_ship_may_succeed(world: World) -> None:
    handle = await _fulfilling(world)
    world.gateway.refuse_capture = True
    refused = await world.ask(handle, "ship", "c:ship-1")
    assert (refused["refusal"]["slug"], refused["refusal"]["status"]) == ("capture_refused", 402)
    assert "The card was blocked." in refused["refusal"]["detail"]
    assert (await world.statuses(handle))[-1] == "FULFILLING"
    world.gateway.refuse_capture = False
    shipped = await world.ask(handle, "ship", "c:ship-2")
    assert shipped["version"] == 4
    await world.ask(handle, "complete")
    await handle.result()


async def test_while_the_capture_runs_a_cancel_is_refused(world: World) -> None:
    handle = await _fulfilling(world)
    gate = world.gateway.hold("capture")
    ship = await world.send(handle, "ship", "c:ship")
    await world.gateway_is_asked("capture")
    cancel = await world.ask(handle, "cancel")
    assert cancel["refusal"]["slug"] == "shipment_in_progress"
    second = await world.ask(handle, "ship", "c:ship-2")
    assert second["refusal"]["slug"] == "shipment_in_progress"
    gate.set()
    assert (await world.outcome(handle, ship))["version"] == 4
    await world.ask(handle, "complete")
    await handle.result()


async def test_cancelling_the_workflow_is_an_operators_cancel(world: World) -> None:
    handle = await _fulfilling(world)
    await handle.cancel()
    assert (await handle.result()).status == "CANCELLED"
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert await world.on_hand("bread") == (10, 0)


async def test_cancelling_the_workflow_of_a_shipped_order_changes_nothing(world: World) -> None:
    handle = await _fulfilling(world)
    await world.ask(handle, "ship")
    await handle.cancel()
    refused = await world.outcome(handle, "w:cancel")
    assert refused["refusal"]["slug"] == "illegal_transition"
    await world.ask(handle, "complete")
    assert (await handle.result()).status == "COMPLETED"


async def test_an_illegal_command_is_refused_and_recorded(world: World) -> None:
    handle = await world.place()
    refused = await world.ask(handle, "ship")
    assert (refused["refusal"]["status"], refused["refusal"]["allowed_actions"]) == (409, ["approve", "cancel"])
    await world.ask(handle, "cancel")
    await handle.result()


async def test_a_command_sent_twice_happens_once(world: World) -> None:
    handle = await world.place()
    for _ in range(3):
        await world.send(handle, "approve", "c:1")
    await world.reaches(handle, "FULFILLING")
    assert list(await world.commands(handle)) == ["w:place", "c:1", "w:fulfil"]
    await world.ask(handle, "cancel")
    await handle.result()


async def test_a_command_sent_again_after_the_cancel_does_not_bring_the_order_back(world: World) -> None:
    """Its recorded outcome says APPROVED; the row has moved on."""
    handle = await _fulfilling(world)
    await world.stop_worker("payments")
    await world.ask(handle, "cancel")
    await world.send(handle, "approve")
    await world.start_worker("payments")

    async def ended() -> bool:
        return (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED

    await until(ended)
    result = await handle.result()
    assert (result.status, result.version) == ("CANCELLED", 4)


async def test_signals_without_an_id_are_counted(world: World) -> None:
    """What `temporal workflow signal --name approve` sends: nothing at all."""
    handle = await world.place()
    await handle.signal("approve")
    await world.reaches(handle, "FULFILLING")
    await handle.signal("cancel")
    await handle.result()
    commands = await world.commands(handle)
    assert [name for name in commands if name.startswith("s:")] == ["s:1", "s:2"]
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("approve", ["not an object"]),
        ("approve", [{"command_id": 5}]),
        ("approve", [{"command_id": "w:capture"}]),
        ("approve", [{"expected_version": "soon"}]),
        ("approve", [{"expected_version": 2**40}]),
        ("approve", [{"correlation_id": "a\x00b"}]),
        ("approve", [b"\x00\x01"]),
        ("approve", [{}, {}]),
        ("aprove", []),
        ("cancel", [{"data": {"reason": "just because"}}]),
        ("cancel", [{"data": {"note": "a\x00b"}}]),
        ("cancel", [{"data": {"note": ["x"]}}]),
    ],
)
async def test_a_signal_that_makes_no_sense_is_refused_and_the_order_goes_on(
    world: World, name: str, arguments: list[Any]
) -> None:
    handle = await world.place()
    await handle.signal(name, args=arguments)
    refused = await world.outcome(handle, "s:1")
    assert (refused["refusal"]["slug"], refused["refusal"]["status"]) == ("invalid", 422)
    await world.ask(handle, "cancel")
    assert (await handle.result()).status == "CANCELLED"


async def test_an_old_expected_version_is_refused(world: World) -> None:
    handle = await _fulfilling(world)
    refused = await world.ask(handle, "cancel", expected_version=1)
    assert (refused["refusal"]["status"], refused["refusal"]["current_version"]) == (412, 3)
    await world.ask(handle, "cancel", "c:again", expected_version=3)
    await handle.result()


async def test_a_second_workflow_of_the_order_adopts_its_row(world: World) -> None:
    """As after a reset: nothing is repeated, and the order goes on from where its row is."""
    order = an_order(("bread", 2, 150))
    first = await world.place(order)
    await world.ask(first, "approve")
    await world.reaches(first, "FULFILLING")
    await first.terminate()
    second = await world.place(order, run_id="-again")
    await world.ask(second, "ship")
    await world.ask(second, "complete")
    assert (await second.result()).status == "COMPLETED"
    assert await world.statuses(second) == HAPPY
    assert world.gateway.calls[0][0] == "authorize"
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]


async def test_a_long_lived_order_continues_as_new_with_all_it_knows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "temporalio.workflow.Info.is_continue_as_new_suggested",
        lambda info: info.get_current_history_length() > 35,
    )
    handle = await _fulfilling(world)
    for number in range(8):
        await world.ask(handle, "ship", f"c:{number}", expected_version=1)
    first = handle.first_execution_run_id or handle.result_run_id
    current = world.client.get_workflow_handle(handle.id)
    assert (await current.describe()).run_id != first
    await world.ask(current, "ship")

    async def taken() -> bool:
        # For a moment between two runs the time-skipping server (not the real one) takes no signal.
        try:
            await world.send(current, "complete")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    await until(taken)
    await world.outcome(current, "c:complete")
    assert (await handle.result()).status == "COMPLETED"
    assert await world.statuses(handle) == HAPPY
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]


async def test_an_order_that_no_database_takes_is_refused_with_all_that_was_asked_of_it(world: World) -> None:
    """Started by hand, past the API's checks."""
    bad = an_order(("bread", 2, 10**12))
    handle = await world.client.start_workflow(
        OrderWorkflow.run,
        a_start(bad),
        id=workflow_id(bad.order_id),
        task_queue=ORDERS_QUEUE,
        start_signal="cancel",
        start_signal_args=[SignalledCommand(command_id="c:1", request_hash="1" * 64)],
    )
    result = await handle.result()
    assert (result.status, result.version) == (None, 0)
    commands = await world.commands(handle)
    assert {name: row["refusal"]["status"] for name, row in commands.items()} == {"w:place": 422, "c:1": 409}


async def test_an_order_whose_token_is_gone_is_cancelled_and_nothing_stays_held(world: World) -> None:
    order = an_order(("bread", 2, 150))
    handle = await world.client.start_workflow(
        OrderWorkflow.run,
        a_start(order).model_copy(update={"payment_token": None}),
        id=workflow_id(order.order_id),
        task_queue=ORDERS_QUEUE,
    )
    await world.ask(handle, "approve")
    assert (await handle.result()).status == "CANCELLED"
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert await world.on_hand("bread") == (10, 0)
    assert world.gateway.state[order.order_id] == "voided"


async def test_a_gateways_odd_words_do_not_hold_an_order(world: World) -> None:
    handle = await _fulfilling(world)
    world.gateway.refuse_capture = True
    world.gateway.words = "no\x00 \ud800!"
    refused = await world.ask(handle, "ship")
    assert refused["refusal"]["slug"] == "capture_refused"
    await world.ask(handle, "cancel")
    assert (await handle.result()).status == "CANCELLED"
