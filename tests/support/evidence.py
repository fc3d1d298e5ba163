"""Evidence of a small shop at rest, in which everything agrees: what the check's tests corrupt."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from operations.demo.evidence import Event, Evidence, Row
from orderflow.stream.reading import Seen
from orderflow_events.envelope import decode, encode

COMPLETED, DECLINED, WAITING = (UUID(int=number) for number in (1, 2, 3))
PRICE = 150
LINES = [{"sku": "bread", "quantity": 2, "unit_price": PRICE}]
TOTAL = 2 * PRICE
_START = datetime(2026, 11, 23, 8, tzinfo=UTC)
_MONEY = {"amount": TOTAL, "currency": "USD"}
_CREATED = {"customer_id": "c-1", "currency": "USD", "total": TOTAL, "lines": LINES}
_RESERVED = {"lines": [{"sku": "bread", "quantity": 2}]}


def _moved(from_: str, to: str, reason: str | None = None) -> tuple[str, str, dict[str, Any]]:
    return "ORDER_STATE_CHANGED", to, {"from": from_, "to": to, "reason": reason}


#: By service and order: type, status, data of versions 1, 2, 3 ...
HISTORIES: dict[tuple[str, UUID], list[tuple[str, str, dict[str, Any]]]] = {
    ("orders", COMPLETED): [
        ("ORDER_CREATED", "DRAFT", _CREATED),
        ("ORDER_APPROVED", "APPROVED", {}),
        _moved("APPROVED", "FULFILLING"),
        _moved("FULFILLING", "SHIPPED"),
        _moved("SHIPPED", "COMPLETED"),
    ],
    ("payments", COMPLETED): [
        ("PAYMENT_AUTHORIZED", "AUTHORIZED", {**_MONEY, "authorization_id": "a-1"}),
        ("PAYMENT_CAPTURED", "CAPTURED", {**_MONEY, "capture_id": "c-1"}),
    ],
    ("inventory", COMPLETED): [
        ("INVENTORY_RESERVED", "RESERVED", _RESERVED),
        ("INVENTORY_COMMITTED", "COMMITTED", {}),
    ],
    ("orders", DECLINED): [
        ("ORDER_CREATED", "DRAFT", _CREATED),
        ("ORDER_APPROVED", "APPROVED", {}),
        _moved("APPROVED", "CANCELLED", "payment_declined"),
    ],
    ("payments", DECLINED): [("PAYMENT_FAILED", "DECLINED", {**_MONEY, "reason": "payment_declined"})],
    ("inventory", DECLINED): [
        ("INVENTORY_RESERVED", "RESERVED", _RESERVED),
        ("INVENTORY_RELEASED", "RELEASED", {}),
    ],
    ("orders", WAITING): [
        ("ORDER_CREATED", "DRAFT", _CREATED),
        ("ORDER_APPROVED", "APPROVED", {}),
        _moved("APPROVED", "FULFILLING"),
    ],
    ("payments", WAITING): [("PAYMENT_AUTHORIZED", "AUTHORIZED", {**_MONEY, "authorization_id": "a-2"})],
    ("inventory", WAITING): [("INVENTORY_RESERVED", "RESERVED", _RESERVED)],
}


def sound_evidence() -> Evidence:
    """One order COMPLETED, one declined, one FULFILLING; ten loaves at first, two went out, two are reserved."""
    events = {
        (service, order, version): Event(type_, status, data, "corr-1", _START + timedelta(seconds=version))
        for (service, order), history in HISTORIES.items()
        for version, (type_, status, data) in enumerate(history, start=1)
    }
    stream = [_record(number, *event) for number, event in enumerate(events.items())]
    rows: dict[str, dict[UUID, Row]] = {
        service: {order: _row(service, history) for (source, order), history in HISTORIES.items() if source == service}
        for service in ("orders", "payments", "inventory")
    }
    return Evidence(
        events=events,
        rows=rows,
        publications={event: (0, number) for number, event in enumerate(events)},
        waiting={"orders": 0, "payments": 0, "inventory": 0},
        parked={"orders": 0, "payments": 0, "inventory": 0},
        handovers={},
        stream=stream,
        ledger={
            str(COMPLETED): _entry("captured", captured_amount=TOTAL),
            str(DECLINED): _entry("declined"),
            str(WAITING): _entry("authorized", authorized_count=1),
        },
        tracked={order: _tracked(rows, order) for order in (COMPLETED, DECLINED, WAITING)},
        tracked_events=set(events),
        consumed=len(events),
        stock={"bread": {"sku": "bread", "on_hand": 8, "reserved": 2}},
        moved={"bread": 8},
        held={
            (COMPLETED, "bread"): (2, "COMMITTED"),
            (DECLINED, "bread"): (2, "RELEASED"),
            (WAITING, "bread"): (2, "RESERVED"),
        },
        taken={(COMPLETED, "bread"): -2},
    )


def _record(offset: int, event_id: tuple[str, UUID, int], event: Event) -> Seen:
    service, order_id, version = event_id
    record = encode(
        source=f"/orderflow/{service}",
        type=event.type,
        order_id=order_id,
        version=version,
        status=event.status,
        recorded_at=event.recorded_at,
        correlation_id=event.correlation_id,
        traceparent=None,
        data=event.data,
    )
    return Seen(0, offset, decode(record.headers, record.key, record.value), record.value)


def _row(service: str, history: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    _, status, data = history[-1]
    row = {"status": status, "version": len(history), "reason": data.get("reason")}
    money = {"orders": {"currency": "USD", "total": TOTAL}, "payments": _MONEY, "inventory": {}}
    return {**row, **money[service]}


def _entry(status: str, **figures: int) -> dict[str, Any]:
    sums = {"authorized_count": 0, "captured_amount": 0, "refunded_amount": 0, "duplicate_attempts": 0}
    return {"status": status, **_MONEY, **sums, **figures}


def _tracked(rows: Mapping[str, Mapping[UUID, Row]], order: UUID) -> dict[str, Any]:
    columns = {"orders": ("order", "reason"), "payments": ("payment", "payment_reason")}
    tracked: dict[str, Any] = {}
    for service, (part, reason) in {**columns, "inventory": ("inventory", "inventory_reason")}.items():
        row = rows[service][order]
        tracked |= {f"{part}_status": row["status"], f"{part}_version": row["version"], reason: row["reason"]}
    return tracked
