"""One order, from APPROVED to SHIPPED or CANCELLED. What comes before and after is a row, and has no workflow.

The row decides, the workflow follows. A signal says "look", whatever it is called and whatever it carries: the
workflow reads the row, adopts it, and does what follows from it. So messages may come late, twice, out of order or
from a stranger. Nothing is cancelled: transitions and steps run in tasks of their own, and a step whose order was
cancelled runs into a shut door.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey
from temporalio.exceptions import ApplicationError, FailureError

from orderflow.domain.commands import Command, Outcome
from orderflow.domain.errors import Problem
from orderflow.domain.money import money
from orderflow.domain.orders import LIFECYCLE, ORCHESTRATED, OrderStatus, Reason
from orderflow.temporal.names import AGAIN_TIMER, CALM_TIMER, ORDER_STATUS, SHIP_REFUSED, order_of
from workflows import calls, narration
from workflows.options import AFTER_A_BUG, CALM, LOCAL, MOST_LOOKS
from workflows.steps import (
    EndShip,
    Look,
    MoveOrder,
    OrderResult,
    OrderRow,
    OrderState,
    OrderSteps,
    PendingShip,
    StepOutcome,
    Trace,
)

_T = TypeVar("_T")
BEFORE_ITS_TIME = "the order is not approved: its approve starts a run of its own"
_STATUS_KEY = SearchAttributeKey.for_keyword(ORDER_STATUS)


@workflow.defn(dynamic=True)
class OrderWorkflow:
    """Runs one order: the one that its id names. Signals: any. Query: order.

    Dynamic, and blind to its arguments: whatever somebody starts under an order's id follows the order's row, and
    nothing that cannot be read stops it. Ours are of the type ``ORDER_WORKFLOW``.
    """

    def __init__(self) -> None:
        found = order_of(workflow.info().workflow_id)
        self._is_an_order = found is not None
        self._order_id = found or workflow.uuid4()
        self._trace = Trace()
        self._status: str | None = None
        self._version = 0
        self._near: tuple[str, ...] | None = None
        self._looks = 1  # a run begins with one
        self._looked = 0
        #: What the order costs, for people; a run that began after FULFILLING does not know it.
        self._total: str | None = None
        self._payment: StepOutcome | None = None
        self._inventory: StepOutcome | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._finished: deque[tuple[str, StepOutcome]] = deque()
        #: The ship whose capture is under way.
        self._ship: PendingShip | None = None
        self._commits = False
        self._shuts = False
        #: An operator's cancel stands until it is done, or the order is SHIPPED; tried when something has changed.
        self._cancel_stands = False
        self._cancel_is_due = False

    @workflow.run
    async def run(self, _: Sequence[RawValue]) -> OrderResult:
        """Serve the order until its goods have left, or everything is undone."""
        if not self._is_an_order:
            return OrderResult(status=None, version=0)
        while not (self._is_idle() and self._is_over()):
            idle = self._is_idle() and not self._cancel_is_due
            if idle and self._is_before_its_time():
                raise ApplicationError(BEFORE_ITS_TIME, type="BeforeItsTime", non_retryable=True)
            calm_after = CALM if idle and self._is_long() else None
            if not await self._until(lambda: not self._is_quiet(), calm_after):
                workflow.continue_as_new()
            if self._finished:
                await self._take_step_outcomes()
            elif self._looked < self._looks:
                await self._look()
            elif self._cancel_is_due:
                await self._cancel()
        return OrderResult(status=self._status, version=self._version)

    @workflow.signal(dynamic=True)
    def look(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Look at the row. Dynamic, and blind to what was sent: a flood of signals costs one look."""
        self._looks += 1

    @workflow.query
    def order(self) -> OrderState:
        """Where the order stands and what it waits for."""
        return OrderState(
            status=self._status,
            version=self._version,
            waits_for=tuple(narration.waits_for(self._status, self._steps())),
            running=tuple(self._running),
            looks=self._looks - self._looked,
            payment=self._payment,
            inventory=self._inventory,
        )

    # --- Inputs ---

    async def _look(self) -> None:
        self._looked = self._looks
        request = Look(order_id=self._order_id, first=self._near is None)
        row = await self._local(OrderSteps.look, request, "look")
        if self._near is None:
            self._near = row.near
        self._cancel_is_due = self._cancel_stands
        if row.status is None or row.version < self._version:
            return
        if row.version > self._version:
            self._trace = row.trace
            self._adopt(row.status, row.version)
        if row.secure is not None and self._status == OrderStatus.APPROVED:
            self._secure(row)
        if row.ship is not None and self._ship is None:
            self._capture(row.ship)

    async def _take_step_outcomes(self) -> None:
        while self._finished:
            step, outcome = self._finished.popleft()
            if step == "authorize":
                self._payment = outcome
            elif step == "reserve":
                self._inventory = outcome
            elif step == "capture" and self._ship is not None:
                await self._end_ship(self._ship, outcome)
            if outcome.state == "too_late":
                workflow.logger.error("%s came too late: %s", step, outcome.detail, extra=self._said())
        if self._status == OrderStatus.APPROVED:
            await self._judge()
        self._tell()

    async def _judge(self) -> None:
        """APPROVED: on to FULFILLING when both steps stand, to CANCELLED as soon as one does not."""
        payment_refusal, stock_refusal = _refusal(self._payment), _refusal(self._inventory)
        if reason := payment_refusal or stock_refusal:
            refusals = {"payment": payment_refusal, "inventory": stock_refusal}
            await self._record("fail", reason=reason, refusals={k: v for k, v in refusals.items() if v})
        elif self._payment is not None and self._inventory is not None:
            await self._record("fulfil")

    async def _end_ship(self, ship: PendingShip, capture: StepOutcome) -> None:
        """The capture is known: from here a captured order only goes forward."""
        problem = None
        if capture.state == "ok":
            self._commit_stock(ship.trace)
        else:
            why = (capture.detail or capture.reason or "no reason given").rstrip(".")
            detail = f"The payment gateway refused the capture: {why}."
            problem = Problem(slug="capture_refused", detail=detail, status=402)
        request = EndShip(order_id=self._order_id, command_id=ship.command_id, problem=problem, trace=ship.trace)
        outcome = await self._local(OrderSteps.end_ship, request, SHIP_REFUSED if problem else "ship")
        self._ship = None
        self._cancel_is_due = self._cancel_stands
        self._adopt_outcome(outcome)
        # Another ship may have been accepted since this one was refused.
        self._looks += bool(problem)

    async def _cancel(self) -> None:
        """An operator cancelled the workflow. What is refused now is tried again when something has changed."""
        self._cancel_is_due = False
        if self._ship is None and LIFECYCLE.allows("cancel", self._status):
            await self._record("cancel", reason=Reason.OPERATOR)

    # --- The row decides, the workflow adopts ---

    async def _record(self, name: str, **data: Any) -> None:
        """A transition of the workflow's own."""
        command = Command(name=name, id=f"w:{name}", data=data, **self._trace.model_dump())
        outcome = await self._local(OrderSteps.move_order, MoveOrder(order_id=self._order_id, command=command), name)
        self._adopt_outcome(outcome)
        if outcome.state == "refused":
            self._looks += 1  # the row is not what was thought: a ship may be pending

    def _adopt_outcome(self, outcome: Outcome) -> None:
        if outcome.row_status is not None and (outcome.row_version or 0) > self._version:
            self._adopt(outcome.row_status, outcome.row_version or 0)

    def _adopt(self, status: str, version: int) -> None:
        """Take over the row's status, and do what follows from it, whoever wrote it."""
        self._status, self._version = status, version
        self._cancel_is_due = self._cancel_stands
        if status != workflow.info().typed_search_attributes.get(_STATUS_KEY):
            workflow.upsert_search_attributes([_STATUS_KEY.value_set(status)])
        if status in (OrderStatus.SHIPPED, OrderStatus.COMPLETED):
            self._commit_stock(self._trace)
        elif status == OrderStatus.CANCELLED:
            self._shut_both_doors()
        self._tell()

    # --- Steps of the other services ---

    def _secure(self, row: OrderRow) -> None:
        """Payment and stock, in parallel."""
        if row.secure is None:
            return
        self._total = money(row.secure.total, row.secure.currency)
        if self._payment is None:
            self._start("authorize", calls.authorize(self._order_id, row.secure, self._trace))
        if self._inventory is None:
            self._start("reserve", calls.reserve(self._order_id, row.secure, self._trace))

    def _capture(self, ship: PendingShip) -> None:
        self._ship = ship
        self._start("capture", calls.capture(self._order_id, ship.command_id, ship.trace, self._total))

    def _commit_stock(self, trace: Trace) -> None:
        if not self._commits:
            self._commits = True
            self._start("commit", calls.commit(self._order_id, trace))

    def _shut_both_doors(self) -> None:
        if not self._shuts:
            self._shuts = True
            self._start("void", calls.void(self._order_id, self._trace))
            self._start("release", calls.release(self._order_id, self._trace))

    def _start(self, name: str, call: calls.Call) -> None:
        """Take a step, unless it is being taken."""

        async def step() -> None:
            near = call.service in (self._near or ())
            while True:
                try:
                    self._finished.append((name, await call.outcome(near=near)))
                    break
                except Exception:
                    # Steps are retried without bound and answer refusals: only a bug ends up here. Whatever it raised,
                    # nobody awaits this task: the step would count as running for ever.
                    workflow.logger.exception("step %s failed, it will be started again", name, extra=self._said())
                    await workflow.sleep(AFTER_A_BUG, summary=AGAIN_TIMER)
            del self._running[name]

        if name not in self._running:
            self._running[name] = asyncio.create_task(step())

    # --- The loop's own ---

    async def _until(self, condition: Callable[[], bool], timeout: timedelta | None = None) -> bool:
        """The only thing the main coroutine awaits; False: not within ``timeout``.

        A cancellation of the workflow becomes an operator's cancel.
        """
        while True:
            try:
                await workflow.wait_condition(
                    condition, timeout=timeout, timeout_summary=CALM_TIMER if timeout else None
                )
            except TimeoutError:
                return False
            except asyncio.CancelledError:
                self._cancel_stands = self._cancel_is_due = True
            else:
                return True

    async def _local(self, step: Callable[[Any, Any], Coroutine[Any, Any, _T]], request: object, summary: str) -> _T:
        """A read or a transition of the row, in a task of its own, which nothing cancels; tried without bound."""

        async def work() -> _T:
            while True:
                try:
                    return await workflow.execute_local_activity_method(step, request, summary=summary, **LOCAL)
                except FailureError:
                    workflow.logger.exception("%s failed, it will be tried again", summary, extra=self._said())
                    await workflow.sleep(AFTER_A_BUG, summary=AGAIN_TIMER)

        task = asyncio.create_task(work())
        await self._until(task.done)
        return task.result()

    def _is_over(self) -> bool:
        """What else happens to the row is none of a workflow's."""
        return self._status not in (None, OrderStatus.DRAFT, *ORCHESTRATED)

    def _is_before_its_time(self) -> bool:
        """A stranger's start: the order is not approved, or not there. Failed, so that the approve starts another."""
        return self._looked > 0 and self._status in (None, OrderStatus.DRAFT)

    def _is_long(self) -> bool:
        """It shall begin anew, once no more looks come: Temporal refuses that while they do, and replays them all."""
        return self._looks > MOST_LOOKS or workflow.info().is_continue_as_new_suggested()

    def _is_idle(self) -> bool:
        return not self._running and self._is_quiet()

    def _is_quiet(self) -> bool:
        return not self._finished and self._looked == self._looks and not self._cancel_is_due

    def _steps(self) -> dict[str, StepOutcome | None]:
        return dict.fromkeys(self._running) | {
            name: outcome
            for name, outcome in (("authorize", self._payment), ("reserve", self._inventory))
            if outcome is not None
        }

    def _said(self) -> dict[str, str | None]:
        """Whose request a line of the log is about."""
        return self._trace.model_dump()

    def _tell(self) -> None:
        workflow.set_current_details(narration.details(self._status, self._version, self._total, self._steps()))


def _refusal(outcome: StepOutcome | None) -> Reason | None:
    """Why a step does not stand. A door that was shut although the order lives was shut by an operator."""
    if outcome is None or outcome.state == "ok":
        return None
    return outcome.reason or Reason.OPERATOR
