"""Stock against its movements, its reservations, and the orders that went out."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tools.chaos.evidence import Evidence, Rows


def stock_is_movements(evidence: Evidence) -> Iterator[str]:
    """on_hand is the sum of the movements, and was so after each of them; never below what was reserved."""
    by_sku: dict[str, Rows] = defaultdict(list)
    for movement in evidence.movements:
        by_sku[movement["sku"]].append(movement)
    for row in evidence.stock:
        on_hand = 0
        for movement in sorted(by_sku.pop(row["sku"], []), key=lambda movement: movement["version"]):
            on_hand += movement["delta"]
            if movement["on_hand"] != on_hand:
                yield f"{row['sku']} version {movement['version']}: {movement['on_hand']} on hand, movements {on_hand}"
            if not 0 <= movement["reserved"] <= movement["on_hand"]:
                yield f"{row['sku']} version {movement['version']}: oversold"
        if row["on_hand"] != on_hand:
            yield f"{row['sku']}: {row['on_hand']} on hand, its movements make {on_hand}"
    yield from (f"{sku} has movements and no stock" for sku in by_sku)


def reserved_is_reservations(evidence: Evidence) -> Iterator[str]:
    """reserved is the sum of the live reservations; nothing is oversold."""
    live = {row["order_id"] for row in evidence.rows["inventory"] if row["status"] == "RESERVED"}
    held: Counter[str] = Counter()
    for line in evidence.reservation_lines:
        if line["order_id"] in live:
            held[line["sku"]] += line["quantity"]
    for row in evidence.stock:
        if row["reserved"] != held[row["sku"]]:
            yield f"{row['sku']}: {row['reserved']} reserved, live reservations hold {held[row['sku']]}"
        if not 0 <= row["reserved"] <= row["on_hand"]:
            yield f"{row['sku']}: {row['reserved']} reserved of {row['on_hand']}: oversold"
    yield from (f"{sku} is reserved and has no stock" for sku in held.keys() - {row["sku"] for row in evidence.stock})


def stock_follows_orders(evidence: Evidence) -> Iterator[str]:
    """What left the warehouse is what went out with orders; reservations hold what their orders say."""
    ordered: dict[str, Counter[str]] = defaultdict(Counter)
    for line in evidence.order_lines:
        ordered[line["order_id"]][line["sku"]] += line["quantity"]
    gone: dict[str, Counter[str]] = defaultdict(Counter)
    for movement in evidence.movements:
        if movement["order_id"] is not None:
            gone[movement["order_id"]][movement["sku"]] -= movement["delta"]
    reserved: dict[str, Counter[str]] = defaultdict(Counter)
    for line in evidence.reservation_lines:
        reserved[line["order_id"]][line["sku"]] += line["quantity"]
    orders = {row["order_id"]: row["status"] for row in evidence.rows["orders"]}
    for order_id, status in orders.items():
        due = ordered[order_id] if status in ("SHIPPED", "COMPLETED") else Counter[str]()
        if gone.pop(order_id, Counter()) != due:
            yield f"order {order_id} is {status}: not what it asked for left the warehouse"
    yield from (f"stock left for {order_id}, which is no order" for order_id in gone)
    for order_id, lines in reserved.items():
        if lines != ordered[order_id]:
            yield f"order {order_id}: its reservation holds other lines"
    for row in evidence.rows["inventory"]:
        if row["order_id"] not in orders:
            yield f"reservation {row['order_id']} has no order"
        if row["status"] in ("RESERVED", "COMMITTED") and not reserved.get(row["order_id"]):
            yield f"reservation {row['order_id']} is {row['status']} and holds nothing"
