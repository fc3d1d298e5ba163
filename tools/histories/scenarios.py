"""Every path that an order may take, as a recipe for a history. A path that is not here is not held by the gate."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from orderflow.domain.errors import Problem, Rejection
from orderflow.temporal.names import workflow_id
from support.orders import an_order
from support.waiting import until
from support.world import Handle
from tools.histories.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """How to play one path.

    ``steps``: where the steps of payment and inventory run first. ``continue_after``: the number of events after which
    the server suggests to continue as new (None: the server's own).
    """

    play: Callable[[Stage], Awaitable[None]]
    steps: Literal["near", "far"] = "near"
    continue_after: int | None = None


Play = Callable[[Stage], Awaitable[None]]
_UNEXPECTED: Final = Problem(slug="invalid", detail="Nobody expected this.", status=422)
SCENARIOS: Final[dict[str, Scenario]] = {}


def _scenario(*, steps: Literal["near", "far"] = "near", continue_after: int | None = None) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        SCENARIOS[play.__name__] = Scenario(play, steps, continue_after)
        return play

    return register


def _both(play: Play) -> Play:
    """Played twice: with near steps, and with steps on their services' task queues only."""
    SCENARIOS[play.__name__] = Scenario(play)
    SCENARIOS[f"{play.__name__}_far"] = Scenario(play, "far")
    return play


# --- To the end ---


@_both
async def happy_path(stage: Stage) -> None:
    await stage.ships(await stage.fulfilling(an_order(("bread", 2, 150), ("milk", 1, 99))))


# --- A step says no ---


@_both
async def payment_declined(stage: Stage) -> None:
    await stage.ends(await stage.approved(token="tok_declined"), "CANCELLED")


@_scenario()
async def insufficient_funds(stage: Stage) -> None:
    await stage.ends(await stage.approved(token="tok_insufficient_funds"), "CANCELLED")


@_both
async def out_of_stock(stage: Stage) -> None:
    await stage.ends(await stage.approved(an_order(("milk", 2, 99))), "CANCELLED")


@_scenario()
async def unknown_sku(stage: Stage) -> None:
    await stage.ends(await stage.approved(an_order(("unicorn", 1, 1))), "CANCELLED")


@_scenario(steps="far")
async def both_refused_at_once(stage: Stage) -> None:
    """Both answers are there before a worker looks."""
    gate = stage.gateway.hold("authorize")
    handle = await stage.approved(an_order(("unicorn", 1, 1)), token="tok_declined")
    await stage.world.gateway_is_asked("authorize")
    async with stage.worker_down("orders"):
        gate.set()
        await stage.happened(handle, "ACTIVITY_TASK_COMPLETED", times=2)
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def both_refused_near(stage: Stage) -> None:
    await stage.ends(await stage.approved(an_order(("unicorn", 1, 1)), token="tok_declined"), "CANCELLED")


@_scenario(steps="far")
async def declined_while_inventory_is_down(stage: Stage) -> None:
    """The reservation comes late, and finds its door shut."""
    async with stage.worker_down("inventory"):
        handle = await stage.approved(token="tok_declined")
        await stage.reaches(handle, "CANCELLED")
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def token_gone(stage: Stage) -> None:
    """Without a payment token nothing can be authorized."""
    order = an_order(("bread", 2, 150))
    async with stage.worker_down("orders"):
        handle = await stage.approved(order)
        await stage.forget_token(handle)
    await stage.ends(handle, "CANCELLED")


# --- Cancelled ---


@_both
async def cancelled_before_its_first_task(stage: Stage) -> None:
    async with stage.worker_down("orders"):
        handle = await stage.approved()
        await stage.world.accept(handle, "cancel", data={"reason": "customer", "note": "changed my mind"})
    await stage.ends(handle, "CANCELLED")


@_both
async def cancelled_between_its_steps(stage: Stage) -> None:
    """The stock is reserved, the gateway has not answered, and forgets that it voided."""
    gate = stage.gateway.hold("authorize")
    stage.gateway.remembers_voids = False
    handle = await stage.approved()
    await stage.world.gateway_is_asked("authorize")
    await stage.world.accept(handle, "cancel")

    async def voided() -> bool:
        return (await stage.world.statuses(handle, "payments"))[-1:] == ["VOIDED"]

    await until(voided, seconds=30)
    gate.set()
    await stage.ends(handle, "CANCELLED")


@_both
async def cancelled_when_both_steps_stand(stage: Stage) -> None:
    """The customer's statement is before the workflow's: its own is refused, and it looks again."""
    gate = stage.gateway.hold("authorize")
    handle = await stage.approved()
    await stage.world.gateway_is_asked("authorize")
    async with asyncio.TaskGroup() as tasks, stage.row_locked(handle):
        tasks.create_task(stage.world.accept(handle, "cancel"))
        await stage.wait_for_a_lock()
        gate.set()
        await stage.wait_for_a_lock(statements=2)
    await stage.ends(handle, "CANCELLED")


@_both
async def cancelled_fulfilling(stage: Stage) -> None:
    handle = await stage.fulfilling()
    await stage.world.accept(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def cancelled_while_both_services_are_away(stage: Stage) -> None:
    async with stage.not_here("payments", "inventory"), stage.worker_down("payments"), stage.worker_down("inventory"):
        handle = await stage.approved()
        await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED", times=2)
        await stage.world.accept(handle, "cancel")
        await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED", times=4)
    await stage.ends(handle, "CANCELLED")


@_both
async def cancel_refused_while_shipping(stage: Stage) -> None:
    gate = stage.gateway.hold("capture")
    handle = await stage.fulfilling()
    ship = await stage.world.send(handle, "ship", "c:first")
    await stage.world.gateway_is_asked("capture")
    for name in ("cancel", "ship"):
        assert (await stage.world.ask(handle, name, f"c:late-{name}"))["refusal"]["slug"] == "shipment_in_progress"
    gate.set()
    await stage.world.outcome(handle, ship)
    await stage.ends(handle, "SHIPPED")


# --- Cancelled by an operator, through Temporal ---


@_both
async def cancelled_by_the_operator(stage: Stage) -> None:
    handle = await stage.fulfilling()
    await handle.cancel()
    await stage.ends(handle, "CANCELLED")


@_both
async def cancelled_by_the_operator_before_its_first_task(stage: Stage) -> None:
    async with stage.worker_down("orders"):
        handle = await stage.approved()
        await handle.cancel()
    await stage.ends(handle, "CANCELLED")


@_scenario(steps="far")
async def cancelled_by_the_operator_while_authorizing(stage: Stage) -> None:
    gate = stage.gateway.hold("authorize")
    handle = await stage.approved()
    await stage.world.gateway_is_asked("authorize")
    await handle.cancel()
    await stage.reaches(handle, "CANCELLED")
    gate.set()
    await stage.ends(handle, "CANCELLED")


@_both
async def operators_cancel_accepted_after_a_refused_capture(stage: Stage) -> None:
    """While the ship is pending the operator's cancel waits; then it is carried out."""
    handle = await stage.fulfilling()
    gate = stage.gateway.hold("capture")
    stage.gateway.refuse_capture = True
    ship = await stage.world.send(handle, "ship")
    await stage.world.gateway_is_asked("capture")
    await handle.cancel()
    gate.set()
    assert (await stage.world.outcome(handle, ship))["refusal"]["slug"] == "capture_refused"
    await stage.ends(handle, "CANCELLED")


@_scenario(steps="far")
async def operators_cancel_of_a_shipped_order(stage: Stage) -> None:
    """It changes nothing: the stock is let go, and the run ends as it would have."""
    handle = await stage.fulfilling()
    async with stage.worker_down("inventory"):
        await stage.ship(handle)
        await handle.cancel()
        await stage.happened(handle, "WORKFLOW_EXECUTION_CANCEL_REQUESTED")
        await stage.idles(handle, but_for=1)
    await stage.ends(handle, "SHIPPED")


# --- Ships that are refused, or asked for twice ---


@_both
async def capture_refused_then_shipped(stage: Stage) -> None:
    handle = await stage.fulfilling()
    stage.gateway.refuse_capture = True
    assert (await stage.world.ask(handle, "ship", "c:first"))["refusal"]["slug"] == "capture_refused"
    stage.gateway.refuse_capture = False
    await stage.ships(handle)


@_scenario()
async def capture_refused_then_cancelled(stage: Stage) -> None:
    handle = await stage.fulfilling()
    stage.gateway.refuse_capture = True
    assert (await stage.world.ask(handle, "ship"))["refusal"]["slug"] == "capture_refused"
    await stage.world.accept(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_both
async def ship_sent_twice(stage: Stage) -> None:
    """The second comes while the first waits for its capture: one capture."""
    gate = stage.gateway.hold("capture")
    handle = await stage.fulfilling()
    await stage.world.send(handle, "ship", "c:ship")
    await stage.world.gateway_is_asked("capture")
    await stage.world.send(handle, "ship", "c:ship")
    await stage.world.look(handle)
    gate.set()
    await stage.world.outcome(handle, "c:ship")
    await stage.ends(handle, "SHIPPED")
    assert {key for name, key in stage.gateway.calls if name == "capture"} == {
        f"{handle.id.removeprefix('order-')}:w:capture:c:ship"
    }


# --- Signals that nobody of ours sent ---


@_scenario()
async def signals_of_any_name_and_content(stage: Stage) -> None:
    """Each is a look at the row, and nothing else."""
    handle = await stage.fulfilling()
    signals: list[tuple[str, list[object]]] = [
        ("approve", []),
        ("ship", [{"command_id": "c:forged", "status": "SHIPPED", "version": 9}]),
        ("cancel", ["not an object", 5, None]),
        ("look", [b"\x00\xff", {"near": []}]),
        ("a name that nobody knows", ["\x00"]),
        ("__stack_trace", []),
    ]
    for name, arguments in signals:
        await handle.signal(name, args=arguments)
        await stage.idles(handle)
    await stage.ships(handle)


# --- Outages ---


@_scenario()
async def near_step_without_an_answer(stage: Stage) -> None:
    """A slow gateway: after 3 s the step is taken again, where everybody sees it."""
    gate = stage.gateway.hold("authorize")
    handle = await stage.approved()
    await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED")
    gate.set()
    await stage.reaches(handle, "FULFILLING")
    gate = stage.gateway.hold("capture")
    ship = await stage.world.send(handle, "ship")
    await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED", times=2)
    gate.set()
    await stage.world.outcome(handle, ship)
    await stage.ends(handle, "SHIPPED")


@_scenario()
async def near_steps_not_here(stage: Stage) -> None:
    """The run began where all roles are, and goes on in a process that has none of them."""
    handle = await stage.fulfilling()
    async with stage.not_here("payments", "inventory"):
        await stage.ships(handle)


@_scenario()
async def cancelled_where_near_steps_are_not_here(stage: Stage) -> None:
    handle = await stage.fulfilling()
    async with stage.not_here("payments"):
        await stage.world.accept(handle, "cancel")
        await stage.ends(handle, "CANCELLED")


@_scenario()
async def begun_without_the_payments_role(stage: Stage) -> None:
    """Payment is far from the first look on, the stock near."""
    async with stage.not_here("payments"):
        handle = await stage.fulfilling()
    await stage.ships(handle)


@_scenario(steps="far")
async def payments_worker_down(stage: Stage) -> None:
    async with stage.worker_down("payments"):
        handle = await stage.approved()
        await stage.happened(handle, "ACTIVITY_TASK_COMPLETED")
    await stage.reaches(handle, "FULFILLING")
    async with stage.worker_down("payments"):
        ship = await stage.world.send(handle, "ship")
        await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED", times=3)
    await stage.world.outcome(handle, ship)
    await stage.ends(handle, "SHIPPED")


@_scenario(steps="far")
async def inventory_worker_down(stage: Stage) -> None:
    async with stage.worker_down("inventory"):
        handle = await stage.approved()
        await stage.happened(handle, "ACTIVITY_TASK_COMPLETED")
    await stage.reaches(handle, "FULFILLING")
    async with stage.worker_down("inventory"):
        await stage.ship(handle)
        await stage.world.accept(handle, "complete")  # its workflow waits for the stock's commit, and need not know
    await stage.ends(handle, "SHIPPED")


@_both
async def orders_worker_down_between_commands(stage: Stage) -> None:
    """Each time the order's history is replayed by a worker that never saw it."""
    async with stage.worker_down("orders"):
        handle = await stage.approved()
    await stage.reaches(handle, "FULFILLING")
    async with stage.worker_down("orders"):
        await stage.world.send(handle, "ship")
    await stage.ends(handle, "SHIPPED")


@_scenario()
async def orders_worker_killed(stage: Stage) -> None:
    """In the middle of a transition: its workflow task times out, and another worker carries it out."""
    await stage.world.stop_worker("orders")
    handle = await stage.approved()
    async with stage.row_locked(handle), stage.worker_process("orders") as process:
        await stage.wait_for_a_lock()
        process.kill()
    await stage.world.start_worker("orders")
    await stage.happened(handle, "WORKFLOW_TASK_TIMED_OUT")
    await stage.ships(handle)


@_scenario()
async def orders_worker_killed_in_a_near_step(stage: Stage) -> None:
    """Nothing of its workflow task is recorded: it is done again from the look on."""
    await stage.world.stop_worker("orders")
    async with stage.stock_locked("bread"), stage.worker_process("orders", "inventory") as process:
        handle = await stage.approved()
        await stage.wait_for_a_lock("inventory")
        process.kill()
    await stage.world.start_worker("orders")
    await stage.happened(handle, "WORKFLOW_TASK_TIMED_OUT")
    await stage.ships(handle)


@_both
async def gateway_loses_its_answers(stage: Stage) -> None:
    for operation in ("authorize", "capture"):
        stage.gateway.fail(operation, 3)
    await stage.ships(await stage.fulfilling())


@_both
async def gateway_loses_a_void(stage: Stage) -> None:
    handle = await stage.fulfilling()
    stage.gateway.fail("void", 3)
    await stage.world.accept(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_both
async def orders_database_away(stage: Stage) -> None:
    """Longer than a look or a transition is retried within its workflow task: the waiting becomes timers."""
    await stage.world.stop_worker("orders")
    handle = await stage.approved()
    async with stage.orders_database_away():
        await stage.world.start_worker("orders")
        await stage.happened(handle, "TIMER_STARTED")
    await stage.reaches(handle, "FULFILLING")
    timers = await stage.count(handle, "TIMER_STARTED")
    gate = stage.gateway.hold("capture")
    ship = await stage.world.send(handle, "ship")
    await stage.world.gateway_is_asked("capture")
    async with stage.orders_database_away():
        gate.set()
        await stage.happened(handle, "TIMER_STARTED", times=timers + 1)
    await stage.world.outcome(handle, ship)
    await stage.ends(handle, "SHIPPED")


@_scenario(steps="far")
async def orders_database_slow(stage: Stage) -> None:
    """A transition that outlives its workflow task: the worker asks for more time, again and again."""
    gate = stage.gateway.hold("authorize")
    handle = await stage.approved()
    await stage.happened(handle, "ACTIVITY_TASK_COMPLETED")
    tasks = await stage.count(handle, "WORKFLOW_TASK_STARTED")
    async with stage.row_locked(handle):
        gate.set()
        await stage.happened(handle, "WORKFLOW_TASK_STARTED", times=tasks + 4)
    await stage.ships(handle)


@_scenario()
async def a_step_meets_a_bug(stage: Stage) -> None:
    """It fails for good, although steps answer refusals: after a while it is started again."""
    stage.gateway.break_down("authorize", Rejection(_UNEXPECTED), 2)
    handle = await stage.approved()
    await stage.happened(handle, "TIMER_STARTED")
    await stage.ships(handle)


# --- Runs that end early, and what goes on after them ---


async def _with_a_ship_that_waits(stage: Stage) -> Handle:
    """FULFILLING, its ship's capture pending on the payments' task queue, which nobody serves."""
    handle = await stage.fulfilling()
    await stage.world.stop_worker("payments")
    await stage.world.send(handle, "ship", "c:ship")
    await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED", times=3)
    return handle


@_both
async def started_again_cancelled_with_a_hold(stage: Stage) -> None:
    """Terminated, then cancelled: the second run shuts both doors, and nothing else."""
    handle = await stage.fulfilling()
    await stage.terminate(handle)
    await stage.world.accept(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_scenario(steps="far")
async def started_again_before_its_stock_commit(stage: Stage) -> None:
    """Terminated when SHIPPED, and completed since: the second run lets the stock go."""
    handle = await stage.fulfilling()
    async with stage.worker_down("inventory"):
        await stage.ship(handle)
        await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED", times=4)
        await stage.terminate(handle)
    await stage.world.accept(handle, "complete")
    await stage.world.look(handle)
    await stage.ends(handle, "COMPLETED")
    assert await stage.world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]


@_scenario(steps="far")
async def started_again_with_a_pending_ship(stage: Stage) -> None:
    handle = await _with_a_ship_that_waits(stage)
    await stage.terminate(handle)
    await stage.world.start_worker("payments")
    await stage.world.look(handle)
    await stage.world.outcome(handle, "c:ship")
    await stage.ends(handle, "SHIPPED")


@_scenario(steps="far")
async def started_again_while_authorizing(stage: Stage) -> None:
    async with stage.worker_down("payments"):
        handle = await stage.approved()
        await stage.happened(handle, "ACTIVITY_TASK_COMPLETED")
        await stage.terminate(handle)
    await stage.world.look(handle)
    await stage.ships(handle)


@_scenario()
async def started_again_when_shipped(stage: Stage) -> None:
    """A look at an order whose run came to its end: its stock is let go again."""
    handle = await stage.fulfilling()
    await stage.ships(handle)
    await stage.world.look(handle)
    await stage.ends(handle, "SHIPPED")


@_both
async def reset_to_its_beginning(stage: Stage) -> None:
    """The order goes on from its row."""
    handle = await stage.fulfilling()
    await stage.reset(handle)
    await stage.ships(handle)


@_scenario(steps="far")
async def reset_between_its_steps(stage: Stage) -> None:
    """One of two answers is recorded: the other step is taken again."""
    async with stage.worker_down("payments"):
        handle = await stage.approved()
        await stage.happened(handle, "ACTIVITY_TASK_COMPLETED")
        await stage.happened(handle, "WORKFLOW_TASK_COMPLETED", times=2)
        await stage.reset(handle, tasks=2)
    await stage.ships(handle)


@_scenario(steps="far")
async def reset_while_its_capture_is_under_way(stage: Stage) -> None:
    handle = await _with_a_ship_that_waits(stage)
    await stage.reset(handle, tasks=await stage.count(handle, "WORKFLOW_TASK_COMPLETED"))
    await stage.world.start_worker("payments")
    await stage.world.outcome(handle, "c:ship")
    await stage.ends(handle, "SHIPPED")


@_both
async def reset_to_before_its_ship(stage: Stage) -> None:
    """The row is SHIPPED: what was captured is not captured again."""
    handle = await stage.fulfilling()
    tasks = await stage.count(handle, "WORKFLOW_TASK_COMPLETED")
    await stage.ships(handle)
    await stage.reset(handle, tasks=tasks + 1)
    await stage.ends(handle, "SHIPPED")
    assert sum(name == "capture" for name, _ in stage.gateway.calls) == 1


@_both
async def reset_when_cancelled(stage: Stage) -> None:
    """A run that came to its end: both doors are shut again, and nothing happens."""
    handle = await stage.fulfilling()
    await stage.world.accept(handle, "cancel")
    await stage.ends(handle, "CANCELLED")
    await stage.reset(handle)
    await stage.ends(handle, "CANCELLED")


@_scenario(continue_after=45)
async def continued_as_new(stage: Stage) -> None:
    """Many looks: the next run begins with one."""
    handle = await stage.fulfilling()
    for _ in range(12):
        await handle.signal("look")
        await stage.idles(handle)
    await stage.continued(handle)
    await stage.ships(handle)


@_scenario(continue_after=45)
async def continued_as_new_by_a_flood(stage: Stage) -> None:
    """Of signals while a ship is pending: it goes on in the run that asked for its capture, and continues after it."""
    gate = stage.gateway.hold("capture")
    stage.gateway.refuse_capture = True
    handle = await stage.fulfilling()
    ship = await stage.world.send(handle, "ship")
    await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED")
    await asyncio.gather(*(handle.signal(f"flood-{number % 7}", number) for number in range(200)))
    gate.set()
    assert (await stage.world.outcome(handle, ship))["refusal"]["slug"] == "capture_refused"
    await stage.continued(handle)
    stage.gateway.refuse_capture = False
    await stage.world.ask(handle, "ship", "c:again")
    await stage.ends(handle, "SHIPPED")


@_scenario(continue_after=45)
async def cancelled_by_the_operator_in_a_flood(stage: Stage) -> None:
    """The operator's cancel is carried out before the workflow continues as new."""
    handle = await stage.fulfilling()
    async with stage.worker_down("orders"):
        for number in range(60):
            await handle.signal("look", number)
        await handle.cancel()
    await stage.ends(handle, "CANCELLED")


# --- Started by hand ---


@_scenario()
async def started_by_hand(stage: Stage) -> None:
    """With arguments that nobody reads, and no search attributes."""
    handle = await stage.place()
    await stage.world.accept(handle, "approve", tells=False)
    await stage.start_by_hand(handle.id, {"status": "SHIPPED", "version": 7}, b"\x00\xff", None)
    await stage.ships(handle)


@_scenario()
async def started_by_hand_for_no_order(stage: Stage) -> None:
    await stage.fails(await stage.start_by_hand(workflow_id(UUID(int=7)), "one", 2, None))


@_scenario()
async def started_by_hand_under_another_name(stage: Stage) -> None:
    await stage.ends(await stage.start_by_hand("not-an-order"), None)


@_scenario()
async def started_by_hand_for_a_draft(stage: Stage) -> None:
    """It fails, so that the approve starts another run."""
    handle = await stage.place()
    await stage.start_by_hand(handle.id)
    await stage.fails(handle)
    await stage.world.accept(handle, "approve")
    await stage.ships(handle)
