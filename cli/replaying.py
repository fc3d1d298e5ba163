"""``orderflow replay`` and ``orderflow debug``: production's histories against the code on this machine.

Exit codes: 0 all replayed, 1 some did not (or none was found), 2 wrong usage, 3 Temporal does not answer, 4 it
has no such workflow.
"""

import asyncio
import os
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from cli.calls import NOT_FOUND, REFUSED, UNREACHABLE, USAGE, AsJson, print_json
from cli.stores import SPAN, bounded
from cli.stores import span as part
from cli.terminal import err, fail, out, running_settings
from operations.words import counted

if TYPE_CHECKING:
    from operations.replaying.replayer import Failed, Replayed

T = TypeVar("T")

Which = Annotated[str | None, typer.Argument(metavar="ORDER", help="The order's id, or a workflow id.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Another run than the latest.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("replay")(replay)
    app.command("debug")(debug)


def replay(
    which: Which = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="QUERY", help="Temporal's list filter: OrderStatus = 'SHIPPED'.")
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="FILE", help="From `temporal workflow show --output json`. Repeat it."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="SPAN", help="Orders started or closed within 90s, 15m, 1h, 2d.")
    ] = None,
    run_id: RunId = None,
    as_json: AsJson = False,
) -> None:
    """Replay histories, of closed orders too, and name the first event that differs."""
    if sum(given is not None for given in (which, query, file or None, since)) != 1:
        fail("give one of: an order, --query, --file, --since", USAGE)
    span = None if since is None else _span(since)

    from cli.pages import replaying as pages
    from operations.replaying import replayer

    replayer.quiet_sdk()
    if file:
        work: Coroutine[Any, Any, Replayed] = replayer.replay_files(running_settings(), file)
    elif which is not None:
        work = replayer.replay_order(running_settings(), _workflow_id(which), run_id)
    else:
        wanted = query if query is not None else replayer.since_query(datetime.now(UTC), span or timedelta())
        work = replayer.replay_query(running_settings(), wanted)
    done = _run(work)
    if as_json:
        print_json(pages.document(done))
    else:
        _print(done)
    if done.failed or not done.count:
        raise typer.Exit(REFUSED)


def debug(
    which: Which = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="From `temporal workflow show --output json`.")
    ] = None,
    run_id: RunId = None,
    pdb: Annotated[bool, typer.Option("--pdb", help="Stop at the first line of the workflow's run.")] = False,
) -> None:
    """Replay one order in this thread, so that breakpoint() and a debugger's breakpoints stop in the workflow."""
    if (which is None) == (file is None):
        fail("give one of: an order, --file", USAGE)
    # The SDK's own switch: breakpoints in workflow code work, and no task runs out of time.
    os.environ["TEMPORAL_DEBUG"] = "1"

    from operations.replaying import replayer
    from operations.replaying.debugger import step_through
    from orderflow.temporal.client import converter_of

    replayer.quiet_sdk()

    settings = running_settings()

    async def work() -> "Failed | None":
        if file:
            history = replayer.read_file(file)
        else:
            history = await replayer.history_of(settings, _workflow_id(which), run_id)
        err.print(f"{history.workflow_id}: {counted(len(history.events), 'event')}")
        return await step_through(history, converter_of(settings), stop_at_run=pdb)

    failed = _run(work())
    if failed is not None:
        _print_failure(failed)
        raise typer.Exit(REFUSED)
    out.print("replayed: the code does what was recorded")


def _run(work: Coroutine[Any, Any, T]) -> T:
    from operations.replaying.replayer import BadHistory, NoHistory
    from orderflow.domain.errors import Unavailable

    try:
        return asyncio.run(work)
    except NoHistory as error:
        fail(str(error), NOT_FOUND)
    except BadHistory as error:
        fail(str(error), REFUSED)
    except Unavailable as error:
        fail(f"Temporal does not answer: {error.detail}", UNREACHABLE)


def _workflow_id(which: str | None) -> str:
    """An order's id, or a workflow id as it is."""
    from orderflow.temporal.names import workflow_id

    try:
        return workflow_id(UUID(which))
    except ValueError:
        return str(which)


def _span(text: str) -> timedelta:
    """``90s``, ``15m``, ``1h``, ``2d``, or several behind each other: ``1h30m``."""
    parts = SPAN.findall(text)
    if not parts or SPAN.sub("", text).strip():
        fail(f"{text!r} is no span of time, such as 90s, 15m, 1h or 2d", USAGE)
    try:
        return bounded(sum((part(number, unit) for number, unit in parts), timedelta()))
    except OverflowError:
        fail(f"{text!r} is too long", USAGE)


def _print(done: "Replayed") -> None:
    from rich.text import Text

    for failed in done.failures:
        _print_failure(failed)
    if done.failed > len(done.failures):
        err.print(f"and {done.failed - len(done.failures)} more that failed")
    if not done.count:
        err.print("no such histories")
        return
    number = counted(done.count, "history", "histories")
    said = f"{number}, {counted(done.events, 'event')} in {done.seconds:.1f} s ({done.rate:.0f} a second): "
    verdict = (f"{done.failed} did not replay", "red") if done.failed else ("all replayed", "green")
    out.print(Text.assemble(said, verdict))


def _print_failure(failed: "Failed") -> None:
    from cli.pages import replaying as pages

    for line in pages.failure(failed):
        out.print(line, soft_wrap=True)
