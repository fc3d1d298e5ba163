"""A command's way: one statement on the orders database carries it out, and then Temporal is told.

The statement's commit is the acceptance and, for all but a ship, the outcome. A ship is accepted, and pending until its
payment is captured: the request waits for that.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from api.telling import Teller
from api.turns import Turns
from api.waiting import Waiter
from orderflow.domain.commands import Command, Outcome, idempotency_conflict
from orderflow.domain.errors import Rejection
from orderflow.domain.orders import Order
from orderflow.sealing import TokenSealer
from orderflow.store.order_views import OrderView
from orderflow.store.orders import Accepted, Orders

CONFLICT: Final = "idempotency_conflict"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command. ``order``: as the command left it, where that is known without asking again."""

    outcome: Outcome
    order: OrderView | None = None


class OrderCommands:
    """Takes clients' commands. All methods raise Rejection and Unavailable: nothing was done, or nobody knows."""

    def __init__(self, orders: Orders, sealer: TokenSealer, teller: Teller, waiter: Waiter) -> None:
        self._orders = orders
        self._sealer = sealer
        self._teller = teller
        self._waiter = waiter
        self._turns = Turns()

    async def place(self, order: Order, payment_token: str, command: Command, key: str | None) -> Answer:
        """Make a DRAFT. ``key``: the client's Idempotency-Key, from which the order's id was made."""
        sealed = self._sealer.seal(order.order_id, payment_token)
        async with self._turns.of(order.order_id):
            accepted = await self._orders.place(order, command, sealed)
        refusal = accepted.outcome.refusal
        if key and refusal is not None and refusal.slug == CONFLICT:
            raise Rejection(idempotency_conflict(key))
        return Answer(accepted.outcome, accepted.order)

    async def carry_out(self, order_id: UUID, command: Command, wait_seconds: float) -> Answer:
        """approve, complete, cancel, or a ship, which is waited for."""
        async with self._turns.of(order_id):
            accepted = await self._accept(order_id, command)
        if accepted.handover is not None:
            self._teller.tell(accepted.handover)
        if accepted.outcome.state != "pending":
            return Answer(accepted.outcome, accepted.order)
        away = self._teller.temporal_is_away
        if not await self._waiter.command_ends(order_id, command.id, 0 if away else wait_seconds):
            return Answer(accepted.outcome)
        known = await self._orders.foresee(order_id, command)
        if known is None:  # its record has gone
            return Answer(accepted.outcome)
        # It was not this request that met a recorded outcome, unless the ship had been asked for before.
        return Answer(known.model_copy(update={"replayed": accepted.outcome.replayed}))

    async def _accept(self, order_id: UUID, command: Command) -> Accepted:
        if command.name == "ship":
            return await self._orders.accept_ship(order_id, command)
        return await self._orders.carry_out(order_id, command)
