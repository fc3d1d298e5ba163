"""The books: orders against payments, reservations and stock, and our payments against the gateway's ledger."""

from collections.abc import Mapping
from typing import Final

from operations.demo.comparison import Comparison, compared
from operations.demo.evidence import Evidence
from operations.demo.rest import parts_fit
from orderflow.domain.money import money
from orderflow.settings import SERVICES

PAID: Final = frozenset({"SHIPPED", "COMPLETED"})
#: A payment's row, and what the gateway's ledger may say of it.
LEDGER_STATUS: Final[Mapping[str, frozenset[str]]] = {
    "AUTHORIZED": frozenset({"authorized"}),
    "CAPTURED": frozenset({"captured"}),
    "DECLINED": frozenset({"declined"}),
    "VOIDED": frozenset({"voided", "refunded"}),
}
_APPROVED: Final = ("orders", "APPROVED")


def parts(evidence: Evidence) -> Comparison:
    """Each order has the payment and the reservation that its status needs, and there is no part without an order."""
    approved = {order for (service, order, _), e in evidence.events.items() if (service, e.status) == _APPROVED}
    wrong = []
    placed, paid, held = (evidence.rows[service] for service in SERVICES)
    for order_id, row in placed.items():
        payment, reservation = (rows[order_id]["status"] if order_id in rows else None for rows in (paid, held))
        if not parts_fit(row["status"], order_id in approved, payment, reservation):
            wrong.append(f"order {order_id} is {row['status']}: payment {payment}, reservation {reservation}")
    wrong += [f"order {order_id} has a payment and no row" for order_id in paid.keys() - placed.keys()]
    wrong += [f"order {order_id} has a reservation and no row" for order_id in held.keys() - placed.keys()]
    return compared("orders and their parts", f"{len(placed)} orders with the payment and stock they need", wrong)


def handovers(evidence: Evidence) -> Comparison:
    """Temporal was told of everything that it must know."""
    wrong = [f"order {order_id}: Temporal was not told ({name})" for order_id, name in evidence.handovers.items()]
    approved = sum((service, event.status) == _APPROVED for (service, _, _), event in evidence.events.items())
    return compared("handovers", f"{approved} orders handed over to Temporal, no handover is left", wrong)


def amounts(evidence: Evidence) -> Comparison:
    """What was asked for is what the row says and what the payment is about."""
    wrong = []
    totals: dict[str, int] = {}
    for order_id, row in evidence.rows["orders"].items():
        created = evidence.events.get(("orders", order_id, 1))
        lines = sum(item["quantity"] * item["unit_price"] for item in created.data["lines"]) if created else None
        payment = evidence.rows["payments"].get(order_id)
        if lines != row["total"]:
            wrong.append(f"order {order_id}: its lines make {lines}, its row says {row['total']}")
        paid = (payment["amount"], payment["currency"]) if payment and payment["amount"] is not None else None
        if payment and paid not in (None, (row["total"], row["currency"])):
            wrong.append(f"order {order_id}: its total is {row['total']}, its payment's {payment['amount']}")
        totals[row["currency"]] = totals.get(row["currency"], 0) + row["total"]
    said = ", ".join(money(amount, currency) for currency, amount in sorted(totals.items())) or "nothing"
    return compared("amounts", f"{said} ordered: lines = totals = payments", wrong)


def captured(evidence: Evidence) -> Comparison:
    """Money was taken for exactly the orders that went out, and exactly their totals."""
    due = {str(order): row for order, row in evidence.rows["orders"].items() if row["status"] in PAID}
    taken = {ref: entry for ref, entry in evidence.ledger.items() if entry["captured_amount"] != 0}
    wrong = [f"order {reference} went out, nothing was captured" for reference in due.keys() - taken.keys()]
    totals: dict[str, int] = {}
    for reference, entry in taken.items():
        net = entry["captured_amount"] - entry["refunded_amount"]
        row = due.get(reference)
        if row is None and net:
            wrong.append(f"order {reference} did not go out, {net} was captured")
        elif row is not None and (net, entry["currency"]) != (row["total"], row["currency"]):
            wrong.append(f"order {reference}: {net} {entry['currency']} captured, its total is {row['total']}")
        if net:
            totals[entry["currency"]] = totals.get(entry["currency"], 0) + net
    amounts = ", ".join(money(amount, currency) for currency, amount in sorted(totals.items())) or "nothing"
    return compared("ledger: captured", f"{amounts} of the {len(due)} orders that were SHIPPED, and of no other", wrong)


