"""Every branch of an order's life, on real databases and a real Temporal."""

import asyncpg
import pytest

from operations.replaying.replayer import make_replayer
from orderflow.domain.commands import only
from orderflow.domain.handovers import Handover
from orderflow.store.orders import Orders
from support.orders import an_order
from support.runs import count, ended, far_steps, history, is_pending, latest_ends, pending_steps, run_state, settled
from support.stack import Databases
from support.waiting import until
from support.world import Handle, World, order_id

HAPPY = ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]

both_ways = pytest.mark.parametrize("steps", ["near", "far"], indirect=True)


async def _fulfilling(world: World, token: str = "tok_ok") -> Handle:
    handle = await world.place(token=token)
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    return handle


async def _live(world: World) -> Handle:
    handle = await _fulfilling(world)
    await settled(handle)
    await world.ask(handle, "ship")
    await settled(handle)
    await world.ask(handle, "complete")
    await ended(handle)
    return handle


# --- A whole life ---


@both_ways
async def test_the_happy_path(world: World) -> None:
    handle = await _fulfilling(world)
    assert await world.on_hand("bread") == (10, 2)
    await world.ask(handle, "ship", data={"carrier": "UPS", "tracking_number": "1Z"})
    assert await ended(handle) == ("SHIPPED", 4)
    await world.ask(handle, "complete")
    assert await world.statuses(handle) == HAPPY
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]
    assert await world.on_hand("bread") == (8, 0)
    shipped = (await world.events(handle))[3]
    assert shipped["data"] == {"from": "FULFILLING", "to": "SHIPPED", "carrier": "UPS", "tracking_number": "1Z"}
    assert world.gateway.state[order_id(handle)] == "captured"


async def test_a_whole_life_near_takes_two_workflow_tasks(world: World) -> None:
    events = await history(await _live(world))
    assert count(events, "WORKFLOW_TASK_COMPLETED") <= 2
    assert len(events) <= 19
    assert far_steps(events) == []


@pytest.mark.parametrize("steps", ["far"], indirect=True)
async def test_a_whole_life_far_takes_each_step_on_its_services_queue(world: World) -> None:
    events = await history(await _live(world))
    assert far_steps(events) == [
        "payments/authorize_payment",
        "inventory/reserve_inventory",
        "payments/capture_payment",
        "inventory/commit_inventory",
    ]


@both_ways
async def test_what_was_done_is_done_again_by_a_replay(world: World) -> None:
    handles = [await _live(world), await world.place(token="tok_declined"), await _fulfilling(world)]
    await world.ask(handles[1], "approve")
    await world.ask(handles[2], "cancel")
    for handle in handles:
        await ended(handle)
        await make_replayer(converter=world.client.data_converter).replay_workflow(await handle.fetch_history())


async def test_a_draft_has_no_workflow(world: World) -> None:
    handle = await world.place()
    assert (await world.runs.look(order_id(handle))).state == "missing"
    await world.ask(handle, "cancel", data={"reason": "customer", "note": "changed my mind"})
    assert (await world.runs.look(order_id(handle))).state == "missing"
    assert (await world.events(handle))[-1]["data"] == {
        "from": "DRAFT",
        "to": "CANCELLED",
        "reason": "customer",
        "note": "changed my mind",
    }
    assert await world.events(handle, "payments") == []
    assert await world.events(handle, "inventory") == []


# --- Steps that say no ---


@both_ways
@pytest.mark.parametrize(
    ("token", "reason"), [("tok_declined", "payment_declined"), ("tok_insufficient_funds", "insufficient_funds")]
)
async def test_a_declined_payment_cancels_and_frees_the_stock(world: World, token: str, reason: str) -> None:
    handle = await world.place(token=token)
    await world.ask(handle, "approve")
    assert await ended(handle) == ("CANCELLED", 3)
    last = (await world.events(handle))[-1]["data"]
    assert (last["reason"], last["from"], last["refusals"]["payment"]) == (reason, "APPROVED", reason)
    assert (await world.statuses(handle, "payments")) == ["DECLINED"]
    assert (await world.statuses(handle, "inventory"))[-1] == "RELEASED"
    assert await world.on_hand("bread") == (10, 0)


