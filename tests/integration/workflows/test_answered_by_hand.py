"""A step that somebody answers in its place, with what is no answer, is asked again: the order does not stand still."""

from datetime import timedelta

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import RespondActivityTaskCompletedByIdRequest

from orderflow.temporal.resets import OrderResets
from support.runs import failures_of_the_code, history
from support.waiting import until
from support.world import Handle, World, order_id
from workflows import order_workflow

pytestmark = pytest.mark.parametrize("steps", ["far"], indirect=True)


def _answer(encoding: bytes, data: bytes = b"") -> Payloads:
    return Payloads(payloads=[Payload(metadata={"encoding": encoding}, data=data)])


ANSWERS = {
    "nothing": None,
    "null": _answer(b"binary/null"),
    "not JSON": _answer(b"json/plain", b"{ not json"),
    "text": _answer(b"json/plain", b'"done"'),
    "another object": _answer(b"json/plain", b"{}"),
    "an unknown state": _answer(b"json/plain", b'{"state":"fine"}'),
    "an encoding of nobody": _answer(b"of/nobody", b"?"),
    "no encoding": Payloads(payloads=[Payload(data=b"?")]),
}


async def _answer_authorize(world: World, handle: Handle, answer: Payloads | None) -> None:
    await until(lambda: _waits(handle))
    [step] = await _pending(handle)
    await world.client.workflow_service.respond_activity_task_completed_by_id(
        RespondActivityTaskCompletedByIdRequest(
            namespace=world.client.namespace, workflow_id=handle.id, activity_id=step.activity_id, result=answer
        )
    )


async def _pending(handle: Handle) -> list[PendingActivityInfo]:
    pending = (await handle.describe()).raw_description.pending_activities
    return [step for step in pending if step.activity_type.name == "authorize_payment"]


async def _waits(handle: Handle) -> bool:
    return len(await _pending(handle)) == 1


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_what_is_no_answer_to_a_step_is_asked_again(
    world: World, answer: Payloads | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_workflow, "AFTER_A_BUG", timedelta(seconds=0.5))
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await _answer_authorize(world, handle, answer)
    await world.start_worker("payments")
    await world.reaches(handle, "FULFILLING")
    assert [name for name, _ in world.gateway.calls] == ["authorize"]
    assert failures_of_the_code(await history(handle)) == []


async def test_what_the_sdk_does_not_survive_is_over_after_a_reset(world: World) -> None:
    """Several payloads, or none in the answer: every workflow task fails, before any code of ours runs."""
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await _answer_authorize(world, handle, Payloads())
    await until(lambda: _task_fails(handle), seconds=30)
    resets = OrderResets(world.runs)
    run_id = (await handle.describe()).run_id
    *_, last = await resets.reset_points(order_id(handle), run_id)
    await resets.go_back(order_id(handle), run_id, last, "test", request_id="reset")
    await world.start_worker("payments")
    await world.reaches(handle, "FULFILLING")


async def _task_fails(handle: Handle) -> bool:
    return bool(failures_of_the_code(await history(handle)))
