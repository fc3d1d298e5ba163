"""The contract between the workflow and those who do the work: what a step is given, and what it answers.

The workflow knows these abstract methods only; ``activities/`` implements them. Refusals are answers, not errors:
an error means "no answer yet", and Temporal tries again.
"""

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints
from temporalio import activity

from orderflow.domain.commands import Command, Outcome
from orderflow.domain.errors import Problem
from orderflow.domain.model import Model
from orderflow.domain.money import Currency
from orderflow.domain.orders import Line, Order, Reason


class Trace(Model):
    """What ties one request together across services."""

    correlation_id: str = ""
    traceparent: str | None = None


class OrderCommand(Model):
    """A transition of one order."""

    order_id: UUID
    command: Command


class RefusedCommand(Model):
    """A command that ends with ``problem``."""

    order_id: UUID
    command: Command
    problem: Problem


class PlaceOrder(Model):
    """The first transition."""

    order: Order
    command: Command


class Placed(Model):
    """``expires_at``: when the DRAFT expires."""

    outcome: Outcome
    expires_at: datetime


class AuthorizePayment(Model):
    """Hold ``amount`` minor units. The token is used here and stored nowhere; None: it is gone."""

    order_id: UUID
    amount: int
    currency: Currency
    payment_token: str | None
    trace: Trace


class CapturePayment(Model):
    """Take what is held, for the ship with ``command_id``."""

    order_id: UUID
    command_id: str
    trace: Trace


class ReserveInventory(Model):
    """Set aside all lines, or none."""

    order_id: UUID
    lines: tuple[Line, ...]
    trace: Trace


class CloseDoor(Model):
    """Undo what was done for a cancelled order, and let nothing come after. Also: commit its stock."""

    order_id: UUID
    trace: Trace


class StepOutcome(Model):
    """What a step came to.

    ok: it stands. refused: it does not, because of ``reason``. shut: the order was cancelled before, and nothing
    of the step stands. too_late: it cannot be undone any more (an alert).
    """

    state: Literal["ok", "refused", "shut", "too_late"]
    reason: Reason | None = None
    detail: str | None = None


class StartOrder(Model):
    """The workflow's input: the whole order, and what was carried over from the run before."""

    order: Order
    payment_token: str | None
    request_hash: str
    correlation_id: str = ""
    traceparent: str | None = None
    carried: "Carried | None" = None


class Carried(Model):
    """What a run hands to the next (continue as new). It never runs a step and its inbox is empty then."""

    status: str
    version: int
    expires_at: datetime
    payment: StepOutcome | None = None
    inventory: StepOutcome | None = None
    raw_signals: int = 0
    was_approved: bool = False


#: What a database and an HTTP header take.
_Word = Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x20-\x7e]*$")]


class SignalledCommand(Model):
    """What a signal (``approve``, ``ship``, ``complete``, ``cancel``) carries. Every field may be left out.

    ``command_id``: ``c:<Idempotency-Key>``; without one the workflow counts ``s:1``, ``s:2``, …
    ``data``: carrier and tracking_number of a ship; note, or reason, of a cancel.
    """

    command_id: str | None = None
    request_hash: _Word | None = None
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    correlation_id: _Word | None = None
    traceparent: _Word | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class OrderSteps(ABC):
    """Transitions of the order's own row. Local activities: they only write a row."""

    @activity.defn
    @abstractmethod
    async def place_order(self, request: PlaceOrder) -> Placed:
        """Make the row."""

    @activity.defn
    @abstractmethod
    async def move_order(self, request: OrderCommand) -> Outcome:
        """approve, fulfil, complete, cancel, expire or fail."""

    @activity.defn
    @abstractmethod
    async def accept_ship(self, request: OrderCommand) -> Outcome:
        """Judge a ship: pending, or refused."""

    @activity.defn
    @abstractmethod
    async def record_ship(self, request: OrderCommand) -> Outcome:
        """After the capture: SHIPPED."""

    @activity.defn
    @abstractmethod
    async def refuse_ship(self, request: RefusedCommand) -> Outcome:
        """After a refused capture: the ship is refused, the order stays FULFILLING."""

    @activity.defn
    @abstractmethod
    async def refuse_command(self, request: RefusedCommand) -> Outcome:
        """Record a command that cannot even be judged."""


class PaymentSteps(ABC):
    """What the payment service does. Ordinary activities on its own task queue."""

    @activity.defn
    @abstractmethod
    async def authorize_payment(self, request: AuthorizePayment) -> StepOutcome:
        """ok, refused (declined), or shut."""

    @activity.defn
    @abstractmethod
    async def capture_payment(self, request: CapturePayment) -> StepOutcome:
        """ok, or refused with ``detail``."""

    @activity.defn
    @abstractmethod
    async def void_payment(self, request: CloseDoor) -> StepOutcome:
        """ok, or too_late (captured)."""


class InventorySteps(ABC):
    """What the inventory service does. Ordinary activities on its own task queue."""

    @activity.defn
    @abstractmethod
    async def reserve_inventory(self, request: ReserveInventory) -> StepOutcome:
        """ok, refused (out of stock, unknown SKU), or shut."""

    @activity.defn
    @abstractmethod
    async def commit_inventory(self, request: CloseDoor) -> StepOutcome:
        """ok: the stock has left."""

    @activity.defn
    @abstractmethod
    async def release_inventory(self, request: CloseDoor) -> StepOutcome:
        """ok, or too_late (committed)."""
