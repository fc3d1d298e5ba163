"""The figures of kept runs for ``docs/benchmarks.md``, with their plots.

A kept run is a JSON file in ``docs/benchmarks/`` (``--keep``). The page's text is written by hand; between its marks
``make generate`` puts the figures of each run, and the plots beside the JSON.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, get_args

from bench import plots
from bench.dbos import PROCESS as DBOS_APP
from bench.growth_results import PartName, PartResults, part_plots, part_sheet
from bench.measure import CLIENT, Mode, Spread
from bench.report import STEPS, Figure, cpu_an_order, cpu_by_process, orders_per_second, p50, sheets, spread
from bench.report import to_markdown as tables_to_markdown
from bench.results import GearName, Results
from bench.servers import FLOOR_WORKER, NAIVE_WORKER

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = Path("docs/benchmarks.md")
FOLDER: Final = Path("docs/benchmarks")
PARTS: Final[tuple[PartName, ...]] = get_args(PartName)
GEARS: Final[Mapping[GearName, str]] = {
    "embedded": "make bench ARGS=--keep",
    "strict": 'make bench ARGS="--strict --keep"',
}
#: What does the work of the workers of ours, and has their colour.
WORKERS: Final = dict.fromkeys((NAIVE_WORKER, FLOOR_WORKER, DBOS_APP), "workers")
_MARK: Final = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def run_plots(results: Results) -> dict[str, str]:
    """SVG texts by file name."""
    at_once = f"{results.plan.at_once} at once"
    spent: dict[str, dict[str, float]] = {
        side: {
            WORKERS.get(name, name): value for name, value in cpu_by_process(results, side).items() if name != CLIENT
        }
        for side in results.sides
    }
    waits = {name: _by_side(results, "one at a time", partial(p50, step)) for step, name in STEPS.items()}
    costs = {"CPU, ms": _by_side(results, "at once", cpu_an_order)}
    return {
        f"{results.gear}-throughput.svg": plots.bars(
            f"Orders a second, {at_once}: more is better",
            {"orders/s": _by_side(results, "at once", orders_per_second)},
            decimals=1,
        ),
        f"{results.gear}-cpu.svg": plots.bars(f"CPU an order without the client, {at_once}: less is better", costs, 1),
        f"{results.gear}-processes.svg": plots.stacked(f"The same by process, ms, {at_once}", spent),
        f"{results.gear}-latency.svg": plots.bars(
            "One order at a time, p50 ms: less is better", {name: each for name, each in waits.items() if each}
        ),
    }


def _by_side(results: Results, mode: Mode, figure: Figure) -> dict[str, Spread]:
    found = {str(side): spread(results, mode, side, figure) for side in results.sides}
    return {side: each for side, each in found.items() if each is not None}


def run_markdown(results: Results, folder: str, level: int = 3) -> str:
    """One run: what it was measured on, its plots (files in ``folder``), its tables."""
    lines = [*_about(results.machine, f"{results.began_at:%Y-%m-%d %H:%M} UTC"), *results.notes]
    return _section(lines, run_plots(results), folder) + "\n" + tables_to_markdown(sheets(results), level)


def part_markdown(results: PartResults, folder: str, level: int = 3) -> str:
    """One part of the growth bench."""
    lines = [results.about, *_about(results.machine, f"{results.began_at:%Y-%m-%d %H:%M} UTC")]
    return tables_to_markdown([part_sheet(results)], level) + "\n" + _section(lines, part_plots(results), folder)


def _about(machine: Mapping[str, str], when: str) -> list[str]:
    return ["\n".join(f"- {name}: {value}" for name, value in {"When": when, **machine}.items())]


def _section(paragraphs: Sequence[str], drawn: Mapping[str, str], folder: str) -> str:
    prefix = f"{folder}/" if folder else ""
    pictures = [f"![{name.removesuffix('.svg')}]({prefix}{name})" for name in drawn]
    return "\n\n".join([*paragraphs, *pictures]) + "\n"


def files(root: Path = ROOT) -> dict[Path, str]:
    """The page with the figures of the kept runs, and their plots, by path from the repository's root."""
    texts: dict[Path, str] = {}

    def figures(name: str) -> str:
        kept = root / FOLDER / f"{name}.json"
        if not kept.exists():
            return f"Not measured yet: `{_command(name)}`.\n"
        if name in GEARS:
            results = Results.model_validate_json(kept.read_text())
            drawn, text = run_plots(results), run_markdown(results, FOLDER.name)
        else:
            part = PartResults.model_validate_json(kept.read_text())
            drawn, text = part_plots(part), part_markdown(part, FOLDER.name)
        texts.update({FOLDER / file: svg for file, svg in drawn.items()})
        return text

    page = (root / PAGE).read_text(encoding="utf-8")
    texts[PAGE] = _MARK.sub(lambda found: f"{found[1]}\n{figures(found[2])}\n{found[3]}", page)
    return texts


def _command(name: str) -> str:
    if name in GEARS:
        return GEARS[name]  # type: ignore[index]
    return f'make bench-growth ARGS="{name.removeprefix("growth-")} --keep"'


def keep(name: str, results: Results | PartResults, root: Path = ROOT) -> None:
    """Make this the run that the page shows."""
    (root / FOLDER).mkdir(exist_ok=True)
    (root / FOLDER / f"{name}.json").write_text(results.model_dump_json(indent=1) + "\n")
    for path, text in files(root).items():
        (root / path).write_text(text, encoding="utf-8")
