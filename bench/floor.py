"""Our own shape as a no-op: what Temporal and the SDK take for it, whatever the product does in its steps.

A workflow that is started at approve, with the product's local activities, signals, search attributes, requests and
results, and nothing behind them: no database, no gateway, no Kafka, no HTTP. Its steps have the product's contracts
(``workflows/steps.py``), so what it records is as large; the workflow itself is written down straight, without what
makes the product's right. ``python -m bench.floor`` is its worker.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RawValue, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker

from bench.baskets import CURRENCY, Basket, read_baskets
from bench.measure import Lap, LapTimer, SideName
from bench.serving import run_worker
from bench.told import PORT_VARIABLE, Teller, Told
from orderflow.domain.commands import Command, Outcome
from orderflow.settings import Settings
from orderflow.temporal.names import ORDER_STATUS
from orderflow.temporal.worker import make_worker, steps_of
from workflows import calls
from workflows.options import LOCAL
from workflows.steps import (
    AuthorizePayment,
    CapturePayment,
    CloseDoor,
    EndShip,
    InventorySteps,
    Look,
    MoveOrder,
    OrderResult,
    OrderRow,
    OrderSteps,
    PaymentSteps,
    PendingShip,
    ReserveInventory,
    StepOutcome,
    ToSecure,
    Trace,
)

QUEUE: Final = "floor"
#: As long as those of the product.
TRACE: Final = Trace(correlation_id=str(UUID(int=0)))
SEALED_TOKEN: Final = f"{'0' * 16}.{'0' * 84}"

_STATUS: Final = SearchAttributeKey.for_keyword(ORDER_STATUS)
_T = TypeVar("_T")


class NoSteps(OrderSteps, PaymentSteps, InventorySteps):
    """Every step of an order, doing nothing. An order's id says which of ``baskets`` it is."""

    def __init__(self, baskets: Sequence[Basket], teller: Teller) -> None:
        self._baskets = baskets
        self._teller = teller
        self._looks: Counter[UUID] = Counter()

    @activity.defn
    async def look(self, request: Look) -> OrderRow:
        """What a row would say at the first look, and at the one that ships."""
        order_id = request.order_id
        self._looks[order_id] += 1
        if self._looks[order_id] == 1:
            basket = self._baskets[order_id.int % len(self._baskets)]
            total = sum(line.total for line in basket.lines)
            secure = ToSecure(total=total, currency=CURRENCY, lines=basket.lines, sealed_token=SEALED_TOKEN)
            near = ("payments", "inventory")
            return OrderRow(status="APPROVED", version=2, trace=TRACE, secure=secure, near=near)
        del self._looks[order_id]
        ship = PendingShip(command_id=f"c:{order_id}", trace=TRACE)
        return OrderRow(status="FULFILLING", version=3, trace=TRACE, ship=ship)

    @activity.defn
    async def move_order(self, request: MoveOrder) -> Outcome:
        """To FULFILLING."""
        await self._teller.tell(request.order_id, "FULFILLING")
        return Outcome(state="done", version=3, status="FULFILLING", row_status="FULFILLING", row_version=3)

    @activity.defn
    async def end_ship(self, request: EndShip) -> Outcome:
        """To SHIPPED."""
        await self._teller.tell(request.order_id, "SHIPPED")
        return Outcome(state="done", version=4, status="SHIPPED", row_status="SHIPPED", row_version=4)

    @activity.defn
    async def authorize_payment(self, request: AuthorizePayment) -> StepOutcome:
        """Nothing."""
        return StepOutcome(state="ok")

    @activity.defn
    async def capture_payment(self, request: CapturePayment) -> StepOutcome:
        """Nothing."""
        return StepOutcome(state="ok")

    @activity.defn
    async def void_payment(self, request: CloseDoor) -> StepOutcome:
        """Nothing."""
        return StepOutcome(state="ok")

    @activity.defn
    async def reserve_inventory(self, request: ReserveInventory) -> StepOutcome:
        """Nothing."""
        return StepOutcome(state="ok")

    @activity.defn
    async def commit_inventory(self, request: CloseDoor) -> StepOutcome:
        """The last step of an order."""
        await self._teller.tell(request.order_id, "COMMITTED")
        return StepOutcome(state="ok")

    @activity.defn
    async def release_inventory(self, request: CloseDoor) -> StepOutcome:
        """Nothing."""
        return StepOutcome(state="ok")


