"""What people with Temporal's CLI can do to a step that waits on a task queue: pause it, or answer it in its place."""

import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    RespondActivityTaskCompletedByIdRequest,
    UnpauseActivityRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

IDENTITY: Final = "chaos"
#: Answers that are no outcome of any step: ``temporal activity complete --result …``, and what other programs send. Not
#: more or less than one payload: those the SDK itself does not survive.
GARBAGE: Final = (
    None,
    Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b"{ not json")]),
    Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"done"')]),
    Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'{"state":"fine"}')]),
    Payloads(payloads=[Payload(metadata={"encoding": b"of/nobody"}, data=b"?")]),
    Payloads(payloads=[Payload(metadata={"encoding": b"binary/null"})]),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A pending step: an ordinary activity of a run."""

    workflow_id: str
    run_id: str
    activity_id: str

    @property
    def execution(self) -> WorkflowExecution:
        return WorkflowExecution(workflow_id=self.workflow_id, run_id=self.run_id)


async def pending_steps(client: Client) -> list[Step]:
    """Steps that orders wait for now. Raises RPCError."""
    found: list[Step] = []
    async for run in client.list_workflows("WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Running'"):
        with _meanwhile_over():
            described = await client.get_workflow_handle(run.id, run_id=run.run_id).describe()
            found += [Step(run.id, run.run_id, s.activity_id) for s in described.raw_description.pending_activities]
    return found


@contextlib.asynccontextmanager
async def paused(client: Client, steps: Sequence[Step]) -> AsyncIterator[list[Step]]:
    """Nobody takes these steps meanwhile. Gives those that could be paused."""
    held: list[Step] = []
    try:
        for step in steps:
            with _meanwhile_over():
                await client.workflow_service.pause_activity(
                    PauseActivityRequest(
                        namespace=client.namespace,
                        execution=step.execution,
                        id=step.activity_id,
                        identity=IDENTITY,
                        reason="a look at it",
                    )
                )
                held.append(step)
        yield held
    finally:
        for step in held:
            with _meanwhile_over():
                await client.workflow_service.unpause_activity(
                    UnpauseActivityRequest(
                        namespace=client.namespace, execution=step.execution, id=step.activity_id, identity=IDENTITY
                    )
                )


async def answer(client: Client, steps: Sequence[Step], dice: random.Random) -> int:
    """Answer these steps with what is no answer; how many took it."""
    answered = 0
    for step in steps:
        with _meanwhile_over():
            await client.workflow_service.respond_activity_task_completed_by_id(
                RespondActivityTaskCompletedByIdRequest(
                    namespace=client.namespace,
                    workflow_id=step.workflow_id,
                    run_id=step.run_id,
                    activity_id=step.activity_id,
                    result=dice.choice(GARBAGE),
                    identity=IDENTITY,
                )
            )
            answered += 1
    return answered


@contextlib.contextmanager
def _meanwhile_over() -> Iterator[None]:
    """The step, or its run, may have ended since it was seen."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