def held_money(evidence: Evidence) -> Comparison:
    """A hold stands for exactly the orders that are FULFILLING, and one each."""
    wrong = []
    cancelled = holds = 0
    statuses = {str(order): row["status"] for order, row in evidence.rows["orders"].items()}
    for reference, status in statuses.items():
        entry = evidence.ledger.get(reference)
        live = entry["authorized_count"] if entry else 0
        # A captured payment is no longer a hold in the ledger's count.
        expected = int(status == "FULFILLING")
        if live != expected:
            wrong.append(f"order {reference} is {status}: {live} live holds")
        cancelled += status == "CANCELLED"
        holds += live
    for reference, entry in evidence.ledger.items():
        if reference not in statuses:
            wrong.append(f"the gateway knows {reference}, an order that is not there")
        if entry["duplicate_attempts"]:
            wrong.append(f"order {reference}: {entry['duplicate_attempts']} attempts to charge it twice")
    return compared("ledger: holds", f"{holds} live, none of the {cancelled} CANCELLED orders, nothing twice", wrong)


def payments_are_ledger(evidence: Evidence) -> Comparison:
    """Each payments row says what the gateway's ledger says: status, and amount where both have one."""
    wrong = []
    for order_id, row in evidence.rows["payments"].items():
        entry = evidence.ledger.get(str(order_id))
        if entry is None or entry["status"] not in LEDGER_STATUS.get(row["status"], frozenset()):
            wrong.append(
                f"payment {order_id} is {row['status']}, at the gateway {entry['status'] if entry else 'none'}"
            )
        elif entry["amount"] is not None and row["amount"] not in (None, entry["amount"]):
            wrong.append(f"payment {order_id}: {row['amount']}, at the gateway {entry['amount']}")
    known = {str(order_id) for order_id in evidence.rows["payments"]}
    wrong += [f"the gateway knows {reference}, payments does not" for reference in evidence.ledger.keys() - known]
    said = f"{len(evidence.rows['payments'])} payments, the same at the gateway"
    return compared("ledger = payments", said, wrong)


def stock_is_movements(evidence: Evidence) -> Comparison:
    """On hand is the sum of a SKU's movements, and what left is what the COMMITTED reservations took."""
    wrong = []
    for sku in evidence.stock.keys() | evidence.moved.keys():
        on_hand = evidence.stock[sku]["on_hand"] if sku in evidence.stock else None
        if on_hand != evidence.moved.get(sku, 0):
            wrong.append(f"{sku}: {on_hand} on hand, its movements make {evidence.moved.get(sku, 0)}")
    committed = {of: -quantity for of, (quantity, status) in evidence.held.items() if status == "COMMITTED"}
    for order, sku in committed.keys() | evidence.taken.keys():
        delta, expected = evidence.taken.get((order, sku), 0), committed.get((order, sku), 0)
        if delta != expected:
            wrong.append(f"order {order} {sku}: {-delta} left the warehouse, its reservation says {-expected}")
    pieces = sum(row["on_hand"] for row in evidence.stock.values())
    left = -sum(evidence.taken.values())
    said = f"{len(evidence.stock)} SKUs, {pieces:,} pieces on hand = the sum of their movements; {left:,} left"
    return compared("stock: on hand", said, wrong)


def reserved(evidence: Evidence) -> Comparison:
    """Reserved is the sum of a SKU's live reservations, and never more than is on hand."""
    reserved: dict[str, int] = {}
    for (_, sku), (quantity, status) in evidence.held.items():
        if status == "RESERVED":
            reserved[sku] = reserved.get(sku, 0) + quantity
    wrong = [
        f"{sku}: {row['reserved']} reserved, its live reservations make {reserved.get(sku, 0)}"
        for sku, row in evidence.stock.items()
        if row["reserved"] != reserved.get(sku, 0) or not 0 <= row["reserved"] <= row["on_hand"]
    ]
    wrong += [f"{sku} is reserved, and has no stock" for sku in reserved.keys() - evidence.stock.keys()]
    pieces = sum(row["reserved"] for row in evidence.stock.values())
    return compared("stock: reserved", f"{pieces:,} pieces = the sum of live reservations, nothing oversold", wrong)
