"""The failure and compensation matrix: every step, what can go wrong with it, and where the order ends.

Whatever breaks, near or far, the order ends as its customer asked, the money moved at most once, and the books agree.
"""

from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.client import Client

from orderflow.settings import Settings
from orderflow.temporal.converter import DATA_CONVERTER
from support.faults import Faults
from support.runs import PATIENCE_SECONDS, count, ended, far_steps, history, latest_ends, settled
from support.waiting import until
from support.world import Handle, World, order_id
from workflows.calls import Call
from workflows.steps import StepOutcome

#: Local always: they write the order's row.
TRANSITIONS = ("fulfil", "end_ship")
#: Near or far: other services.
STEPS = ("authorize_payment", "reserve_inventory", "capture_payment", "commit_inventory")
UNDOING = ("void_payment", "release_inventory")

both_ways = pytest.mark.parametrize("steps", ["near", "far"], indirect=True)
pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest_asyncio.fixture
async def temporal(settings: Settings, faults: Faults) -> Client:
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=DATA_CONVERTER,
        interceptors=[faults],
    )


async def _fulfilling(world: World) -> Handle:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    return handle


async def _complete(world: World) -> Handle:
    handle = await _fulfilling(world)
    assert (await world.ask(handle, "ship"))["refusal"] is None
    assert await ended(handle) == ("SHIPPED", 4)
    assert (await world.ask(handle, "complete"))["refusal"] is None
    return handle


async def _is_completed(world: World, handle: Handle) -> None:
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]
    assert world.gateway.state[order_id(handle)] == "captured"
    assert await world.on_hand("bread") == (8, 0)


async def _is_undone(world: World, handle: Handle) -> None:
    assert (await world.statuses(handle))[-1] == "CANCELLED"
    assert (await world.statuses(handle, "payments"))[-1] in ("VOIDED", "DECLINED")
    assert (await world.statuses(handle, "inventory"))[-1] in ("RELEASED", "REJECTED")
    assert world.gateway.state.get(order_id(handle), "voided") == "voided"
    assert await world.on_hand("bread") == (10, 0)


@both_ways
@pytest.mark.parametrize("step", [*TRANSITIONS, *STEPS])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_step_that_breaks_is_repeated_and_happens_once(
    world: World, faults: Faults, moment: str, step: str
) -> None:
    """before: unavailable, or its worker killed before. after: timed out after it happened, or killed after."""
    getattr(faults, moment)(step)
    handle = await _complete(world)
    await _is_completed(world, handle)
    assert faults.attempts[step] == 3


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_look_that_breaks_is_repeated(world: World, faults: Faults, moment: str) -> None:
    getattr(faults, moment)("look", 3)
    handle = await _complete(world)
    await _is_completed(world, handle)


@both_ways
@pytest.mark.parametrize("step", UNDOING)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_undoing_that_breaks_is_repeated_until_it_is_done(
    world: World, faults: Faults, moment: str, step: str
) -> None:
    getattr(faults, moment)(step)
    handle = await _fulfilling(world)
    await world.ask(handle, "cancel")
    await ended(handle)
    await _is_undone(world, handle)
    assert faults.attempts[step] == 3


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_record_of_a_refusal_that_breaks_is_repeated(world: World, faults: Faults, moment: str) -> None:
    getattr(faults, moment)("fail")
    handle = await world.place(token="tok_declined")
    await world.ask(handle, "approve")
    assert await ended(handle) == ("CANCELLED", 3)
    await _is_undone(world, handle)
    assert faults.attempts["fail"] == 3


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_record_of_a_refused_ship_that_breaks_is_repeated(world: World, faults: Faults, moment: str) -> None:
    world.gateway.refuse_capture = True
    getattr(faults, moment)("end_ship")
    handle = await _fulfilling(world)
    assert (await world.ask(handle, "ship"))["refusal"]["slug"] == "capture_refused"
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)
    await _is_undone(world, handle)
    assert faults.attempts["end_ship"] == 3


