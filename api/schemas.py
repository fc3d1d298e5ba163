"""What comes in and what goes out, as OpenAPI shows it."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from api.http.bodies import Body
from api.http.problems import ProblemDocument
from orderflow.domain.errors import FieldProblem
from orderflow.domain.inventory import MAX_STOCK, ReservationStatus
from orderflow.domain.model import Model
from orderflow.domain.money import DIGITS, MAX_AMOUNT, Currency, known
from orderflow.domain.orders import MAX_LINES, Line, OrderStatus, Reason, ShortText
from orderflow.domain.payments import PaymentStatus
from orderflow.domain.text import PATTERN, RULE, NewName, NewText, no_card_number, plain_with_joiners

ORDER_ID: Final = "0b0b7d4e-6a41-5b0c-9a53-4f8f7bd32d11"

PaymentToken = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$"), AfterValidator(no_card_number)]
NewNote = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500),
    AfterValidator(plain_with_joiners),
    AfterValidator(no_card_number),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 500, "pattern": PATTERN, "description": RULE}),
]
NewCurrency = Annotated[Currency, AfterValidator(known), Field(json_schema_extra={"enum": sorted(DIGITS)})]


def _whole(value: Any) -> Any:
    """A number in a query, written in one way."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise PydanticCustomError("int_parsing", "Must be a whole number in digits 0-9, such as 50")
    return value


_DIGITS: Final = re.compile(r"0|-?[1-9][0-9]{0,8}")
Limit = Annotated[int, Field(ge=1, le=200), BeforeValidator(_whole)]


def _known(words: type[StrEnum]) -> WithJsonSchema:
    """An open vocabulary: generated clients know its words, and let others through."""
    return WithJsonSchema(
        {
            "anyOf": [{"type": "string", "enum": [word.value for word in words]}, {"type": "string"}],
            "description": "Open: a newer release may say other words than the known ones. Accept any.",
        }
    )


KnownPaymentStatus = Annotated[str, _known(PaymentStatus)]
KnownReservationStatus = Annotated[str, _known(ReservationStatus)]
KnownReason = Annotated[str, _known(Reason)]


# --- What comes in ---


class PlaceOrderLine(Line):
    """``quantity`` pieces of ``sku`` at ``unit_price`` minor units each."""

    model_config = ConfigDict(extra="forbid")


class PlaceOrder(Body):
    """A new order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "customer_id": "customer-42",
                "reference": "web-1001",
                "currency": "USD",
                "payment_token": "tok_ok",
                "lines": [{"sku": "SKU-1", "quantity": 2, "unit_price": 419}],
            }
        }
    )

    customer_id: NewName
    reference: NewName | None = Field(None, description="The customer's own number for it.")
    currency: NewCurrency
    payment_token: PaymentToken = Field(repr=False, description="Sealed at once; only the payments role can open it.")
    lines: Annotated[list[PlaceOrderLine], Field(min_length=1, max_length=MAX_LINES)]

    def broken_rules(self) -> Iterator[FieldProblem]:
        """A SKU stands once; the total has a limit."""
        counts = Counter(line.sku for line in self.lines)
        seen: set[str] = set()
        for number, line in enumerate(self.lines):
            if counts[line.sku] > 1 and line.sku in seen:
                message = "Stands in an earlier line already: a SKU may stand once."
                yield FieldProblem(field=f"lines[{number}].sku", rule="duplicate_sku", message=message)
            seen.add(line.sku)
        total = sum(line.total for line in self.lines)
        if total > MAX_AMOUNT:
            message = f"The order's total is {total}; at most {MAX_AMOUNT} minor units."
            yield FieldProblem(field="lines", rule="total_too_large", message=message)


class Approve(Body):
    """Nothing to say."""

    model_config = ConfigDict(json_schema_extra={"example": {}})


class Ship(Body):
    """How it is sent; goes into the event."""

    model_config = ConfigDict(json_schema_extra={"example": {"carrier": "DHL", "tracking_number": "JD0146000031"}})

    carrier: NewText | None = None
    tracking_number: NewText | None = Field(None, description="Of any form: card numbers are not looked for in it.")


class Complete(Body):
    """Nothing to say."""

    model_config = ConfigDict(json_schema_extra={"example": {}})


class Cancel(Body):
    """Why, in the customer's words; goes into the event. The reason is ``customer``."""

    model_config = ConfigDict(json_schema_extra={"example": {"note": "ordered twice"}})

    note: NewNote | None = None


