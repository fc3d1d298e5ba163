"""``python -m bench``: run it, show the figures, keep them as a page, plots and JSON."""

from pathlib import Path
from typing import Annotated, Final

import typer

from bench.page import keep, run_markdown, run_plots
from bench.report import sheets, to_terminal
from bench.results import GearName
from bench.rounds import Plan
from bench.run import run_bench
from bench.terminal import RESULTS, console, run, say, say_trouble, write
from orderflow.settings import Settings

#: One at a time shows less noise: fewer orders do.
ALONE_SHARE: Final = 4


def main(
    orders: Annotated[int, typer.Option(min=1, help="Orders of each side in each round, at once.")] = 120,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the sides take turns at being first.")] = 5,
    at_once: Annotated[int, typer.Option(min=1, max=200, help="Orders in flight.")] = 30,
    idle: Annotated[float, typer.Option(min=0.1, help="Seconds in which the idle stack is watched.")] = 10,
    strict: Annotated[bool, typer.Option(help="On Temporal with Postgres and Apache Kafka (Go, Java, Maven).")] = False,
    dbos: Annotated[bool, typer.Option(help="Measure DBOS too; it is installed for that, beside the product.")] = False,
    kept: Annotated[bool, typer.Option("--keep", help="Show this run in docs/benchmarks.md.")] = False,
    results: Annotated[Path, typer.Option(help="Folder for the figures.")] = RESULTS,
) -> None:
    """A complete real order against workflows that do nothing: the naive one, our own shape, and DBOS's."""
    plan = Plan(orders=orders, alone=max(1, orders // ALONE_SHARE), rounds=rounds, at_once=at_once)
    # A reconciliation in the middle of a round would be booked to whoever is measured just then.
    settings = Settings(reconcile_interval_seconds=0)
    gear: GearName = "strict" if strict else "embedded"
    found = run(run_bench(settings, plan, gear, with_dbos=dbos, idle_seconds=idle, say=say, trouble=say_trouble))
    to_terminal(sheets(found), console)
    page = f"# Benchmark, {gear}\n\n`docs/benchmarks.md` says how to read it.\n\n{run_markdown(found, '', level=2)}"
    write(
        results / f"{gear}-{found.began_at:%Y-%m-%d-%H%M%S}",
        {"page.md": page, "figures.json": found.model_dump_json(indent=1) + "\n", **run_plots(found)},
    )
    if kept:
        keep(gear, found)


if __name__ == "__main__":
    typer.run(main)
