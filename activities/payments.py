"""What the payment service does for an order.

No transaction is open during a gateway call. Each call carries its command id as idempotency key, so a retry never
charges twice; an authorization that finds the door shut undoes itself at the gateway, on every attempt.
"""

from typing import Protocol
from uuid import UUID

from temporalio import activity

from orderflow.domain.commands import Command
from orderflow.domain.errors import Problem
from orderflow.domain.orders import Reason
from orderflow.domain.payments import PaymentStatus
from orderflow.gateways.protocol import Authorized, Captured, Declined, PaymentGateway
from orderflow.store.payments import Payments
from workflows.steps import AuthorizePayment, CapturePayment, CloseDoor, PaymentSteps, StepOutcome, Trace


class TokenOpener(Protocol):
    """Opens what the API sealed (``orderflow.security.sealing``)."""

    def open(self, order_id: UUID, sealed: str) -> str:
        """The payment token. Raises ValueError for one that none of our keys opens."""


class PaymentActivities(PaymentSteps):
    """Asks the gateway, then records what it said. ``opener``: None where no payment is ever authorized."""

    def __init__(self, payments: Payments, gateway: PaymentGateway, opener: TokenOpener | None = None) -> None:
        self._payments = payments
        self._gateway = gateway
        self._opener = opener

    @activity.defn
    async def authorize_payment(self, request: AuthorizePayment) -> StepOutcome:
        """Hold the money: ok, refused, or shut."""
        order_id, trace = request.order_id, request.trace
        command = _command("authorize", "w:authorize", trace)
        outcome = await self._payments.foresee(order_id, command)
        if outcome is None:
            try:
                token = self._opened(order_id, request.sealed_token)
            except ValueError as error:
                # Without a token nothing can be asked, and the void undoes what an attempt before may have held.
                activity.logger.error("payment_token_unusable: %s", error)
                return StepOutcome(state="refused", reason=Reason.OPERATOR, detail=str(error))
            answer = await self._gateway.authorize(
                order_id,
                request.amount,
                request.currency,
                token,
                _key(order_id, command.id),
                correlation_id=trace.correlation_id or None,
            )
            if isinstance(answer, Authorized):
                outcome = await self._payments.authorized(
                    order_id,
                    command,
                    amount=request.amount,
                    currency=request.currency,
                    authorization_id=answer.authorization_id,
                )
            elif isinstance(answer, Declined):
                outcome = await self._payments.declined(
                    order_id, command, amount=request.amount, currency=request.currency, reason=answer.reason
                )
            else:
                outcome = await self._payments.refuse(order_id, command, _DOOR_SHUT)
        if outcome.state == "refused":
            # The order was cancelled first. What this attempt, or one before it, may have held is given back.
            # A key of its own: under the void's the gateway would only repeat what it answered then.
            await self._gateway.void(
                order_id, _key(order_id, "w:authorize:undo"), correlation_id=trace.correlation_id or None
            )
            await self._payments.refuse(order_id, command, _DOOR_SHUT)
            return StepOutcome(state="shut")
        if outcome.status == PaymentStatus.DECLINED:
            return StepOutcome(state="refused", reason=await self._reason(order_id))
        return StepOutcome(state="ok")

    @activity.defn
    async def capture_payment(self, request: CapturePayment) -> StepOutcome:
        """Take the money that is held: ok, or refused."""
        order_id, trace = request.order_id, request.trace
        command = _command("capture", request.command_id, trace)
        outcome = await self._payments.foresee(order_id, command)
        if outcome is None:
            answer = await self._gateway.capture(
                order_id, _key(order_id, command.id), correlation_id=trace.correlation_id or None
            )
            if isinstance(answer, Captured):
                outcome = await self._payments.captured(order_id, command, capture_id=answer.capture_id)
                if outcome.state == "refused" and outcome.row_status != PaymentStatus.CAPTURED:
                    await self._give_back(order_id, trace)
            else:
                problem = Problem(slug="capture_refused", detail=_plain(answer.detail), status=402)
                outcome = await self._payments.refuse(order_id, command, problem)
        if outcome.state == "done":
            return StepOutcome(state="ok")
        return StepOutcome(state="refused", detail=outcome.refusal.detail if outcome.refusal else None)

    @activity.defn
    async def void_payment(self, request: CloseDoor) -> StepOutcome:
        """Shut the door, then leave nothing held at the gateway, then say so."""
        order_id, trace = request.order_id, request.trace
        outcome = await self._payments.shut(order_id, _command("void", "w:void", trace))
        if outcome.row_status == PaymentStatus.CAPTURED:
            return StepOutcome(state="too_late", detail="the payment was captured")
        if outcome.row_status == PaymentStatus.VOIDING:
            answer = await self._gateway.void(
                order_id, _key(order_id, "w:void"), correlation_id=trace.correlation_id or None
            )
            await self._payments.voided(
                order_id, _command("record_void", "w:record_void", trace), refunded=answer.refunded
            )
        return StepOutcome(state="ok")

    async def _give_back(self, order_id: UUID, trace: Trace) -> None:
        """A capture whose ship was refused meanwhile, by another attempt of it: nobody may keep the money."""
        activity.logger.error("captured_after_a_refusal: order %s is refunded", order_id)
        # A key of its own: under the void's the gateway would only repeat what it answered then.
        key = _key(order_id, "w:capture:undo")
        await self._gateway.void(order_id, key, correlation_id=trace.correlation_id or None)

    def _opened(self, order_id: UUID, sealed: str | None) -> str:
        if sealed is None:
            raise ValueError("the payment token is gone")
        if self._opener is None:
            raise ValueError("this worker has no key for payment tokens")
        return self._opener.open(order_id, sealed)

    async def _reason(self, order_id: UUID) -> Reason:
        return Reason(await self._payments.reason(order_id) or Reason.PAYMENT_DECLINED)


_DOOR_SHUT = Problem(slug="door_shut", detail="The order was cancelled before its payment was authorized.", status=409)


def _plain(detail: str) -> str:
    """A gateway's words as a database takes them."""
    return "".join(letter if letter.isprintable() else " " for letter in detail)[:500]


def _command(name: str, command_id: str, trace: Trace) -> Command:
    return Command(name=name, id=command_id, correlation_id=trace.correlation_id, traceparent=trace.traceparent)


def _key(order_id: UUID, command_id: str) -> str:
    return f"{order_id}:{command_id}"