@workflow.defn
class FloorOrder:
    """Two looks, six more local activities, two search attributes."""

    def __init__(self) -> None:
        self._looks = 1

    @workflow.run
    async def run(self, _: RawValue = None) -> OrderResult:  # type: ignore[assignment]
        """From APPROVED to SHIPPED."""
        order_id = UUID(workflow.info().workflow_id.removeprefix(f"{QUEUE}-"))
        row = await _local(OrderSteps.look, Look(order_id=order_id, first=True), "look")
        if row.secure is not None:
            await asyncio.gather(
                calls.authorize(order_id, row.secure, row.trace).outcome(near=True),
                calls.reserve(order_id, row.secure, row.trace).outcome(near=True),
            )
        command = Command(name="fulfil", id="w:fulfil", **row.trace.model_dump())
        await _local(OrderSteps.move_order, MoveOrder(order_id=order_id, command=command), "fulfil")
        _show("FULFILLING")
        await workflow.wait_condition(lambda: self._looks > 1)
        row = await _local(OrderSteps.look, Look(order_id=order_id, first=False), "look")
        if row.ship is not None:
            ship = row.ship
            await calls.capture(order_id, ship.command_id, ship.trace, None).outcome(near=True)
            commit = asyncio.create_task(calls.commit(order_id, row.trace).outcome(near=True))
            end = EndShip(order_id=order_id, command_id=ship.command_id, trace=ship.trace)
            await _local(OrderSteps.end_ship, end, "ship")
            _show("SHIPPED")
            await commit
        return OrderResult(status="SHIPPED", version=4)

    @workflow.signal(dynamic=True)
    def look(self, name: str, arguments: Sequence[RawValue]) -> None:
        """As the product's."""
        self._looks += 1


async def _local(step: Any, request: object, summary: str) -> Any:
    return await workflow.execute_local_activity_method(step, request, summary=summary, **LOCAL)


def _show(status: str) -> None:
    workflow.upsert_search_attributes([_STATUS.value_set(status)])


def make(client: Client, settings: Settings, steps: NoSteps) -> Worker:
    """The worker, with the options of ours."""
    activities = [*steps_of(OrderSteps, steps), *steps_of(PaymentSteps, steps), *steps_of(InventorySteps, steps)]
    return make_worker(client, settings, QUEUE, activities, [FloorOrder])


class Floor:
    """Its client: starts the workflow at approve, and signals it as the API does. ``baskets``: how many there are."""

    name: SideName = "floor"

    def __init__(self, client: Client, told: Told, baskets: int) -> None:
        self._client = client
        self._told = told
        self._baskets = baskets

    def workflow_id(self, lap: Lap) -> str:
        """The order's workflow."""
        return f"{QUEUE}-{lap.order_id}"

    async def live_through(self, basket: Basket) -> Lap:
        """One order from approve to SHIPPED: to place and to complete it would be nothing."""
        # The worker finds the basket by the id, as the product finds the row.
        order_id = UUID(int=uuid4().int // self._baskets * self._baskets + basket.number)
        timer = LapTimer()
        timer.sending("approve", "to FULFILLING")
        await self._start(order_id)
        timer.answered("approve")
        await self._told.wait(order_id, "FULFILLING")
        timer.answered("to FULFILLING")
        timer.sending("ship")
        await self._start(order_id, start_signal="ship")
        await self._told.wait(order_id, "SHIPPED")
        timer.answered("ship")
        return timer.lap(order_id)

    async def settled(self, laps: Sequence[Lap]) -> None:
        """Each workflow has taken its last step."""
        await asyncio.gather(*(self._told.wait(lap.order_id, "COMMITTED") for lap in laps))

    async def _start(self, order_id: UUID, **signal: Any) -> None:
        await self._client.start_workflow(
            FloorOrder.run,
            id=f"{QUEUE}-{order_id}",
            task_queue=QUEUE,
            search_attributes=TypedSearchAttributes([SearchAttributePair(_STATUS, "APPROVED")]),
            **signal,
        )


def _make(client: Client, settings: Settings) -> Worker:
    return make(client, settings, NoSteps(read_baskets(), Teller(int(os.environ[PORT_VARIABLE]))))


if __name__ == "__main__":
    run_worker(QUEUE, _make)
