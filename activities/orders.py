"""The order's own row: what the workflow reads of it, and the transitions that are the workflow's."""

from collections.abc import Collection

from temporalio import activity

from orderflow.domain.commands import Outcome
from orderflow.store.orders import Orders
from workflows.steps import EndShip, Look, MoveOrder, OrderRow, OrderSteps, PendingShip, ToSecure, Trace


class OrderActivities(OrderSteps):
    """Reads and writes the order's row, and nothing else. ``near``: the services whose steps this process takes."""

    def __init__(self, orders: Orders, near: Collection[str] = ()) -> None:
        self._orders = orders
        self._near = tuple(near)

    @activity.defn
    async def look(self, request: Look) -> OrderRow:
        """The row as it is now, by one statement."""
        near = self._near if request.first else ()
        seen = await self._orders.look(request.order_id)
        if seen is None:
            return OrderRow(status=None, version=0, near=near)
        ship = seen.ship
        secure = None
        if seen.lines is not None:
            secure = ToSecure(
                total=seen.total, currency=seen.currency, lines=seen.lines, sealed_token=seen.sealed_token
            )
        return OrderRow(
            status=seen.status,
            version=seen.version,
            trace=Trace(correlation_id=seen.correlation_id, traceparent=seen.traceparent),
            ship=ship
            and PendingShip(
                command_id=ship.command_id,
                trace=Trace(correlation_id=ship.correlation_id, traceparent=ship.traceparent),
            ),
            secure=secure,
            near=near,
        )

    @activity.defn
    async def move_order(self, request: MoveOrder) -> Outcome:
        """fulfil, fail, or an operator's cancel."""
        return await self._orders.move(request.order_id, request.command)

    @activity.defn
    async def end_ship(self, request: EndShip) -> Outcome:
        """After the capture: SHIPPED, or, with a problem, refused."""
        if request.problem is not None:
            return await self._orders.refuse_ship(request.order_id, request.command_id, request.problem)
        trace = request.trace
        return await self._orders.record_ship(
            request.order_id,
            request.command_id,
            correlation_id=trace.correlation_id,
            traceparent=trace.traceparent,
        )
