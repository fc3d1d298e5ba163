"""Evidence of a small shop at rest in which every rule holds: what the checker's own tests corrupt."""

import json
from dataclasses import fields
from typing import Any, Final

from tools.chaos.evidence import SERVICES, Evidence, Row, Rows
from tools.chaos.marks import mark_of
from tools.chaos.rules_stream import SECOND_GROUP, TRACKING_GROUP

#: COMPLETED; declined; waiting FULFILLING; expired as a DRAFT; cancelled when FULFILLING, after a refused ship.
DONE, DECLINED, WAITING, EXPIRED, CANCELLED = (f"00000000-0000-0000-0000-00000000000{n}" for n in range(1, 6))
PRICE: Final = 150
LINES: Final = [{"sku": "bread", "quantity": 2, "unit_price": PRICE}]
TOTAL: Final = 2 * PRICE
_MONEY: Final = {"amount": TOTAL, "currency": "USD"}
_TRACKED: Final = {
    "orders": ("order", "reason"),
    "payments": ("payment", "payment_reason"),
    "inventory": ("inventory", "inventory_reason"),
}


class Shop:
    """Makes what a correct system leaves behind, move by move."""

    def __init__(self) -> None:
        names = [column.name for column in fields(Evidence)]
        by_service = ("rows", "events", "commands", "outbox", "publications", "parked")
        empty: dict[str, Any] = {
            name: {service: [] for service in SERVICES} if name in by_service else [] for name in names
        } | {"terminated": {}, "felt": {"foreign records": 2}}
        self.evidence = Evidence(**empty)
        self._clock = 1_000_000.0
        self.stock("bread", 10)

    def move(self, service: str, order_id: str, event_type: str, status: str, command: str, /, **data: Any) -> None:
        """One command done: row, event, record of the command, publication, record on Kafka, consumers' effects."""
        e, now = self.evidence, self._now()
        rows = {row["order_id"]: row for row in e.rows[service]}
        if order_id not in rows:
            e.rows[service].append({"order_id": order_id, "version": 0})
        row = next(row for row in e.rows[service] if row["order_id"] == order_id)
        version = row["version"] + 1
        if event_type == "ORDER_STATE_CHANGED":
            data |= {"from": row["status"], "to": status}
        row |= {"status": status, "version": version, "reason": data.get("reason")}
        identity = {"order_id": order_id, "version": version}
        name = command.partition(":")[2].rpartition("-")[2]
        e.events[service].append(
            {**identity, "type": event_type, "status": status, "data": data, "command_id": command, "recorded_at": now}
        )
        e.commands[service].append(
            {**identity, "command_id": command, "name": name, "refusal": None, "recorded_at": now}
        )
        place = {"partition": int(order_id[-1]), "offset": len(e.records)}
        e.publications[service].append({**identity, **place, "published_at": now})
        value = {**identity, "status": status, "data": data}
        source = f"/orderflow/{service}"
        headers = {
            "ce_id": f"{service}/{order_id}/{version}",
            "ce_source": source,
            "ce_type": event_type,
            "ce_subject": order_id,
            "ce_sequence": f"{version:010d}",
        }
        e.records.append({**place, "key": order_id, "headers": headers, "value": json.dumps(value)})
        e.tracked_events.append({**identity, "source": source, "type": event_type, "status": status})
        e.effects.append({**identity, "n": len(e.effects), "source": source, "type": event_type})
        for inbox, group in ((e.processed, TRACKING_GROUP), (e.effects_processed, SECOND_GROUP)):
            inbox.append({"consumer_group": group, "source": source, "subject": order_id, "sequence": version})

    def told(self, kind: str, order_id: str, *, status: int = 200, problem: str | None = None) -> None:
        """A client asked for the command that was carried out last, and was told so."""
        made = self.evidence.events["orders"][-1]
        command = None if problem else {"state": "done", "version": made["version"], "status": made["status"]}
        body = (
            {"customer_id": "c-1", "reference": order_id, "currency": "USD", "lines": LINES} if kind == "place" else {}
        )
        self.ask(
            kind,
            "/orders" if kind == "place" else f"/orders/{order_id}/{kind}",
            f"{order_id}-{kind}",
            {"status": status, "problem": problem, "order_id": order_id, "command": command},
            order_id=None if kind == "place" else order_id,
            body=body,
        )

    def ask(self, kind: str, path: str, key: str, told: Row | None, **more: Any) -> None:
        """A line of the client's ledger."""
        sent = {"n": len(self.evidence.ledger) + 1, "at": self._now(), "say": "sent", "kind": kind, "path": path}
        defaults = {"key": key, "conflict": False, "order_id": None, "body": {}, "lost": None}
        self.evidence.ledger.append({**sent, **defaults, "told": told, **more})

    def stock(self, sku: str, on_hand: int) -> None:
        """Said over HTTP."""
        self.evidence.stock.append({"sku": sku, "on_hand": on_hand, "reserved": 0, "version": 1})
        made = {"sku": sku, "on_hand": on_hand, "version": 1, "delta": on_hand}
        self.evidence.movements.append(
            {**made, "reserved": 0, "order_id": None, "command_id": f"c:stock-{sku}", "recorded_at": self._now()}
        )
        told = {"status": 201, "problem": None, **made, "reserved": 0}
        self.ask("set", f"/inventory/{sku}", f"stock-{sku}", told)

    def reserve(self, order_id: str) -> None:
        """Hold the stock."""
        self.evidence.reservation_lines.append({"order_id": order_id, "sku": "bread", "quantity": 2})
        self._stock(reserved=2)
        self.move("inventory", order_id, "INVENTORY_RESERVED", "RESERVED", "w:reserve")

    def release(self, order_id: str) -> None:
        """Give it back."""
        self._stock(reserved=-2)
        self.move("inventory", order_id, "INVENTORY_RELEASED", "RELEASED", "w:release")

    def commit(self, order_id: str) -> None:
        """Let it go."""
        row = self._stock(reserved=-2, on_hand=-2)
        movement = {"sku": "bread", "delta": -2, "order_id": order_id, "command_id": None}
        self.evidence.movements.append({**row, **movement})
        self.move("inventory", order_id, "INVENTORY_COMMITTED", "COMMITTED", "w:commit")

    def authorize(self, order_id: str, *, reason: str | None = None) -> None:
        """Ask the gateway, and record its answer."""
        status = "declined" if reason else "authorized"
        self.evidence.gateway_payments.append({"reference": order_id, "status": status, "duplicate_attempts": 0})
        if reason:
            self.move("payments", order_id, "PAYMENT_FAILED", "DECLINED", "w:authorize", **_MONEY, reason=reason)
        else:
            self.money(order_id, "hold")
            self.move("payments", order_id, "PAYMENT_AUTHORIZED", "AUTHORIZED", "w:authorize", **_MONEY)
        self._payment(order_id, **_MONEY, authorization_id=None if reason else f"hold-{order_id}", capture_id=None)

    def capture(self, order_id: str) -> None:
        """Take the money."""
        self.money(order_id, "capture")
        self._gateway(order_id, "captured")
        self.move("payments", order_id, "PAYMENT_CAPTURED", "CAPTURED", f"w:capture:{order_id}", **_MONEY)
        self._payment(order_id, capture_id=f"capture-{order_id}")

    def void(self, order_id: str) -> None:
        """Give it back."""
        self.move("payments", order_id, "PAYMENT_VOID_REQUESTED", "VOIDING", "w:void")
        self.money(order_id, "release")
        self._gateway(order_id, "voided")
        self.move("payments", order_id, "PAYMENT_VOIDED", "VOIDED", "w:record_void")

    def money(self, order_id: str, kind: str) -> None:
        """A movement in the gateway's ledger."""
        self.evidence.gateway_movements.append(
            {
                "id": f"{kind}-{order_id}",
                "reference": order_id,
                "kind": kind,
                "amount": TOTAL,
                "moved_at": f"{self._now()}",
            }
        )

    def place(self, order_id: str) -> None:
        """A DRAFT."""
        self.move("orders", order_id, "ORDER_CREATED", "DRAFT", "w:place")
        row = self.evidence.rows["orders"][-1]
        row |= {"customer_id": "c-1", "reference": order_id, "currency": "USD", "total": TOTAL}
        self.evidence.order_lines += [{"order_id": order_id, "line": 1, **line} for line in LINES]
        self.told("place", order_id, status=201)

    def command(self, kind: str, order_id: str, status: str, /, **data: Any) -> None:
        """A client's command, done and told."""
        event_type = "ORDER_APPROVED" if kind == "approve" else "ORDER_STATE_CHANGED"
        self.move("orders", order_id, event_type, status, f"c:{order_id}-{kind}", **data)
        self.told(kind, order_id)

    def refused(self, kind: str, order_id: str, status: int, slug: str) -> None:
        """A client's command, refused with a record, and told."""
        record = {"order_id": order_id, "command_id": f"c:{order_id}-{kind}", "name": kind, "version": None}
        self.evidence.commands["orders"].append({**record, "refusal": {"slug": slug}, "recorded_at": self._now()})
        self.told(kind, order_id, status=status, problem=slug)

    def stranger(self, number: int, *, event_of: str | None = None) -> None:
        """A foreign record: an event of another source, of this order, or junk."""
        e = self.evidence
        place = {"partition": 3, "offset": len(e.records) + len(e.foreign)}
        if event_of is None:
            mark = mark_of(0, number, "junk")
            e.foreign.append({**place, "mark": mark, "source": None, "subject": None, "sequence": None})
            letter = {"subject": None, "kind": "undecodable", "reason": "no event", "mark": mark}
            e.dead_letters += [{"consumer_group": group, **letter} for group in (TRACKING_GROUP, SECOND_GROUP)]
            return
        claim = {"source": "/orderflow/shipping", "subject": event_of, "sequence": f"{number:010d}"}
        e.foreign.append({**place, "mark": mark_of(0, number, "event"), **claim})
        event = {"order_id": event_of, "version": number, "source": claim["source"], "type": "ORDER_APPROVED"}
        # First, so that the last of each is of one of ours.
        e.tracked_events.insert(0, {**event, "status": "APPROVED"})
        e.effects.insert(0, {**event, "n": len(e.effects)})
        for inbox, group in ((e.processed, TRACKING_GROUP), (e.effects_processed, SECOND_GROUP)):
            inbox.insert(0, {"consumer_group": group, **claim, "sequence": number})

    def close(self) -> Evidence:
        """What is left, with workflows and tracking."""
        e = self.evidence
        approved = {event["order_id"] for event in e.events["orders"] if event["status"] == "APPROVED"}
        for row in (row for row in e.rows["orders"] if row["order_id"] in approved):
            e.workflows.append(
                {
                    "id": f"order-{row['order_id']}",
                    "run_id": f"run-{row['order_id']}",
                    "status": "RUNNING" if row["status"] in ("APPROVED", "FULFILLING") else "COMPLETED",
                    "pending": [],
                    "task_attempt": 0,
                    "task_events": [
                        [4, "failed", "WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE", ""],
                        [9, "completed", "", ""],
                    ],
                    "step_failures": [],
                }
            )
        for row in e.rows["orders"]:
            tracked: Row = {"order_id": row["order_id"]}
            for service, (part, reason) in _TRACKED.items():
                found = [r for r in e.rows[service] if r["order_id"] == row["order_id"]]
                own: Row = found[0] if found else {}
                tracked |= {f"{part}_status": own.get("status"), f"{part}_version": own.get("version")}
                tracked[reason] = own.get("reason")
            e.tracking.append(tracked)
        return e

    def _stock(self, **changes: int) -> Row:
        row = self.evidence.stock[0]
        for name, change in changes.items():
            row[name] += change
        row["version"] += 1
        return dict(row)

    def _payment(self, order_id: str, **columns: Any) -> None:
        next(row for row in self.evidence.rows["payments"] if row["order_id"] == order_id).update(columns)

    def _gateway(self, order_id: str, status: str) -> None:
        next(row for row in self.evidence.gateway_payments if row["reference"] == order_id)["status"] = status

    def _now(self) -> float:
        self._clock += 10
        return self._clock


