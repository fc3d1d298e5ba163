"""Near attempts are counted by what came of them. (How the way closes: ``tests/unit/workflows/test_near.py``.)"""

import asyncio
from collections import Counter
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities import near
from activities.near import NearPayments, NearWay
from orderflow.domain.errors import Unavailable
from orderflow.temporal import interceptor
from workflows.steps import NOT_HERE, CloseDoor, StepOutcome, Trace

DOOR = CloseDoor(order_id=uuid4(), trace=Trace())


class Counted:
    """Instead of a metric."""

    def __init__(self) -> None:
        self.by: Counter[tuple[str, ...]] = Counter()

    def add(self, *labels: str) -> None:
        self.by[labels] += 1

    def observe(self, _: float, *labels: str) -> None:
        self.by[labels] += 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(near, "NEAR_STEPS", counted)
    return counted


async def answers(_: CloseDoor) -> StepOutcome:
    return StepOutcome(state="ok")


async def is_away(_: CloseDoor) -> StepOutcome:
    raise Unavailable("payment gateway", "no answer")


async def hangs(_: CloseDoor) -> StepOutcome:
    return await asyncio.Event().wait() and StepOutcome(state="ok")


async def is_wrong(_: CloseDoor) -> StepOutcome:
    raise KeyError("x")


async def test_what_came_of_each_attempt_is_counted(counted: Counted) -> None:
    way = NearWay()
    assert (await way.take("void", answers, DOOR)).state == "ok"
    with pytest.raises(Unavailable):
        await way.take("void", is_away, DOOR)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await way.take("void", hangs, DOOR)
    with pytest.raises(KeyError):
        await way.take("void", is_wrong, DOOR)
    with pytest.raises(ApplicationError, match="not in this process"):
        await way.take("void", None, DOOR)
    assert counted.by == {
        ("void", "done"): 1,
        ("void", "unanswered"): 2,
        ("void", "error"): 1,
        ("void", NOT_HERE): 1,
    }


async def test_a_near_step_that_is_not_here_is_no_error_among_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    monkeypatch.setattr(interceptor, "STEP_SECONDS", counted)
    steps = NearPayments(None)

    class Calls(ActivityInboundInterceptor):
        def __init__(self) -> None:
            pass

        async def execute_activity(self, input: ExecuteActivityInput) -> StepOutcome:
            return await steps.void_payment(DOOR)

    around = interceptor._MeasuredStep(Calls())
    request = ExecuteActivityInput(fn=steps.void_payment, args=(DOOR,), executor=None, headers={})
    with pytest.raises(ApplicationError):
        await ActivityEnvironment().run(around.execute_activity, request)
    assert [outcome for _, outcome in counted.by] == [NOT_HERE]
