"""Orders and their workflows at rest: each is over or waits for its customer, and none of them ever broke."""

from collections.abc import Iterator
from typing import Final

from tools.chaos.evidence import Evidence, Rows

#: In these an order has a run, which waits.
_WITH_A_RUN: Final = ("APPROVED", "FULFILLING")
_NON_DETERMINISM: Final = "NON_DETERMINISTIC"
#: In the command id of a repair.
_GONE: Final = "workflow_gone"


def orders_at_rest(evidence: Evidence) -> Iterator[str]:
    """Every order ends as its row says, or waits for its customer, with the payment and the stock that go with it."""
    yield from (f"in motion: {sentence}" for sentence in evidence.unrest)
    parts = {
        service: {row["order_id"]: row["status"] for row in evidence.rows[service]}
        for service in ("payments", "inventory")
    }
    approved, by_hand = _ever_approved(evidence), set(evidence.terminated.values())
    for order in evidence.rows["orders"]:
        order_id, status = order["order_id"], order["status"]
        payment, reservation = parts["payments"].get(order_id), parts["inventory"].get(order_id)
        if not at_rest(status, order_id in approved, payment, reservation, by_hand=f"order-{order_id}" in by_hand):
            yield f"order {order_id} is {status}: payment {payment}, reservation {reservation}"


def workflows_never_failed(evidence: Evidence) -> Iterator[str]:
    """One workflow an order that was ever approved: running until it is shipped or undone, ended then; no other order
    has one.

    No step failed for good, or is under way. A run that was terminated by hand is followed by another one, unless
    nothing was left to do. What runs beside the orders (reconciliation) ends well, or still runs.
    """
    orders = {f"order-{row['order_id']}": row["status"] for row in evidence.rows["orders"]}
    approved = {f"order-{order_id}" for order_id in _ever_approved(evidence)}
    runs: dict[str, list[str]] = {name: [] for name in orders}
    for workflow in evidence.workflows:
        name, status = workflow["id"], workflow["status"]
        if not name.startswith("order-"):
            if status not in ("COMPLETED", "RUNNING"):
                yield f"workflow {name} is {status}"
            continue
        if name not in orders:
            yield f"workflow {name} has no order"
            continue
        by_hand = status == "TERMINATED" and workflow["run_id"] in evidence.terminated
        if by_hand or status != "CONTINUED_AS_NEW":
            runs[name].append("ended by hand" if by_hand else status)
        if not by_hand:
            yield from (f"workflow {name}: {step} is under way" for step in workflow["pending"])
        yield from (f"workflow {name}: a step failed for good ({how})" for how in workflow["step_failures"])
    looked_at = {f"order-{note['order_id']}" for note in _repairs(evidence)}
    for name, found in runs.items():
        status, of_its_own = orders[name], [run for run in found if run != "ended by hand"]
        if name not in approved:
            yield from (f"{name} was never approved and has a workflow, {run}" for run in found)
            continue
        due = "RUNNING" if status in _WITH_A_RUN else "COMPLETED"
        if not found:
            yield f"{name} is {status} and has no workflow"
        elif found[-1] != due and not (found[-1] == "ended by hand" and due == "COMPLETED"):
            yield f"workflow {name} is {found[-1]}, its order {status}"
        if wrong := [run for run in of_its_own if run != due]:
            yield f"workflow {name} has a run that is {wrong[0]}, its order is {status}"
        # Reconciliation may ask for a look at what is over.
        if len(of_its_own) > 1 and name not in looked_at:
            yield f"workflow {name} has {len(of_its_own)} runs"


def nothing_is_left_to_tell(evidence: Evidence) -> Iterator[str]:
    """Temporal was told of every order: no handover is left."""
    for handover in evidence.handovers:
        why = f": it refuses {handover['refused']}" if handover["refused"] else ""
        yield f"order {handover['order_id']}: Temporal was not told ({handover['name']}){why}"


def tokens_are_gone(evidence: Evidence) -> Iterator[str]:
    """A payment token is kept for DRAFT and APPROVED orders only."""
    statuses = {row["order_id"]: row["status"] for row in evidence.rows["orders"]}
    for token in evidence.tokens:
        status = statuses.get(token["order_id"])
        if status not in ("DRAFT", "APPROVED"):
            yield f"order {token['order_id']} is {status} and its payment token is kept"


def nothing_else_was_brought_back(evidence: Evidence) -> Iterator[str]:
    """Only orders whose run was terminated by hand lost their workflow, and were found by reconciliation."""
    by_hand = set(evidence.terminated.values())
    for note in _repairs(evidence):
        if _GONE in note["command_id"] and f"order-{note['order_id']}" not in by_hand:
            yield f"order {note['order_id']} was without a workflow: {note['refusal']['detail']}"


def workflow_tasks_recovered(evidence: Evidence) -> Iterator[str]:
    """No workflow task failed of non-determinism; every other one that failed was followed by a success."""
    for workflow in evidence.workflows:
        by_hand = workflow["run_id"] in evidence.terminated
        outcomes = [outcome for _, outcome, _, _ in workflow["task_events"]]
        for _, outcome, cause, message in workflow["task_events"]:
            if outcome == "failed" and (_NON_DETERMINISM in cause or "TMPRL1100" in message):
                yield f"workflow {workflow['id']}: non-determinism: {message}"
        if outcomes and outcomes[-1] != "completed" and not by_hand:
            yield f"workflow {workflow['id']}: its last workflow task {outcomes[-1]}"
        # Of a run that was ended by hand Temporal keeps the attempt that was under way then.
        if workflow["task_attempt"] > 1 and not by_hand:
            yield f"workflow {workflow['id']}: a workflow task is tried for the {workflow['task_attempt']}th time"


def _ever_approved(evidence: Evidence) -> set[str]:
    return {event["order_id"] for event in evidence.events["orders"] if event["status"] == "APPROVED"}


def _repairs(evidence: Evidence) -> Rows:
    """What reconciliation noted."""
    return [row for row in evidence.commands["orders"] if row["command_id"].startswith("r:")]


def at_rest(
    status: str, was_approved: bool, payment: str | None, reservation: str | None, *, by_hand: bool = False
) -> bool:
    """Whether an order with these parts is final, or waits for its customer. A DRAFT expires before the run is over.

    ``by_hand``: a run of its workflow was terminated, maybe before a door was shut where nothing was held.
    """
    nothing = {None} if by_hand else set()
    match status:
        case "FULFILLING":
            return payment == "AUTHORIZED" and reservation == "RESERVED"
        case "SHIPPED" | "COMPLETED":
            return payment == "CAPTURED" and reservation == "COMMITTED"
        case "CANCELLED" if was_approved:
            return payment in {"VOIDED", "DECLINED"} | nothing and reservation in {"RELEASED", "REJECTED"} | nothing
        case "CANCELLED":
            return payment is None and reservation is None
    return False
