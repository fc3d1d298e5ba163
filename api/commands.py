"""A command's way: look, hand it over durably, wait, answer.

The database is asked first: a replay, a refusal that stands, or nothing. Then Temporal takes the command, and only
its acknowledgement makes it accepted. A worker carries it out, now or when one is back; until then the answer is
"not known yet". One path, whether workers are up or not.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from api import problems
from api.lookup import OrderLookup
from api.waiting import OutcomeWaiter
from orderflow.domain.commands import Command, Outcome, idempotency_conflict
from orderflow.domain.errors import Problem, Rejection, Unavailable
from orderflow.domain.orders import Order
from orderflow.store.orders import Orders
from orderflow.telemetry.origin import about_order
from orderflow.temporal.runs import Accepted, OrderRuns
from workflows.steps import SignalledCommand, StartOrder

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a command that was accepted; ``outcome`` None: nothing yet. ``replayed``: asked before."""

    outcome: Outcome | None
    replayed: bool


class OrderCommands:
    """Takes clients' commands. All methods raise Rejection, Unavailable (nothing was sent) and ProblemAnswer (503)."""

    def __init__(self, orders: Orders, runs: OrderRuns, lookup: OrderLookup, waiter: OutcomeWaiter) -> None:
        self._orders = orders
        self._runs = runs
        self._lookup = lookup
        self._waiter = waiter

    async def place(self, order: Order, payment_token: str, command: Command, key: str | None, wait: float) -> Answer:
        """Start an order. ``key``: the client's Idempotency-Key, from which the order's id was made."""
        start = StartOrder(
            order=order,
            payment_token=payment_token,
            request_hash=command.request_hash or "",
            correlation_id=command.correlation_id,
            traceparent=command.traceparent,
        )

        async def hand_over() -> bool:
            if await self._runs.start(order, start, start.request_hash):
                return True
            await self._see_first(order.order_id, command)
            return False

        again = (
            f"Send it again with the same Idempotency-Key ({key})."
            if key
            else "It had no Idempotency-Key: look whether the order came into being before you send it again."
        )
        answer = await self._carry_out(order.order_id, command, wait, hand_over, again)
        if key and answer.outcome and answer.outcome.refusal and answer.outcome.refusal.slug == "idempotency_conflict":
            raise Rejection(idempotency_conflict(key))
        return answer

    async def send(self, order_id: UUID, command: Command, wait: float) -> Answer:
        """Signal an order: approve, ship, complete or cancel."""
        signalled = SignalledCommand(
            command_id=command.id,
            request_hash=command.request_hash,
            expected_version=command.expected_version,
            correlation_id=command.correlation_id,
            traceparent=command.traceparent,
            data=command.data,
        )

        async def hand_over() -> bool:
            if not await self._runs.signal(order_id, command.name, signalled):
                await self._explain_missing(order_id, command)
            return True

        again = f"Send it again with the Idempotency-Key {command.id.removeprefix('c:')}."
        return await self._carry_out(order_id, command, wait, hand_over, again)

    async def _carry_out(
        self, order_id: UUID, command: Command, wait: float, hand_over: Callable[[], Awaitable[bool]], again: str
    ) -> Answer:
        """``hand_over`` returns whether this request was the first, and raises _Known when the outcome is."""
        known = await self._orders.foresee(order_id, command)
        if known is not None and known.state != "pending":
            return Answer(known, known.replayed)
        with self._waiter.watching((order_id, command.id)) as watch:
            try:
                # A pending command is waited for, not sent again.
                first = known is None and await hand_over()
            except _Known as error:
                return Answer(error.outcome, error.outcome.replayed)
            except Unavailable as error:
                log.warning("not_confirmed", **about_order(order_id), command_id=command.id, detail=error.detail)
                detail = f"Temporal did not confirm command {command.id} of order {order_id}; it may have taken it. "
                ids = {"order_id": str(order_id), "command_id": command.id}
                raise problems.unavailable(error, detail + again, **ids) from error
            ended = await watch.ended(wait)
        outcome = ended.outcome_of(command) if ended else known
        return Answer(outcome, replayed=not first)

    async def _see_first(self, order_id: UUID, command: Command) -> None:
        """The order was accepted before: see that it was this one, and is not lost."""
        if (known := await self._orders.foresee(order_id, command)) is not None:
            raise _Known(known)
        accepted = await self._runs.accepted(order_id)
        if accepted is None:
            raise Unavailable("temporal", f"order {order_id} was accepted before, and cannot be described")
        if accepted.request_hash != command.request_hash:
            raise Rejection(idempotency_conflict(command.id))
        if not accepted.running:
            await self._lookup.after_the_end(order_id)

    async def _explain_missing(self, order_id: UUID, command: Command) -> None:
        """No workflow took the command: say why."""
        known = await self._orders.foresee(order_id, command)
        if known is not None and known.state != "pending":
            raise _Known(known)
        if isinstance(await self._lookup.find(order_id), Accepted):
            raise Unavailable("temporal", f"order {order_id} was accepted a moment ago")
        log.error("workflow_missing", order_id=str(order_id), command_id=command.id)
        detail = f"Order {order_id} stands, but its workflow is gone: the command was not accepted."
        raise problems.ProblemAnswer(
            Problem(slug="workflow_missing", detail=detail, status=503),
            headers={"Retry-After": str(problems.RETRY_AFTER_SECONDS)},
            order_id=str(order_id),
            command_id=command.id,
        )


class _Known(Exception):
    """The outcome is known without waiting."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.state)
        self.outcome = outcome
