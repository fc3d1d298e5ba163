"""What OrderFlow asks of a payment gateway, and the answers it understands.

Whoever implements ``PaymentGateway`` promises:

- Every call is idempotent by its ``idempotency_key`` (a command id made unique by the order, such as
  ``<order id>:w:authorize``): sent again, it changes nothing and gives the recorded answer, also a refusal.
- ``reference`` is the order's id: one reference, at most one hold, at most one capture.
- No answer (time-out, refused connection, 5xx, 408, 429, nonsense) is ``Unavailable``: the call may or may not have
  happened, and the same call with the same key finds out.
- A refusal that no order can cause (another request under the same key, a capture of an unknown reference) is a bug of
  ours: ``RuntimeError`` with what the gateway said.
- The payment token is in no exception and no log.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Protocol
from uuid import UUID

from pydantic import AwareDatetime, Field

from orderflow.domain.money import MAX_AMOUNT

#: A time that a gateway says: with its offset, and one that stays a time in whatever zone, an hour on, a week back.
GatewayTime = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))]
#: An amount that a gateway says, in minor units: no order has more.
GatewayAmount = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
DeclineReason = Literal["payment_declined", "insufficient_funds"]


@dataclass(frozen=True, slots=True)
class Authorized:
    """The amount is held."""

    authorization_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """Nothing is held: the gateway said no. ``payment_declined`` where it says why in a word that is none of these."""

    reason: DeclineReason


@dataclass(frozen=True, slots=True)
class Shut:
    """Nothing is held: the reference was voided before this authorization arrived."""


@dataclass(frozen=True, slots=True)
class Captured:
    """The held amount was taken."""

    capture_id: str


@dataclass(frozen=True, slots=True)
class CaptureRefused:
    """Nothing was taken; ``detail`` says why, in a sentence for people."""

    detail: str


@dataclass(frozen=True, slots=True)
class Voided:
    """Nothing is held and nothing can be any more. ``refunded``: it had been captured, and was given back."""

    refunded: bool


@dataclass(frozen=True, slots=True)
class MoneyFact:
    """What the gateway holds (``authorized``) or took (``captured``) for a reference; minor units."""

    reference: UUID
    status: Literal["authorized", "captured"]
    amount: GatewayAmount
    currency: str
    since: GatewayTime


class PaymentGateway(Protocol):
    """A payment gateway. Every method raises ``Unavailable`` when there is no answer (see the module's promises).

    ``correlation_id`` is passed on, so that both sides' records of a call can be found by it.
    """

    async def authorize(
        self,
        reference: UUID,
        amount: int,
        currency: str,
        token: str,
        idempotency_key: str,
        *,
        correlation_id: str | None = None,
    ) -> Authorized | Declined | Shut:
        """Hold ``amount`` (minor units of ``currency``, ISO 4217) on what ``token`` stands for."""
        ...

    async def capture(
        self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None
    ) -> Captured | CaptureRefused:
        """Take the whole amount that is held for ``reference``, once.

        What was captured before is the answer under any key: gateways forget their keys after a while. Before it says
        that a capture was refused, it makes sure that none stands.
        """
        ...

    async def void(self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None) -> Voided:
        """Leave nothing held or taken for ``reference``, whatever happened before.

        What is held is released, what was captured is refunded (with an idempotency key of its own), and an unknown
        reference is remembered, so that an authorization that comes later is ``Shut``.
        """
        ...


class GatewayLedger(Protocol):
    """A gateway that can say what it holds. Not every one can; reconciliation does without, and says so."""

    async def money(self, captured_since: datetime) -> list[MoneyFact]:
        """Every reference with a live hold, and those whose capture stands and is not older than ``captured_since``.

        Raises ``Unavailable``.
        """
        ...
