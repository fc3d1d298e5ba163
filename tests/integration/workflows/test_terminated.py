"""Runs that somebody terminated, in any state: the row knows what is left, and the next look does it."""

from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio
from temporalio.client import Client

from orderflow.settings import Settings
from orderflow.temporal.client import converter_of
from support.faults import Faults
from support.runs import PATIENCE_SECONDS, ended, is_pending, latest_ends, pending_steps, settled
from support.waiting import until
from support.world import Handle, World, order_id

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest_asyncio.fixture
async def temporal(settings: Settings, faults: Faults) -> Client:
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=converter_of(settings),
        interceptors=[faults],
    )


async def _fulfilling(world: World) -> Handle:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await settled(handle)
    return handle


async def _terminate(handle: Handle) -> None:
    await handle.terminate(reason="by mistake")


async def _before_its_first_task(world: World, faults: Faults) -> Handle:
    await world.stop_worker("orders")
    handle = await world.place()
    await world.ask(handle, "approve")
    await _terminate(handle)
    await world.start_worker("orders")
    return handle


async def _a_near_step_under_way(world: World, faults: Faults) -> Handle:
    gate = faults.hold("authorize_payment")
    handle = await world.place()
    await world.ask(handle, "approve")
    await faults.arrived["authorize_payment"].wait()
    await _terminate(handle)
    gate.set()
    return handle


async def _a_far_step_pending(world: World, faults: Faults) -> Handle:
    world.gateway.miss("authorize", 10**6)
    handle = await world.place()
    await world.ask(handle, "approve")
    await is_pending(world, handle, "authorize_payment", "the call was lost")
    await _terminate(handle)
    world.gateway.miss("authorize", 0)
    return handle


async def _both_stand_and_nothing_says_so(world: World, faults: Faults) -> Handle:
    gate = faults.hold("fulfil")
    handle = await world.place()
    await world.ask(handle, "approve")
    await faults.arrived["fulfil"].wait()
    await _terminate(handle)
    gate.set()
    return handle


async def _a_refusal_that_nothing_records(world: World, faults: Faults) -> Handle:
    gate = faults.hold("fail")
    handle = await world.place(token="tok_declined")
    await world.ask(handle, "approve")
    await faults.arrived["fail"].wait()
    await _terminate(handle)
    gate.set()
    return handle


async def _fulfilling_and_idle(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    await _terminate(handle)
    return handle


async def _a_ship_that_no_run_has_seen(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    await world.stop_worker("orders")
    await world.send(handle, "ship")
    await _terminate(handle)
    await world.start_worker("orders")
    return handle


async def _a_ship_whose_capture_is_under_way(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    gate = world.gateway.hold("capture")
    await world.send(handle, "ship")

    async def far() -> bool:
        return "capture_payment" in await pending_steps(world, handle)

    await until(far, seconds=20)
    await _terminate(handle)
    gate.set()
    return handle


async def _a_ship_that_is_captured_and_not_recorded(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    gate = faults.hold("end_ship")
    await world.send(handle, "ship")
    await faults.arrived["end_ship"].wait()
    await _terminate(handle)
    gate.set()
    return handle


async def _shipped_before_its_stock_commit(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    gate = faults.hold("commit_inventory")
    await world.ask(handle, "ship")
    await faults.arrived["commit_inventory"].wait()
    await _terminate(handle)
    gate.set()
    return handle


async def _completed_before_its_stock_commit(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    gate = faults.hold("commit_inventory")
    await world.ask(handle, "ship")
    await faults.arrived["commit_inventory"].wait()
    await world.ask(handle, "complete")
    await _terminate(handle)
    gate.set()
    return handle


async def _cancelled_with_a_hold(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    gate = faults.hold("void_payment")
    await world.ask(handle, "cancel")
    await faults.arrived["void_payment"].wait()
    await _terminate(handle)
    gate.set()
    return handle


async def _cancelled_and_no_run_has_seen_it(world: World, faults: Faults) -> Handle:
    handle = await _fulfilling(world)
    await world.accept(handle, "cancel", tells=False)
    await _terminate(handle)
    return handle


State = Callable[[World, Faults], Awaitable[Handle]]

#: Each state with the status that its order has when nothing is left to do but what a client asks for.
STATES: list[tuple[State, str]] = [
    (_before_its_first_task, "FULFILLING"),
    (_a_near_step_under_way, "FULFILLING"),
    (_a_far_step_pending, "FULFILLING"),
    (_both_stand_and_nothing_says_so, "FULFILLING"),
    (_a_refusal_that_nothing_records, "CANCELLED"),
    (_fulfilling_and_idle, "FULFILLING"),
    (_a_ship_that_no_run_has_seen, "SHIPPED"),
    (_a_ship_whose_capture_is_under_way, "SHIPPED"),
    (_a_ship_that_is_captured_and_not_recorded, "SHIPPED"),
    (_shipped_before_its_stock_commit, "SHIPPED"),
    (_completed_before_its_stock_commit, "COMPLETED"),
    (_cancelled_with_a_hold, "CANCELLED"),
    (_cancelled_and_no_run_has_seen_it, "CANCELLED"),
]


@pytest.mark.parametrize(("state", "status"), STATES, ids=[state.__name__[1:] for state, _ in STATES])
async def test_a_terminated_run_is_started_again_from_the_row(
    world: World, faults: Faults, state: State, status: str
) -> None:
    handle = await state(world, faults)
    run = (await handle.describe()).run_id
    await world.look(handle)  # what reconciliation does
    assert (await handle.describe()).run_id != run
    await until(lambda: _is(world, handle, status), seconds=PATIENCE_SECONDS)
    await _ends_well(world, handle, status)


@pytest.mark.parametrize(
    ("state", "command"),
    [(_fulfilling_and_idle, "ship"), (_fulfilling_and_idle, "cancel")],
    ids=["ship", "cancel"],
)
async def test_the_next_command_starts_a_terminated_run_again(
    world: World, faults: Faults, state: State, command: str
) -> None:
    handle = await state(world, faults)
    run = (await handle.describe()).run_id
    assert (await world.ask(handle, command))["refusal"] is None
    assert (await handle.describe()).run_id != run
    await _ends_well(world, handle, {"ship": "SHIPPED", "cancel": "CANCELLED"}[command])


async def _is(world: World, handle: Handle, status: str) -> bool:
    return (await world.statuses(handle))[-1] == status


async def _ends_well(world: World, handle: Handle, status: str) -> None:
    """The rest of the order's life, and the books."""
    if status == "FULFILLING":
        assert (await world.ask(handle, "ship"))["refusal"] is None
        status = "SHIPPED"
    await latest_ends(handle)
    assert (await ended(world.client.get_workflow_handle(handle.id)))[0] == status
    assert (await world.statuses(handle))[-1] == status
    if status == "SHIPPED":
        assert (await world.ask(handle, "complete"))["refusal"] is None
    if status != "CANCELLED":
        assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
        assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
        assert await world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]
        assert world.gateway.state[order_id(handle)] == "captured"
        assert await world.on_hand("bread") == (8, 0)
    else:
        assert (await world.statuses(handle, "payments"))[-1] in ("VOIDED", "DECLINED")
        assert world.gateway.state.get(order_id(handle), "voided") == "voided"
        assert await world.on_hand("bread") == (10, 0)
    for operation in ("authorize", "capture"):
        assert len({key for name, key in world.gateway.calls if name == operation}) <= 1
