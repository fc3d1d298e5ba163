"""Reservations: one an order, with the stock they hold."""

from enum import StrEnum

from orderflow.domain.lifecycle import NOTHING, Lifecycle, Transition
from orderflow_events.models import InventoryCommitted, InventoryFailed, InventoryReleased, InventoryReserved

MAX_STOCK = 10**9


class ReservationStatus(StrEnum):
    """Where an order's reservation stands. RELEASED from nothing shuts the door: none can be made."""

    RESERVED = "RESERVED"
    REJECTED = "REJECTED"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"


_STATUS = ReservationStatus

LIFECYCLE = Lifecycle(
    "reservation",
    Transition("reserve", (NOTHING,), _STATUS.RESERVED, InventoryReserved),
    Transition("reserve", (NOTHING,), _STATUS.REJECTED, InventoryFailed),
    Transition("commit", (_STATUS.RESERVED,), _STATUS.COMMITTED, InventoryCommitted),
    Transition("release", (NOTHING, _STATUS.RESERVED), _STATUS.RELEASED, InventoryReleased),
)
