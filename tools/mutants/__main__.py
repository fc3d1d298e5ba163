"""``python -m mutants [slug ...]``: plant each bug in a scratch copy, and see that its test fails.

First the same tests run without a bug: one that fails anyway catches nothing. Exit code 0: every bug was caught.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.mutants.copies import NoCheckout, snapshot
from tools.mutants.patches import Mutant, PatchError, function_of, load
from tools.mutants.run import Verdict, judge, run_tests

#: For all the tests together, without a bug.
SOUND_SECONDS = 900.0
WIDTH = 120
TAIL_LINES = 25


def main() -> int:
    """The exit code: 0 all caught, 1 not all, 2 not even begun, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="mutants", description="Plant bugs, and see that tests catch them.")
    parser.add_argument("slugs", nargs="*", metavar="slug", help="a patch in tools/mutants/patches (default: all)")
    parser.add_argument("--at-once", type=int, default=2, help="how many at a time, each in a copy of its own")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True)
    try:
        mutants = load(arguments.slugs)
        if not mutants:
            raise PatchError("there are no patches")
        return _in_a_folder(console, mutants, max(1, arguments.at_once))
    except (NoCheckout, PatchError) as error:
        console.print(escape(str(error)))
        return 2


def _in_a_folder(console: Console, mutants: Sequence[Mutant], at_once: int) -> int:
    """Run all in a folder of its own, of which only the output of what was not caught is kept."""
    folder = Path(tempfile.mkdtemp(prefix="orderflow-mutants-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # Postgres runs as another user then
    outputs = folder / "outputs"
    code = 130
    try:
        code = asyncio.run(_interruptible(console, mutants, at_once, folder))
    finally:
        for entry in folder.iterdir():
            if entry != outputs or code != 1:
                shutil.rmtree(entry, ignore_errors=True)
        if code != 1:
            folder.rmdir()
    if code == 1:
        console.print(f"The output of what was not caught is in {outputs}")
    return code


async def _interruptible(console: Console, mutants: Sequence[Mutant], at_once: int, folder: Path) -> int:
    """Ctrl-C and SIGTERM end it cleanly: what runs is stopped first."""
    running = asyncio.ensure_future(_run(console, mutants, at_once, folder))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        console.print("interrupted")
        return 130


async def _run(console: Console, mutants: Sequence[Mutant], at_once: int, folder: Path) -> int:
    started = time.monotonic()
    original, outputs = folder / "original", folder / "outputs"
    outputs.mkdir()
    snapshot(original)
    if not await _sound(console, mutants, at_once, folder):
        return 1
    verdicts: dict[str, Verdict] = {}
    todo = iter(mutants)

    async def take() -> None:
        for mutant in todo:
            copy, output = folder / mutant.slug, outputs / f"{mutant.slug}.txt"
            # A copy is used once: nothing of one bug, source or bytecode, can be left for the next.
            shutil.copytree(original, copy)
            verdict = verdicts[mutant.slug] = await judge(mutant, copy, output)
            console.print(f"{verdict.state:8} {mutant.slug} ({verdict.seconds:.0f} s) {escape(verdict.why)}")
            if verdict.state == "caught":
                output.unlink()
            elif output.exists():
                console.print(escape(_tail(output)))
            shutil.rmtree(copy)
            shutil.rmtree(folder / f"{mutant.slug}-temporary", ignore_errors=True)

    async with asyncio.TaskGroup() as workers:
        for _ in range(at_once):
            workers.create_task(take())
    ordered = [verdicts[mutant.slug] for mutant in mutants]
    _show(console, ordered)
    caught = sum(verdict.state == "caught" for verdict in ordered)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(f"{caught} of {len(ordered)} caught in {minutes}:{seconds:02}")
    return int(caught < len(ordered))


async def _sound(console: Console, mutants: Sequence[Mutant], at_once: int, folder: Path) -> bool:
    """Whether the tests pass while no bug is planted."""
    node_ids = list(dict.fromkeys(node_id for mutant in mutants for node_id in mutant.caught_by))
    console.print(f"{len(mutants)} planted bugs; first their {len(node_ids)} tests without them")
    copy, output = folder / "sound", folder / "outputs" / "sound.txt"
    shutil.copytree(folder / "original", copy)
    at_a_time = ("-n", str(at_once)) if at_once > 1 else ()
    ran = await run_tests(copy, node_ids, output, *at_a_time, seconds=SOUND_SECONDS)
    passed = {case.name.partition("[")[0] for case in ran.cases if case.state == "passed"}
    missing = sorted({function_of(node_id) for node_id in node_ids} - passed)
    if ran.code == 0 and not missing:
        console.print(f"they pass ({ran.seconds:.0f} s)")
        output.unlink()
        shutil.rmtree(copy)
        return True
    console.print(escape(_tail(output)))
    console.print(f"without a bug pytest ended with {ran.code}, not passed: {', '.join(missing) or 'none'}")
    return False


def _tail(output: Path) -> str:
    return "\n".join(output.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def _show(console: Console, verdicts: Sequence[Verdict]) -> None:
    table = Table()
    for name in ("planted bug", "what it breaks", "caught by", "s"):
        table.add_column(name, overflow="fold")
    for verdict in verdicts:
        names = "\n".join(function_of(node_id) for node_id in verdict.mutant.caught_by)
        result = names if verdict.state == "caught" else f"{verdict.state}: {verdict.why}"
        table.add_row(verdict.mutant.slug, escape(verdict.mutant.breaks), escape(result), f"{verdict.seconds:.0f}")
    # Not cut where there is no terminal.
    Console(width=max(WIDTH, console.width)).print(table)


if __name__ == "__main__":
    sys.exit(main())
