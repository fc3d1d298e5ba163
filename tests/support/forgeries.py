"""Records as somebody writes them who may write to the topic and wishes us no good. Each names an order of ours."""

import itertools
import json
from collections.abc import Iterator
from uuid import UUID

from orderflow_events.envelope import Record, event_id
from support.records import a_record

PAYMENTS = "/orderflow/payments"
CAPTURED = {"amount": 1, "currency": "USD", "capture_id": "x"}


def no_events(order: UUID) -> Iterator[Record]:
    """Records that no consumer may take for an event: one of every kind."""
    key = str(order).encode()
    genuine = payment(order, 2)
    body = json.loads(genuine.value)
    headers = dict(genuine.headers)

    def other(**changes: str) -> Record:
        return Record(key, genuine.value, tuple((headers | {n: t.encode() for n, t in changes.items()}).items()))

    yield Record(key, b"junk", ())
    yield Record(key, b"{", genuine.headers)
    yield Record(b"another key", genuine.value, genuine.headers)
    parts: list[dict[str, object]] = [
        {"order_id": str(UUID(int=1))},
        {"version": 1},
        {"status": "VOIDED"},
        {"data": {}},
    ]
    for part in parts:
        yield Record(key, json.dumps(body | part).encode(), genuine.headers)
    yield other(ce_source="/acme/payments")
    yield other(ce_source="/orderflow/orders", ce_id=event_id("/orderflow/orders", order, 2))
    yield other(ce_sequence="0000000003")
    yield other(ce_id=event_id(PAYMENTS, order, 3))


def impossible(order: UUID) -> Iterator[Record]:
    """Events that lie outside the LIFECYCLE."""
    yield payment(order, 1_000_000)
    yield payment(order, 1)
    yield a_record(
        order, 1_000_000, type="ORDER_STATE_CHANGED", status="CANCELLED", data={"from": "A", "to": "CANCELLED"}
    )
    yield a_record(order, 2, source=PAYMENTS, type="PAYMENT_AUTHORISED", status="AUTHORIZED")


def payment(order: UUID, version: int) -> Record:
    """A capture: as its second version it lies within the LIFECYCLE."""
    return a_record(order, version, source=PAYMENTS, type="PAYMENT_CAPTURED", status="CAPTURED", data=CAPTURED)


def flood(orders: list[UUID], count: int) -> Iterator[Record]:
    """``count`` records that name ``orders`` in turn, none of them an event that could have happened."""
    shapes = itertools.cycle(record for order in orders for make in (no_events, impossible) for record in make(order))
    return itertools.islice(shapes, count)
