"""Orders as documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from api.schemas import (
    EventDocument,
    InventoryDocument,
    LineDocument,
    Links,
    OrderDocument,
    OrderSummaryDocument,
    PaymentDocument,
)
from orderflow.domain.orders import allowed_actions
from orderflow.store.order_views import EventView, OrderSummary, OrderView
from orderflow.store.tracking import ORDERS, TrackedOrder
from orderflow.temporal.names import workflow_id


@dataclass(frozen=True, slots=True)
class OrderDocuments:
    """Makes documents. ``temporal_ui``: the URL under which workflows are shown."""

    temporal_ui: str

    def summary(self, order: OrderSummary, root: str) -> OrderSummaryDocument:
        """For a list. ``root``: what links begin with."""
        return OrderSummaryDocument.model_validate(self._common(order, root))

    def order(self, order: OrderView, tracked: TrackedOrder | None, root: str) -> OrderDocument:
        """The whole; without ``tracked``, nothing of payment and inventory."""
        payment, inventory = (tracked.payment, tracked.inventory) if tracked else (None, None)
        return OrderDocument(
            **self._common(order, root),
            lines=_lines(order.lines),
            payment=PaymentDocument(status=payment.status, authorized=tracked.payment_authorized, reason=payment.reason)
            if tracked and payment
            else None,
            inventory=InventoryDocument(
                status=inventory.status, reserved=tracked.inventory_reserved, reason=inventory.reason
            )
            if tracked and inventory
            else None,
            tracked_at=tracked.tracked_at if tracked and (payment or inventory) else None,
        )

    def _common(self, order: OrderSummary, root: str) -> dict[str, Any]:
        return {
            "id": order.order_id,
            "status": order.status,
            "version": order.version,
            "reason": order.reason,
            "customer_id": order.customer_id,
            "reference": order.reference,
            "currency": order.currency,
            "total": order.total,
            "created_at": order.created_at,
            "updated_at": order.updated_at,
            # While a ship waits for its capture, everything else is refused.
            "allowed_actions": () if order.pending else allowed_actions(order.status),
            "links": self._links(order.order_id, root),
        }

    def _links(self, order_id: UUID, root: str) -> Links:
        here = f"{root}/orders/{order_id}"
        return Links(
            self=here,
            events=f"{here}/events",
            temporal_ui=f"{self.temporal_ui}/{workflow_id(order_id)}",
        )


def events(order_id: UUID, own: Sequence[EventView], tracked: TrackedOrder | None) -> list[EventDocument]:
    """The order's own events, and those of the other services that the stream has brought, by time."""
    documents = [
        EventDocument(
            id=f"orders/{order_id}/{event.version}",
            source=ORDERS,
            version=event.version,
            type=event.type,
            status=event.status,
            reason=event.data.get("reason"),
            data=event.data,
            correlation_id=event.correlation_id,
            recorded_at=event.recorded_at,
            tracked_at=None,
        )
        for event in own
    ]
    documents += [
        EventDocument(
            id=f"{event.source.rpartition('/')[2]}/{order_id}/{event.version}",
            source=event.source,
            version=event.version,
            type=event.type,
            status=event.status,
            reason=event.reason,
            data=None,
            correlation_id=None,
            recorded_at=event.recorded_at,
            tracked_at=event.tracked_at,
        )
        for event in (tracked.timeline if tracked else ())
        if event.source != ORDERS
    ]
    return sorted(documents, key=lambda event: (event.recorded_at, event.source, event.version))


def _lines(lines: Sequence[tuple[str, int, int]]) -> tuple[LineDocument, ...]:
    return tuple(
        LineDocument(sku=sku, quantity=quantity, unit_price=unit_price, total=quantity * unit_price)
        for sku, quantity, unit_price in lines
    )
