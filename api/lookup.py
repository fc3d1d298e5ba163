"""Finding an order wherever it is: its row, or, before a worker has made that, what Temporal accepted."""

from uuid import UUID

import structlog

from orderflow.domain.commands import not_found
from orderflow.domain.errors import Problem, Rejection
from orderflow.store.order_views import OrderView, OrderViews
from orderflow.temporal.runs import Accepted, OrderRuns

log = structlog.get_logger()


class OrderLookup:
    """Answers "is there such an order?" from the database first, and never says no while it cannot know."""

    def __init__(self, views: OrderViews, runs: OrderRuns) -> None:
        self._views = views
        self._runs = runs

    async def find(self, order_id: UUID) -> OrderView | Accepted:
        """The order. Raises Rejection (404, or 500 ``order_lost``), and Unavailable when nobody can tell."""
        if (view := await self._views.read(order_id)) is not None:
            return view
        accepted = await self._runs.accepted(order_id)
        if accepted is None:
            raise Rejection(not_found(order_id))
        if accepted.running:
            return accepted
        return await self.after_the_end(order_id)

    async def after_the_end(self, order_id: UUID) -> OrderView:
        """The order whose workflow has ended: it must have left a trace. Raises Rejection."""
        if (view := await self._views.read(order_id)) is not None:
            return view
        placing = await self._views.command(order_id, "w:place")
        if placing.outcome is not None and placing.outcome.refusal is not None:
            detail = f"There is no order {order_id}: it was refused. {placing.outcome.refusal.detail}"
            raise Rejection(not_found(order_id).model_copy(update={"detail": detail}))
        log.error("order_lost", order_id=str(order_id))
        detail = f"Order {order_id} was accepted, and its workflow ended without a trace in the database."
        raise Rejection(Problem(slug="order_lost", detail=detail, status=500))
