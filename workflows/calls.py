"""The steps of the other services as the order calls them: what each is given, on which task queue."""

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import workflow

from orderflow.domain.orders import Order
from orderflow.temporal.names import INVENTORY_QUEUE, PAYMENTS_QUEUE
from workflows.options import REMOTE
from workflows.steps import (
    AuthorizePayment,
    CapturePayment,
    CloseDoor,
    InventorySteps,
    PaymentSteps,
    ReserveInventory,
    StepOutcome,
    Trace,
)

#: Starts a step and waits for its outcome, as often as it is called.
Call = Callable[[], Awaitable[StepOutcome]]


def authorize(order: Order, token: str | None, trace: Trace) -> Call:
    """Hold the order's total."""
    request = AuthorizePayment(
        order_id=order.order_id, amount=order.total, currency=order.currency, payment_token=token, trace=trace
    )
    return _call(PaymentSteps.authorize_payment, request, PAYMENTS_QUEUE, "authorize payment")


def capture(order: Order, ship_id: str, trace: Trace) -> Call:
    """Take what is held, for the ship with this command id."""
    request = CapturePayment(order_id=order.order_id, command_id=f"w:capture:{ship_id}", trace=trace)
    return _call(PaymentSteps.capture_payment, request, PAYMENTS_QUEUE, "capture payment")


def void(order: Order, trace: Trace) -> Call:
    """Shut the payment's door."""
    request = CloseDoor(order_id=order.order_id, trace=trace)
    return _call(PaymentSteps.void_payment, request, PAYMENTS_QUEUE, "void payment")


def reserve(order: Order, trace: Trace) -> Call:
    """Set all lines aside."""
    request = ReserveInventory(order_id=order.order_id, lines=order.lines, trace=trace)
    return _call(InventorySteps.reserve_inventory, request, INVENTORY_QUEUE, "reserve stock")


def commit(order: Order, trace: Trace) -> Call:
    """Let the reserved stock go."""
    request = CloseDoor(order_id=order.order_id, trace=trace)
    return _call(InventorySteps.commit_inventory, request, INVENTORY_QUEUE, "commit stock")


def release(order: Order, trace: Trace) -> Call:
    """Shut the reservation's door."""
    request = CloseDoor(order_id=order.order_id, trace=trace)
    return _call(InventorySteps.release_inventory, request, INVENTORY_QUEUE, "release stock")


def _call(step: Callable[[Any, Any], Awaitable[StepOutcome]], request: object, task_queue: str, summary: str) -> Call:
    return lambda: workflow.execute_activity_method(step, request, task_queue=task_queue, summary=summary, **REMOTE)