@both_ways
@pytest.mark.parametrize(("sku", "reason"), [("milk", "out_of_stock"), ("unicorn", "unknown_sku")])
async def test_missing_stock_cancels_and_voids_the_payment(world: World, sku: str, reason: str) -> None:
    handle = await world.place(an_order((sku, 2, 150)))
    await world.ask(handle, "approve")
    assert await ended(handle) == ("CANCELLED", 3)
    assert (await world.events(handle))[-1]["data"]["reason"] == reason
    assert (await world.statuses(handle, "payments"))[-2:] == ["VOIDING", "VOIDED"]
    assert (await world.statuses(handle, "inventory")) == ["REJECTED"]
    assert world.gateway.state[order_id(handle)] == "voided"


async def test_a_near_refusal_does_not_wait_for_the_other_step(world: World) -> None:
    """The gateway is silent: the order is CANCELLED all the same, inside the task that asks it."""
    gate = world.gateway.hold("authorize")
    handle = await world.place(an_order(("unicorn", 1, 1)))
    await world.ask(handle, "approve")
    await world.reaches(handle, "CANCELLED")
    assert await world.statuses(handle, "payments") in ([], ["VOIDING"], ["VOIDING", "VOIDED"])
    gate.set()
    assert await ended(handle) == ("CANCELLED", 3)
    assert world.gateway.state[order_id(handle)] == "voided"


async def test_an_order_whose_token_is_gone_is_cancelled_and_nothing_stays_held(world: World) -> None:
    handle = await world.place()
    pool = await world.orders.pool()
    await pool.execute("DELETE FROM payment_tokens")
    await world.ask(handle, "approve")
    assert await ended(handle) == ("CANCELLED", 3)
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert await world.on_hand("bread") == (10, 0)
    assert world.gateway.state[order_id(handle)] == "voided"


async def test_a_token_that_none_of_our_keys_opens_is_a_refusal(world: World, databases: Databases) -> None:
    handle = await world.place()
    owner = await asyncpg.connect(databases.as_admin("orders"))
    await owner.execute("UPDATE payment_tokens SET sealed = 'another-key.c2VhbGVkIGZvciBzb21lYm9keQ'")
    await owner.close()
    await world.ask(handle, "approve")
    assert await ended(handle) == ("CANCELLED", 3)
    assert [name for name, _ in world.gateway.calls] == ["void"]
    assert await world.on_hand("bread") == (10, 0)


# --- Steps that give no answer near ---


async def test_a_near_attempt_without_an_answer_becomes_a_pending_step_of_its_service(world: World) -> None:
    world.gateway.miss("authorize", 10**6)
    handle = await world.place()
    await world.ask(handle, "approve")
    await is_pending(world, handle, "authorize_payment", "the call was lost")
    state = await handle.query("order")
    assert (state["status"], state["running"], state["inventory"]["state"]) == ("APPROVED", ["authorize"], "ok")
    assert state["waits_for"] == ["the payment service to authorize the payment"]
    assert await world.on_hand("bread") == (10, 2)
    world.gateway.miss("authorize", 0)
    await world.reaches(handle, "FULFILLING")
    assert far_steps(await history(handle)) == ["payments/authorize_payment"]
    await world.ask(handle, "ship")
    assert await ended(handle) == ("SHIPPED", 4)
    await world.ask(handle, "complete")


async def test_a_slow_gateway_holds_the_near_step_for_its_time_and_no_longer(world: World, hurried: None) -> None:
    gate = world.gateway.hold("capture")
    handle = await _fulfilling(world)
    await world.send(handle, "ship")

    async def far() -> bool:
        return "capture_payment" in await pending_steps(world, handle)

    await until(far, seconds=20)
    gate.set()
    assert (await world.outcome(handle, "c:ship"))["refusal"] is None
    keys = {key for name, key in world.gateway.calls if name == "capture"}
    assert len(keys) == 1
    assert await ended(handle) == ("SHIPPED", 4)
    await world.ask(handle, "complete")


