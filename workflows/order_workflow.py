"""One order, from its placing to COMPLETED or CANCELLED.

One loop takes one input at a time: a command from the inbox, a step's outcome, or the draft's timer. The order's row
decides what may happen; the workflow adopts what the row says and does what follows from it. Nothing is cancelled:
transitions and steps run in tasks of their own, and a step whose order was cancelled runs into a shut door.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError

from orderflow.domain.commands import Command, Outcome
from orderflow.domain.errors import Problem
from orderflow.domain.model import Model
from orderflow.domain.orders import LIFECYCLE, OrderStatus, Reason, was_approved
from orderflow.temporal.names import AGAIN_TIMER, DRAFT_TIMER, ORDER_STATUS, SHIP_REFUSED, refusal_summary
from workflows import calls, narration
from workflows.inbox import Inbox
from workflows.options import AFTER_A_BUG, LOCAL
from workflows.steps import (
    Carried,
    OrderCommand,
    OrderSteps,
    PlaceOrder,
    RefusedCommand,
    StartOrder,
    StepOutcome,
    Trace,
)

_T = TypeVar("_T")
#: How a step fails that will not be tried again: remote, local.
_FAILED = (ActivityError, ApplicationError)
#: What the steps of captures are called, before the id of their ship.
CAPTURE = "capture "
_STATUS_KEY = SearchAttributeKey.for_keyword(ORDER_STATUS)


class OrderResult(Model):
    """How an order ended; no status: its placing was refused."""

    status: str | None
    version: int


class OrderState(Model):
    """What the query ``order`` answers: the workflow's view, for people."""

    status: str | None
    version: int
    waits_for: tuple[str, ...]
    running: tuple[str, ...]
    inbox: tuple[str, ...]
    payment: StepOutcome | None
    inventory: StepOutcome | None


