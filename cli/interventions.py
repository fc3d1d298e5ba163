"""``orderflow order nudge`` and ``orderflow order reset``: what an operator may do to a workflow, with a reason.

Each is recorded before it happens, as reconciliation records its repairs: a row in the orders' ``commands`` with an id
``r:<name>:<time>``, whose refusal has the slug ``operator`` and the reason. Both are harmless when repeated. Exit
codes: 0 done, 1 there is nothing to do it to, 2 wrong usage, 3 Temporal or the orders database does not answer.
"""

import asyncio
import getpass
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from cli.calls import REFUSED, UNREACHABLE, USAGE, AsJson, print_json
from cli.terminal import fail, out, running_settings

if TYPE_CHECKING:
    from orderflow.settings import Settings

OrderId = Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
#: No order has this version, so a command that expects it is refused, whatever the order's status is.
_NEVER: Final = 0
_MOST_OF_A_REASON: Final = 500
_ANSWER_WITHIN: Final = timedelta(seconds=5)


class NotPossible(Exception):
    """There is nothing to do it to; the message says why."""


def register(orders: typer.Typer) -> None:
    """Add the commands."""
    orders.command("nudge")(nudge)
    orders.command("reset")(reset)


def nudge(order_id: OrderId, reason: Why, as_json: AsJson = False) -> None:
    """Make the order's workflow look at its row again: a signal that is refused for certain. Changes nothing else."""
    _end(_nudge(running_settings(), order_id, _checked(reason)), order_id, "nudged", as_json)


def reset(order_id: OrderId, reason: Why, as_json: AsJson = False) -> None:
    """Run a terminated or failed workflow again from its last finished task, its signals included."""
    _end(_reset(running_settings(), order_id, _checked(reason)), order_id, "runs again", as_json)


async def _nudge(settings: "Settings", order_id: UUID, reason: str) -> str:
    from activities.order_runs import OrderRuns
    from orderflow.store import reconciliation as reads
    from workers.databases import open_database
    from workflows.steps import SignalledCommand

    runs = OrderRuns(await _client(settings))
    async with open_database(settings, "orders", pool_size=1) as database:
        if order_id not in await reads.these_orders(database, [order_id]):
            raise NotPossible("it has no row: nothing that its workflow could look at")
        if (await runs.look(order_id)).state != "running":
            raise NotPossible("no workflow runs it: `orderflow order explain` says what to do")
        record = await _record(database, order_id, "nudge", reason)
        look = SignalledCommand(
            command_id=f"c:operator.{record.rpartition(':')[2]}",
            expected_version=_NEVER,
            correlation_id="operator:nudge",
        )
        await runs.signal(order_id, "complete", look)
    return record


async def _reset(settings: "Settings", order_id: UUID, reason: str) -> str:
    from activities.order_runs import NothingToReset, OrderRuns
    from workers.databases import open_database

    runs = OrderRuns(await _client(settings))
    run = await runs.look(order_id)
    if run.state == "missing":
        raise NotPossible("Temporal remembers no workflow of it: `orderflow reconcile --repair` starts one for its row")
    if run.state == "running":
        raise NotPossible("its workflow runs: `orderflow order explain` says what it waits for")
    if run.ended == "COMPLETED":
        raise NotPossible("its workflow came to its end")
    async with open_database(settings, "orders", pool_size=1) as database:
        record = await _record(database, order_id, "reset", reason)
        try:
            await runs.reset(order_id, reason)
        except NothingToReset as error:
            raise NotPossible(str(error)) from None
    return record


async def _record(database: Any, order_id: UUID, name: str, reason: str) -> str:
    from orderflow.domain.commands import Command
    from orderflow.domain.errors import Problem
    from orderflow.store.orders import Orders

    # Also an idempotency key's alphabet: the signal's id ends with it.
    command_id = f"r:{name}:{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    problem = Problem(slug="operator", detail=f"{reason} (by {getpass.getuser()})", status=409)
    await Orders(database).refuse(order_id, Command(name=name, id=command_id), problem)
    return command_id


async def _client(settings: "Settings") -> Any:
    from cli.explain.runs import Runs

    return await Runs(settings).client()


def _checked(reason: str) -> str:
    said = " ".join(reason.split())
    if not said or len(said) > _MOST_OF_A_REASON or not said.isprintable():
        fail(f"--reason needs 1 to {_MOST_OF_A_REASON} printable characters", USAGE)
    return said


def _end(work: Coroutine[Any, Any, str], order_id: UUID, done: str, as_json: bool) -> None:
    from orderflow.domain.errors import Unavailable

    try:
        record = asyncio.run(work)
    except NotPossible as error:
        fail(f"{order_id}: {error}", REFUSED)
    except Unavailable as error:
        fail(f"{error.dependency} does not answer: {error.detail}", UNREACHABLE)
    if as_json:
        print_json({"order_id": str(order_id), "done": done, "recorded_as": record})
    else:
        out.print(f"{order_id} {done}, recorded as {record}", markup=False)
