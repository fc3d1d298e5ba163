"""Orders: what a customer asks for, and the LIFECYCLE of the answer."""

from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, Field, StrictInt, StringConstraints

from orderflow.domain.lifecycle import NOTHING, Lifecycle, Transition
from orderflow.domain.model import Model
from orderflow.domain.money import Amount, Currency
from orderflow_events.models import OrderApproved, OrderCreated, OrderStateChanged

MAX_LINES = 200
MAX_QUANTITY = 9_999

#: Printable text without control characters: Postgres refuses NUL, and logs and headers dislike the rest.
PLAIN_TEXT: Final = r"^[^\x00-\x1f\x7f]*$"


def _reachable(sku: str) -> str:
    if sku in UNREACHABLE:
        raise ValueError("must not be . or .., which no URL can name")
    return sku


#: RFC 3986 5.2.4: clients take these out of a path before they ask.
UNREACHABLE: Final = (".", "..")
Sku = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$"),
    AfterValidator(_reachable),
    Field(json_schema_extra={"not": {"enum": list(UNREACHABLE)}}),
]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=PLAIN_TEXT)]
Note = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=PLAIN_TEXT)]


class OrderStatus(StrEnum):
    """Where an order stands."""

    DRAFT = "DRAFT"
    APPROVED = "APPROVED"
    FULFILLING = "FULFILLING"
    SHIPPED = "SHIPPED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Reason(StrEnum):
    """Why an order was cancelled. A closed list."""

    PAYMENT_DECLINED = "payment_declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    OUT_OF_STOCK = "out_of_stock"
    UNKNOWN_SKU = "unknown_sku"
    CUSTOMER = "customer"
    OPERATOR = "operator"
    DRAFT_EXPIRED = "draft_expired"


class Line(Model):
    """One line: ``quantity`` pieces at ``unit_price`` minor units each."""

    sku: Sku
    quantity: Annotated[StrictInt, Field(ge=1, le=MAX_QUANTITY)]
    unit_price: Amount

    @property
    def total(self) -> int:
        """Minor units."""
        return self.quantity * self.unit_price


class Order(Model):
    """An order as it was placed. Its lines never change."""

    order_id: UUID
    customer_id: ShortText
    reference: ShortText | None = None
    currency: Currency
    lines: tuple[Line, ...]

    @property
    def total(self) -> int:
        """Minor units."""
        return sum(line.total for line in self.lines)


_STATUS = OrderStatus

LIFECYCLE = Lifecycle(
    "order",
    Transition("place", (NOTHING,), _STATUS.DRAFT, OrderCreated),
    Transition("approve", (_STATUS.DRAFT,), _STATUS.APPROVED, OrderApproved),
    Transition("fulfil", (_STATUS.APPROVED,), _STATUS.FULFILLING, OrderStateChanged),
    Transition("ship", (_STATUS.FULFILLING,), _STATUS.SHIPPED, OrderStateChanged),
    Transition("complete", (_STATUS.SHIPPED,), _STATUS.COMPLETED, OrderStateChanged),
    Transition("cancel", (_STATUS.DRAFT, _STATUS.APPROVED, _STATUS.FULFILLING), _STATUS.CANCELLED, OrderStateChanged),
    Transition("expire", (_STATUS.DRAFT,), _STATUS.CANCELLED, OrderStateChanged),
    Transition("fail", (_STATUS.APPROVED,), _STATUS.CANCELLED, OrderStateChanged),
)

#: Where an order has a workflow: what comes before and after is a row, and moved by its customer.
ORCHESTRATED: Final = (_STATUS.APPROVED, _STATUS.FULFILLING)
#: The goods have left: the payment is captured, and the stock is let go.
GONE: Final = (_STATUS.SHIPPED, _STATUS.COMPLETED)

#: What a client may ask of an order that exists; the rest is the workflow's own.
CUSTOMER_COMMANDS: Final = ("approve", "ship", "complete", "cancel")


def was_approved(status: str | None, version: int) -> bool:
    """Whether an order whose row says this has ever been APPROVED: whether money or stock may be held for it."""
    # A DRAFT has version 1: what was cancelled from DRAFT has version 2.
    return version > (2 if status == OrderStatus.CANCELLED else 1)


def allowed_actions(status: str | None) -> tuple[str, ...]:
    """What a client may ask of an order in ``status``."""
    return tuple(command for command in LIFECYCLE.allowed(status) if command in CUSTOMER_COMMANDS)