def sound_evidence() -> Evidence:
    """Five orders, each at an end of its own, and two records of strangers."""
    shop = Shop()
    for order_id in (DONE, DECLINED, WAITING, EXPIRED, CANCELLED):
        shop.place(order_id)
    for order_id in (DONE, WAITING, CANCELLED):
        shop.command("approve", order_id, "APPROVED")
        shop.authorize(order_id)
        shop.reserve(order_id)
        shop.move("orders", order_id, "ORDER_STATE_CHANGED", "FULFILLING", "w:fulfil")
    shop.told("complete", WAITING, status=409, problem="illegal_transition")
    shop.move("orders", EXPIRED, "ORDER_STATE_CHANGED", "CANCELLED", "w:expire", reason="draft_expired")
    shop.command("approve", DECLINED, "APPROVED")
    shop.reserve(DECLINED)
    shop.authorize(DECLINED, reason="payment_declined")
    shop.move("orders", DECLINED, "ORDER_STATE_CHANGED", "CANCELLED", "w:fail", reason="payment_declined")
    shop.release(DECLINED)
    shop.capture(DONE)
    shop.command("ship", DONE, "SHIPPED")
    shop.commit(DONE)
    shop.command("complete", DONE, "COMPLETED")
    shop.refused("ship", CANCELLED, 402, "capture_refused")
    shop.command("cancel", CANCELLED, "CANCELLED", reason="customer")
    shop.void(CANCELLED)
    shop.release(CANCELLED)
    told = {"status": 422, "problem": "idempotency_conflict", "order_id": None, "command": None}
    shop.ask("cancel", f"/orders/{DONE}/cancel", f"{DONE}-ship", told, order_id=DONE, conflict=True)
    shop.stranger(7)
    shop.stranger(8, event_of=DONE)
    return shop.close()


def only(rows: Rows, **wanted: object) -> Row:
    """The one row that has these values."""
    [found] = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found
