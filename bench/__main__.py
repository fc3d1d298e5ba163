"""``python -m bench``: run it, show the figures, keep them as a page."""

import asyncio
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from bench import ours
from bench.baskets import read_baskets
from bench.errors import BenchError
from bench.machine import machine
from bench.report import Sheet, sheets, to_markdown, to_terminal
from bench.rounds import Plan, Track
from bench.servers import servers
from orderflow.settings import Settings
from orderflow.stack.errors import StackError
from orderflow.stack.processes import Event
from orderflow.temporal import connect

RESULTS = Path(__file__).parent / "results"
#: One at a time shows less noise: fewer orders do.
ALONE_SHARE = 4

_T = TypeVar("_T")

console = Console(highlight=False)


def main(
    orders: Annotated[int, typer.Option(min=1, help="Orders of each side in each round, at once.")] = 120,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; ours and naive take turns at being first.")] = 5,
    at_once: Annotated[int, typer.Option(min=1, max=200, help="Orders in flight.")] = 30,
    results: Annotated[Path, typer.Option(help="Folder for the page.")] = RESULTS,
) -> None:
    """Complete real orders against a workflow of the same shape that does nothing."""
    plan = Plan(orders=orders, alone=max(1, orders // ALONE_SHARE), rounds=rounds, at_once=at_once)
    settings = Settings()
    on = machine(settings)
    now = datetime.now(UTC)
    try:
        tables = asyncio.run(_until_told(_measured(settings, plan)))
    except (BenchError, StackError) as error:
        console.print("[bold red]error:[/]", Text(str(error)), soft_wrap=True)
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        console.print("stopped")
        raise typer.Exit(1) from None
    to_terminal(tables, console)
    results.mkdir(parents=True, exist_ok=True)
    page = results / f"{now:%Y-%m-%d-%H%M%S}.md"
    page.write_text(to_markdown(tables, on, f"{now:%Y-%m-%d %H:%M} UTC"))
    console.print(f"Kept in {page}", soft_wrap=True)


async def _until_told(work: Coroutine[Any, Any, _T]) -> _T:
    """SIGTERM ends it in order, as Ctrl-C does: the stack is stopped."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _say_trouble(event: Event) -> None:
    """What makes figures doubtful."""
    if event.kind in ("crashed", "restarted", "still_down", "killed"):
        console.print(f"{event.process}: {event.kind.replace('_', ' ')} {event.detail}", markup=False)


async def _measured(settings: Settings, plan: Plan) -> list[Sheet]:
    baskets = read_baskets()
    console.print("starting the stack")
    async with (
        servers(settings, _say_trouble) as (there, meters),
        ours.client(there.api_url, plan.at_once) as http,
    ):
        console.print(f"stock: {await ours.stock(http, baskets)} products")
        track = Track(baskets, http, await connect(there), meters)
        return sheets(await track.run(plan, lambda line: console.print(line, soft_wrap=True)), plan)


if __name__ == "__main__":
    typer.run(main)