@both_ways
@pytest.mark.parametrize("step", [*TRANSITIONS, "look", "authorize_payment", "commit_inventory"])
async def test_a_step_that_meets_a_bug_is_started_again(
    world: World, faults: Faults, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even repeating it helps, until somebody has mended the bug: the order waits, and goes on by itself."""
    monkeypatch.setattr("workflows.order_workflow.AFTER_A_BUG", timedelta(seconds=0.3))
    faults.bug(step, 2)
    handle = await _complete(world)
    await _is_completed(world, handle)
    assert count(await history(handle), "TIMER_FIRED") >= 1


async def test_an_answer_that_the_workflow_cannot_read_is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's task ends with an error that is nobody's failure: it does not count as running for ever."""
    monkeypatch.setattr("workflows.order_workflow.AFTER_A_BUG", timedelta(seconds=0.3))
    taken, attempts = Call.outcome, 0

    async def unreadable(call: Call, *, near: bool) -> StepOutcome:
        nonlocal attempts
        outcome = await taken(call, near=near)
        attempts += call.summary.startswith("authorize payment")
        if attempts == 1 and call.summary.startswith("authorize payment"):
            raise RuntimeError("not a StepOutcome")
        return outcome

    monkeypatch.setattr(Call, "outcome", unreadable)
    handle = await _complete(world)
    await _is_completed(world, handle)
    assert attempts == 2


# --- Frozen, and woken too late ---


@both_ways
@pytest.mark.parametrize("step", STEPS)
async def test_a_frozen_step_that_wakes_late_changes_nothing(world: World, faults: Faults, step: str) -> None:
    gate = faults.freeze(step)
    handle = await _complete(world)
    gate.set()
    await until(lambda: _woken(faults, step))
    await _is_completed(world, handle)
    # Near it stood still in the orders worker, and its second attempt went to its service.
    assert any(far.endswith(step) for far in far_steps(await history(handle)))


@both_ways
@pytest.mark.parametrize("step", ["authorize_payment", "reserve_inventory"])
@pytest.mark.parametrize("remembers", [True, False], ids=["gateway_remembers_voids", "gateway_forgets"])
async def test_a_step_that_wakes_after_the_cancel_undoes_itself(
    world: World, faults: Faults, step: str, remembers: bool
) -> None:
    world.gateway.remembers_voids = remembers
    gate = faults.freeze(step)
    handle = await world.place()
    await world.ask(handle, "approve")
    await faults.arrived[step].wait()
    await world.ask(handle, "cancel")
    await ended(handle)
    gate.set()
    await until(lambda: _woken(faults, step))
    await _is_undone(world, handle)


@both_ways
async def test_an_authorization_that_overtakes_a_void_without_an_answer_is_undone(world: World) -> None:
    """The gateway voided, nobody heard of it, and it forgets that: the door keeps the authorization out, not luck."""
    world.gateway.remembers_voids = False
    gate = world.gateway.hold("authorize")
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.gateway_is_asked("authorize")
    world.gateway.fail("void", 4)  # for about three seconds
    await world.ask(handle, "cancel")
    await world.gateway_is_asked("void")
    gate.set()
    await ended(handle)
    await _is_undone(world, handle)


async def _woken(faults: Faults, step: str) -> bool:
    return step in faults.woken


# --- Commands that meet a step ---


@both_ways
@pytest.mark.parametrize("step", ["look", "authorize_payment", "reserve_inventory", "fulfil"])
async def test_a_cancel_at_that_very_moment_leaves_nothing_held(world: World, faults: Faults, step: str) -> None:
    gate = faults.hold(step)
    handle = await world.place()
    await world.ask(handle, "approve")
    await faults.arrived[step].wait()
    assert (await world.ask(handle, "cancel"))["refusal"] is None  # it waits for nobody
    gate.set()
    await ended(handle)
    await _is_undone(world, handle)
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "CANCELLED"]


@both_ways
@pytest.mark.parametrize("step", ["capture_payment", "end_ship"])
async def test_a_cancel_while_money_moves_is_refused(world: World, faults: Faults, step: str) -> None:
    handle = await _fulfilling(world)
    gate = faults.hold(step)
    ship = await world.send(handle, "ship")
    await faults.arrived[step].wait()
    assert (await world.ask(handle, "cancel"))["refusal"]["slug"] == "shipment_in_progress"
    gate.set()
    assert (await world.outcome(handle, ship))["refusal"] is None
    await world.ask(handle, "complete")
    await ended(handle)
    await _is_completed(world, handle)


