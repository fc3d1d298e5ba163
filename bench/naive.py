"""The workflow that a first draft would be: an ordinary activity for every step, and an update for every command.

The same shape as an order of ours, without what makes it real: the activities do nothing, there is no database, no
gateway and no Kafka. ``python -m bench.naive`` is its worker: ours with other activities, so one process, the same
options, no sandbox. It is used as kindly as possible: placing is one call (update with start), and all its
activities are on the workflow's own task queue, so the server may hand them out with a finished workflow task.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from temporalio import activity, workflow
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from bench.baskets import Basket
from bench.measure import Lap, LapTimer, SideName
from bench.serving import run_worker
from orderflow.domain.orders import Line, Order
from orderflow.settings import Settings
from orderflow.temporal.worker import make_worker

QUEUE: Final = "naive"


@activity.defn
async def place(order: Order) -> str:
    """Nothing."""
    return "DRAFT"


@activity.defn
async def approve(order_id: UUID) -> str:
    """Nothing."""
    return "APPROVED"


@activity.defn
async def authorize(order_id: UUID, amount: int) -> str:
    """Nothing."""
    return "AUTHORIZED"


@activity.defn
async def reserve(order_id: UUID, lines: tuple[Line, ...]) -> str:
    """Nothing."""
    return "RESERVED"


@activity.defn
async def fulfil(order_id: UUID) -> str:
    """Nothing."""
    return "FULFILLING"


@activity.defn
async def capture(order_id: UUID) -> str:
    """Nothing."""
    return "CAPTURED"


@activity.defn
async def commit(order_id: UUID) -> str:
    """Nothing."""
    return "COMMITTED"


@activity.defn
async def ship(order_id: UUID) -> str:
    """Nothing."""
    return "SHIPPED"


@activity.defn
async def complete(order_id: UUID) -> str:
    """Nothing."""
    return "COMPLETED"


STEPS: Final[list[Callable[..., Awaitable[str]]]] = [
    place,
    approve,
    authorize,
    reserve,
    fulfil,
    capture,
    commit,
    ship,
    complete,
]


@workflow.defn
class NaiveOrder:
    """Nine activities behind four updates."""

    @workflow.init
    def __init__(self, order: Order) -> None:
        self._order = order
        self._status = "PLACING"

    @workflow.run
    async def run(self, order: Order) -> str:
        """Wait until it is complete."""
        await workflow.wait_condition(lambda: self._status == "COMPLETED" and workflow.all_handlers_finished())
        return self._status

    @workflow.update
    async def place(self) -> str:
        """To DRAFT."""
        self._status = await _step(place, self._order)
        return self._status

    @workflow.update
    async def approve(self) -> str:
        """To APPROVED, and on to FULFILLING."""
        order = self._order
        self._status = await _step(approve, order.order_id)
        await asyncio.gather(_step(authorize, order.order_id, order.total), _step(reserve, order.order_id, order.lines))
        self._status = await _step(fulfil, order.order_id)
        return self._status

    @workflow.update
    async def ship(self) -> str:
        """To SHIPPED."""
        await _step(capture, self._order.order_id)
        await _step(commit, self._order.order_id)
        self._status = await _step(ship, self._order.order_id)
        return self._status

    @workflow.update
    async def complete(self) -> str:
        """To COMPLETED."""
        self._status = await _step(complete, self._order.order_id)
        return self._status


async def _step(step: Callable[..., Awaitable[str]], *arguments: Any) -> str:
    return await workflow.execute_activity(step, args=arguments, start_to_close_timeout=timedelta(seconds=15))


def make(client: Client, settings: Settings) -> Worker:
    """The worker, with the options of ours."""
    return make_worker(client, settings, QUEUE, STEPS, [NaiveOrder])


def workflow_id(order_id: UUID) -> str:
    """The workflow of ``order_id``."""
    return f"naive-{order_id}"


class Naive:
    """Its client: each answer is an update's, so ``approve`` answers when the order is FULFILLING."""

    name: SideName = "naive"

    def __init__(self, client: Client) -> None:
        self._client = client

    def workflow_id(self, lap: Lap) -> str:
        """The order's workflow."""
        return workflow_id(lap.order_id)

    async def live_through(self, basket: Basket) -> Lap:
        """One order from placing to COMPLETED."""
        order, timer = basket.order(), LapTimer()
        start = WithStartWorkflowOperation(
            NaiveOrder.run,
            order,
            id=workflow_id(order.order_id),
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
        timer.sending("place")
        await self._client.execute_update_with_start_workflow(NaiveOrder.place, start_workflow_operation=start)
        timer.answered("place")
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id(order.order_id))
        timer.sending("to FULFILLING")
        await handle.execute_update(NaiveOrder.approve)
        timer.answered("to FULFILLING")
        timer.sending("ship")
        await handle.execute_update(NaiveOrder.ship)
        timer.answered("ship")
        timer.sending("complete")
        await handle.execute_update(NaiveOrder.complete)
        timer.answered("complete")
        return timer.lap(order.order_id)

    async def settled(self, laps: Sequence[Lap]) -> None:
        """The update that completes an order ends its workflow, too."""


if __name__ == "__main__":
    run_worker(QUEUE, make)
