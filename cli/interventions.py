"""``orderflow order nudge`` and ``orderflow order reset``: what an operator may do to a workflow, with a reason.

Each is recorded before it happens (``operations/audit.py``), and both are harmless when repeated. Exit codes: 0 done, 1
it cannot be done to this order, 2 wrong usage, 3 Temporal or the orders database does not answer, 4 no such order.
"""

import asyncio
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from cli.calls import NOT_FOUND, REFUSED, UNREACHABLE, USAGE, AsJson, print_json
from cli.reasons import Why, checked, tell
from cli.terminal import err, fail, out, running_settings
from operations.audit import NotPossible, recorded

if TYPE_CHECKING:
    from orderflow.settings import Settings
    from orderflow.temporal.resets import OrderResets, ResetPoint
    from orderflow.temporal.runs import RunFact

OrderId = Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")]
#: No order has this version, so a command that expects it is refused, whatever the order's status is.
_NEVER: Final = 0
#: How many events are named as places that one can go back to.
_SHOWN_POINTS: Final = 20


def register(orders: typer.Typer) -> None:
    """Add the commands."""
    orders.command("nudge")(nudge)
    orders.command("reset")(reset)


def nudge(order_id: OrderId, reason: Why, as_json: AsJson = False) -> None:
    """Make the order's workflow look at its row again: a signal that is refused for certain. Changes nothing else."""
    done = _end(_nudge(running_settings(), order_id, checked(reason)), order_id)
    if as_json:
        print_json({"order_id": str(order_id), "done": "nudged", **done})
    else:
        out.print(f"{order_id} nudged, recorded as {done['recorded_as']}", markup=False, soft_wrap=True)


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
    if to not in ("last", "first") and not (to.isascii() and to.isdigit()):
        fail("--to is last, first, or the number of an event", USAGE)
    asks = not yes and not as_json and sys.stdin.isatty()
    work = _reset(running_settings(), order_id, checked(reason), to, yes=yes, asks=asks)
    done = _end(work, order_id)
    if as_json:
        print_json({"order_id": str(order_id), "done": "runs again", **done})
    else:
        where = f"from event {done['event_id']}, run {done['run_id']}"
        out.print(f"{order_id} runs again {where}, recorded as {done['recorded_as']}", markup=False, soft_wrap=True)


async def _nudge(settings: "Settings", order_id: UUID, reason: str) -> dict[str, Any]:
    from operations.explain.runs import asking
    from orderflow.databases import open_database
    from orderflow.store import reconciliation as reads
    from workflows.steps import SignalledCommand

    runs = asking(settings)
    async with open_database(settings, "orders", pool_size=1) as database:
        run = await runs.look(order_id)
        if order_id not in await reads.these_orders(database, [order_id]):
            raise NotPossible("it has no row: nothing that its workflow could look at", missing=run.state == "missing")
        if run.state != "running":
            raise NotPossible("no workflow runs it: `orderflow order explain` says what to do")
        async with recorded(database, order_id, "nudge", reason, tell) as record:
            look = SignalledCommand(
                command_id=f"c:operator.{record.rpartition(':')[2]}",
                expected_version=_NEVER,
                correlation_id="operator:nudge",
            )
            await runs.signal(order_id, "complete", look)
    return {"recorded_as": record}


async def _reset(
    settings: "Settings", order_id: UUID, reason: str, to: str, *, yes: bool, asks: bool
) -> dict[str, Any]:
    from operations.explain.runs import asking
    from orderflow.databases import open_database
    from orderflow.store import reconciliation as reads
    from orderflow.temporal.resets import NothingToReset, OrderResets

    runs = asking(settings)
    resets = OrderResets(runs)
    run = await runs.look(order_id)
    async with open_database(settings, "orders", pool_size=1) as database:
        if run.state == "missing" or run.run_id is None:
            known = order_id in await reads.these_orders(database, [order_id])
            remedy = "`orderflow reconcile --repair` starts one for its row" if known else "nor has it a row"
            raise NotPossible(f"Temporal remembers no workflow of it: {remedy}", missing=not known)
        if run.ended == "COMPLETED":
            raise NotPossible("its workflow came to its end")
        point = await _point(resets, order_id, run.run_id, to)
        if run.state == "running" and not yes:
            _confirm(order_id, run, point, asks=asks)
        said = f"{reason}; run {run.run_id}, from event {point.event_id}"
        async with recorded(database, order_id, "reset", said, tell) as record:
            # A closed run is reset once, whoever asks for it: by its id. One that runs: whenever it is asked for.
            once = record if run.state == "running" else None
            try:
                new = await resets.go_back(order_id, run.run_id, point, reason, request_id=once)
            except NothingToReset as error:
                raise NotPossible(str(error)) from None
    return {"recorded_as": record, "event_id": point.event_id, "run_id": new, "ended_run_id": run.run_id}


async def _point(resets: "OrderResets", order_id: UUID, run_id: str, to: str) -> "ResetPoint":
    points = await resets.reset_points(order_id, run_id)
    if not points:
        raise NotPossible("its history has no workflow task that it could go back to")
    there = {str(point.event_id): point for point in points}
    chosen = {"first": points[0], "last": points[-1], **there}.get(to)
    if chosen is None:
        shown = ", ".join(list(there)[-_SHOWN_POINTS:])
        earlier = "…, " if len(there) > _SHOWN_POINTS else ""
        fail(f"--to {to}: no workflow task was finished with that event; one was with {earlier}{shown}", USAGE)
    return chosen


def _confirm(order_id: UUID, run: "RunFact", point: "ResetPoint", *, asks: bool) -> None:
    if not asks:
        fail("its workflow runs, and a reset ends that run and begins a new one: say --yes", USAGE)
    signals = ", ".join(point.signals_since) or "none"
    err.print(
        f"{order_id} is {run.status}, and its workflow runs (run {run.run_id}).\n"
        f"That run ends, and a new one goes on from event {point.event_id} ({point.at:%Y-%m-%d %H:%M:%SZ}). "
        f"Signals since then, which are handed to it again: {signals}.",
        markup=False,
        soft_wrap=True,
    )
    if not typer.confirm("Reset it?", err=True):
        raise typer.Exit(USAGE)


def _end(work: Coroutine[Any, Any, dict[str, Any]], order_id: UUID) -> dict[str, Any]:
    """What ``work`` gives; or the end of the process, with the reason."""
    from orderflow.domain.errors import Unavailable

    try:
        return asyncio.run(work)
    except NotPossible as error:
        fail(f"{order_id}: {error}", NOT_FOUND if error.missing else REFUSED)
    except Unavailable as error:
        fail(f"{error.dependency} does not answer: {error.detail}", UNREACHABLE)
