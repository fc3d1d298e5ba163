"""What things are called in Temporal: queues, search attributes, workflow types and ids."""

from typing import Final
from uuid import UUID

#: Task queues: each service scales, deploys and fails on its own.
ORDERS_QUEUE: Final = "order-runs"
PAYMENTS_QUEUE: Final = "payments"
INVENTORY_QUEUE: Final = "inventory"
#: The role of the worker that serves each.
ROLE_OF_QUEUE: Final = {ORDERS_QUEUE: "orders", PAYMENTS_QUEUE: "payments", INVENTORY_QUEUE: "inventory"}

#: A search attribute of an order, of type Keyword. Nothing in Temporal names its customer.
ORDER_STATUS: Final = "OrderStatus"
SEARCH_ATTRIBUTES: Final = (ORDER_STATUS,)

#: The workflow type of an order.
ORDER_WORKFLOW: Final = "OrderWorkflow"

#: Summaries: Temporal has no other name for the workflow's timers, and for the record of a refused ship.
AGAIN_TIMER: Final = "a step that failed is started again"
NO_ANSWER_TIMER: Final = "a step that no worker of ours answered is started again"
CALM_TIMER: Final = "a run of many looks begins anew"
SHIP_REFUSED: Final = "ship refused"


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
