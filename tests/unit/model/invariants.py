"""What must hold: at every moment, from one moment to the next, and when everything has come to rest.

The names are what a planted bug is known by; the promises are those of ``docs/guarantees.md``.
"""

from collections.abc import Callable
from typing import Final

from orderflow.domain.inventory import ReservationStatus
from orderflow.domain.orders import GONE, ORCHESTRATED, OrderStatus
from orderflow.domain.payments import PaymentStatus
from unit.model.rules import ORDERS
from unit.model.state import OPEN, World

#: More looks than a scenario has faults: reconciliation starts runs that change nothing.
MOST_RECONCILIATIONS: Final = 6

ALWAYS: Final[dict[str, Callable[[World], bool]]] = {
    "a customer is charged at most once": lambda w: w.gateway.captures <= 1,
    "SHIPPED only with the money captured": lambda w: (
        w.row.status not in GONE or w.payments.status == PaymentStatus.CAPTURED
    ),
    "FULFILLING only with payment and stock": lambda w: (
        w.row.status != OrderStatus.FULFILLING
        or (
            w.payments.status in (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED)
            and w.inventory.status in (ReservationStatus.RESERVED, ReservationStatus.COMMITTED)
        )
    ),
    "an order that was approved does not expire": lambda w: (
        "w:expire" not in w.row.done or OrderStatus.APPROVED not in w.row.history
    ),
    "one version for each command that was done": lambda w: len(w.row.done) == w.row.version,
    "stock never leaves for a cancelled order": lambda w: (
        w.row.status != OrderStatus.CANCELLED or w.inventory.status != ReservationStatus.COMMITTED
    ),
    "a refusal writes nothing, but a ship's": lambda w: all(refused.startswith("ship") for refused in w.row.refused),
    "no token outside DRAFT and APPROVED": lambda w: (
        not w.row.token or w.row.status in (OrderStatus.DRAFT, OrderStatus.APPROVED)
    ),
    "no payable order is cancelled for its token": lambda w: w.row.reason != "no_token",
    "a run holds what its row has said": lambda w: all(
        run is None or run.version == 0 or w.row.history[run.version - 1 : run.version] == (run.status,)
        for run in (w.temporal.kept, w.temporal.task)
    ),
    "reconciliation comes to an end": lambda w: w.reconciled <= MOST_RECONCILIATIONS,
}

FINALLY: Final[dict[str, Callable[[World], bool]]] = {
    "no ship stays pending": lambda w: w.row.pending is None,
    "an order is not APPROVED for ever": lambda w: w.row.status != OrderStatus.APPROVED,
    "nothing is held or captured for a cancelled order": lambda w: (
        w.row.status != OrderStatus.CANCELLED or w.gateway.status not in ("held", "captured")
    ),
    "nothing is reserved for a cancelled order": lambda w: (
        w.row.status != OrderStatus.CANCELLED or w.inventory.status != ReservationStatus.RESERVED
    ),
    "a payment is not VOIDING for ever": lambda w: w.payments.status != PaymentStatus.VOIDING,
    "what was captured is shipped": lambda w: w.gateway.status != "captured" or w.row.status in GONE,
    "the stock of what was shipped has left": lambda w: (
        w.row.status not in GONE or w.inventory.status == ReservationStatus.COMMITTED
    ),
    "no run is open for an order that needs none": lambda w: w.temporal.state != OPEN or w.row.status in ORCHESTRATED,
    "no handover is left": lambda w: w.row.handover is None,
    "an operator's cancel is done, or the order cannot be cancelled": lambda w: (
        not w.cancel_was_asked or not ORDERS.allows("cancel", w.row.status)
    ),
}

NEVER_FALLS: Final = "the version that a run holds never falls"


def broken_always(world: World) -> str | None:
    """The name of an invariant that does not hold."""
    return next((name for name, holds in ALWAYS.items() if not holds(world)), None)


def broken_finally(world: World) -> str | None:
    """The same, of a world in which nothing goes on by itself."""
    return next((name for name, holds in FINALLY.items() if not holds(world)), None)


def broken_between(before: World, after: World) -> str | None:
    """The same, of one move."""
    one, other = before.temporal.task, after.temporal.task
    return NEVER_FALLS if one is not None and other is not None and other.version < one.version else None
