"""``python -m bench``: run it, show the figures, keep them as a page."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from bench import ours
from bench.baskets import read_baskets
from bench.machine import machine
from bench.report import Sheet, sheets
from bench.rounds import Plan, Track
from bench.servers import servers
from bench.terminal import RESULTS, console, keep, run, say_trouble
from orderflow.settings import Settings
from orderflow.temporal.client import connect

#: One at a time shows less noise: fewer orders do.
ALONE_SHARE: Final = 4
ABOUT: Final = (
    "Ours: a complete real order. Naive: a workflow of the same shape that does nothing. Ratios are ours / naive, the "
    "median of the rounds."
)


def main(
    orders: Annotated[int, typer.Option(min=1, help="Orders of each side in each round, at once.")] = 120,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; ours and naive take turns at being first.")] = 5,
    at_once: Annotated[int, typer.Option(min=1, max=200, help="Orders in flight.")] = 30,
    results: Annotated[Path, typer.Option(help="Folder for the page.")] = RESULTS,
) -> None:
    """Complete real orders against a workflow of the same shape that does nothing."""
    plan = Plan(orders=orders, alone=max(1, orders // ALONE_SHARE), rounds=rounds, at_once=at_once)
    settings = Settings()
    on, now = machine(settings), datetime.now(UTC)
    tables = run(_measured(settings, plan))
    keep(tables, ABOUT, on, now, results / f"{now:%Y-%m-%d-%H%M%S}.md")


async def _measured(settings: Settings, plan: Plan) -> list[Sheet]:
    baskets = read_baskets()
    console.print("starting the stack")
    async with (
        servers(settings, say_trouble) as (there, meters),
        ours.client(there.api_url, plan.at_once) as http,
    ):
        console.print(f"stock: {await ours.stock(http, baskets)} products")
        track = Track(baskets, http, await connect(there), meters)
        return sheets(await track.run(plan, lambda line: console.print(line, soft_wrap=True)), plan)


if __name__ == "__main__":
    typer.run(main)