@workflow.defn
class OrderWorkflow:
    """Runs one order. Signals: approve, ship, complete, cancel. Query: order."""

    @workflow.init
    def __init__(self, start: StartOrder) -> None:
        carried = start.carried
        self._start = start
        self._order = start.order
        self._trace = Trace(correlation_id=start.correlation_id, traceparent=start.traceparent)
        self._token = start.payment_token
        self._status: str | None = carried.status if carried else None
        self._version = carried.version if carried else 0
        self._was_approved = carried.was_approved if carried else False
        self._payment = carried.payment if carried else None
        self._inventory = carried.inventory if carried else None
        self._expires_at: datetime | None = carried.expires_at if carried else None
        self._inbox = Inbox(carried.raw_signals if carried else 0)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._finished: deque[tuple[str, StepOutcome]] = deque()
        #: Ships whose capture is under way or not yet recorded, by command id.
        self._ships: dict[str, Command] = {}
        self._commits = False
        self._draft: asyncio.Task[None] | None = None
        self._expired = False

    @workflow.run
    async def run(self, start: StartOrder) -> OrderResult:
        """Serve the order until nothing can happen to it any more."""
        if start.carried is None and not await self._place():
            while self._inbox:  # what was sent meanwhile is answered too
                await self._carry_out(*self._inbox.take())
            return OrderResult(status=None, version=0)
        self._watch_the_draft()
        while not (self._is_idle() and LIFECYCLE.is_final(self._status)):
            if self._is_idle() and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(self._carry_over())
            await self._until(lambda: bool(self._finished) or bool(self._inbox) or self._expired)
            if self._finished:
                await self._take_step_outcomes()
            elif self._inbox:
                await self._carry_out(*self._inbox.take())
            elif self._expired:
                self._expired = False
                await self._record("expire", reason=Reason.DRAFT_EXPIRED)
        return OrderResult(status=self._status, version=self._version)

    @workflow.signal(dynamic=True)
    def command(self, name: str, arguments: Sequence[RawValue]) -> None:
        """approve, ship, complete or cancel. Dynamic, so that whatever is sent is taken, and answered."""
        self._inbox.put_signal(name, arguments)
        self._tell()

    @workflow.query
    def order(self) -> OrderState:
        """Where the order stands and what it waits for."""
        return OrderState(
            status=self._status,
            version=self._version,
            waits_for=tuple(narration.waits_for(self._status, self._steps(), self._expires_at)),
            running=tuple(self._running),
            inbox=tuple(self._inbox.names()),
            payment=self._payment,
            inventory=self._inventory,
        )

    # --- Inputs ---

    async def _place(self) -> bool:
        command = Command(
            name="place",
            id="w:place",
            request_hash=self._start.request_hash,
            correlation_id=self._trace.correlation_id,
            traceparent=self._trace.traceparent,
        )
        request = PlaceOrder(order=self._order, command=command)
        try:
            placed = await self._task(
                workflow.execute_local_activity_method(OrderSteps.place_order, request, summary="place", **LOCAL)
            )
        except _FAILED as error:
            await self._refuse(command, _problem_of(error))
            return False
        self._expires_at = placed.expires_at
        self._adopt(placed.outcome)
        return placed.outcome.row_status is not None

    async def _carry_out(self, command: Command, problem: Problem | None) -> None:
        if problem is not None:
            await self._refuse(command, problem)
            return
        self._trace = Trace(
            correlation_id=command.correlation_id or self._trace.correlation_id,
            traceparent=command.traceparent or self._trace.traceparent,
        )
        command = command.model_copy(update=self._trace.model_dump())
        if command.name != "ship":
            await self._transition(OrderSteps.move_order, command)
            return
        outcome = await self._transition(OrderSteps.accept_ship, command)
        # Sent again, a ship is pending too: its capture runs already, unless another run of this workflow began it.
        # By id: after a replay this may come before the end of the ship before it, which its row knows already.
        if outcome.state == "pending" and command.id not in self._ships:
            self._ships[command.id] = command
            self._run_step(f"{CAPTURE}{command.id}", calls.capture(self._order, command.id, self._trace))

    async def _take_step_outcomes(self) -> None:
        while self._finished:
            step, outcome = self._finished.popleft()
            if step == "authorize":
                self._payment, self._token = outcome, None
            elif step == "reserve":
                self._inventory = outcome
            elif step.startswith(CAPTURE):
                await self._end_ship(self._ships.pop(step.removeprefix(CAPTURE)), outcome)
            if outcome.state == "too_late":
                workflow.logger.error("%s came too late: %s", step, outcome.detail, extra=self._said())
        if self._status == OrderStatus.APPROVED:
            await self._judge()

    async def _judge(self) -> None:
        """APPROVED: on to FULFILLING when both steps stand, to CANCELLED as soon as one does not."""
        payment, inventory = self._payment, self._inventory
        payment_refusal, stock_refusal = _refusal(payment), _refusal(inventory)
        if reason := payment_refusal or stock_refusal:
            refusals = {"payment": payment_refusal, "inventory": stock_refusal}
            await self._record("fail", reason=reason, refusals={k: v for k, v in refusals.items() if v})
        elif payment is not None and inventory is not None:
            await self._record("fulfil")

    async def _end_ship(self, command: Command, capture: StepOutcome) -> None:
        """The capture is known: from here a captured order only goes forward."""
        if capture.state == "ok":
            self._commit_stock()
            await self._transition(OrderSteps.record_ship, command)
            return
        why = (capture.detail or capture.reason or "no reason given").rstrip(".")
        problem = Problem(
            slug="capture_refused",
            detail=f"The payment gateway refused the capture: {why}.",
            status=402,
        )
        request = RefusedCommand(order_id=self._order.order_id, command=command, problem=problem)
        self._adopt(
            await self._task(
                workflow.execute_local_activity_method(OrderSteps.refuse_ship, request, summary=SHIP_REFUSED, **LOCAL)
            )
        )

    # --- Transitions: the row decides, the workflow adopts ---

    async def _record(self, name: str, **data: Any) -> None:
        """A transition of the workflow's own."""
        await self._transition(
            OrderSteps.move_order, Command(name=name, id=f"w:{name}", data=data, **self._trace.model_dump())
        )

    async def _transition(self, step: Callable[[Any, OrderCommand], Awaitable[Outcome]], command: Command) -> Outcome:
        request = OrderCommand(order_id=self._order.order_id, command=command)
        try:
            outcome = await self._task(
                workflow.execute_local_activity_method(step, request, summary=command.name, **LOCAL)
            )
        except _FAILED as error:
            return await self._refuse(command, _problem_of(error))
        self._adopt(outcome)
        return outcome

    async def _refuse(self, command: Command, problem: Problem) -> Outcome:
        request = RefusedCommand(order_id=self._order.order_id, command=command, problem=problem)
        try:
            outcome = await self._task(
                workflow.execute_local_activity_method(
                    OrderSteps.refuse_command, request, summary=refusal_summary(command.name), **LOCAL
                )
            )
        except _FAILED:
            # Not even its refusal can be written. The order goes on.
            workflow.logger.exception("the refusal of %s cannot be recorded", command.name, extra=self._said())
            return Outcome(state="refused", refusal=problem)
        self._adopt(outcome)
        return outcome

    def _adopt(self, outcome: Outcome) -> None:
        """Take over the row's status, never an older one, and do what follows, whichever command made it."""
        if outcome.row_status is not None and (outcome.row_version or 0) > self._version:
            self._status, self._version = outcome.row_status, outcome.row_version or 0
            if workflow.info().typed_search_attributes.get(_STATUS_KEY) != self._status:
                workflow.upsert_search_attributes([_STATUS_KEY.value_set(self._status)])
            self._follow()
        self._tell()

    def _follow(self) -> None:
        if self._status != OrderStatus.DRAFT and self._draft is not None:
            self._draft.cancel()
        self._was_approved = self._was_approved or was_approved(self._status, self._version)
        if self._status == OrderStatus.APPROVED:
            self._secure()
        elif self._status in (OrderStatus.SHIPPED, OrderStatus.COMPLETED):
            self._commit_stock()
        elif self._status == OrderStatus.CANCELLED and self._was_approved:
            self._shut_both_doors()

    # --- Steps of the other services ---

    def _secure(self) -> None:
        """Payment and stock, in parallel."""
        if self._payment is None:
            self._run_step("authorize", calls.authorize(self._order, self._token, self._trace))
        if self._inventory is None:
            self._run_step("reserve", calls.reserve(self._order, self._trace))

    def _commit_stock(self) -> None:
        if not self._commits:
            self._commits = True
            self._run_step("commit", calls.commit(self._order, self._trace))

    def _shut_both_doors(self) -> None:
        self._run_step("void", calls.void(self._order, self._trace))
        self._run_step("release", calls.release(self._order, self._trace))

    def _run_step(self, name: str, call: calls.Call) -> None:
        async def step() -> None:
            while True:
                try:
                    self._finished.append((name, await call()))
                    break
                except ActivityError:
                    # Steps are retried without bound and answer refusals: only a bug ends up here.
                    workflow.logger.exception("step %s failed, it will be started again", name, extra=self._said())
                    await workflow.sleep(AFTER_A_BUG, summary=AGAIN_TIMER)
            del self._running[name]

        self._running[name] = asyncio.create_task(step())

    # --- The loop's own ---

    async def _until(self, condition: Callable[[], bool]) -> None:
        """The only thing the main coroutine awaits. A cancellation of the workflow becomes a command."""
        while True:
            try:
                await workflow.wait_condition(condition)
                return
            except asyncio.CancelledError:
                self._inbox.put_operator_cancel()

    async def _task(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for ``work`` in a task of its own, which nothing cancels."""
        task = asyncio.create_task(work)
        await self._until(task.done)
        return task.result()

    def _is_idle(self) -> bool:
        return not self._running and not self._finished and not self._inbox

    def _watch_the_draft(self) -> None:
        async def expire(after: timedelta) -> None:
            await workflow.sleep(after, summary=DRAFT_TIMER)
            self._expired = True

        if self._status == OrderStatus.DRAFT and self._expires_at is not None:
            left = max(self._expires_at - workflow.now(), timedelta())
            self._draft = asyncio.create_task(expire(left))

    def _carry_over(self) -> StartOrder:
        if self._status is None or self._expires_at is None:
            raise RuntimeError("only a placed order continues as new")
        return self._start.model_copy(
            update={
                "payment_token": self._token,
                "correlation_id": self._trace.correlation_id,
                "traceparent": self._trace.traceparent,
                "carried": Carried(
                    status=self._status,
                    version=self._version,
                    expires_at=self._expires_at,
                    payment=self._payment,
                    inventory=self._inventory,
                    raw_signals=self._inbox.raw_signals,
                    was_approved=self._was_approved,
                ),
            }
        )

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
        workflow.set_current_details(narration.details(self._status, self._version, self._steps(), self._expires_at))


def _refusal(outcome: StepOutcome | None) -> Reason | None:
    """Why a step does not stand. A door that was shut although the order lives was shut by an operator."""
    if outcome is None or outcome.state == "ok":
        return None
    return outcome.reason or Reason.OPERATOR


def _problem_of(error: ActivityError | ApplicationError) -> Problem:
    """The Rejection that a transition ended with. Anything else is retried without bound and never comes here."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError) and cause.details:
        return Problem.model_validate(cause.details[0])
    return Problem(slug="invalid", detail=f"The order's database refused this: {cause}.", status=422)
