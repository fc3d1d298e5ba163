"""Steps of other services taken near: by the orders worker, in the workflow task that wants them, once.

A worker must know every step that a workflow may want near, or the workflow's task fails for ever. So each orders
worker has all of them; where a service is not in its process, the step says "not here" at once, and the workflow goes
to the service's task queue. The same for a while after a service gave no answer several times: then each order would
wait for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from orderflow.domain.errors import Unavailable
from orderflow.telemetry.metrics import NEAR_STEPS
from workflows.steps import (
    NOT_HERE,
    AuthorizePayment,
    CapturePayment,
    CloseDoor,
    InventorySteps,
    PaymentSteps,
    ReserveInventory,
    StepOutcome,
)

T = TypeVar("T")

#: Attempts without an answer, one after the other, that close the way.
MOST_UNANSWERED: Final = 3
CLOSED_SECONDS: Final = 15.0


class NearWay:
    """The way to one service in this process: open, or closed for a while."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._closed_until = 0.0

    async def take(self, name: str, step: Callable[[T], Awaitable[StepOutcome]] | None, request: T) -> StepOutcome:
        """What ``step`` answers. Raises ApplicationError "not here" without asking, and what the step raises."""
        clock = asyncio.get_running_loop().time
        came_to = "error"
        try:
            if step is None or clock() < self._closed_until:
                came_to = NOT_HERE
                raise ApplicationError(
                    "not in this process", type=NOT_HERE, non_retryable=True, category=ApplicationErrorCategory.BENIGN
                )
            outcome = await step(request)
            came_to = "done"
        except (asyncio.CancelledError, Unavailable):  # cancelled: its time is up
            came_to = "unanswered"
            self._unanswered += 1
            if self._unanswered >= MOST_UNANSWERED:
                self._unanswered, self._closed_until = 0, clock() + CLOSED_SECONDS
            raise
        finally:
            NEAR_STEPS.add(name, came_to)
        self._unanswered = 0
        return outcome


class NearPayments(PaymentSteps):
    """The payment service's steps, or "not here"."""

    def __init__(self, steps: PaymentSteps | None) -> None:
        self._steps = steps
        self._way = NearWay()

    @activity.defn
    async def authorize_payment(self, request: AuthorizePayment) -> StepOutcome:
        """One attempt."""
        return await self._way.take(
            "authorize_payment", self._steps.authorize_payment if self._steps else None, request
        )

    @activity.defn
    async def capture_payment(self, request: CapturePayment) -> StepOutcome:
        """One attempt."""
        return await self._way.take("capture_payment", self._steps.capture_payment if self._steps else None, request)

    @activity.defn
    async def void_payment(self, request: CloseDoor) -> StepOutcome:
        """One attempt."""
        return await self._way.take("void_payment", self._steps.void_payment if self._steps else None, request)


class NearInventory(InventorySteps):
    """The inventory service's steps, or "not here"."""

    def __init__(self, steps: InventorySteps | None) -> None:
        self._steps = steps
        self._way = NearWay()

    @activity.defn
    async def reserve_inventory(self, request: ReserveInventory) -> StepOutcome:
        """One attempt."""
        return await self._way.take(
            "reserve_inventory", self._steps.reserve_inventory if self._steps else None, request
        )

    @activity.defn
    async def commit_inventory(self, request: CloseDoor) -> StepOutcome:
        """One attempt."""
        return await self._way.take("commit_inventory", self._steps.commit_inventory if self._steps else None, request)

    @activity.defn
    async def release_inventory(self, request: CloseDoor) -> StepOutcome:
        """One attempt."""
        return await self._way.take(
            "release_inventory", self._steps.release_inventory if self._steps else None, request
        )
