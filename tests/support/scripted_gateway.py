"""A payment gateway in memory that does what a test says, at the moment the test says.

It keeps the promises of ``orderflow.gateways.protocol`` (tests/integration/gateways/test_conformance.py) unless a test
takes one back: ``remembers_voids = False``.
"""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from uuid import UUID

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

_DECLINES: dict[str, DeclineReason] = {
    "tok_declined": "payment_declined",
    "tok_insufficient_funds": "insufficient_funds",
}
#: What is held for a reference whose ``state`` a test wrote.
_AMOUNT = (300, "USD")

Answer = Authorized | Declined | Shut | Captured | CaptureRefused | Voided


class ScriptedGateway(PaymentGateway, GatewayLedger):
    """``state``: what the ledger says of a reference: authorized, captured, refunded or voided.

    ``hold(op)`` stops calls, ``fail(op, n)`` loses the answers of the next n, ``miss(op, n)`` the next n themselves;
    ``break_down(op, error, n)`` has the next n raise something else. Money has been where it is for an hour.
    """

    def __init__(self) -> None:
        self.state: dict[UUID, str] = {}
        self.calls: list[tuple[str, str]] = []
        #: The payment tokens that it was given.
        self.tokens: set[str] = set()
        self.refuse_capture = False
        self.words = "The card was blocked."
        self.remembers_voids = True
        self._amounts: dict[UUID, tuple[int, str]] = {}
        self._uncapturable: set[UUID] = set()
        #: By idempotency key: what was asked, and what was answered.
        self._answers: dict[str, tuple[tuple[object, ...], Answer]] = {}
        self._failures: dict[str, int] = defaultdict(int)
        self._misses: dict[str, int] = defaultdict(int)
        self._broken: dict[str, list[Exception]] = defaultdict(list)
        self._open: dict[str, asyncio.Event] = {}

    def hold(self, operation: str) -> asyncio.Event:
        """Calls of ``operation`` wait until the returned event is set; what they do, they do then."""
        self._open[operation] = asyncio.Event()
        return self._open[operation]

    def fail(self, operation: str, times: int) -> None:
        """The next ``times`` calls of ``operation`` do what they do, and their answer is lost."""
        self._failures[operation] = times

    def miss(self, operation: str, times: int) -> None:
        """The next ``times`` calls of ``operation`` do not arrive: nothing happens."""
        self._misses[operation] = times

    def break_down(self, operation: str, error: Exception, times: int) -> None:
        """The next ``times`` calls of ``operation`` raise ``error``, and do nothing."""
        self._broken[operation] = [error] * times

    def forget(self) -> None:
        """Forget what was answered under which key, as gateways do after a while; what is held stays."""
        self._answers.clear()

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
        await self._arrive("authorize", idempotency_key)
        self.tokens.add(token)
        request = ("authorize", reference, amount, currency, token)
        answer = self._recorded(idempotency_key, request) or self._authorize(reference, amount, currency, token)
        assert isinstance(answer, Authorized | Declined | Shut)
        self._leave(idempotency_key, request, answer)
        return answer

    async def capture(
        self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None
    ) -> Captured | CaptureRefused:
        await self._arrive("capture", idempotency_key)
        request = ("capture", reference)
        answer = self._recorded(idempotency_key, request) or self._capture(reference)
        assert isinstance(answer, Captured | CaptureRefused)
        self._leave(idempotency_key, request, answer)
        return answer

    async def void(self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None) -> Voided:
        await self._arrive("void", idempotency_key)
        request = ("void", reference)
        answer = self._recorded(idempotency_key, request) or self._void(reference)
        assert isinstance(answer, Voided)
        self._leave(idempotency_key, request, answer)
        return answer

    async def money(self, captured_since: datetime) -> list[MoneyFact]:
        since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
        held = [
            MoneyFact(reference, "authorized", *self._amounts.get(reference, _AMOUNT), since)
            for reference, state in self.state.items()
            if state == "authorized"
        ]
        taken = [
            MoneyFact(reference, "captured", *self._amounts.get(reference, _AMOUNT), since)
            for reference, state in self.state.items()
            if state == "captured" and since >= captured_since
        ]
        return held + taken

    def _authorize(self, reference: UUID, amount: int, currency: str, token: str) -> Authorized | Declined | Shut:
        state = self.state.get(reference)
        if state == "voided" and self.remembers_voids:
            return Shut()
        if state in ("authorized", "captured", "refunded"):
            raise RuntimeError(f"already_authorized: {reference} is {state}")
        if token in _DECLINES:
            return Declined(_DECLINES[token])
        self.state[reference], self._amounts[reference] = "authorized", (amount, currency)
        if token == "tok_capture_refused":
            self._uncapturable.add(reference)
        return Authorized(f"auth-{reference}")

    def _capture(self, reference: UUID) -> Captured | CaptureRefused:
        state = self.state.get(reference)
        if state in ("voided", "refunded"):
            return CaptureRefused("The hold is gone.")
        if state == "captured":
            return Captured(f"capture-{reference}")
        if state != "authorized":
            raise RuntimeError(f"unknown_reference: {reference} is {state}")
        if self.refuse_capture or reference in self._uncapturable:
            return CaptureRefused(self.words)
        self.state[reference] = "captured"
        return Captured(f"capture-{reference}")

    def _void(self, reference: UUID) -> Voided:
        refunded = self.state.get(reference) in ("captured", "refunded")
        self.state[reference] = "refunded" if refunded else "voided"
        return Voided(refunded)

    async def _arrive(self, operation: str, key: str) -> None:
        self.calls.append((operation, key))
        if gate := self._open.get(operation):
            await gate.wait()
        if self._broken[operation]:
            raise self._broken[operation].pop()
        if self._misses[operation] > 0:
            self._misses[operation] -= 1
            raise Unavailable("payment gateway", "the call was lost")

    def _recorded(self, key: str, request: tuple[object, ...]) -> Answer | None:
        asked, answer = self._answers.get(key, (request, None))
        if asked != request:
            raise RuntimeError(f"idempotency_key_reused: {key} stands for another request")
        return answer

    def _leave(self, key: str, request: tuple[object, ...], answer: Answer) -> None:
        self._answers[key] = (request, answer)
        operation = str(request[0])
        if self._failures[operation] > 0:
            self._failures[operation] -= 1
            raise Unavailable("payment gateway", "the answer was lost")
