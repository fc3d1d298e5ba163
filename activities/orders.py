"""The order's own transitions."""

from datetime import UTC, datetime, timedelta

from temporalio import activity

from orderflow.domain.commands import Outcome
from orderflow.store.orders import Orders
from workflows.steps import OrderCommand, OrderSteps, Placed, PlaceOrder, RefusedCommand


class OrderActivities(OrderSteps):
    """Writes the order's row, and nothing else."""

    def __init__(self, orders: Orders, draft_ttl: timedelta) -> None:
        self._orders = orders
        self._draft_ttl = draft_ttl

    @activity.defn
    async def place_order(self, request: PlaceOrder) -> Placed:
        """Make the row; its DRAFT expires a while after the row was made, however often this runs."""
        outcome = await self._orders.place(request.order, request.command)
        return Placed(outcome=outcome, expires_at=(outcome.row_created_at or datetime.now(UTC)) + self._draft_ttl)

    @activity.defn
    async def move_order(self, request: OrderCommand) -> Outcome:
        """approve, fulfil, complete, cancel, expire or fail."""
        return await self._orders.move(request.order_id, request.command)

    @activity.defn
    async def accept_ship(self, request: OrderCommand) -> Outcome:
        """Judge a ship: pending, or refused."""
        return await self._orders.accept_ship(request.order_id, request.command)

    @activity.defn
    async def record_ship(self, request: OrderCommand) -> Outcome:
        """After the capture: SHIPPED."""
        return await self._orders.record_ship(request.order_id, request.command)

    @activity.defn
    async def refuse_ship(self, request: RefusedCommand) -> Outcome:
        """After a refused capture."""
        return await self._orders.refuse_ship(request.order_id, request.command, request.problem)

    @activity.defn
    async def refuse_command(self, request: RefusedCommand) -> Outcome:
        """Record a command that cannot even be judged."""
        return await self._orders.refuse(request.order_id, request.command, request.problem)
