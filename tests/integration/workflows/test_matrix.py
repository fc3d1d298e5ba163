"""The failure and compensation matrix: every step, what can go wrong with it, and where the order ends.

Whatever breaks, the order ends as its customer asked, the money moved at most once, and the books agree.
"""

from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.client import Client

from orderflow.settings import Settings
from orderflow.temporal.converter import DATA_CONVERTER
from support.faults import Faults
from support.waiting import until
from support.world import Handle, World, order_id
from workflows.options import REMOTE

#: Local: they write the order's row. Remote: other services.
TRANSITIONS = ("place_order", "approve", "fulfil", "accept_ship", "record_ship", "complete")
STEPS = ("authorize_payment", "reserve_inventory", "capture_payment", "commit_inventory")
UNDOING = ("cancel", "void_payment", "release_inventory")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest_asyncio.fixture
async def temporal(settings: Settings, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Client:
    # A frozen attempt is given up after a second, not after 15.
    monkeypatch.setitem(REMOTE, "start_to_close_timeout", timedelta(seconds=1))
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=DATA_CONVERTER,
        interceptors=[faults],
    )


async def _complete(world: World, handle: Handle) -> None:
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    assert (await world.ask(handle, "ship"))["refusal"] is None
    assert (await world.ask(handle, "complete"))["refusal"] is None
    assert (await handle.result()).status == "COMPLETED"


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


@pytest.mark.parametrize("step", [*TRANSITIONS, *STEPS])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_step_that_breaks_is_repeated_and_happens_once(
    world: World, faults: Faults, moment: str, step: str
) -> None:
    """before: unavailable, or its worker killed before. after: timed out after it happened, or killed after."""
    getattr(faults, moment)(step)
    handle = await world.place()
    await _complete(world, handle)
    await _is_completed(world, handle)
    assert faults.attempts[step] == 3


@pytest.mark.parametrize("step", UNDOING)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_undoing_that_breaks_is_repeated_until_it_is_done(
    world: World, faults: Faults, moment: str, step: str
) -> None:
    getattr(faults, moment)(step)
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await world.ask(handle, "cancel")
    await handle.result()
    await _is_undone(world, handle)
    assert faults.attempts[step] == 3


@pytest.mark.parametrize("step", STEPS)
async def test_a_frozen_step_that_wakes_late_changes_nothing(world: World, faults: Faults, step: str) -> None:
    gate = faults.freeze(step)
    handle = await world.place()
    await _complete(world, handle)
    gate.set()
    await until(lambda: _woken(faults, step))
    await _is_completed(world, handle)


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
    gate.set()
    await handle.result()
    await until(lambda: _woken(faults, step))
    await _is_undone(world, handle)


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
    await handle.result()
    await _is_undone(world, handle)


async def _woken(faults: Faults, step: str) -> bool:
    return step in faults.woken


@pytest.mark.parametrize("step", ["authorize_payment", "reserve_inventory", "fulfil"])
async def test_a_cancel_at_that_very_moment_leaves_nothing_held(world: World, faults: Faults, step: str) -> None:
    gate = faults.hold(step)
    handle = await world.place()
    await world.ask(handle, "approve")
    await faults.arrived[step].wait()
    cancelled = await world.send(handle, "cancel")
    if step != "fulfil":  # a cancel never waits for another service
        await world.outcome(handle, cancelled)
    gate.set()
    await world.outcome(handle, cancelled)
    await handle.result()
    await _is_undone(world, handle)


@pytest.mark.parametrize("step", ["capture_payment", "record_ship"])
async def test_a_cancel_while_money_moves_is_refused(world: World, faults: Faults, step: str) -> None:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    gate = faults.hold(step)
    ship = await world.send(handle, "ship")
    await faults.arrived[step].wait()
    cancel = await world.send(handle, "cancel")
    gate.set()
    assert (await world.outcome(handle, ship))["refusal"] is None
    assert (await world.outcome(handle, cancel))["refusal"]["slug"] in ("shipment_in_progress", "illegal_transition")
    await world.ask(handle, "complete")
    await handle.result()
    await _is_completed(world, handle)