class SetStock(Body):
    """How many pieces there are."""

    model_config = ConfigDict(json_schema_extra={"example": {"on_hand": 100}})

    on_hand: Annotated[StrictInt, Field(ge=0, le=MAX_STOCK)]


def _not_zero(value: Any) -> Any:
    if value == 0 and isinstance(value, int):
        raise ValueError("must not be 0")
    return value


class AdjustStock(Body):
    """More (or, negative, fewer) pieces."""

    model_config = ConfigDict(json_schema_extra={"example": {"delta": -3, "reason": "broken in the warehouse"}})

    delta: Annotated[
        StrictInt,
        Field(ge=-MAX_STOCK, le=MAX_STOCK, json_schema_extra={"not": {"const": 0}}),
        BeforeValidator(_not_zero),
    ]
    reason: NewName


BODIES: Final[tuple[type[Body], ...]] = (PlaceOrder, Approve, Ship, Complete, Cancel, SetStock, AdjustStock)


class Parameters(BaseModel):
    """The base of query parameters: unknown ones are refused, or a typo would list everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _moment(value: Any) -> datetime:
    """An RFC 3339 time, in UTC. A leap second is the second after it."""
    try:
        # Python reads more of ISO 8601 than RFC 3339 has.
        match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError
        before, second, after = match.groups()
        leap_second = second == "60"
        moment = datetime.fromisoformat(f"{before}{'59' if leap_second else second}{after}".upper())
        return moment.astimezone(UTC) + timedelta(seconds=leap_second)
    except (ValueError, OverflowError):
        raise ValueError("must be an RFC 3339 time such as 2026-11-23T08:00:00Z (in a URL + is %2B)") from None


_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:)(\d\d)((?:\.\d+)?(?:Z|[+-]\d\d:\d\d))", re.ASCII | re.IGNORECASE
)

Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]


class OrderQuery(Parameters):
    """Which orders, and how many. ``created_from`` is included, ``created_to`` is not."""

    status: OrderStatus | None = None
    customer_id: ShortText | None = None
    reference: ShortText | None = None
    created_from: Moment | None = Field(None, examples=["2026-11-23T08:00:00Z"])
    created_to: Moment | None = Field(None, examples=["2026-11-24T00:00:00Z"])
    limit: Limit = 50
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


class StockQuery(Parameters):
    """How many SKUs, and from where on."""

    limit: Limit = 50
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


# --- What goes out ---


class LineDocument(Model):
    """One line, with its total in minor units."""

    sku: str
    quantity: int
    unit_price: int
    total: int


class PaymentDocument(Model):
    """The payment, as the event stream last told it. ``authorized``: the money is held or taken."""

    status: KnownPaymentStatus = Field(examples=["AUTHORIZED"])
    authorized: bool
    reason: KnownReason | None


class InventoryDocument(Model):
    """The reservation, as the event stream last told it. ``reserved``: the stock is held or gone out."""

    status: KnownReservationStatus = Field(examples=["RESERVED"])
    reserved: bool
    reason: KnownReason | None


class Links(Model):
    """Where to look further."""

    self: str = Field(examples=[f"/orders/{ORDER_ID}"])
    events: str = Field(examples=[f"/orders/{ORDER_ID}/events"])
    temporal_ui: str = Field(examples=[f"http://localhost:8233/namespaces/default/workflows/order-{ORDER_ID}"])


class OrderSummaryDocument(Model):
    """An order in a list. Amounts are integer minor units; times are UTC."""

    id: UUID = Field(examples=[ORDER_ID])
    status: OrderStatus
    version: int = Field(description="Its ETag.", examples=[3])
    reason: KnownReason | None = Field(description="Why it was cancelled.")
    customer_id: str
    reference: str | None
    currency: str
    total: int
    created_at: datetime
    updated_at: datetime
    allowed_actions: tuple[str, ...] = Field(description="What may be asked of it now.")
    links: Links


class OrderDocument(OrderSummaryDocument):
    """An order. ``payment`` and ``inventory`` come from the event stream, a moment later; null: nothing came yet."""

    lines: tuple[LineDocument, ...]
    payment: PaymentDocument | None
    inventory: InventoryDocument | None
    tracked_at: datetime | None = Field(description="When `payment` or `inventory` last changed here.")


class CommandDocument(Model):
    """A command and what came of it.

    done: it made ``version`` with ``status``. refused: ``problem`` says why. pending: under way.
    not_recorded: never received, or refused at once: what was refused changed nothing, and is not kept.
    """

    id: str = Field(examples=["c:7f3d2c-checkout-1"])
    name: str | None = Field(examples=["approve"])
    state: Literal["done", "refused", "pending", "not_recorded"]
    version: int | None = None
    status: str | None = None
    problem: ProblemDocument | None = None
    recorded_at: datetime | None = None


class CommandBrief(Model):
    """What the command of this request made: the order may have moved on since."""

    id: str = Field(examples=["c:7f3d2c-checkout-1"])
    name: str = Field(examples=["approve"])
    state: Literal["done", "pending"]
    version: int | None
    status: str | None


class OrderAnswer(OrderDocument):
    """The order as it is now, and what the command made."""

    command: CommandBrief


class AcceptedLinks(Model):
    """Where the order is, and where the command's outcome will be."""

    order: str = Field(examples=[f"/orders/{ORDER_ID}"])
    command: str = Field(examples=[f"/orders/{ORDER_ID}/commands/c:7f3d2c-checkout-1"])