@pytest.mark.parametrize("step", ["commit_inventory"])
async def test_a_complete_does_not_wait_for_the_stock_and_the_workflow_does(
    world: World, faults: Faults, step: str
) -> None:
    handle = await _fulfilling(world)
    gate = faults.hold(step)
    await world.ask(handle, "ship")
    await faults.arrived[step].wait()
    assert (await world.ask(handle, "complete"))["version"] == 5
    assert await world.on_hand("bread") == (10, 2)
    gate.set()
    await ended(handle)
    await _is_completed(world, handle)


@both_ways
@pytest.mark.parametrize("step", ["look", "capture_payment", "end_ship"])
async def test_a_ship_that_is_sent_again_captures_once_and_is_waited_for(
    world: World, faults: Faults, step: str
) -> None:
    handle = await _fulfilling(world)
    await settled(handle)
    gate = faults.hold(step)
    faults.arrived[step].clear()
    ship = await world.send(handle, "ship")
    await faults.arrived[step].wait()
    for _ in range(2):
        await world.send(handle, "ship", ship)
        await world.look(handle)
    gate.set()
    assert (await world.outcome(handle, ship))["refusal"] is None
    await world.ask(handle, "complete")
    await ended(handle)
    await _is_completed(world, handle)
    assert far_steps(await history(handle)).count("payments/capture_payment") <= 1
    assert len({key for name, key in world.gateway.calls if name == "capture"}) == 1


@pytest.mark.parametrize(("first", "second"), [("ship", "cancel"), ("cancel", "ship")])
async def test_ship_against_cancel_in_each_order(world: World, first: str, second: str) -> None:
    handle = await _fulfilling(world)
    won = await world.accept(handle, first, tells=False)
    lost = await world.accept(handle, second, tells=False)
    assert won.outcome.state == ("pending" if first == "ship" else "done")
    assert lost.outcome.refusal is not None
    assert lost.outcome.refusal.status == 409
    await world.look(handle)
    if first == "ship":
        assert (await world.outcome(handle, "c:ship"))["refusal"] is None
        await world.ask(handle, "complete")
        await ended(handle)
        await _is_completed(world, handle)
    else:
        await ended(handle)
        await _is_undone(world, handle)


# --- Workers that die ---


@pytest.mark.parametrize("step", ["look", "fulfil"])
async def test_a_worker_lost_between_a_commit_and_its_record_with_a_look_queued(
    world: World, faults: Faults, step: str
) -> None:
    """The row has moved, the history does not know, and the next command has moved it again."""
    faults.after(step, times=1)
    handle = await world.place()
    await world.send(handle, "approve")
    await faults.arrived[step].wait()
    assert (await world.ask(handle, "cancel"))["refusal"] is None
    await world.stop_worker("orders")
    await world.start_worker("orders")
    await ended(handle)
    await _is_undone(world, handle)


@pytest.mark.parametrize("step", ["authorize_payment", "fulfil", "capture_payment", "end_ship", "commit_inventory"])
async def test_a_worker_killed_inside_a_task_repeats_it_harmlessly(world: World, faults: Faults, step: str) -> None:
    """What ran near in that task is not recorded: it happens again, under the same command ids."""
    before_the_ship = step in ("authorize_payment", "fulfil")
    handle = await world.place() if before_the_ship else await _fulfilling(world)
    gate = faults.hold(step)
    await world.send(handle, "approve" if before_the_ship else "ship")
    await faults.arrived[step].wait()
    await world.kill_worker("orders")
    gate.set()
    await world.start_worker("orders")
    if before_the_ship:
        # The server gives the task to another worker after 10 s.
        await until(lambda: _is(world, handle, "FULFILLING"), seconds=PATIENCE_SECONDS)
        await world.send(handle, "ship")
    await until(lambda: _is(world, handle, "SHIPPED"), seconds=PATIENCE_SECONDS)
    await world.ask(handle, "complete")
    await latest_ends(handle)
    await _is_completed(world, handle)
    assert faults.attempts[step] >= 2
    for operation in ("authorize", "capture"):
        assert len({key for name, key in world.gateway.calls if name == operation}) == 1


async def _is(world: World, handle: Handle, status: str) -> bool:
    return (await world.statuses(handle))[-1] == status
