"""One model an event type: the ``data`` of the records on ``order.events``.

Models ignore unknown fields, and keep unknown words of open vocabularies (``Reason``, and every status) as they came:
a newer producer adds fields and words without breaking older consumers.
Amounts are integer minor units with an ISO 4217 currency; times are UTC.
"""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

#: The reasons that this release knows.
KnownReason = Literal[
    "payment_declined",
    "insufficient_funds",
    "out_of_stock",
    "unknown_sku",
    "customer",
    "operator",
    "draft_expired",
]
#: Why something was refused or undone. **An open vocabulary**: a word that is not known is kept as it came, so treat it
#: as "for another reason".
Reason: TypeAlias = Annotated[
    KnownReason | str,
    WithJsonSchema(
        {
            "type": "string",
            "description": "Open: a newer release may say other words than these.",
            "examples": list(get_args(KnownReason)),
        }
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(_Part):
    """The base of all events. ``type`` is the CloudEvents type, ``source`` the CloudEvents source.

    ``status`` is what the source's part of the order becomes by it; None where the event itself says.
    """

    type: ClassVar[str]
    source: ClassVar[str]
    status: ClassVar[str | None] = None

    @property
    def leads_to(self) -> str | None:
        """The status that its record must have; None: any."""
        return self.status


class OrderLine(_Part):
    """One line of an order; ``unit_price`` in minor units of the order's currency."""

    sku: str
    quantity: int
    unit_price: int


class OrderCreated(Event):
    """An order was placed. It is a DRAFT until it is approved."""

    type: ClassVar[str] = "ORDER_CREATED"
    status: ClassVar[str | None] = "DRAFT"
    source: ClassVar[str] = "/orderflow/orders"
    customer_id: str
    reference: str | None = None
    currency: str
    total: int
    lines: tuple[OrderLine, ...]


class OrderApproved(Event):
    """An order was approved: payment and stock are being secured."""

    type: ClassVar[str] = "ORDER_APPROVED"
    status: ClassVar[str | None] = "APPROVED"
    source: ClassVar[str] = "/orderflow/orders"


class Refusals(_Part):
    """Which steps said no, and why."""

    payment: Reason | None = None
    inventory: Reason | None = None


class OrderStateChanged(Event):
    """An order moved on: FULFILLING, SHIPPED, COMPLETED or CANCELLED (then ``reason`` says why)."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)
    type: ClassVar[str] = "ORDER_STATE_CHANGED"
    source: ClassVar[str] = "/orderflow/orders"
    from_: str = Field(alias="from")
    to: str
    reason: Reason | None = None
    refusals: Refusals | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    note: str | None = None

    @property
    def leads_to(self) -> str:
        """Where the order moved to."""
        return self.to


class _PaymentEvent(Event):
    source: ClassVar[str] = "/orderflow/payments"
    amount: int
    currency: str


class PaymentAuthorized(_PaymentEvent):
    """The amount is held on the customer's account."""

    type: ClassVar[str] = "PAYMENT_AUTHORIZED"
    status: ClassVar[str | None] = "AUTHORIZED"
    authorization_id: str


class PaymentFailed(_PaymentEvent):
    """The authorization was declined."""

    type: ClassVar[str] = "PAYMENT_FAILED"
    status: ClassVar[str | None] = "DECLINED"
    reason: Reason


class PaymentCaptured(_PaymentEvent):
    """The amount was taken."""

    type: ClassVar[str] = "PAYMENT_CAPTURED"
    status: ClassVar[str | None] = "CAPTURED"
    capture_id: str


class PaymentVoidRequested(Event):
    """The order was cancelled: from now on no authorization of it can stand."""

    type: ClassVar[str] = "PAYMENT_VOID_REQUESTED"
    status: ClassVar[str | None] = "VOIDING"
    source: ClassVar[str] = "/orderflow/payments"


class PaymentVoided(Event):
    """Nothing is held (``refunded``: it had been captured, and was given back)."""

    type: ClassVar[str] = "PAYMENT_VOIDED"
    status: ClassVar[str | None] = "VOIDED"
    source: ClassVar[str] = "/orderflow/payments"
    refunded: bool = False


class ReservedLine(_Part):
    """How many of a SKU."""

    sku: str
    quantity: int


class Shortage(_Part):
    """A line that could not be reserved; ``available`` is None for an unknown SKU."""

    sku: str
    requested: int
    available: int | None = None


class InventoryReserved(Event):
    """All lines are reserved."""

    type: ClassVar[str] = "INVENTORY_RESERVED"
    status: ClassVar[str | None] = "RESERVED"
    source: ClassVar[str] = "/orderflow/inventory"
    lines: tuple[ReservedLine, ...]


class InventoryFailed(Event):
    """Nothing was reserved, because of these lines."""

    type: ClassVar[str] = "INVENTORY_FAILED"
    status: ClassVar[str | None] = "REJECTED"
    source: ClassVar[str] = "/orderflow/inventory"
    reason: Reason
    shortages: tuple[Shortage, ...]


class InventoryCommitted(Event):
    """The reserved stock has left the warehouse."""

    type: ClassVar[str] = "INVENTORY_COMMITTED"
    status: ClassVar[str | None] = "COMMITTED"
    source: ClassVar[str] = "/orderflow/inventory"


class InventoryReleased(Event):
    """Nothing is reserved for the order any more, and nothing can be."""

    type: ClassVar[str] = "INVENTORY_RELEASED"
    status: ClassVar[str | None] = "RELEASED"
    source: ClassVar[str] = "/orderflow/inventory"


EVENTS: dict[str, type[Event]] = {
    event.type: event
    for event in (
        OrderCreated,
        OrderApproved,
        OrderStateChanged,
        PaymentAuthorized,
        PaymentFailed,
        PaymentCaptured,
        PaymentVoidRequested,
        PaymentVoided,
        InventoryReserved,
        InventoryFailed,
        InventoryCommitted,
        InventoryReleased,
    )
}


#: What the parts of an order become, as far as their events' types tell.
STATUSES: frozenset[str] = frozenset(event.status for event in EVENTS.values() if event.status)


def parse_data(event_type: str, data: dict[str, Any]) -> Event:
    """The typed event of a record's ``data``. Raises KeyError (unknown type) or pydantic.ValidationError."""
    return EVENTS[event_type].model_validate(data)