@pytest.mark.parametrize("step", ["accept_ship", "capture_payment"])
async def test_a_ship_that_is_sent_again_captures_once_and_is_waited_for(
    world: World, faults: Faults, step: str
) -> None:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    gate = faults.hold(step)
    ship = await world.send(handle, "ship")
    await faults.arrived[step].wait()
    for _ in range(2):
        await world.send(handle, "ship", ship)
    gate.set()
    assert (await world.outcome(handle, ship))["refusal"] is None
    await world.ask(handle, "complete")
    await handle.result()
    await _is_completed(world, handle)
    history = await handle.fetch_history()
    scheduled = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert scheduled.count("capture_payment") == 1


@pytest.mark.parametrize(("first", "second"), [("ship", "cancel"), ("cancel", "ship")])
async def test_ship_against_cancel_in_each_order(world: World, faults: Faults, first: str, second: str) -> None:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    winner, loser = await world.send(handle, first), await world.send(handle, second)
    assert (await world.outcome(handle, winner))["refusal"] is None
    assert (await world.outcome(handle, loser))["refusal"]["status"] == 409
    if first == "ship":
        await world.ask(handle, "complete")
        await handle.result()
        await _is_completed(world, handle)
    else:
        await handle.result()
        await _is_undone(world, handle)


async def _drafts_last_a_second(world: World) -> None:
    world.settings = world.settings.model_copy(update={"draft_ttl_seconds": 1})
    await world.stop_worker("orders")
    await world.start_worker("orders")


async def _timer_fires(handle: Handle) -> None:
    async def expired() -> bool:
        history = await handle.fetch_history()
        return any(event.HasField("timer_fired_event_attributes") for event in history.events)

    await until(expired, seconds=20)


async def test_an_approve_against_the_expiry(world: World, faults: Faults) -> None:
    """The approve holds the loop while the draft's time runs out: the row decides, and it says APPROVED."""
    await _drafts_last_a_second(world)
    gate = faults.hold("approve")
    handle = await world.place()
    approve = await world.send(handle, "approve")
    await faults.arrived["approve"].wait()
    await _timer_fires(handle)
    gate.set()
    assert (await world.outcome(handle, approve))["refusal"] is None
    await world.reaches(handle, "FULFILLING")
    await world.ask(handle, "cancel")
    await handle.result()
    await _is_undone(world, handle)


async def test_an_approve_that_waits_as_the_draft_expires_wins(world: World) -> None:
    """Both come while no worker is there, and are read together."""
    await _drafts_last_a_second(world)
    handle = await world.place()
    await world.reaches(handle, "DRAFT")
    await world.stop_worker("orders")
    approve = await world.send(handle, "approve")
    await _timer_fires(handle)
    await world.start_worker("orders")
    assert (await world.outcome(handle, approve))["refusal"] is None

    async def judged() -> bool:
        return len(await world.statuses(handle)) > 2

    await until(judged)
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING"]
    await world.ask(handle, "cancel")
    await handle.result()
    await _is_undone(world, handle)


async def test_an_expiry_against_an_approve(world: World, faults: Faults) -> None:
    await _drafts_last_a_second(world)
    gate = faults.hold("expire")
    handle = await world.place()
    await faults.arrived["expire"].wait()
    approve = await world.send(handle, "approve")
    gate.set()
    assert (await world.outcome(handle, approve))["refusal"]["slug"] == "illegal_transition"
    result = await handle.result()
    assert (result.status, result.version) == ("CANCELLED", 2)


@pytest.mark.parametrize("step", ["approve", "fulfil"])
async def test_a_worker_lost_between_a_commit_and_its_record_with_a_signal_queued(
    world: World, faults: Faults, step: str
) -> None:
    """The row has moved, the history does not know, and the next command already waits."""
    faults.after(step, times=1)
    handle = await world.place()
    await world.send(handle, "approve")
    await faults.arrived[step].wait()
    cancel = await world.send(handle, "cancel")
    await world.stop_worker("orders")
    await world.start_worker("orders")
    await world.outcome(handle, cancel)
    await handle.result()
    await _is_undone(world, handle)