async def test_a_worker_without_the_role_says_not_here(world: World) -> None:
    """The run chose near with a worker that has all roles, and goes on with one that has none of them."""
    handle = await _fulfilling(world)
    world.beside_orders.clear()
    await world.stop_worker("orders")
    await world.start_worker("orders")
    await world.ask(handle, "ship")
    await settled(handle)
    assert await ended(handle) == ("SHIPPED", 4)
    await world.ask(handle, "complete")
    assert far_steps(await history(handle)) == ["payments/capture_payment", "inventory/commit_inventory"]
    assert await world.on_hand("bread") == (8, 0)


async def test_only_the_services_of_the_process_are_taken_near(world: World) -> None:
    world.beside_orders.remove("payments")
    await world.stop_worker("orders")
    await world.start_worker("orders")
    events = await history(await _live(world))
    assert far_steps(events) == ["payments/authorize_payment", "payments/capture_payment"]


async def test_while_a_service_gives_no_answer_near_steps_do_not_wait_for_it(world: World) -> None:
    world.gateway.miss("authorize", 10**6)
    handles = [await world.place(an_order(("bread", 1, 150))) for _ in range(5)]
    for handle in handles:
        await world.ask(handle, "approve")
        await is_pending(world, handle, "authorize_payment", "the call was lost")
    attempts = [len([key for name, key in world.gateway.calls if str(order_id(h)) in key]) for h in handles]
    near = [far_steps(await history(handle)) for handle in handles]
    assert near == [["payments/authorize_payment"]] * 5
    assert min(attempts) >= 1
    world.gateway.miss("authorize", 0)
    for handle in handles:
        await world.reaches(handle, "FULFILLING")
    assert await world.on_hand("bread") == (10, 5)


# --- Cancels ---


@both_ways
async def test_a_cancel_while_the_payment_is_asked_does_not_wait_and_the_late_answer_is_undone(
    world: World, hurried: None
) -> None:
    gate = world.gateway.hold("authorize")
    world.gateway.remembers_voids = False
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.gateway_is_asked("authorize")
    await world.ask(handle, "cancel")  # returns although the gateway has not answered
    await until(lambda: _voided(world, handle))
    gate.set()
    assert await ended(handle) == ("CANCELLED", 3)
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "CANCELLED"]
    assert await world.statuses(handle, "payments") == ["VOIDING", "VOIDED"]
    assert world.gateway.state[order_id(handle)] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def _voided(world: World, handle: Handle) -> bool:
    return (await world.statuses(handle, "payments"))[-1:] == ["VOIDED"]


@both_ways
async def test_a_cancel_while_fulfilling_voids_and_releases(world: World) -> None:
    handle = await _fulfilling(world)
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "RELEASED"]
    assert await world.on_hand("bread") == (10, 0)
    assert world.gateway.state[order_id(handle)] == "voided"


async def test_the_workflow_ends_when_the_order_is_cancelled_and_nothing_runs(world: World, hurried: None) -> None:
    gate = world.gateway.hold("void")
    handle = await _fulfilling(world)
    await world.ask(handle, "cancel")
    await world.gateway_is_asked("void")
    await until(lambda: _released(world))
    assert await run_state(handle) == "RUNNING"
    gate.set()
    assert await ended(handle) == ("CANCELLED", 4)
    assert await _voided(world, handle)


async def _released(world: World) -> bool:
    return (await world.on_hand("bread"))[1] == 0


async def test_lost_answers_of_the_gateway_charge_once(world: World) -> None:
    for operation in ("authorize", "capture"):
        world.gateway.fail(operation, 2)
    handle = await _fulfilling(world)
    await world.ask(handle, "ship")
    await world.ask(handle, "complete")
    await ended(handle)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert [name for name, _ in world.gateway.calls] == ["authorize"] * 3 + ["capture"] * 3
    assert len(set(world.gateway.calls)) == 2, "each attempt of one thing has the same idempotency key"
    assert world.gateway.state == {order_id(handle): "captured"}  # and nothing is held under another reference


