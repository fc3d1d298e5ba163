"""Records as the relay sends them, made by hand."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from orderflow_events.envelope import Record, encode

RECORDED_AT = datetime(2026, 11, 23, tzinfo=UTC)


def a_record(
    order_id: UUID,
    version: int,
    *,
    source: str = "/orderflow/orders",
    type: str | None = None,
    status: str = "APPROVED",
    data: dict[str, Any] | None = None,
    recorded_at: datetime = RECORDED_AT,
) -> Record:
    """An event's record; by default one that approves an order, of another source one that nobody knows."""
    return encode(
        source=source,
        type=type or ("ORDER_APPROVED" if source == "/orderflow/orders" else "SOMETHING_ELSE"),
        order_id=order_id,
        version=version,
        status=status,
        recorded_at=recorded_at,
        correlation_id="corr-1",
        traceparent=None,
        data=data or {},
    )
