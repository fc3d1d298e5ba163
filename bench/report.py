"""The figures as tables: what was measured, on what, and ours over the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from bench.measure import Mode, SideName, Spread, Step
from bench.results import PhaseFigures, Results, ratio
from bench.servers import OUR_PROCESSES


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: the first column names, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


#: None: the side has no such figure.
Figure = Callable[[PhaseFigures], float | None]

#: Steps as tables name them.
STEPS: Final[Mapping[Step, str]] = {
    "place": "place",
    "approve": "approve",
    "to FULFILLING": "approve → FULFILLING",
    "ship": "ship",
    "complete": "complete",
    "lifecycle": "whole lifecycle",
}
#: Statements that take less of an order are put together.
LEAST_STATEMENTS: Final = 0.2


def orders_per_second(phase: PhaseFigures) -> float:
    """Throughput."""
    return phase.orders_per_second


def cpu_an_order(phase: PhaseFigures) -> float:
    """Milliseconds, without the client."""
    return phase.cpu_an_order(client=False)


def cpu_with_client(phase: PhaseFigures) -> float:
    """Milliseconds, with the client."""
    return phase.cpu_an_order(client=True)


def p50(step: Step, phase: PhaseFigures) -> float | None:
    """Milliseconds."""
    return phase.p50.get(step)


def p95(step: Step, phase: PhaseFigures) -> float | None:
    """Milliseconds."""
    return phase.p95.get(step)


#: Name, figure, and its decimals.
FIGURES: Final[Mapping[Mode, Sequence[tuple[str, Figure, int]]]] = {
    "at once": (
        ("orders/s", orders_per_second, 1),
        ("CPU an order without the client, ms", cpu_an_order, 1),
        ("CPU an order with the client, ms", cpu_with_client, 1),
        ("whole lifecycle, p50 ms", partial(p50, "lifecycle"), 0),
        ("whole lifecycle, p95 ms", partial(p95, "lifecycle"), 0),
        ("approve → FULFILLING, p50 ms", partial(p50, "to FULFILLING"), 0),
        ("approve → FULFILLING, p95 ms", partial(p95, "to FULFILLING"), 0),
    ),
    "one at a time": tuple(
        (f"{name}, {word} ms", partial(figure, step), 1)
        for step, name in STEPS.items()
        for word, figure in (("p50", p50), ("p95", p95))
    ),
}


def sheets(results: Results) -> list[Sheet]:
    """All tables of a run."""
    plan = results.plan
    at_once = f"{plan.at_once} at once: {plan.rounds} rounds of {plan.orders} orders of each side"
    alone = f"One at a time: {plan.rounds} rounds of {plan.alone} orders of each side"
    return [
        _compared(results, "at once", at_once),
        _compared(results, "one at a time", alone),
        _cpu(results, f"CPU an order by process, {plan.at_once} at once, ms"),
        _histories(results),
        _of_ours(results),
        _statements(results),
    ]


def spread(results: Results, mode: Mode, side: SideName, figure: Figure) -> Spread | None:
    """A side's figure over the rounds; None where it has none."""
    found = [value for phase in results.phases[mode][side] if (value := figure(phase)) is not None]
    return Spread(found) if found else None


def over(results: Results, mode: Mode, other: SideName, figure: Figure) -> Spread | None:
    """The figure of ours over that of another side, round by round; None where one of them has none."""
    ours, theirs = (spread(results, mode, side, figure) for side in ("ours", other))
    return ratio(list(ours.rounds), list(theirs.rounds)) if ours and theirs else None


def _compared(results: Results, mode: Mode, title: str) -> Sheet:
    others = [side for side in results.sides if side != "ours"]
    columns = ["", *results.sides, *(f"ours / {side}" for side in others)]
    rows = []
    for name, figure, decimals in FIGURES[mode]:
        figures = [spread_cell(spread(results, mode, side, figure), decimals) for side in results.sides]
        rows.append([name, *figures, *(spread_cell(over(results, mode, side, figure), 2) for side in others)])
    return Sheet(title, columns, rows)


