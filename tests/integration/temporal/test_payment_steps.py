"""The payment service's steps, attempt after attempt: what was answered once is the answer."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.testing import ActivityEnvironment

from activities.payments import PaymentActivities
from orderflow.domain.errors import Unavailable
from orderflow.domain.orders import Order
from orderflow.store.database import Database
from orderflow.store.payments import Payments
from support.orders import an_order
from support.scripted_gateway import ScriptedGateway
from support.stack import Databases
from support.tokens import opener, seal
from workflows.steps import AuthorizePayment, CapturePayment, CloseDoor, StepOutcome, Trace


class Steps:
    """The steps of one order, each as often as a test says."""

    def __init__(self, database: Database) -> None:
        self.gateway = ScriptedGateway()
        self.payments = Payments(database)
        self.order: Order = an_order()
        self._steps = PaymentActivities(self.payments, self.gateway, opener())

    async def authorize(self) -> StepOutcome:
        request = AuthorizePayment(
            order_id=self.order.order_id,
            amount=self.order.total,
            currency=self.order.currency,
            sealed_token=seal(self.order.order_id, "tok_ok"),
            trace=Trace(),
        )
        outcome: StepOutcome = await ActivityEnvironment().run(self._steps.authorize_payment, request)
        return outcome

    async def capture(self, command_id: str) -> StepOutcome:
        request = CapturePayment(order_id=self.order.order_id, command_id=command_id, trace=Trace())
        outcome: StepOutcome = await ActivityEnvironment().run(self._steps.capture_payment, request)
        return outcome

    async def void(self) -> StepOutcome:
        request = CloseDoor(order_id=self.order.order_id, trace=Trace())
        outcome: StepOutcome = await ActivityEnvironment().run(self._steps.void_payment, request)
        return outcome

    @property
    def asked(self) -> list[str]:
        """What the gateway was asked for."""
        return [name for name, _ in self.gateway.calls]


@pytest_asyncio.fixture
async def steps(databases: Databases) -> AsyncIterator[Steps]:
    async with Database("payments", databases.payments) as database:
        yield Steps(database)


async def test_a_refused_capture_is_the_answer_of_every_attempt(steps: Steps) -> None:
    """A gateway may change its mind; the ship that was refused stays refused, and no money moves for it."""
    await steps.authorize()
    steps.gateway.refuse_capture = True
    first = await steps.capture("w:capture:c:1")
    steps.gateway.refuse_capture = False
    again = await steps.capture("w:capture:c:1")
    assert (first.state, again) == ("refused", first)
    assert steps.asked == ["authorize", "capture"]
    assert steps.gateway.state[steps.order.order_id] == "authorized"
    assert (await steps.capture("w:capture:c:2")).state == "ok"


@pytest.mark.parametrize("operation", ["authorize", "capture", "void"])
async def test_an_answer_that_was_lost_is_asked_for_again_under_the_same_key(steps: Steps, operation: str) -> None:
    attempts = {"authorize": steps.authorize, "capture": lambda: steps.capture("w:capture:c:1"), "void": steps.void}
    if operation != "authorize":
        await steps.authorize()
    steps.gateway.fail(operation, 1)
    with pytest.raises(Unavailable, match="the answer was lost"):
        await attempts[operation]()
    assert (await attempts[operation]()).state == "ok"
    keys = [key for name, key in steps.gateway.calls if name == operation]
    assert len(keys) == 2
    assert len(set(keys)) == 1
