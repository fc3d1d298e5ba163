"""The gateway's ledger against orders and payments. Its movements say what happened to money, whatever else is said."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tools.chaos.evidence import Evidence, Rows

#: A payment's row, and what the gateway's may be.
_STATUSES: Final = {
    "AUTHORIZED": {"authorized"},
    "CAPTURED": {"captured"},
    "DECLINED": {"declined", "voided"},
    "VOIDED": {"voided", "refunded"},
}
#: What each movement does to the number of live authorizations.
_LIVE: Final = {"hold": 1, "release": -1, "capture": -1, "refund": 0}


def one_hold_one_capture(evidence: Evidence) -> Iterator[str]:
    """At no time more than one live authorization of an order, and one capture in all."""
    for reference, movements in _movements(evidence).items():
        live = 0
        todo = list(movements)
        while todo:
            # The ledger's times are milliseconds: of one and the same, any order that is possible will do.
            same = [movement for movement in todo if movement["moved_at"] == todo[0]["moved_at"]]
            movement = next((m for m in same if 0 <= live + _LIVE[m["kind"]] <= 1), same[0])
            todo.remove(movement)
            live += _LIVE[movement["kind"]]
            if not 0 <= live <= 1:
                yield f"order {reference}: {live} live authorizations at {movement['moved_at']}"
        captures = sum(movement["kind"] == "capture" for movement in movements)
        if captures > 1:
            yield f"order {reference}: captured {captures} times"
    for payment in evidence.gateway_payments:
        if payment["duplicate_attempts"]:
            yield f"order {payment['reference']}: {payment['duplicate_attempts']} attempts to charge it twice"


def money_follows_orders(evidence: Evidence) -> Iterator[str]:
    """Held for FULFILLING orders, taken for SHIPPED and COMPLETED ones, exactly their totals; nothing of the others."""
    orders = {row["order_id"]: row for row in evidence.rows["orders"]}
    movements = _movements(evidence)
    for order_id, order in orders.items():
        of = movements.get(order_id, [])
        held = sum(_LIVE[m["kind"]] * m["amount"] for m in of)
        taken = sum({"capture": 1, "refund": -1}.get(m["kind"], 0) * m["amount"] for m in of)
        due = (
            order["total"] if order["status"] == "FULFILLING" else 0,
            order["total"] if order["status"] in ("SHIPPED", "COMPLETED") else 0,
        )
        if (held, taken) != due:
            yield f"order {order_id} is {order['status']}, total {order['total']}: {held} is held, {taken} taken"
    known = {payment["reference"] for payment in evidence.gateway_payments} | movements.keys()
    yield from (f"the gateway knows {reference}, which is no order" for reference in sorted(known - orders.keys()))


def payments_are_gateway(evidence: Evidence) -> Iterator[str]:
    """Each payment's row says what the gateway says, by the same ids; what the gateway has done, payments know.

    But for a refusal of the gateway's whose order's run was terminated by hand before it was recorded: nothing is held,
    so nobody has to find it.
    """
    gateway = {payment["reference"]: payment for payment in evidence.gateway_payments}
    movements = _movements(evidence)
    orders = {row["order_id"]: row for row in evidence.rows["orders"]}
    for payment in evidence.rows["payments"]:
        order_id, status = payment["order_id"], payment["status"]
        there = gateway.get(order_id)
        if there is None or there["status"] not in _STATUSES.get(status, set()):
            yield f"payment {order_id} is {status}, at the gateway {there['status'] if there else 'unknown'}"
        ids = {m["kind"]: m["id"] for m in movements.get(order_id, [])}
        if payment["authorization_id"] not in (None, ids.get("hold")):
            yield f"payment {order_id}: authorization {payment['authorization_id']} is not the gateway's"
        if payment["capture_id"] != (ids.get("capture") if status == "CAPTURED" else None):
            yield f"payment {order_id}: capture {payment['capture_id']} is not the gateway's"
        order = orders.get(order_id)
        if order is None:
            yield f"payment {order_id} has no order"
        elif payment["amount"] not in (None, order["total"]):
            yield f"payment {order_id}: {payment['amount']}, its order's total is {order['total']}"
    rows = {payment["order_id"] for payment in evidence.rows["payments"]}
    by_hand = set(evidence.terminated.values())
    for reference in sorted(gateway.keys() - rows):
        if gateway[reference]["status"] != "declined" or f"order-{reference}" not in by_hand:
            yield f"the gateway knows {reference}, payments does not"


def _movements(evidence: Evidence) -> dict[str, Rows]:
    found: dict[str, Rows] = defaultdict(list)
    for movement in sorted(evidence.gateway_movements, key=lambda movement: str(movement["moved_at"])):
        found[movement["reference"]].append(movement)
    return found
