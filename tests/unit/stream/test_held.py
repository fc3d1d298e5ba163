"""Orders held back: all but one are left out at a time, and one that goes through lets all go."""

from uuid import UUID

import pytest

from orderflow.stream.held import PROBE_SECONDS, HeldOrders

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def held(clock: Clock) -> HeldOrders:
    held = HeldOrders(clock)
    for order in (ONE, TWO, THREE):
        held.hold(order, "too large")
    return held


def test_all_are_left_out_until_it_is_time_to_try_one(held: HeldOrders, clock: Clock) -> None:
    assert list(held.left_out()) == [ONE, TWO, THREE]
    clock.now += PROBE_SECONDS
    assert list(held.left_out()) == [TWO, THREE]


def test_one_that_is_refused_again_goes_to_the_end(held: HeldOrders, clock: Clock) -> None:
    clock.now += PROBE_SECONDS
    held.left_out()
    held.hold(ONE, "too large still")
    held.sent((), everything_answered=True)
    assert (len(held), held.reason) == (3, "too large still")
    assert list(held.left_out()) == [TWO, THREE, ONE]
    clock.now += PROBE_SECONDS
    assert list(held.left_out()) == [THREE, ONE]


def test_one_that_goes_through_lets_all_go(held: HeldOrders, clock: Clock) -> None:
    held.sent({ONE}, everything_answered=True)
    assert len(held) == 3, "it was not tried: a round of others says nothing"
    clock.now += PROBE_SECONDS
    held.left_out()
    held.sent({ONE}, everything_answered=False)
    assert len(held) == 0


def test_one_of_which_nothing_is_left_is_let_go_alone(held: HeldOrders, clock: Clock) -> None:
    clock.now += PROBE_SECONDS
    held.left_out()
    held.sent((), everything_answered=False)
    assert len(held) == 3, "Kafka did not answer"
    held.left_out()
    held.sent((), everything_answered=True)
    assert len(held) == 2
