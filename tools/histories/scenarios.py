"""Every path that an order may take, as a recipe for a history. A path that is not here is not held by the gate."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from support.orders import an_order
from support.waiting import until
from tools.histories.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """How to play one path.

    ``draft_ttl_seconds``: when its drafts expire. ``continue_after``: the number of events after which the server
    suggests to continue as new (None: the server's own).
    """

    play: Callable[[Stage], Awaitable[None]]
    draft_ttl_seconds: int = 86_400
    continue_after: int | None = None


SCENARIOS: Final[dict[str, Scenario]] = {}


def _scenario(
    *, draft_ttl_seconds: int = 86_400, continue_after: int | None = None
) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[Stage], Awaitable[None]]]:
    def register(play: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
        SCENARIOS[play.__name__] = Scenario(play, draft_ttl_seconds, continue_after)
        return play

    return register


# --- To the end ---


@_scenario()
async def happy_path(stage: Stage) -> None:
    await stage.ship_and_complete(await stage.fulfilling())


@_scenario()
async def started_by_hand(stage: Stage) -> None:
    handle = await stage.start_by_hand(an_order(("bread", 2, 150), ("milk", 1, 99)))
    await stage.world.ask(handle, "approve")
    await stage.reaches(handle, "FULFILLING")
    await stage.ship_and_complete(handle)


# --- A step says no ---


@_scenario()
async def payment_declined(stage: Stage) -> None:
    await stage.ends(await stage.approved(token="tok_declined"), "CANCELLED")


@_scenario()
async def insufficient_funds(stage: Stage) -> None:
    await stage.ends(await stage.approved(token="tok_insufficient_funds"), "CANCELLED")


@_scenario()
async def out_of_stock(stage: Stage) -> None:
    await stage.ends(await stage.approved(an_order(("milk", 2, 99))), "CANCELLED")


@_scenario()
async def unknown_sku(stage: Stage) -> None:
    await stage.ends(await stage.approved(an_order(("unicorn", 1, 1))), "CANCELLED")


@_scenario()
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
async def declined_while_inventory_is_down(stage: Stage) -> None:
    """The reservation comes late, and finds its door shut."""
    async with stage.worker_down("inventory"):
        handle = await stage.approved(token="tok_declined")
        await stage.reaches(handle, "CANCELLED")
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def placing_refused(stage: Stage) -> None:
    """The database refuses what the API would have refused: no row, and the workflow is over."""
    handle = await stage.start_by_hand(an_order(("bread", 9_999, 10**12)))
    await stage.ends(handle, None)


# --- Cancelled ---


@_scenario()
async def cancelled_draft(stage: Stage) -> None:
    handle = await stage.place()
    await stage.world.ask(handle, "cancel", data={"reason": "customer", "note": "changed my mind"})
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def cancelled_while_authorizing(stage: Stage) -> None:
    gate = stage.gateway.hold("authorize")
    stage.gateway.remembers_voids = False
    handle = await stage.approved()
    await stage.world.gateway_is_asked("authorize")
    await stage.world.ask(handle, "cancel")

    async def voided() -> bool:
        return (await stage.world.statuses(handle, "payments"))[-1:] == ["VOIDED"]

    await until(voided)
    gate.set()
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def cancelled_while_both_services_are_down(stage: Stage) -> None:
    async with stage.worker_down("payments"), stage.worker_down("inventory"):
        handle = await stage.approved()
        await stage.world.ask(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def cancelled_fulfilling(stage: Stage) -> None:
    handle = await stage.fulfilling()
    await stage.world.ask(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def cancel_and_ship_refused_while_shipping(stage: Stage) -> None:
    gate = stage.gateway.hold("capture")
    handle = await stage.fulfilling()
    ship = await stage.world.send(handle, "ship", "c:first")
    await stage.world.gateway_is_asked("capture")
    for name in ("cancel", "ship"):
        assert (await stage.world.ask(handle, name, f"c:late-{name}"))["refusal"]["slug"] == "shipment_in_progress"
    gate.set()
    await stage.world.outcome(handle, ship)
    await stage.world.ask(handle, "complete")
    await stage.ends(handle, "COMPLETED")


@_scenario()
async def cancelled_by_the_operator(stage: Stage) -> None:
    handle = await stage.fulfilling()
    await handle.cancel()
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def cancelled_by_the_operator_before_its_first_task(stage: Stage) -> None:
    async with stage.worker_down("orders"):
        handle = await stage.place()
        await handle.cancel()
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def operators_cancel_refused(stage: Stage) -> None:
    handle = await stage.fulfilling()
    await stage.world.ask(handle, "ship")
    await handle.cancel()
    assert (await stage.world.outcome(handle, "w:cancel"))["refusal"]["slug"] == "illegal_transition"
    await stage.world.ask(handle, "complete")
    await stage.ends(handle, "COMPLETED")


@_scenario(draft_ttl_seconds=1)
async def draft_expired(stage: Stage) -> None:
    await stage.ends(await stage.place(), "CANCELLED")


@_scenario(draft_ttl_seconds=2)
async def approved_as_it_expires(stage: Stage) -> None:
    """The timer and the approve reach the workflow together: the approve is first, the expiry refused."""
    handle = await stage.place()
    await stage.happened(handle, "TIMER_STARTED")
    async with stage.worker_down("orders"):
        await stage.happened(handle, "TIMER_FIRED")
        await stage.world.send(handle, "approve")
    await stage.reaches(handle, "FULFILLING")
    assert (await stage.world.outcome(handle, "w:expire"))["refusal"]["slug"] == "illegal_transition"
    await stage.ship_and_complete(handle)


# --- Commands that are refused, repeated or unreadable ---


@_scenario()
async def capture_refused_then_shipped(stage: Stage) -> None:
    handle = await stage.fulfilling()
    stage.gateway.refuse_capture = True
    assert (await stage.world.ask(handle, "ship", "c:first"))["refusal"]["slug"] == "capture_refused"
    stage.gateway.refuse_capture = False
    await stage.ship_and_complete(handle)


@_scenario()
async def illegal_and_repeated_commands(stage: Stage) -> None:
    handle = await stage.place()
    assert (await stage.world.ask(handle, "ship", "c:early"))["refusal"]["slug"] == "illegal_transition"
    for _ in range(3):
        await stage.world.send(handle, "approve", "c:1")
    await stage.reaches(handle, "FULFILLING")
    await stage.world.send(handle, "approve", "c:1")
    await stage.ship_and_complete(handle)


@_scenario()
async def expected_version_refused(stage: Stage) -> None:
    handle = await stage.fulfilling()
    for name in ("ship", "cancel"):
        refused = await stage.world.ask(handle, name, f"c:old-{name}", expected_version=1)
        assert refused["refusal"]["slug"] == "version_conflict"
    await stage.world.ask(handle, "cancel", expected_version=3)
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def signals_without_arguments(stage: Stage) -> None:
    handle = await stage.place()
    for signal, status in (("approve", "FULFILLING"), ("ship", "SHIPPED")):
        await handle.signal(signal)
        await stage.reaches(handle, status)
    await handle.signal("complete")
    await stage.ends(handle, "COMPLETED")


@_scenario()
async def signals_that_cannot_be_read(stage: Stage) -> None:
    handle = await stage.place()
    signals: list[tuple[str, list[object]]] = [
        ("approve", ["not an object"]),
        ("approve", [{"command_id": "w:capture"}]),
        ("approve", [{}, {}]),
        ("aprove", []),
        ("cancel", [{"data": {"reason": "just because"}}]),
        ("cancel", [{"data": {"note": "a\x00b"}}]),
    ]
    for number, (name, arguments) in enumerate(signals, start=1):
        await handle.signal(name, args=arguments)
        assert (await stage.world.outcome(handle, f"s:{number}"))["refusal"]["slug"] == "invalid"
    await stage.world.ask(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def ship_sent_twice(stage: Stage) -> None:
    """The second comes while the first waits for its capture: one capture."""
    gate = stage.gateway.hold("capture")
    handle = await stage.fulfilling()
    await stage.world.send(handle, "ship", "c:ship")
    await stage.world.gateway_is_asked("capture")
    await stage.world.send(handle, "ship", "c:ship")
    assert (await stage.world.ask(handle, "cancel"))["refusal"]["slug"] == "shipment_in_progress"
    gate.set()
    await stage.world.outcome(handle, "c:ship")
    await stage.world.ask(handle, "complete")
    await stage.ends(handle, "COMPLETED")
    assert [name for name, _ in stage.gateway.calls] == ["authorize", "capture"]


@_scenario()
async def signals_that_no_database_takes(stage: Stage) -> None:
    handle = await stage.place()
    bad: list[object] = [
        b"bytes",
        {"request_hash": "a\x00"},
        {"correlation_id": "a\x00"},
        {"expected_version": 2**40},
    ]
    for number, argument in enumerate(bad, start=1):
        await handle.signal("approve", argument)
        assert (await stage.world.outcome(handle, f"s:{number}"))["refusal"]["slug"] == "invalid"
    await stage.world.ask(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


# --- Outages ---


@_scenario()
async def payments_worker_down(stage: Stage) -> None:
    async with stage.worker_down("payments"):
        handle = await stage.approved()
        await stage.happened(handle, "ACTIVITY_TASK_COMPLETED")
    await stage.reaches(handle, "FULFILLING")
    async with stage.worker_down("payments"):
        ship = await stage.world.send(handle, "ship")
        await stage.happened(handle, "ACTIVITY_TASK_SCHEDULED", times=3)
    await stage.world.outcome(handle, ship)
    await stage.world.ask(handle, "complete")
    await stage.ends(handle, "COMPLETED")


@_scenario()
async def inventory_worker_down(stage: Stage) -> None:
    async with stage.worker_down("inventory"):
        handle = await stage.approved()
        await stage.happened(handle, "ACTIVITY_TASK_COMPLETED")
    await stage.reaches(handle, "FULFILLING")
    async with stage.worker_down("inventory"):
        await stage.world.ask(handle, "ship")
        await stage.world.ask(handle, "complete")  # its workflow waits for the stock's commit
    await stage.ends(handle, "COMPLETED")


@_scenario()
async def orders_worker_down_with_a_queue(stage: Stage) -> None:
    async with stage.worker_down("orders"):
        handle = await stage.place()
        for name, command_id in (("approve", "c:1"), ("approve", "c:1"), ("cancel", "c:2"), ("ship", "c:3")):
            await stage.world.send(handle, name, command_id)
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def orders_worker_down_between_commands(stage: Stage) -> None:
    """Each time the order's history is replayed by a worker that never saw it."""
    handle = await stage.place()
    for name, status in (("approve", "FULFILLING"), ("ship", "SHIPPED")):
        async with stage.worker_down("orders"):
            await stage.world.send(handle, name)
        await stage.reaches(handle, status)
    await stage.world.ask(handle, "complete")
    await stage.ends(handle, "COMPLETED")


@_scenario()
async def orders_worker_killed(stage: Stage) -> None:
    """In the middle of a transition: its workflow task times out, and another worker carries it out."""
    handle = await stage.place()
    await stage.reaches(handle, "DRAFT")
    await stage.world.stop_worker("orders")
    async with stage.row_locked(handle), stage.orders_worker_process() as process:
        await stage.world.send(handle, "approve")
        await stage.somebody_waits_for_a_lock()
        process.kill()
    await stage.world.start_worker("orders")
    await stage.happened(handle, "WORKFLOW_TASK_TIMED_OUT")
    await stage.reaches(handle, "FULFILLING")
    await stage.ship_and_complete(handle)


@_scenario()
async def gateway_loses_its_answers(stage: Stage) -> None:
    for operation in ("authorize", "capture"):
        stage.gateway.fail(operation, 3)
    await stage.ship_and_complete(await stage.fulfilling())


@_scenario()
async def gateway_loses_a_void(stage: Stage) -> None:
    handle = await stage.fulfilling()
    stage.gateway.fail("void", 3)
    await stage.world.ask(handle, "cancel")
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def orders_database_away(stage: Stage) -> None:
    """Longer than a transition is retried within its workflow task: the waiting becomes timers."""
    async with stage.orders_database_away():
        handle = await stage.place()
        await stage.happened(handle, "TIMER_STARTED")
    await stage.happened(handle, "TIMER_STARTED", times=2)  # the draft's
    timers = await stage.count(handle, "TIMER_STARTED")
    async with stage.orders_database_away():
        await stage.world.send(handle, "approve")
        await stage.happened(handle, "TIMER_STARTED", times=timers + 1)
    await stage.reaches(handle, "FULFILLING")
    await stage.ship_and_complete(handle)


@_scenario()
async def orders_database_slow(stage: Stage) -> None:
    """A transition that outlives its workflow task: the worker asks for more time, again and again."""
    handle = await stage.fulfilling()
    tasks = await stage.count(handle, "WORKFLOW_TASK_STARTED")
    async with stage.row_locked(handle):
        await stage.world.send(handle, "cancel")
        await stage.happened(handle, "WORKFLOW_TASK_STARTED", times=tasks + 3)
    await stage.ends(handle, "CANCELLED")


# --- More than one run ---


@_scenario(continue_after=45)
async def continued_as_new(stage: Stage) -> None:
    handle = await stage.fulfilling()
    for number in range(6):
        await stage.world.ask(handle, "ship", f"c:{number}", expected_version=1)
    await stage.continued(handle)
    await stage.ship_and_complete(handle)


@_scenario(continue_after=12, draft_ttl_seconds=3)
async def continued_as_new_as_a_draft(stage: Stage) -> None:
    """Its timer goes on in the next run."""
    handle = await stage.place()
    for number in range(3):
        await stage.world.ask(handle, "ship", f"c:{number}")
    await stage.continued(handle)
    await stage.ends(handle, "CANCELLED")


@_scenario()
async def reset_to_its_beginning(stage: Stage) -> None:
    """Every signal comes again, every answer is the recorded one, and the order goes on from its row."""
    handle = await stage.fulfilling()
    again = await stage.reset(handle)
    await stage.ship_and_complete(again)


@_scenario()
async def another_workflow_of_a_fulfilling_order(stage: Stage) -> None:
    order = an_order(("bread", 2, 150))
    first = await stage.approved(order)
    await stage.reaches(first, "FULFILLING")
    await first.terminate()
    await stage.ship_and_complete(await stage.start_by_hand(order, suffix="-again"))


@_scenario()
async def another_workflow_of_an_approved_order(stage: Stage) -> None:
    order = an_order(("bread", 2, 150))
    async with stage.worker_down("payments"):
        first = await stage.approved(order)
        await first.terminate()
    await stage.ship_and_complete_when_fulfilling(await stage.start_by_hand(order, suffix="-again"))


@_scenario()
async def another_workflow_of_a_cancelled_order(stage: Stage) -> None:
    """Both doors are shut again, and nothing else."""
    order = an_order(("bread", 2, 150))
    first = await stage.approved(order)
    await stage.reaches(first, "FULFILLING")
    await stage.world.ask(first, "cancel")
    await stage.ends(first, "CANCELLED")
    await stage.ends(await stage.start_by_hand(order, suffix="-again"), "CANCELLED")
