"""``python -m chaos``: real processes, a seeded schedule of faults, a load of real baskets, then the checker.

Exit code 0: every rule holds and every fault was carried out. Anything else keeps the folder and prints the seed.
"""

import argparse
import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from orderflow.stack.errors import StackError
from tools.chaos.arena import ROOT, Arena
from tools.chaos.checker import check
from tools.chaos.client import Client
from tools.chaos.collect import collect, save_histories
from tools.chaos.evidence import Evidence
from tools.chaos.faults import Storm
from tools.chaos.ledger import Ledger
from tools.chaos.load import Load
from tools.chaos.plan import order_plans, read_baskets, stock_plans
from tools.chaos.report import say
from tools.chaos.rest import come_to_rest
from tools.chaos.schedule import Fault, kinds, schedule

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Histories that are saved of the orders that a broken rule names.
MOST_HISTORIES = 50


def main() -> int:
    """The exit code."""
    arguments = _arguments()
    console = Console(soft_wrap=True)
    if arguments.check is not None:
        evidence = Evidence.load(arguments.check)
        broken = check(evidence)
        say(console, evidence, broken, Counter(), seconds=0)
        return int(any(broken.values()))
    try:
        faults = schedule(
            arguments.seed, arguments.orders, arguments.faults, strict=arguments.strict, only=arguments.only
        )
    except ValueError as error:
        console.print(escape(str(error)))
        return 2
    if arguments.plan:
        for fault in faults:
            console.print(escape(fault.line()))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="orderflow-chaos-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # Postgres runs as another user then
    gear = "strict" if arguments.strict else "embedded"
    console.print(f"seed {arguments.seed}: {arguments.orders} orders, {len(faults)} faults, {gear}, in {folder}")
    sound = False
    try:
        sound = asyncio.run(_run(console, folder, arguments, faults))
    except (StackError, KeyboardInterrupt, asyncio.CancelledError) as error:
        console.print(f"[red]the run did not come to its end:[/] {error!r}")
    finally:
        if not sound:
            again = f"--seed {arguments.seed} --orders {arguments.orders} --faults {arguments.faults}"
            again += " --strict" * arguments.strict + f" --only {arguments.only!r}" * bool(arguments.only)
            console.print(f"[red]FAILED[/]: {escape(again)}")
            console.print(f"kept for the post-mortem: {folder}: evidence.json, findings.txt, histories/, ledger.jsonl,")
            console.print("faults.log, processes.log, stack/logs/; `orderflow up` on its stack/ shows the orders again")
    if sound and not arguments.keep:
        shutil.rmtree(folder)
    return 0 if sound else 1


async def _run(console: Console, folder: Path, arguments: argparse.Namespace, faults: tuple[Fault, ...]) -> bool:
    started = time.monotonic()
    if (this := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)

    def tell(sentence: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.0f} s[/] {escape(sentence)}")

    baskets = read_baskets(ROOT / "samples")
    ledger_file = folder / "ledger.jsonl"
    async with Arena(folder, arguments.seed, strict=arguments.strict) as arena:
        tell("everything runs")
        with Ledger(ledger_file) as ledger:
            async with Client(arena.stack.settings, ledger) as client:
                orders = order_plans(arguments.seed, arguments.orders, baskets)
                load = Load(client, orders, stock_plans(arguments.seed, arguments.orders))
                await load.stock_up()
                tell("the shelves are full")
                storm = Storm(arena, faults, tell)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(storm.run(lambda: load.started))
                    tasks.create_task(load.run(_pace(storm, len(orders), len(faults))))
        tell(f"the storm is over: {storm.done.total()} faults, {load.finished} orders; waiting for rest")
        tell(f"{arena.proxy.dropped} answers of Kafka were dropped on their way")
        unrest = await come_to_rest(arena)
        tell("at rest" if not unrest else f"NOT at rest: {len(unrest)} things are in motion")
        evidence = await collect(arena, ledger_file, unrest)
        evidence.save(folder / "evidence.json")
        broken = check(evidence)
        say(console, evidence, broken, storm.done, seconds=time.monotonic() - started)
        for sentence in (*storm.failed, *load.stuck):
            console.print(f"  [red]{escape(sentence)}[/]")
        sound = not (any(broken.values()) or storm.failed or load.stuck)
        if not sound:
            _write_findings(folder, broken)
            await _save_histories(arena, evidence, broken)
    return sound


def _pace(storm: Storm, orders: int, faults: int) -> Callable[[int], Awaitable[None]]:
    """Orders keep pace with the faults, as faults do with the orders: all faults meet a load."""

    async def may_start(number: int) -> None:
        while faults and storm.begun < number * faults // orders:  # noqa: ASYNC110 - a counter of this process
            await asyncio.sleep(0.1)

    return may_start


def _write_findings(folder: Path, broken: Mapping[str, list[str]]) -> None:
    lines = [f"{rule}: {sentence}" for rule, wrong in broken.items() for sentence in wrong]
    (folder / "findings.txt").write_text("\n".join(lines) + "\n")


async def _save_histories(arena: Arena, evidence: Evidence, broken: Mapping[str, list[str]]) -> None:
    named = {found for wrong in broken.values() for sentence in wrong for found in _UUID.findall(sentence)}
    known = sorted(workflow["id"] for workflow in evidence.workflows if workflow["id"].removeprefix("order-") in named)
    folder = arena.folder / "histories"
    folder.mkdir(exist_ok=True)
    await save_histories(arena.stack.settings.temporal_address, known[:MOST_HISTORIES], folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--orders", type=int, default=150)
    parser.add_argument("--faults", type=int, default=0, help="default: one for ten orders, every kind at least once")
    parser.add_argument("--strict", action="store_true", help="Apache Kafka, Temporal on Postgres, kill -9 everywhere")
    parser.add_argument("--only", default="", metavar="TEXT", help="only kinds of faults with this in their name")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run without a finding, too")
    parser.add_argument("--plan", action="store_true", help="print the schedule of faults, and do nothing")
    parser.add_argument("--check", type=Path, metavar="EVIDENCE", help="check an evidence.json again")
    arguments = parser.parse_args()
    arguments.faults = arguments.faults or max(len(kinds(strict=arguments.strict)), arguments.orders // 10)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
