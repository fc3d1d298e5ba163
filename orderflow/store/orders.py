"""Orders: placing, moving, and the two statements of a ship."""

from typing import Any
from uuid import UUID

from orderflow.domain.commands import Command, Outcome
from orderflow.domain.errors import Problem
from orderflow.domain.orders import LIFECYCLE, Order, OrderStatus
from orderflow.store.commands import CommandLog, Row
from orderflow.store.database import Database
from orderflow.store.statements import Cte, Statement, chain
from orderflow.store.write_rule import ANSWER, EVENT, SETTLED, AggregateStatements, Write, lock, update
from orderflow_events.models import OrderCreated, OrderLine, OrderStateChanged

# Reads the lines from the event's data: one copy of them travels, not two.
_LINES = Cte(
    "lines",
    """
    INSERT INTO order_lines (order_id, line, sku, quantity, unit_price)
    SELECT moved.order_id, l.line, l.value->>'sku', (l.value->>'quantity')::int, (l.value->>'unit_price')::bigint
    FROM moved, jsonb_array_elements(moved.data->'lines') WITH ORDINALITY AS l (value, line)""",
)

_STATEMENTS = AggregateStatements(
    "orders",
    LIFECYCLE,
    {
        OrderStatus.DRAFT: Write(("customer_id", "reference", "currency", "total"), (_LINES,)),
        OrderStatus.CANCELLED: Write(("reason",)),
    },
    types={"total": "bigint"},
    apart=("ship",),
)

_ACCEPTED = Cte(
    "accepted",
    """
    INSERT INTO commands (order_id, command_id, name, request_hash)
    SELECT $order_id::uuid, $command_id, $name, $request_hash FROM locked""",
)

_ACCEPT_SHIP = Statement(
    "orders.accept_ship",
    "First half of a ship: leaves the command pending, if the order may be shipped.",
    chain([lock("orders"), _ACCEPTED], "SELECT version, status, NULL::timestamptz AS created_at FROM locked"),
)

_RECORD_SHIP = Statement(
    "orders.record_ship",
    "Second half of a ship: moves the order to SHIPPED and settles the pending command.",
    chain([lock("orders", settling=True), update("orders"), EVENT, SETTLED], ANSWER),
)


class Orders:
    """The orders that there are, and what may be done to them."""

    def __init__(self, database: Database) -> None:
        self._log = CommandLog(database, _STATEMENTS)

    async def place(self, order: Order, command: Command) -> Outcome:
        """Make the order's row and lines, as a DRAFT."""
        created = OrderCreated(
            customer_id=order.customer_id,
            reference=order.reference,
            currency=order.currency,
            total=order.total,
            lines=tuple(OrderLine(**line.model_dump()) for line in order.lines),
        )
        columns = {
            "customer_id": order.customer_id,
            "reference": order.reference,
            "currency": order.currency,
            "total": order.total,
        }
        return await self._log.change(order.order_id, command, data=created.model_dump(mode="json"), columns=columns)

    async def move(self, order_id: UUID, command: Command) -> Outcome:
        """approve, fulfil, complete, cancel, expire or fail. ``command.data`` goes into the event."""
        transition = LIFECYCLE.transition(command.name)
        if transition.event is not OrderStateChanged:
            return await self._log.change(order_id, command)
        columns = {"reason": command.data["reason"]} if transition.to == OrderStatus.CANCELLED else {}
        return await self._log.change(order_id, command, data=_state_changed(command, transition.to), columns=columns)

    async def foresee(self, order_id: UUID, command: Command) -> Outcome | None:
        """What is known of ``command`` without carrying it out; None: go ahead. See CommandLog.foresee."""
        return await self._log.foresee(order_id, command)

    async def accept_ship(self, order_id: UUID, command: Command) -> Outcome:
        """First half of a ship: judged now, then pending while its payment is captured."""
        transition = LIFECYCLE.transition(command.name)
        parameters = self._log.parameters(order_id, command, transition, {})

        async def attempt(_: str | None) -> Row:
            return await self._log.database.one(_ACCEPT_SHIP, parameters)

        return await self._log.carry_out(order_id, command, attempt, state="pending")

    async def record_ship(self, order_id: UUID, command: Command) -> Outcome:
        """Second half, after the capture: SHIPPED. Nothing is judged again, money has moved."""
        transition = LIFECYCLE.transition(command.name)
        parameters = self._log.parameters(order_id, command, transition, _state_changed(command, transition.to))

        async def attempt(_: str | None) -> Row:
            return await self._log.database.one(_RECORD_SHIP, parameters)

        return await self._log.carry_out(order_id, command, attempt)

    async def refuse_ship(self, order_id: UUID, command: Command, problem: Problem) -> Outcome:
        """Second half, after a refused capture: the order stays FULFILLING."""
        return await self._log.settle_refused(order_id, command, problem)

    async def refuse(self, order_id: UUID, command: Command, problem: Problem) -> Outcome:
        """Record a command that cannot even be judged."""
        return await self._log.refuse(order_id, command, problem)


def _state_changed(command: Command, to: str) -> dict[str, Any]:
    """The event's data; its ``from`` is filled in by the statement, which has the row."""
    event = OrderStateChanged.model_validate({**command.data, "from": "", "to": to})
    return event.model_dump(mode="json", exclude_none=True)
