"""Orders and their workflows at rest: each is over or waits for its customer, and none of them ever broke."""

from collections.abc import Iterator
from typing import Final

from tools.chaos.evidence import Evidence

_FINAL: Final = ("COMPLETED", "CANCELLED")
_NON_DETERMINISM: Final = "NON_DETERMINISTIC"


def orders_at_rest(evidence: Evidence) -> Iterator[str]:
    """Every order is final or waits for its customer, with the payment and the stock that go with it."""
    yield from (f"in motion: {sentence}" for sentence in evidence.unrest)
    parts = {
        service: {row["order_id"]: row["status"] for row in evidence.rows[service]}
        for service in ("payments", "inventory")
    }
    approved = {event["order_id"] for event in evidence.events["orders"] if event["status"] == "APPROVED"}
    for order in evidence.rows["orders"]:
        order_id, status = order["order_id"], order["status"]
        payment, reservation = parts["payments"].get(order_id), parts["inventory"].get(order_id)
        if not at_rest(status, order_id in approved, payment, reservation):
            yield f"order {order_id} is {status}: payment {payment}, reservation {reservation}"


def workflows_never_failed(evidence: Evidence) -> Iterator[str]:
    """One workflow an order: ended with it, or running while it waits. No step failed for good, or is under way.

    What runs beside the orders (reconciliation) ends well, or still runs.
    """
    orders = {f"order-{row['order_id']}": row["status"] for row in evidence.rows["orders"]}
    last = {}
    for workflow in evidence.workflows:
        name, status = workflow["id"], workflow["status"]
        if not name.startswith("order-"):
            if status not in ("COMPLETED", "RUNNING"):
                yield f"workflow {name} is {status}"
            continue
        if name not in orders:
            yield f"workflow {name} has no order"
        if status == "CONTINUED_AS_NEW":
            continue
        if name in last:
            yield f"workflow {name} has two runs"
        last[name] = status
        due = "COMPLETED" if orders.get(name) in _FINAL else "RUNNING"
        if status != due:
            yield f"workflow {name} is {status}, its order {orders.get(name)}"
        yield from (f"workflow {name}: {step} is under way" for step in workflow["pending"])
        yield from (f"workflow {name}: a step failed for good ({how})" for how in workflow["step_failures"])
    yield from (f"{name} is {status} and has no workflow" for name, status in orders.items() if name not in last)


def workflow_tasks_recovered(evidence: Evidence) -> Iterator[str]:
    """No workflow task failed of non-determinism; every other one that failed was followed by a success."""
    for workflow in evidence.workflows:
        outcomes = [outcome for _, outcome, _, _ in workflow["task_events"]]
        for _, outcome, cause, message in workflow["task_events"]:
            if outcome == "failed" and (_NON_DETERMINISM in cause or "TMPRL1100" in message):
                yield f"workflow {workflow['id']}: non-determinism: {message}"
        if outcomes and outcomes[-1] != "completed":
            yield f"workflow {workflow['id']}: its last workflow task {outcomes[-1]}"
        if workflow["task_attempt"] > 1:
            yield f"workflow {workflow['id']}: a workflow task is tried for the {workflow['task_attempt']}th time"


def at_rest(status: str, was_approved: bool, payment: str | None, reservation: str | None) -> bool:
    """Whether an order with these parts is final, or waits for its customer."""
    match status:
        case "DRAFT":
            return payment is None and reservation is None
        case "FULFILLING":
            return payment == "AUTHORIZED" and reservation == "RESERVED"
        case "SHIPPED" | "COMPLETED":
            return payment == "CAPTURED" and reservation == "COMMITTED"
        case "CANCELLED" if was_approved:
            return payment in ("VOIDED", "DECLINED") and reservation in ("RELEASED", "REJECTED")
        case "CANCELLED":
            return payment is None and reservation is None
    return False
