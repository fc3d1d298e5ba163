"""A command's way: one statement on the orders database carries it out, and Temporal is told where it must know.

The statement's commit is the acceptance and, for all but a ship, the outcome. A ship is accepted, and pending until its
payment is captured: the request waits for that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog

from api.http import problems
from api.limits.turns import Turns
from api.orders.telling import Teller
from api.orders.waiting import Gone, Waiter
from orderflow.domain.access import Owner
from orderflow.domain.commands import Command, Outcome
from orderflow.domain.errors import Unavailable
from orderflow.domain.orders import Order
from orderflow.security.sealing import TokenSealer
from orderflow.store.order_views import OrderView
from orderflow.store.orders import Accepted, Orders

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command. ``order``: as the command left it, where that is known without asking again."""

    outcome: Outcome
    order: OrderView | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long a ship is waited for, unless ``gone`` returns before: nobody waits for the answer any more."""

    seconds: float
    gone: Gone | None = None


class OrderCommands:
    """Takes clients' commands. All methods raise Rejection, and ProblemAnswer where nobody knows what was done."""

    def __init__(self, orders: Orders, sealer: TokenSealer, teller: Teller, waiter: Waiter) -> None:
        self._orders = orders
        self._sealer = sealer
        self._teller = teller
        self._waiter = waiter
        self._turns = Turns()

    async def place(self, order: Order, payment_token: str, command: Command, key: str) -> Answer:
        """Make a DRAFT. ``key``: the Idempotency-Key from which the order's id was made."""
        sealed = self._sealer.seal(order.order_id, payment_token)
        with _unknown(order.order_id, command, key):
            async with self._turns.of(order.order_id):
                accepted = await self._orders.place(order, command, sealed)
        return Answer(accepted.outcome, accepted.order)

    async def carry_out(self, order_id: UUID, command: Command, key: str, owner: Owner, waiting: Waiting) -> Answer:
        """approve, complete, cancel, or a ship, which is waited for. ``owner``: whose orders the caller reaches."""
        with _unknown(order_id, command, key):
            async with self._turns.of(order_id):
                accepted = await self._accept(order_id, command, owner)
        if accepted.handover is not None:
            self._teller.tell(accepted.handover)
        if accepted.outcome.state != "pending":
            return Answer(accepted.outcome, accepted.order)
        seconds = 0 if self._teller.temporal_is_away else waiting.seconds
        if not await self._waiter.command_ends(order_id, command.id, seconds, waiting.gone):
            return Answer(accepted.outcome)
        try:
            known = await self._orders.foresee(order_id, command, owner)
        except Unavailable as error:
            log.warning("outcome_unknown", detail=str(error))  # it is accepted all the same
            known = None
        if known is None:
            return Answer(accepted.outcome)
        # It was not this request that met a recorded outcome, unless the ship had been asked for before.
        return Answer(known.model_copy(update={"replayed": accepted.outcome.replayed}))

    async def knows(self, order_id: UUID, command: Command, owner: Owner) -> bool:
        """Whether ``command`` would change nothing: it was carried out before, or cannot be. Raises Unavailable."""
        return await self._orders.foresee(order_id, command, owner) is not None

    async def _accept(self, order_id: UUID, command: Command, owner: Owner) -> Accepted:
        if command.name == "ship":
            return await self._orders.accept_ship(order_id, command, owner)
        return await self._orders.carry_out(order_id, command, owner)


@contextmanager
def _unknown(order_id: UUID, command: Command, key: str) -> Iterator[None]:
    """Where the database says nothing: the client is told how to ask again so that it happens once."""
    try:
        yield
    except Unavailable as error:
        log.warning("dependency_unavailable", dependency=error.dependency, detail=error.detail)
        cause = f" ({error.cause})" if error.cause else ""
        detail = (
            f"{error.dependency} does not answer{cause}, so nobody knows whether it was done. "
            f"Send the same request again with the same Idempotency-Key ({key})."
        )
        raise problems.unavailable(error, detail, order_id=str(order_id), command_id=command.id) from error