async def test_a_capture_whose_key_the_gateway_forgot_is_found(world: World) -> None:
    """It was taken and nobody heard of it; when it is asked for again, only the reference is known."""
    handle = await _fulfilling(world)
    world.gateway.fail("capture", 1)
    gate = world.gateway.hold("capture")
    await world.send(handle, "ship")
    await world.gateway_is_asked("capture")
    gate.set()

    async def taken() -> bool:
        return world.gateway.state[order_id(handle)] == "captured"

    await until(taken)
    world.gateway.forget()
    assert (await world.outcome(handle, "c:ship"))["version"] == 4
    assert await ended(handle) == ("SHIPPED", 4)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]


async def test_a_lost_void_is_asked_again(world: World) -> None:
    handle = await _fulfilling(world)
    world.gateway.fail("void", 2)
    await world.ask(handle, "cancel")
    await ended(handle)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert [name for name, _ in world.gateway.calls].count("void") == 3


# --- Ships ---


@both_ways
async def test_a_refused_capture_answers_the_ship_and_the_next_ship_may_succeed(world: World) -> None:
    handle = await _fulfilling(world)
    world.gateway.refuse_capture = True
    refused = await world.ask(handle, "ship", "c:ship-1")
    assert (refused["refusal"]["slug"], refused["refusal"]["status"]) == ("capture_refused", 402)
    assert "The card was blocked." in refused["refusal"]["detail"]
    assert (await world.statuses(handle))[-1] == "FULFILLING"
    world.gateway.refuse_capture = False
    assert (await world.ask(handle, "ship", "c:ship-1"))["refusal"] == refused["refusal"]
    shipped = await world.ask(handle, "ship", "c:ship-2")
    assert shipped["version"] == 4
    await world.ask(handle, "complete")
    await ended(handle)
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture", "capture"]


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
    await ended(handle)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]


async def test_two_ships_with_different_keys_capture_once(world: World) -> None:
    handle = await _fulfilling(world)
    first = await world.accept(handle, "ship", "c:1", tells=False)
    second = await world.accept(handle, "ship", "c:2", tells=False)
    assert (first.outcome.state, second.outcome.state) == ("pending", "refused")
    assert second.outcome.refusal is not None
    assert second.outcome.refusal.slug == "shipment_in_progress"
    await world.look(handle)
    assert (await world.outcome(handle, "c:1"))["version"] == 4
    again = await world.ask(handle, "ship", "c:2")
    assert again["refusal"]["slug"] == "illegal_transition"
    await world.ask(handle, "complete")
    await ended(handle)
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]


async def test_a_gateways_odd_words_do_not_hold_an_order(world: World) -> None:
    handle = await _fulfilling(world)
    world.gateway.refuse_capture = True
    world.gateway.words = "no\x00 \ud800!"
    refused = await world.ask(handle, "ship")
    assert refused["refusal"]["slug"] == "capture_refused"
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)


# --- Commands that come again, late, or are refused ---


async def test_an_illegal_command_is_refused(world: World) -> None:
    handle = await world.place()
    refused = await world.ask(handle, "ship")
    assert (refused["refusal"]["status"], refused["refusal"]["allowed_actions"]) == (409, ["approve", "cancel"])
    assert list(await world.commands(handle)) == ["w:place"]


async def test_an_old_expected_version_is_refused(world: World) -> None:
    handle = await _fulfilling(world)
    refused = await world.ask(handle, "cancel", precondition=only(1))
    assert (refused["refusal"]["status"], refused["refusal"]["current_version"]) == (412, 3)
    assert (await world.ask(handle, "cancel", "c:again", precondition=only(3)))["refusal"] is None
    await ended(handle)


