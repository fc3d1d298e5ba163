"""The contract between the workflow and those who do the work: what a step is given, and what it answers.

The workflow knows these abstract methods only; ``activities/`` implements them. Refusals are answers, not errors:
an error means "no answer yet", and Temporal tries again.
"""

from abc import ABC, abstractmethod
from typing import Final, Literal
from uuid import UUID

from temporalio import activity

from orderflow.domain.commands import Command, Outcome
from orderflow.domain.errors import Problem
from orderflow.domain.model import Model
from orderflow.domain.money import Currency
from orderflow.domain.orders import Line, Reason
from orderflow.temporal.answers import Answer, Asked

#: What a near step fails with where its service is not in the worker's process, or has not answered for a while.
NOT_HERE: Final = "not_here"


class Trace(Model):
    """What ties one request together across services."""

    correlation_id: str = ""
    traceparent: str | None = None


class Look(Asked):
    """Read the order's row. ``first``: the run has not chosen yet where its steps run."""

    order_id: UUID
    first: bool


class PendingShip(Model):
    """A ship that was accepted, whose capture is not recorded yet."""

    command_id: str
    trace: Trace


class ToSecure(Model):
    """What payment and inventory need of an APPROVED order. ``total`` in minor units.

    ``sealed_token``: the payment token, as the payments role can open it; None: it is gone.
    """

    total: int
    currency: Currency
    lines: tuple[Line, ...]
    sealed_token: str | None


class OrderRow(Model):
    """What a look found. ``status`` None: there is no such order.

    ``trace``: of the command that wrote the row last. ``secure``: while it is APPROVED. ``near``: the services that
    the worker has in its own process; what the first look says holds for the run.
    """

    status: str | None
    version: int
    trace: Trace = Trace()
    ship: PendingShip | None = None
    secure: ToSecure | None = None
    near: tuple[str, ...] = ()


class MoveOrder(Asked):
    """A transition of the workflow's own: fulfil, fail, or an operator's cancel."""

    order_id: UUID
    command: Command


class EndShip(Asked):
    """A ship whose capture is known. ``problem``: why it was refused; None: the money was taken."""

    order_id: UUID
    command_id: str
    problem: Problem | None = None
    trace: Trace


class AuthorizePayment(Asked):
    """Hold ``amount`` minor units. ``sealed_token`` None: it is gone."""

    order_id: UUID
    amount: int
    currency: Currency
    sealed_token: str | None
    trace: Trace


class CapturePayment(Asked):
    """Take what is held, for the ship with ``command_id``."""

    order_id: UUID
    command_id: str
    trace: Trace


class ReserveInventory(Asked):
    """Set aside all lines, or none."""

    order_id: UUID
    lines: tuple[Line, ...]
    trace: Trace


class CloseDoor(Asked):
    """Undo what was done for a cancelled order, and let nothing come after. Also: commit its stock."""

    order_id: UUID
    trace: Trace


class StepOutcome(Answer):
    """What a step came to.

    ok: it stands. refused: it does not, because of ``reason``. shut: the order was cancelled before, and nothing
    of the step stands. too_late: it cannot be undone any more (an alert).
    """

    state: Literal["ok", "refused", "shut", "too_late"]
    reason: Reason | None = None
    detail: str | None = None


class OrderResult(Model):
    """How a run ended. ``status`` None: the order has no row."""

    status: str | None
    version: int


class OrderState(Model):
    """What the query ``order`` answers: the workflow's view, for people."""

    status: str | None
    version: int
    waits_for: tuple[str, ...]
    running: tuple[str, ...]
    looks: int
    payment: StepOutcome | None
    inventory: StepOutcome | None


class OrderSteps(ABC):
    """Reads and transitions of the order's own row. Local activities: one statement each."""

    @activity.defn
    @abstractmethod
    async def look(self, request: Look) -> OrderRow:
        """The row as it is now."""

    @activity.defn
    @abstractmethod
    async def move_order(self, request: MoveOrder) -> Outcome:
        """fulfil, fail, or an operator's cancel."""

    @activity.defn
    @abstractmethod
    async def end_ship(self, request: EndShip) -> Outcome:
        """After the capture: SHIPPED; after a refused one: the ship is refused, the order stays FULFILLING."""


class PaymentSteps(ABC):
    """What the payment service does."""

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
    """What the inventory service does."""

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
