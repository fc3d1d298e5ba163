"""``orderflow order nudge`` and ``orderflow order reset``: what an operator may do to a workflow, with a reason.

Each is recorded before it happens (``operations/audit.py``), and both are harmless when repeated. Exit codes: 0 done, 1
it cannot be done to this order, 2 wrong usage, 3 Temporal or the orders database does not answer, 4 no such order.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from uuid import UUID

import typer

from cli.calls import NOT_FOUND, REFUSED, UNREACHABLE, USAGE, AsJson, print_json
from cli.reasons import Why, checked, tell
from cli.terminal import asks, err, fail, out, running_settings

if TYPE_CHECKING:
    from operations.interventions import Point
    from orderflow.temporal.resets import ResetPoint
    from orderflow.temporal.runs import RunFact

T = TypeVar("T")

OrderId = Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")]
#: More than the number of any event has: Temporal counts them in 64 bits.
_EVENT_DIGITS: Final = 18
#: How many events are named as places that one can go back to.
_SHOWN_POINTS: Final = 20


def register(orders: typer.Typer) -> None:
    """Add the commands."""
    orders.command("nudge")(nudge)
    orders.command("reset")(reset)


def nudge(order_id: OrderId, reason: Why, as_json: AsJson = False) -> None:
    """Have the order's workflow look at its row again; it begins where none runs. Changes nothing else."""
    from operations import interventions

    recorded_as = _end(interventions.nudge(running_settings(), order_id, checked(reason), tell), order_id)
    if as_json:
        print_json({"order_id": str(order_id), "done": "nudged", "recorded_as": recorded_as})
    else:
        out.print(f"{order_id} nudged, recorded as {recorded_as}", soft_wrap=True)


def reset(
    order_id: OrderId,
    reason: Why,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="POINT", help="last or first: its last or first finished workflow task; or an event's id."
        ),
    ] = "last",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a running workflow is ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the order's workflow again from an earlier point: a new run, which is handed all signals since. Asks first.

    Nothing happens twice: each command has its own id, and the row, the payment and the stock know it.
    """
    from operations import interventions

    may_ask = not yes and not as_json and asks()

    def confirm(run: "RunFact", point: "ResetPoint") -> None:
        _confirm(order_id, run, point, may_ask=may_ask)

    work = interventions.reset(
        running_settings(), order_id, checked(reason), _point(to), confirm=None if yes else confirm, tell=tell
    )
    try:
        done = _end(work, order_id)
    except interventions.NoSuchPoint as error:
        shown = ", ".join(map(str, error.points[-_SHOWN_POINTS:]))
        earlier = "…, " if len(error.points) > _SHOWN_POINTS else ""
        fail(f"--to {to}: no workflow task was finished with that event; one was with {earlier}{shown}", USAGE)
    if as_json:
        print_json({"order_id": str(order_id), "done": "runs again", **asdict(done)})
    else:
        where = f"from event {done.event_id}, run {done.run_id}"
        out.print(f"{order_id} runs again {where}, recorded as {done.recorded_as}", soft_wrap=True)


def _point(to: str) -> "Point":
    if to == "last":
        return "last"
    if to == "first":
        return "first"
    if not (to.isascii() and to.isdigit() and len(to) <= _EVENT_DIGITS):
        fail("--to is last, first, or the number of an event", USAGE)
    return int(to)


def _confirm(order_id: UUID, run: "RunFact", point: "ResetPoint", *, may_ask: bool) -> None:
    if not may_ask:
        fail("its workflow runs, and a reset ends that run and begins a new one: say --yes", USAGE)
    signals = ", ".join(point.signals_since) or "none"
    err.print(
        f"{order_id} is {run.status}, and its workflow runs (run {run.run_id}).\n"
        f"That run ends, and a new one goes on from event {point.event_id} ({point.at:%Y-%m-%d %H:%M:%SZ}). "
        f"Signals since then, which are handed to it again: {signals}.",
        soft_wrap=True,
    )
    if not typer.confirm("Reset it?", err=True):
        raise typer.Exit(USAGE)


def _end(work: Coroutine[Any, Any, T], order_id: UUID) -> T:
    """What ``work`` gives; or the end of the process, with the reason."""
    from operations.audit import NotPossible
    from orderflow.domain.errors import Unavailable

    try:
        return asyncio.run(work)
    except NotPossible as error:
        fail(f"{order_id}: {error}", NOT_FOUND if error.missing else REFUSED)
    except Unavailable as error:
        fail(f"{error.dependency} {error.complaint}: {error.detail}", UNREACHABLE)
