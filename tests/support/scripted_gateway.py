"""A payment gateway in memory that does what a test says, at the moment the test says."""

import asyncio
from collections import defaultdict
from uuid import UUID

from orderflow.domain.errors import Unavailable
from orderflow.gateways.protocol import Authorized, Captured, CaptureRefused, Declined, PaymentGateway, Shut, Voided


class ScriptedGateway(PaymentGateway):
    """``state``: what the ledger says of a reference. ``hold(op)`` stops calls, ``fail(op, n)`` breaks the next n.

    ``break_down(op, error, n)``: the next n are no calls at all.
    """

    def __init__(self) -> None:
        self.state: dict[UUID, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.refuse_capture = False
        self.words = "The card was blocked."
        self.remembers_voids = True
        self._answers: dict[tuple[str, str], object] = {}
        self._failures: dict[str, int] = defaultdict(int)
        self._broken: dict[str, list[Exception]] = defaultdict(list)
        self._open: dict[str, asyncio.Event] = {}

    def hold(self, operation: str) -> asyncio.Event:
        """Calls of ``operation`` wait until the returned event is set; what they do, they do then."""
        self._open[operation] = asyncio.Event()
        return self._open[operation]

    def fail(self, operation: str, times: int) -> None:
        """The next ``times`` calls of ``operation`` do what they do, and their answer is lost."""
        self._failures[operation] = times

    def break_down(self, operation: str, error: Exception, times: int) -> None:
        """The next ``times`` calls of ``operation`` raise ``error``, and do nothing."""
        self._broken[operation] = [error] * times

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
        answer = self._answers.get(("authorize", idempotency_key))
        if not isinstance(answer, Authorized | Declined | Shut):
            if token == "tok_declined":
                answer = Declined("payment_declined")
            elif token == "tok_insufficient_funds":
                answer = Declined("insufficient_funds")
            elif self.remembers_voids and self.state.get(reference) == "voided":
                answer = Shut()
            else:
                assert self.state.get(reference) != "authorized", "held twice"
                self.state[reference] = "authorized"
                answer = Authorized(f"auth-{reference}")
            self._answers["authorize", idempotency_key] = answer
        self._leave("authorize")
        return answer

    async def capture(
        self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None
    ) -> Captured | CaptureRefused:
        await self._arrive("capture", idempotency_key)
        answer = self._answers.get(("capture", idempotency_key))
        if not isinstance(answer, Captured | CaptureRefused):
            if self.refuse_capture:
                answer = CaptureRefused(self.words)
            else:
                assert self.state[reference] == "authorized", "captured without a hold, or twice"
                self.state[reference] = "captured"
                answer = Captured(f"capture-{reference}")
            self._answers["capture", idempotency_key] = answer
        self._leave("capture")
        return answer

    async def void(self, reference: UUID, idempotency_key: str, *, correlation_id: str | None = None) -> Voided:
        await self._arrive("void", idempotency_key)
        answer = self._answers.get(("void", idempotency_key))
        if not isinstance(answer, Voided):
            refunded = self.state.get(reference) == "captured"
            self.state[reference] = "refunded" if refunded else "voided"
            answer = Voided(refunded)
            self._answers["void", idempotency_key] = answer
        self._leave("void")
        return answer

    async def _arrive(self, operation: str, key: str) -> None:
        self.calls.append((operation, key))
        if gate := self._open.get(operation):
            await gate.wait()
        if self._broken[operation]:
            raise self._broken[operation].pop()

    def _leave(self, operation: str) -> None:
        if self._failures[operation] > 0:
            self._failures[operation] -= 1
            raise Unavailable("payment gateway", "the answer was lost")
