"""What ``orderflow.gateways.protocol`` promises, of every gateway we have: one test a promise.

The scripted gateway stands in for the real one in the workflows' tests, so it must keep the same promises as the
adapter over HTTP. A new adapter joins with a ``Subject`` of its own, in ``GATEWAYS``.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

import httpx
import pytest

from orderflow.domain.errors import Unavailable
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.http import HttpPaymentGateway
from orderflow.gateways.protocol import (
    Authorized,
    Captured,
    CaptureRefused,
    Declined,
    GatewayLedger,
    MoneyFact,
    PaymentGateway,
    Shut,
    Voided,
)
from support.scripted_gateway import ScriptedGateway

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SECRET = "tok_geheim_4242"


class Subject(Protocol):
    """A gateway under test, and how to break the way to it."""

    @property
    def gateway(self) -> PaymentGateway: ...

    @property
    def ledger(self) -> GatewayLedger: ...

    def answers_are_lost(self) -> AbstractAsyncContextManager[None]:
        """Inside, every call happens, and its answer does not come."""
        ...

    def calls_are_lost(self) -> AbstractAsyncContextManager[None]:
        """Inside, no call happens."""
        ...


@dataclass(frozen=True)
class Scripted:
    gateway: ScriptedGateway

    @property
    def ledger(self) -> GatewayLedger:
        return self.gateway

    @asynccontextmanager
    async def answers_are_lost(self) -> AsyncIterator[None]:
        self._all(self.gateway.fail, 1000)
        yield
        self._all(self.gateway.fail, 0)

    @asynccontextmanager
    async def calls_are_lost(self) -> AsyncIterator[None]:
        self._all(self.gateway.miss, 1000)
        yield
        self._all(self.gateway.miss, 0)

    def _all(self, script: Callable[[str, int], None], times: int) -> None:
        for operation in ("authorize", "capture", "void"):
            script(operation, times)


@dataclass(frozen=True)
class OverHttp:
    gateway: HttpPaymentGateway
    simulator: httpx.AsyncClient

    @property
    def ledger(self) -> GatewayLedger:
        return self.gateway

    @asynccontextmanager
    async def answers_are_lost(self) -> AsyncIterator[None]:
        await self._put(lose_answer_rate=1)
        yield
        await self._put()

    @asynccontextmanager
    async def calls_are_lost(self) -> AsyncIterator[None]:
        await self._put(down=True)
        yield
        await self._put()

    async def _put(self, **faults: object) -> None:
        (await self.simulator.put("/v1/faults", json=faults)).raise_for_status()


@asynccontextmanager
async def scripted(simulator: httpx.AsyncClient) -> AsyncIterator[Subject]:
    yield Scripted(ScriptedGateway())


@asynccontextmanager
async def over_http(simulator: httpx.AsyncClient) -> AsyncIterator[Subject]:
    async with GatewayClient(str(simulator.base_url), 5) as client:
        yield OverHttp(HttpPaymentGateway(client), simulator)


GATEWAYS = [scripted, over_http]


@pytest.fixture(params=GATEWAYS, ids=lambda make: make.__name__)
async def subject(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> AsyncIterator[Subject]:
    async with request.param(client) as made:
        yield made


@pytest.fixture
def gateway(subject: Subject) -> PaymentGateway:
    return subject.gateway


async def authorize(
    gateway: PaymentGateway, reference: UUID, token: str = "tok_ok", key: str = "authorize", amount: int = 419
) -> Authorized | Declined | Shut:
    return await gateway.authorize(reference, amount, "USD", token, f"{reference}:{key}")


async def capture(gateway: PaymentGateway, reference: UUID, key: str = "capture") -> Captured | CaptureRefused:
    return await gateway.capture(reference, f"{reference}:{key}")


async def void(gateway: PaymentGateway, reference: UUID, key: str = "void") -> Voided:
    return await gateway.void(reference, f"{reference}:{key}")


async def money(subject: Subject, reference: UUID, since: datetime = LONG_AGO) -> tuple[str, int, str] | None:
    """Status, amount and currency of what is held or was taken for the reference, which is listed once at most."""
    facts: list[MoneyFact] = [fact for fact in await subject.ledger.money(since) if fact.reference == reference]
    assert len(facts) <= 1, facts
    return (facts[0].status, facts[0].amount, facts[0].currency) if facts else None


# --- Every call is idempotent by its key ---


async def test_the_same_authorize_again_gives_the_recorded_answer(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    held = await authorize(gateway, reference)
    assert isinstance(held, Authorized)
    assert await authorize(gateway, reference) == held
    assert await money(subject, reference) == ("authorized", 419, "USD")


async def test_the_same_authorize_at_once_holds_once(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    answers = await asyncio.gather(*(authorize(gateway, reference) for _ in range(5)))
    assert len(set(answers)) == 1
    assert await money(subject, reference) == ("authorized", 419, "USD")


async def test_the_same_capture_again_gives_the_recorded_answer(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    await authorize(gateway, reference)
    taken = await capture(gateway, reference)
    assert isinstance(taken, Captured)
    assert await capture(gateway, reference) == taken
    assert await money(subject, reference) == ("captured", 419, "USD")


async def test_a_recorded_answer_stands_whatever_happened_since(gateway: PaymentGateway, reference: UUID) -> None:
    held, taken = await authorize(gateway, reference), await capture(gateway, reference)
    assert await void(gateway, reference) == Voided(refunded=True)
    assert await authorize(gateway, reference) == held
    assert await capture(gateway, reference) == taken


async def test_a_refused_authorize_again_gives_the_recorded_refusal(gateway: PaymentGateway, reference: UUID) -> None:
    refused = await authorize(gateway, reference, "tok_declined")
    await void(gateway, reference)
    assert await authorize(gateway, reference, "tok_declined") == refused == Declined("payment_declined")


async def test_a_refused_capture_again_gives_the_recorded_refusal(gateway: PaymentGateway, reference: UUID) -> None:
    await authorize(gateway, reference, "tok_capture_refused")
    refused = await capture(gateway, reference)
    assert isinstance(refused, CaptureRefused)
    await void(gateway, reference)
    assert await capture(gateway, reference) == refused


async def test_another_request_under_the_same_key_is_a_bug(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    other = uuid4()
    held = await authorize(gateway, reference)
    assert isinstance(held, Authorized)
    key = f"{reference}:authorize"
    others: list[Callable[[], Awaitable[object]]] = [
        lambda: gateway.authorize(reference, 420, "USD", "tok_ok", key),
        lambda: gateway.authorize(reference, 419, "EUR", "tok_ok", key),
        lambda: gateway.authorize(reference, 419, "USD", "tok_declined", key),
        lambda: gateway.authorize(other, 419, "USD", "tok_ok", key),
        lambda: gateway.capture(reference, key),
        lambda: gateway.void(reference, key),
    ]
    for call in others:
        with pytest.raises(RuntimeError):
            await call()
    assert await authorize(gateway, reference) == held
    assert await money(subject, reference) == ("authorized", 419, "USD")
    assert await money(subject, other) is None


# --- One reference: at most one hold, at most one capture ---


async def test_a_second_hold_is_a_bug(gateway: PaymentGateway, reference: UUID, subject: Subject) -> None:
    await authorize(gateway, reference)
    with pytest.raises(RuntimeError):
        await authorize(gateway, reference, key="another", amount=500)
    assert await money(subject, reference) == ("authorized", 419, "USD")


@pytest.mark.parametrize("refunded", [False, True], ids=["captured", "refunded"])
async def test_no_hold_after_a_capture(
    gateway: PaymentGateway, reference: UUID, subject: Subject, refunded: bool
) -> None:
    await authorize(gateway, reference)
    await capture(gateway, reference)
    if refunded:
        await void(gateway, reference)
    with pytest.raises(RuntimeError):
        await authorize(gateway, reference, key="another")
    assert await money(subject, reference) == (None if refunded else ("captured", 419, "USD"))


async def test_a_second_capture_under_another_key_is_the_first(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    """As where the gateway has forgotten the key."""
    await authorize(gateway, reference)
    taken = await capture(gateway, reference)
    assert isinstance(taken, Captured)
    assert await capture(gateway, reference, "another") == taken
    assert await money(subject, reference) == ("captured", 419, "USD")


@pytest.mark.parametrize("declined", [False, True], ids=["unknown", "declined"])
async def test_a_capture_of_what_nobody_authorized_is_a_bug(
    gateway: PaymentGateway, reference: UUID, subject: Subject, declined: bool
) -> None:
    if declined:
        await authorize(gateway, reference, "tok_declined")
    with pytest.raises(RuntimeError):
        await capture(gateway, reference)
    assert await money(subject, reference) is None


# --- Refusals are results ---


@pytest.mark.parametrize(
    ("token", "answer"),
    [("tok_declined", Declined("payment_declined")), ("tok_insufficient_funds", Declined("insufficient_funds"))],
)
async def test_a_decline_says_why_and_holds_nothing(
    gateway: PaymentGateway, reference: UUID, subject: Subject, token: str, answer: Declined
) -> None:
    assert await authorize(gateway, reference, token) == answer
    assert await money(subject, reference) is None


async def test_a_refused_capture_says_why_and_takes_nothing(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    await authorize(gateway, reference, "tok_capture_refused")
    refused = await capture(gateway, reference)
    assert isinstance(refused, CaptureRefused)
    assert refused.detail.endswith(".")
    assert await money(subject, reference) == ("authorized", 419, "USD")


async def test_a_capture_after_a_void_is_refused(gateway: PaymentGateway, reference: UUID, subject: Subject) -> None:
    await authorize(gateway, reference)
    await void(gateway, reference)
    assert isinstance(await capture(gateway, reference), CaptureRefused)
    assert await money(subject, reference) is None


async def test_a_capture_after_a_refund_is_refused(gateway: PaymentGateway, reference: UUID, subject: Subject) -> None:
    await authorize(gateway, reference)
    await capture(gateway, reference)
    await void(gateway, reference)
    assert isinstance(await capture(gateway, reference, "another"), CaptureRefused)
    assert await money(subject, reference) is None


# --- After a void nothing is held or taken, and nothing can be any more ---


#: A void is repeated under its key, and reconciliation voids again under keys of its own.
twice = pytest.mark.parametrize("keys", [("void", "void"), ("void", "again")], ids=["same key", "another key"])


@twice
async def test_a_void_of_a_hold_releases_it(
    gateway: PaymentGateway, reference: UUID, subject: Subject, keys: tuple[str, str]
) -> None:
    await authorize(gateway, reference)
    for key in keys:
        assert await void(gateway, reference, key) == Voided(refunded=False)
        assert await money(subject, reference) is None


@twice
async def test_a_void_of_a_capture_refunds_it_once(
    gateway: PaymentGateway, reference: UUID, subject: Subject, keys: tuple[str, str]
) -> None:
    await authorize(gateway, reference)
    await capture(gateway, reference)
    for key in keys:
        assert await void(gateway, reference, key) == Voided(refunded=True)
        assert await money(subject, reference) is None


@twice
async def test_a_void_of_nothing_is_remembered(
    gateway: PaymentGateway, reference: UUID, subject: Subject, keys: tuple[str, str]
) -> None:
    for key in keys:
        assert await void(gateway, reference, key) == Voided(refunded=False)
    assert await authorize(gateway, reference) == Shut()
    assert await money(subject, reference) is None


@twice
async def test_a_void_of_a_decline_is_remembered(
    gateway: PaymentGateway, reference: UUID, subject: Subject, keys: tuple[str, str]
) -> None:
    await authorize(gateway, reference, "tok_declined")
    for key in keys:
        assert await void(gateway, reference, key) == Voided(refunded=False)
    assert await authorize(gateway, reference, key="another") == Shut()
    assert await money(subject, reference) is None


async def test_a_void_of_a_hold_is_remembered(gateway: PaymentGateway, reference: UUID, subject: Subject) -> None:
    await authorize(gateway, reference)
    await void(gateway, reference)
    for _ in range(2):
        assert await authorize(gateway, reference, key="another") == Shut()
    assert await money(subject, reference) is None


# --- No answer is Unavailable, and the same call again finds out ---


async def test_an_authorize_whose_answer_was_lost_has_happened_once(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    async with subject.answers_are_lost():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await authorize(gateway, reference)
    assert await money(subject, reference) == ("authorized", 419, "USD")
    assert isinstance(await authorize(gateway, reference), Authorized)
    assert await money(subject, reference) == ("authorized", 419, "USD")


async def test_a_decline_whose_answer_was_lost_is_found(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    async with subject.answers_are_lost():
        with pytest.raises(Unavailable):
            await authorize(gateway, reference, "tok_insufficient_funds")
    assert await authorize(gateway, reference, "tok_insufficient_funds") == Declined("insufficient_funds")


async def test_a_capture_whose_answer_was_lost_has_happened_once(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    await authorize(gateway, reference)
    async with subject.answers_are_lost():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await capture(gateway, reference)
    assert await money(subject, reference) == ("captured", 419, "USD")
    assert isinstance(await capture(gateway, reference), Captured)
    assert await money(subject, reference) == ("captured", 419, "USD")


@pytest.mark.parametrize("captured", [False, True], ids=["held", "captured"])
async def test_a_void_whose_answer_was_lost_is_finished_by_the_same_call(
    gateway: PaymentGateway, reference: UUID, subject: Subject, captured: bool
) -> None:
    await authorize(gateway, reference)
    if captured:
        await capture(gateway, reference)
    async with subject.answers_are_lost():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await void(gateway, reference)
    for _ in range(2):
        assert await void(gateway, reference) == Voided(refunded=captured)
        assert await money(subject, reference) is None


async def test_a_call_that_did_not_arrive_is_unavailable_and_happens_when_it_is_sent_again(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    async with subject.calls_are_lost():
        with pytest.raises(Unavailable):
            await authorize(gateway, reference)
    assert await money(subject, reference) is None
    assert isinstance(await authorize(gateway, reference), Authorized)
    async with subject.calls_are_lost():
        with pytest.raises(Unavailable):
            await capture(gateway, reference)
    assert await money(subject, reference) == ("authorized", 419, "USD")
    assert isinstance(await capture(gateway, reference), Captured)
    async with subject.calls_are_lost():
        with pytest.raises(Unavailable):
            await void(gateway, reference)
    assert await money(subject, reference) == ("captured", 419, "USD")
    assert await void(gateway, reference) == Voided(refunded=True)


# --- The ledger ---


async def test_an_old_capture_is_not_listed_and_an_old_hold_is(
    gateway: PaymentGateway, reference: UUID, subject: Subject
) -> None:
    held, tomorrow = uuid4(), datetime.now(UTC) + timedelta(days=1)
    await authorize(gateway, held, amount=1)
    await authorize(gateway, reference)
    await capture(gateway, reference)
    assert await money(subject, held, tomorrow) == ("authorized", 1, "USD")
    assert await money(subject, reference, tomorrow) is None
    [fact] = [fact for fact in await subject.ledger.money(LONG_AGO) if fact.reference == reference]
    assert fact.since.tzinfo is not None
    assert fact in await subject.ledger.money(fact.since)


# --- The token ---


async def test_the_token_is_in_no_exception(gateway: PaymentGateway, reference: UUID, subject: Subject) -> None:
    async with subject.answers_are_lost():
        with pytest.raises(Unavailable) as lost:
            await authorize(gateway, reference, SECRET)
    async with subject.calls_are_lost():
        with pytest.raises(Unavailable) as missed:
            await authorize(gateway, reference, SECRET, "another")
    await authorize(gateway, held := uuid4())
    with pytest.raises(RuntimeError) as second:
        await authorize(gateway, held, SECRET, "another")
    with pytest.raises(RuntimeError) as reused:
        await authorize(gateway, held, SECRET)
    for error in (lost.value, missed.value, second.value, reused.value):
        assert "geheim" not in repr(error) + "".join(traceback.format_exception(error))
