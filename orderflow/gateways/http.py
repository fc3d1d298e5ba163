"""The payment gateway over HTTP, as the simulator speaks it. Keeps the promises of ``protocol``.

One call is one request, bounded as a whole; nothing is repeated here, the caller's retries do that.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args
from uuid import UUID

import httpx
from pydantic import TypeAdapter, ValidationError

from orderflow.domain.errors import Unavailable
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

_GATEWAY = "payment gateway"
_DECLINE_REASONS: dict[str, DeclineReason] = {reason: reason for reason in get_args(DeclineReason)}
#: 4xx that say nothing about the request: it came too slowly, or too often.
_TRY_AGAIN = frozenset({408, 429})
_MOST_OF_A_BODY = 500
_MONEY = TypeAdapter(list[MoneyFact])


def gateway_client(url: str, timeout_seconds: float, *, connections: int = 64) -> httpx.AsyncClient:
    """A client for ``HttpPaymentGateway``; the caller closes it.

    ``timeout_seconds`` bounds a whole call, waiting for a free connection and connecting included.
    ``connections`` bounds the pool: more than a worker's concurrent steps is never used.
    """
    return httpx.AsyncClient(
        base_url=url,
        timeout=timeout_seconds,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        # A proxy or .netrc of the environment has no business between us and payment tokens.
        trust_env=False,
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: dict[str, Any]
    text: str

    @property
    def code(self) -> str | None:
        """The gateway's word for a refusal."""
        code = self.body.get("code")
        return code if isinstance(code, str) else None

    def require(self, field: str) -> str:
        """A field that a 2xx must have."""
        value = self.body.get(field)
        if not isinstance(value, str) or not value:
            raise Unavailable(_GATEWAY, f"answered {self.status} without {field}")
        return value


class HttpPaymentGateway(PaymentGateway, GatewayLedger):
    """``PaymentGateway`` and ``GatewayLedger`` over HTTP. The client's read time-out bounds each request as a whole."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        # httpx bounds each phase (pool, connect, write, every read) on its own: four of them, and a trickling answer
        # would have no end at all.
        self._timeout_seconds = client.timeout.read

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
            return Authorized(answer.require("authorization_id"))
        if answer.status == 402 and answer.code in _DECLINE_REASONS:
            return Declined(_DECLINE_REASONS[answer.code])
        if answer.status == 409 and answer.code == "reference_voided":
            return Shut()
        raise _unexpected("authorize", reference, answer)

    async def capture(
        self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None
    ) -> Captured | CaptureRefused:
        """See ``PaymentGateway.capture``."""
        answer = await self._call("capture", reference, idempotency_key, correlation_id)
        if answer.status == 200:
            return Captured(answer.require("capture_id"))
        refused = answer.status == 402
        # The hold is gone, whoever let go of it: for the order that is a refusal, not a bug.
        released = answer.status == 409 and answer.code in ("reference_voided", "reference_refunded")
        if refused or released:
            detail = answer.body.get("detail")
            return CaptureRefused(detail if isinstance(detail, str) else "The payment gateway refused the capture.")
        raise _unexpected("capture", reference, answer)

    async def void(self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None) -> Voided:
        """See ``PaymentGateway.void``. The refund's key is the void's with ``:refund`` behind it."""
        answer = await self._call("void", reference, idempotency_key, correlation_id)
        if answer.status == 200:
            return Voided(refunded=answer.require("status") == "refunded")
        if answer.status != 409 or answer.code != "already_captured":
            raise _unexpected("void", reference, answer)
        refund = await self._call("refund", reference, f"{idempotency_key}:refund", correlation_id)
        if refund.status != 200:
            raise _unexpected("refund", reference, refund)
        refund.require("refund_id")
        return Voided(refunded=True)

    async def money(self, captured_since: datetime) -> list[MoneyFact]:
        """See ``GatewayLedger.money``."""
        params = {"captured_since": captured_since.isoformat()}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.get("/v1/money", params=params, follow_redirects=False)
            if response.status_code != 200:
                raise Unavailable(_GATEWAY, f"answered the question for its ledger with {response.status_code}")
            return _MONEY.validate_python(response.json()["payments"])
        except TimeoutError:
            raise Unavailable(_GATEWAY, f"no ledger within {self._timeout_seconds} s") from None
        except httpx.RequestError as error:
            raise Unavailable(_GATEWAY, f"no ledger: {type(error).__name__}") from None
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(_GATEWAY, f"gave a ledger that cannot be read: {type(error).__name__}") from None

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
        with _measured(operation) as measure:
            answer = await self._answer(operation, reference, body, headers, secret)
            measure.status = answer.status
            return answer

    async def _answer(
        self, operation: str, reference: UUID, body: dict[str, Any] | None, headers: dict[str, str], secret: str
    ) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.post(
                    f"/v1/payments/{reference}/{operation}", json=body, headers=headers, follow_redirects=False
                )
        except TimeoutError:
            raise Unavailable(_GATEWAY, f"no answer to {operation} within {self._timeout_seconds} s") from None
        # httpx's errors hold the request, and the request holds the token: none of them goes on from here.
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise RuntimeError(f"{operation} cannot be sent: {type(error).__name__}") from None
        except httpx.RequestError as error:
            raise Unavailable(_GATEWAY, f"no answer to {operation}: {type(error).__name__}") from None
        return _read(operation, response, secret)


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


def _read(operation: str, response: httpx.Response, secret: str) -> _Answer:
    status = response.status_code
    refused = 400 <= status < 500 and status not in _TRY_AGAIN
    if status != 200 and not refused:
        raise Unavailable(_GATEWAY, f"answered {operation} with {status}")
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        return _Answer(status, body, _without(secret, response.text))
    if refused:
        return _Answer(status, {}, _without(secret, response.text))
    raise Unavailable(_GATEWAY, f"answered {operation} with {status} and no JSON object")


def _without(secret: str, text: str) -> str:
    """What the gateway said, should it repeat the token, without it (nor its JSON spelling)."""
    if secret:
        text = text.replace(json.dumps(secret)[1:-1], "[token]").replace(secret, "[token]")
    return text[:_MOST_OF_A_BODY]


def _unexpected(operation: str, reference: UUID, answer: _Answer) -> RuntimeError:
    return RuntimeError(f"the payment gateway answered {operation} of {reference} with {answer.status}: {answer.text}")
