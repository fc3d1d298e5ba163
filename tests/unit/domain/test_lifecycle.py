"""Every path through the LIFECYCLE tables, and no other."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.domain import inventory, orders, payments
from orderflow.domain.commands import Command, only
from orderflow.domain.judge import refusal
from orderflow.domain.lifecycle import Lifecycle
from orderflow.domain.orders import OrderStatus, allowed_actions
from orderflow_events.models import EVENTS

LIFECYCLES = [orders.LIFECYCLE, payments.LIFECYCLE, inventory.LIFECYCLE]
every_lifecycle = pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=lambda it: it.aggregate)


def _walk(lifecycle: Lifecycle, commands: list[str]) -> list[str | None]:
    """The statuses that these commands lead through; a refused command leads nowhere."""
    path: list[str | None] = [None]
    for command in commands:
        problem = refusal(lifecycle, Command(name=command, id="c:1"), path[-1], len(path))
        if problem is None:
            path.append(next(t.to for t in lifecycle.transitions if t.command == command and path[-1] in t.from_))
    return path


@every_lifecycle
@given(data=st.data())
def test_no_sequence_of_commands_leaves_the_table_or_returns_to_a_status(
    lifecycle: Lifecycle, data: st.DataObject
) -> None:
    names = sorted({t.command for t in lifecycle.transitions})
    path = _walk(lifecycle, data.draw(st.lists(st.sampled_from(names), max_size=20)))
    steps = list(pairwise(path))
    assert all(any(a in t.from_ and b == t.to for t in lifecycle.transitions) for a, b in steps)
    # What the write rule rests on: a command that was done once can never be legal again.
    assert len(set(path)) == len(path)


@every_lifecycle
def test_every_status_can_be_reached_and_every_way_ends(lifecycle: Lifecycle) -> None:
    reached: set[str | None] = {None}
    open_ends: list[str | None] = [None]
    while open_ends:
        status = open_ends.pop()
        following = {t.to for t in lifecycle.transitions if status in t.from_}
        assert bool(following) != lifecycle.is_final(status)
        open_ends += following - reached
        reached |= following
    assert reached - {None} == set(lifecycle.statuses)


@every_lifecycle
def test_every_event_is_one_that_consumers_know(lifecycle: Lifecycle) -> None:
    assert all(EVENTS[t.event.type] is t.event for t in lifecycle.transitions)


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        (None, ()),
        (OrderStatus.DRAFT, ("approve", "cancel")),
        (OrderStatus.APPROVED, ("cancel",)),
        (OrderStatus.FULFILLING, ("ship", "cancel")),
        (OrderStatus.SHIPPED, ("complete",)),
        (OrderStatus.COMPLETED, ()),
        (OrderStatus.CANCELLED, ()),
    ],
)
def test_what_a_client_may_ask(status: str | None, actions: tuple[str, ...]) -> None:
    assert allowed_actions(status) == actions


def test_the_way_of_a_good_order() -> None:
    path = _walk(orders.LIFECYCLE, ["place", "approve", "fulfil", "ship", "complete"])
    assert path == [None, "DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]


@given(status=st.sampled_from(list(OrderStatus)), version=st.integers(1, 9), expected=st.integers(1, 9))
def test_an_old_version_is_named_before_anything_else(status: OrderStatus, version: int, expected: int) -> None:
    command = Command(name="cancel", id="c:1", precondition=only(expected))
    problem = refusal(orders.LIFECYCLE, command, status, version, pending=True)
    assert problem is not None or expected == version
    assert (problem is not None and problem.status == 412) == (expected != version)


def test_while_a_ship_is_under_way_a_legal_command_is_refused() -> None:
    problem = refusal(orders.LIFECYCLE, Command(name="cancel", id="c:1"), "FULFILLING", 3, pending=True)
    assert problem is not None
    assert (problem.slug, problem.status) == ("shipment_in_progress", 409)