async def test_a_command_sent_twice_happens_once(world: World) -> None:
    handle = await world.place()
    for _ in range(3):
        await world.send(handle, "approve", "c:1")
    await world.reaches(handle, "FULFILLING")
    assert list(await world.commands(handle)) == ["w:place", "c:1", "w:fulfil"]
    await world.ask(handle, "cancel")
    await ended(handle)


async def test_a_command_sent_again_after_the_cancel_does_not_bring_the_order_back(world: World, hurried: None) -> None:
    """Its recorded outcome says APPROVED; the row has moved on."""
    handle = await _fulfilling(world)
    gate = world.gateway.hold("void")
    await world.ask(handle, "cancel")
    await world.send(handle, "approve")
    await world.look(handle)
    gate.set()
    assert await ended(handle) == ("CANCELLED", 4)
    assert [name for name, _ in world.gateway.calls].count("authorize") == 1


async def test_handovers_that_come_twice_late_and_in_any_order_are_looks(world: World) -> None:
    handle = await world.place()
    await world.accept(handle, "approve", tells=False)
    told = [Handover(order_id(handle), number, name) for number, name in enumerate(["cancel", "ship", "approve"])]
    for handover in told * 2:
        await world.runs.tell(handover)
    await world.reaches(handle, "FULFILLING")
    await settled(handle)
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING"]
    assert [name for name, _ in world.gateway.calls] == ["authorize"]
    await world.ask(handle, "cancel")
    await ended(handle)


async def test_adopting_never_falls_back_to_an_older_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the orders database is a copy that is behind."""
    handle = await world.place()
    await world.accept(handle, "approve", tells=False)
    older = await Orders(world.orders).look(order_id(handle))
    assert older is not None
    assert older.status == "APPROVED"
    await world.look(handle)
    await world.reaches(handle, "FULFILLING")
    before = await settled(handle)
    asked = []

    async def behind(*_: object) -> object:
        asked.append(older)
        return older

    with monkeypatch.context() as patch:
        patch.setattr(Orders, "look", behind)
        await handle.signal("look")

        async def looked() -> bool:
            return bool(asked)

        await until(looked)
        assert await settled(handle) == before
    assert [name for name, _ in world.gateway.calls] == ["authorize"]
    await world.ask(handle, "ship")
    assert await ended(handle) == ("SHIPPED", 4)
    await world.ask(handle, "complete")


# --- Runs ---


async def test_a_completed_run_is_not_started_again_by_a_late_handover(world: World) -> None:
    handle = await _live(world)
    run = (await handle.describe()).run_id
    for name in ("approve", "ship", "cancel"):
        await world.runs.tell(Handover(order_id(handle), 1, name))
    assert (await handle.describe()).run_id == run


async def test_a_completed_run_is_started_again_by_a_look_that_says_so(world: World) -> None:
    handle = await _live(world)
    run = (await handle.describe()).run_id
    await world.look(handle)
    assert (await handle.describe()).run_id != run
    await latest_ends(handle)
    assert await ended(world.client.get_workflow_handle(handle.id)) == ("COMPLETED", 5)
    assert await world.statuses(handle) == HAPPY
    assert await world.on_hand("bread") == (8, 0)
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]


async def test_a_long_lived_order_continues_as_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "temporalio.workflow.Info.is_continue_as_new_suggested",
        lambda info: info.get_current_history_length() > 40,
    )
    handle = await _fulfilling(world)
    first = (await handle.describe()).run_id
    # What a look adds to the history is there after the task that saw how long it is.
    while (await handle.describe()).history_length <= 46:
        await handle.signal("look")
        await settled(handle)
    assert (await handle.describe()).run_id == first

    async def another_run() -> bool:
        return (await handle.describe()).run_id != first

    await until(another_run)
    await world.ask(handle, "ship")
    assert await ended(handle) == ("SHIPPED", 4)
    await world.ask(handle, "complete")
    assert await world.statuses(handle) == HAPPY
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]
