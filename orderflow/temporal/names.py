"""What things are called in Temporal: queues, search attributes, workflow types and ids."""

from typing import Final
from uuid import UUID

#: Task queues: each service scales, deploys and fails on its own.
ORDERS_QUEUE: Final = "orders"
PAYMENTS_QUEUE: Final = "payments"
INVENTORY_QUEUE: Final = "inventory"

#: Temporal search attributes of an order, both of type Keyword.
CUSTOMER_ID: Final = "CustomerId"
ORDER_STATUS: Final = "OrderStatus"
SEARCH_ATTRIBUTES: Final = (CUSTOMER_ID, ORDER_STATUS)

#: The workflow type of an order.
ORDER_WORKFLOW: Final = "OrderWorkflow"

#: Summaries, which tell the workflow's timers and its records of refusals apart: Temporal has no other name for them.
DRAFT_TIMER: Final = "draft expires"
AGAIN_TIMER: Final = "a step that failed is started again"
SHIP_REFUSED: Final = "ship refused"


def refusal_summary(command: str) -> str:
    """The summary under which the refusal of ``command`` is recorded."""
    return f"refuse {command}"


def workflow_id(order_id: UUID) -> str:
    """The Temporal workflow id of an order."""
    return f"order-{order_id}"


def order_of(workflow_id_found: str) -> UUID | None:
    """The order of a workflow id; None for one that somebody made up."""
    try:
        order_id = UUID(workflow_id_found.removeprefix("order-"))
    except ValueError:
        return None
    return order_id if workflow_id(order_id) == workflow_id_found else None