class AcceptedDocument(Model):
    """The command is durable, and will be carried out once."""

    id: UUID = Field(description="The order's.", examples=[ORDER_ID])
    command: CommandBrief
    links: AcceptedLinks


class OrderPage(Model):
    """Orders, newest first."""

    orders: tuple[OrderSummaryDocument, ...]
    next_cursor: str | None = Field(description="For the next page; null: this is the last.")


class EventDocument(Model):
    """One event. Those of ``/orderflow/orders`` are read where they were written, with ``data``; the others as the
    event stream brought them, at ``tracked_at``."""

    id: str = Field(examples=[f"orders/{ORDER_ID}/1"])
    source: str = Field(examples=["/orderflow/orders"])
    version: int
    type: str = Field(examples=["ORDER_CREATED"])
    status: str = Field(description="What it made of the order, the payment or the reservation.")
    reason: KnownReason | None
    data: dict[str, Any] | None
    correlation_id: str | None
    recorded_at: datetime
    tracked_at: datetime | None


class EventList(Model):
    """An order's history, by time."""

    order_id: UUID
    events: tuple[EventDocument, ...]


class StockDocument(Model):
    """A SKU's stock. ``available`` = ``on_hand`` - ``reserved``."""

    sku: str
    on_hand: int
    reserved: int
    available: int
    version: int = Field(description="Its ETag.")
    updated_at: datetime


class StockAnswer(StockDocument):
    """The stock as the command left it, and by how much it changed."""

    delta: int


class StockPage(Model):
    """SKUs in their order."""

    stock: tuple[StockDocument, ...]
    next_cursor: str | None


class Dependency(Model):
    """Whether a dependency answers."""

    state: Literal["ok", "away"]
    needed: bool
    detail: str | None = None


class Readiness(Model):
    """Whether this process can serve, and what it stands on."""

    ready: bool
    dependencies: dict[str, Dependency]


class Ready(Model):
    """Whether this process can serve."""

    ready: bool
