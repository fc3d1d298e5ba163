"""The steps of the other services as the order calls them: what each is given, and where it runs.

A step is tried near first: once, as a local activity, inside the workflow task that wants it. What gives no answer
there becomes an ordinary activity on its service's task queue, which is tried without bound. Both attempts carry the
same command ids, so they are one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError

from orderflow.domain.money import money
from orderflow.temporal.names import INVENTORY_QUEUE, PAYMENTS_QUEUE
from workflows.options import FAR, NEAR
from workflows.steps import (
    AuthorizePayment,
    CapturePayment,
    CloseDoor,
    InventorySteps,
    PaymentSteps,
    ReserveInventory,
    StepOutcome,
    ToSecure,
    Trace,
)


@dataclass(frozen=True, slots=True)
class Call:
    """One step to be taken. ``service`` is the name of its task queue, too."""

    method: Callable[[Any, Any], Awaitable[StepOutcome]]
    request: object
    service: str
    summary: str

    async def outcome(self, *, near: bool) -> StepOutcome:
        """What it came to. Raises FailureError where not even repeating helps: a bug; ValueError or another error of
        the converter's where somebody else answered, with what is no outcome."""
        if near:
            try:
                return await workflow.execute_local_activity_method(
                    self.method, self.request, summary=self.summary, **NEAR
                )
            except FailureError:
                # No answer: from here on it is tried where everybody sees it. It is an ActivityError when it happens,
                # and its bare cause when it is replayed: the SDK's marker keeps no more.
                pass
        # By its name, so that the answer comes as it was sent: what the SDK itself cannot read fails the workflow task,
        # for ever, and anybody with Temporal's CLI can answer a pending step.
        answer = await workflow.execute_activity(
            self.method.__name__,
            self.request,
            task_queue=self.service,
            summary=self.summary,
            result_type=RawValue,
            **FAR,
        )
        return _outcome_in(answer)


def _outcome_in(answer: RawValue | None) -> StepOutcome:
    if answer is None:
        raise ValueError("the step was answered with nothing")
    [outcome] = workflow.payload_converter().from_payloads([answer.payload], [StepOutcome])
    if not isinstance(outcome, StepOutcome):
        raise ValueError("the step was answered with no outcome")
    return outcome


def authorize(order_id: UUID, secure: ToSecure, trace: Trace) -> Call:
    """Hold the order's total."""
    request = AuthorizePayment(
        order_id=order_id,
        amount=secure.total,
        currency=secure.currency,
        sealed_token=secure.sealed_token,
        trace=trace,
    )
    summary = f"authorize payment of {money(secure.total, secure.currency)}"
    return Call(PaymentSteps.authorize_payment, request, PAYMENTS_QUEUE, summary)


def capture(order_id: UUID, ship_id: str, trace: Trace, total: str | None) -> Call:
    """Take what is held, for the ship with this command id. ``total``: how much, for people; None: not known here."""
    request = CapturePayment(order_id=order_id, command_id=f"w:capture:{ship_id}", trace=trace)
    return Call(
        PaymentSteps.capture_payment, request, PAYMENTS_QUEUE, f"capture payment{f' of {total}' if total else ''}"
    )


def void(order_id: UUID, trace: Trace) -> Call:
    """Shut the payment's door."""
    return Call(PaymentSteps.void_payment, CloseDoor(order_id=order_id, trace=trace), PAYMENTS_QUEUE, "void payment")


def reserve(order_id: UUID, secure: ToSecure, trace: Trace) -> Call:
    """Set all lines aside."""
    request = ReserveInventory(order_id=order_id, lines=secure.lines, trace=trace)
    lines = "1 line" if len(secure.lines) == 1 else f"{len(secure.lines)} lines"
    return Call(InventorySteps.reserve_inventory, request, INVENTORY_QUEUE, f"reserve stock for {lines}")


def commit(order_id: UUID, trace: Trace) -> Call:
    """Let the reserved stock go."""
    request = CloseDoor(order_id=order_id, trace=trace)
    return Call(InventorySteps.commit_inventory, request, INVENTORY_QUEUE, "commit stock")


def release(order_id: UUID, trace: Trace) -> Call:
    """Shut the reservation's door."""
    request = CloseDoor(order_id=order_id, trace=trace)
    return Call(InventorySteps.release_inventory, request, INVENTORY_QUEUE, "release stock")
