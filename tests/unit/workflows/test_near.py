"""The near way to a service: one attempt, "not here", and closed for a while when nothing answers."""

import asyncio
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.near import CLOSED_SECONDS, MOST_UNANSWERED, NearInventory, NearPayments, NearWay
from orderflow.domain.errors import Unavailable
from workflows.steps import NOT_HERE, CloseDoor, InventorySteps, ReserveInventory, StepOutcome, Trace

OK = StepOutcome(state="ok")
REQUEST = CloseDoor(order_id=uuid4(), trace=Trace())


class Service:
    """A step that answers, or does not."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: BaseException | None = None

    async def step(self, _: CloseDoor) -> StepOutcome:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return OK


class Clock:
    """The loop's time, as the test says."""

    def __init__(self, now: float) -> None:
        self.now = now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1000.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock.now)
    return clock


async def _is_open(way: NearWay, service: Service) -> None:
    asked = service.asked
    assert await way.take("void_payment", service.step, REQUEST) is OK
    assert service.asked == asked + 1


async def _is_closed(way: NearWay, service: Service) -> None:
    asked = service.asked
    with pytest.raises(ApplicationError) as raised:
        await way.take("void_payment", service.step, REQUEST)
    assert (raised.value.type, raised.value.non_retryable) == (NOT_HERE, True)
    assert raised.value.category is ApplicationErrorCategory.BENIGN  # nobody's failure: no line in the log
    assert service.asked == asked


async def _is_unanswered(way: NearWay, service: Service, failure: BaseException, times: int = 1) -> None:
    service.failure = failure
    for _ in range(times):
        with pytest.raises(type(failure)):
            await way.take("void_payment", service.step, REQUEST)
    service.failure = None


async def test_what_the_step_answers_is_the_answer() -> None:
    service = Service()
    assert await NearWay().take("void_payment", service.step, REQUEST) is OK
    assert service.asked == 1


async def test_a_service_that_is_not_in_the_process_is_not_here() -> None:
    trace = Trace()
    for step, request in (
        (NearPayments(None).void_payment, REQUEST),
        (NearInventory(None).commit_inventory, REQUEST),
    ):
        with pytest.raises(ApplicationError, match="not in this process") as raised:
            await step(request)
        assert raised.value.type == NOT_HERE
    with pytest.raises(ApplicationError):
        await NearInventory(None).reserve_inventory(ReserveInventory(order_id=uuid4(), lines=(), trace=trace))


@pytest.mark.parametrize("failure", [Unavailable("gateway", "away"), asyncio.CancelledError()], ids=["away", "slow"])
async def test_after_several_attempts_without_an_answer_the_way_is_closed_for_a_while(
    clock: Clock, failure: BaseException
) -> None:
    way, service = NearWay(), Service()
    await _is_unanswered(way, service, failure, MOST_UNANSWERED)
    await _is_closed(way, service)
    clock.now += CLOSED_SECONDS - 0.1
    await _is_closed(way, service)
    clock.now += 0.1
    await _is_open(way, service)


async def test_an_answer_in_between_keeps_the_way_open(clock: Clock) -> None:
    way, service = NearWay(), Service()
    for _ in range(3):
        await _is_unanswered(way, service, Unavailable("gateway", "away"), MOST_UNANSWERED - 1)
        await _is_open(way, service)


async def test_a_way_that_was_closed_is_tried_as_often_as_before(clock: Clock) -> None:
    way, service = NearWay(), Service()
    for _ in range(2):
        await _is_unanswered(way, service, Unavailable("gateway", "away"), MOST_UNANSWERED - 1)
        await _is_open(way, service)
        await _is_unanswered(way, service, Unavailable("gateway", "away"), MOST_UNANSWERED)
        await _is_closed(way, service)
        clock.now += CLOSED_SECONDS


async def test_a_bug_closes_no_way(clock: Clock) -> None:
    """It is an answer of a kind: the ordinary activity meets it too, and says so."""
    way, service = NearWay(), Service()
    await _is_unanswered(way, service, RuntimeError("a bug"), 2 * MOST_UNANSWERED)
    await _is_open(way, service)


async def test_each_service_has_a_way_of_its_own(clock: Clock) -> None:
    class Inventory(InventorySteps):
        async def reserve_inventory(self, request: ReserveInventory) -> StepOutcome:
            raise Unavailable("inventory", "away")

        async def commit_inventory(self, request: CloseDoor) -> StepOutcome:
            raise Unavailable("inventory", "away")

        async def release_inventory(self, request: CloseDoor) -> StepOutcome:
            return OK

    near, service = NearInventory(Inventory()), Service()
    for _ in range(MOST_UNANSWERED):
        with pytest.raises(Unavailable):
            await near.commit_inventory(REQUEST)
    with pytest.raises(ApplicationError):  # all steps of the service
        await near.release_inventory(REQUEST)
    await _is_open(NearWay(), service)