def spread_cell(found: Spread | None, decimals: int) -> str:
    """Median, and from where to where the rounds went."""
    if found is None:
        return ""
    middle = f"{found.median:.{decimals}f}"
    if len(found.rounds) == 1:
        return middle
    return f"{middle} ({found.least:.{decimals}f}-{found.most:.{decimals}f})"


def cpu_by_process(results: Results, side: SideName) -> dict[str, float]:
    """Milliseconds an order at once: the median of the rounds, by process."""
    phases = results.phases["at once"][side]
    return {name: Spread([phase.cpu[name] for phase in phases]).median for name in phases[0].cpu}


def _cpu(results: Results, title: str) -> Sheet:
    spent = {side: cpu_by_process(results, side) for side in results.sides}
    names = dict.fromkeys(name for each in spent.values() for name in each)
    rows = [[name, *(f"{each[name]:.1f}" if name in each else "" for each in spent.values())] for name in names]
    rows.append(["all", *(f"{sum(each.values()):.1f}" for each in spent.values())])
    return Sheet(title, ["", *results.sides], rows)


def _histories(results: Results) -> Sheet:
    shapes = results.histories
    rows = [
        [name, *(f"{getattr(shape, field):.{decimals}f}" for shape in shapes.values())]
        for name, field, decimals in (
            ("events", "events", 0),
            ("workflow tasks", "workflow_tasks", 0),
            ("ordinary activities", "activities", 0),
            ("local activities", "local_activities", 0),
            ("billable actions", "actions", 0),
            ("kilobytes", "kilobytes", 1),
        )
    ]
    return Sheet("An order's history in Temporal, medians", ["", *shapes], rows)


def _of_ours(results: Results) -> Sheet:
    idle = results.idle_cpu
    ours = {name: idle[name] for name in OUR_PROCESSES if name in idle}
    rows = [
        ["commit → record at a consumer, one order at a time, p50 ms", f"{results.arrivals_p50:.1f}"],
        ["commit → record at a consumer, one order at a time, p95 ms", f"{results.arrivals_p95:.1f}"],
        ["CPU of an idle stack, our processes, ms a second", f"{sum(ours.values()):.1f}"],
        *([f"… {name}", f"{spent:.1f}"] for name, spent in ours.items()),
        *([f"… beside them: {name}", f"{spent:.1f}"] for name, spent in idle.items() if name not in ours),
        ["SQL statements an order", f"{sum(results.statements.values()):.1f}"],
    ]
    return Sheet("Ours alone", ["", "ours"], rows)


def _statements(results: Results) -> Sheet:
    sent = results.statements
    rows = [[name, f"{count:.2f}"] for name, count in sent.items() if count >= LEAST_STATEMENTS]
    rest = sum(count for count in sent.values() if count < LEAST_STATEMENTS)
    return Sheet("SQL statements an order", ["", "ours"], [*rows, ["others", f"{rest:.2f}"]])


def to_terminal(tables: Sequence[Sheet], console: Console) -> None:
    """Print the tables."""
    for sheet in tables:
        console.print(f"[bold]{sheet.title}[/]", _rich(sheet), sep="\n", soft_wrap=True)


def _rich(sheet: Sheet) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(sheet.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def to_markdown(tables: Sequence[Sheet], level: int = 2) -> str:
    """The tables under headings of ``level``."""
    return "\n".join(_lines(tables, level)).rstrip() + "\n"


def _lines(tables: Sequence[Sheet], level: int) -> Iterator[str]:
    for sheet in tables:
        yield f"{'#' * level} {sheet.title}"
        yield ""
        yield f"| {' | '.join(sheet.columns)} |"
        yield f"| --- |{' ---: |' * (len(sheet.columns) - 1)}"
        yield from (f"| {' | '.join(row)} |" for row in sheet.rows)
        yield ""
