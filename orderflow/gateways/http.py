"""The payment gateway over HTTP, as the simulator speaks it. Keeps the promises of ``protocol``.

One call is one request, bounded as a whole; nothing is repeated here, the caller's retries do that. An answer is
checked before anything of it is kept: what the gateway's protocol does not know is ``Unavailable``.
"""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args
from urllib.parse import urlencode
from uuid import UUID

from pydantic import ValidationError

from orderflow.domain.errors import Unavailable
from orderflow.domain.model import Model
from orderflow.gateways.client import GATEWAY, GatewayClient, Reply, senseless
from orderflow.gateways.lookup import look_up
from orderflow.gateways.protocol import (
    Authorized,
    Captured,
    CaptureRefused,
    Declined,
    DeclineReason,
    GatewayLedger,
    MoneyFact,
    PaymentGateway,
    Shut,
    Voided,
)
from orderflow.telemetry.metrics import GATEWAY_SECONDS

_DECLINE_REASONS: dict[str, DeclineReason] = {reason: reason for reason in get_args(DeclineReason)}
#: 4xx that say nothing about the request: it came too slowly, or too often.
_TRY_AGAIN = frozenset({408, 429})
#: Characters of what the gateway said, in an error or a refusal.
_MOST_OF_A_BODY: Final = 500
#: The gateway's ids: printable ASCII, as they go into a database, logs and terminals.
_ID: Final = re.compile(r"[ -~]{1,200}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
#: Bytes. It names every order with money at the gateway, at about 200 bytes each: 300,000 of them.
_MOST_OF_A_LEDGER: Final = 64 * 1024 * 1024


class _Ledger(Model):
    payments: tuple[MoneyFact, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    operation: str
    status: int
    body: dict[str, Any]
    text: str

    @property
    def code(self) -> str | None:
        """The gateway's word for a refusal."""
        code = self.body.get("code")
        return code if isinstance(code, str) else None

    def id(self, field: str) -> str:
        """An id that a 2xx must have. Raises Unavailable."""
        value = self.body.get(field)
        if not isinstance(value, str) or not _ID.fullmatch(value):
            raise senseless(self.operation, f"{field} is not 1 to 200 printable ASCII characters")
        return value

    def agrees(self, **asked: str | int) -> None:
        """Nothing that a 2xx says beside its id contradicts what it answers. Raises Unavailable."""
        for field, value in asked.items():
            if self.body.get(field, value) != value:
                raise senseless(self.operation, f"{field} is not {value}")

    def refunded(self) -> bool:
        """What a void did. Raises Unavailable."""
        match self.body.get("status"):
            case "refunded":
                return True
            case "voided":
                return False
        raise senseless(self.operation, "status is neither voided nor refunded")


class HttpPaymentGateway(PaymentGateway, GatewayLedger):
    """``PaymentGateway`` and ``GatewayLedger`` over HTTP."""

    def __init__(self, client: GatewayClient) -> None:
        self._client = client

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
        """See ``PaymentGateway.authorize``."""
        answer = await self._call(
            "authorize",
            reference,
            idempotency_key,
            correlation_id,
            body={"amount": amount, "currency": currency, "payment_token": token},
            secret=token,
        )
        if answer.status == 200:
            answer.agrees(status="authorized", amount=amount, currency=currency)
            return Authorized(answer.id("authorization_id"))
        if answer.status == 402 and answer.code is not None:
            # Gateways have more words for a decline than we know, and get new ones.
            return Declined(_DECLINE_REASONS.get(answer.code, "payment_declined"))
        if answer.status == 409 and answer.code == "reference_voided":
            return Shut()
        raise _unexpected("authorize", reference, answer)

    async def capture(
        self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None
    ) -> Captured | CaptureRefused:
        """See ``PaymentGateway.capture``."""
        answer = await self._call("capture", reference, idempotency_key, correlation_id)
        if answer.status == 200:
            answer.agrees(status="captured")
            return Captured(answer.id("capture_id"))
        refused = answer.status == 402
        # The hold is gone, whoever let go of it: for the order that is a refusal, not a bug.
        released = answer.status == 409 and answer.code in ("reference_voided", "reference_refunded")
        taken_before = answer.status == 409 and answer.code == "already_captured"
        if (refused or taken_before) and (taken := await self._taken(reference)) is not None:
            return taken
        if refused or released:
            detail = answer.body.get("detail")
            return CaptureRefused(detail if isinstance(detail, str) else "The payment gateway refused the capture.")
        raise _unexpected("capture", reference, answer)

    async def _taken(self, reference: UUID) -> Captured | None:
        """The capture that stands: under this key, which was forgotten since, or in spite of what the gateway said."""
        payment = await look_up(self._client, reference)
        if payment is None or payment.status != "captured" or payment.capture_id is None:
            return None
        return Captured(payment.capture_id)

    async def void(self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None) -> Voided:
        """See ``PaymentGateway.void``. The refund's key is the void's with ``:refund`` behind it."""
        answer = await self._call("void", reference, idempotency_key, correlation_id)
        if answer.status == 200:
            return Voided(refunded=answer.refunded())
        if answer.status != 409 or answer.code != "already_captured":
            raise _unexpected("void", reference, answer)
        refund = await self._call("refund", reference, f"{idempotency_key}:refund", correlation_id)
        if refund.status != 200:
            raise _unexpected("refund", reference, refund)
        refund.agrees(status="refunded")
        refund.id("refund_id")
        return Voided(refunded=True)

    async def money(self, captured_since: datetime) -> list[MoneyFact]:
        """See ``GatewayLedger.money``."""
        what, query = "the question for its ledger", urlencode({"captured_since": captured_since.isoformat()})
        reply = await self._client.exchange(what, "GET", f"/v1/money?{query}", most_bytes=_MOST_OF_A_LEDGER)
        if reply.status != 200:
            raise Unavailable(GATEWAY, f"answered {what} with {reply.status}")
        try:
            facts = _Ledger.model_validate_json(reply.body, strict=True).payments
        except ValidationError:
            raise senseless(what, "it is no list of payments") from None
        if not all(_CURRENCY.fullmatch(fact.currency) for fact in facts):
            raise senseless(what, "a currency is no ISO 4217 code")
        return list(facts)

    async def _call(
        self,
        operation: str,
        reference: UUID,
        idempotency_key: str,
        correlation_id: str | None,
        *,
        body: dict[str, Any] | None = None,
        secret: str = "",
    ) -> _Answer:
        """One request; the answer is a 200 with a JSON object, or a 4xx. Anything else is ``Unavailable``."""
        headers = {"Idempotency-Key": idempotency_key}
        if correlation_id is not None:
            headers["X-Correlation-ID"] = correlation_id
        target, content = f"/v1/payments/{reference}/{operation}", b"" if body is None else json.dumps(body).encode()
        with _measured(operation) as measure:
            reply = await self._client.exchange(operation, "POST", target, headers=headers, body=content)
            answer = _read(operation, reply, secret)
            measure.status = answer.status
            return answer


@dataclass(slots=True)
class _Measure:
    status: int = 0


@contextmanager
def _measured(operation: str) -> Iterator[_Measure]:
    """How long a call took, and what came of it."""
    measure, outcome, started = _Measure(), "error", time.perf_counter()
    try:
        yield measure
        outcome = "ok" if measure.status == 200 else "refused"
    except Unavailable:
        outcome = "unavailable"
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    finally:
        GATEWAY_SECONDS.observe(time.perf_counter() - started, operation, outcome)


def _read(operation: str, reply: Reply, secret: str) -> _Answer:
    refused = 400 <= reply.status < 500 and reply.status not in _TRY_AGAIN
    if reply.status != 200 and not refused:
        raise Unavailable(GATEWAY, f"answered {operation} with {reply.status}")
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        if not refused:
            raise senseless(operation, f"{reply.status} without a JSON object")
        body = {}
    return _Answer(operation, reply.status, body, _without(secret, reply.body.decode(errors="replace")))


def _without(secret: str, text: str) -> str:
    """What the gateway said, should it repeat the token, without it (nor its JSON spelling)."""
    if secret:
        text = text.replace(json.dumps(secret)[1:-1], "[token]").replace(secret, "[token]")
    return text[:_MOST_OF_A_BODY]


def _unexpected(operation: str, reference: UUID, answer: _Answer) -> RuntimeError:
    return RuntimeError(f"the payment gateway answered {operation} of {reference} with {answer.status}: {answer.text}")
