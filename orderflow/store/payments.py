"""Payments: what the gateway said, one row an order."""

from uuid import UUID

from orderflow.domain.commands import Command, Outcome
from orderflow.domain.errors import Problem
from orderflow.domain.payments import LIFECYCLE, PaymentStatus
from orderflow.store.commands import CommandLog
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.store.write_rule import AggregateStatements, Write
from orderflow_events.models import (
    PaymentAuthorized,
    PaymentFailed,
    PaymentVoided,
    PaymentVoidRequested,
    Reason,
)

_STATEMENTS = AggregateStatements(
    "payments",
    LIFECYCLE,
    {
        PaymentStatus.AUTHORIZED: Write(("amount", "currency", "authorization_id")),
        PaymentStatus.DECLINED: Write(("amount", "currency", "reason")),
        PaymentStatus.CAPTURED: Write(("capture_id",), told=("amount", "currency")),
        PaymentStatus.VOIDED: Write(("refunded",)),
    },
    types={"amount": "bigint", "refunded": "boolean"},
)

_REASON = Statement(
    "payments.reason",
    "Reads why a payment was declined.",
    "SELECT reason FROM payments WHERE order_id = $order_id",
)


class Payments:
    """Records of the gateway's answers. It never calls the gateway: no transaction is open while one does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = CommandLog(database, _STATEMENTS)

    async def foresee(self, order_id: UUID, command: Command) -> Outcome | None:
        """What is known of ``command`` without carrying it out; None: go ahead. See CommandLog.foresee."""
        return await self._log.foresee(order_id, command)

    async def reason(self, order_id: UUID) -> str | None:
        """Why the payment was DECLINED; None if it was not."""
        row = await self._database.one(_REASON, {"order_id": order_id})
        return row["reason"] if row else None

    async def authorized(
        self, order_id: UUID, command: Command, *, amount: int, currency: str, authorization_id: str
    ) -> Outcome:
        """The gateway holds ``amount`` minor units. Refused when the door was shut meanwhile."""
        event = PaymentAuthorized(amount=amount, currency=currency, authorization_id=authorization_id)
        columns = {"amount": amount, "currency": currency, "authorization_id": authorization_id}
        return await self._log.change(
            order_id, command, to=PaymentStatus.AUTHORIZED, data=event.model_dump(mode="json"), columns=columns
        )

    async def declined(
        self, order_id: UUID, command: Command, *, amount: int, currency: str, reason: Reason
    ) -> Outcome:
        """The gateway said no."""
        event = PaymentFailed(amount=amount, currency=currency, reason=reason)
        columns = {"amount": amount, "currency": currency, "reason": reason}
        return await self._log.change(
            order_id, command, to=PaymentStatus.DECLINED, data=event.model_dump(mode="json"), columns=columns
        )

    async def captured(self, order_id: UUID, command: Command, *, capture_id: str) -> Outcome:
        """The gateway took the money."""
        # The statement adds the event's amount and currency, which are the row's.
        captured = {"capture_id": capture_id}
        return await self._log.change(order_id, command, data=captured, columns=captured)

    async def shut(self, order_id: UUID, command: Command) -> Outcome:
        """Shut the door: from now on no authorization of this order can stand."""
        return await self._log.change(order_id, command, data=PaymentVoidRequested().model_dump(mode="json"))

    async def voided(self, order_id: UUID, command: Command, *, refunded: bool) -> Outcome:
        """The gateway holds nothing any more."""
        event = PaymentVoided(refunded=refunded)
        return await self._log.change(
            order_id, command, data=event.model_dump(mode="json"), columns={"refunded": refunded}
        )

    async def refuse(self, order_id: UUID, command: Command, problem: Problem) -> Outcome:
        """Record that ``command`` was refused."""
        return await self._log.refuse(order_id, command, problem)
